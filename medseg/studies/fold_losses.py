"""Fold losses: how well the model of each fold fits each labelled case, members and non-members alike."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.config import StudyConfig, load_study
from medseg.data.cache import CacheEntry
from medseg.data.files import atomic_write, sha256_of
from medseg.data.manifest import Case
from medseg.data.split import Split
from medseg.errors import RunError
from medseg.inference.predict import Predictor, build_predictor
from medseg.metrics import CaseRow, read_cases
from medseg.planning import Plan
from medseg.privacy.ledger import Ledger
from medseg.studies.crossval import fold_cases, fold_seed
from medseg.studies.fold import FoldCases
from medseg.studies.membership import Exposure, membership_facts
from medseg.studies.reporting import SilentProgress, StudyProgress
from medseg.studies.study import StudyData, case_entries, open_data
from medseg.studies.tables import write_summary
from medseg.training.checkpoint import load_weights
from medseg.types import FloatArray, LabelMap

__all__ = ["balanced_cross_entropy", "measure_membership"]

_SMALLEST = 1e-7
_SLAB = 2**22
"""Voxels that are looked at together."""


@dataclass(frozen=True)
class _Opened:
    study: StudyConfig
    data: StudyData
    plan: Plan
    splits: Sequence[Split]


def measure_membership(
    run: Path,
    *,
    manifest: Path | None = None,
    seed: int | None = None,
    progress: StudyProgress | None = None,
) -> dict[str, Any]:
    """Test how far membership of a run's training cases shows, and write ``membership.json`` into the run folder.

    Each fold's model is asked for every labelled case; what it answered is kept in ``fold_k/losses.json``, so that the
    same call goes on where the last one stopped.

    Args:
        run: Run folder of a finished cross-validation.
        manifest: The manifest, where it is no longer where the study says.
        seed: Seed of the resampling; the study's without it.
        progress: Told how far it is.

    Returns:
        What `medseg.studies.membership.membership_facts` gives, and ``weights``, the SHA-256 of each fold's.

    Raises:
        RunError: The folder is no finished cross-validation, or the folds are no longer those of the run.
        ManifestError: The manifest or a case can't be read.
    """
    opened = _open(run, manifest)
    exposure = _exposure(run, opened, progress=progress or SilentProgress())
    metrics = opened.study.metrics
    facts = membership_facts(
        exposure,
        bootstrap=metrics.bootstrap,
        confidence=metrics.confidence,
        seed=opened.study.seed if seed is None else seed,
    )
    facts["weights"] = [sha256_of(run / f"fold_{k}" / "weights.safetensors") for k in range(len(opened.splits))]
    write_summary(facts, run / "membership.json")
    Ledger(run / "ledger.jsonl").append("membership tested", {"models": facts["models"], "patients": facts["patients"]})
    return facts


def _exposure(run: Path, opened: _Opened, *, progress: StudyProgress) -> Exposure:
    """Ask every fold's model for every labelled case."""
    study, data = opened.study, opened.data
    labelled = [case for case in data.manifest.cases if case.label is not None]
    entries = case_entries(study, data, opened.plan, cases=labelled, progress=progress)
    patients = tuple(dict.fromkeys(case.patient for case in labelled))
    losses = np.full((len(patients), len(opened.splits)), math.nan)
    member = np.zeros(losses.shape, dtype=np.int8)
    for number, split in enumerate(opened.splits):
        seed = fold_seed(study, split)
        cases = fold_cases(study, data, opened.plan, split, seed=seed, progress=progress)
        progress.begin(f"losses, fold {number + 1} of {len(opened.splits)}", len(labelled))
        found = _losses(run / f"fold_{number}", opened, labelled, entries, progress)
        progress.end()
        losses[:, number] = _patient_means(found, labelled, patients)
        member[:, number] = _memberships(cases, patients)
    member[~np.isfinite(losses)] = -1
    return Exposure(patients, losses, member)


