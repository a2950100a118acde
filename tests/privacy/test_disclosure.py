from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from medseg.privacy.disclosure import (
    Cell,
    Limits,
    ProtectedTable,
    protect_count,
    protect_counts,
    protect_summary,
    protect_table,
    withhold_small_differences,
)
from medseg.privacy.releases import Behind, guard_figures
from tests.examples import examples

_EXACT = Limits(base=1)


def _attack(table: ProtectedTable) -> dict[tuple[int, int], tuple[float, float]]:
    """Range that an attacker can compute for each small cell, totals included, by linear programming."""
    grid = [[*table.cells[row].values(), table.row_totals[row]] for row in table.rows]
    grid.append([*table.column_totals.values(), table.total])
    height, width = len(grid), len(grid[0])
    equalities = []
    for i in range(height):
        line = np.zeros((height, width))
        line[i, :-1], line[i, -1] = 1, -1
        equalities.append(line.ravel())
    for j in range(width):
        line = np.zeros((height, width))
        line[:-1, j], line[-1, j] = 1, -1
        equalities.append(line.ravel())
    cells = [cell for row in grid for cell in row]
    known: dict[str, tuple[float, float | None]] = {"few": (0, 9), "subtraction": (10, None)}
    bounds = [known.get(cell.reason, (cell.value, cell.value)) for cell in cells]
    ranges = {}
    for index in range(len(bounds)):
        if cells[index].reason != "few":
            continue
        goal = np.zeros(height * width)
        goal[index] = 1
        ends = []
        for sign in (1, -1):
            solved = linprog(sign * goal, A_eq=np.array(equalities), b_eq=np.zeros(height + width), bounds=bounds)
            ends.append(math.inf if solved.status == 3 else sign * solved.fun)
        ranges[divmod(index, width)] = (ends[0], ends[1])
    return ranges


@settings(max_examples=examples(20), deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(st.integers(0, 60), min_size=width, max_size=width), min_size=1, max_size=4)
    )
)
def test_no_withheld_cell_can_be_computed_from_exact_totals(counts: list[list[int]]) -> None:
    named = {f"r{i}": {f"c{j}": n for j, n in enumerate(row)} for i, row in enumerate(counts)}
    table = protect_table(named, limits=_EXACT)
    for (i, j), (low, high) in _attack(table).items():
        assert high - low >= 5, (counts, i, j, low, high)


def test_small_cells_and_their_partners_are_marked_and_the_rest_is_rounded() -> None:
    table = protect_table({"site A": {"F": 52, "M": 48, "other": 3}, "site B": {"F": 31, "M": 27, "other": 40}})
    assert table.cells["site A"]["other"].text() == "<10"
    assert "fewer than 10" in table.cells["site A"]["other"].words()
    assert [cell.text() for cell in table.cells["site A"].values()].count("withheld") == 1
    assert table.total.text() == "200"
    told = [cell for row in table.cells.values() for cell in row.values() if not cell.withheld]
    assert told
    assert all(cell.value % 5 == 0 for cell in told)


def test_a_table_of_large_counts_withholds_nothing() -> None:
    table = protect_table({"a": {"x": 11, "y": 200}, "b": {"x": 33, "y": 44}}, limits=_EXACT)
    assert not any(cell.withheld for row in table.cells.values() for cell in row.values())
    assert table.row_totals["a"].value == 211


def test_a_fold_table_does_not_betray_its_small_fold() -> None:
    folds = protect_counts({"fold 0": 14, "fold 1": 14, "fold 2": 9})
    assert folds["fold 2"].text() == "<10"
    assert [cell.text() for cell in folds.values()].count("withheld") >= 1


@pytest.mark.parametrize(("count", "text"), [(0, "<10"), (9, "<10"), (10, "10"), (12, "10"), (13, "15"), (213, "215")])
def test_a_single_count_is_withheld_below_the_threshold_and_rounded_above(count: int, text: str) -> None:
    assert protect_count(count).text() == text


def test_a_summary_of_few_patients_says_nothing_though_they_have_many_cases() -> None:
    cells = protect_summary([0.8] * 40, [f"p{i % 9}" for i in range(40)])
    assert all(cell.reason == "few" for cell in cells.values())


def test_a_summary_of_enough_patients_gives_mean_and_median_but_no_extremes() -> None:
    values = list(np.linspace(0.71234, 0.93456, 25))
    cells = protect_summary([*values, math.nan], [f"p{i}" for i in range(26)], quantiles=(0.05, 0.25, 0.5, 0.75))
    assert cells["mean"].value == pytest.approx(np.mean(values), abs=5e-4)
    assert cells["q50"].value == pytest.approx(np.median(values), abs=5e-4)
    assert not cells["q25"].withheld
    assert {name for name, cell in cells.items() if cell.withheld} == {"min", "max", "q5"}
    assert cells["n"].text() == "25"


def test_a_mean_that_two_patients_make_up_is_withheld() -> None:
    cells = protect_summary([500.0, 480.0] + [0.5] * 20, [f"p{i}" for i in range(22)])
    assert cells["mean"].reason == "dominance"


def test_a_figure_that_an_earlier_release_would_give_away_is_withheld() -> None:
    cells = protect_counts({"a": 80, "b": 60})
    after = withhold_small_differences(cells, {"a": 1, "b": 0})
    assert after["a"].reason == "difference"
    assert after["b"] == cells["b"]
    assert not withhold_small_differences(cells, {"a": 40, "c": 1})["a"].withheld


def test_several_earlier_releases_together_give_nobody_away_though_each_by_itself_would_not() -> None:
    people = [f"P{i}" for i in range(60)]
    a, b, c, d = (people[start : start + 12] for start in (0, 12, 24, 36))
    earlier = [{"age: mean": Behind.of(who)} for who in (a + b, c + d, a + c)]
    cell = {"age: mean": Cell(61.0)}
    for last, withheld in (([*b, *d, people[50]], True), (b + d, False), (a + b, False)):
        told = guard_figures(cell, {"age: mean": Behind.of(last)}, earlier=earlier)
        assert (told["age: mean"].reason == "difference") == withheld


def test_one_case_of_a_patient_more_or_fewer_is_a_difference_of_one_patient() -> None:
    cases = {f"C{i}": f"P{i}" for i in range(20)}
    more = Behind.of_cases({**cases, "C20": "P3"})
    assert Behind.of_cases(cases).difference(more) == 1
    assert (Behind.of_cases(cases).count, more.count) == (20, 20)
    assert Behind.of(cases.values()).difference(more) == 0


def test_a_mean_that_a_few_patients_alone_pull_away_from_the_value_of_all_others_is_withheld() -> None:
    patients = [f"P{i}" for i in range(150)]
    for few, told in ((0, True), (1, False), (9, False), (10, True)):
        cells = protect_summary([*[0.667] * few, *[1.0] * (150 - few)], patients)
        assert (not cells["mean"].withheld, not cells["sd"].withheld) == (told, told)
