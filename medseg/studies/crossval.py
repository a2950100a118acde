"""Cross-validation and training: from a study to weights, out-of-fold predictions, scores and a summary."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.config import StudyConfig, dump_study
from medseg.data.files import atomic_write
from medseg.data.manifest import Case
from medseg.data.refusal import Refusal, write_refusals
from medseg.data.split import Split
from medseg.errors import DataError, RunError
from medseg.metrics import CaseRow, write_cases
from medseg.planning import Plan
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.known import let_out
from medseg.runs.environment import describe_environment
from medseg.runs.folder import RunFolder, portable_study
from medseg.runs.tracking import FoldTracker, ModelSignature, Tracker, open_tracker
from medseg.studies.fold import FoldCases, few_shot_cases, predict_cases, train_fold
from medseg.studies.predicted import find_prediction
from medseg.studies.private import write_privacy_facts
from medseg.studies.reporting import SilentProgress, StudyProgress
from medseg.studies.scoring import score_prediction
from medseg.studies.study import StudyData, case_entries, inner_part, open_data, plan_study, relative_study
from medseg.studies.summary import summarise
from medseg.studies.tables import write_summary
from medseg.training.checkpoint import Epoch
from medseg.training.control import read_epochs

__all__ = ["Deliverables", "StudyOutcome", "cross_validate", "fold_cases", "fold_seed", "train_all"]


@dataclass(frozen=True)
class Deliverables:
    """Files made of a finished run folder, to be tracked beside its scores.

    Attributes:
        reports: Report pages.
        package: The model package, or None.
    """

    reports: tuple[Path, ...] = ()
    package: Path | None = None


@dataclass(frozen=True)
class StudyOutcome:
    """What a study left in its run folder.

    Attributes:
        run: The run folder.
        plan: The plan.
        summary: summary.json, or empty where nothing was held out.
        refusals: Cases that could not be predicted or scored, with the reason.
        iterations: Optimiser steps of the last run.
        problem: What tracking could not record, or None.
    """

    run: Path
    plan: Plan
    summary: Mapping[str, Any]
    refusals: tuple[Refusal, ...]
    iterations: int = 0
    problem: str | None = None


def cross_validate(
    study: StudyConfig,
    *,
    out: Path,
    progress: StudyProgress | None = None,
    deliver: Callable[[Path], Deliverables] = lambda _run: Deliverables(),
    identities: IdentityIndex | None = None,
) -> StudyOutcome:
    """Train every fold, predict the cases it held out, score them and sum up.

    The same call in the same folder goes on where the last one stopped.

    Args:
        study: The study; paths relative to the working directory.
        out: The run folder.
        progress: Told how far it is.
        deliver: Makes reports and a model package of the finished run folder.
        identities: The project's identities, which nothing that is written, kept or tracked may hold.

    Raises:
        RequestError: The study cannot be carried out as it stands.
    """
    progress = progress or SilentProgress()
    data = open_data(study.data)
    splits = data.folds(study.data).splits
    with RunFolder.open(out, study_yaml=dump_study(relative_study(study, out)), identities=identities) as run:
        plan = _begin(study, data, run, progress)
        tracker = open_tracker(portable_study(study), out, identities=identities)
        with _tracked(tracker, run, plan, data):
            refusals, rows = [], []
            for number, split in enumerate(splits):
                found, scored = _run_split(
                    study, data, plan, run, tracker, split=split, number=number, of=len(splits), progress=progress
                )
                refusals += found
                rows += scored
            privacy = write_privacy_facts(study, out, splits={f"fold_{k}": split for k, split in enumerate(splits)})
            summary = _sum_up(study, run, rows, privacy=privacy)
            write_refusals(refusals, run.root / "refused.csv")
            _track_results(tracker, deliver(out), summary, plan)
        return StudyOutcome(out, plan, summary, tuple(refusals), problem=tracker.problem)


def train_all(
    study: StudyConfig, *, out: Path, progress: StudyProgress | None = None, identities: IdentityIndex | None = None
) -> StudyOutcome:
    """Train one model on all labelled cases.

    Args:
        study: The study; paths relative to the working directory.
        out: The run folder; gets ``fold_all/weights.safetensors``.
        progress: Told how far it is.
        identities: The project's identities, which nothing that is written, kept or tracked may hold.

    Raises:
        RequestError: The study cannot be carried out as it stands.
    """
    progress = progress or SilentProgress()
    data = open_data(study.data)
    everything = Split(0, 0, tuple(c.case for c in data.manifest.cases if c.label is not None), (), ())
    with RunFolder.open(out, study_yaml=dump_study(relative_study(study, out)), identities=identities) as run:
        plan = _begin(study, data, run, progress)
        tracker = open_tracker(portable_study(study), out, identities=identities)
        with _tracked(tracker, run, plan, data), tracker.fold(None) as fold_tracker:
            cases = fold_cases(study, data, plan, everything, seed=study.seed, progress=progress)
            train_fold(
                study,
                data,
                plan,
                cases=cases,
                folder=run.root / "fold_all",
                seed=study.seed,
                name="train, all cases",
                on_epoch=_epoch_sink(fold_tracker),
                progress=progress,
            )
        write_privacy_facts(study, out, splits={"fold_all": everything})
        epochs = read_epochs(run.root / "fold_all" / "epochs.csv")
        return StudyOutcome(out, plan, {}, (), epochs[-1].iteration if epochs else 0, tracker.problem)


def _begin(study: StudyConfig, data: StudyData, run: RunFolder, progress: StudyProgress) -> Plan:
    # Hours before predictions and tables that would bear these names.
    let_out(json.dumps([(c.case, c.patient, c.site) for c in data.manifest.cases]), name="manifest.csv")
    plan, _ = plan_study(study, data, run=run, progress=progress)
    if not run.environment_json.exists():
        with atomic_write(run.environment_json, mode="w") as stream:
            stream.write(json.dumps(describe_environment(device=plan.device), indent=2) + "\n")
        run.ledger.append("study begun", {"cases": len(data.manifest.cases), "manifest": data.manifest.digest()})
    return plan


def _tracked(tracker: Tracker, run: RunFolder, plan: Plan, data: StudyData) -> AbstractContextManager[Any]:
    environment = json.loads(run.environment_json.read_text(encoding="utf-8"))
    return tracker.study(plan.to_dict(), environment, data.manifest.digest())


def _run_split(
    study: StudyConfig,
    data: StudyData,
    plan: Plan,
    run: RunFolder,
    tracker: Tracker,
    *,
    split: Split,
    number: int,
    of: int,
    progress: StudyProgress,
) -> tuple[list[Refusal], list[CaseRow]]:
    seed = fold_seed(study, split)
    folder = run.fold(number)
    finished = (folder / "weights.safetensors").exists()
    cases = FoldCases((), (), False) if finished else fold_cases(study, data, plan, split, seed=seed, progress=progress)
    if cases.training and study.train.few_shot is not None:
        with atomic_write(folder / "few_shot.json", mode="w") as stream:
            stream.write(json.dumps({"cases": [case.case for case in cases.training]}) + "\n")
    with nullcontext() if finished else tracker.fold(number) as fold_tracker:
        weights = train_fold(
            study,
            data,
            plan,
            cases=cases,
            folder=folder,
            seed=seed,
            name=f"train fold {number + 1} of {of}",
            on_epoch=_epoch_sink(fold_tracker),
            progress=progress,
        )
    if not finished:
        run.ledger.append("fold trained", {"fold": number, "training_cases": len(cases.training)})
    held_out = [case for case in data.manifest.select(split.test) if case.label is not None]
    predictions = run.predictions(number)
    refusals = predict_cases(
        study,
        data,
        plan,
        cases=held_out,
        weights=weights,
        folder=predictions,
        name=f"predict fold {number + 1} of {of}",
        progress=progress,
    )
    rows, unscored = _score(study, data, held_out, predictions, split, progress)
    return refusals + unscored, rows


def fold_seed(study: StudyConfig, split: Split) -> int:
    """Seed of a fold's run: of the study's seed, the repeat and the fold alone."""
    return int(np.random.SeedSequence([study.seed, split.repeat, split.fold]).generate_state(1)[0] >> 1)


def fold_cases(
    study: StudyConfig, data: StudyData, plan: Plan, split: Split, *, seed: int, progress: StudyProgress
) -> FoldCases:
    """Which cases train, and which are monitored: an inner part that may guide, or held-out ones that may not.

    Args:
        study: The resolved study.
        data: Its cases.
        plan: Its plan.
        split: The split.
        seed: `fold_seed` of the split.
        progress: Told how far it is.
    """
    training, inner = split.training, split.test
    if study.train.guided:
        training, inner = inner_part(split, data.manifest, share=study.train.inner_validation, seed=seed)
    cases = FoldCases(
        tuple(case for case in data.manifest.select(training) if case.label is not None),
        tuple(case for case in data.manifest.select(inner) if case.label is not None),
        study.train.guided,
    )
    if study.train.few_shot is not None:
        entries = case_entries(study, data, plan, cases=cases.training, progress=progress)
        drawn = few_shot_cases(cases.training, entries, count=study.train.few_shot.cases, seed=seed)
        cases = replace(cases, training=drawn)
    return cases


def _score(
    study: StudyConfig,
    data: StudyData,
    cases: Sequence[Case],
    predictions: Path,
    split: Split,
    progress: StudyProgress,
) -> tuple[list[CaseRow], list[Refusal]]:
    rows: list[CaseRow] = []
    refusals = []
    progress.begin("score", len(cases))
    for number, case in enumerate(cases):
        path = find_prediction(predictions, case.case)
        if path is not None:
            try:
                rows += score_prediction(
                    path,
                    case,
                    labels=data.manifest.card.label_names(),
                    nsd_tolerance_mm=study.metrics.nsd_tolerance_mm,
                    ignore_label=study.data.ignore_label,
                    fold=split.fold,
                    repeat=split.repeat,
                )
            except DataError as error:
                refusals.append(Refusal(input=case.case, reason=str(error)))
        progress.update(number + 1)
    progress.end()
    return rows, refusals


def _sum_up(
    study: StudyConfig, run: RunFolder, rows: Sequence[CaseRow], *, privacy: Mapping[str, Any] | None
) -> Mapping[str, Any]:
    if not rows:
        raise RunError("no held-out case could be scored; see refused.csv in the run folder")
    write_cases(rows, run.cases_csv)
    summary = summarise(
        rows,
        bootstrap=study.metrics.bootstrap,
        confidence=study.metrics.confidence,
        seed=study.seed,
        empty_reference=study.metrics.empty_reference,
    )
    if privacy is not None:
        summary["privacy"] = privacy
    write_summary(summary, run.summary_json)
    run.ledger.append("study summed up", {"rows": len(rows)})
    return summary


def _epoch_sink(tracker: FoldTracker | None) -> Callable[[Epoch], None]:
    """Sends an epoch's numbers to the tracked run; nan is left out."""

    def send(epoch: Epoch) -> None:
        values = {"minutes": epoch.minutes, "lr": epoch.lr, "train_loss": epoch.train_loss, "val_dice": epoch.val_dice}
        if tracker is not None:
            tracker.log_epoch(epoch.iteration, {name: v for name, v in values.items() if not np.isnan(v)})

    return send


def _track_results(tracker: Tracker, made: Deliverables, summary: Mapping[str, Any], plan: Plan) -> None:
    entries = {info["name"]: info["metrics"] for info in summary["labels"].values()}
    entries["mean over labels"] = summary["mean_over_labels"]["metrics"]
    scores = {
        f"{name} {metric}{suffix}": float(facts[key])
        for name, metrics in entries.items()
        for metric, facts in metrics.items()
        for key, suffix in (("mean", ""), ("low", " low"), ("high", " high"))
    }
    tracker.finish(scores, made.reports)
    if made.package is not None:
        signature = ModelSignature(spatial_dims=plan.spatial_dims, channels=plan.channels, labels=plan.labels)
        tracker.register_model(made.package, signature)
