"""Source plane: the pixels of one frame of a source series in the world, and the voxels of a prediction on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medseg.data.dicom_frames import Frame, classic_frames, enhanced_frames
from medseg.data.dicom_planes import ON_VOXELS, corners, pixel_to_world
from medseg.data.volume import Geometry
from medseg.errors import GeometryError
from medseg.types import Affine, Array, Shape

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Plane", "frames_of", "planes_of", "slices_of"]


@dataclass(frozen=True, eq=False)
class Plane:
    """One frame of the source.

    Attributes:
        affine: 4 x 4, index (column, row, 0) of its pixels to world, RAS+, mm.
        rows: Number of rows.
        columns: Number of columns.
    """

    affine: Affine
    rows: int
    columns: int

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return self.columns, self.rows


def planes_of(sources: Sequence[Dataset]) -> list[Plane]:
    """The pixel grid of every frame, in the order of the files or of the multi-frame image.

    Raises:
        GeometryError: A frame has no position of its own, in an image of several.
    """
    first = sources[0]
    if len(sources) == 1 and "PerFrameFunctionalGroupsSequence" in first:
        return [_plane(first, place) for place in enhanced_frames(first)]
    if len(sources) > 1 or "ImagePositionPatient" in first:
        return [_plane(source, classic_frames(source, variations={})[0]) for source in sources]
    if int(first.get("NumberOfFrames") or 1) > 1:
        raise GeometryError(
            "the source is a film or a set of views, frames without a place of their own, and nothing can refer "
            "to one of them by its position; choose --format nifti or png"
        )
    row_spacing, column_spacing = (float(v) for v in first.get("PixelSpacing", (1.0, 1.0)))
    return [Plane(np.diag([column_spacing, row_spacing, 1.0, 1.0]), int(first.Rows), int(first.Columns))]


def _plane(image: Dataset, place: Frame) -> Plane:
    if not place.is_placed or "Rows" not in image or "Columns" not in image:
        raise GeometryError("a frame of the source lacks position, orientation, pixel spacing or size")
    return Plane(pixel_to_world(place), int(image.Rows), int(image.Columns))


def slices_of(shape: Shape, affine: Affine, planes: Sequence[Plane]) -> list[int]:
    """Which of the source's frames lie on the slices of a grid, one a slice.

    A file may hold several stacks, and several phases of one: frames of another stack are left out, and of frames at
    one place the first counts.

    Args:
        shape: Voxels of the grid, (x, y[, z]).
        affine: 4 x 4, its index to world, RAS+, mm.
        planes: The source's frames.

    Raises:
        GeometryError: No frame lies on the grid.
    """
    geometry = Geometry(shape=(*shape, 1)[:3], affine=affine)
    if len(shape) == 2 and len(planes) == 1:
        return [0]
    places: dict[bytes, int] = {}
    for number, plane in enumerate(planes):
        step = _step_of(geometry, plane)
        if step is not None:
            places.setdefault((np.sort(step[:3] @ corners(plane.size), axis=1) + 0.0).tobytes(), number)
    if not places:
        raise GeometryError(
            "the label map does not lie on the voxels of the source series; predict on this very series. "
            f"Label map: {geometry.describe()}"
        )
    return sorted(places.values())


def frames_of(values: Array, affine: Affine, planes: Sequence[Plane]) -> Array:
    """The values of a label map, or of another array on its grid, at each source frame's pixels.

    Args:
        values: Axes (x, y[, z]), on the grid that `medseg.data.dicom.read_series` gave for the source.
        affine: 4 x 4, its index to world, RAS+, mm.
        planes: The source's frames, one a slice (`slices_of`).

    Returns:
        Of the same type, axes (frame, row, column).

    Raises:
        GeometryError: The array isn't on the grid of the source, or values above 0 lie outside its frames.
    """
    volume = values if values.ndim == 3 else values[..., np.newaxis]
    if values.ndim == 2 and len(planes) == 1:
        if values.T.shape != (planes[0].rows, planes[0].columns):
            raise GeometryError(
                f"expected a label map of {planes[0].columns} x {planes[0].rows} pixels; found {values.shape}"
            )
        return np.ascontiguousarray(values.T[np.newaxis])
    geometry = Geometry(shape=volume.shape, affine=affine)
    frames: Array = np.stack([_frame_of(volume, geometry, plane) for plane in planes])
    if int((frames > 0).sum()) != int((values > 0).sum()):
        raise GeometryError("labelled voxels lie outside the source's frames; predict on this very series")
    return frames


def _step_of(geometry: Geometry, plane: Plane) -> Array | None:
    """Pixel (column, row, 0, 1) to voxel index, whole numbers; None where the pixels aren't voxels of the grid."""
    step = np.linalg.inv(geometry.affine) @ plane.affine
    whole = np.rint(step)
    exact, rounded = step[:3] @ corners(plane.size), whole[:3] @ corners(plane.size)
    last = np.array(geometry.shape)[:, np.newaxis] - 1
    inside = bool((rounded >= 0).all() and (rounded <= last).all())
    return whole if inside and np.abs(exact - rounded).max() <= ON_VOXELS else None


def _frame_of(volume: Array, geometry: Geometry, plane: Plane) -> Array:
    """One frame: the pixel grid must run through voxel centres, along the volume's own axes."""
    whole = _step_of(geometry, plane)
    if whole is None:
        raise GeometryError(
            "the label map does not lie on the voxels of the source series; predict on this very series. "
            f"Label map: {geometry.describe()}"
        )
    whole = whole.astype(int)
    columns, rows = np.arange(plane.columns)[np.newaxis, :], np.arange(plane.rows)[:, np.newaxis]
    frame: Array = volume[tuple(whole[a, 0] * columns + whole[a, 1] * rows + whole[a, 3] for a in range(3))]
    return frame
