"""make_plan: from a fingerprint, a device and a time budget to every number of the training.

The rules for spacing, patch and topology follow nnU-Net's heuristics (Isensee et al. 2021, Supplementary Note 2); what
differs is that the work of one step is chosen so that the run has enough steps on this device in this time, and that
photographs get a pretrained 2D encoder.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from medseg.config import StudyConfig, UNetConfig
from medseg.data.fingerprint import Fingerprint
from medseg.errors import PlanError
from medseg.planning.device import DeviceFacts
from medseg.planning.plan import ChannelNormalisation, Plan
from medseg.planning.private import check_private_plan
from medseg.transforms.normalise import IMAGENET_MEAN, IMAGENET_STD
from medseg.types import Shape, Spacing

__all__ = ["make_plan"]

Method = Literal["ct_window", "zscore", "suv", "rgb"]
_SMALLEST_EDGE = 4
_ANISOTROPIC = 3.0
_EFFICIENT_STRIDES = ((1, 1), (2, 2), (2, 2), (2, 2), (2, 2), (2, 2))
_IMAGENET = tuple(
    ChannelNormalisation("rgb", mean=mean, std=std) for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)
)
_DEFAULT_ITERATIONS: Mapping[str, int] = {"cpu": 2000, "cuda": 25000}
_STEP_SECONDS: Mapping[str, float] = {"cpu": 0.6, "cuda": 0.35}
"""Work that one step should hold: long enough to use the device, short enough for many steps."""
_PICTURE_STEP_SECONDS: Mapping[str, float] = {"cpu": 1.5, "cuda": 0.35}
"""The same for the pretrained encoder, whose batch statistics want a batch of 16 photographs."""
_WANTED_STEPS = 300
"""A short budget gets smaller steps, so that it still holds about this many."""
_SHORTEST_STEP_SECONDS = 0.08
_EFFICIENT_SHARE = 2.4
"""Work of a pixel in the EfficientNet-Lite0 U-Net over that in a 2D U-Net of 16 features, measured on a CPU."""


@dataclass
class _Reasons:
    sentences: dict[str, str] = field(default_factory=dict)

    def give(self, choice: str, sentence: str) -> None:
        self.sentences[choice] = sentence


def make_plan(study: StudyConfig, fingerprint: Fingerprint, device: DeviceFacts) -> Plan:
    """Decide everything that the study leaves open.

    Args:
        study: What the researcher fixed.
        fingerprint: Facts of the data set.
        device: Facts of the machine.

    Raises:
        PlanError: The study asks for something that these data or this device cannot give.
    """
    reasons = _Reasons()
    dims = _spatial_dims(study, fingerprint)
    normalisation = _normalisation(study, fingerprint, reasons)
    rgb = all(n.method == "rgb" for n in normalisation)
    fit: Literal["spacing", "image"] = "image" if rgb and dims == 2 and study.plan.spacing is None else "spacing"
    if study.train.privacy is not None:
        reasons.give("privacy", check_private_plan(study, study.train.privacy, fit=fit, normalisation=normalisation))
    if study.model.name == "efficient_unet" and dims != 2:
        raise PlanError("model.name: efficient_unet is a 2D network and the images are 3D; set model.name: unet")
    spacing = _spacing(study, fingerprint, dims, fit, reasons)
    precision = _precision(study, device, reasons)
    extent = _median_extent(fingerprint, spacing, fit)
    base = _base_features(study, device, reasons)
    seconds = _step_seconds(study, device)
    work = _voxel_budget(study, base, device, dims, seconds)
    patch = _patch_size(study, extent, spacing, work, seconds, device, fit, reasons)
    strides, kernels = _topology(study, patch, spacing, fit, reasons)
    patch = _to_multiple(patch, strides)
    if study.plan.patch_size is not None and patch != tuple(study.plan.patch_size):
        total = _total_stride(strides)
        raise PlanError(
            f"plan.patch_size: expected multiples of {list(total)} (the network's total stride), "
            f"found {list(study.plan.patch_size)}; the nearest is {list(patch)}"
        )
    maximum = study.model.max_features if isinstance(study.model, UNetConfig) else 320
    features = tuple(min(base * 2**level, maximum) for level in range(len(strides)))
    batch = _batch_size(study, patch, base, work, seconds, device, precision, reasons)
    iterations = _iterations(study, device, seconds * batch * math.prod(patch) / work, reasons)
    _crop_reason(fingerprint, reasons)
    return Plan(
        spatial_dims=dims,
        channels=fingerprint.channels,
        modality=fingerprint.modality,
        labels=dict(fingerprint.labels),
        fit=fit,
        spacing=spacing,
        crop_nonzero=fingerprint.modality == "MR",
        normalisation=normalisation,
        patch_size=patch,
        batch_size=batch,
        iterations=iterations,
        budget_minutes=study.train.budget_minutes,
        features=features,
        strides=strides,
        kernels=kernels,
        precision=precision,
        device=device.kind,
        deep_supervision=study.model.deep_supervision,
        reasons=reasons.sentences,
    )


def _spatial_dims(study: StudyConfig, fingerprint: Fingerprint) -> Literal[2, 3]:
    if study.plan.spatial_dims is not None and study.plan.spatial_dims != fingerprint.spatial_dims:
        raise PlanError(
            f"plan.spatial_dims is {study.plan.spatial_dims}, but the images have {fingerprint.spatial_dims} axes; "
            "leave it out, or choose another manifest"
        )
    return 3 if fingerprint.spatial_dims == 3 else 2


def _normalisation(study: StudyConfig, fingerprint: Fingerprint, reasons: _Reasons) -> tuple[ChannelNormalisation, ...]:
    by_modality: dict[str, Method] = {"CT": "ct_window", "PT": "suv"}
    planned: Method = "rgb" if fingerprint.rgb else by_modality.get(fingerprint.modality, "zscore")
    method: Method = study.plan.normalisation or planned
    if method == "rgb":
        if not fingerprint.rgb:
            raise PlanError("plan.normalisation: rgb needs three 8-bit colour channels; choose zscore")
        reasons.give(
            "normalisation", "Colour photographs: scaled by ImageNet's mean and deviation, as the encoder expects."
        )
        return _IMAGENET
    result = []
    for channel in fingerprint.channels:
        facts = fingerprint.foreground[channel]
        if method == "ct_window":
            result.append(
                ChannelNormalisation(method, facts["p00_5"], facts["p99_5"], facts["mean"], max(facts["std"], 1e-6))
            )
        elif method == "suv":
            result.append(
                ChannelNormalisation(method, 0.0, max(facts["p99_5"], 1e-6), 0.0, max(facts["p99_5"] / 4, 1e-6))
            )
        else:
            result.append(ChannelNormalisation(method))
    sentence = {
        "ct_window": "CT numbers are absolute: clipped at the 0.5 and 99.5 percentiles of the lesions' voxels.",
        "suv": "PET uptake is absolute: clipped at the 99.5 percentile of the lesions' uptake, zero stays zero.",
        "zscore": "Intensities are relative: each image clipped at its own 0.5 and 99.5 percentiles, then z-scored.",
    }[method]
    reasons.give("normalisation", sentence)
    return tuple(result)


def _spacing(study: StudyConfig, fingerprint: Fingerprint, dims: int, fit: str, reasons: _Reasons) -> Spacing:
    if study.plan.spacing is not None:
        if len(study.plan.spacing) != dims:
            raise PlanError(f"plan.spacing: expected {dims} numbers, found {len(study.plan.spacing)}")
        reasons.give("spacing", "Fixed by the study.")
        return study.plan.spacing
    if fit == "image":
        reasons.give("spacing", "Photographs have no spacing: each is resized onto the patch as a whole.")
        return (1.0,) * dims
    spacings = np.array(fingerprint.spacings, dtype=float)
    target = np.median(spacings, axis=0)
    coarse = int(np.argmax(target))
    if target[coarse] > _ANISOTROPIC * float(np.delete(target, coarse).max()):
        target[coarse] = np.percentile(spacings[:, coarse], 10)
        reasons.give(
            "spacing",
            "Median of the data; the much coarser axis at its 10th percentile, so that fine cases keep detail.",
        )
    else:
        reasons.give("spacing", "Median spacing of the data.")
    return tuple(round(float(v), 4) for v in target)


def _precision(study: StudyConfig, device: DeviceFacts, reasons: _Reasons) -> Literal["32", "bf16", "16"]:
    if study.train.precision != "auto":
        if study.train.precision == "16" and device.kind == "cpu":
            raise PlanError("train.precision: 16 needs a GPU; use auto, bf16 or 32")
        reasons.give("precision", "Fixed by the study.")
        return study.train.precision
    if study.train.privacy is not None and not device.fast_bf16:
        reasons.give("precision", "Private training clips gradients as they are; half precision would scale them.")
        return "32"
    if device.fast_bf16:
        reasons.give("precision", "The device computes bfloat16 in hardware.")
        return "bf16"
    reasons.give("precision", "The device has no bfloat16 arithmetic." if device.kind == "cpu" else "Half precision.")
    return "32" if device.kind == "cpu" else "16"


def _median_extent(fingerprint: Fingerprint, spacing: Spacing, fit: str) -> Shape:
    """Median shape of the images on the target grid, in voxels."""
    shapes = np.array(fingerprint.shapes, dtype=float)
    if fit == "spacing":
        shapes = shapes * np.array(fingerprint.spacings, dtype=float) / np.array(spacing)
    return tuple(max(1, round(float(v))) for v in np.median(shapes, axis=0))


def _base_features(study: StudyConfig, device: DeviceFacts, reasons: _Reasons) -> int:
    if not isinstance(study.model, UNetConfig):
        reasons.give("features", "Given by the EfficientNet-Lite0 encoder.")
        return 16
    if study.model.base_features is not None:
        reasons.give("features", "Fixed by the study.")
        return study.model.base_features
    if device.kind == "cpu":
        reasons.give("features", "16 at full resolution: on a CPU, more steps serve better than wider layers.")
        return 16
    reasons.give("features", "32 at full resolution: the GPU has the compute.")
    return 32


def _step_seconds(study: StudyConfig, device: DeviceFacts) -> float:
    """Seconds that one step should take; shorter in a short budget."""
    table = _STEP_SECONDS if isinstance(study.model, UNetConfig) else _PICTURE_STEP_SECONDS
    if study.train.budget_minutes is None:
        return table[device.kind]
    return max(_SHORTEST_STEP_SECONDS, min(table[device.kind], study.train.budget_minutes * 60.0 / _WANTED_STEPS))


def _voxel_budget(study: StudyConfig, base: int, device: DeviceFacts, dims: int, seconds: float) -> float:
    """Voxels that one step should hold; a residual U-Net costs about 3 x 54 x base^2 x 2.4 operations a voxel in 3D."""
    kernel = 27 if dims == 3 else 9
    operations = 3 * 2 * 2 * kernel * base**2 * (2.4 if dims == 3 else 3.5)
    share = 1.0 if isinstance(study.model, UNetConfig) else _EFFICIENT_SHARE
    return device.tflops * 1e12 * seconds / (operations * share)


def _patch_size(
    study: StudyConfig,
    extent: Shape,
    spacing: Spacing,
    work: float,
    seconds: float,
    device: DeviceFacts,
    fit: str,
    reasons: _Reasons,
) -> Shape:
    dims = len(extent)
    if study.plan.patch_size is not None:
        if len(study.plan.patch_size) != dims:
            raise PlanError(f"plan.patch_size: expected {dims} numbers, found {len(study.plan.patch_size)}")
        reasons.give("patch_size", "Fixed by the study.")
        return study.plan.patch_size
    if fit == "image":
        longest = 512 if device.kind == "cuda" else 256 if seconds >= _STEP_SECONDS["cpu"] else 128
        scale = longest / max(extent)
        patch = tuple(max(64, 32 * round(n * scale / 32)) for n in extent)
        reasons.give(
            "patch_size", f"The whole photograph, {longest} pixels on its longer side, in the median aspect ratio."
        )
        return patch
    limit = work / 2
    patch_mm = [min(n * s, 1e9) for n, s in zip(extent, spacing, strict=True)]
    edges = [float(n) for n in extent]
    while math.prod(max(8.0, e) for e in edges) > limit and max(edges) > 16:
        longest_axis = int(np.argmax([e * s for e, s in zip(edges, spacing, strict=True)]))
        edges[longest_axis] *= 0.95
        patch_mm[longest_axis] = edges[longest_axis] * spacing[longest_axis]
    whole = all(abs(e - n) < 1 for e, n in zip(edges, extent, strict=True))
    reasons.give(
        "patch_size",
        "The median image fits as a whole."
        if whole
        else "As much of the image as one step on this device can hold twice.",
    )
    return tuple(max(8, math.ceil(e)) for e in edges)


def _topology(
    study: StudyConfig, patch: Shape, spacing: Spacing, fit: str, reasons: _Reasons
) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    dims = len(patch)
    if not isinstance(study.model, UNetConfig):
        reasons.give("levels", "Given by the EfficientNet-Lite0 encoder: five halvings.")
        return _EFFICIENT_STRIDES, ((3, 3),) * len(_EFFICIENT_STRIDES)
    size = [float(n) for n in patch]
    voxel = [1.0] * dims if fit == "image" else list(spacing)
    strides: list[tuple[int, ...]] = [(1,) * dims]
    kernels: list[tuple[int, ...]] = []
    limit = study.model.levels or (6 if dims == 3 else 7)
    while True:
        finest = min(voxel)
        kernels.append(tuple(3 if v < 2 * finest or dims == 2 else 1 for v in voxel))
        stride = tuple(2 if n / 2 >= _SMALLEST_EDGE and v < 2 * finest else 1 for n, v in zip(size, voxel, strict=True))
        if len(strides) >= limit or all(s == 1 for s in stride):
            break
        strides.append(stride)
        size = [n / s for n, s in zip(size, stride, strict=True)]
        voxel = [v * s for v, s in zip(voxel, stride, strict=True)]
    if study.model.levels is not None and len(strides) < study.model.levels:
        raise PlanError(
            f"model.levels: a patch of {list(patch)} voxels allows {len(strides)} levels, not {study.model.levels}"
        )
    reasons.give("levels", f"{len(strides)} levels: each axis is halved while at least {_SMALLEST_EDGE} voxels remain.")
    return tuple(strides), tuple(kernels)


def _total_stride(strides: tuple[tuple[int, ...], ...]) -> Shape:
    return tuple(math.prod(axis) for axis in zip(*strides, strict=True))


def _to_multiple(patch: Shape, strides: tuple[tuple[int, ...], ...]) -> Shape:
    return tuple(max(t, t * math.ceil(n / t - 0.25)) for n, t in zip(patch, _total_stride(strides), strict=True))


def _batch_size(
    study: StudyConfig,
    patch: Shape,
    base: int,
    work: float,
    seconds: float,
    device: DeviceFacts,
    precision: str,
    reasons: _Reasons,
) -> int:
    """Patches in one step."""
    voxels = math.prod(patch)
    bytes_per_voxel = 14 * base * (4 if precision == "32" else 2) * 1.4
    fits = int(device.memory_gb * 2**30 / (bytes_per_voxel * voxels))
    if study.plan.batch_size is not None:
        batch = study.plan.batch_size
        reasons.give("batch_size", "Fixed by the study.")
    elif study.train.privacy is not None:
        batch = study.train.privacy.patches
        reasons.give("batch_size", "The patches of one patient; a step takes several patients one after the other.")
    else:
        batch = min(max(2, round(work / voxels)), 16 if device.kind == "cpu" else 64, max(fits, 0))
        reasons.give("batch_size", f"Work for about {seconds:.2g} s a step on this device.")
    if fits < batch or batch < 1:
        raise PlanError(
            f"a batch of {batch} patches of {list(patch)} voxels needs about "
            f"{bytes_per_voxel * voxels * batch / 2**30:.1f} GB, the device gives {device.memory_gb:.1f} GB; "
            "make plan.patch_size or plan.batch_size smaller"
        )
    return batch


def _iterations(study: StudyConfig, device: DeviceFacts, step_seconds: float, reasons: _Reasons) -> int:
    if study.plan.iterations is not None:
        ends = "; the time budget ends the run earlier if it has to" if study.train.budget_minutes is not None else ""
        reasons.give("iterations", f"Fixed by the study{ends}.")
        return study.plan.iterations
    if study.train.budget_minutes is not None:
        reasons.give("iterations", "An estimate: the time budget decides, the schedule ends where the budget ends.")
        return max(10, int(study.train.budget_minutes * 60 / step_seconds))
    reasons.give("iterations", f"Default for a {device.kind}; give train.budget_minutes to let the time decide.")
    return _DEFAULT_ITERATIONS[device.kind]


def _crop_reason(fingerprint: Fingerprint, reasons: _Reasons) -> None:
    if fingerprint.modality == "MR":
        reasons.give("crop", "MR: voxels of value 0 around the body carry nothing and are cut off.")
    else:
        reasons.give("crop", "No crop: outside values are part of the image.")
