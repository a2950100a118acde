"""Fingerprint: the facts of a data set that the plan rests on.

Cases are read one at a time and a bounded sample of voxels is kept, so memory doesn't grow with the number of cases.
Percentiles are pooled over cases of the data set's usual scale only: a few cases whose intensities are a thousand times
larger (the hippocampus data of the Medical Segmentation Decathlon have such) leave the figures as they were.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.data.cases import each_case, read_case_image, read_case_label
from medseg.data.manifest import Card, Case, Manifest
from medseg.data.volume import closest_ras
from medseg.errors import ManifestError
from medseg.types import Array, LabelMap, Shape, Spacing

__all__ = ["Fingerprint", "take_fingerprint"]

_Floats = npt.NDArray[np.float32]

_POOL_VOXELS = 2_000_000
"""Voxels kept of one channel over all cases, in the foreground and in the image."""
_CASE_VOXELS = 10_000
_FEWEST_CASE_VOXELS = 100
_PERCENTILE_VOXELS = 1_000_000
_SCALE_DECADES = 1.0
"""A case whose intensity range is more than this many powers of ten from the median's is out of scale."""
_PERCENTILES = {"p00_5": 0.5, "p50": 50.0, "p99_5": 99.5}


@dataclass(frozen=True)
class Fingerprint:
    """Facts of a data set.

    Attributes:
        spatial_dims: 2 or 3.
        cases: Number of cases.
        labelled: Number of cases with a label.
        channels: Channel names.
        modality: The cases' modality; ``OTHER`` when they differ.
        spacings: mm along each spatial axis in closest-RAS+ order, one entry a case.
        shapes: Voxels along each spatial axis in closest-RAS+ order, one entry a case.
        foreground: For each channel ``mean, std, p00_5, p50, p99_5, min, max`` of the labelled voxels; mean and std
            after clipping at the two outer percentiles. Equal to `image` when no voxel is labelled.
        image: The same of all voxels.
        per_case_scale: For each channel the medians over the cases of their own ``p00_5``, ``p50``, ``p99_5``, and
            ``spread``, the 90th over the 10th percentile of the cases' intensity ranges: near 1 where intensities
            compare between cases (CT), large where each case has its own scale (MR).
        out_of_scale: Number of cases left out of `foreground` and `image` because of their intensity range.
        foreground_fraction: Labelled voxels over all voxels, one entry a labelled case.
        components: Connected components (26 or 8 neighbours) of all labels together, one entry a labelled case.
        class_voxels: Label value to number of voxels.
        labels: Label value to name.
        rgb: Whether the images are photographs: 2D, three channels, 8 bit.
    """

    spatial_dims: int
    cases: int
    labelled: int
    channels: tuple[str, ...]
    modality: str
    spacings: list[Spacing]
    shapes: list[Shape]
    foreground: dict[str, dict[str, float]]
    image: dict[str, dict[str, float]]
    per_case_scale: dict[str, dict[str, float]]
    out_of_scale: int
    foreground_fraction: list[float]
    components: list[int]
    class_voxels: dict[int, int]
    labels: dict[int, str]
    rgb: bool

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON knows them."""
        facts = asdict(self)
        for name in ("class_voxels", "labels"):
            facts[name] = {str(value): entry for value, entry in facts[name].items()}
        return facts

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Fingerprint:
        """The inverse of `to_dict`, also after a way through JSON."""
        values = {entry.name: facts[entry.name] for entry in fields(cls)}
        for name in ("class_voxels", "labels"):
            values[name] = {int(value): entry for value, entry in facts[name].items()}
        values["channels"] = tuple(facts["channels"])
        for name in ("spacings", "shapes"):
            values[name] = [tuple(entry) for entry in facts[name]]
        return cls(**values)


@dataclass(frozen=True, eq=False)
class _CaseFacts:
    spacing: Spacing
    shape: Shape
    modality: str
    rgb: bool
    percentiles: npt.NDArray[np.float64]
    """Axes (channel, percentile)."""
    image: _Floats
    """Sampled voxels, axes (channel, voxel)."""
    foreground: _Floats
    extremes: npt.NDArray[np.float64]
    """Minimum and maximum, axes (region: foreground, image; channel; 2)."""
    class_voxels: dict[int, int] | None
    components: int


def take_fingerprint(
    manifest: Manifest,
    *,
    case_ids: Iterable[str] | None = None,
    jobs: int = 1,
    progress: Callable[[], None] | None = None,
    ignore_label: int | None = None,
) -> Fingerprint:
    """Read every case once and sum up.

    Args:
        manifest: The cases and their card.
        case_ids: Only these cases; without it, all.
        jobs: Threads that read.
        progress: Called after each case.
        ignore_label: Label value that is neither foreground nor background.

    Raises:
        DataError: A case cannot be read, holds NaN, or its label map has an unknown value; the message names the case.
        ManifestError: There is no case, 2D and 3D are mixed, or no labelled case has a labelled voxel.
    """
    cases = manifest.cases if case_ids is None else manifest.select(case_ids)
    if not cases:
        raise ManifestError("expected at least one case, found none")
    keep = int(np.clip(_POOL_VOXELS // len(cases), _FEWEST_CASE_VOXELS, _CASE_VOXELS))

    def look(case: Case) -> _CaseFacts:
        return _look(case, manifest.card, keep=keep, ignore_label=ignore_label)

    facts = list(each_case(look, cases, jobs=jobs, progress=progress))
    dims = {len(entry.shape) for entry in facts}
    if len(dims) > 1:
        raise ManifestError("the manifest mixes 2D images and 3D volumes; make one manifest of each")
    labelled = [entry for entry in facts if entry.class_voxels is not None]
    class_voxels: Counter[int] = Counter()
    for entry in labelled:
        class_voxels.update(entry.class_voxels or {})
    if labelled and not sum(class_voxels.values()):
        raise ManifestError("every label map is empty; a study needs labelled voxels, check what the labels hold")
    usual = _of_usual_scale(facts)
    modalities = {entry.modality for entry in facts}
    names = manifest.card.channels
    image = {name: _pool(usual, c, region=1) for c, name in enumerate(names)}
    return Fingerprint(
        spatial_dims=dims.pop(),
        cases=len(facts),
        labelled=len(labelled),
        channels=names,
        modality=modalities.pop() if len(modalities) == 1 else "OTHER",
        spacings=[entry.spacing for entry in facts],
        shapes=[entry.shape for entry in facts],
        foreground={name: _pool(usual, c, region=0) or image[name] for c, name in enumerate(names)},
        image=image,
        per_case_scale={name: _scale(facts, c) for c, name in enumerate(names)},
        out_of_scale=len(facts) - len(usual),
        foreground_fraction=[sum((e.class_voxels or {}).values()) / int(np.prod(e.shape)) for e in labelled],
        components=[entry.components for entry in labelled],
        class_voxels={value: class_voxels[value] for value in manifest.card.labels},
        labels=manifest.card.label_names(),
        rgb=all(entry.rgb for entry in facts),
    )


def _look(case: Case, card: Card, *, keep: int, ignore_label: int | None) -> _CaseFacts:
    import cc3d

    generator = np.random.default_rng(zlib.crc32(case.case.encode("ascii")))
    volume = read_case_image(case, channels=card.channels)
    # Preprocessing turns every image to its closest-RAS+ axes; spacing and shape must be told in that order.
    axes, _ = closest_ras(volume.affine, len(volume.shape))
    voxels = volume.array.reshape(volume.array.shape[0], -1)
    inside = np.empty(0, dtype=np.int64)
    class_voxels, components = None, 0
    if case.label is not None:
        label = read_case_label(case, card=card, geometry=volume.geometry, ignore_label=ignore_label)
        foreground: LabelMap = np.where(label == ignore_label, 0, label) if ignore_label is not None else label
        inside = np.flatnonzero(foreground)
        counts = np.bincount(foreground.ravel()[inside], minlength=256)
        class_voxels = {value: int(counts[value]) for value in card.labels}
        connectivity = 26 if label.ndim == 3 else 8
        components = int(cc3d.connected_components(foreground > 0, connectivity=connectivity, return_N=True)[1])
    return _CaseFacts(
        spacing=tuple(volume.spacing[axis] for axis in axes),
        shape=tuple(volume.shape[axis] for axis in axes),
        modality=volume.modality,
        rgb=len(volume.shape) == 2 and voxels.shape[0] == 3 and voxels.dtype == np.uint8,
        percentiles=_percentiles(voxels, generator),
        image=voxels[:, generator.integers(voxels.shape[1], size=keep)].astype(np.float32),
        foreground=voxels[:, generator.choice(inside, size=min(keep, inside.size), replace=False)].astype(np.float32),
        extremes=np.array([_extremes(voxels[:, inside]), _extremes(voxels)]),
        class_voxels=class_voxels,
        components=components,
    )


def _percentiles(voxels: Array, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    if voxels.shape[1] > _PERCENTILE_VOXELS:
        voxels = voxels[:, generator.integers(voxels.shape[1], size=_PERCENTILE_VOXELS)]
    return np.percentile(voxels.astype(np.float32, copy=False), list(_PERCENTILES.values()), axis=1).T.astype(
        np.float64
    )


def _extremes(voxels: Array) -> npt.NDArray[np.float64]:
    if not voxels.size:
        return np.full((voxels.shape[0], 2), np.nan)
    return np.stack([voxels.min(axis=1), voxels.max(axis=1)], axis=1).astype(np.float64)


def _of_usual_scale(facts: Sequence[_CaseFacts]) -> list[_CaseFacts]:
    """The cases whose intensity range is within a factor of ten of the median's, in every channel."""
    spans = np.array([entry.percentiles[:, 2] - entry.percentiles[:, 0] for entry in facts])
    decades = np.log10(np.maximum(spans, 1e-12))
    distance = np.abs(decades - np.median(decades, axis=0)).max(axis=1)
    return [entry for entry, far in zip(facts, distance > _SCALE_DECADES, strict=True) if not far]


