"""Plane: the pixels of one frame in the world, on an image's voxels, or as part of an even grid of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from medseg.data.dicom_frames import Frame
from medseg.data.dicom_geometry import plane_affine
from medseg.data.volume import Geometry
from medseg.errors import GeometryError
from medseg.privacy.limits import MAX_VOXELS
from medseg.types import Affine, Array, FloatArray, LabelMap

__all__ = ["ON_VOXELS", "corners", "differ_in_step", "even_grid", "is_on_voxels", "nearest", "pixel_to_world"]

ON_VOXELS: Final = 0.1
"""Largest distance of a pixel from a voxel centre, in voxels, that counts as the same grid."""
_SAME_STEP: Final = 0.2
"""Largest difference of two slice distances, as a share, that counts as the same."""
_EVEN: Final = 0.2
"""Largest distance of a plane from its place on an even grid, as a share of the slice distance or the pixel spacing."""


def pixel_to_world(place: Frame) -> Affine:
    """Pixel (column, row, 0, 1) to world, RAS+, mm; the third axis is the normal, 1 mm long (PS3.3 C.7.6.2.1.1).

    Raises:
        GeometryError: Position, orientation or pixel spacing isn't known.
    """
    position, orientation, spacing = _facts(place)
    return plane_affine(position, orientation, spacing, np.cross(orientation[:3], orientation[3:]))


def _facts(place: Frame) -> tuple[FloatArray, FloatArray, tuple[float, float]]:
    if place.position is None or place.orientation is None or place.spacing is None:
        raise GeometryError(
            "a frame has no position, orientation or pixel spacing, and refers to no frame of the image; export the "
            "segmentation again"
        )
    return place.position, place.orientation, place.spacing


def corners(size: tuple[int, int]) -> FloatArray:
    """The corner pixels of a frame of (columns, rows) as columns (column, row, 0, 1)."""
    columns, rows = size[0] - 1, size[1] - 1
    return np.array([[0, columns, 0, columns], [0, 0, rows, rows], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=np.float64)


def is_on_voxels(step: Affine, size: tuple[int, int]) -> bool:
    """Whether neighbouring pixels are neighbouring voxels and lie on voxel centres, inside the image or beside it.

    Args:
        step: Pixel (column, row, 0, 1) to voxel index.
        size: Columns and rows.
    """
    whole = np.rint(step)
    if not (np.abs(whole[:3, :2]).sum(axis=0) == 1).all():
        return False
    return bool(np.abs((step - whole)[:3] @ corners(size)).max() <= ON_VOXELS)


def _heights_of(places: Sequence[Frame]) -> FloatArray:
    """How far along the first one's normal each plane lies, mm.

    Raises:
        GeometryError: A position or an orientation isn't known.
    """
    if not places:
        return np.zeros(0)
    orientation = _facts(places[0])[1]
    normal: FloatArray = np.cross(orientation[:3], orientation[3:])
    heights: FloatArray = np.stack([_facts(place)[0] for place in places]) @ normal
    return heights


def differ_in_step(places: Sequence[Frame], step: float, *, stated: float, own: float, alone: bool) -> bool:
    """Whether planes stand for more, or less, than one slice of an image each.

    That is so where they are stated to lie further apart, or closer, than the image's; or, where no distance is stated,
    where they lie as far apart as they are thick, and the image's own are not as thick.

    Args:
        places: Of the planes.
        step: Distance of the image's slices in mm.
        stated: Distance of the planes in mm as their file states it, or nan.
        own: Thickness of the image's slices in mm, or nan.
        alone: Whether a single plane counts; it shouldn't where it is said to be drawn on a slice of the image.
    """
    apart = np.diff(np.unique(np.round(_heights_of(places), 3)))
    if not len(apart) and not alone:
        return False
    if not np.isnan(stated):
        return not _is_same(stated, step)
    thickness = places[0].thickness if places else np.nan
    if not thickness > step or _is_same(thickness, step) or _is_same(thickness, own):
        return False
    return not len(apart) or _is_same(float(apart.min()), thickness)


def _is_same(distance: float, step: float) -> bool:
    return abs(distance - step) <= _SAME_STEP * step


def even_grid(places: Sequence[Frame], size: tuple[int, int], *, unit: float) -> Geometry:
    """The grid of parallel planes, each on one place of it; several may share a place, and places may be empty.

    Args:
        places: Of each plane.
        size: Columns and rows.
        unit: Distance of neighbouring places in mm as the file states it; nan where it doesn't: then the smallest
            distance of two planes, or, with one plane, its thickness or 1 mm.

    Raises:
        GeometryError: The planes aren't parallel, evenly spaced and above each other, or one has no place.
    """
    _, orientation, spacing = _facts(places[0])
    for place in places:
        _, other, pixel = _facts(place)
        if np.abs(other - orientation).max() > 1e-3 or not np.allclose(pixel, spacing, rtol=1e-4):
            raise GeometryError(
                "its frames have several orientations or pixel spacings; export the segmentation in one"
            )
    heights = _heights_of(places)
    levels = np.unique(np.round(heights, 3))
    span = float(levels[-1] - levels[0])
    if not np.isfinite(unit) or unit <= 0:
        thickness = places[0].thickness if places[0].thickness > 0 else 1.0
        unit = float(np.diff(levels).min()) if len(levels) > 1 else thickness
    count = int(np.rint(span / unit)) + 1
    if count * size[0] * size[1] > MAX_VOXELS:
        raise GeometryError(
            f"the planes of the segmentation span more than {MAX_VOXELS:,} voxels; nothing that large is read. Their "
            "positions or their distance may be damaged"
        )
    unit = span / (count - 1) if count > 1 else unit
    normal = np.cross(orientation[:3], orientation[3:])
    positions = np.stack([_facts(place)[0] for place in places])
    start = positions[int(heights.argmin())]
    off = positions - start - np.outer(np.rint((heights - heights.min()) / unit) * unit, normal)
    along = float(np.abs(off @ normal).max())
    sideways = float(np.linalg.norm(off - np.outer(off @ normal, normal), axis=1).max())
    if along > _EVEN * unit or sideways > _EVEN * min(spacing):
        raise GeometryError(
            f"the planes of the segmentation lie on no even grid: up to {along:.3g} mm off along the slices and "
            f"{sideways:.3g} mm across them, {unit:.4g} mm apart. Export the segmentation on the image's grid"
        )
    return Geometry((*size, count), plane_affine(start, orientation, spacing, normal * unit))


def nearest(label: LabelMap, grid: Geometry, onto: Geometry) -> LabelMap:
    """A label map on another grid: each voxel has the label of the nearest one, and 0 outside.

    Args:
        label: Axes (x, y, z).
        grid: Its grid.
        onto: The other grid, (x, y, z) or (x, y).

    Returns:
        uint8, of the other grid's shape.

    Raises:
        GeometryError: A label has no voxel left.
    """
    shape = (*onto.shape, 1)[:3]
    to_own = np.linalg.inv(grid.affine) @ onto.affine
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    sampled = np.zeros(shape, dtype=np.uint8)
    last = np.array(label.shape)[:, np.newaxis, np.newaxis]
    for k in range(shape[2]):
        index = np.einsum("ab,bxy->axy", to_own[:3], np.stack([i, j, np.full_like(i, k), np.ones_like(i)]))
        index = np.rint(index)
        inside: Array = ((index >= 0) & (index < last)).all(axis=0)
        sampled[:, :, k][inside] = label[tuple(index[:, inside].astype(np.int64))]
    before, after = np.unique(label[label > 0]), np.unique(sampled[sampled > 0])
    if len(before) > len(after):
        raise GeometryError(
            f"{len(before) - len(after)} of {len(before)} labels have no voxel left on the image's grid: the "
            f"segmentation has {grid.describe()}; the image has {onto.describe()}. Resample it onto the image"
        )
    return sampled.reshape(onto.shape)
