"""Lesion: a connected component of a label; detection and Dice lesion by lesion.

Voxels that touch by a face, an edge or a corner belong to one lesion (26-connected in 3D, 8-connected in 2D).
Matching is one-to-many in both directions, so a lesion predicted in two pieces, or two lesions predicted as one, are
found rather than missed:

- A reference lesion is *detected* when at least a tenth of its voxels are predicted.
- A predicted component is *true* when at least a tenth of its voxels lie in the reference.
- Lesion F1 is the harmonic mean of the share of detected reference lesions and the share of true components
  (Commowick et al. 2018, whose tenth is used here).
- Lesion Dice: each reference lesion is compared with all components that touch it, taken together; a component that
  touches no reference lesion counts as a lesion of Dice 0; then the mean (the rule of BraTS 2023, Saluja et al.,
  without its dilation and size threshold). Small lesions count as much as large ones.

Undefined is ``nan`` when reference and prediction are both empty; when one of them is, both scores are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.metrics.overlap import Mask

__all__ = ["LesionScores", "components", "lesion_scores"]

_MIN_SHARE = 0.1


@dataclass(frozen=True)
class LesionScores:
    """Detection and Dice, lesion by lesion.

    Attributes:
        lesions: Lesions in the reference.
        detected: Lesions in the reference of which at least a tenth is predicted.
        predicted: Components of the prediction.
        true: Components of the prediction of which at least a tenth lies in the reference.
        f1: Harmonic mean of ``detected / lesions`` and ``true / predicted``.
        dice: Mean Dice over the reference lesions and the components that touch none.
    """

    lesions: int
    detected: int
    predicted: int
    true: int
    f1: float
    dice: float


def components(mask: Mask) -> tuple[npt.NDArray[np.integer[Any]], int]:
    """Number the connected components of a mask.

    Args:
        mask: Boolean mask (x, y[, z]).

    Returns:
        An integer array of the mask's shape, 0 outside and 1 to n inside, and n. 26-connected in 3D, 8-connected in 2D.
    """
    import cc3d

    # cc3d 4.1.1 numbers boolean 2D masks wrongly (its 8-connected shortcut); as one slice of bytes they come out right.
    flat = np.ascontiguousarray(mask).view(np.uint8)
    volume = flat[..., np.newaxis] if mask.ndim == 2 else flat
    numbered, count = cc3d.connected_components(volume, connectivity=26, return_N=True)
    return np.asarray(numbered).reshape(mask.shape), int(count)


def lesion_scores(prediction: Mask, reference: Mask) -> LesionScores:
    """Score a prediction lesion by lesion.

    Args:
        prediction: Boolean mask (x, y[, z]).
        reference: Boolean mask of the same shape.

    Returns:
        Counts and scores; the scores are nan when both masks are empty.
    """
    predicted, predicted_count = components(prediction)
    lesions, lesion_count = components(reference)
    shared = _shared_voxels(lesions, predicted, (lesion_count, predicted_count))
    lesion_size = np.bincount(lesions.ravel(), minlength=lesion_count + 1)[1:]
    predicted_size = np.bincount(predicted.ravel(), minlength=predicted_count + 1)[1:]
    detected = int(np.count_nonzero(shared.sum(axis=1) >= _MIN_SHARE * lesion_size))
    true = int(np.count_nonzero(shared.sum(axis=0) >= _MIN_SHARE * predicted_size))
    if not lesion_count and not predicted_count:
        f1 = dice = float("nan")
    elif not lesion_count or not predicted_count:
        f1 = dice = 0.0
    else:
        sensitivity, precision = detected / lesion_count, true / predicted_count
        f1 = 2 * sensitivity * precision / (sensitivity + precision) if sensitivity + precision else 0.0
        touched = (shared > 0) @ predicted_size
        each = 2 * shared.sum(axis=1) / (lesion_size + touched)
        stray = int(np.count_nonzero(shared.sum(axis=0) == 0))
        dice = float(each.sum() / (lesion_count + stray))
    return LesionScores(lesion_count, detected, predicted_count, true, f1=float(f1), dice=float(dice))


def _shared_voxels(
    lesions: npt.NDArray[np.integer[Any]], predicted: npt.NDArray[np.integer[Any]], counts: tuple[int, int]
) -> npt.NDArray[np.int64]:
    """Voxels that each reference lesion (row) shares with each predicted component (column)."""
    both = (lesions > 0) & (predicted > 0)
    pairs = (lesions[both].astype(np.int64) - 1) * counts[1] + (predicted[both].astype(np.int64) - 1)
    return np.bincount(pairs, minlength=counts[0] * counts[1]).reshape(counts)
