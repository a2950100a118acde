"""BoundaryTerm: the probability of a class weighted by the signed distance to that class's surface."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medseg.losses.targets import Scores

__all__ = ["BoundaryTerm", "signed_distance"]


class BoundaryTerm(nn.Module):
    """Boundary loss (Kervadec et al. 2019): mean of probability times signed distance, in voxels.

    Probability inside the reference is rewarded, outside it is charged, each the more the farther from the surface;
    the term is therefore negative for a good prediction. It is meant beside an overlap, with a small weight. Distances
    are computed on the fly, for shares from the class with the largest share. A class that is absent from a sample, or
    fills it, has no surface and adds 0; so do ignored voxels, and where none counts, the term is 0.

    Args:
        background: Class 0 takes part.
    """

    def __init__(self, *, background: bool = False) -> None:
        super().__init__()
        self.background = background

    def forward(self, scores: Scores) -> Tensor:
        """Return the loss, a scalar."""
        first = 0 if self.background else 1
        probabilities = scores.log_probabilities[:, first:].exp()
        distances = self._distances(scores, first=first).to(probabilities.device)
        if scores.counted is None:
            return (probabilities * distances).mean()
        counted = scores.counted.unsqueeze(1)
        total = (probabilities * distances * counted).sum()
        return total / (counted.sum() * probabilities.shape[1]).clamp_min(1.0)

    def _distances(self, scores: Scores, *, first: int) -> Tensor:
        """Return signed distances, shape (batch, class, voxel)."""
        classes = scores.classes if scores.shares is None else scores.shares.argmax(dim=1)
        assert classes is not None
        maps = classes.detach().cpu().numpy().reshape(len(classes), *scores.shape)
        numbers = range(first, scores.log_probabilities.shape[1])
        distances = np.stack([[signed_distance(labels == number) for number in numbers] for labels in maps])
        return torch.from_numpy(distances.reshape(*distances.shape[:2], -1))


def signed_distance(mask: Any) -> Any:
    """Return the signed distance to a mask's surface in voxels, float32, negative inside.

    The voxels on both sides of the surface have 0 (inside) and 1 (outside), as in Kervadec et al. (2019).

    Args:
        mask: Boolean, shape (x, y[, z]).

    Returns:
        Array of the mask's shape; all 0 where the mask is empty or full, and so has no surface.
    """
    if not mask.any() or mask.all():
        return np.zeros(mask.shape, dtype=np.float32)
    import edt

    # One pass gives every voxel's distance to the nearest voxel of the other kind.
    distance = edt.edt(np.ascontiguousarray(mask, dtype=np.uint8) + np.uint8(1))
    return np.where(mask, 1.0 - distance, distance).astype(np.float32)
