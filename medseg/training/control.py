"""RunControl: learning rate, time budget, epochs, checkpoints and early stopping of a run, as a Lightning callback."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from medseg.config.train import TrainConfig
from medseg.data.files import atomic_write
from medseg.training.checkpoint import Checkpoint, Epoch, save_checkpoint
from medseg.training.module import MovingAverage, RunModule
from medseg.training.optim import Plateau, learning_rate_factor

__all__ = ["Monitor", "Progress", "RunControl", "RunLimits", "read_epochs", "write_epochs"]

Monitor = Callable[[nn.Module], float]
"""Mean Dice of a network on the monitored cases."""
Progress = Callable[[float, str], None]
"""Told the share of the run that is done, 0..1, and a word on how it goes."""
_EPOCHS = 20
_MONITOR_SHARE = 0.05


@dataclass(frozen=True)
class RunLimits:
    """Where a run ends: at its iterations or its time, whichever comes first.

    Attributes:
        iterations: Optimiser steps, or None when the time alone decides.
        seconds: Wall-clock seconds, or None when the iterations alone decide.
        epoch_iterations: Steps of an epoch, or None for a twentieth of the run.
    """

    iterations: int | None
    seconds: float | None
    epoch_iterations: int | None


class RunControl(pl.Callback):
    """Everything of a run that is not the step itself.

    Args:
        config: The study's ``train`` section.
        limits: Where the run ends.
        average: Moving average of the weights, or None.
        monitor: Mean Dice on the monitored cases, or None.
        guides: Whether the monitored cases may guide the run (best epoch, early stopping, plateau); true only for an
            inner validation part of the training cases.
        folder: Where last.ckpt and epochs.csv are written.
        study_digest: Written into the checkpoint.
        resumed: The checkpoint to go on from, or None.
        on_epoch: Told each finished epoch (tracking).
        progress: Told how far the run is.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        limits: RunLimits,
        average: MovingAverage | None,
        monitor: Monitor | None,
        guides: bool,
        folder: Path,
        study_digest: str,
        resumed: Checkpoint | None,
        on_epoch: Callable[[Epoch], None],
        progress: Progress,
    ) -> None:
        self._config = config
        self._limits = limits
        self._average = average
        self._monitor = monitor
        self._guides = guides
        self.folder = folder
        self._digest = study_digest
        self._on_epoch = on_epoch
        self._progress = progress
        self._plateau = Plateau(config.schedule)
        self.epochs: list[Epoch] = list(resumed.epochs) if resumed else []
        self.batches = resumed.iteration if resumed else 0
        self.best: dict[str, Tensor] = dict(resumed.best) if resumed else {}
        self._before = resumed.seconds if resumed else 0.0
        control = resumed.control if resumed else {}
        self._best_dice = control.get("best_dice", -math.inf)
        self._waited = int(control.get("waited", 0))
        self._loss_sum = control.get("loss_sum", 0.0)
        self._loss_count = control.get("loss_count", 0.0)
        if resumed and "plateau_factor" in control:
            self._plateau.restore(
                {k.removeprefix("plateau_"): v for k, v in control.items() if k.startswith("plateau_")}
            )
        self._started = time.monotonic()
        self._last_saved = self._started
        self._monitor_seconds = 0.0
        self._monitor_total = 0.0
        self._epochs_done = self._epochs_due(self.done)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training, those before an interruption included."""
        return self._before + time.monotonic() - self._started

    @property
    def done(self) -> float:
        """Share of the run that is done, 0..1."""
        shares = []
        if self._limits.seconds is not None:
            # The last validation belongs to the budget.
            shares.append(self.seconds / max(self._limits.seconds - self._monitor_seconds, 1e-9))
        if self._limits.iterations is not None:
            shares.append(self.batches / (self._limits.iterations * self._config.accumulate))
        return min(1.0, max(shares))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The clock starts with the first batch."""
        del trainer, pl_module
        self._started = self._last_saved = time.monotonic()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the learning rate of this step."""
        del pl_module, batch, batch_idx
        factor = learning_rate_factor(self._config.schedule, self.done) * self._plateau.factor
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = group["base_lr"] * factor

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, average the weights, and at an epoch's end validate, log and stop where the run ends."""
        del batch, batch_idx
        assert isinstance(pl_module, RunModule)
        self.batches += 1
        # A private batch may be empty.
        loss = float(outputs["loss"].detach()) * self._config.accumulate if "loss" in outputs else None
        if loss is not None:
            if not math.isfinite(loss):
                raise FloatingPointError("the loss is not finite")
            self._loss_sum += loss
            self._loss_count += 1
        if self._average is not None and self.batches % self._config.accumulate == 0:
            self._average.update()
        done = self.done
        epochs_due = self._epochs_due(done)
        if epochs_due > self._epochs_done or done >= 1.0:
            self._end_epoch(pl_module)
            self._epochs_done = max(epochs_due, self._epochs_due(self.done))
        if done >= 1.0 or self._out_of_patience():
            trainer.should_stop = True
        elif time.monotonic() - self._last_saved > 60.0 * self._config.checkpoint_minutes:
            self.save(pl_module)
        told = "no patient in this step" if loss is None else f"loss {loss:.3f}"
        self._progress(done, told + (f", Dice {self.epochs[-1].val_dice:.3f}" if self.epochs else ""))

    def save(self, module: RunModule) -> None:
        """Write last.ckpt."""
        checkpoint = Checkpoint(
            study_digest=self._digest,
            iteration=self.batches,
            seconds=self.seconds,
            model=module.model.state_dict(),
            ema=self._average.state() if self._average is not None else {},
            optimizer=module.optimizer.state_dict(),
            control={
                "best_dice": self._best_dice,
                "waited": float(self._waited),
                "loss_sum": self._loss_sum,
                "loss_count": self._loss_count,
                **{f"plateau_{k}": v for k, v in self._plateau.state().items()},
                **(module.private.state() if module.private is not None else {}),
            },
            epochs=self.epochs,
            best=self.best,
        )
        save_checkpoint(checkpoint, self.folder / "last.ckpt")
        self._last_saved = time.monotonic()

    def _epochs_due(self, done: float) -> int:
        if self._limits.epoch_iterations is not None:
            return self.batches // (self._limits.epoch_iterations * self._config.accumulate)
        return int(done * _EPOCHS + 1e-9)

    def _end_epoch(self, module: RunModule) -> None:
        started = time.monotonic()
        dice = math.nan
        if self._monitor is not None and self._may_monitor():
            dice = _monitored(self._monitor, module.model, self._average)
        taken = time.monotonic() - started
        self._monitor_total += taken
        if not math.isnan(dice):
            # A running mean: one slow validation must not end the run early.
            self._monitor_seconds = 0.7 * self._monitor_seconds + 0.3 * taken if self._monitor_seconds else taken
        epoch = Epoch(
            epoch=len(self.epochs) + 1,
            iteration=self.batches // self._config.accumulate,
            minutes=round(self.seconds / 60.0, 4),
            lr=float(module.optimizer.param_groups[-1]["lr"]),
            train_loss=self._loss_sum / self._loss_count if self._loss_count else math.nan,
            val_dice=dice,
        )
        self._loss_sum = self._loss_count = 0.0
        self.epochs.append(epoch)
        if self._guides and math.isfinite(dice):
            self._guide(module, dice)
        write_epochs(self.epochs, self.folder / "epochs.csv")
        self._on_epoch(epoch)

    def _may_monitor(self) -> bool:
        """Whether a validation is worth its time: always where it guides and at the end, else for 5 % of the run."""
        return self._guides or self.done >= 1.0 or self._monitor_total <= _MONITOR_SHARE * self.seconds

    def _guide(self, module: RunModule, dice: float) -> None:
        if self._config.schedule.name == "plateau":
            self._plateau.update(dice)
        if dice > self._best_dice:
            self._best_dice, self._waited = dice, 0
            state = self._average.state() if self._average is not None else {}
            self.best = {
                name: tensor.detach().clone() for name, tensor in {**module.model.state_dict(), **state}.items()
            }
        else:
            self._waited += 1

    def _out_of_patience(self) -> bool:
        patience = self._config.early_stopping
        return self._guides and patience is not None and self._waited >= patience


def write_epochs(epochs: list[Epoch], path: Path) -> None:
    """Write epochs.csv, whole, atomically."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Epoch)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in epochs)
    with atomic_write(path, mode="w") as stream:
        stream.write(text.getvalue())


def read_epochs(path: Path) -> list[Epoch]:
    """Read epochs.csv; none where the file isn't there."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        return [
            Epoch(
                int(r["epoch"]),
                int(r["iteration"]),
                *(float(r[n]) for n in ("minutes", "lr", "train_loss", "val_dice")),
            )
            for r in csv.DictReader(stream)
        ]


def _monitored(monitor: Monitor, model: nn.Module, average: MovingAverage | None) -> float:
    """Dice of the averaged weights; the network's own are put back."""
    kept = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    training = model.training
    if average is not None:
        model.load_state_dict(average.state(), strict=False)
    model.eval()
    try:
        with torch.no_grad():
            return monitor(model)
    finally:
        model.load_state_dict(kept)
        model.train(training)