def _pool(facts: Sequence[_CaseFacts], channel: int, *, region: int) -> dict[str, float]:
    """Statistics of one channel, in the foreground (region 0) or everywhere (1); empty without a voxel."""
    samples = np.concatenate([(entry.foreground, entry.image)[region][channel] for entry in facts])
    if not samples.size:
        return {}
    low, middle, high = (float(v) for v in np.percentile(samples, list(_PERCENTILES.values())))
    clipped = np.clip(samples.astype(np.float64), low, high)
    extremes = np.array([entry.extremes[region, channel] for entry in facts])
    return {
        "mean": float(clipped.mean()),
        "std": float(clipped.std()),
        "p00_5": low,
        "p50": middle,
        "p99_5": high,
        "min": float(np.nanmin(extremes[:, 0])),
        "max": float(np.nanmax(extremes[:, 1])),
    }


def _scale(facts: Sequence[_CaseFacts], channel: int) -> dict[str, float]:
    own = np.array([entry.percentiles[channel] for entry in facts])
    low, high = np.percentile(own[:, 2] - own[:, 0], [10, 90])
    medians = dict(zip(_PERCENTILES, (float(v) for v in np.median(own, axis=0)), strict=True))
    return medians | {"spread": float(high / low) if low > 0 else float("inf")}
