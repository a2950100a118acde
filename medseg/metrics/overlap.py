"""Overlap: how many voxels two masks share, and the ratios taken from it.

Undefined is ``nan``, never a silent 0 or 1:

| reference | prediction | Dice, IoU | precision | recall |
|-----------|------------|-----------|-----------|--------|
| empty     | empty      | nan       | nan       | nan    |
| empty     | some       | 0         | 0         | nan    |
| some      | empty      | 0         | nan       | 0      |

Whether a case that is empty on both sides is left out of a mean or counts as 1 is decided where means are taken
(`medseg.studies.summarise`, ``empty_reference``), not here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Mask", "Overlap", "overlap"]

Mask = npt.NDArray[np.bool_]
"""Boolean mask, spatial axes only (x, y[, z])."""


@dataclass(frozen=True)
class Overlap:
    """Voxels that a prediction and a reference share, and the ratios taken from them.

    Attributes:
        true_positive: Voxels in both.
        false_positive: Voxels in the prediction only.
        false_negative: Voxels in the reference only.
    """

    true_positive: int
    false_positive: int
    false_negative: int

    @property
    def predicted(self) -> int:
        """Voxels of the prediction."""
        return self.true_positive + self.false_positive

    @property
    def reference(self) -> int:
        """Voxels of the reference."""
        return self.true_positive + self.false_negative

    @property
    def dice(self) -> float:
        """``2 TP / (2 TP + FP + FN)``; nan when both are empty (Dice 1945)."""
        return _ratio(2 * self.true_positive, self.predicted + self.reference)

    @property
    def iou(self) -> float:
        """``TP / (TP + FP + FN)``, the Jaccard index; nan when both are empty."""
        return _ratio(self.true_positive, self.predicted + self.false_negative)

    @property
    def precision(self) -> float:
        """``TP / (TP + FP)``; nan when the prediction is empty."""
        return _ratio(self.true_positive, self.predicted)

    @property
    def recall(self) -> float:
        """``TP / (TP + FN)``, the sensitivity; nan when the reference is empty."""
        return _ratio(self.true_positive, self.reference)

    @property
    def volume_error(self) -> float:
        """``(predicted - reference) / reference``, signed; nan when the reference is empty."""
        return _ratio(self.predicted - self.reference, self.reference)


def overlap(prediction: Mask, reference: Mask) -> Overlap:
    """Count the voxels that two masks share.

    Args:
        prediction: Boolean mask (x, y[, z]).
        reference: Boolean mask of the same shape.

    Returns:
        The counts, from which the ratios are properties.

    Example:
        >>> overlap(np.array([[True, True]]), np.array([[True, False]])).iou
        0.5
    """
    both = int(np.count_nonzero(prediction & reference))
    return Overlap(
        true_positive=both,
        false_positive=int(np.count_nonzero(prediction)) - both,
        false_negative=int(np.count_nonzero(reference)) - both,
    )


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")
