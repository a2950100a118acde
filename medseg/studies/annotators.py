"""Annotators of a study: how far they agree, case by case, and one label map of theirs to learn from."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from medseg.data.cases import each_case, read_case_label
from medseg.data.files import atomic_write, sha256_of
from medseg.data.manifest import Card, Case, Manifest, write_manifest
from medseg.data.nifti import save_nifti
from medseg.data.pictures import save_png
from medseg.data.readers import read_geometry
from medseg.data.refusal import Refusal
from medseg.data.volume import Geometry
from medseg.errors import DataError, ManifestError, RequestError
from medseg.metrics.agreement import cohen_kappa
from medseg.metrics.fusion import FusionMethod, fuse_labels
from medseg.metrics.overlap import overlap
from medseg.metrics.surface import surface_distances
from medseg.types import LabelMap

__all__ = ["Agreement", "Fusion", "PairSummary", "fuse_manifest", "summarise_agreement", "write_agreement"]


@dataclass(frozen=True)
class Agreement:
    """How far two annotators agree on one label of one case; undefined is nan by the rules of each metric's module.

    Attributes:
        case: Case id.
        label: Name of the label.
        first: Annotator.
        second: Annotator.
        dice: Dice coefficient.
        hd95_mm: 95th percentile Hausdorff distance in millimetres (pixels for a picture).
        kappa: Cohen's kappa over all voxels.
        first_voxels: Voxels that the first one drew.
        second_voxels: Voxels that the second one drew.
    """

    case: str
    label: str
    first: str
    second: str
    dice: float
    hd95_mm: float
    kappa: float
    first_voxels: int
    second_voxels: int


@dataclass(frozen=True)
class PairSummary:
    """Two annotators on one label over all cases; medians over the cases in which a figure is defined.

    Attributes:
        label: Name of the label.
        first: Annotator.
        second: Annotator.
        cases: Cases that both outlined.
        dice: Median.
        dice_low: First quartile.
        dice_high: Third quartile.
        hd95_mm: Median.
        kappa: Median.
    """

    label: str
    first: str
    second: str
    cases: int
    dice: float
    dice_low: float
    dice_high: float
    hd95_mm: float
    kappa: float


@dataclass(frozen=True)
class Fusion:
    """What a fusion did.

    Attributes:
        manifest: The new manifest.
        agreements: One entry a case, label and pair of annotators.
        single: Cases that only one annotator outlined; their label map was taken as it is.
        refusals: Cases whose label maps could not be used.
    """

    manifest: Manifest
    agreements: tuple[Agreement, ...]
    single: int
    refusals: tuple[Refusal, ...]


def fuse_manifest(
    manifest: Manifest,
    out: Path,
    *,
    method: FusionMethod,
    jobs: int = 1,
    progress: Callable[[], None] | None = None,
) -> Fusion:
    """Make one label map of the annotators' for every case, and compare the annotators.

    Args:
        manifest: With columns ``label.<annotator>``.
        out: CSV of the new manifest; the label maps go into a folder beside it that bears its name. Cases without any
            annotator keep their label.
        method: As in `medseg.metrics.fusion`.
        jobs: Cases read at once.
        progress: Called after each case.

    Raises:
        RequestError: No case has annotators, or `out` is the manifest itself.
    """
    if not any(case.readers for case in manifest.cases):
        raise RequestError(
            "expected columns label.<annotator> in the manifest; found none. `medseg import` writes them"
        )
    if out.resolve() == manifest.path.resolve():
        raise RequestError("the fused manifest would replace the one it is made of; choose another name with --out")

    def work(case: Case) -> tuple[Case, list[Agreement], Refusal | None]:
        try:
            return _fuse_case(case, manifest.card, out, method)
        except DataError as error:
            return case, [], Refusal(case.case, str(error).removeprefix(f"case {case.case}: "))

    done = list(each_case(work, manifest.cases, jobs=jobs, progress=progress))
    cases = tuple(case for case, _, refusal in done if refusal is None)
    if not cases:
        raise ManifestError(f"no case could be fused; the first: {next(r.reason for _, _, r in done if r)}")
    card = manifest.card.model_copy(update={"provenance": _provenance(manifest.card, method)})
    fused = Manifest(path=out.absolute(), cases=cases, card=card)
    write_manifest(fused, fused.path)
    return Fusion(
        manifest=fused,
        agreements=tuple(row for _, rows, _ in done for row in rows),
        single=sum(len(case.readers) == 1 for case in cases),
        refusals=tuple(refusal for _, _, refusal in done if refusal is not None),
    )


def summarise_agreement(agreements: Sequence[Agreement]) -> list[PairSummary]:
    """Medians and quartiles over the cases, for each label and pair of annotators."""
    groups: dict[tuple[str, str, str], list[Agreement]] = {}
    for row in agreements:
        groups.setdefault((row.label, row.first, row.second), []).append(row)
    summaries = []
    for (label, first, second), rows in groups.items():
        low, middle, high = _quartiles([row.dice for row in rows])
        distance = _quartiles([row.hd95_mm for row in rows])[1]
        kappa = _quartiles([row.kappa for row in rows])[1]
        summaries.append(PairSummary(label, first, second, len(rows), middle, low, high, distance, kappa))
    return summaries


def write_agreement(agreements: Sequence[Agreement], path: Path) -> None:
    """Write one row a case, label and pair as CSV, atomically; undefined figures are empty."""
    with atomic_write(path, mode="w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([field.name for field in fields(Agreement)])
        for row in agreements:
            writer.writerow(["" if value != value else value for value in astuple(row)])


def _fuse_case(case: Case, card: Card, out: Path, method: FusionMethod) -> tuple[Case, list[Agreement], Refusal | None]:
    if not case.readers:
        return case, [], None
    geometry = read_geometry(next(iter(case.images.values())))
    drawn = {
        name: read_case_label(replace(case, label=path), card=card, geometry=geometry, ignore_label=card.ignore)
        for name, path in sorted(case.readers.items())
    }
    fused = fuse_labels(list(drawn.values()), method=method)
    suffix = ".png" if fused.ndim == 2 else ".nii.gz"
    path = out.absolute().with_suffix("") / f"{case.case}{suffix}"
    if fused.ndim == 2:
        save_png(fused, path)
    else:
        save_nifti(fused, geometry.affine, path)
    changed = replace(case, label=path, label_sha256=sha256_of(path))
    return changed, _compare(case.case, drawn, card, geometry), None


def _compare(case: str, drawn: Mapping[str, LabelMap], card: Card, geometry: Geometry) -> list[Agreement]:
    rows = []
    for value, name in card.label_names().items():
        for first, second in combinations(drawn, 2):
            one, other = drawn[first] == value, drawn[second] == value
            counts = overlap(one, other)
            distance = surface_distances(one, other, spacing=geometry.spacing).hd95
            kappa = cohen_kappa(one, other)
            drawn_by = (counts.predicted, counts.reference)
            rows.append(Agreement(case, name, first, second, counts.dice, distance, kappa, *drawn_by))
    return rows


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    defined = [value for value in values if value == value]
    if not defined:
        return (float("nan"),) * 3
    low, middle, high = np.percentile(defined, [25, 50, 75])
    return float(low), float(middle), float(high)


def _provenance(card: Card, method: FusionMethod) -> str:
    how = "STAPLE" if method == "staple" else "majority vote"
    return f"{card.provenance}; label maps of several annotators fused by {how}".removeprefix("; ")
