"""Preprocess: an image from its own grid onto the network's, and a label map exactly back.

The steps are: axes to the closest RAS+ order and directions (3D), crop to the nonzero box (where planned), resample,
normalise. Each is recorded in a `Placement`, and `to_native` undoes them in reverse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from medseg.data.volume import Volume, closest_ras
from medseg.transforms.normalise import ChannelScale, normalise
from medseg.transforms.resample import axis_orders, resample_argmax, resample_image, resample_label, resampled_shape
from medseg.types import Array, LabelMap, Shape, Spacing

__all__ = ["Placement", "Prepared", "Preprocessing", "each_native", "prepare_label", "preprocess", "to_native"]


@dataclass(frozen=True)
class Preprocessing:
    """What is done to every image of a plan.

    Attributes:
        fit: ``spacing``: resample to `spacing`. ``image``: resize the whole image onto `shape`.
        spacing: Target voxel size in mm, axes in closest-RAS+ order.
        shape: Target shape in voxels with ``fit: image``.
        crop_nonzero: Crop to the bounding box of voxels that are not 0 in some channel.
        normalisation: One entry per channel.
    """

    fit: Literal["spacing", "image"]
    spacing: Spacing
    shape: Shape
    crop_nonzero: bool
    normalisation: Sequence[ChannelScale]


@dataclass(frozen=True)
class Placement:
    """The way back from the network's grid to the image's own.

    Attributes:
        native_shape: The image's own shape.
        axes: For each axis of the closest-RAS+ order, the image's own axis.
        flips: Whether that axis was reversed, in closest-RAS+ order.
        lower: First voxel of the crop, in closest-RAS+ order.
        upper: Voxel after the last of the crop.
        shape: Shape on the network's grid.
    """

    native_shape: Shape
    axes: tuple[int, ...]
    flips: tuple[bool, ...]
    lower: Shape
    upper: Shape
    shape: Shape

    def to_dict(self) -> dict[str, Any]:
        """For the cache."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Placement:
        """The inverse of `to_dict`."""
        return cls(**{name: tuple(values) for name, values in content.items()})


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image on the network's grid.

    Attributes:
        image: (channel, x, y[, z]): float32, normalised; photographs uint8, normalised after augmentation.
        placement: The way back.
    """

    image: Array
    placement: Placement


def preprocess(volume: Volume, preprocessing: Preprocessing) -> Prepared:
    """Bring an image onto the network's grid.

    Args:
        volume: The image on its own grid.
        preprocessing: What to do.
    """
    axes, flips = closest_ras(volume.affine, len(volume.shape))
    array = _reorient(volume.array, axes, flips, leading=1)
    spacing = tuple(volume.spacing[a] for a in axes)
    lower, upper = _crop_box(array) if preprocessing.crop_nonzero else ((0,) * len(axes), tuple(array.shape[1:]))
    array = array[(slice(None), *(slice(a, b) for a, b in zip(lower, upper, strict=True)))]
    if preprocessing.fit == "image":
        shape = preprocessing.shape
    else:
        shape = resampled_shape(tuple(array.shape[1:]), spacing, preprocessing.spacing)
    placement = Placement(volume.shape, axes, flips, lower, upper, shape)
    photograph = all(scale.method == "rgb" for scale in preprocessing.normalisation)
    if shape != tuple(array.shape[1:]):
        orders = (1,) * len(shape) if photograph else axis_orders(spacing, order=3)
        array = resample_image(array, shape, orders=orders)
    if photograph:
        return Prepared(np.clip(np.rint(array), 0, 255).astype(np.uint8), placement)
    return Prepared(normalise(array, preprocessing.normalisation), placement)


def prepare_label(label_map: LabelMap, placement: Placement) -> LabelMap:
    """Bring a label map on the image's own grid onto the network's.

    Args:
        label_map: (x, y[, z]) on the image's own grid.
        placement: As `preprocess` gave it for the image.
    """
    array = _reorient(label_map, placement.axes, placement.flips, leading=0)
    array = array[tuple(slice(a, b) for a, b in zip(placement.lower, placement.upper, strict=True))]
    return resample_label(array, placement.shape)


def to_native(probabilities: Array, placement: Placement, *, dtype: type[np.integer[Any]] = np.uint8) -> LabelMap:
    """Class of the largest probability on the image's own grid; memory doesn't grow with the number of classes.

    Args:
        probabilities: (class, x, y[, z]) on the network's grid.
        placement: As `preprocess` gave it.
        dtype: Integer type of the result.

    Returns:
        (x, y[, z]) on the image's own grid; 0 outside the crop.
    """
    box = tuple(b - a for a, b in zip(placement.lower, placement.upper, strict=True))
    inside = resample_argmax(enumerate(probabilities), box, dtype=dtype)
    return _uncrop(inside, placement)


def each_native(probabilities: Array, placement: Placement) -> Iterator[Array]:
    """Each class's probability on the image's own grid, one at a time, float32; outside the crop background is 1."""
    box = tuple(b - a for a, b in zip(placement.lower, placement.upper, strict=True))
    for index, plane in enumerate(probabilities):
        inside = resample_image(plane[None], box, orders=1, antialias=False)[0]
        yield _uncrop(inside, placement, outside=1.0 if index == 0 else 0.0)


def _uncrop(inside: Array, placement: Placement, *, outside: float = 0.0) -> Array:
    canonical_shape = tuple(placement.native_shape[a] for a in placement.axes)
    whole = np.full(canonical_shape, outside, dtype=inside.dtype)
    whole[tuple(slice(a, b) for a, b in zip(placement.lower, placement.upper, strict=True))] = inside
    flipped = np.flip(whole, tuple(axis for axis, flip in enumerate(placement.flips) if flip))
    return np.ascontiguousarray(np.transpose(flipped, np.argsort(placement.axes)))


def _reorient(array: Array, axes: tuple[int, ...], flips: tuple[bool, ...], *, leading: int) -> Array:
    moved = np.transpose(array, (*range(leading), *(a + leading for a in axes)))
    flipped: Array = np.flip(moved, tuple(axis + leading for axis, flip in enumerate(flips) if flip))
    return flipped


def _crop_box(array: Array) -> tuple[Shape, Shape]:
    """Box of the voxels that are not 0 in some channel; the whole image where there are none."""
    filled = (array != 0).any(axis=0)
    if not filled.any():
        return (0,) * filled.ndim, tuple(filled.shape)
    lower, upper = [], []
    for axis in range(filled.ndim):
        hit = np.flatnonzero(filled.any(axis=tuple(a for a in range(filled.ndim) if a != axis)))
        lower.append(int(hit[0]))
        upper.append(int(hit[-1]) + 1)
    return tuple(lower), tuple(upper)
