from __future__ import annotations

import itertools

import numpy as np

from medseg.privacy.combinations import isolates_few
from tests.examples import examples

PEOPLE = [f"P{i}" for i in range(60)]


def total(people: list[str]) -> dict[tuple[str, ...], float]:
    return {(person,): 1.0 for person in people}


def test_one_sum_over_enough_patients_isolates_nobody_and_over_few_it_does() -> None:
    assert not isolates_few([total(PEOPLE)], threshold=10)
    assert not isolates_few([total(PEOPLE[:10])], threshold=10)
    assert isolates_few([total(PEOPLE[:9])], threshold=10)
    assert not isolates_few([], threshold=10)
    assert not isolates_few([total(PEOPLE)] * 5, threshold=10)


def test_four_sums_of_which_every_two_differ_by_many_isolate_one_patient() -> None:
    a, b, c, d = (PEOPLE[start : start + 12] for start in (0, 12, 24, 36))
    releases = [total(a + b), total(c + d), total(a + c), total([*b, *d, PEOPLE[50]])]
    for one, other in itertools.combinations(releases, 2):
        assert not isolates_few([one, other], threshold=10)
    assert not isolates_few(releases[:3], threshold=10)
    assert isolates_few(releases, threshold=10)


def test_the_mean_over_labels_beside_the_labels_own_gives_away_those_who_lack_a_label() -> None:
    liver = {(person, "1"): 1.0 for person in PEOPLE}
    for lacking, gives_away in ((0, False), (3, True), (9, True), (10, False)):
        lesion = {(person, "2"): 1.0 for person in PEOPLE[lacking:]}
        mean = {(p, "1"): 1.0 if (p, "2") not in lesion else 0.5 for p in PEOPLE} | dict.fromkeys(lesion, 0.5)
        assert isolates_few([liver, lesion, mean], threshold=10) == gives_away
        assert not isolates_few([liver, lesion], threshold=10)


def test_the_search_agrees_with_trying_every_set_of_few_patients() -> None:
    generator = np.random.default_rng(3)
    answers = []
    for _ in range(examples(60)):
        weights = generator.integers(0, 2, size=(4, 7)).astype(float)
        sums = [{(f"P{i}",): 1.0 for i in np.flatnonzero(row)} for row in weights if row.any()]
        weights = weights[weights.any(axis=1)]
        threshold = int(generator.integers(2, 5))
        answers.append(isolates_few(sums, threshold=threshold))
        assert answers[-1] == _by_trying(weights, threshold)
    assert 0 < sum(answers) < len(answers)


def _by_trying(weights: np.ndarray, threshold: int) -> bool:
    """Whether the sums have a combination, not 0, that is 0 outside some set of fewer patients than the threshold."""
    rank = np.linalg.matrix_rank(weights) if len(weights) else 0
    for kept in itertools.combinations(range(weights.shape[1]), threshold - 1):
        outside = np.delete(weights, kept, axis=1)
        if rank > (np.linalg.matrix_rank(outside) if outside.size else 0):
            return True
    return False
