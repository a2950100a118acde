"""SegmentationModule: one optimiser step of supervised training, as Lightning wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.transforms import BatchTransform

__all__ = ["MovingAverage", "SegmentationModule"]

Loss = Callable[[Tensor | list[Tensor], Tensor], Tensor]


class MovingAverage:
    """Exponential moving average of a network's weights and buffers (Polyak & Juditsky 1992; decay warmed up).

    Args:
        model: The network.
        decay: Share of the old average that is kept at each step.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self._decay = decay
        self._steps = 0
        self._source = [t for t in model.state_dict(keep_vars=True).values() if t.is_floating_point()]
        self._names = [n for n, t in model.state_dict(keep_vars=True).items() if t.is_floating_point()]
        self._average = [t.detach().clone() for t in self._source]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        torch._foreach_lerp_(self._average, [t.detach() for t in self._source], 1.0 - decay)

    def state(self) -> dict[str, Tensor]:
        """The averaged tensors by their names in the network."""
        return dict(zip(self._names, self._average, strict=True))

    def restore(self, state: dict[str, Tensor], steps: int) -> None:
        """Go on from a checkpoint."""
        self._steps = steps
        for name, tensor in zip(self._names, self._average, strict=True):
            tensor.copy_(state[name])


class SegmentationModule(pl.LightningModule):
    """A network, its loss and its optimiser.

    Args:
        model: Gives logits (batch, class, x, y[, z]), or a list of them, finest first.
        loss: Takes the model's output and the target (batch, x, y[, z]) int64 or soft (batch, class, x, y[, z]).
        optimizer: Each group has ``base_lr``.
        batch_transform: Mixes the samples of a batch (MixUp, CutMix).
        classes: Number of the model's outputs; the target's value `classes` marks voxels to ignore.
        seed: Seed of the run; dropout and mixing of batch n depend on it and n alone.
        first: Number of the first batch; not 0 in a resumed run.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        batch_transform: BatchTransform,
        classes: int,
        seed: int,
        first: int,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.batch_transform = batch_transform
        self.classes = classes
        self.run_seed = seed
        self.first = first

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser; its learning rate is set by the run's control."""
        return self.optimizer

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        """Loss of one batch."""
        torch.manual_seed((self.run_seed * 1_000_003 + self.first + batch_index) % 2**63)
        image, target = batch
        if self.batch_transform.active:
            shares = functional.one_hot(target, self.classes + 1)[..., : self.classes].movedim(-1, 1).float()
            image, target = self.batch_transform(image, shares, step=self.first + batch_index)
        memory_format: Any = torch.channels_last if image.ndim == 4 else torch.channels_last_3d
        return self.loss(self.model(image.to(memory_format=memory_format)), target)
