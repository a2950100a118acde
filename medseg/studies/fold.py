"""Run: one training of one fold, and the predictions of the cases that it held out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from medseg.config import StudyConfig
from medseg.data.cache import CacheEntry
from medseg.data.cases import read_case_image
from medseg.data.files import atomic_write
from medseg.data.manifest import Case
from medseg.data.refusal import Refusal
from medseg.errors import DataError, ManifestError
from medseg.export.nifti import write_nifti
from medseg.export.png import write_png
from medseg.inference.predict import Predictor, build_predictor, predictor_of
from medseg.metrics.overlap import overlap
from medseg.models import transfer_weights
from medseg.models.efficientnet import EfficientNetLite0Encoder
from medseg.planning import Plan
from medseg.studies.predicted import find_prediction
from medseg.studies.private import write_spend
from medseg.studies.reporting import StudyProgress
from medseg.studies.start import read_start
from medseg.studies.study import StudyData, case_entries, study_digest
from medseg.training.checkpoint import Epoch, load_weights, save_weights
from medseg.training.fit import Hooks, fit
from medseg.training.private import forget_key

__all__ = ["MONITORED", "FoldCases", "few_shot_cases", "predict_cases", "train_fold"]

MONITORED = {2: 24, 3: 8}
"""Cases on which the curve of Dice against minutes is drawn: few, since they cost training time."""
_LOOK_SHARE = 0.01
"""Share of a time budget that one look at the monitored cases may take where they don't guide the run."""


@dataclass(frozen=True)
class FoldCases:
    """The cases of one run.

    Attributes:
        training: Cases to train on, all labelled.
        monitored: Cases on which the Dice curve is drawn.
        guides: Whether the monitored cases may guide the run; true only for an inner validation part.
    """

    training: tuple[Case, ...]
    monitored: tuple[Case, ...]
    guides: bool


def train_fold(
    study: StudyConfig,
    data: StudyData,
    plan: Plan,
    *,
    cases: FoldCases,
    folder: Path,
    seed: int,
    name: str,
    on_epoch: Callable[[Epoch], None],
    progress: StudyProgress,
) -> dict[str, Tensor]:
    """Train one fold, or take its weights when it is trained already.

    Args:
        study: The resolved study.
        data: The cases.
        plan: The plan.
        cases: Which cases train and which are monitored.
        folder: The fold's folder; gets epochs.csv, last.ckpt and weights.safetensors.
        seed: Seed of this run.
        name: What the progress is called.
        on_epoch: Told each finished epoch.
        progress: Told how far it is.

    Raises:
        ManifestError: No case is left to train from.
        PrivacyError: The gate found something that identifies.
    """
    weights = folder / "weights.safetensors"
    if weights.exists():
        # A run that was killed right after writing them left its secret.
        forget_key(folder)
        return load_weights(weights)
    if not cases.training:
        raise ManifestError("no labelled case is left to train from; check the folds and the labels")
    entries = case_entries(study, data, plan, cases=cases.training, progress=progress)
    monitored = case_entries(
        study, data, plan, cases=_chosen(cases.monitored, plan.spatial_dims, seed), progress=progress
    )
    progress.begin(name, 1.0)
    result = fit(
        study,
        plan,
        entries=entries,
        patients=[case.patient for case in cases.training],
        folder=folder,
        seed=seed,
        study_digest=study_digest(study, plan, cases.training),
        hooks=Hooks(
            monitor=_monitor(study, plan, monitored, guides=cases.guides) if monitored else None,
            guides=cases.guides,
            prepare=_preparation(study, folder),
            on_epoch=on_epoch,
            progress=progress.update,
        ),
    )
    progress.end()
    if result.privacy is not None:
        write_spend(result.privacy, folder)
    save_weights(result.weights, weights)
    forget_key(folder)
    return result.weights


