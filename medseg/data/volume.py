"""Volume: an image as an array, the affine that places it in the patient, and the names of its channels.

The one axis convention of medseg is stated here. An array is channel first, then the spatial axes x, y[, z]:
``array[c, i, j, k]``. The affine maps the voxel index to the world, ``world = affine @ [i, j, k, 1]``, in millimetres
and in RAS+ (x to the patient's right-to-left **increasing to the Right**, y to Anterior, z to Superior; nibabel's
convention). A 2D image has axes x (column) and y (row); its affine is 4 x 4 too, with k = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from medseg.errors import GeometryError
from medseg.types import Affine, Array, Shape, Spacing

__all__ = ["Geometry", "Volume", "closest_ras"]

_SAME_GRID: Final = 0.1
"""Largest corner distance of two grids, as a share of the smallest spacing, that counts as one grid."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """A voxel grid in the world.

    Attributes:
        shape: Number of voxels along each spatial axis (x, y[, z]).
        affine: 4 x 4, voxel index to world, RAS+, millimetres.
    """

    shape: Shape
    affine: Affine

    def __post_init__(self) -> None:
        """Refuse an affine that places no voxel."""
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("expected a finite 4 x 4 affine; the file's geometry is broken, export it again")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise GeometryError("expected an invertible affine; found one that flattens the image, export it again")
        object.__setattr__(self, "affine", affine)

    @property
    def spacing(self) -> Spacing:
        """Voxel size in millimetres along each spatial axis."""
        lengths = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return tuple(float(v) for v in lengths[: len(self.shape)])

    def corner_distance(self, other: Geometry) -> float:
        """Largest distance in millimetres between the corners of the two grids; ``inf`` when the shapes differ."""
        if self.shape != other.shape:
            return float("inf")
        shape3 = (*self.shape, 1, 1)[:3]
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape3], indexing="ij")).reshape(3, -1)
        homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
        difference = (self.affine - other.affine) @ homogeneous
        return float(np.sqrt((difference[:3] ** 2).sum(axis=0)).max())

    def is_on_grid_of(self, other: Geometry) -> bool:
        """Whether no corner is further from the other grid's than a tenth of this one's smallest spacing."""
        return self.corner_distance(other) <= _SAME_GRID * min(self.spacing)

    def describe(self) -> str:
        """Shape, spacing, origin and axis directions in one line, for an error message."""
        spacing = " x ".join(f"{v:.4g}" for v in self.spacing)
        shape = " x ".join(str(n) for n in self.shape)
        origin = ", ".join(f"{v:.2f}" for v in self.affine[:3, 3])
        lengths = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        axes = "; ".join(
            ", ".join(f"{v:.3f}" for v in column) for column in (self.affine[:3, :3] / lengths).T[: len(self.shape)]
        )
        return f"shape {shape}, spacing {spacing} mm, origin ({origin}) mm RAS+, axes ({axes})"


@dataclass(frozen=True, eq=False)
class Volume:
    """An image in the world.

    Attributes:
        array: Intensities, axes (channel, x, y[, z]).
        affine: 4 x 4, voxel index to world, RAS+, millimetres.
        channels: One name per channel.
        modality: ``CT``, ``MR``, ``PT``, ``DERMOSCOPY`` or ``OTHER``.
        notes: What the reader did to the values, one short sentence each, for example ``PET scaled to SUVbw``.
        unit: What the values are where the file says so: ``HU``, ``SUVbw``, ``SUVlbm``, ``SUVbsa``; else empty.
    """

    array: Array
    affine: Affine
    channels: tuple[str, ...]
    modality: str = "OTHER"
    notes: tuple[str, ...] = field(default=())
    unit: str = ""

    def __post_init__(self) -> None:
        """Refuse a channel axis that does not fit the names."""
        if self.array.ndim not in (3, 4):
            raise GeometryError(f"expected 2 or 3 spatial axes after the channel; found an array of {self.array.ndim}")
        if self.array.shape[0] != len(self.channels):
            raise GeometryError(f"expected {len(self.channels)} channels; found {self.array.shape[0]}")

    def in_order(self, channels: Sequence[str]) -> Volume:
        """The image with its channels in this order, where they are these; else itself.

        Example:
            >>> image = Volume(np.array([[[1]], [[2]]]), np.eye(4), ("FLAIR", "T1"))
            >>> image.in_order(("T1", "FLAIR")).array.ravel().tolist()
            [2, 1]
        """
        wanted = tuple(channels)
        if self.channels == wanted or len(set(wanted)) < len(wanted) or set(wanted) != set(self.channels):
            return self
        return replace(self, array=self.array[[self.channels.index(name) for name in wanted]], channels=wanted)

    @property
    def geometry(self) -> Geometry:
        """The voxel grid of this image."""
        return Geometry(shape=self.shape, affine=self.affine)

    @property
    def shape(self) -> Shape:
        """Spatial shape in voxels (x, y[, z])."""
        return tuple(self.array.shape[1:])

    @property
    def spacing(self) -> Spacing:
        """Voxel size in millimetres along each spatial axis."""
        return self.geometry.spacing


def closest_ras(affine: Affine, dims: int) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Which own axis lies closest to each of R, A, S, and whether it runs the other way; pictures stay as they are.

    Args:
        affine: 4 x 4, voxel index to world, RAS+, millimetres.
        dims: 2 or 3 spatial axes.

    Returns:
        For each axis of the closest-RAS+ order the array's own axis, and whether that one has to be reversed.

    Example:
        >>> closest_ras(np.diag([-1.0, -1.0, 2.0, 1.0]), 3)
        ((0, 1, 2), (True, True, False))
    """
    if dims == 2:
        return (0, 1), (False, False)
    from nibabel.orientations import io_orientation

    found = io_orientation(affine)
    if np.isnan(found).any():
        return (0, 1, 2), (False, False, False)
    axes = tuple(int(np.flatnonzero(found[:, 0] == world)[0]) for world in range(3))
    return axes, tuple(bool(found[a, 1] < 0) for a in axes)
