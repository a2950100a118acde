"""Slice stack: parallel, evenly spaced slices as one voxel grid, or the reason why they are none.

Positions and directions are in the DICOM patient frame (LPS+, mm; PS3.3 section C.7.6.2); the affine that comes out is
RAS+. Array axis x runs along a row of the image (column index), y down a column (row index), z along the slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from medseg.errors import GeometryError
from medseg.types import Affine, Array, FloatArray

__all__ = ["LPS_TO_RAS", "Stack", "plane_affine", "stack_slices"]

LPS_TO_RAS: Final[Affine] = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Multiplied from the left, turns an affine to LPS+ into one to RAS+, and back."""

_SAME_DIRECTION: Final = 1e-3
"""Largest difference of a direction cosine between slices of one stack (0.06 degrees)."""
_EVEN: Final = 0.1
"""Largest distance of a slice from its place on the even grid, as a share of the slice distance."""
_ROUNDED_MM: Final = 0.101
_EVEN_ROUNDED: Final = 0.2
"""The same where thin slices' positions are written with one decimal only: as a share, and at most this many mm."""
_WIDEST_GAP: Final = 2.05
"""Largest gap between slices, in usual slice distances, that resampling may bridge."""
_TILT: Final = 0.2
"""Largest sideways drift over the whole stack, as a share of the pixel spacing, that still counts as upright."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices as one grid.

    Attributes:
        order: For each z index the index of the slice in the input.
        affine: 4 x 4, voxel index (x, y, z) to world, RAS+, mm.
        notes: What isn't exact, one sentence each.
        irregular: Why the slices form no regular grid, where that was allowed; the affine then holds for the first
            slice only. Empty otherwise.
    """

    order: tuple[int, ...]
    affine: Affine
    notes: tuple[str, ...] = ()
    irregular: str = ""


def stack_slices(
    positions: FloatArray, orientations: FloatArray, spacing: FloatArray, *, allow_irregular: bool = False
) -> Stack:
    """Order slices along their normal and place them on one grid.

    Args:
        positions: Centre of each slice's first voxel, shape (n, 3), n >= 2, mm, LPS+.
        orientations: Row direction, then column direction of each slice, shape (n, 6), cosines, LPS+.
        spacing: Distance of the rows, then of the columns, of each slice, shape (n, 2), mm.
        allow_irregular: Let gantry tilt, uneven slice distances and gaps of up to twice the usual distance pass, and
            say so in `Stack.irregular`.

    Raises:
        GeometryError: Mixed orientation or pixel spacing, duplicate, missing or unevenly spaced slices, gantry tilt.

    Example:
        >>> z = np.array([5.0, 0.0, 2.5])
        >>> stack = stack_slices(
        ...     np.stack([0 * z, 0 * z, z], axis=1), np.tile([1.0, 0, 0, 0, 1, 0], (3, 1)), np.ones((3, 2)))
        >>> stack.order, stack.affine.diagonal().tolist()
        ((1, 2, 0), [-1.0, -1.0, 2.5, 1.0])
    """
    _require_parallel(orientations)
    _require_same_pixels(spacing)
    row, column = orientations[0, :3], orientations[0, 3:]
    normal = np.cross(row, column)
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    _require_distinct(gaps, count=len(positions))
    typical = float(np.median(gaps))
    ordered = positions[order]
    step = (ordered[-1] - ordered[0]) / (len(ordered) - 1)
    affine = plane_affine(ordered[0], orientations[0], spacing[0], step)
    try:
        _require_complete(gaps, typical)
        deviation = _require_even(heights[order])
        _require_upright(ordered, normal, pixel=float(spacing[0].min()))
    except GeometryError as error:
        if not allow_irregular or float(gaps.max()) > _WIDEST_GAP * typical:
            raise
        return Stack(order=tuple(int(i) for i in order), affine=affine, irregular=str(error).partition(":")[0])
    notes: tuple[str, ...] = ()
    if deviation > max(0.02, 0.01 * typical):
        notes = (f"slices lie up to {deviation:.2g} mm off the even grid",)
    return Stack(order=tuple(int(i) for i in order), affine=affine, notes=notes)


