"""RunFacts: everything that a run folder says about a finished study."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config import StudyConfig, load_study
from medseg.data.fingerprint import Fingerprint
from medseg.data.json_files import read_object
from medseg.data.manifest import Manifest, read_manifest
from medseg.data.refusal import Refusal
from medseg.errors import MedsegError, RunError
from medseg.planning import Plan
from medseg.privacy.ledger import Ledger
from medseg.studies import CaseRow, read_cases, read_summary, summarise

__all__ = ["EpochRow", "RunFacts", "read_run"]

EpochRow = Mapping[str, float]
"""One row of epochs.csv: epoch, iteration, minutes, lr, train_loss, val_dice."""


@dataclass(frozen=True)
class RunFacts:
    """What a run folder says.

    Attributes:
        run: The run folder.
        study: The resolved study.
        plan: Its plan.
        rows: Rows of cases.csv.
        summary: summary.json.
        epochs: Epochs of each fold.
        refusals: Inputs that were not taken.
        environment: environment.json; empty when it is missing.
        fingerprint: fingerprint.json, or None.
        manifest: The manifest with its card, or None when it is no longer where the study says.
        ledger_head: SHA-256 of the ledger's last line; empty without a ledger.
    """

    run: Path
    study: StudyConfig
    plan: Plan
    rows: list[CaseRow]
    summary: dict[str, Any]
    epochs: dict[str, list[EpochRow]]
    refusals: list[Refusal]
    environment: dict[str, Any]
    fingerprint: Fingerprint | None
    manifest: Manifest | None
    ledger_head: str

    @property
    def pixels(self) -> bool:
        """Whether distances are in pixels, since the images are photographs or pictures without a spacing."""
        if self.plan.modality == "DERMOSCOPY" or self.plan.fit == "image":
            return True
        cases = self.manifest.cases if self.manifest is not None else ()
        return self.plan.spatial_dims == 2 and bool(cases) and all(case.spacing is None for case in cases)


def read_run(run: Path) -> RunFacts:
    """Read a run folder.

    Args:
        run: Folder of a finished study.

    Raises:
        RunError: The folder, study.yaml, plan.json or cases.csv is missing or wrong.
    """
    if not run.is_dir():
        raise RunError("expected a run folder, as `medseg crossval STUDY --out RUN` makes it; found none")
    if not (run / "study.yaml").exists():
        raise RunError("expected study.yaml in the run folder; found none, so it is no run folder of medseg")
    study = load_study(run / "study.yaml")
    rows = read_cases(run)
    if not rows:
        raise RunError("cases.csv holds no scored case; let `medseg crossval` finish first")
    return RunFacts(
        run=run,
        study=study,
        plan=Plan.read(run / "plan.json"),
        rows=rows,
        summary=_summary(run, rows, study),
        epochs=_epochs(run),
        refusals=_refusals(run / "refused.csv"),
        environment=read_object(run / "environment.json") or {},
        fingerprint=_fingerprint(run / "fingerprint.json"),
        manifest=_manifest(run, study),
        ledger_head=Ledger(run / "ledger.jsonl").head() if (run / "ledger.jsonl").exists() else "",
    )


def _summary(run: Path, rows: list[CaseRow], study: StudyConfig) -> dict[str, Any]:
    if (run / "summary.json").exists():
        return read_summary(run)
    config = study.metrics
    return summarise(
        rows,
        bootstrap=config.bootstrap,
        confidence=config.confidence,
        seed=study.seed,
        empty_reference=config.empty_reference,
    )


def _epochs(run: Path) -> dict[str, list[EpochRow]]:
    """Epochs by the name of the fold, as a reader counts it (from 1)."""
    epochs: dict[str, list[EpochRow]] = {}
    for folder in sorted(run.glob("fold_*"), key=lambda p: (len(p.name), p.name)):
        rows = _epoch_rows(folder / "epochs.csv")
        part = folder.name.removeprefix("fold_")
        if rows:
            epochs[f"Fold {int(part) + 1}" if part.isdigit() else part.replace("_", " ")] = rows
    return epochs


def _epoch_rows(path: Path) -> list[EpochRow]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [{name: _number(text) for name, text in row.items()} for row in csv.DictReader(stream)]


def _number(text: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def _refusals(path: Path) -> list[Refusal]:
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [Refusal(row.get("input") or "", row.get("reason") or "") for row in csv.DictReader(stream)]


def _fingerprint(path: Path) -> Fingerprint | None:
    content = read_object(path)
    try:
        return None if content is None else Fingerprint.from_dict(content)
    except (KeyError, TypeError, ValueError):
        return None


def _manifest(run: Path, study: StudyConfig) -> Manifest | None:
    """The study's manifest: its path is written as seen from the run folder, or from the working directory."""
    for path in (run / study.data.manifest, Path(study.data.manifest)):
        if path.exists():
            try:
                return read_manifest(path, files_must_exist=False)
            except MedsegError:
                return None
    return None
