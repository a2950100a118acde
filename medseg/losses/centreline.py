"""CentrelineTerm: clDice, the overlap of each mask with the other's centreline, for vessels and other tubes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.losses.targets import Scores, one_hot

__all__ = ["CentrelineTerm", "soft_skeleton"]


class CentrelineTerm(nn.Module):
    """clDice (Shit et al. 2021): 1 - the harmonic mean of topology precision and topology sensitivity.

    Precision is the share of the predicted centreline that lies in the reference, sensitivity the share of the
    reference's centreline that lies in the prediction. A class absent from both costs 0; absent from one, 1. Ignored
    voxels enter neither centreline.

    Args:
        iterations: Steps of the soft skeleton; at least half the thickest vessel in voxels.
        batch: Sum over the batch before the ratios are taken.
        background: Class 0 is a term as well.
        smooth: Added to numerator and denominator.
    """

    def __init__(
        self, *, iterations: int = 5, batch: bool = True, background: bool = False, smooth: float = 1e-5
    ) -> None:
        super().__init__()
        self.iterations = iterations
        self.batch = batch
        self.background = background
        self.smooth = smooth

    def forward(self, scores: Scores) -> Tensor:
        """Return the loss, a scalar."""
        first = 0 if self.background else 1
        predicted = scores.log_probabilities[:, first:].exp()
        reference = one_hot(scores)[:, first:]
        if scores.counted is not None:
            predicted = predicted * scores.counted.unsqueeze(1)
        whole = (*predicted.shape[:2], *scores.shape)
        predicted, reference = predicted.reshape(whole), reference.reshape(whole)
        line = soft_skeleton(predicted, iterations=self.iterations)
        with torch.no_grad():
            true_line = soft_skeleton(reference, iterations=self.iterations)
        precision = self._share(line, reference)
        sensitivity = self._share(true_line, predicted)
        return (1.0 - 2.0 * precision * sensitivity / (precision + sensitivity).clamp_min(1e-12)).mean()

    def _share(self, line: Tensor, mask: Tensor) -> Tensor:
        """Return the share of a centreline that lies in a mask, shape (batch or 1, class)."""
        axes = tuple(range(2, line.ndim))
        if self.batch:
            axes = (0, *axes)
        return ((line * mask).sum(axes) + self.smooth) / (line.sum(axes) + self.smooth).clamp_min(1e-12)


def soft_skeleton(image: Tensor, *, iterations: int) -> Tensor:
    """Return the soft skeleton of a mask by repeated opening (Shit et al. 2021, algorithm 1).

    Args:
        image: Shape (batch, channel, x, y[, z]), values 0..1.
        iterations: Number of erosions.

    Returns:
        The image's shape, values 0..1.
    """
    skeleton = functional.relu(image - _dilate(_erode(image)))
    for _ in range(iterations):
        image = _erode(image)
        delta = functional.relu(image - _dilate(_erode(image)))
        skeleton = skeleton + functional.relu(delta - skeleton * delta)
    return skeleton


def _pool(image: Tensor, kernel: tuple[int, ...]) -> Tensor:
    pool = functional.max_pool2d if image.ndim == 4 else functional.max_pool3d
    result: Tensor = pool(image, kernel, 1, tuple(size // 2 for size in kernel))
    return result


def _erode(image: Tensor) -> Tensor:
    """Return the least of each voxel and its neighbours across faces."""
    dims = image.ndim - 2
    lines = [tuple(3 if axis == along else 1 for axis in range(dims)) for along in range(dims)]
    eroded = [-_pool(-image, line) for line in lines]
    least = eroded[0]
    for other in eroded[1:]:
        least = torch.minimum(least, other)
    return least


def _dilate(image: Tensor) -> Tensor:
    """Return the greatest of each voxel and its neighbours across faces, edges and corners."""
    return _pool(image, (3,) * (image.ndim - 2))
