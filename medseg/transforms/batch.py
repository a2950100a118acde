"""Batch: MixUp and CutMix, the two changes that need several samples at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from medseg.config import AugmentConfig

__all__ = ["BatchTransform", "build_batch_transform"]

_ALPHA = 0.4


@dataclass(frozen=True)
class BatchTransform:
    """Blend or paste samples of one batch; the draws depend on the seed and the step alone.

    Attributes:
        mixup: Probability of MixUp (Zhang et al. 2018), the two weights from Beta(0.4, 0.4).
        cutmix: Probability of CutMix (Yun et al. 2019), a box of between a tenth and a half of the patch.
        seed: Seed of the run.
    """

    mixup: float
    cutmix: float
    seed: int

    @property
    def active(self) -> bool:
        """Whether it ever changes anything."""
        return self.mixup > 0 or self.cutmix > 0

    def __call__(self, image: torch.Tensor, target: torch.Tensor, *, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Change one batch.

        Args:
            image: (B, C, *spatial).
            target: (B, K, *spatial) float, one-hot or soft; or (B, *spatial) integer, which MixUp cannot blend.
            step: Number of the optimiser step; the same step draws the same again, so that a resumed run is identical.

        Returns:
            Image and target, new tensors of the same shapes, or the ones passed when nothing was drawn.

        Raises:
            ValueError: MixUp with an integer target.
        """
        if self.mixup > 0 and target.ndim != image.ndim:
            raise ValueError("expected a one-hot target (B, K, *spatial) for MixUp; found class numbers")
        generator = np.random.default_rng([self.seed, step])
        size = image.shape[0]
        chance = generator.random(2)
        if size > 1 and chance[0] < self.mixup:
            return self._blend(image, target, generator)
        if size > 1 and chance[1] < self.cutmix:
            return self._paste(image, target, generator)
        return image, target

    def _blend(
        self, image: torch.Tensor, target: torch.Tensor, generator: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        partner = _partners(image, generator)
        weight = float(generator.beta(_ALPHA, _ALPHA))
        weight = max(weight, 1.0 - weight)
        return image.lerp(image[partner], 1.0 - weight), target.lerp(target[partner], 1.0 - weight)

    def _paste(
        self, image: torch.Tensor, target: torch.Tensor, generator: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        partner = _partners(image, generator)
        spatial = image.shape[2:]
        share = generator.uniform(0.1, 0.5) ** (1.0 / len(spatial))
        box = []
        for length in spatial:
            extent = max(1, round(share * length))
            start = int(generator.integers(0, length - extent + 1))
            box.append(slice(start, start + extent))
        place: Any = (..., *box)
        image, target = image.clone(), target.clone()
        image[place], target[place] = image[partner][place], target[partner][place]
        return image, target


def build_batch_transform(augment: AugmentConfig, seed: int) -> BatchTransform:
    """Build the step that mixes the samples of a batch.

    Args:
        augment: Probabilities of MixUp and CutMix.
        seed: Seed of the run.
    """
    return BatchTransform(mixup=augment.mixup, cutmix=augment.cutmix, seed=seed)


def _partners(image: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """For each sample another one: a random rotation of the batch, so nobody is his own partner."""
    size = image.shape[0]
    shift = int(generator.integers(1, size))
    return torch.arange(size, device=image.device).roll(shift)
