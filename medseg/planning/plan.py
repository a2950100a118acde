"""Plan: every number that is decided from the data, the device and the time, with a sentence of reason for each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from medseg.errors import RunError
from medseg.transforms.preprocess import Preprocessing
from medseg.types import Shape, Spacing

__all__ = ["ChannelNormalisation", "Plan"]


@dataclass(frozen=True)
class ChannelNormalisation:
    """How one channel's intensities are scaled.

    Attributes:
        method: ``ct_window``: clip to [low, high], subtract `mean`, divide by `std`, all four taken from the foreground
            of the data set. ``zscore``: per image, clipped at its own 0.5 and 99.5 percentiles. ``suv``: clip to
            [0, high], divide by `std`. ``rgb``: 0..255 to 0..1, subtract `mean`, divide by `std`.
        low: Lower clip, in the image's unit.
        high: Upper clip, in the image's unit.
        mean: Subtracted after clipping.
        std: Divisor.
    """

    method: Literal["ct_window", "zscore", "suv", "rgb"]
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class Plan:
    """What `plan` decided; plan.json in the run folder.

    Attributes:
        spatial_dims: 2 or 3.
        channels: Names of the input channels, in order.
        modality: As in the manifest.
        labels: Label value in the files to name, without background. The network's class k is the k-th of them, from 1.
        fit: ``spacing``: images are resampled to `spacing`. ``image``: each image is resized onto `patch_size`.
        spacing: Target voxel size in mm (meaningless with ``fit: image``).
        crop_nonzero: Crop to the bounding box of nonzero voxels before anything else.
        normalisation: One entry per channel.
        patch_size: Patch in voxels (x, y[, z]).
        batch_size: Patches that go through the network together: those of one step, with ``train.privacy`` those of one
            patient.
        iterations: Optimiser steps of one run; an estimate when a time budget decides.
        budget_minutes: Wall-clock minutes of one run, or None.
        features: Feature maps per resolution level.
        strides: Downsampling before each level, per axis; the first is all 1.
        kernels: Convolution kernel per level, per axis.
        precision: ``32``, ``bf16`` or ``16``.
        device: ``cpu`` or ``cuda``.
        deep_supervision: Whether the network has coarser outputs in training.
        reasons: One sentence for each choice.
    """

    spatial_dims: Literal[2, 3]
    channels: tuple[str, ...]
    modality: str
    labels: Mapping[int, str]
    fit: Literal["spacing", "image"]
    spacing: Spacing
    crop_nonzero: bool
    normalisation: tuple[ChannelNormalisation, ...]
    patch_size: Shape
    batch_size: int
    iterations: int
    budget_minutes: float | None
    features: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    precision: Literal["32", "bf16", "16"]
    device: Literal["cpu", "cuda"]
    deep_supervision: bool
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def label_values(self) -> tuple[int, ...]:
        """Label values in the files, in the order of the network's classes 1, 2, ..."""
        return tuple(sorted(self.labels))

    @property
    def classes(self) -> int:
        """Number of the network's outputs, background included."""
        return len(self.labels) + 1

    @property
    def total_stride(self) -> Shape:
        """Downsampling from the input to the coarsest level, per axis; shapes must be multiples of it."""
        total = [1] * self.spatial_dims
        for stride in self.strides:
            total = [t * s for t, s in zip(total, stride, strict=True)]
        return tuple(total)

    @property
    def rgb(self) -> bool:
        """Whether the channels are the colours of a photograph."""
        return all(n.method == "rgb" for n in self.normalisation)

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to every image."""
        return Preprocessing(self.fit, self.spacing, self.patch_size, self.crop_nonzero, self.normalisation)

    def preprocessing_digest(self) -> str:
        """SHA-256 over what preprocessing depends on; part of the cache's address."""
        content = {
            "spatial_dims": self.spatial_dims,
            "channels": self.channels,
            "labels": self.label_values,
            "fit": self.fit,
            "spacing": self.spacing if self.fit == "spacing" else self.patch_size,
            "crop_nonzero": self.crop_nonzero,
            "normalisation": [dataclasses.asdict(n) for n in self.normalisation],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """As written to plan.json."""
        content = dataclasses.asdict(self)
        content["labels"] = {str(value): name for value, name in self.labels.items()}
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Plan:
        """The inverse of `to_dict`.

        Raises:
            RunError: The content is not a plan of this version of medseg.
        """
        values = dict(content)
        try:
            values["labels"] = {int(value): str(name) for value, name in values["labels"].items()}
            values["normalisation"] = tuple(ChannelNormalisation(**n) for n in values["normalisation"])
            for name in ("channels", "spacing", "patch_size", "features"):
                values[name] = tuple(values[name])
            for name in ("strides", "kernels"):
                values[name] = tuple(tuple(v) for v in values[name])
            return cls(**values)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise RunError(
                "plan.json is not a plan of this version of medseg; delete it and give the command of the study again"
            ) from None

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read plan.json.

        Raises:
            RunError: The file is missing or no plan.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise RunError(
                "plan.json is missing or unreadable; delete it and give the command of the study again"
            ) from None
        return cls.from_dict(content)
