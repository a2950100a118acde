"""Demo: the whole way on a synthetic cohort, from planted identities to an audited result, with the public functions.

Everything lies below one folder; ``README.txt`` in it says what is where. The same call goes on where the last one
stopped.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medseg
from medseg.config import StudyConfig, parse_study
from medseg.data.files import atomic_write
from medseg.data.manifest import Case, Manifest, read_manifest
from medseg.errors import RequestError
from medseg.studies.reporting import SilentProgress, StudyProgress

if TYPE_CHECKING:
    from medseg.data.volume import Volume
    from medseg.privacy.audit import AuditReport
    from medseg.privacy.identities import IdentityIndex
    from medseg.studies.crossval import StudyOutcome
    from medseg.types import Affine, LabelMap

__all__ = ["DemoResult", "DemoSize", "StudyFigure", "run_demo"]

_CONTENTS = """medseg demo
source/         the synthetic cohort, with planted identities in every file; planted.txt lists them
steward/        the project's key, and what deidentify knows of the identities (hashed); it stays with the data steward
clean/          the de-identified copies
data/           what import made of them: manifest, card, folds, images, labels
runs/           the two studies: predictions, scores, report/internal.html, report/shareable.html, mlflow/
export/         one prediction as DICOM SEG on its source series, as NIfTI and as PNG
lesions_ct.medseg   the model package
"""
_CT, _SKIN = "lesions_ct", "lesions_skin"
_LABELS = {1: "lesion"}
_JOBS = 2


@dataclass(frozen=True)
class DemoSize:
    """How much the demo does.

    Attributes:
        patients: Patients with CT.
        pictures: Photographs.
        folds: Folds of both studies.
        minutes_3d: Training of one fold of the CT study, in minutes.
        minutes_2d: Training of one fold of the photograph study, in minutes.
    """

    patients: int = 18
    pictures: int = 40
    folds: int = 3
    minutes_3d: float = 0.6
    minutes_2d: float = 0.5


@dataclass(frozen=True)
class StudyFigure:
    """Out-of-fold Dice of a study, mean over labels.

    Attributes:
        name: Name of the study.
        dice: Mean over the cases where it is defined.
        low: Lower end of its interval over patients.
        high: Upper end.
        confidence: Coverage of the interval.
        cases: Cases that were scored.
        patients: Their patients.
    """

    name: str
    dice: float
    low: float
    high: float
    confidence: float
    cases: int
    patients: int


@dataclass(frozen=True)
class DemoResult:
    """What the demo found to be true.

    Attributes:
        figures: Of the 3D and the 2D study.
        refused: Reason to number of inputs that were refused for it.
        planted: Identities that were planted.
        audit: The search of everything but the source.
        report: The shareable report of the 3D study.
        mlflow: Command that shows the tracked runs.
        minutes: Wall-clock minutes.
        problems: What is not as it should be; empty when all is well.
    """

    figures: tuple[StudyFigure, ...]
    refused: Mapping[str, int]
    planted: int
    audit: AuditReport
    report: Path
    mlflow: str
    minutes: float
    problems: tuple[str, ...]


def run_demo(out: Path, *, size: DemoSize | None = None, progress: StudyProgress | None = None) -> DemoResult:
    """Go the whole way.

    Args:
        out: A new or empty folder, or one of an earlier demo.
        size: How much to do; without it what two processor cores do in six minutes.
        progress: Told of every stage.

    Raises:
        RequestError: The folder holds something else.
        PrivacyError: The gate refused something.
    """
    size, progress, begun = size or DemoSize(), progress or SilentProgress(), time.monotonic()
    _claim(out)
    refused: Counter[str] = Counter()
    index, planted = _make_and_clean(out, size, refused, progress)
    manifests = {name: _import(out, name, refused, progress) for name in (_CT, _SKIN)}
    for manifest in manifests.values():
        _draw_folds(manifest, size.folds, progress)
    outcomes = {
        name: _study(out, name, manifests[name], minutes, index, progress)
        for name, minutes in ((_CT, size.minutes_3d), (_SKIN, size.minutes_2d))
    }
    for outcome in outcomes.values():
        refused.update(refusal.reason for refusal in outcome.refusals)
    seg_is_true = _export(out, outcomes, manifests, progress)
    audit = _audit(out, index, progress)
    figures = tuple(_figure(name, outcome.summary) for name, outcome in outcomes.items())
    doubts = {
        "a study has no Dice with an interval": any(math.isnan(f.dice + f.low + f.high) for f in figures),
        "the broken series was not refused": not refused,
        "the DICOM SEG does not hold the voxels of the prediction": not seg_is_true,
        "a planted identity is too short to be searched for": index.left_out > 0,
        **{f"the audit found: {find.rule} in {find.place}": True for find in audit.finds},
        **{outcome.problem or "": outcome.problem is not None for outcome in outcomes.values()},
    }
    return DemoResult(
        figures=figures,
        refused=dict(refused),
        planted=planted,
        audit=audit,
        report=outcomes[_CT].run / "report" / "shareable.html",
        mlflow=_mlflow_command(outcomes[_CT].run),
        minutes=(time.monotonic() - begun) / 60,
        problems=tuple(doubt for doubt, holds in doubts.items() if holds),
    )


def _claim(out: Path) -> None:
    """Make the folder the demo's, or refuse one that is something else's."""
    mark = out / "README.txt"
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not mark.is_file()):
        raise RequestError("expected a new or empty folder, or one of an earlier demo; choose another")
    with atomic_write(mark, mode="w") as stream:
        stream.write(_CONTENTS)


@contextmanager
def _stage(progress: StudyProgress, name: str, total: int) -> Iterator[Callable[[], None]]:
    """A stage whose steps are counted one by one."""
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress.update(done)

    progress.begin(name, total)
    yield advance
    progress.end()


def _make_and_clean(
    out: Path, size: DemoSize, refused: Counter[str], progress: StudyProgress
) -> tuple[IdentityIndex, int]:
    """Make the cohort and its clean copies; return the index of the planted identities and their number."""
    from medseg.data.synthetic import make_cohort
    from medseg.privacy.deidentify import deidentify_tree, input_files
    from medseg.privacy.identities import IdentityIndex, read_clear_list
    from medseg.privacy.ledger import Ledger
    from medseg.privacy.profile import load_profile
    from medseg.privacy.pseudonym import load_key, new_key

    with _stage(progress, "make the cohort", size.patients + size.pictures) as advance:
        cohort = make_cohort(out, patients=size.patients, pictures=size.pictures, progress=advance)
    key_path = out / "steward" / "project.key"
    key_path.parent.mkdir(exist_ok=True)
    key = load_key(key_path) if key_path.exists() else new_key(key_path)
    for name, source in ((_CT, cohort.ct), (_SKIN, cohort.skin)):
        clean = out / "clean" / name
        with _stage(progress, f"de-identify {name}", len(input_files(source))) as advance:
            report = deidentify_tree(
                source,
                clean,
                profile=load_profile("research"),
                key=key,
                ledger=Ledger(clean / "ledger.jsonl"),
                progress=advance,
                jobs=_JOBS,
                identities=key_path.with_name(f"{key_path.name}.identities"),
            )
        refused.update(outcome.reason for outcome in (*report.quarantined, *report.refused))
    planted = read_clear_list(cohort.planted)
    index = IdentityIndex()
    index.add(planted)
    return index, len(planted)


def _import(out: Path, name: str, refused: Counter[str], progress: StudyProgress) -> Manifest:
    from medseg.data.importer import ImportOptions, import_tree

    options = ImportOptions(labels=_LABELS, title=f"Synthetic cohort, {name}", licence="CC0-1.0", jobs=_JOBS)
    progress.begin(f"import {name}", 1)
    report = import_tree(
        out / "clean" / name,
        out / "data" / name,
        options=options,
        progress=lambda done, of: progress.update(done / max(of, 1)),
    )
    progress.end()
    refused.update(refusal.reason for refusal in report.refusals)
    return read_manifest(out / "data" / name / "manifest.csv")


def _draw_folds(manifest: Manifest, folds: int, progress: StudyProgress) -> None:
    """Patient-grouped folds, stratified by lesion burden, none with the same picture on both sides."""
    from medseg.data.leakage import find_duplicates, find_leaks, refuse_leaks
    from medseg.data.split import lesion_burdens, make_folds, write_folds

    with _stage(progress, "draw folds", 2 * len(manifest.cases)) as advance:
        burdens = lesion_burdens(manifest, jobs=_JOBS, progress=advance)
        duplicates = find_duplicates(manifest, jobs=_JOBS, progress=advance)
        drawn = make_folds(manifest, folds=folds, burdens=burdens)
        refuse_leaks(find_leaks(drawn, manifest, duplicates))
        write_folds(drawn, manifest.folds_path)


def _study(
    out: Path, name: str, manifest: Manifest, minutes: float, index: IdentityIndex, progress: StudyProgress
) -> StudyOutcome:
    """Cross-validate; then both reports and, of the CT study, the model package, which the tracker takes up."""
    from medseg.export.from_run import package_run
    from medseg.report import write_report
    from medseg.studies.crossval import Deliverables, cross_validate

    def deliver(run: Path) -> Deliverables:
        package = out / f"{name}.medseg" if name == _CT else None
        with _stage(progress, f"report and package {name}", 3) as advance:
            internal = write_report(run, tier="internal", identities=index)
            advance()
            shareable = write_report(run, tier="shareable", identities=index)
            advance()
            if package is not None:
                package_run(run, package, identities=index)
            advance()
        return Deliverables((internal, shareable), package)

    config = _config(name, manifest, minutes)
    return cross_validate(config, out=out / "runs" / name, progress=progress, deliver=deliver)


def _config(name: str, manifest: Manifest, minutes: float) -> StudyConfig:
    content: dict[str, Any] = {
        "name": name,
        "data": {"manifest": str(manifest.path)},
        "train": {"budget_minutes": minutes},
        "inference": {"mirror": False},
    }
    if name == _SKIN:
        content["model"] = {"name": "efficient_unet"}
        content["train"]["optimizer"] = {"name": "adamw", "lr": 0.002, "encoder_lr_factor": 0.5}
        content["augment"] = {"rotate": 0.5, "rotate_degrees": 180, "hue": 0.2, "saturation": 0.3}
        content["metrics"] = {"nsd_tolerance_mm": [2.0, 5.0]}
    return parse_study(content)


def _export(
    out: Path, outcomes: Mapping[str, StudyOutcome], manifests: Mapping[str, Manifest], progress: StudyProgress
) -> bool:
    """The best prediction of each study as files for other programs; return whether the SEG, read back, is true."""
    from medseg.data.cases import read_case_image
    from medseg.data.readers import read_label
    from medseg.export import Algorithm, read_package, write_dicom_seg, write_nifti, write_overlay_png, write_png

    export = out / "export"
    with _stage(progress, "export", 4) as advance:
        case, prediction = _best(outcomes[_CT], manifests[_CT])
        label_map, geometry = read_label(prediction)
        write_nifti(label_map, geometry.affine, export / f"{case.case}.nii.gz")
        advance()
        volume = read_case_image(case, channels=manifests[_CT].card.channels)
        write_overlay_png(volume, label_map, export / f"{case.case}.png")
        advance()
        seg = export / f"{case.case}.dcm"
        write_dicom_seg(
            label_map,
            geometry.affine,
            _series_of(volume, out / "clean" / _CT),
            seg,
            labels=manifests[_CT].card.labels,
            algorithm=Algorithm(_CT, medseg.__version__, read_package(out / f"{_CT}.medseg").digest),
        )
        advance()
        picture, mask = _best(outcomes[_SKIN], manifests[_SKIN])
        write_png(read_label(mask)[0], export / f"{picture.case}.png")
        advance()
    return _same_voxels(seg, label_map, geometry.affine)


def _best(outcome: StudyOutcome, manifest: Manifest) -> tuple[Case, Path]:
    """The case with the highest Dice, and its out-of-fold prediction."""
    from medseg.studies import read_cases
    from medseg.studies.scoring import find_prediction

    scored = [row for row in read_cases(outcome.run) if not math.isnan(row["dice"])]
    if not scored:
        raise RequestError("no case of the demo has a Dice; delete the folder and run the demo again")
    row = max(scored, key=lambda row: (row["dice"], row["case"]))
    folders = sorted(outcome.run.glob("fold_*/predictions"))
    found = [path for folder in folders if (path := find_prediction(folder, row["case"])) is not None]
    return manifest.select([row["case"]])[0], found[0]


def _series_of(wanted: Volume, clean: Path) -> Sequence[Path]:
    """The files of the de-identified series that a volume was imported from: the one with its very voxels."""
    import numpy as np

    from medseg.data.dicom import find_series, read_series
    from medseg.errors import DataError

    for series in find_series(clean)[0]:
        try:
            volume = read_series(series.files)
        except DataError:
            continue
        if volume.geometry.corner_distance(wanted.geometry) < 1e-2 and np.array_equal(volume.array, wanted.array):
            return series.files
    raise RequestError("the source series of a case is gone; delete the folder and run the demo again")


def _same_voxels(seg: Path, label_map: LabelMap, affine: Affine) -> bool:
    """Whether the SEG, as highdicom reads it, marks the same places of the patient as the label map."""
    import highdicom as hd
    import numpy as np

    volume = hd.seg.segread(seg).get_volume(combine_segments=True)
    marked = np.argwhere(volume.array > 0)
    lps = volume.affine @ np.c_[marked, np.ones(len(marked))].T
    index = np.linalg.inv(affine) @ (lps * [[-1], [-1], [1], [1]])
    found = {tuple(v) for v in np.rint(index[:3]).astype(int).T.tolist()}
    return found == {tuple(v) for v in np.argwhere(label_map > 0).tolist()}


def _audit(out: Path, index: IdentityIndex, progress: StudyProgress) -> AuditReport:
    """Search everything below the folder but the source itself and the list of what was planted."""
    from medseg.privacy.audit import audit_paths

    paths = sorted(path for path in out.iterdir() if path.name not in ("source", "planted.txt"))
    progress.begin("audit", 1)
    report = audit_paths(
        paths,
        identities=index,
        jobs=_JOBS,
        progress=lambda done, of: progress.update(done / max(of, 1), f"{done} of {of} files"),
    )
    progress.end()
    return report


def _figure(name: str, summary: Mapping[str, Any]) -> StudyFigure:
    dice = summary["mean_over_labels"]["metrics"]["dice"]
    return StudyFigure(
        name=name,
        dice=float(dice["mean"]),
        low=float(dice["low"]),
        high=float(dice["high"]),
        confidence=float(summary["confidence"]),
        cases=int(dice["n"]),
        patients=int(dice["patients"]),
    )


def _mlflow_command(run: Path) -> str:
    if os.environ.get("MLFLOW_TRACKING_URI"):
        return "the runs are on the server that MLFLOW_TRACKING_URI names"
    store = os.path.relpath(run / "mlflow")
    return f"cd {store} && mlflow ui --backend-store-uri sqlite:///mlflow.db --artifacts-destination artifacts"
