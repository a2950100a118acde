from __future__ import annotations

import math

from medseg.report.cases import choose_cases


def test_worst_median_and_best_are_chosen_once_each() -> None:
    names = [f"C{i}" for i in range(20)]
    chosen = choose_cases(names, [i / 20 for i in range(20)])
    assert [(kind, name) for kind, name, _ in chosen] == [
        ("worst", "C0"),
        ("worst", "C1"),
        ("median", "C9"),
        ("median", "C10"),
        ("best", "C18"),
        ("best", "C19"),
    ]


def test_undefined_cases_are_never_chosen_and_few_cases_are_shown_once() -> None:
    assert choose_cases(["A", "B"], [math.nan, math.nan]) == []
    assert [name for _, name, _ in choose_cases(["A", "B", "C"], [0.3, math.nan, 0.2])] == ["C", "A"]
    assert [name for _, name, _ in choose_cases(["A"], [0.3])] == ["A"]
