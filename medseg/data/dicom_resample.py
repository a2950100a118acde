"""Resampling of an irregular stack: sheared (gantry tilt) or unevenly spaced slices onto a regular upright grid.

The new grid keeps the slices' own directions and pixel spacing. Its slice distance is the usual one of the old slices,
its first and last slice lie where theirs do, and its planes are widened until they hold every old slice. Values are
interpolated linearly, in the plane first and then along the normal; what no slice covered takes the lowest value of
the image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from medseg.data.dicom_geometry import plane_affine
from medseg.types import Affine, Array, FloatArray

__all__ = ["resample_stack"]


def resample_stack(
    stored: Array, positions: FloatArray, *, orientation: FloatArray, spacing: tuple[float, float]
) -> tuple[Array, Affine]:
    """Put the slices of one stack onto a regular grid.

    Args:
        stored: Values, axes (channel, slice, row, column), the slices in the order of their heights.
        positions: Centre of each slice's first voxel, shape (slices, 3), mm, LPS+.
        orientation: Row direction, then column direction, 6 cosines, LPS+.
        spacing: Distance of the rows, then of the columns, mm.

    Returns:
        Values of the same type, axes (channel, slice, row, column), and the affine (RAS+, mm).
    """
    row, column = orientation[:3], orientation[3:]
    normal = np.cross(row, column)
    offsets = positions - positions[0]
    heights = offsets @ normal
    across = np.stack([offsets @ column / spacing[0], offsets @ row / spacing[1]], axis=1)  # rows, columns
    low = np.floor(across.min(axis=0) + 1e-6)
    extra = np.ceil(across.max(axis=0) - 1e-6) - low
    shape = (stored.shape[2] + int(extra[0]), stored.shape[3] + int(extra[1]))
    count = round(float(heights[-1]) / float(np.median(np.diff(heights)))) + 1
    new_heights = np.linspace(0.0, heights[-1], count)
    result = np.empty((stored.shape[0], count, *shape), dtype=stored.dtype)
    upper = np.clip(np.searchsorted(heights, new_heights), 1, len(heights) - 1)
    share = (new_heights - heights[upper - 1]) / (heights[upper] - heights[upper - 1])
    for channel, values in enumerate(stored):
        for z in range(count):
            below, above = (_moved(values[k], across[k] - low, shape, values) for k in (upper[z] - 1, upper[z]))
            result[channel, z] = _as(below * (1.0 - share[z]) + above * share[z], stored.dtype)
    origin = positions[0] + low[0] * spacing[0] * column + low[1] * spacing[1] * row
    step = normal * (float(heights[-1]) / (count - 1))
    return result, plane_affine(origin, orientation, spacing, step)


def _moved(plane: Array, offset: FloatArray, shape: tuple[int, int], values: Array) -> FloatArray:
    """One slice on the wider plane, its first voxel at `offset` (rows, columns, in voxels)."""
    from scipy.ndimage import shift

    filling = float(values.min())
    canvas = np.full(shape, filling, dtype=np.float32)
    whole = np.floor(offset + 1e-6).astype(int)
    part = np.maximum(offset - whole, 0.0)
    canvas[whole[0] : whole[0] + plane.shape[0], whole[1] : whole[1] + plane.shape[1]] = plane
    if part.max() < 1e-6:
        return canvas
    moved: FloatArray = shift(canvas, part, order=1, mode="constant", cval=filling)
    return moved


def _as(values: FloatArray, dtype: np.dtype[Any]) -> Array:
    return np.rint(values).astype(dtype) if dtype.kind in "ui" else values.astype(dtype)
