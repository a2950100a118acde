from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medseg.errors import RunError
from medseg.studies.bootstrap import Clusters
from medseg.studies.membership import (
    Exposure,
    attack_facts,
    likelihood_ratio_scores,
    loss_scores,
    membership_facts,
)

_PHI = NormalDist().cdf


def _study(*, patients: int, folds: int, shift: float, seed: int, difficulty: float = 1.5) -> Exposure:
    """Folds whose logit-scaled confidences are normal with known moments, sd 1 within a patient."""
    generator = np.random.default_rng(seed)
    member = np.ones((patients, folds), dtype=np.int8)
    member[np.arange(patients), generator.permutation(patients) % folds] = 0
    phi = generator.normal(2.0, difficulty, (patients, 1)) + shift * member + generator.normal(0, 1, (patients, folds))
    return Exposure(tuple(str(i) for i in range(patients)), np.log1p(np.exp(-phi)), member)


def _facts(exposure: Exposure) -> dict:
    return membership_facts(exposure, bootstrap=100, confidence=0.95, seed=0)


def test_both_attacks_reach_the_auc_of_the_closed_form() -> None:
    found = [_facts(_study(patients=500, folds=5, shift=1.0, seed=s))["attacks"] for s in range(6)]
    loss = np.mean([f["loss"]["auc"]["value"] for f in found])
    ratio = np.mean([f["likelihood_ratio"]["auc"]["value"] for f in found])
    assert loss == pytest.approx(_PHI(1.0 / math.sqrt(2 * (1 + 1.5**2))), abs=0.01)
    # Three of the four other models are the reference: the variance of phi minus their mean is 1 + 1/3.
    assert ratio == pytest.approx(_PHI(1.0 / math.sqrt(2 * (1 + 1 / 3))), abs=0.015)


def test_the_true_positive_rate_is_that_of_the_closed_form() -> None:
    rates = [
        _facts(_study(patients=600, folds=4, shift=2.0, difficulty=0.01, seed=s))["attacks"]["loss"]["tpr"]["value"]
        for s in range(6)
    ]
    assert np.mean(rates) == pytest.approx(1 - _PHI(NormalDist().inv_cdf(0.99) - 2.0), abs=0.05)


@pytest.mark.parametrize("attack", ["loss", "likelihood_ratio"])
def test_without_influence_of_the_training_nine_of_ten_intervals_hold_one_half(attack: str) -> None:
    found = [_facts(_study(patients=120, folds=5, shift=0.0, seed=s))["attacks"][attack] for s in range(40)]
    covered = sum(f["auc"]["low"] <= 0.5 <= f["auc"]["high"] for f in found)
    assert covered >= 34
    assert np.mean([f["auc"]["value"] for f in found]) == pytest.approx(0.5, abs=0.015)
    assert np.mean([f["tpr"]["value"] for f in found]) == pytest.approx(found[0]["tpr"]["guessing"], abs=0.008)


def test_the_auc_is_that_of_another_implementation_where_each_patient_stands_on_one_side() -> None:
    generator = np.random.default_rng(4)
    scores = generator.integers(0, 12, 60).astype(float)
    member = (np.arange(60) % 2).astype(np.int8)
    weights = Clusters.draw(list(range(60)), resamples=50, seed=0).weights
    facts = attack_facts(scores[:, None], member[:, None], resamples=weights, confidence=0.95)
    assert facts["auc"]["value"] == pytest.approx(roc_auc_score(member, scores), abs=1e-6)
    assert facts["auc"]["low"] < facts["auc"]["value"] < facts["auc"]["high"]


def test_a_patient_is_never_compared_with_itself() -> None:
    # Every member score beats only the same patient's score as a non-member.
    outside = np.arange(20.0)
    scores = np.stack([outside + 0.5, outside], axis=1)
    member = np.tile(np.array([1, 0], dtype=np.int8), (20, 1))
    facts = attack_facts(scores, member, resamples=np.ones((2, 20), dtype=np.int64), confidence=0.95)
    assert facts["auc"]["value"] == pytest.approx(0.5, abs=1e-6)


def test_the_true_positive_rate_by_hand() -> None:
    outside = np.arange(200.0)
    inside = np.full(200, 100.0)
    inside[:30] = 197.5
    scores = np.concatenate([outside, inside])[:, None]
    member = np.repeat(np.array([0, 1], dtype=np.int8), 200)[:, None]
    facts = attack_facts(scores, member, resamples=np.ones((2, 400), dtype=np.int64), confidence=0.95)
    # Two of 200 may be taken for members (198, 199): the threshold is 197.
    assert facts["tpr"]["value"] == pytest.approx(30 / 200)
    assert facts["tpr"]["guessing"] == pytest.approx(3 / 201)


def test_too_few_patients_give_nan_not_a_number() -> None:
    nine = _facts(_study(patients=9, folds=3, shift=1.0, seed=0))["attacks"]["loss"]
    assert math.isnan(nine["auc"]["value"])
    some = _facts(_study(patients=99, folds=3, shift=1.0, seed=0))["attacks"]["loss"]
    assert some["auc"]["value"] > 0.5
    assert math.isnan(some["tpr"]["value"])
    assert math.isnan(some["tpr"]["low"])


def test_two_folds_leave_no_reference_model_for_the_likelihood_ratio() -> None:
    facts = _facts(_study(patients=150, folds=2, shift=1.0, seed=0))["attacks"]
    assert math.isnan(facts["likelihood_ratio"]["auc"]["value"])
    assert facts["loss"]["auc"]["value"] > 0.5


def test_members_and_others_are_judged_by_equally_many_reference_models() -> None:
    exposure = _study(patients=4000, folds=4, shift=0.0, seed=1)
    scores = likelihood_ratio_scores(exposure, generator=np.random.default_rng(0))
    inside, outside = scores[exposure.member == 1], scores[exposure.member == 0]
    assert inside.std() == pytest.approx(math.sqrt(1 + 1 / 2), rel=0.03)
    assert outside.std() == pytest.approx(math.sqrt(1 + 1 / 2), rel=0.03)


def test_a_patient_who_guided_the_training_is_neither_member_nor_not() -> None:
    exposure = _study(patients=40, folds=4, shift=0.0, seed=1)
    exposure.member[:5, 0] = -1
    assert np.isnan(loss_scores(exposure)[:5, 0]).all()
    assert np.isnan(likelihood_ratio_scores(exposure, generator=np.random.default_rng(0))[:5, 0]).all()


def test_a_model_of_all_cases_has_nobody_to_compare_with() -> None:
    exposure = _study(patients=40, folds=4, shift=0.0, seed=1)
    exposure.member[:] = 1
    with pytest.raises(RunError, match="cross-validate"):
        _facts(exposure)


def test_the_same_seed_gives_the_same_facts() -> None:
    exposure = _study(patients=110, folds=4, shift=0.5, seed=1)
    assert _facts(exposure) == _facts(exposure)
