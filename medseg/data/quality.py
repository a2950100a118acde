"""Quality: what is wrong, or worth a look, in each case of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from medseg.data.cases import each_case, read_case_image, read_case_label
from medseg.data.leakage import Pair, find_duplicates
from medseg.data.manifest import Card, Case, Manifest, images_sha256
from medseg.data.mirrored import CaseGrids, case_grids, mirrored_cases
from medseg.data.plausible import MIRRORED_GAIN, OUTSIDE_SHARE, mirror_gain, outside_body, swapped_sides
from medseg.data.unusual import CaseLooks, unusual_looks
from medseg.data.volume import Volume, closest_ras
from medseg.errors import DataError
from medseg.types import Array, LabelMap, Shape, Spacing

__all__ = ["CaseQuality", "Finding", "QualityReport", "check_manifest"]

_FEWEST_SLICES = 3


@dataclass(frozen=True)
class Finding:
    """One thing found in one case.

    Attributes:
        severity: ``error``: the case cannot be used; ``warning``: look at it; ``unusual``: unlike most of the data set.
        message: What was found.
    """

    severity: Literal["error", "unusual", "warning"]
    message: str


@dataclass(frozen=True)
class CaseQuality:
    """What was seen of one case; facts are None where the image or the label could not be read.

    Attributes:
        case: Case id.
        shape: Voxels along each spatial axis.
        spacing: mm along each spatial axis.
        orientation: Where the array's axes point, for example ``RAS``; empty for a 2D image.
        intensity: 0.5th and 99.5th percentile over all channels.
        labels: Values in the label map, without 0.
        components: Connected components of all labels together.
        foreground_ml: Labelled volume in millilitres; `nan` for a 2D image.
        foreground_fraction: Labelled voxels over all voxels.
        outside_body: Share of the labelled voxels in the air around the body; `nan` for pictures and empty labels.
        mirror_gain: How much better the label would fit mirrored left to right (`medseg.data.plausible`); `nan` where
            that can't be judged.
        findings: Errors first.
    """

    case: str
    shape: Shape | None
    spacing: Spacing | None
    orientation: str
    intensity: tuple[float, float] | None
    labels: tuple[int, ...] | None
    components: int | None
    foreground_ml: float
    foreground_fraction: float
    outside_body: float
    mirror_gain: float
    findings: tuple[Finding, ...]

    @property
    def is_usable(self) -> bool:
        """Whether no finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)


@dataclass(frozen=True)
class QualityReport:
    """What was seen of all cases.

    Attributes:
        cases: In the order of the manifest.
        duplicates: Pairs of usable cases that are one file, one picture or nearly so.
    """

    cases: tuple[CaseQuality, ...]
    duplicates: tuple[Pair, ...]

    @property
    def mirrored(self) -> int:
        """Number of cases whose label looks mirrored."""
        return sum(case.mirror_gain >= MIRRORED_GAIN for case in self.cases)

    @property
    def unusual(self) -> int:
        """Number of cases that are unlike most of the data set in something."""
        return sum(any(finding.severity == "unusual" for finding in case.findings) for case in self.cases)

    @property
    def errors(self) -> int:
        """Number of cases that cannot be used."""
        return sum(not case.is_usable for case in self.cases)


def check_manifest(manifest: Manifest, *, jobs: int = 1, progress: Callable[[], None] | None = None) -> QualityReport:
    """Look at every case: files, checksums, grids, values, labels, and pairs that look alike.

    Args:
        manifest: Read with ``files_must_exist=False`` to have missing files reported rather than raised.
        jobs: Threads that read.
        progress: Called twice for each case: once it was checked, once its picture was compared.
    """
    seen_of = each_case(lambda case: _check(case, manifest.card), manifest.cases, jobs=jobs, progress=progress)
    checked = _with_unusual(tuple(seen_of), manifest)
    usable = tuple(case for case, seen in zip(manifest.cases, checked, strict=True) if seen.is_usable)
    duplicates = find_duplicates(replace(manifest, cases=usable), jobs=jobs, progress=progress) if usable else ()
    return QualityReport(cases=checked, duplicates=duplicates)


@dataclass(frozen=True)
class _Seen:
    """A case alone, and what of it is compared with the others."""

    quality: CaseQuality
    looks: CaseLooks | None
    grids: CaseGrids | None


def _check(case: Case, card: Card) -> _Seen:
    findings = _check_files(case)
    volume: Volume | None = None
    label: LabelMap | None = None
    if not findings:
        try:
            volume = read_case_image(case, channels=card.channels)
            if case.label is not None:
                label = read_case_label(case, card=card, geometry=volume.geometry, ignore_label=card.ignore)
                label = np.where(label == card.ignore, 0, label) if card.ignore is not None else label
        except DataError as error:
            findings.append(Finding("error", str(error).removeprefix(f"case {case.case}: ")))
    if volume is not None:
        findings += _look_at_image(case, volume)
    facts = (float("nan"), float("nan"), None, None) if label is None or volume is None else _measure(label, volume)
    outside = gain = float("nan")
    if label is not None and volume is not None:
        outside, gain = outside_body(replace(volume, modality=case.modality), label), mirror_gain(volume, label)
        findings += [*_look_at_label(label), *_look_at_place(label, volume, card, outside=outside, gain=gain)]
    if volume is not None:
        findings += _look_at_readers(case, card, volume)
    quality = CaseQuality(
        case=case.case,
        shape=None if volume is None else volume.shape,
        spacing=None if volume is None else volume.spacing,
        orientation="" if volume is None or len(volume.shape) == 2 else _orientation(volume),
        intensity=None if volume is None else _intensity(volume.array),
        labels=facts[2],
        components=facts[3],
        foreground_ml=facts[0],
        foreground_fraction=facts[1],
        outside_body=outside,
        mirror_gain=gain,
        findings=tuple(sorted(findings, key=lambda finding: finding.severity)),
    )
    if volume is None:
        return _Seen(quality, None, None)
    return _Seen(quality, _looks(volume, facts[2]), case_grids(replace(volume, modality=case.modality), label))


