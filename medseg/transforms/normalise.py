"""Normalise: intensities of an image, channel by channel, onto the scale the network was planned for.

Numpy alone; the same function serves the cache, the prediction and the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from medseg.types import Array

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "ChannelScale", "normalise"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green, blue over ImageNet, in 0..1."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of red, green, blue over ImageNet, in 0..1."""
_ENOUGH_VOXELS = 4_000_000
_BACKGROUND_SHARE = 0.25
_SMALL = 1e-8


class ChannelScale(Protocol):
    """How one channel is scaled; an entry of ``Plan.normalisation`` is one."""

    @property
    def method(self) -> Literal["ct_window", "zscore", "suv", "rgb"]:
        """Name of the method; see `normalise`."""

    @property
    def low(self) -> float:
        """Lower clip, in the image's unit."""

    @property
    def high(self) -> float:
        """Upper clip, in the image's unit."""

    @property
    def mean(self) -> float:
        """Subtracted after clipping."""

    @property
    def std(self) -> float:
        """Divisor."""


def normalise(image: Array, channels: Sequence[ChannelScale]) -> npt.NDArray[np.float32]:
    """Scale every channel by its own method.

    - ``ct_window``: clip to [low, high], subtract `mean`, divide by `std` (all four of the data set's foreground).
    - ``zscore``: clip to the image's own 0.5 and 99.5 percentiles, then subtract the mean and divide by the standard
      deviation. Where more than a quarter of the voxels is exactly 0 (a removed background), the four numbers are
      those of the other voxels. A few voxels of 1e6 therefore change nothing; a constant image becomes 0.
    - ``suv``: clip to [0, high], divide by `std`.
    - ``rgb``: 0..255 to 0..1, subtract `mean`, divide by `std` (ImageNet's, `IMAGENET_MEAN` and `IMAGENET_STD`).

    Args:
        image: (channel, x, y[, z]), finite, any numeric type; not changed.
        channels: One entry per channel.

    Returns:
        New array of the same shape, float32.

    Raises:
        ValueError: The number of entries is not the number of channels.
    """
    if len(channels) != image.shape[0]:
        raise ValueError(f"expected one scale for each of {image.shape[0]} channels; found {len(channels)}")
    result = np.empty(image.shape, dtype=np.float32)
    for plane, scale, out in zip(image, channels, result, strict=True):
        match scale.method:
            case "ct_window":
                _window(plane, out, low=scale.low, high=scale.high, mean=scale.mean, std=scale.std)
            case "zscore":
                low, high, mean, std = _own_statistics(plane)
                _window(plane, out, low=low, high=high, mean=mean, std=std)
            case "suv":
                _window(plane, out, low=0.0, high=scale.high, mean=0.0, std=scale.std)
            case "rgb":
                _window(plane, out, low=0.0, high=255.0, mean=255.0 * scale.mean, std=255.0 * scale.std)
    return result


def _window(plane: Array, out: npt.NDArray[np.float32], *, low: float, high: float, mean: float, std: float) -> None:
    out[...] = plane
    np.clip(out, low, high, out=out)
    out -= np.float32(mean)
    out /= np.float32(max(std, _SMALL))


def _own_statistics(plane: Array) -> tuple[float, float, float, float]:
    """Percentiles 0.5 and 99.5, and mean and standard deviation after clipping to them."""
    values = plane.ravel()
    values = values[:: max(1, values.size // _ENOUGH_VOXELS)].astype(np.float64)
    inside = values[values != 0]
    if inside.size and inside.size < (1.0 - _BACKGROUND_SHARE) * values.size:
        values = inside
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.5)))
    values = np.clip(values, low, high)
    std = float(values.std())
    return low, high, float(values.mean()), std if std > _SMALL * max(1.0, abs(high)) else 1.0
