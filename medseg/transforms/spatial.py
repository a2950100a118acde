"""Spatial: rotation, zoom, shear, elastic deformation and crop of a patch, in one resampling of image and label map.

Every change is drawn first and composed into one map from the patch's voxels to the voxels of the enlarged patch that
the loader read; the voxels are then interpolated once (image linear, label map nearest), or only cropped when nothing
was drawn. Both grids are aligned centre to centre and angles are measured in voxels. An axis with less than a third of
the largest axis' voxels is thick-sliced: nothing is turned, sheared, zoomed or bent along it (as nnU-Net does).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms.utils import create_rotate, create_scale, create_shear
from torch.nn import functional

from medseg.config import AugmentConfig
from medseg.types import FloatArray, LabelMap, Shape

__all__ = ["SpatialDraw", "crop_center", "draw_spatial", "oversized_patch", "resample_patch"]

_T = TypeVar("_T", bound=np.generic)
_THICK = 3.0
_SHEAR = 0.15
_CONTROL_POINTS = 5
_BEND = 0.12


@dataclass(frozen=True, eq=False)
class SpatialDraw:
    """One drawn spatial change.

    Attributes:
        matrix: n x n; offset from the patch's centre to offset from the source's centre, in voxels. None: identity.
        bend: Displacement at the control points in voxels, axes (axis, control points...), or None.
        flips: Spatial axes to mirror afterwards.
    """

    matrix: npt.NDArray[np.float64] | None
    bend: FloatArray | None
    flips: tuple[int, ...]


def oversized_patch(augment: AugmentConfig, patch_size: Sequence[int]) -> Shape:
    """The patch to read so that a usual rotation and zoom find voxels everywhere.

    Half the largest angle and the geometric mean of 1 and the smallest zoom are covered; the corners of a more extreme
    draw repeat the border, in the image and in the label map alike. Reading for the worst case would cost every patch
    several times its voxels.

    Args:
        augment: The study's augmentation.
        patch_size: Voxels along each spatial axis, as the network sees them.

    Returns:
        Voxels to read along each spatial axis; `patch_size` itself when nothing turns or zooms.
    """
    free = _free_axes(patch_size)
    size = np.asarray(patch_size, dtype=np.float64)
    if augment.rotate > 0:
        angle = math.radians(min(augment.rotate_degrees / 2, 45.0))
        turned = size.copy()
        for i in free:
            for j in free:
                if i != j:
                    turned[i] = max(turned[i], size[i] * math.cos(angle) + size[j] * math.sin(angle))
        size = turned
    if augment.zoom > 0:
        size[free] /= math.sqrt(min(augment.zoom_range[0], 1.0))
    return tuple(int(v) for v in np.ceil(np.maximum(size, patch_size) - 1e-9))


def draw_spatial(augment: AugmentConfig, patch_size: Shape, generator: np.random.Generator) -> SpatialDraw:
    """Draw which spatial changes happen to one patch, and how large they are."""
    dims, free = len(patch_size), _free_axes(patch_size)
    matrix = None
    if generator.random() < augment.rotate:
        matrix = _rotation(dims, free, math.radians(augment.rotate_degrees), generator)
    if generator.random() < augment.zoom:
        low, high = augment.zoom_range
        factor = math.exp(generator.uniform(math.log(low), math.log(high)))
        scale = create_scale(dims, [1 / factor if axis in free else 1.0 for axis in range(dims)])
        matrix = _compose(matrix, scale)
    if generator.random() < augment.shear:
        coefficients = generator.uniform(-_SHEAR, _SHEAR, 2 if dims == 2 else 6)
        if dims == 3:
            pairs = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))
            coefficients *= [float(i in free and j in free) for i, j in pairs]
        matrix = _compose(matrix, create_shear(dims, coefficients.tolist()))
    bend = None
    if generator.random() < augment.elastic:
        points = (_CONTROL_POINTS,) * dims
        bend = generator.standard_normal((dims, *points), dtype=np.float32)
        strength = generator.uniform(0.3, 1.0) * _BEND
        for axis in range(dims):
            bend[axis] *= strength * patch_size[axis] / (_CONTROL_POINTS - 1) if axis in free else 0.0
    flips = tuple(axis for axis in range(dims) if axis in augment.flip_axes and generator.random() < augment.flip)
    return SpatialDraw(matrix=None if matrix is None else matrix[:dims, :dims], bend=bend, flips=flips)


def resample_patch(
    image: FloatArray, label: LabelMap, *, draw: SpatialDraw, patch_size: Shape
) -> tuple[npt.NDArray[np.float32], LabelMap]:
    """Apply one draw: a single interpolation, or a crop when only mirroring was drawn.

    Args:
        image: Axes (channel, x, y[, z]), float32.
        label: Axes (x, y[, z]), same spatial shape.
        draw: What happens.
        patch_size: Voxels of the result along each spatial axis.

    Returns:
        Image (channel, *patch_size) float32 and label (*patch_size) in the label's own type, both contiguous.
    """
    if draw.matrix is None and draw.bend is None:
        image, label = crop_center(image, patch_size), crop_center(label, patch_size)
    else:
        grid = _grid(draw, source=label.shape, patch_size=patch_size)
        image_in = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None]
        label_in = torch.from_numpy(np.ascontiguousarray(label, dtype=np.float32))[None, None]
        sample = functional.grid_sample
        image = sample(image_in, grid, mode="bilinear", padding_mode="border", align_corners=False)[0].numpy()
        nearest = sample(label_in, grid, mode="nearest", padding_mode="border", align_corners=False)[0, 0]
        label = nearest.numpy().astype(label.dtype)
    if draw.flips:
        image = np.flip(image, tuple(axis + 1 for axis in draw.flips))
        label = np.flip(label, draw.flips)
    return np.ascontiguousarray(image, dtype=np.float32), np.ascontiguousarray(label)


def crop_center(array: npt.NDArray[_T], size: Shape) -> npt.NDArray[_T]:
    """The central `size` voxels of the last axes, as a view."""
    start = [(n - m) // 2 for n, m in zip(array.shape[-len(size) :], size, strict=True)]
    place: Any = (..., *[slice(s, s + m) for s, m in zip(start, size, strict=True)])
    cropped: npt.NDArray[_T] = array[place]
    return cropped


def _grid(draw: SpatialDraw, *, source: Shape, patch_size: Shape) -> torch.Tensor:
    """Sampling positions for `grid_sample`: (1, *patch_size, n), normalised, last axis in reversed axis order."""
    dims = len(patch_size)
    matrix = np.eye(dims) if draw.matrix is None else draw.matrix
    size_in, size_out = np.asarray(source[::-1], dtype=np.float64), np.asarray(patch_size[::-1], dtype=np.float64)
    theta = np.zeros((1, dims, dims + 1), dtype=np.float32)
    theta[0, :, :dims] = matrix[::-1, ::-1] * size_out[None, :] / size_in[:, None]
    grid = functional.affine_grid(torch.from_numpy(theta), [1, 1, *patch_size], align_corners=False)
    if draw.bend is not None:
        mode = "bilinear" if dims == 2 else "trilinear"
        bend = torch.from_numpy(draw.bend[::-1] * (2.0 / size_in.astype(np.float32)).reshape(-1, *[1] * dims))
        dense = functional.interpolate(bend[None], size=patch_size, mode=mode, align_corners=True)
        grid = grid + dense.movedim(1, -1)
    return grid


def _free_axes(patch_size: Sequence[int]) -> list[int]:
    return [axis for axis, n in enumerate(patch_size) if n * _THICK >= max(patch_size)]


def _rotation(dims: int, free: list[int], largest: float, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    angles = generator.uniform(-largest, largest, 1 if dims == 2 else 3)
    if dims == 3:
        angles *= [float(all(other in free for other in range(3) if other != axis)) for axis in range(3)]
    return np.asarray(create_rotate(dims, angles.tolist()), dtype=np.float64)


def _compose(first: npt.NDArray[np.float64] | None, then: object) -> npt.NDArray[np.float64]:
    second = np.asarray(then, dtype=np.float64)
    return second if first is None else first @ second
