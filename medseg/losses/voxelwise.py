"""Voxelwise terms: cross-entropy and focal loss, the mean over the voxels that count."""

from __future__ import annotations

from torch import Tensor, nn

from medseg.losses.targets import Scores

__all__ = ["CrossEntropyTerm", "FocalTerm"]


def _mean(losses: Tensor, counted: Tensor | None) -> Tensor:
    """Return the mean over the voxels that count, 0 where none does; losses and counted (batch, voxel)."""
    if counted is None:
        return losses.mean()
    return (losses * counted).sum() / counted.sum().clamp_min(1.0)


class CrossEntropyTerm(nn.Module):
    """Cross-entropy, all classes alike; empty patches count like any other."""

    def forward(self, scores: Scores) -> Tensor:
        """Return the loss, a scalar."""
        if scores.shares is not None:
            # A voxel with shares of 0 is ignored and adds nothing, so the sum is already weighted.
            losses = -(scores.shares * scores.log_probabilities).sum(dim=1)
            if scores.counted is None:
                return losses.mean()
            return losses.sum() / scores.counted.sum().clamp_min(1.0)
        assert scores.classes is not None
        true = scores.log_probabilities.gather(1, scores.classes.unsqueeze(1)).squeeze(1)
        return _mean(-true, scores.counted)


class FocalTerm(nn.Module):
    """Focal loss (Lin et al. 2017): cross-entropy times (1 - p)^gamma, so that easy voxels count little.

    Args:
        gamma: Focusing exponent; 0 gives cross-entropy.
    """

    def __init__(self, *, gamma: float = 2.0) -> None:
        super().__init__()
        self.gamma = gamma

    def forward(self, scores: Scores) -> Tensor:
        """Return the loss, a scalar."""
        if scores.shares is not None:
            losses = -(scores.shares * self._focus(scores.log_probabilities)).sum(dim=1)
            if scores.counted is None:
                return losses.mean()
            return losses.sum() / scores.counted.sum().clamp_min(1.0)
        assert scores.classes is not None
        true = scores.log_probabilities.gather(1, scores.classes.unsqueeze(1)).squeeze(1)
        return _mean(-self._focus(true), scores.counted)

    def _focus(self, log_probabilities: Tensor) -> Tensor:
        # The slope of x^gamma with gamma < 1 is infinite at 0.
        return (1.0 - log_probabilities.exp()).clamp_min(1e-6) ** self.gamma * log_probabilities
