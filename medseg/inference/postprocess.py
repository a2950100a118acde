"""Postprocessing: small components out, or the largest one only."""

from __future__ import annotations

import math

import numpy as np

from medseg.types import LabelMap, Spacing

__all__ = ["clean_labels"]


def clean_labels(
    label_map: LabelMap, *, spacing: Spacing, largest_component: bool = False, smallest_mm3: float = 0.0
) -> LabelMap:
    """Remove components of a label map; each label on its own, neighbours by face, edge or corner.

    Args:
        label_map: (x, y[, z]); not changed.
        spacing: Voxel size in mm along each axis.
        largest_component: Keep the largest component of each label only.
        smallest_mm3: Components below this volume go (mm2 in 2D).

    Returns:
        The label map itself when nothing was asked for, else a copy.
    """
    if not largest_component and smallest_mm3 <= 0:
        return label_map
    from medseg.metrics import components

    voxel = math.prod(spacing)
    cleaned = label_map.copy()
    for value in np.unique(label_map):
        if value == 0:
            continue
        numbered, _ = components(label_map == value)
        counts = np.bincount(numbered.ravel())
        counts[0] = 0
        keep = counts * voxel >= smallest_mm3
        if largest_component:
            keep &= np.arange(len(counts)) == int(counts.argmax())
        keep[0] = True
        cleaned[~keep[numbered]] = 0
    return cleaned
