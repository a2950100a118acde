"""Intensity: noise, blur, brightness, contrast, gamma, low resolution and bias field of one patch.

Each change is a plain function of an array (channel, x, y[, z]) float32 and its drawn parameters; `change_intensity`
draws them. Gamma, low resolution and bias field are MONAI's; noise and blur are numpy's and scipy's, two to three times
as fast on one core as MONAI's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import AdjustContrast, RandBiasField, RandSimulateLowResolution
from monai.utils import InterpolateMode
from scipy import ndimage

from medseg.config import AugmentConfig

__all__ = [
    "add_noise",
    "blur",
    "change_contrast",
    "change_gamma",
    "change_intensity",
    "lower_resolution",
    "multiply_bias_field",
]

_Image = npt.NDArray[np.float32]


def change_intensity(image: _Image, augment: AugmentConfig, *, rgb: bool, generator: np.random.Generator) -> _Image:
    """Draw and apply the intensity changes of one patch.

    Brightness and contrast of a photograph are part of its colour change (`medseg.transforms.optics`), not of this one.

    Args:
        image: (channel, x, y[, z]) float32; normalised, or 0..1 when `rgb`.
        augment: Probabilities.
        rgb: Whether the channels are the colours of a photograph.
        generator: Source of every draw.

    Returns:
        The changed patch, same shape, float32. Not clipped.
    """
    if generator.random() < augment.bias_field:
        image = multiply_bias_field(image, seed=int(generator.integers(2**32)))
    if not rgb and generator.random() < augment.brightness:
        image = image * np.float32(generator.uniform(0.75, 1.25))
    if not rgb and generator.random() < augment.contrast:
        image = change_contrast(image, factor=generator.uniform(0.75, 1.25))
    if generator.random() < augment.gamma:
        invert = not rgb and generator.random() < 0.25
        image = change_gamma(image, gamma=generator.uniform(0.7, 1.5), invert=invert, keep_statistics=not rgb)
    if generator.random() < augment.blur:
        image = blur(image, sigma=generator.uniform(0.5, 1.5 if rgb else 1.0))
    if generator.random() < augment.low_resolution:
        image = lower_resolution(image, seed=int(generator.integers(2**32)))
    if generator.random() < augment.noise:
        image = add_noise(image, sigma=generator.uniform(0.0, 0.06 if rgb else 0.3), generator=generator)
    return image


def add_noise(image: _Image, *, sigma: float, generator: np.random.Generator) -> _Image:
    """Add Gaussian noise of standard deviation `sigma`, independent in every voxel and channel."""
    noise = generator.standard_normal(image.shape, dtype=np.float32)
    noise *= np.float32(sigma)
    noise += image
    return noise


def blur(image: _Image, *, sigma: float) -> _Image:
    """Gaussian blur of `sigma` voxels along every spatial axis; the border is mirrored."""
    sigmas = (0.0, *[sigma] * (image.ndim - 1))
    return np.asarray(ndimage.gaussian_filter(image, sigmas, truncate=3.0), dtype=np.float32)


def change_contrast(image: _Image, *, factor: float) -> _Image:
    """Stretch each channel about its mean by `factor`, within the channel's own range."""
    axes = tuple(range(1, image.ndim))
    mean = image.mean(axis=axes, keepdims=True)
    low, high = image.min(axis=axes, keepdims=True), image.max(axis=axes, keepdims=True)
    changed: _Image = np.clip((image - mean) * np.float32(factor) + mean, low, high)
    return changed


def change_gamma(image: _Image, *, gamma: float, invert: bool = False, keep_statistics: bool = True) -> _Image:
    """Raise each channel, scaled to its own range, to the power `gamma`.

    Args:
        image: (channel, x, y[, z]).
        gamma: Exponent; above 1 darkens.
        invert: Work on the negative.
        keep_statistics: Restore each channel's mean and standard deviation afterwards.
    """
    adjust = AdjustContrast(float(gamma), invert_image=invert, retain_stats=keep_statistics)
    return np.stack([_plain(adjust(torch.from_numpy(np.ascontiguousarray(channel)))) for channel in image])


def lower_resolution(image: _Image, *, seed: int) -> _Image:
    """Sample down to between half and all of the voxels (nearest) and up again (linear)."""
    linear = InterpolateMode.BILINEAR if image.ndim == 3 else InterpolateMode.TRILINEAR
    change = RandSimulateLowResolution(prob=1.0, upsample_mode=linear, zoom_range=(0.5, 1.0))
    change.set_random_state(seed=seed)
    return _plain(change(image))


def multiply_bias_field(image: _Image, *, seed: int) -> _Image:
    """Multiply by the exponential of a smooth random polynomial of degree 3, the same for every channel."""
    change = RandBiasField(degree=3, coeff_range=(-0.15, 0.15), prob=1.0)
    change.set_random_state(seed=seed)
    return _plain(change(image))


def _plain(image: torch.Tensor | _Image) -> _Image:
    return np.asarray(image, dtype=np.float32)
