"""Target: the reference of a loss in one of its two forms, with the voxels that count.

Two forms are accepted everywhere: class indices, (batch, x, y[, z]) integer, and shares of the classes,
(batch, class, x, y[, z]) float, as MixUp makes them. A voxel to ignore has the ignored value in the first form and
shares of 0 for all classes in the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ClassSums", "Scores", "class_sums", "flatten_scores", "one_hot"]


@dataclass(frozen=True)
class Scores:
    """Logits and target, spatial axes flattened, in float32.

    Attributes:
        log_probabilities: Shape (batch, class, voxel).
        classes: Shape (batch, voxel), int64, ignored voxels set to 0; None where the target is given as shares.
        shares: Shape (batch, class, voxel), float32; None where the target is given as class indices.
        counted: Shape (batch, voxel), float32, 0 where a voxel is ignored; None where every voxel counts.
        shape: Spatial shape before flattening.
    """

    log_probabilities: Tensor
    classes: Tensor | None
    shares: Tensor | None
    counted: Tensor | None
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ClassSums:
    """Soft counts of each class, shape (batch, class), or (1, class) when summed over the batch.

    Attributes:
        overlap: Sum of probability times reference: soft true positives.
        predicted: Sum of the probability.
        reference: Sum of the reference.
    """

    overlap: Tensor
    predicted: Tensor
    reference: Tensor


def flatten_scores(logits: Tensor, target: Tensor, *, ignore_index: int | None) -> Scores:
    """Bring logits and target into one form.

    Args:
        logits: Shape (batch, class, x, y[, z]), any float type.
        target: Class indices, shape (batch, x, y[, z]), or shares, shape (batch, class, x, y[, z]).
        ignore_index: Value of the voxels that don't count.

    Raises:
        ValueError: The shapes don't fit.
    """
    batch, classes = logits.shape[:2]
    shape = tuple(logits.shape[2:])
    log_probabilities = torch.log_softmax(logits.float().reshape(batch, classes, -1), dim=1)
    if target.shape == logits.shape and target.is_floating_point():
        shares = target.float().reshape(batch, classes, -1)
        counted = shares.sum(dim=1).clamp(max=1.0) if ignore_index is not None else None
        return Scores(log_probabilities, None, shares, counted, shape)
    if target.shape != (batch, *logits.shape[2:]) or target.is_floating_point():
        raise ValueError(
            f"expected class indices of shape {(batch, *logits.shape[2:])} or shares of shape {tuple(logits.shape)}, "
            f"found {target.dtype} of shape {tuple(target.shape)}"
        )
    indices = target.long().reshape(batch, -1)
    if ignore_index is None:
        return Scores(log_probabilities, indices, None, None, shape)
    ignored = indices == ignore_index
    return Scores(log_probabilities, indices.masked_fill(ignored, 0), None, (~ignored).float(), shape)


def one_hot(scores: Scores) -> Tensor:
    """Return the reference as shares of the classes, shape (batch, class, voxel); ignored voxels are 0."""
    if scores.shares is not None:
        return scores.shares
    assert scores.classes is not None
    numbers = torch.arange(scores.log_probabilities.shape[1], device=scores.classes.device)
    shares = (scores.classes.unsqueeze(1) == numbers.view(1, -1, 1)).float()
    return shares if scores.counted is None else shares * scores.counted.unsqueeze(1)


def class_sums(scores: Scores, *, batch: bool, background: bool) -> ClassSums:
    """Count each class softly.

    Args:
        scores: Of :func:`flatten_scores`.
        batch: Sum over the batch, too.
        background: Keep class 0.
    """
    first = 0 if background else 1
    probabilities = scores.log_probabilities[:, first:].exp()
    if scores.counted is not None:
        probabilities = probabilities * scores.counted.unsqueeze(1)
    reference = one_hot(scores)[:, first:]
    axes = (0, 2) if batch else (2,)
    overlap, predicted, count = (
        (probabilities * reference).sum(axes),
        probabilities.sum(axes),
        reference.sum(axes),
    )
    if batch:
        return ClassSums(overlap[None], predicted[None], count[None])
    return ClassSums(overlap, predicted, count)
