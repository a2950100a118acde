"""Checkpoint: everything a run needs to go on, in one file that holds tensors and numbers only."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medseg.data.files import atomic_write
from medseg.errors import RunError
from medseg.privacy.audit import gate
from medseg.privacy.known import let_out

__all__ = ["Checkpoint", "Epoch", "load_checkpoint", "load_weights", "save_checkpoint", "save_weights"]


@dataclass(frozen=True)
class Epoch:
    """One row of epochs.csv.

    Attributes:
        epoch: From 1.
        iteration: Optimiser steps so far.
        minutes: Wall-clock minutes of training so far.
        lr: Learning rate at the end of the epoch.
        train_loss: Mean loss of the epoch.
        val_dice: Mean Dice on the monitored cases; ``nan`` where none are monitored.
    """

    epoch: int
    iteration: int
    minutes: float
    lr: float
    train_loss: float
    val_dice: float


@dataclass
class Checkpoint:
    """State of a run between two steps.

    Attributes:
        study_digest: SHA-256 of the resolved study and plan; a checkpoint of another study is refused.
        iteration: Batches done.
        seconds: Wall-clock seconds of training done.
        model: State of the network.
        ema: Moving average of the weights, or empty.
        optimizer: State of the optimiser.
        control: Small numbers of schedule, early stopping and best epoch.
        epochs: The rows of epochs.csv so far.
        best: Weights of the best epoch, or empty.
    """

    study_digest: str
    iteration: int
    seconds: float
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    control: dict[str, float] = field(default_factory=dict)
    epochs: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint atomically, once every text in it has passed the gate; the archive inside bears no file name.

    Of identities the gate looks for those that this process knows (`medseg.privacy.known`).

    Args:
        checkpoint: The state; beside its texts it holds numbers and tensors only, which the gate leaves out.
        path: The file.

    Raises:
        PrivacyError: The gate found something that identifies; nothing was written.
    """
    content = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}
    content["epochs"] = [asdict(epoch) for epoch in checkpoint.epochs]
    # The digest is a hash, in which chance writes five digits in a row.
    said = {name: value for name, value in content.items() if name != "study_digest"}
    _let_out("\n".join(_texts(said)), path)
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_write(path) as stream:
        stream.write(buffer.getbuffer())


def load_checkpoint(path: Path, *, study_digest: str) -> Checkpoint:
    """Read a checkpoint; only tensors and numbers are accepted, no code is run.

    Raises:
        RunError: The file is broken or belongs to another study.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        content["epochs"] = [Epoch(**row) for row in content["epochs"]]
        checkpoint = Checkpoint(**content)
    except Exception:
        # A damaged file makes torch, zipfile or pickle raise anything.
        raise RunError("the last checkpoint cannot be read; delete the fold's folder to train it anew") from None
    if checkpoint.study_digest != study_digest:
        raise RunError(
            "the checkpoint was written for another study, plan or data set; choose a new --out, or restore the study"
        )
    return checkpoint


def _let_out(text: str, path: Path) -> None:
    gate(let_out(text, name=path.name), name=path.name, tier="shareable")


def _texts(content: Any) -> Iterator[str]:
    """Every text of a checkpoint: its names, its values and those of what is in it."""
    if isinstance(content, Mapping):
        for name, value in content.items():
            yield from _texts(name)
            yield from _texts(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from _texts(value)
    elif not isinstance(content, Tensor | int | float):
        yield str(content)


def save_weights(state: Mapping[str, Tensor], path: Path) -> None:
    """Write weights as safetensors, atomically, once their names have passed the gate.

    Args:
        state: Tensor by name.
        path: The file.

    Raises:
        PrivacyError: As `save_checkpoint`.
    """
    from safetensors.torch import save

    _let_out("\n".join(state), path)
    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})
    with atomic_write(path) as stream:
        stream.write(content)


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read weights.

    Raises:
        RunError: The file is missing or broken.
    """
    from safetensors.torch import load

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weights: dict[str, Tensor] = load(path.read_bytes())
            return weights
    except Exception:
        # A damaged file makes the reader raise anything.
        fold = f"{path.parent.name}: " if path.parent.name.startswith("fold_") else ""
        raise RunError(
            f"{fold}{path.name} is missing or broken; delete the fold's folder and give the command of the study again"
        ) from None