def plane_affine(
    position: FloatArray, orientation: FloatArray, spacing: Sequence[float] | FloatArray, step: FloatArray
) -> Affine:
    """Affine (RAS+) from the first voxel, the in-plane directions, spacing (rows, columns) and slice step (LPS+)."""
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * spacing[1]
    affine[:3, 1] = orientation[3:] * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = position
    result: Affine = LPS_TO_RAS @ affine
    return result


def _require_parallel(orientations: FloatArray) -> None:
    off = np.abs(orientations - orientations[0]).max(axis=1) > _SAME_DIRECTION
    if off.any():
        kinds = len(np.unique(np.round(orientations, 2), axis=0))
        raise GeometryError(
            f"mixed orientation: expected {len(orientations)} parallel slices; found {max(kinds, 2)} directions "
            "(a localiser, or several stacks in one series). Export each stack as a series of its own"
        )


def _require_same_pixels(spacing: FloatArray) -> None:
    if (np.abs(spacing - spacing[0]) > 1e-4 * spacing[0]).any():
        raise GeometryError("mixed pixel spacing: expected the same in every slice of a series; split the series")


def _require_distinct(gaps: FloatArray, *, count: int) -> None:
    span = float(gaps.sum())
    same = gaps < max(1e-3, 1e-3 * span / count)
    if not same.any():
        return
    places = int((~same).sum()) + 1
    if places * round(count / places) == count and _evenly_repeated(same, count // places):
        raise GeometryError(
            f"duplicate slices: {count // places} images at each of {places} positions; expected one image a position"
        )
    raise GeometryError(
        f"duplicate slices: {int(same.sum())} of {count} images lie where another lies; expected one image a position"
    )


def _evenly_repeated(same: Array, times: int) -> bool:
    pattern = (np.arange(len(same)) + 1) % times != 0
    return bool((pattern == same).all())


def _require_complete(gaps: FloatArray, typical: float) -> None:
    smallest = float(gaps.min())
    for unit in (typical, smallest):
        multiples = gaps / unit
        whole = np.abs(multiples - np.round(multiples)) < _EVEN
        if whole.all() and multiples.max() > 1.5:
            missing = int(np.round(multiples).sum()) - len(gaps)
            raise GeometryError(
                f"missing slices: {missing} of {missing + len(gaps) + 1} (slice distance {unit:.4g} mm, largest gap "
                f"{float(gaps.max()):.4g} mm); export the whole series again"
            )


def _require_even(heights: FloatArray) -> float:
    even = np.linspace(heights[0], heights[-1], len(heights))
    deviation = float(np.abs(heights - even).max())
    step = float(even[1] - even[0])
    gaps = np.diff(heights)
    if deviation > max(_EVEN * step, min(_ROUNDED_MM, _EVEN_ROUNDED * step)):
        raise GeometryError(
            f"uneven slice distance: from {float(gaps.min()):.4g} to {float(gaps.max()):.4g} mm; expected one. "
            "`import --resample-irregular` resamples it; better, export a reconstruction with even slices"
        )
    return deviation


def _require_upright(ordered: FloatArray, normal: FloatArray, *, pixel: float) -> None:
    offsets = ordered - ordered[0]
    sideways = offsets - np.outer(offsets @ normal, normal)
    drift = float(np.linalg.norm(sideways, axis=1).max())
    if drift > _TILT * pixel:
        step = ordered[-1] - ordered[0]
        angle = np.degrees(np.arctan2(np.linalg.norm(np.cross(step, normal)), abs(step @ normal)))
        if angle < 1e-6 or np.linalg.norm(sideways[-1]) < 0.5 * drift:
            raise GeometryError(
                f"sideways shift: slices lie up to {drift:.3g} mm aside; expected them above each other"
            )
        raise GeometryError(
            f"gantry tilt: the slices are sheared by {angle:.1f} degrees ({drift:.3g} mm over the stack); expected "
            "slices above each other. `import --resample-irregular` corrects it"
        )
