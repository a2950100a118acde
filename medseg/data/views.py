"""View: what a picture looks like after a small crop or turn, so that copies which were cropped or turned are found.

A picture is kept small (its longer side 128 pixels). Its views are its middle, cut to 95, 90, 85 and 80 % of the sides,
and the middle 70 % of it turned by up to 10 degrees in steps of 2.5; these are compared with the whole of another
picture, and with its middle 70 %. Crops that take much more from one side than from the other are not found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from medseg.types import Array

__all__ = ["CROPS", "TURNS", "Floats", "area_average", "middle", "small_picture", "views"]

_SMALL_SIDE: Final = 128
CROPS: Final = (0.95, 0.9, 0.85, 0.8)
"""Share of each side that is kept."""
TURNS: Final = tuple(step * 2.5 for step in range(-4, 5) if step)
"""Degrees."""
_MIDDLE: Final = 0.7

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


def small_picture(grey: Array) -> Bytes:
    """A grey picture (x, y) as bytes, its longer side at most 128 pixels."""
    low, high = np.percentile(grey, [0.5, 99.5])
    scaled = (np.clip((grey - low) / max(float(high - low), 1e-12), 0, 1) * 255).astype(np.uint8)
    share = min(1.0, _SMALL_SIDE / max(scaled.shape))
    size = (max(1, round(scaled.shape[1] * share)), max(1, round(scaled.shape[0] * share)))
    return np.asarray(Image.fromarray(scaled).resize(size, Image.Resampling.BOX))


def area_average(array: Floats, shape: Sequence[int]) -> Floats:
    """Mean over equal boxes with fractional borders.

    Args:
        array: Any number of axes.
        shape: Number of boxes along each of the first axes.
    """
    result: Floats = array
    for axis, boxes in enumerate(shape):
        length = result.shape[axis]
        edges = np.linspace(0, length, boxes + 1)
        voxels = np.arange(length)
        overlap = np.minimum(edges[1:, None], voxels + 1) - np.maximum(edges[:-1, None], voxels)
        weights = (np.clip(overlap, 0, None) * (boxes / length)).astype(np.float32)
        result = np.moveaxis(np.tensordot(weights, result, axes=(1, axis)), 0, axis)
    return result


def middle(picture: Bytes) -> Bytes:
    """The middle 70 % of a small picture, what turned views are compared with."""
    return _cut(picture, _MIDDLE)


def views(picture: Bytes) -> list[Bytes]:
    """The crops, then the middles of the turned picture, in the order of `CROPS` and `TURNS`."""
    image = Image.fromarray(picture)
    turned = [np.asarray(image.rotate(angle, Image.Resampling.BILINEAR)) for angle in TURNS]
    return [*(_cut(picture, share) for share in CROPS), *(_cut(one, _MIDDLE) for one in turned)]


def _cut(picture: Bytes, share: float) -> Bytes:
    margins = [round(side * (1 - share) / 2) for side in picture.shape]
    return picture[margins[0] : picture.shape[0] - margins[0], margins[1] : picture.shape[1] - margins[1]]
