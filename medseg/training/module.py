"""Step: what a batch costs, one function a method; and the module that Lightning runs it in."""

from __future__ import annotations

from collections.abc import Callable

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.training.masked import hidden_error, hide_blocks
from medseg.training.private import PatientBatch, PrivateGradient
from medseg.transforms import BatchTransform

__all__ = ["MovingAverage", "RunModule", "Step", "masked_step", "supervised_step"]

Loss = Callable[[Tensor | list[Tensor], Tensor], Tensor]
Step = Callable[[nn.Module, Tensor, Tensor, int], Tensor]
"""Takes the network, images (batch, channel, x, y[, z]), targets and the batch's number; gives the loss."""


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


class RunModule(pl.LightningModule):
    """A network, its optimiser and the step that gives a batch's loss, as Lightning wants them.

    Args:
        model: The network.
        step: Loss of one batch; what differs between supervised and self-supervised training.
        optimizer: Each group has ``base_lr``.
        seed: Seed of the run; whatever is drawn in batch n depends on it and n alone.
        first: Number of the first batch; not 0 in a resumed run.
        private: Makes the gradient differentially private; batches are then those of `PatientBatches`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        step: Step,
        optimizer: torch.optim.Optimizer,
        seed: int,
        first: int,
        private: PrivateGradient | None = None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = private is None
        self.model = model
        self.step = step
        self.optimizer = optimizer
        self.run_seed = seed
        self.first = first
        self.private = private

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser; its learning rate is set by the run's control."""
        return self.optimizer

    def training_step(self, batch: tuple[Tensor, Tensor] | PatientBatch, batch_index: int) -> Tensor | None:
        """Loss of one batch; None where a private batch is empty."""
        number = self.first + batch_index
        seed = (self.run_seed * 1_000_003 + number) % 2**63
        if self.private is not None:
            return self._private_step(self.private, batch, number, seed)
        torch.manual_seed(seed)
        image, target = batch[:2]
        return self.step(self.model, image, target, number)

    def _private_step(
        self, private: PrivateGradient, batch: tuple[Tensor, ...], number: int, seed: int
    ) -> Tensor | None:
        """The same step, patient by patient, with the optimiser's step."""
        images, targets, patients = batch

        def loss_of(patient: int) -> Tensor:
            # Dropout must not depend on who else takes part.
            torch.manual_seed((seed + int(patients[patient])) % 2**63)
            return self.step(self.model, images[patient], targets[patient], number)

        loss = private.write(loss_of, patients=len(patients), number=number)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss


def supervised_step(loss: Loss, *, batch_transform: BatchTransform, classes: int) -> Step:
    """Loss of a segmentation.

    Args:
        loss: Takes the model's output and the target (batch, x, y[, z]) int64 or soft (batch, class, x, y[, z]).
        batch_transform: Mixes the samples of a batch (MixUp, CutMix).
        classes: Number of the model's outputs; the target's value `classes` marks voxels to ignore.
    """

    def step(model: nn.Module, image: Tensor, target: Tensor, number: int) -> Tensor:
        if batch_transform.active:
            shares = functional.one_hot(target, classes + 1)[..., :classes].movedim(-1, 1).float()
            image, target = batch_transform(image, shares, step=number)
        return loss(model(image), target)

    return step


def masked_step(*, ratio: float, block: int) -> Step:
    """Error of a `MaskedModel` on the voxels that were hidden from it.

    Args:
        ratio: Share of the blocks that are hidden.
        block: Edge of a block in voxels.
    """

    def step(model: nn.Module, image: Tensor, target: Tensor, number: int) -> Tensor:
        del target
        generator = torch.Generator().manual_seed(torch.initial_seed() ^ number)
        hidden = hide_blocks(image.shape[2:], block=block, ratio=ratio, batch=len(image), generator=generator)
        hidden = hidden.to(image.device)
        return hidden_error(model(image, hidden), image, hidden)

    return step
