"""Interval: how far a mean over cases may lie from the truth, by resampling whole patients.

Cases of one patient are alike, so patients are drawn with replacement and each brings all of its cases (the cluster
bootstrap; Davison & Hinkley 1997, section 3.8). The interval is bias-corrected and accelerated (BCa; Efron 1987); the
acceleration comes from leaving out one patient at a time. The fewer the patients, the more a
bootstrap interval falls short of its stated coverage: 93 % instead of 95 % with 40 patients, less with ten.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.types import FloatArray

__all__ = ["Clusters", "Interval", "mean_interval"]


@dataclass(frozen=True)
class Interval:
    """A confidence interval; both ends are nan when fewer than two patients have a value.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Clusters:
    """Which patient each case belongs to, and the resamples of the patients, drawn once for all metrics.

    Attributes:
        index: Number of the patient of each case, shape (cases,).
        count: Number of patients.
        weights: How often each patient is drawn in each resample, shape (resamples, patients).
    """

    index: npt.NDArray[np.intp]
    count: int
    weights: npt.NDArray[np.int64]

    @classmethod
    def draw(cls, patients: Sequence[Hashable], *, resamples: int, seed: int) -> Clusters:
        """Number the patients and draw the resamples.

        Args:
            patients: Patient of each case.
            resamples: Number of resamples.
            seed: Seed of the drawing.
        """
        numbers: dict[Hashable, int] = {}
        index = np.array([numbers.setdefault(p, len(numbers)) for p in patients], dtype=np.intp)
        count = len(numbers)
        generator = np.random.default_rng(seed)
        weights = generator.multinomial(count, np.full(count, 1 / count), size=resamples) if count else np.zeros((0, 0))
        return cls(index=index, count=count, weights=np.asarray(weights, dtype=np.int64))

    def means(self, values: FloatArray) -> FloatArray:
        """Mean of each patient's defined values, shape (patients,); nan for a patient without one."""
        sums, counts = self.sums(values)
        means: FloatArray = np.divide(sums, counts, out=np.full(self.count, math.nan), where=counts > 0)
        return means

    def sums(self, values: FloatArray) -> tuple[FloatArray, npt.NDArray[Any]]:
        """Sum and number of each patient's defined values, both of shape (patients,)."""
        defined = ~np.isnan(values)
        sums = np.bincount(self.index[defined], weights=values[defined], minlength=self.count)
        return sums.astype(np.float64), np.bincount(self.index[defined], minlength=self.count)


def mean_interval(values: FloatArray, *, clusters: Clusters, confidence: float) -> Interval:
    """Interval of the mean over cases.

    Args:
        values: One value for each case, shape (cases,); nan is left out.
        clusters: The patients of the same cases.
        confidence: Coverage, for example 0.95.

    Returns:
        The BCa interval over patients.
    """
    sums, counts = clusters.sums(values)
    if np.count_nonzero(counts) < 2:
        return Interval(math.nan, math.nan)
    centre = float(sums.sum() / counts.sum())
    drawn = clusters.weights @ counts
    means = (clusters.weights @ sums)[drawn > 0] / drawn[drawn > 0]
    if np.ptp(means) <= 1e-12 * max(1.0, abs(centre)):
        return Interval(centre, centre)
    low, high = np.quantile(means, _bca_levels(means, centre, sums, counts, confidence))
    return Interval(float(low), float(high))


def _bca_levels(
    means: FloatArray, centre: float, sums: FloatArray, counts: npt.NDArray[Any], confidence: float
) -> tuple[float, float]:
    """The two quantiles of the resampled means that bound the BCa interval."""
    normal = NormalDist()
    # Half of the ties count as below, or a discrete metric would look biased.
    tolerance = 1e-12 * max(1.0, abs(centre))
    below = np.count_nonzero(means < centre - tolerance) + 0.5 * np.count_nonzero(abs(means - centre) <= tolerance)
    share = min(max(below / len(means), 0.5 / len(means)), 1 - 0.5 / len(means))
    bias = normal.inv_cdf(share)
    some = counts > 0
    left_out = (sums.sum() - sums[some]) / (counts.sum() - counts[some])
    deviation = left_out.mean() - left_out
    scale = 6 * (deviation**2).sum() ** 1.5
    acceleration = float((deviation**3).sum() / scale) if scale > 0 else 0.0

    def level(tail: float) -> float:
        shifted = bias + normal.inv_cdf(tail)
        return normal.cdf(bias + shifted / (1 - acceleration * shifted))

    return level((1 - confidence) / 2), level((1 + confidence) / 2)
