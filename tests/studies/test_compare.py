from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medseg.errors import RequestError, RunError
from medseg.studies import compare_runs
from medseg.studies.compare import holm, signed_rank_p
from tests.studies.rows import cohort, row


def test_a_constant_gain_is_found_with_its_size_and_its_sign() -> None:
    first = cohort(30, seed=1)
    noise = np.random.default_rng(2).normal(0.03, 0.01, size=30)
    second = [{**r, "dice": r["dice"] + float(n)} for r, n in zip(first, noise, strict=True)]
    (found,) = compare_runs({"a": first, "b": second}, bootstrap=500)["comparisons"]
    assert found["difference"] == pytest.approx(noise.mean())
    assert 0.02 < found["low"] < found["difference"] < found["high"] < 0.04
    assert found["p_holm"] < 1e-4
    (back,) = compare_runs({"b": second, "a": first}, bootstrap=500)["comparisons"]
    assert back["difference"] == pytest.approx(-found["difference"])
    assert back["p"] == pytest.approx(found["p"])


def test_the_test_is_on_patients_not_on_cases() -> None:
    first = cohort(12, seed=1)
    second = [{**r, "dice": r["dice"] + 0.01 * (i % 3)} for i, r in enumerate(first)]
    fourfold = [[{**r, "case": f"{r['case']}-{k}"} for r in rows for k in range(4)] for rows in (first, second)]
    (once,) = compare_runs({"a": first, "b": second}, bootstrap=100)["comparisons"]
    (four,) = compare_runs({"a": fourfold[0], "b": fourfold[1]}, bootstrap=100)["comparisons"]
    assert four["p"] == pytest.approx(once["p"])
    assert (four["n"], four["patients"]) == (48, 12)
    assert four["low"] == pytest.approx(once["low"])


def test_a_run_against_itself_differs_by_nothing() -> None:
    (found,) = compare_runs({"a": cohort(10), "b": cohort(10)}, bootstrap=100)["comparisons"]
    assert (found["difference"], found["low"], found["high"], found["p"]) == (0, 0, 0, 1)


def test_cases_defined_in_one_run_only_are_counted_not_hidden() -> None:
    first = [row("A", "P1", 0.5), row("B", "P2", math.nan), row("C", "P3", math.nan)]
    second = [row("A", "P1", 0.6), row("B", "P2", 0.0), row("C", "P3", math.nan)]
    (found,) = compare_runs({"a": first, "b": second}, bootstrap=100)["comparisons"]
    assert (found["n"], found["undefined"], found["one_sided"]) == (1, 1, 1)


def test_three_runs_of_two_labels_are_nine_comparisons_corrected_together() -> None:
    rows = [[*cohort(8, seed=s), *(dict(r, label=2, label_name="b") for r in cohort(8, seed=s + 9))] for s in range(3)]
    found = compare_runs(dict(zip("abc", rows, strict=True)), bootstrap=100)["comparisons"]
    assert len(found) == 9
    assert all(c["p_holm"] >= c["p"] for c in found)


def test_runs_on_other_cases_and_unknown_metrics_are_refused() -> None:
    with pytest.raises(RunError, match="1 of 10 are only in a"):
        compare_runs({"a": cohort(10), "b": cohort(9)})
    with pytest.raises(RequestError, match="it has dice, hd95_mm"):
        compare_runs({"a": cohort(3), "b": cohort(3)}, metric="dise")
    with pytest.raises(RequestError, match="two runs or more"):
        compare_runs({"a": cohort(3)})


def test_holm_agrees_with_the_textbook_and_keeps_nan() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, math.nan, 0.7])[:1] == [1.0]
    assert math.isnan(holm([0.6, math.nan])[1])


def test_signed_rank_agrees_with_scipy_and_undefined_is_nan() -> None:
    values = np.random.default_rng(0).normal(0.3, 1, size=25)
    assert signed_rank_p(values) == pytest.approx(stats.wilcoxon(values).pvalue)
    assert math.isnan(signed_rank_p(np.array([math.nan])))
