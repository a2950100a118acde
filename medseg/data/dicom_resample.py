"""Resampling of an irregular stack: sheared (gantry tilt) or unevenly spaced slices onto a regular upright grid.

The new grid keeps the slices' own directions and pixel spacing. Its slice distance is the usual one of the old slices,
its first and last slice lie where theirs do, and its planes are widened until they hold every old slice. Values are
interpolated linearly, in the plane first and then along the normal; what no slice covered takes the lowest value of
the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.data.dicom_geometry import plane_affine
from medseg.data.volume import Geometry
from medseg.types import Array, FloatArray

__all__ = ["RegularGrid", "regular_grid", "resample_stack"]


@dataclass(frozen=True, eq=False)
class RegularGrid:
    """How irregular slices come onto a regular grid.

    Attributes:
        geometry: The grid, axes (x, y, z).
        reason: What was irregular.
        heights: Of each old slice along the normal, from the first, mm.
        offsets: Row and column of each old slice's first voxel on the grid, shape (slices, 2).
    """

    geometry: Geometry
    reason: str
    heights: FloatArray
    offsets: FloatArray


def regular_grid(
    positions: FloatArray,
    *,
    orientation: FloatArray,
    spacing: tuple[float, float],
    size: tuple[int, int],
    reason: str,
) -> RegularGrid:
    """The grid that holds every slice of an irregular stack.

    Args:
        positions: Centre of each slice's first voxel in the order of their heights, shape (slices, 3), mm, LPS+.
        orientation: Row direction, then column direction, 6 cosines, LPS+.
        spacing: Distance of the rows, then of the columns, mm.
        size: Columns and rows of a slice.
        reason: What is irregular.
    """
    row, column = orientation[:3], orientation[3:]
    normal = np.cross(row, column)
    apart = positions - positions[0]
    heights = apart @ normal
    across = np.stack([apart @ column / spacing[0], apart @ row / spacing[1]], axis=1)
    low = np.floor(across.min(axis=0) + 1e-6)
    extra = np.ceil(across.max(axis=0) - 1e-6) - low
    count = max(2, round(float(heights[-1]) / float(np.median(np.diff(heights)))) + 1)
    origin = positions[0] + low[0] * spacing[0] * column + low[1] * spacing[1] * row
    affine = plane_affine(origin, orientation, spacing, normal * (float(heights[-1]) / (count - 1)))
    geometry = Geometry((size[0] + int(extra[1]), size[1] + int(extra[0]), count), affine)
    return RegularGrid(geometry, reason, heights, across - low)


def resample_stack(stored: Array, grid: RegularGrid) -> Array:
    """Put the slices of one stack onto a regular grid.

    Args:
        stored: Values, axes (channel, slice, row, column), the slices in the order of their heights.
        grid: From `regular_grid`.

    Returns:
        Values of the same type, axes (channel, slice, row, column).
    """
    columns, rows, count = grid.geometry.shape
    heights = np.linspace(0.0, grid.heights[-1], count)
    upper = np.clip(np.searchsorted(grid.heights, heights), 1, len(grid.heights) - 1)
    share = (heights - grid.heights[upper - 1]) / (grid.heights[upper] - grid.heights[upper - 1])
    result = np.empty((stored.shape[0], count, rows, columns), dtype=stored.dtype)
    for channel, values in enumerate(stored):
        filling = float(values.min())
        for z in range(count):
            below, above = (
                _moved(values[k], grid.offsets[k], (rows, columns), filling) for k in (upper[z] - 1, upper[z])
            )
            result[channel, z] = _as(below * (1.0 - share[z]) + above * share[z], stored.dtype)
    return result


def _moved(plane: Array, offset: FloatArray, shape: tuple[int, int], filling: float) -> FloatArray:
    """One slice on the wider plane, its first voxel at `offset` (rows, columns, in voxels)."""
    from scipy.ndimage import shift

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
