"""OverlapLoss: one minus the overlap of prediction and reference; Dice, Tversky and their kin.

All work on soft counts of each class (:class:`medseg.losses.targets.ClassSums`) in float32 and share this behaviour:

* ``batch``: counts are summed over the batch before the ratio is taken, so that a patch without lesion is no term of
  its own; otherwise every sample gives a term.
* ``background``: class 0 is a term as well.
* A class that is absent from the reference costs nearly 1 until its predicted volume falls to about ``smooth`` voxels,
  with almost no gradient on the way: an overlap can't tell a wrong voxel from a thousand. Cross-entropy beside it can.
* A class absent from reference and prediction costs 0.
* Ignored voxels enter no count; where all voxels are ignored, the loss is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.losses.targets import ClassSums, Scores, class_sums

__all__ = ["DiceTerm", "GeneralisedDiceTerm", "TverskyTerm"]


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return numerator / denominator, and 1 where both are 0."""
    empty = denominator <= 0
    return torch.where(empty, torch.ones_like(denominator), numerator / denominator.masked_fill(empty, 1.0))


class _OverlapTerm(nn.Module):
    def __init__(self, *, batch: bool = True, background: bool = False, smooth: float = 1e-5) -> None:
        super().__init__()
        self.batch = batch
        self.background = background
        self.smooth = smooth

    def sums(self, scores: Scores) -> ClassSums:
        """Count the classes as this term wants them."""
        return class_sums(scores, batch=self.batch, background=self.background)


class DiceTerm(_OverlapTerm):
    """Soft Dice (Milletari et al. 2016; denominators not squared): mean over classes of 1 - 2 |PR| / (|P| + |R|).

    Args:
        batch: Sum over the batch before the ratio is taken.
        background: Class 0 is a term as well.
        smooth: Added to numerator and denominator.
    """

    def forward(self, scores: Scores) -> Tensor:
        """Return the loss, a scalar."""
        sums = self.sums(scores)
        volumes = sums.predicted + sums.reference
        return 1.0 - _ratio(2.0 * sums.overlap + self.smooth, volumes + self.smooth).mean()


class GeneralisedDiceTerm(_OverlapTerm):
    """Generalised Dice (Sudre et al. 2017): one ratio over all classes, weighted by their inverse squared volume.

    A class that is absent from the reference gets the weight of the smallest class present. Weights are scaled so that
    the largest is 1, which gives ``smooth`` the same meaning (voxels) as in the other terms.

    Args:
        batch: Sum over the batch before the ratio is taken.
        background: Class 0 takes part.
        smooth: Added to numerator and denominator.
    """

    def forward(self, scores: Scores) -> Tensor:
        """Return the loss, a scalar."""
        sums = self.sums(scores)
        present = sums.reference > 0
        smallest = sums.reference.masked_fill(~present, torch.inf).amin(dim=1, keepdim=True)
        weights = torch.where(present, (smallest / sums.reference.clamp_min(1e-12)) ** 2, torch.ones_like(smallest))
        overlap = (weights * sums.overlap).sum(dim=1)
        volumes = (weights * (sums.predicted + sums.reference)).sum(dim=1)
        return 1.0 - _ratio(2.0 * overlap + self.smooth, volumes + self.smooth).mean()


class TverskyTerm(_OverlapTerm):
    """Tversky (Salehi et al. 2017) and, with an exponent, focal Tversky (Abraham & Khan 2019).

    Mean over classes of ``(1 - TP / (TP + alpha FP + beta FN)) ** exponent``. With alpha = beta = 0.5 it is Dice.

    Args:
        alpha: Weight of the false positives.
        beta: Weight of the false negatives.
        exponent: 1 for Tversky; below 1 it sharpens, above 1 it flattens near perfect overlap.
        batch: Sum over the batch before the ratio is taken.
        background: Class 0 is a term as well.
        smooth: Added to numerator and denominator.
    """

    def __init__(
        self,
        *,
        alpha: float,
        beta: float,
        exponent: float = 1.0,
        batch: bool = True,
        background: bool = False,
        smooth: float = 1e-5,
    ) -> None:
        super().__init__(batch=batch, background=background, smooth=smooth)
        self.alpha = alpha
        self.beta = beta
        self.exponent = exponent

    def forward(self, scores: Scores) -> Tensor:
        """Return the loss, a scalar."""
        sums = self.sums(scores)
        false_positives = self.alpha * (sums.predicted - sums.overlap)
        false_negatives = self.beta * (sums.reference - sums.overlap)
        volumes = sums.overlap + false_positives + false_negatives
        loss = 1.0 - _ratio(sums.overlap + self.smooth, volumes + self.smooth)
        if self.exponent != 1.0:
            # The slope of a root is infinite at 0; a perfect overlap must not give nan.
            loss = loss.clamp_min(1e-6) ** self.exponent
        return loss.mean()
