from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from medseg.privacy.releases import Behind
from medseg.privacy.told import MeanScore, told_means

PATIENTS = [f"P{i}" for i in range(60)]


def mean(name: str, key: str, labels: Mapping[str, Iterable[str]]) -> MeanScore:
    cases = {case: frozenset(of_case) for case, of_case in labels.items()}
    return MeanScore(name, key, cases, {case: case.partition("-")[0] for case in cases})


def of_label(key: str, cases: Iterable[str], *, fold: str = "") -> MeanScore:
    return mean(f"dice of {key}{fold}", key, dict.fromkeys(cases, (key,)))


def test_all_is_told_where_every_patient_has_every_label_and_folds_are_large() -> None:
    folds = [of_label("1", PATIENTS[start::3], fold=f" in fold 0-{start}") for start in range(3)]
    means = [of_label("1", PATIENTS), *folds]
    assert told_means(means, earlier=(), threshold=10) == {one.name for one in means}


def test_two_small_folds_take_another_with_them_where_both_together_are_still_few() -> None:
    sizes = {"0": PATIENTS[:26], "1": PATIENTS[26:52], "2": PATIENTS[52:56], "3": PATIENTS[56:]}
    means = [of_label("1", PATIENTS), *(of_label("1", cases, fold=f" in fold 0-{k}") for k, cases in sizes.items())]
    assert told_means(means, earlier=(), threshold=10) == {"dice of 1", "dice of 1 in fold 0-0"}
    larger = {"2": PATIENTS[40:50], "3": PATIENTS[50:]}
    means[2:] = [of_label("1", PATIENTS[26:40], fold=" in fold 0-1")] + [
        of_label("1", cases, fold=f" in fold 0-{k}") for k, cases in larger.items()
    ]
    assert len(told_means(means, earlier=(), threshold=10)) == 5


def test_the_mean_over_labels_is_withheld_where_few_lack_a_label_and_would_be_given_away() -> None:
    """With the three means told, the value of the one patient without a lesion could be worked out."""
    liver, lesion = np.random.default_rng(0).uniform(0.2, 1.0, (2, 60))
    over = np.where(np.arange(60) == 7, liver, (liver + lesion) / 2)
    others = np.arange(60) != 7
    attack = 2 * (60 * over.mean() - (60 * liver.mean() + 59 * lesion[others].mean()) / 2)
    assert np.isclose(attack, liver[7])
    for lacking, is_told in ((PATIENTS[7:8], False), (PATIENTS[:9], False), (PATIENTS[:10], True), ([], True)):
        having = [patient for patient in PATIENTS if patient not in lacking]
        labels = {patient: ("1",) if patient in lacking else ("1", "2") for patient in PATIENTS}
        means = [of_label("1", PATIENTS), of_label("2", having), mean("dice of mean", "mean", labels)]
        told = told_means(means, earlier=(), threshold=10)
        assert told == {"dice of 1", "dice of 2"} | ({"dice of mean"} if is_told else set())


def test_a_fourth_release_that_gives_one_patient_away_beside_the_other_three_is_withheld() -> None:
    a, b, c, d = (PATIENTS[start : start + 12] for start in (0, 12, 24, 36))
    releases = [{"dice of 1": Behind.of_cases({p: p for p in who})} for who in (a + b, c + d, a + c)]
    last = of_label("1", [*b, *d, PATIENTS[50]])
    assert told_means([last], earlier=releases[:2], threshold=10) == {"dice of 1"}
    assert told_means([last], earlier=releases, threshold=10) == frozenset()
    assert told_means([of_label("1", b + d)], earlier=releases, threshold=10) == {"dice of 1"}


def test_one_case_of_a_patient_less_than_before_is_a_difference_too() -> None:
    cases = [*PATIENTS, "P3-second"]
    before = of_label("1", cases)
    earlier = ({"dice of 1": before.behind},)
    assert told_means([before], earlier=earlier, threshold=10) == {"dice of 1"}
    assert told_means([of_label("1", PATIENTS)], earlier=earlier, threshold=10) == frozenset()
