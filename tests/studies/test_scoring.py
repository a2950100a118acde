from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.data.manifest import Case
from medseg.data.pictures import save_png
from medseg.errors import RequestError
from medseg.studies.predicted import find_prediction
from medseg.studies.scoring import score_prediction, score_predictions
from tests.studies.cohorts import save, write_cohort


def test_every_labelled_case_is_scored_in_millimetres(tmp_path: Path) -> None:
    manifest, predictions = write_cohort(tmp_path)
    scored = score_predictions(predictions, manifest, nsd_tolerance_mm=(1.0,))
    assert [row["case"] for row in scored.rows] == [f"C{i:03d}" for i in range(6)]
    assert all(0.6 < row["dice"] < 1 and row["nsd_1mm"] == 1 for row in scored.rows)
    assert scored.rows[0]["reference_volume_ml"] == pytest.approx(scored.rows[0]["reference_voxels"] * 0.002)
    assert (scored.missing, scored.refusals) == ((), ())


@pytest.mark.parametrize(("spacing", "expected"), [((0.2, 0.2), 0.2), (None, 1.0)])
def test_a_png_is_measured_in_the_spacing_of_the_manifest_or_in_pixels(
    tmp_path: Path, spacing: tuple[float, ...] | None, expected: float
) -> None:
    for columns, name in ((5, "label"), (6, "prediction")):
        values = np.zeros((20, 16), np.uint8)
        values[4 : 4 + columns, 4:9] = 1
        save_png(values, tmp_path / f"{name}.png")
    case = Case("C1", "P1", {"image": tmp_path / "image.png"}, label=tmp_path / "label.png", spacing=spacing)
    (row,) = score_prediction(tmp_path / "prediction.png", case, labels={1: "lesion"}, nsd_tolerance_mm=(1.0,))
    assert row["hd95_mm"] == pytest.approx(expected)


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
