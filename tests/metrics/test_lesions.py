from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.ndimage import label as scipy_label

from medseg.metrics import components, lesion_scores
from tests.examples import examples
from tests.metrics.masks import blobs, mask_pairs


def _lesion_scores_by_loop(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """The stated rule, written down a second time as plain loops over scipy's components."""
    full = np.ones((3,) * prediction.ndim)
    (p, n_p), (r, n_r) = scipy_label(prediction, full), scipy_label(reference, full)
    if n_p == 0 and n_r == 0:
        return math.nan, math.nan
    if n_p == 0 or n_r == 0:
        return 0.0, 0.0
    detected = sum((prediction & (r == i)).sum() >= 0.1 * (r == i).sum() for i in range(1, n_r + 1))
    true = sum((reference & (p == j)).sum() >= 0.1 * (p == j).sum() for j in range(1, n_p + 1))
    s, q = detected / n_r, true / n_p
    dices = []
    for i in range(1, n_r + 1):
        touching = np.isin(p, [j for j in np.unique(p[r == i]) if j])
        dices.append(2 * (touching & (r == i)).sum() / (touching.sum() + (r == i).sum()))
    stray = sum(not (reference & (p == j)).any() for j in range(1, n_p + 1))
    return (2 * s * q / (s + q) if s + q else 0.0), sum(dices) / (n_r + stray)


@settings(max_examples=examples(60), deadline=None)
@given(mask_pairs())
def test_lesion_scores_agree_with_the_rule_written_as_loops(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = lesion_scores(*pair)
    f1, dice = _lesion_scores_by_loop(*pair)
    assert found.f1 == pytest.approx(f1, nan_ok=True)
    assert found.dice == pytest.approx(dice, nan_ok=True)


def test_one_of_two_lesions_found_and_one_stray_component() -> None:
    reference, prediction = np.zeros((30, 10), bool), np.zeros((30, 10), bool)
    reference[2:6, 2:6] = reference[12:16, 2:6] = True
    prediction[2:6, 2:6] = prediction[25:27, 2:4] = True
    scores = lesion_scores(prediction, reference)
    assert (scores.lesions, scores.detected, scores.predicted, scores.true) == (2, 1, 2, 1)
    assert scores.f1 == pytest.approx(0.5)
    assert scores.dice == pytest.approx(1 / 3)


def test_a_lesion_predicted_in_two_pieces_is_found_once_with_both_pieces() -> None:
    reference, prediction = np.zeros((12, 4), bool), np.zeros((12, 4), bool)
    reference[1:11] = True
    prediction[1:5] = prediction[7:11] = True
    scores = lesion_scores(prediction, reference)
    assert (scores.lesions, scores.detected, scores.predicted, scores.true) == (1, 1, 2, 2)
    assert scores.f1 == 1
    assert scores.dice == pytest.approx(2 * 32 / (32 + 40))


def test_corners_connect_lesions_in_two_and_three_axes() -> None:
    assert components(np.eye(4, dtype=bool))[1] == 1
    cube = np.zeros((4, 4, 4), bool)
    cube[range(4), range(4), range(4)] = True
    assert components(cube)[1] == 1


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_components_are_those_of_scipy_at_every_size_and_memory_order(ndim: int, order: Literal["C", "F"]) -> None:
    generator = np.random.default_rng(ndim)
    for seed in range(150):
        shape = tuple(generator.integers(1, (60, 20)[ndim - 2], ndim).tolist())
        mask = np.asarray(blobs(seed, shape, 0.5, float(generator.choice((0, 1, 2)))), order=order)
        numbered, count = components(mask)
        expected, expected_count = scipy_label(mask, np.ones((3,) * ndim))
        assert count == expected_count
        assert not numbered[~mask].any()
        assert len({*zip(numbered[mask].tolist(), expected[mask].tolist(), strict=True)}) == count


@settings(max_examples=examples(30), deadline=None)
@given(mask_pairs())
def test_lesion_f1_is_symmetric_and_lesion_scores_survive_flips(pair: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, reference = pair
    once = lesion_scores(prediction, reference)
    assert lesion_scores(reference, prediction).f1 == pytest.approx(once.f1, nan_ok=True)
    assert lesion_scores(np.flip(prediction), np.flip(reference)).dice == pytest.approx(once.dice, nan_ok=True)
    same = lesion_scores(reference, reference)
    assert same.f1 == pytest.approx(1.0 if reference.any() else math.nan, nan_ok=True)
    assert same.dice == pytest.approx(1.0 if reference.any() else math.nan, nan_ok=True)


def test_lesion_scores_of_empty_masks_follow_the_stated_policy() -> None:
    none, some = np.zeros((5, 5, 5), bool), blobs(1, (5, 5, 5))
    assert math.isnan(lesion_scores(none, none).f1)
    assert lesion_scores(some, none).f1 == 0
    assert lesion_scores(none, some).dice == 0
