"""Predictor: trained networks and their plan, ready to label whole images on the images' own grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from medseg.config import EfficientUNetConfig, ModelConfig, StudyConfig
from medseg.data.reading import require_same_channels, require_same_pet
from medseg.data.volume import Geometry, Volume, closest_ras
from medseg.errors import DataError, ReadError
from medseg.inference.postprocess import clean_labels
from medseg.inference.window import predict_probabilities
from medseg.models import build_model
from medseg.planning import Plan, inspect_device
from medseg.transforms.normalise import normalise
from medseg.transforms.preprocess import each_native, preprocess, to_native
from medseg.types import Array, FloatArray, LabelMap

__all__ = ["Prediction", "Predictor", "build_predictor", "predictor_of"]

_FEWEST_SLICES = 2


@dataclass(frozen=True, eq=False)
class Prediction:
    """A label map on the grid of the image it was predicted from.

    Attributes:
        label_map: (x, y[, z]) uint8 or uint16, values as in the manifest's labels, 0 for background.
        geometry: The image's grid.
        probabilities: (class, x, y[, z]) float16 on the same grid, or None when not asked for.
    """

    label_map: LabelMap
    geometry: Geometry
    probabilities: FloatArray | None = None


@dataclass(frozen=True, eq=False)
class Predictor:
    """Networks of one plan; their mean is the prediction.

    Attributes:
        networks: In evaluation mode, on one device.
        plan: How images are prepared and what the outputs mean.
        overlap: Least overlap of neighbouring windows.
        mirror_axes: Spatial axes along which mirrored copies are averaged.
        batch_size: Windows in one forward pass.
        largest_component: Keep the largest component of each label only.
        smallest_mm3: Components below this volume are removed (mm2 in 2D).
        scratch: Folder for large temporary sums; the system's without it.
    """

    networks: Sequence[nn.Module]
    plan: Plan
    overlap: float
    mirror_axes: tuple[int, ...]
    batch_size: int
    largest_component: bool = False
    smallest_mm3: float = 0.0
    scratch: Path | None = None

    def predict(self, volume: Volume, *, probabilities: bool = False) -> Prediction:
        """Label an image.

        Args:
            volume: The image, with the plan's channels; where they have no names, in the plan's order.
            probabilities: Whether to return the probabilities too.

        Raises:
            DataError: The image has other channels or axes than the plan, PET in another quantity, or is a single slice
                of a volume.
        """
        if len(volume.channels) != len(self.plan.channels) or len(volume.shape) != self.plan.spatial_dims:
            raise DataError(
                f"expected an image of {len(self.plan.channels)} channel(s) and {self.plan.spatial_dims} axes, "
                f"found {len(volume.channels)} and {len(volume.shape)}; this model was trained on other images"
            )
        require_same_pet(volume.channels, self.plan.channels)
        volume = volume.in_order(self.plan.channels)
        require_same_channels(volume.channels, self.plan.channels)
        if self.plan.spatial_dims == 3 and min(volume.shape) < _FEWEST_SLICES:
            raise DataError(
                "expected a volume; found a single slice, whose neighbours this model has always seen. Predict the "
                "whole series, or use a model that was trained on 2D images"
            )
        prepared = preprocess(volume, self.plan.preprocessing)
        with self.probabilities(prepared.image) as grid:
            label_map = to_native(grid, prepared.placement)
            kept = None
            if probabilities:
                kept = np.stack([plane.astype(np.float16) for plane in each_native(grid, prepared.placement)])
        label_map = clean_labels(
            label_map,
            spacing=volume.spacing,
            largest_component=self.largest_component,
            smallest_mm3=self.smallest_mm3,
        )
        values = np.array([0, *self.plan.label_values])
        mapped = values.astype(np.min_scalar_type(int(values.max())))[label_map]
        return Prediction(mapped, volume.geometry, kept)

    def doubt(self, volume: Volume) -> str:
        """Why a prediction of this volume deserves doubt, a sentence; empty where nothing speaks against it.

        A volume is too small where it fills less than half of the plan's patch along an axis: there the network sees
        more filling than image.
        """
        if self.plan.spatial_dims != 3 or self.plan.fit != "spacing" or len(volume.shape) != 3:
            return ""
        axes, _ = closest_ras(volume.affine, 3)
        length = [volume.shape[axis] * volume.spacing[axis] for axis in axes]
        window = [count * step for count, step in zip(self.plan.patch_size, self.plan.spacing, strict=True)]
        if all(own >= whole / 2 for own, whole in zip(length, window, strict=True)):
            return ""
        told, seen = (" x ".join(f"{value:.3g}" for value in values) for values in (length, window))
        return (
            f"the volume ({told} mm from left to right, back to front, upwards) fills less than half of the {seen} mm "
            "that this model looks at, and it was trained on larger ones; was a part of the series left out?"
        )

    def label_prepared(self, image: Array) -> LabelMap:
        """Class indices (x, y[, z]) uint8 of an image that is preprocessed already, on the preprocessed grid."""
        with self.probabilities(image) as grid:
            indices: LabelMap = grid.argmax(axis=0).astype(np.uint8)
        return indices

    def probabilities(self, image: Array) -> AbstractContextManager[FloatArray]:
        """Probabilities (class, x, y[, z]) of an image that is preprocessed already, as long as the context lasts."""
        if self.plan.rgb:
            image = normalise(image, self.plan.normalisation)
        dtype: Mapping[str, torch.dtype] = {"bf16": torch.bfloat16, "16": torch.float16}
        return predict_probabilities(
            self.networks,
            image,
            classes=self.plan.classes,
            patch_size=self.plan.patch_size,
            overlap=self.overlap,
            mirror_axes=self.mirror_axes,
            batch_size=self.batch_size,
            autocast=dtype.get(self.plan.precision),
            scratch=self.scratch,
        )


def build_predictor(
    study: StudyConfig,
    plan: Plan,
    *,
    states: Sequence[Mapping[str, Tensor]],
    device: str | None = None,
    scratch: Path | None = None,
) -> Predictor:
    """Networks from their weights, ready to predict.

    Args:
        study: The resolved study.
        plan: Its plan.
        states: Weights, one entry a fold.
        device: ``cpu`` or ``cuda``; without it the GPU where there is one.
        scratch: Folder for large temporary sums.

    Raises:
        ReadError: The weights are not those of the study's network.
    """
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    networks = []
    for state in states:
        network = build_model(
            _without_download(study.model),
            spatial_dims=plan.spatial_dims,
            in_channels=len(plan.channels),
            out_channels=plan.classes,
            features=plan.features,
            strides=plan.strides,
            kernels=plan.kernels,
        )
        try:
            network.load_state_dict(dict(state))
        except RuntimeError:
            raise ReadError("the weights are not those of the study's network; package the run again") from None
        networks.append(network.to(place).eval())
    windows = study.inference.batch_size or max(1, 8 if plan.device == "cpu" else 16)
    mirrored = study.inference.mirror and study.augment.flip > 0
    axes = tuple(axis for axis in range(plan.spatial_dims) if mirrored and axis in study.augment.flip_axes)
    return predictor_of(
        study, _on_this_device(plan, place), networks, mirror_axes=axes, batch_size=windows, scratch=scratch
    )


def predictor_of(
    study: StudyConfig,
    plan: Plan,
    networks: Sequence[nn.Module],
    *,
    mirror_axes: tuple[int, ...],
    batch_size: int,
    scratch: Path | None = None,
) -> Predictor:
    """A predictor of networks that exist already.

    Args:
        study: The resolved study.
        plan: Its plan.
        networks: In evaluation mode, on one device.
        mirror_axes: Spatial axes along which mirrored copies are averaged.
        batch_size: Windows in one forward pass.
        scratch: Folder for large temporary sums.
    """
    return Predictor(
        networks=networks,
        plan=plan,
        overlap=study.inference.overlap,
        mirror_axes=mirror_axes,
        batch_size=batch_size,
        largest_component=study.inference.largest_component,
        smallest_mm3=study.inference.smallest_mm3,
        scratch=scratch,
    )


def _without_download(model: ModelConfig) -> ModelConfig:
    """The same network with fresh weights, since the trained ones are loaded over them."""
    return model.model_copy(update={"pretrained": False}) if isinstance(model, EfficientUNetConfig) else model


def _on_this_device(plan: Plan, place: str) -> Plan:
    """The plan with a precision that this device computes in; a GPU's float16 becomes float32 on a CPU."""
    if place == "cpu" and plan.precision != "32" and not inspect_device("cpu").fast_bf16:
        return replace(plan, precision="32")
    return replace(plan, precision="bf16") if place == "cpu" and plan.precision == "16" else plan