def predict_cases(
    study: StudyConfig,
    data: StudyData,
    plan: Plan,
    *,
    cases: Sequence[Case],
    weights: dict[str, Tensor],
    folder: Path,
    name: str,
    progress: StudyProgress,
) -> list[Refusal]:
    """Predict cases on their own grids into CASE.nii.gz (3D) or CASE.png (2D); those that are there are left.

    Returns:
        The cases that could not be predicted, with the reason.
    """
    waiting = [case for case in cases if find_prediction(folder, case.case) is None]
    refusals = []
    progress.begin(name, len(cases))
    if waiting:
        predictor = build_predictor(study, plan, states=[weights])
        for number, case in enumerate(waiting):
            try:
                _predict_one(predictor, data, case, folder)
            except DataError as error:
                refusals.append(Refusal(input=case.case, reason=str(error)))
            progress.update(len(cases) - len(waiting) + number + 1)
    progress.end()
    return refusals


def few_shot_cases(cases: Sequence[Case], entries: Sequence[CacheEntry], *, count: int, seed: int) -> tuple[Case, ...]:
    """Draw k cases, patient by patient, those with foreground first.

    Args:
        cases: Labelled training cases.
        entries: The same, preprocessed.
        count: How many to draw.
        seed: Seed of the draw.

    Raises:
        ManifestError: There are fewer cases than asked for.
    """
    if count > len(cases):
        raise ManifestError(
            f"train.few_shot.cases: {count} were asked for, this fold has {len(cases)} labelled training cases"
        )
    order = [int(i) for i in np.random.default_rng((seed, 23)).permutation(len(cases))]
    seen: set[str] = set()
    ranked = []
    for position, index in enumerate(order):
        again = cases[index].patient in seen
        seen.add(cases[index].patient)
        ranked.append((not entries[index].foreground(), again, position, index))
    return tuple(cases[index] for *_, index in sorted(ranked)[:count])


def _predict_one(predictor: Predictor, data: StudyData, case: Case, folder: Path) -> None:
    volume = read_case_image(case, channels=data.manifest.card.channels)
    prediction = predictor.predict(volume)
    if prediction.label_map.ndim == 2:
        write_png(prediction.label_map, folder / f"{case.case}.png", label_count=len(data.manifest.card.labels))
    else:
        write_nifti(prediction.label_map, prediction.geometry.affine, folder / f"{case.case}.nii.gz")


def _chosen(cases: Sequence[Case], dims: int, seed: int) -> tuple[Case, ...]:
    order = np.random.default_rng((seed, 29)).permutation(len(cases))[: MONITORED[dims]]
    return tuple(cases[int(i)] for i in sorted(order))


def _monitor(
    study: StudyConfig, plan: Plan, entries: Sequence[CacheEntry], *, guides: bool
) -> Callable[[nn.Module], float]:
    """Mean Dice over cases and labels on the preprocessed grid, without mirrored copies; nan where nothing is there.

    Where it doesn't guide the run and the time is short, the first look finds out how many cases it can afford, at
    least one, and every look takes these.
    """
    affordable = len(entries)
    seconds = math.inf if guides or plan.budget_minutes is None else _LOOK_SHARE * 60.0 * plan.budget_minutes

    def monitor(network: nn.Module) -> float:
        nonlocal affordable, seconds
        predictor = predictor_of(study, plan, [network], mirror_axes=(), batch_size=plan.batch_size)
        values = []
        started = time.monotonic()
        for number, entry in enumerate(entries[:affordable], start=1):
            reference = np.asarray(entry.label)
            found = predictor.label_prepared(np.asarray(entry.image))
            counts = reference != plan.classes
            for index in range(1, plan.classes):
                values.append(overlap((found == index) & counts, reference == index).dice)
            if time.monotonic() - started > seconds:
                affordable = number
                break
        seconds = math.inf
        return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")

    return monitor


def _preparation(study: StudyConfig, folder: Path) -> Callable[[nn.Module], None]:
    """Take up `train.init`, and freeze the encoder where few-shot asks for it."""

    def prepare(network: nn.Module) -> None:
        if study.train.init is not None:
            report = transfer_weights(network, read_start(Path(study.train.init)))
            with atomic_write(folder / "init.json", mode="w") as stream:
                stream.write(json.dumps(report.to_dict(), indent=2) + "\n")
        if study.train.few_shot is not None and study.train.few_shot.freeze_encoder:
            encoder = network.get_submodule("encoder")
            for parameter in encoder.parameters():
                parameter.requires_grad_(False)
            if isinstance(encoder, EfficientNetLite0Encoder):
                encoder.frozen_statistics = True

    return prepare
