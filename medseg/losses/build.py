"""build_loss: from a loss configuration to the sum of its terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import torch
from torch import Tensor, nn

from medseg.config.model import (
    BoundaryLossConfig,
    ClDiceLossConfig,
    DiceLossConfig,
    GeneralisedDiceLossConfig,
    LossConfig,
    TverskyLossConfig,
)
from medseg.losses.overlap import DiceTerm, GeneralisedDiceTerm, TverskyTerm
from medseg.losses.targets import flatten_scores
from medseg.losses.voxelwise import CrossEntropyTerm, FocalTerm

__all__ = ["DeepSupervisionLoss", "WeightedLoss", "build_loss", "reduce_target"]


class WeightedLoss(nn.Module):
    """Weighted sum of terms, each computed in float32 from the same softmax.

    Args:
        terms: Modules that take :class:`medseg.losses.targets.Scores` and return a scalar.
        weights: One for each term.
        ignore_index: Value of the voxels that count in no term.
    """

    def __init__(self, terms: Sequence[nn.Module], *, weights: Sequence[float], ignore_index: int | None) -> None:
        super().__init__()
        self.terms = nn.ModuleList(terms)
        self.weights = tuple(weights)
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss, a float32 scalar.

        Args:
            logits: Shape (batch, class, x, y[, z]), any float type.
            target: Class indices, shape (batch, x, y[, z]), or shares of the classes, shape (batch, class, x, y[, z]);
                in the second form a voxel to ignore has shares of 0.
        """
        with torch.autocast(logits.device.type, enabled=False):
            scores = flatten_scores(logits, target, ignore_index=self.ignore_index)
            total = torch.zeros((), device=logits.device)
            for term, weight in zip(self.terms, self.weights, strict=True):
                total = total + weight * term(scores)
        return total


class DeepSupervisionLoss(nn.Module):
    """The same loss at every decoder level, weights halved from level to level and summing to 1 (Isensee et al. 2021).

    The target is reduced to each level's size: class indices by the voxel nearest to the centre, shares by the mean.

    Args:
        loss: Takes logits and target, returns a scalar.
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, logits: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            logits: One tensor, or a list of them, finest first; each level's size divides the finest's.
            target: As the wrapped loss takes it, at the finest level's size.
        """
        levels = [logits] if isinstance(logits, Tensor) else list(logits)
        weights = [0.5**level for level in range(len(levels))]
        total = torch.zeros((), device=levels[0].device)
        for level, weight in zip(levels, weights, strict=True):
            total = total + weight / sum(weights) * self.loss(level, reduce_target(target, level.shape[2:]))
        return total


def reduce_target(target: Tensor, shape: Sequence[int]) -> Tensor:
    """Reduce a target to a coarser grid that divides its own.

    Args:
        target: Class indices, shape (batch, x, y[, z]), or shares of the classes, shape (batch, class, x, y[, z]).
        shape: Spatial shape of the coarser grid.
    """
    spatial = target.shape[-len(shape) :]
    if tuple(spatial) == tuple(shape):
        return target
    if target.is_floating_point():
        return nn.functional.interpolate(target, size=tuple(shape), mode="area")
    steps = [fine // coarse for fine, coarse in zip(spatial, shape, strict=True)]
    every = (slice(None),) * (target.ndim - len(steps))
    return target[every + tuple(slice(step // 2, None, step) for step in steps)]


def build_loss(config: LossConfig, *, ignore_index: int | None) -> nn.Module:
    """Build the loss that a study names.

    Returns:
        A module that takes logits (batch, class, x, y[, z]) and a target, class indices (batch, x, y[, z]) or shares
        (batch, class, x, y[, z]), and returns a float32 scalar.

    Args:
        config: The study's ``loss`` section.
        ignore_index: Value of the voxels that don't count.
    """
    overlap = {"batch": config.batch_dice, "background": config.include_background}
    dice = DiceTerm(**overlap, smooth=config.smooth)
    terms: list[nn.Module]
    match config:
        case DiceLossConfig(name="dice"):
            terms, weights = [dice], [config.dice_weight]
        case DiceLossConfig(name="dice_ce"):
            terms, weights = [dice, CrossEntropyTerm()], [config.dice_weight, config.other_weight]
        case DiceLossConfig():
            terms = [dice, FocalTerm(gamma=config.focal_gamma)]
            weights = [config.dice_weight, config.other_weight]
        case GeneralisedDiceLossConfig():
            terms, weights = [GeneralisedDiceTerm(**overlap, smooth=config.smooth)], [1.0]
        case TverskyLossConfig():
            exponent = config.gamma if config.name == "focal_tversky" else 1.0
            tversky = TverskyTerm(
                alpha=config.alpha, beta=config.beta, exponent=exponent, **overlap, smooth=config.smooth
            )
            terms, weights = [tversky], [1.0]
        case BoundaryLossConfig():
            from medseg.losses.boundary import BoundaryTerm

            terms = [dice, BoundaryTerm(background=config.include_background)]
            weights = [1.0, config.boundary_weight]
        case ClDiceLossConfig():
            from medseg.losses.centreline import CentrelineTerm

            centreline = CentrelineTerm(iterations=config.skeleton_iterations, **overlap, smooth=config.smooth)
            terms, weights = [dice, centreline], [1.0 - config.alpha, config.alpha]
        case _:
            assert_never(config)
    return WeightedLoss(terms, weights=weights, ignore_index=ignore_index)