def _with_unusual(seen: tuple[_Seen, ...], manifest: Manifest) -> tuple[CaseQuality, ...]:
    looks = unusual_looks([one.looks for one in seen], names=manifest.card.label_names())
    mirrored = mirrored_cases([one.grids for one in seen])
    sentences = [[*first, *second] for first, second in zip(looks, mirrored, strict=True)]
    return tuple(
        replace(one.quality, findings=(*one.quality.findings, *(Finding("unusual", text) for text in texts)))
        for one, texts in zip(seen, sentences, strict=True)
    )


def _looks(volume: Volume, labels: tuple[int, ...] | None) -> CaseLooks:
    own = closest_ras(volume.affine, len(volume.shape))[0]
    spacing = volume.spacing
    return CaseLooks(
        modality=volume.modality,
        spacing=tuple(spacing[axis] for axis in own),
        orientation="" if len(volume.shape) == 2 else _orientation(volume),
        intensities={name: _intensity(values) for name, values in zip(volume.channels, volume.array, strict=True)},
        labels=labels,
    )


def _check_files(case: Case) -> list[Finding]:
    missing = [channel for channel, path in case.images.items() if not path.exists()]
    if missing:
        return [Finding("error", f"image file missing ({', '.join(missing)})")]
    if case.label is not None and not case.label.exists():
        return [Finding("error", "label file missing")]
    findings = []
    if case.sha256 and images_sha256(case.images) != case.sha256:
        findings.append(Finding("error", "image has another checksum than the manifest: it was changed or damaged"))
    if case.label is not None and case.label_sha256 and images_sha256({"": case.label}) != case.label_sha256:
        findings.append(Finding("error", "label has another checksum than the manifest: it was changed or damaged"))
    return findings


def _look_at_image(case: Case, volume: Volume) -> list[Finding]:
    findings = []
    # A PNG holds no spacing; the manifest is where it stands.
    if case.spacing is not None and len(volume.shape) == 3 and not _close(case.spacing, volume.spacing):
        findings.append(Finding("warning", "spacing differs from the manifest's column"))
    if len(volume.shape) == 3 and min(volume.shape) < _FEWEST_SLICES:
        findings.append(Finding("warning", f"only {min(volume.shape)} slices along one axis"))
    if volume.array.size and volume.array.min() == volume.array.max():
        findings.append(Finding("warning", "all voxels are equal"))
    return findings


def _look_at_label(label: LabelMap) -> list[Finding]:
    if not label.any():
        return [Finding("warning", "label is empty")]
    borders = [np.take(label, side, axis=axis).any() for axis in range(label.ndim) for side in (0, -1)]
    return [Finding("warning", "label touches the border of the image")] if any(borders) else []


def _look_at_place(label: LabelMap, volume: Volume, card: Card, *, outside: float, gain: float) -> list[Finding]:
    findings = []
    if outside >= OUTSIDE_SHARE:
        findings.append(Finding("warning", f"{outside:.0%} of the label lies in the air outside the body"))
    if gain >= MIRRORED_GAIN:
        findings.append(Finding("warning", "label fits better when mirrored left to right"))
    swapped = swapped_sides(label, volume.affine, card.label_names())
    return [
        *findings,
        *(Finding("warning", f"label {name!r} lies on the right of its counterpart") for name in swapped),
    ]


def _look_at_readers(case: Case, card: Card, volume: Volume) -> list[Finding]:
    """What is wrong with the label maps of the annotators."""
    findings = []
    for name, path in case.readers.items():
        try:
            read_case_label(replace(case, label=path), card=card, geometry=volume.geometry, ignore_label=card.ignore)
        except DataError as error:
            message = str(error).removeprefix(f"case {case.case}: ")
            findings.append(Finding("error", f"label of {name}: {message}"))
    return findings


def _measure(label: LabelMap, volume: Volume) -> tuple[float, float, tuple[int, ...], int]:
    import cc3d

    voxels = int(np.count_nonzero(label))
    millilitres = voxels * float(np.prod(volume.spacing)) / 1000 if label.ndim == 3 else float("nan")
    values = tuple(int(value) for value in np.unique(label) if value)
    connectivity = 26 if label.ndim == 3 else 8
    components = int(cc3d.connected_components(label > 0, connectivity=connectivity, return_N=True)[1])
    return millilitres, voxels / label.size, values, components


def _orientation(volume: Volume) -> str:
    import nibabel

    return "".join(nibabel.aff2axcodes(volume.affine))


def _intensity(array: Array) -> tuple[float, float]:
    step = max(1, array.size // 1_000_000)
    low, high = np.percentile(array.ravel()[::step].astype(np.float32), [0.5, 99.5])
    return float(low), float(high)


def _close(first: Sequence[float], second: Sequence[float]) -> bool:
    return len(first) == len(second) and bool(np.allclose(first, second, rtol=1e-3))
