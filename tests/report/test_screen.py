from __future__ import annotations

import math
from pathlib import Path

from medseg.privacy.releases import Behind, earlier_releases, record_release
from medseg.report.screen import Screen

INTERNAL, SHAREABLE = Screen("internal"), Screen("shareable")
PATIENTS = [f"P{i}" for i in range(30)]
CASES = [f"C{i}" for i in range(30)]


def test_the_internal_tier_sees_every_number_as_it_is() -> None:
    assert INTERNAL.count(3).text == "3"
    assert [cell.text for cell in INTERNAL.parts((3, 27))] == ["3", "27"]
    assert INTERNAL.tells("dice of 1", [0.5, 0.6], ["P1", "P2"], cases=CASES[:2])
    assert INTERNAL.decimals(12.3456, 4) == 4


def test_small_counts_are_withheld_and_marked_and_others_rounded() -> None:
    assert (SHAREABLE.count(9).text, SHAREABLE.count(9).suppressed) == ("<10", True)
    assert (SHAREABLE.count(33).text, SHAREABLE.count(33).suppressed) == ("35", False)


def test_a_small_part_takes_another_with_it_so_that_subtraction_fails() -> None:
    assert [cell.suppressed for cell in SHAREABLE.parts((40, 31, 2))] == [False, True, True]


def test_a_mean_over_few_patients_is_withheld_however_many_cases_they_have() -> None:
    values = [0.8] * 30
    assert SHAREABLE.tells("dice of 1", values, PATIENTS, cases=CASES)
    assert not SHAREABLE.tells("dice of 1", values, PATIENTS[:9] * 3 + PATIENTS[:3], cases=CASES)
    assert not SHAREABLE.tells("dice of 1", [*[math.nan] * 21, *values[:9]], PATIENTS, cases=CASES)


def test_a_release_that_differs_by_few_patients_from_an_earlier_one_is_withheld(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    assert earlier_releases(ledger) == ()
    for _ in range(2):
        record_release(ledger, {"dice of 1": Behind.of(PATIENTS), "iou of 1": Behind(12)}, what="report")
    earlier = earlier_releases(ledger)
    assert earlier == ({"dice of 1": Behind.of(PATIENTS), "iou of 1": Behind(12)},)
    assert not any(f'"{patient}"' in ledger.read_text() for patient in PATIENTS)
    screen = Screen("shareable", earlier=earlier)
    assert screen.tells("dice of 1", [0.8] * 30, PATIENTS, cases=CASES)
    assert not screen.tells("dice of 1", [0.8] * 29, PATIENTS[:29], cases=CASES[:29])
    assert screen.tells("dice of 1", [0.8] * 20, PATIENTS[:20], cases=CASES[:20])
    assert not screen.tells("dice of 1", [0.8] * 30, [*PATIENTS[:29], "P99"], cases=CASES)
    assert not screen.tells("iou of 1", [0.8] * 13, PATIENTS[:13], cases=CASES[:13])


def test_a_figure_has_at_most_three_significant_digits() -> None:
    assert [SHAREABLE.decimals(v, 2) for v in (2.276, 14.72, 142.7, 0.0)] == [2, 1, 0, 2]
