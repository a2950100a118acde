from __future__ import annotations

import math

import numpy as np
import pytest

from medseg.errors import RunError
from medseg.studies import summarise
from tests.studies.rows import cohort, row


def _summarise(rows: list, **changes: object) -> dict:
    return summarise(rows, **{"bootstrap": 200, "confidence": 0.95, "seed": 0, "empty_reference": "skip", **changes})


def test_mean_median_and_sd_are_those_of_the_cases() -> None:
    rows = cohort(20)
    dice = _summarise(rows)["labels"]["1"]["metrics"]["dice"]
    values = np.array([r["dice"] for r in rows])
    assert dice["mean"] == pytest.approx(values.mean())
    assert dice["median"] == pytest.approx(np.median(values))
    assert dice["sd"] == pytest.approx(values.std(ddof=1))
    assert dice["low"] < dice["mean"] < dice["high"]
    assert (dice["n"], dice["undefined"], dice["patients"]) == (20, 0, 20)


def test_a_case_empty_on_both_sides_is_skipped_or_scored_one() -> None:
    rows = [row("A", "P1", 0.5), row("B", "P2", 0.7), row("C", "P3", math.nan)]
    skipped = _summarise(rows)["labels"]["1"]["metrics"]
    assert skipped["dice"]["mean"] == pytest.approx(0.6)
    assert skipped["dice"]["undefined"] == 1
    scored = _summarise(rows, empty_reference="score")["labels"]["1"]["metrics"]
    assert scored["dice"]["mean"] == pytest.approx(2.2 / 3)
    assert scored["nsd_1mm"]["mean"] == pytest.approx(2.2 / 3)
    assert scored["hd95_mm"]["undefined"] == 1


def test_the_mean_over_labels_is_taken_in_each_case_over_the_defined_labels() -> None:
    rows = [
        row("A", "P1", 0.8),
        row("A", "P1", 0.4, label=2, label_name="oedema"),
        row("B", "P2", 0.6),
        row("B", "P2", math.nan, label=2, label_name="oedema"),
    ]
    summary = _summarise(rows)
    assert summary["mean_over_labels"]["metrics"]["dice"]["mean"] == pytest.approx(0.6)
    assert [summary["labels"][k]["name"] for k in ("1", "2")] == ["lesion", "oedema"]


def test_repeats_of_a_case_count_as_one_case_with_their_mean() -> None:
    rows = [row("A", "P1", 0.8), row("A", "P1", 0.6, repeat=1), row("B", "P2", 0.5), row("B", "P2", 0.5, repeat=1)]
    dice = _summarise(rows)["labels"]["1"]["metrics"]["dice"]
    assert dice["n"] == 2
    assert dice["mean"] == pytest.approx(0.6)


def test_each_fold_is_listed_with_its_cases_and_mean_dice() -> None:
    rows = cohort(20)
    folds = _summarise(rows)["folds"]
    assert [f["fold"] for f in folds] == [0, 1, 2, 3, 4]
    assert sum(f["cases"] for f in folds) == 20
    assert folds[2]["dice"] == pytest.approx(np.mean([r["dice"] for r in rows if r["fold"] == 2]))
    assert folds[2]["dice_by_label"] == {"1": pytest.approx(folds[2]["dice"])}


def test_no_rows_a_doubled_row_and_a_case_of_two_patients_are_refused() -> None:
    with pytest.raises(RunError, match="found none"):
        _summarise([])
    with pytest.raises(RunError, match="twice"):
        _summarise([row("A", "P1", 0.5), row("A", "P1", 0.5)])
    with pytest.raises(RunError, match="two patients"):
        _summarise([row("A", "P1", 0.5), row("A", "P2", 0.5, label=2)])


def test_the_same_seed_gives_the_same_summary() -> None:
    assert _summarise(cohort(15)) == _summarise(cohort(15))
