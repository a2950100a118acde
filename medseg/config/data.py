"""DataConfig, AugmentConfig: which cases, which folds, what happens to the voxels before the network sees them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from medseg.config.base import Section

__all__ = ["AugmentConfig", "DataConfig", "PlanConfig", "Probability"]

Probability = Annotated[float, Field(ge=0.0, le=1.0)]


class DataConfig(Section):
    """Where the cases come from."""

    manifest: str
    """Path of the manifest CSV, relative to the working directory."""
    folds: str | None = None
    """Path of the folds CSV; without it, NAME.folds.csv beside the manifest."""
    cache: str | None = None
    """Folder of the preprocessing cache; without it, .medseg-cache beside the manifest."""
    ignore_label: int | None = None
    """Label value whose voxels count neither in the loss nor in the metrics."""
    loader_workers: int | None = Field(default=None, ge=0)
    """Processes that prepare patches beside the training; without it, chosen from the processor's cores."""


class PlanConfig(Section):
    """What the researcher fixes of the plan; whatever is absent, `plan` decides from the data."""

    spatial_dims: Literal[2, 3] | None = None
    """2 or 3 spatial axes; without it, the images' own."""
    spacing: tuple[PositiveFloat, ...] | None = None
    """Target spacing in mm along each spatial axis."""
    patch_size: tuple[PositiveInt, ...] | None = None
    """Patch in voxels along each spatial axis."""
    batch_size: PositiveInt | None = None
    """Patches in one step."""
    iterations: PositiveInt | None = None
    """Optimiser steps of one run; with `train.budget_minutes` too, whichever ends first."""
    normalisation: Literal["ct_window", "zscore", "suv", "rgb"] | None = None
    """How intensities are scaled, for every channel."""
    memory_gb: PositiveFloat | None = None
    """Memory that training may take on the device; without it, what the device has."""


class AugmentConfig(Section):
    """Probability of each random change of a training patch; 0 switches it off."""

    flip: Probability = 0.5
    """Mirror along each axis, each with this probability. Switch off where left and right differ in meaning."""
    flip_axes: tuple[Annotated[int, Field(ge=0, le=2)], ...] = (0, 1, 2)
    """Axes that `flip` mirrors and `inference.mirror` averages over: 0 left-right, 1 back-front, 2 foot-head."""
    rotate: Probability = 0.2
    """Rotation."""
    rotate_degrees: float = Field(default=30.0, ge=0.0, le=180.0)
    """Largest rotation about each axis, in degrees."""
    zoom: Probability = 0.2
    """Zoom, each axis by the same factor."""
    zoom_range: tuple[PositiveFloat, PositiveFloat] = (0.7, 1.4)
    """Smallest and largest zoom factor."""
    shear: Probability = 0.0
    """Shear."""
    elastic: Probability = 0.0
    """Smooth random deformation."""
    gamma: Probability = 0.3
    """Gamma curve."""
    contrast: Probability = 0.15
    """Contrast about the mean."""
    brightness: Probability = 0.15
    """Brightness, multiplicative."""
    noise: Probability = 0.1
    """Gaussian noise."""
    blur: Probability = 0.1
    """Gaussian blur."""
    low_resolution: Probability = 0.1
    """Simulated low resolution: down and up again."""
    bias_field: Probability = 0.0
    """Smooth multiplicative field, as in MR."""
    hue: Probability = 0.0
    """Hue shift (RGB only)."""
    saturation: Probability = 0.0
    """Saturation (RGB only)."""
    clahe: Probability = 0.0
    """Contrast-limited adaptive histogram equalisation (2D only)."""
    motion_blur: Probability = 0.0
    """Motion blur along a random line (2D only)."""
    hair: Probability = 0.0
    """Drawn hairs (RGB only)."""
    ruler: Probability = 0.0
    """Drawn ruler marks (RGB only)."""
    mixup: Probability = 0.0
    """MixUp: two samples of a batch blended (Zhang et al. 2018)."""
    cutmix: Probability = 0.0
    """CutMix: a box of another sample pasted in (Yun et al. 2019)."""
