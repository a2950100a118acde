from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medseg.studies.bootstrap import Clusters, mean_interval


def _interval(values: np.ndarray, patients: list[int], resamples: int = 4000, seed: int = 0) -> tuple[float, float]:
    clusters = Clusters.draw(patients, resamples=resamples, seed=seed)
    interval = mean_interval(values, clusters=clusters, confidence=0.95)
    return interval.low, interval.high


def test_one_case_a_patient_agrees_with_scipys_bca_interval() -> None:
    values = np.random.default_rng(3).beta(8, 2, size=60)
    expected = stats.bootstrap((values,), np.mean, n_resamples=9999, rng=np.random.default_rng(1)).confidence_interval
    low, high = _interval(values, list(range(60)), resamples=9999)
    width = expected.high - expected.low
    assert low == pytest.approx(expected.low, abs=0.04 * width)
    assert high == pytest.approx(expected.high, abs=0.04 * width)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for seed in range(300):
        effect = np.repeat(generator.normal(size=40), 3)
        patients = np.repeat(range(40), 3).tolist()
        low, high = _interval(effect + 0.3 * generator.normal(size=120), patients, 500, seed)
        covered += low <= 0 <= high
    assert 0.91 <= covered / 300 <= 0.98


def test_alike_cases_of_one_patient_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(5).normal(size=25)
    one = _interval(values, list(range(25)))
    four = _interval(np.repeat(values, 4), np.repeat(range(25), 4).tolist())
    assert four == pytest.approx(one)


def test_one_patient_has_no_interval_and_equal_values_have_an_empty_one() -> None:
    assert all(math.isnan(v) for v in _interval(np.array([0.5, 0.6]), [1, 1]))
    assert _interval(np.full(8, 0.7), list(range(8))) == pytest.approx((0.7, 0.7))


def test_undefined_values_are_left_out_and_the_same_seed_gives_the_same_interval() -> None:
    values = np.array([0.4, math.nan, 0.9, 0.7, 0.8, math.nan])
    assert _interval(values, list(range(6))) == _interval(values, list(range(6)))
    assert all(0.4 <= v <= 0.9 for v in _interval(values, list(range(6))))
