from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import RunError
from medseg.metrics import score_case
from medseg.studies import case_rows, read_cases, read_summary, summarise, write_cases, write_summary


def _rows() -> list:
    prediction, reference = np.zeros((6, 6), np.uint8), np.zeros((6, 6), np.uint8)
    reference[:3] = 1
    scores = score_case(prediction, reference, labels={1: "a", 2: "b"}, spacing=(1, 1), nsd_tolerance_mm=(1, 2))
    return case_rows(scores, case="C1", patient="P1", fold=2)


def test_a_table_written_and_read_again_is_the_same(tmp_path: Path) -> None:
    rows = _rows()
    write_cases(rows, tmp_path / "cases.csv")
    again = read_cases(tmp_path)
    assert [list(r) for r in again] == [list(r) for r in rows]
    for one, other in zip(rows, again, strict=True):
        assert {k: other[k] for k in ("case", "patient", "fold", "label", "label_name")} == {
            k: one[k] for k in ("case", "patient", "fold", "label", "label_name")
        }
        assert other["dice"] == pytest.approx(one["dice"], nan_ok=True)
    header = (tmp_path / "cases.csv").read_text().splitlines()[0]
    assert header.startswith(
        "case,patient,fold,repeat,label,label_name,dice,iou,precision,recall,hd95_mm,assd_mm,nsd_1mm"
    )


def test_a_summary_is_strict_json_and_nan_comes_back(tmp_path: Path) -> None:
    summary = summarise(_rows(), bootstrap=100, confidence=0.95, seed=0, empty_reference="skip")
    write_summary(summary, tmp_path / "summary.json")
    assert json.loads((tmp_path / "summary.json").read_text())["labels"]["2"]["metrics"]["dice"]["mean"] is None
    assert math.isnan(read_summary(tmp_path)["labels"]["2"]["metrics"]["dice"]["mean"])


def test_a_missing_table_a_missing_column_and_a_word_for_a_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="missing or unreadable"):
        read_cases(tmp_path)
    (tmp_path / "cases.csv").write_text("case,patient\n")
    with pytest.raises(RunError, match="missing fold"):
        read_cases(tmp_path)
    (tmp_path / "cases.csv").write_text("case,patient,fold,repeat,label,label_name,dice\nC,P,0,0,1,x,good\n")
    with pytest.raises(RunError, match="not a number"):
        read_cases(tmp_path)
    with pytest.raises(RunError, match="at least one"):
        write_cases([], tmp_path / "none.csv")
