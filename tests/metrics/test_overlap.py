from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from medseg.metrics import overlap
from tests.examples import examples
from tests.metrics.masks import blobs, mask_pairs


@pytest.mark.parametrize("seed", range(4))
def test_overlap_agrees_with_scikit_learn(seed: int) -> None:
    prediction, reference = blobs(seed, (12, 9, 7)), blobs(seed + 50, (12, 9, 7))
    scores = overlap(prediction, reference)
    y, x = reference.ravel(), prediction.ravel()
    assert scores.dice == pytest.approx(f1_score(y, x))
    assert scores.iou == pytest.approx(jaccard_score(y, x))
    assert scores.precision == pytest.approx(precision_score(y, x))
    assert scores.recall == pytest.approx(recall_score(y, x))


def test_undefined_ratios_are_nan_and_defined_ones_are_zero() -> None:
    none, some = np.zeros((3, 3), bool), np.ones((3, 3), bool)
    both_empty = overlap(none, none)
    assert all(math.isnan(v) for v in (both_empty.dice, both_empty.iou, both_empty.precision, both_empty.recall))
    assert math.isnan(both_empty.volume_error)
    no_reference = overlap(some, none)
    assert (no_reference.dice, no_reference.iou, no_reference.precision) == (0, 0, 0)
    assert math.isnan(no_reference.recall)
    assert math.isnan(no_reference.volume_error)
    no_prediction = overlap(none, some)
    assert (no_prediction.dice, no_prediction.iou, no_prediction.recall) == (0, 0, 0)
    assert math.isnan(no_prediction.precision)
    assert no_prediction.volume_error == -1


@settings(max_examples=examples(40), deadline=None)
@given(mask_pairs())
def test_dice_is_symmetric_bounded_and_follows_from_iou(pair: tuple[np.ndarray, np.ndarray]) -> None:
    prediction, reference = pair
    forward, backward = overlap(prediction, reference), overlap(reference, prediction)
    assert forward.dice == pytest.approx(backward.dice, nan_ok=True)
    assert forward.precision == pytest.approx(backward.recall, nan_ok=True)
    if not math.isnan(forward.dice):
        assert 0 <= forward.dice <= 1
        assert forward.dice == pytest.approx(2 * forward.iou / (1 + forward.iou))