def balanced_cross_entropy(probabilities: FloatArray, label: LabelMap) -> float:
    """Mean cross-entropy of the right class, each class that is present counting the same.

    Classes count the same since a lesion of a thousandth of the image would not show in a mean over voxels.

    Args:
        probabilities: (class, x, y[, z]).
        label: Class indices (x, y[, z]); an index beyond the classes is a voxel to ignore.

    Returns:
        The loss in nats; nan where every voxel is to be ignored.
    """
    classes = len(probabilities)
    sums, counts = np.zeros(classes), np.zeros(classes)
    rows = max(1, _SLAB // max(1, math.prod(label.shape[1:])))
    for first in range(0, len(label), rows):
        target = np.asarray(label[first : first + rows]).ravel()
        slab = np.asarray(probabilities[:, first : first + rows]).reshape(classes, -1)
        counted = np.flatnonzero(target < classes)
        right = slab[target[counted], counted].astype(np.float64)
        sums += np.bincount(target[counted], weights=-np.log(np.maximum(right, _SMALLEST)), minlength=classes)
        counts += np.bincount(target[counted], minlength=classes)
    present = counts > 0
    return float((sums[present] / counts[present]).mean()) if present.any() else math.nan


def _open(run: Path, manifest: Path | None) -> _Opened:
    if not (run / "study.yaml").exists():
        raise RunError("expected a run folder, as `medseg crossval STUDY --out RUN` makes it; found none")
    study = load_study(run / "study.yaml")
    path = manifest or next((p for p in (run / study.data.manifest, Path(study.data.manifest)) if p.exists()), None)
    if path is None:
        raise RunError("the manifest is no longer where the run's study says; name it with --manifest FILE")
    folds = run / study.data.folds if study.data.folds is not None else None
    cache = run / study.data.cache if study.data.cache is not None else None
    places = {
        "manifest": str(path),
        "folds": str(folds) if folds is not None and folds.exists() else None,
        "cache": str(cache) if cache is not None and cache.exists() else None,
    }
    study = study.model_copy(update={"data": study.data.model_copy(update=places)})
    data = open_data(study.data)
    splits = data.folds(study.data).splits
    opened = _Opened(study, data, Plan.read(run / "plan.json"), splits)
    _check_folds(run, splits, read_cases(run))
    return opened


def _check_folds(run: Path, splits: Sequence[Split], rows: Sequence[CaseRow]) -> None:
    """The stored folds must be those that the run was made with, or members and non-members would be mixed up."""
    missing = sum(not (run / f"fold_{n}" / "weights.safetensors").is_file() for n in range(len(splits)))
    if missing:
        raise RunError(f"{missing} of {len(splits)} folds are not finished; give the crossval command again to go on")
    held_out = {(case, split.repeat, split.fold) for split in splits for case in split.test}
    if not {(row["case"], row["repeat"], row["fold"]) for row in rows} <= held_out:
        raise RunError(
            "the folds beside the manifest are not those of the run (cases.csv holds other cases out); restore the "
            "folds file, or cross-validate again into a new --out"
        )


def _losses(
    folder: Path, opened: _Opened, cases: Sequence[Case], entries: Sequence[CacheEntry], progress: StudyProgress
) -> Mapping[str, float]:
    """Loss of each case under the fold's model, from losses.json as far as it holds them."""
    weights = folder / "weights.safetensors"
    path, digest = folder / "losses.json", sha256_of(weights)
    known = _stored(path, digest)
    predictor: Predictor | None = None
    for number, (case, entry) in enumerate(zip(cases, entries, strict=True)):
        if case.case not in known:
            if predictor is None:
                built = build_predictor(opened.study, opened.plan, states=[load_weights(weights)])
                predictor = replace(built, mirror_axes=())
            assert entry.label is not None
            with predictor.probabilities(np.asarray(entry.image)) as probabilities:
                known[case.case] = balanced_cross_entropy(probabilities, entry.label)
        progress.update(number + 1)
    if predictor is not None:
        with atomic_write(path, mode="w") as stream:
            finite = {name: loss if math.isfinite(loss) else None for name, loss in known.items()}
            json.dump({"weights": digest, "losses": finite}, stream, indent=1)
    return known


def _stored(path: Path, digest: str) -> dict[str, float]:
    """What losses.json holds of these weights; nothing where it is missing, broken or of other weights."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["weights"] != digest:
            return {}
        return {str(name): math.nan if loss is None else float(loss) for name, loss in content["losses"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _patient_means(losses: Mapping[str, float], cases: Sequence[Case], patients: Sequence[str]) -> FloatArray:
    by_patient: dict[str, list[float]] = {patient: [] for patient in patients}
    for case in cases:
        if math.isfinite(losses[case.case]):
            by_patient[case.patient].append(losses[case.case])
    return np.array([np.mean(values) if values else math.nan for values in by_patient.values()])


def _memberships(cases: FoldCases, patients: Sequence[str]) -> list[int]:
    trained = {case.patient for case in cases.training}
    guided = {case.patient for case in cases.monitored} if cases.guides else set()
    return [1 if patient in trained else -1 if patient in guided else 0 for patient in patients]
