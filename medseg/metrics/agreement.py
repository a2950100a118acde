"""Agreement: how far two annotators say the same of each voxel, beyond what chance would give.

Cohen's kappa (1960) counts all voxels, background too. Where the label is a small part of the image it comes close to
the Dice coefficient (Zijdenbos et al. 1994); where it fills much of it, kappa is lower. Undefined is ``nan``: both
masks are empty, or both fill the whole image, so that nothing could have differed.
"""

from __future__ import annotations

from medseg.errors import GeometryError
from medseg.metrics.overlap import Mask, overlap

__all__ = ["cohen_kappa"]


def cohen_kappa(first: Mask, second: Mask) -> float:
    """Cohen's kappa of two masks.

    Args:
        first: Boolean mask (x, y[, z]).
        second: Boolean mask of the same shape.

    Returns:
        From -1 to 1; nan where chance alone explains everything.

    Raises:
        GeometryError: The shapes differ.

    Example:
        >>> import numpy as np
        >>> cohen_kappa(np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool))
        0.5
    """
    if first.shape != second.shape:
        raise GeometryError("expected two masks of one shape; found two shapes")
    counts = overlap(first, second)
    size = first.size
    observed = (size - counts.false_positive - counts.false_negative) / size
    chance = (counts.predicted * counts.reference + (size - counts.predicted) * (size - counts.reference)) / size**2
    return float((observed - chance) / (1 - chance)) if chance < 1 else float("nan")
