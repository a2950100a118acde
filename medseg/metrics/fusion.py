"""Fusion: one label map of several annotators' label maps of the same image.

- Majority: a voxel gets a label when more than half of the annotators gave it; else it is background. With two
  annotators that is what both drew.
- STAPLE (Warfield, Zou, Wells 2004): how good each annotator is and what the truth is are estimated from each other,
  label by label; a voxel gets the label of the largest probability above one half. The estimate depends on how much
  background is looked at; here it is the box around everything that anyone drew, with a voxel to spare on each side,
  so that it doesn't depend on the size of the image. With two annotators STAPLE has little to go by.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from medseg.errors import GeometryError, LabelError
from medseg.metrics.overlap import Mask
from medseg.metrics.surface import box_around
from medseg.types import FloatArray, LabelMap

__all__ = ["FusionMethod", "fuse_labels"]

FusionMethod = Literal["staple", "majority"]


def fuse_labels(label_maps: Sequence[LabelMap], *, method: FusionMethod) -> LabelMap:
    """Fuse label maps.

    Args:
        label_maps: One of each annotator, axes (x, y[, z]), all of one shape.
        method: As above.

    Returns:
        Label map, uint8, axes (x, y[, z]).

    Raises:
        GeometryError: The shapes differ.
        LabelError: There is no label map.

    Example:
        >>> a, b, c = (np.array(row) for row in ([0, 1, 1], [0, 1, 0], [1, 1, 0]))
        >>> fuse_labels([a, b, c], method="majority").tolist()
        [0, 1, 0]
    """
    if not label_maps:
        raise LabelError("expected the label map of at least one annotator; found none")
    if len({one.shape for one in label_maps}) > 1:
        raise GeometryError("expected the annotators' label maps on one grid; found several shapes")
    fused: LabelMap = np.zeros(label_maps[0].shape, dtype=np.uint8)
    box = _roomy_box(np.any([one != 0 for one in label_maps], axis=0))
    if box is None:
        return fused
    cropped = [one[box] for one in label_maps]
    values = sorted({int(value) for one in cropped for value in np.unique(one) if value})
    best = np.full(cropped[0].shape, 0.5)
    for value in values:
        masks = [one == value for one in cropped]
        share = np.mean(masks, axis=0) if method == "majority" else _staple(masks)
        wins = share > best
        fused[box][wins] = value
        best[wins] = share[wins]
    return fused


def _staple(masks: Sequence[Mask]) -> FloatArray:
    """Probability of the label in each voxel."""
    shares: FloatArray = np.mean(masks, axis=0)
    if ((shares == 0) | (shares == 1)).all():
        return shares
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
    probability: FloatArray = np.asarray(sitk.GetArrayFromImage(sitk.STAPLE(images, 1.0)), dtype=np.float64)
    if not np.isfinite(probability).all():
        raise LabelError("STAPLE came to no result for these annotators; use --method majority")
    return probability


def _roomy_box(mask: Mask) -> tuple[slice, ...] | None:
    box = box_around(mask)
    if box is None:
        return None
    return tuple(slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in zip(box, mask.shape, strict=True))
