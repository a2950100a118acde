"""Optimiser and learning rate: what moves the weights, and how far, over the run."""

from __future__ import annotations

import math
from typing import assert_never

import torch
from torch import nn

from medseg.config.train import AdamConfig, OptimizerConfig, ScheduleConfig, SgdConfig

__all__ = ["Plateau", "build_optimizer", "learning_rate_factor"]


def build_optimizer(config: OptimizerConfig, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a model.

    Norms and biases get no weight decay. With ``encoder_lr_factor`` the parameters of ``model.encoder`` form groups of
    their own. Each group carries ``base_lr``, which `learning_rate_factor` multiplies.
    """
    factor = config.encoder_lr_factor if isinstance(config, AdamConfig) else 1.0
    encoder = getattr(model, "encoder", None)
    inside = {id(p) for p in encoder.parameters()} if encoder is not None and factor != 1.0 else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in inside, parameter.ndim > 1), []).append(parameter)
    settings = [
        {
            "params": parameters,
            "lr": config.lr * (factor if in_encoder else 1.0),
            "base_lr": config.lr * (factor if in_encoder else 1.0),
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for (in_encoder, decays), parameters in groups.items()
    ]
    match config:
        case SgdConfig():
            return torch.optim.SGD(settings, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
        case AdamConfig(name="adam"):
            return torch.optim.Adam(settings, lr=config.lr, betas=config.betas)
        case AdamConfig():
            return torch.optim.AdamW(settings, lr=config.lr, betas=config.betas)
        case _:
            assert_never(config)


def learning_rate_factor(schedule: ScheduleConfig, progress: float) -> float:
    """Learning rate as a share of its base at some point of the run; `plateau` is constant here, see `Plateau`.

    Args:
        schedule: The schedule.
        progress: Share of the run that is done, 0..1.

    Example:
        >>> learning_rate_factor(ScheduleConfig(name="cosine", warmup_fraction=0.0), 0.5)
        0.5
    """
    progress = min(max(progress, 0.0), 1.0)
    warmup = schedule.warmup_fraction
    if progress < warmup:
        # Never exactly 0: the first step would be wasted.
        return max(progress / warmup, 0.01)
    done = (progress - warmup) / (1.0 - warmup)
    final = schedule.final_fraction
    if schedule.name == "cosine":
        return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * done))
    if schedule.name == "poly":
        return final + (1.0 - final) * math.pow(1.0 - done, schedule.power)
    return 1.0


class Plateau:
    """Learning rate factor that falls when the validation Dice stops rising.

    Args:
        schedule: Gives the factor and the patience.
    """

    def __init__(self, schedule: ScheduleConfig) -> None:
        self._schedule = schedule
        self.factor = 1.0
        self._best = -math.inf
        self._waited = 0

    def update(self, dice: float) -> None:
        """Take in an epoch's validation Dice."""
        if dice > self._best:
            self._best, self._waited = dice, 0
            return
        self._waited += 1
        if self._waited >= self._schedule.plateau_epochs:
            self.factor *= self._schedule.plateau_factor
            self._waited = 0

    def state(self) -> dict[str, float]:
        """For the checkpoint."""
        return {"factor": self.factor, "best": self._best, "waited": float(self._waited)}

    def restore(self, state: dict[str, float]) -> None:
        """From the checkpoint."""
        self.factor, self._best, self._waited = state["factor"], state["best"], int(state["waited"])
