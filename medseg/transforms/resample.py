"""Resample: an array between two grids that cover the same box of space, and back.

Convention: both grids cover the same box, voxel *faces* on its faces. Voxel i of n has its centre at (i + 0.5) / n of
the box, so voxel i of the new grid (m voxels) looks at (i + 0.5) * n / m - 0.5 of the old one. The map between shapes
follows from the shapes alone; going to another shape and back to the first returns to the very same grid. The new
spacing is therefore n * spacing / m, which meets a target spacing to within half a voxel over the whole box.

Interpolation is separable: one matrix a axis, applied by matrix multiplication.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.types import Affine, Array, LabelMap, Shape, Spacing

__all__ = [
    "axis_orders",
    "resample_argmax",
    "resample_image",
    "resample_label",
    "resampled_affine",
    "resampled_shape",
]

_Matrix = npt.NDArray[np.float32]
_ANISOTROPIC = 3.0


def resampled_shape(shape: Shape, spacing: Spacing, target: Spacing) -> Shape:
    """Shape whose grid covers the same box at about the target spacing; at least one voxel along each axis.

    Args:
        shape: Voxels along each spatial axis.
        spacing: Their size in mm.
        target: Wanted size in mm.
    """
    return tuple(max(1, round(n * s / t)) for n, s, t in zip(shape, spacing, target, strict=True))


def resampled_affine(affine: Affine, shape: Shape, new_shape: Shape) -> Affine:
    """Affine of the new grid: 4 x 4, voxel index to world, RAS+, millimetres.

    Args:
        affine: Of the old grid.
        shape: Old voxels along each spatial axis (2 or 3 axes).
        new_shape: New voxels along each spatial axis.
    """
    step = np.eye(4)
    for axis, (n, m) in enumerate(zip(shape, new_shape, strict=True)):
        step[axis, axis] = n / m
        step[axis, 3] = 0.5 * n / m - 0.5
    return np.asarray(affine, dtype=np.float64) @ step


def axis_orders(spacing: Spacing, *, order: int) -> tuple[int, ...]:
    """Interpolation order along each axis: `order`, but linear along axes more than 3 times as coarse as the finest."""
    return tuple(min(order, 1) if s > _ANISOTROPIC * min(spacing) else order for s in spacing)


def resample_image(
    image: Array, shape: Shape, *, orders: Sequence[int] | int = 3, antialias: bool = True
) -> npt.NDArray[np.float32]:
    """Interpolate an image onto another shape of the same box.

    Args:
        image: (channel, x, y[, z]), any numeric type.
        shape: New voxels along each spatial axis.
        orders: 1 linear or 3 cubic (Keys 1981, a = -0.5), one for all axes or one for each.
        antialias: Widen the kernel where the grid gets coarser (as Pillow and torch do).

    Returns:
        (channel, *shape) float32. The cubic kernel may overshoot the image's range a little.

    Raises:
        ValueError: An order that is not 1 or 3, or numbers of axes that differ.
    """
    orders = (orders,) * len(shape) if isinstance(orders, int) else tuple(orders)
    if len(shape) != image.ndim - 1 or len(orders) != len(shape) or not set(orders) <= {1, 3}:
        raise ValueError(f"expected {image.ndim - 1} axes of order 1 or 3; found shape {shape} and orders {orders}")
    weights = [
        _weights(n, m, order=o, antialias=antialias) for n, m, o in zip(image.shape[1:], shape, orders, strict=True)
    ]
    result = np.empty((image.shape[0], *shape), dtype=np.float32)
    for channel, out in zip(image, result, strict=True):
        out[...] = _apply(channel.astype(np.float32), weights)
    return result


def resample_label(label: LabelMap, shape: Shape) -> LabelMap:
    """Interpolate a label map onto another shape of the same box: each voxel gets the label of largest linear weight.

    Args:
        label: (x, y[, z]) integer.
        shape: New voxels along each spatial axis.

    Returns:
        (*shape), in the label map's own type. No value appears that was not there. A tie goes to the smaller value.
    """
    if label.shape == tuple(shape):
        return label.copy()

    def planes() -> Iterator[tuple[int, Array]]:
        for value in np.unique(label):
            yield int(value), label == value

    return resample_argmax(planes(), shape, dtype=label.dtype)


def resample_argmax(planes: Iterable[tuple[int, Array]], shape: Shape, *, dtype: npt.DTypeLike = np.uint8) -> LabelMap:
    """Interpolate one map a class linearly onto another shape and keep the class of the largest value at each voxel.

    One class is held at a time: two maps of the new shape and one of the old, whatever the number of classes. A voxel
    where no class is above 0 gets the first class.

    Args:
        planes: Class value and its map (x, y[, z]), nonnegative; at least one. All of one shape.
        shape: New voxels along each spatial axis.
        dtype: Integer type of the result.

    Raises:
        ValueError: No class was given.
    """
    best: npt.NDArray[np.float32] | None = None
    result = np.zeros(shape, dtype=dtype)
    weights: list[_Matrix] = []
    for value, plane in planes:
        if best is None:
            weights = [_weights(n, m, order=1, antialias=False) for n, m in zip(plane.shape, shape, strict=True)]
            best = np.zeros(shape, dtype=np.float32)
            result[...] = value
        inside = _support(plane)
        if inside is None:
            continue
        parts = [w[:, s] for w, s in zip(weights, inside, strict=True)]
        rows = [_reach(part) for part in parts]
        score = _apply(plane[inside].astype(np.float32), [p[r] for p, r in zip(parts, rows, strict=True)])
        place: Any = tuple(rows)
        larger = score > best[place]
        best[place][larger] = score[larger]
        result[place][larger] = value
    if best is None:
        raise ValueError("expected at least one class; found none")
    return result


def _support(plane: Array) -> tuple[slice, ...] | None:
    """Smallest box that holds every nonzero voxel, or None."""
    box = []
    for axis in range(plane.ndim):
        others = tuple(a for a in range(plane.ndim) if a != axis)
        hit = np.flatnonzero(plane.any(axis=others))
        if hit.size == 0:
            return None
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def _reach(part: _Matrix) -> slice:
    """New voxels that see any of the old voxels of `part` (there is always one where a label has voxels, or none)."""
    rows = np.flatnonzero(part.any(axis=1))
    return slice(int(rows[0]), int(rows[-1]) + 1) if rows.size else slice(0, 0)


def _weights(n: int, m: int, *, order: int, antialias: bool) -> _Matrix:
    """Interpolation matrix (m, n) along one axis; rows sum to 1, the border voxel repeats beyond the border."""
    if n == m:
        return np.eye(n, dtype=np.float32)
    stretch = max(n / m, 1.0) if antialias else 1.0
    centre = (np.arange(m) + 0.5) * n / m - 0.5
    reach = (1 if order == 1 else 2) * stretch
    taps = np.arange(-int(np.ceil(reach)), int(np.ceil(reach)) + 1)
    index = np.floor(centre).astype(np.int64)[:, None] + taps[None, :]
    weight = _kernel(np.abs(index - centre[:, None]) / stretch, order)
    matrix = np.zeros((m, n))
    if antialias and n > m:
        weight[(index < 0) | (index >= n)] = 0.0
    np.add.at(matrix, (np.arange(m)[:, None], np.clip(index, 0, n - 1)), weight)
    normalised: _Matrix = (matrix / matrix.sum(axis=1, keepdims=True)).astype(np.float32)
    return normalised


def _kernel(distance: npt.NDArray[np.float64], order: int) -> npt.NDArray[np.float64]:
    """Linear (order 1) or cubic convolution kernel (order 3, Keys 1981, a = -0.5) at nonnegative distances."""
    if order == 1:
        return np.maximum(0.0, 1.0 - distance)
    d = distance
    near = (1.5 * d - 2.5) * d * d + 1.0
    far = ((-0.5 * d + 2.5) * d - 4.0) * d + 2.0
    return np.where(d <= 1.0, near, np.where(d < 2.0, far, 0.0))


def _apply(array: npt.NDArray[np.float32], weights: Sequence[_Matrix]) -> npt.NDArray[np.float32]:
    """Multiply every axis by its matrix, the one that shrinks the array most first."""
    for axis in sorted(range(array.ndim), key=lambda a: weights[a].shape[0] / weights[a].shape[1]):
        matrix = weights[axis]
        if matrix.shape[0] == matrix.shape[1] and np.array_equal(matrix, np.eye(len(matrix))):
            continue
        new = (*array.shape[:axis], matrix.shape[0], *array.shape[axis + 1 :])
        if axis == array.ndim - 1:
            array = (array.reshape(-1, array.shape[axis]) @ matrix.T).reshape(new)
        else:
            before = int(np.prod(array.shape[:axis]))
            array = np.matmul(matrix, array.reshape(before, array.shape[axis], -1)).reshape(new)
    return array
