from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.errors import RequestError
from medseg.studies.predicted import find_prediction
from medseg.studies.scoring import score_predictions
from tests.studies.cohorts import save, write_cohort


def test_every_labelled_case_is_scored_in_millimetres(tmp_path: Path) -> None:
    manifest, predictions = write_cohort(tmp_path)
    scored = score_predictions(predictions, manifest, nsd_tolerance_mm=(1.0,))
    assert [row["case"] for row in scored.rows] == [f"C{i:03d}" for i in range(6)]
    assert all(0.6 < row["dice"] < 1 and row["nsd_1mm"] == 1 for row in scored.rows)
    assert scored.rows[0]["reference_volume_ml"] == pytest.approx(scored.rows[0]["reference_voxels"] * 0.002)
    assert (scored.missing, scored.refusals) == ((), ())


def test_missing_other_grid_and_unknown_value_are_told_apart(tmp_path: Path) -> None:
    manifest, predictions = write_cohort(tmp_path)
    (predictions / "C001.nii.gz").unlink()
    save(np.zeros((24, 22, 12), np.uint8), predictions / "C002.nii.gz", np.diag([1.5, 1.5, 2.5, 1.0]))
    save(np.full((24, 22, 12), 7, np.uint8), predictions / "C003.nii.gz")
    scored = score_predictions(predictions, manifest, nsd_tolerance_mm=(1.0,))
    assert scored.missing == ("C001",)
    reasons = {r.input: r.reason for r in scored.refusals}
    assert "another grid" in reasons["C002"]
    assert "value 7" in reasons["C003"]
    assert {row["case"] for row in scored.rows} == {"C000", "C004", "C005"}


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    manifest, _ = write_cohort(tmp_path, patients=2)
    with pytest.raises(RequestError, match="found none"):
        score_predictions(tmp_path / "nowhere", manifest, nsd_tolerance_mm=(1.0,))


def test_a_case_is_found_by_its_whole_name_only(tmp_path: Path) -> None:
    save(np.zeros((2, 2, 2), np.uint8), tmp_path / "C0010.nii.gz")
    assert find_prediction(tmp_path, "C001") is None
    assert find_prediction(tmp_path, "C0010") == tmp_path / "C0010.nii.gz"
