"""fit: one training of one network on some cases, resumable, within its iterations or its minutes."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from medseg.config import StudyConfig, privacy_problems
from medseg.data.cache import CacheEntry
from medseg.errors import RunError
from medseg.losses import DeepSupervisionLoss, build_loss
from medseg.models import build_model
from medseg.planning import Plan
from medseg.training.accounting import PrivacySpend, privacy_terms, spent
from medseg.training.checkpoint import Checkpoint, Epoch, load_checkpoint
from medseg.training.control import Monitor, Progress, RunControl, RunLimits
from medseg.training.module import MovingAverage, RunModule, supervised_step
from medseg.training.optim import build_optimizer
from medseg.training.patches import PatchDataset, build_loader
from medseg.training.private import PatientBatches, PrivateGradient, check_network, private_key
from medseg.transforms import build_batch_transform, build_training_transform, oversized_patch
from medseg.transforms.normalise import normalise
from medseg.types import Array

__all__ = ["FitResult", "Hooks", "finish_image", "fit", "loader_workers", "network_of", "run_loop"]

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


@dataclass(frozen=True, eq=False)
class Hooks:
    """What a training tells, asks and takes from outside.

    Attributes:
        monitor: Mean Dice of a network on the monitored cases, or None.
        guides: Whether the monitor may guide the run (best epoch, early stopping, plateau); only for cases of the inner
            validation part, never for cases that are tested.
        prepare: Called with the fresh network, for example to take up pretrained weights.
        on_epoch: Told each finished epoch.
        progress: Told the share of the run that is done, and a word on how it goes.
    """

    monitor: Monitor | None = None
    guides: bool = False
    prepare: Callable[[nn.Module], None] = lambda _model: None
    on_epoch: Callable[[Epoch], None] = lambda _epoch: None
    progress: Progress = lambda _done, _word: None


@dataclass(frozen=True, eq=False)
class FitResult:
    """What a training leaves.

    Attributes:
        weights: State of the network that predicts: averaged, of the last or the best epoch.
        epochs: The rows of epochs.csv.
        seconds: Wall-clock seconds of training.
        iterations: Optimiser steps.
        privacy: The guarantee that the weights carry, or None.
    """

    weights: dict[str, Tensor]
    epochs: list[Epoch]
    seconds: float
    iterations: int
    privacy: PrivacySpend | None = None


def network_of(study: StudyConfig, plan: Plan) -> nn.Module:
    """The network of a study and its plan, with fresh (or the package's pretrained) weights."""
    return build_model(
        study.model,
        spatial_dims=plan.spatial_dims,
        in_channels=len(plan.channels),
        out_channels=plan.classes,
        features=plan.features,
        strides=plan.strides,
        kernels=plan.kernels,
    )


def fit(
    study: StudyConfig,
    plan: Plan,
    *,
    entries: Sequence[CacheEntry],
    folder: Path,
    seed: int,
    study_digest: str,
    patients: Sequence[str] | None = None,
    hooks: Hooks | None = None,
    model: nn.Module | None = None,
    loss: nn.Module | None = None,
) -> FitResult:
    """Train a network.

    A last.ckpt in the folder is gone on from; with iterations (no budget) the resumed weights are, on a CPU, to the
    bit those of an uninterrupted run.

    Args:
        study: The resolved study.
        plan: Its plan.
        entries: The training cases, preprocessed.
        folder: Where last.ckpt and epochs.csv are written.
        seed: Seed of this run.
        study_digest: SHA-256 over study, plan and cases; a checkpoint with another one is refused.
        patients: Pseudonym of the patient of each entry; needed with ``train.privacy`` only.
        hooks: What the training tells, asks and takes from outside.
        model: A network of your own instead of the study's.
        loss: A loss of your own instead of the study's.

    Raises:
        RunError: No case to train from, a checkpoint of another study, or a loss that is not finite.
    """
    if not entries:
        raise RunError("no labelled case is left to train from; check the folds and the labels")
    hooks = hooks or Hooks()
    folder.mkdir(parents=True, exist_ok=True)
    _be_deterministic(study.train.deterministic)
    torch.manual_seed(seed)
    network = model if model is not None else network_of(study, plan)
    hooks.prepare(network)
    network = network.to(plan.device)
    last = folder / "last.ckpt"
    resumed = load_checkpoint(last, study_digest=study_digest) if last.exists() else None
    optimizer = build_optimizer(study.train.optimizer, network)
    average = MovingAverage(network, decay=study.train.ema_decay) if study.train.ema_decay > 0 else None
    if resumed is not None:
        _restore(resumed, network, optimizer, average, accumulate=study.train.accumulate)
    private = _private_gradient(study, plan, network, patients=patients, folder=folder, resumed=resumed)
    control = RunControl(
        study.train,
        limits=_limits(study, plan),
        average=average,
        monitor=hooks.monitor,
        guides=hooks.guides,
        folder=folder,
        study_digest=study_digest,
        resumed=resumed,
        on_epoch=hooks.on_epoch,
        progress=hooks.progress,
    )
    if control.done < 1.0:
        step = supervised_step(
            _loss_of(study, plan, loss),
            batch_transform=build_batch_transform(study.augment, seed),
            classes=plan.classes,
        )
        module = RunModule(network, step=step, optimizer=optimizer, seed=seed, first=control.batches, private=private)
        run_loop(study, plan, entries=entries, module=module, control=control, patients=patients or ())
    state = network.state_dict()
    if study.train.select == "best" and control.best:
        state = {**state, **control.best}
    elif average is not None:
        state = {**state, **average.state()}
    weights = {name: tensor.detach().cpu().clone() for name, tensor in state.items()}
    spend = spent(private.terms, steps=private.steps) if private is not None else None
    return FitResult(weights, control.epochs, control.seconds, control.batches // study.train.accumulate, spend)


def run_loop(
    study: StudyConfig,
    plan: Plan,
    *,
    entries: Sequence[CacheEntry],
    module: RunModule,
    control: RunControl,
    patients: Sequence[str] = (),
) -> None:
    """Run a module on random patches until its control says that the run is done; then write last.ckpt.

    Args:
        study: The resolved study.
        plan: Its plan.
        entries: Preprocessed cases.
        module: The network with its step and optimiser.
        control: Knows where the run begins and ends.
        patients: Patient of each entry; used where the module is private.

    Raises:
        RunError: The loss is not finite.
    """
    seed = module.run_seed
    dataset = PatchDataset(
        entries,
        draw_size=oversized_patch(study.augment, plan.patch_size),
        batch_size=plan.batch_size,
        foreground_fraction=study.train.foreground_fraction,
        transform=build_training_transform(
            study.augment,
            spatial_dims=plan.spatial_dims,
            patch_size=plan.patch_size,
            rgb=plan.rgb,
            seed=seed,
        ),
        finish=_Finish(plan),
        seed=seed,
    )
    workers = loader_workers(study.data.loader_workers)
    loader: DataLoader[Any]
    if module.private is None:
        loader = build_loader(
            dataset, first=control.batches * plan.batch_size, batch_size=plan.batch_size, workers=workers
        )
    else:
        private = module.private
        batches = PatientBatches(dataset, patients=patients, terms=private.terms, key=private.key, seed=seed)
        loader = build_loader(batches, first=control.batches, batch_size=None, workers=workers, ahead=2)
    precision: Any = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}[plan.precision]
    trainer = pl.Trainer(
        accelerator="gpu" if plan.device == "cuda" else "cpu",
        devices=1,
        precision=precision,
        max_epochs=1,
        accumulate_grad_batches=study.train.accumulate,
        gradient_clip_val=(study.train.gradient_clip or None) if module.private is None else None,
        callbacks=[control],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        default_root_dir=control.folder,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trainer.fit(module, train_dataloaders=loader)
        except FloatingPointError:
            raise RunError(
                f"the loss became not finite at step {control.batches}; lower train.optimizer.lr, or set "
                "train.precision: 32. The last checkpoint is from before"
            ) from None
        except SystemExit:
            # Lightning turns Ctrl-C and SIGTERM into an exit of the process; our callers want to end in their own way.
            control.save(module)
            raise KeyboardInterrupt from None
    control.save(module)


def finish_image(image: Array, plan: Plan) -> Array:
    """What is left to do to a stored image, once augmented: colours 0..255 to the encoder's scale.

    Args:
        image: (channel, x, y[, z]) as the cache holds it.
        plan: Knows the normalisation.

    Returns:
        float32.
    """
    return normalise(image, plan.normalisation) if plan.rgb else np.asarray(image, dtype=np.float32)


class _Finish:
    """`finish_image` after an augmentation that worked in 0..1."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def __call__(self, image: Array) -> Array:
        return finish_image(image * 255.0 if self._plan.rgb else image, self._plan)


def loader_workers(asked: int | None) -> int:
    """Processes that prepare patches: as asked, else one for each core beyond the first, at most 8."""
    if asked is not None:
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(8, cores - 1))


def _limits(study: StudyConfig, plan: Plan) -> RunLimits:
    if plan.budget_minutes is not None:
        return RunLimits(study.plan.iterations, plan.budget_minutes * 60.0, study.train.epoch_iterations)
    return RunLimits(plan.iterations, None, study.train.epoch_iterations)


def _loss_of(study: StudyConfig, plan: Plan, loss: nn.Module | None) -> nn.Module:
    ignore = plan.classes if study.data.ignore_label is not None else None
    chosen = loss if loss is not None else build_loss(study.loss, ignore_index=ignore)
    return DeepSupervisionLoss(chosen) if plan.deep_supervision else chosen


def _private_gradient(
    study: StudyConfig,
    plan: Plan,
    network: nn.Module,
    *,
    patients: Sequence[str] | None,
    folder: Path,
    resumed: Checkpoint | None,
) -> PrivateGradient | None:
    """What makes the steps private, with the account of an interrupted run; None where the study doesn't ask for it."""
    if study.train.privacy is None:
        return None
    problems = privacy_problems(study)
    if problems:
        # A study that was changed after it was checked, as the labels-against-accuracy curve does.
        raise RunError("train.privacy: the guarantee would not hold: " + "; ".join(problems))
    if patients is None:
        raise RunError("train.privacy: expected the patient of each case, whom the guarantee is for; found none")
    check_network(network)
    account = resumed.control if resumed is not None else {}
    terms = privacy_terms(study.train.privacy, patients=len(set(patients)), steps=plan.iterations, resumed=account)
    return PrivateGradient(
        network,
        terms=terms,
        key=private_key(folder),
        gradient_clip=study.train.gradient_clip,
        steps=int(account.get("private_steps", 0)),
    )


def _restore(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage | None,
    *,
    accumulate: int,
) -> None:
    network.load_state_dict(checkpoint.model)
    optimizer.load_state_dict(checkpoint.optimizer)
    if average is not None:
        average.restore(checkpoint.ema, checkpoint.iteration // accumulate)


def _be_deterministic(deterministic: bool) -> None:
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    # Filling every allocation costs up to a tenth of a step and changes nothing: no kernel of ours reads what it didn't
    # write.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # missing in the stubs
    torch.backends.cudnn.benchmark = not deterministic
