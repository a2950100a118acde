from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.studies import read_cases, write_cases
from tests.studies.cohorts import write_cohort
from tests.studies.rows import cohort

RUNNER = CliRunner()


def _run(*arguments: object) -> tuple[int, str, str]:
    result = RUNNER.invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


def test_evaluate_prints_a_table_and_writes_cases_and_summary(tmp_path: Path) -> None:
    _, predictions = write_cohort(tmp_path)
    status, out, _ = _run("evaluate", predictions, tmp_path / "manifest.csv", "--out", tmp_path / "scores")
    assert status == 0
    assert "6 cases of 6 patients scored" in out
    assert "lesion  dice" in out
    assert len(read_cases(tmp_path / "scores")) == 6
    assert json.loads((tmp_path / "scores/summary.json").read_text())["patients"] == 6


def test_evaluate_lists_missing_predictions_and_exits_3(tmp_path: Path) -> None:
    _, predictions = write_cohort(tmp_path)
    (predictions / "C001.nii.gz").unlink()
    status, out, err = _run("evaluate", predictions, tmp_path / "manifest.csv", "--json")
    assert status == 3
    assert json.loads(out)["missing"] == ["C001"]
    assert "C001: no prediction" in err


def test_evaluate_without_any_prediction_exits_2_and_writes_nothing(tmp_path: Path) -> None:
    write_cohort(tmp_path, patients=2)
    (tmp_path / "none").mkdir()
    status, _, err = _run("evaluate", tmp_path / "none", tmp_path / "manifest.csv", "--out", tmp_path / "scores")
    assert status == 2
    assert "none of 2 labelled cases" in err
    assert not (tmp_path / "scores").exists()


def test_compare_prints_the_paired_difference(tmp_path: Path) -> None:
    write_cases(cohort(12), tmp_path / "plain/cases.csv")
    write_cases([{**r, "dice": r["dice"] + 0.02} for r in cohort(12)], tmp_path / "better/cases.csv")
    status, out, _ = _run("compare", tmp_path / "plain", tmp_path / "better", "--out", tmp_path / "c.json")
    assert status == 0
    assert "plain -> better" in out
    assert "+0.0200" in out
    found = json.loads((tmp_path / "c.json").read_text())["comparisons"]
    assert found[0]["difference"] == pytest.approx(0.02)


def test_compare_of_other_cases_exits_2(tmp_path: Path) -> None:
    write_cases(cohort(12), tmp_path / "a/cases.csv")
    write_cases(cohort(11), tmp_path / "b/cases.csv")
    status, _, err = _run("compare", tmp_path / "a", tmp_path / "b")
    assert status == 2
    assert "same cases" in err
