"""Demo: the whole way on a synthetic cohort, from planted identities to an audited result, with the public functions.

Everything lies below one folder; ``README.txt`` in it says what is where. The same call goes on where the last one
stopped.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.data.files import atomic_write
from medseg.data.manifest import Manifest, read_manifest
from medseg.demo.exports import export_best
from medseg.demo.studies import CT, JOBS, SKIN, counted, draw_folds, run_study
from medseg.errors import RequestError
from medseg.studies.reporting import SilentProgress, StudyProgress

if TYPE_CHECKING:
    from medseg.privacy.audit import AuditReport
    from medseg.privacy.identities import IdentityIndex

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
_LABELS = {1: "lesion"}


@dataclass(frozen=True)
class DemoSize:
    """How much the demo does.

    Attributes:
        patients: Patients with CT.
        pictures: Photographs.
        folds: Folds of both studies.
        iterations_3d: Optimiser steps of one fold of the CT study.
        iterations_2d: Optimiser steps of one fold of the photograph study.
    """

    patients: int = 18
    pictures: int = 40
    folds: int = 3
    iterations_3d: int = 450
    iterations_2d: int = 60


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
    manifests = {name: _import(out, name, refused, progress) for name in (CT, SKIN)}
    for manifest in manifests.values():
        draw_folds(manifest, size.folds, progress)
    outcomes = {
        name: run_study(out, name, manifests[name], iterations, index, progress)
        for name, iterations in ((CT, size.iterations_3d), (SKIN, size.iterations_2d))
    }
    for outcome in outcomes.values():
        refused.update(refusal.reason for refusal in outcome.refusals)
    seg_is_true = export_best(out, outcomes, manifests, progress)
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
        report=outcomes[CT].run / "report" / "shareable.html",
        mlflow=_mlflow_command(outcomes[CT].run),
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

    with counted(progress, "make the cohort", size.patients + size.pictures) as advance:
        cohort = make_cohort(out, patients=size.patients, pictures=size.pictures, progress=advance)
    key_path = out / "steward" / "project.key"
    key_path.parent.mkdir(exist_ok=True)
    key = load_key(key_path) if key_path.exists() else new_key(key_path)
    for name, source in ((CT, cohort.ct), (SKIN, cohort.skin)):
        clean = out / "clean" / name
        with counted(progress, f"de-identify {name}", len(input_files(source))) as advance:
            report = deidentify_tree(
                source,
                clean,
                profile=load_profile("research"),
                key=key,
                ledger=Ledger(clean / "ledger.jsonl"),
                progress=advance,
                jobs=JOBS,
                identities=key_path.with_name(f"{key_path.name}.identities"),
            )
        refused.update(outcome.reason for outcome in (*report.quarantined, *report.refused))
    planted = read_clear_list(cohort.planted)
    index = IdentityIndex()
    index.add(planted)
    return index, len(planted)


def _import(out: Path, name: str, refused: Counter[str], progress: StudyProgress) -> Manifest:
    from medseg.data.importer import ImportOptions, import_tree

    options = ImportOptions(labels=_LABELS, title=f"Synthetic cohort, {name}", licence="CC0-1.0", jobs=JOBS)
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


def _audit(out: Path, index: IdentityIndex, progress: StudyProgress) -> AuditReport:
    """Search everything below the folder but the source itself and the list of what was planted."""
    from medseg.privacy.audit import audit_paths

    paths = sorted(path for path in out.iterdir() if path.name not in ("source", "planted.txt"))
    progress.begin("audit", 1)
    report = audit_paths(
        paths,
        identities=index,
        jobs=JOBS,
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
    store = run / "mlflow"
    beside = Path(sys.executable).with_name("mlflow")
    program = "mlflow" if shutil.which("mlflow") else os.path.relpath(beside, store)
    options = "--backend-store-uri sqlite:///mlflow.db --artifacts-destination artifacts"
    return f"cd {os.path.relpath(store)} && {program} ui {options}"
