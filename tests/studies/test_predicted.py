"""Predictions of any format score as the same label map does in NIfTI."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.dicom import read_series
from medseg.data.dicom_structures import StructureRule
from medseg.data.manifest import Card, Case, Manifest, read_manifest, write_manifest
from medseg.data.source import Input
from medseg.data.volume import Geometry
from medseg.errors import RequestError
from medseg.export import write_nifti, write_png
from medseg.export.coco import COCO_FILE, CocoFile
from medseg.export.prediction import write_prediction
from medseg.inference.predict import Prediction
from medseg.studies.predicted import find_prediction, read_predicted
from medseg.studies.scoring import score_predictions
from tests.export.source_series import ALGORITHM, LABELS, blobs, clean_series, random_rotation

FORMATS = ("nifti", "nrrd", "png", "coco", "dicom-seg", "dicom-seg-labelmap", "dicom-seg-fractional", "rtstruct")


def _card(**facts) -> Card:
    labels = {value: info.model_dump(exclude_none=True) for value, info in LABELS.items()}
    return Card.model_validate({"title": "x", "labels": labels, "modality": "CT", **facts})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """A manifest of one oblique case, and its series, volume and prediction."""
    folder = tmp_path_factory.mktemp("cohort")
    files = clean_series(rotation=random_rotation(4)).write(folder / "series")
    volume = read_series(files)
    truth, found = blobs(volume.shape, seed=1), blobs(volume.shape, seed=1)
    found[3:9] = blobs(volume.shape, seed=2)[3:9]
    write_nifti(volume.array[0], volume.affine, folder / "image.nii.gz")
    write_nifti(truth, volume.affine, folder / "label.nii.gz")
    case = Case("C1", "P1", {"image": folder / "image.nii.gz"}, folder / "label.nii.gz", modality="CT")
    path = folder / "manifest.csv"
    write_manifest(Manifest(path, (case,), _card()), path)
    return read_manifest(path), files, volume, found


def _write(folder: Path, output_format: str, cohort, label=None, name="C1", labels=LABELS) -> Path:
    _, files, volume, found = cohort
    label = found if label is None else label
    classes = np.stack([(label == value) for value in (0, *labels)]).astype(np.float16)
    return write_prediction(
        Prediction(label, volume.geometry, classes), volume, Input(name, lambda: volume, tuple(files)), folder,
        output_format=output_format, labels=labels, algorithm=ALGORITHM,
    )  # fmt: skip


def _scores(folder: Path, manifest: Manifest, **options):
    return score_predictions(folder, manifest, nsd_tolerance_mm=(1.0,), **options)


@pytest.fixture(scope="module")
def expected(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nifti")
    _write(folder, "nifti", cohort)
    rows = _scores(folder, cohort[0]).rows
    assert [0.3 < row["dice"] < 0.95 for row in rows] == [True, True]
    return rows


@pytest.mark.parametrize("output_format", FORMATS)
def test_every_format_of_a_volume_scores_alike(output_format, cohort, expected, tmp_path):
    _write(tmp_path, output_format, cohort)
    scored = _scores(tmp_path, cohort[0])
    assert scored.refusals == ()
    assert scored.rows == expected


@pytest.mark.parametrize("ending", [".mha", ".nrrd"])
def test_label_maps_of_itk_score_alike(ending, cohort, expected, tmp_path):
    import SimpleITK as sitk

    sitk.WriteImage(sitk.ReadImage(_write(tmp_path / "n", "nifti", cohort)), tmp_path / f"C1{ending}")
    assert _scores(tmp_path, cohort[0]).rows == expected


@pytest.mark.parametrize("output_format", [f for f in FORMATS if f != "nifti"])
def test_nothing_found_scores_zero_and_is_no_missing_prediction(output_format, cohort, tmp_path):
    _write(tmp_path, output_format, cohort, label=np.zeros_like(cohort[3]))
    scored = _scores(tmp_path, cohort[0])
    assert (scored.missing, scored.refusals) == ((), ())
    assert [row["dice"] for row in scored.rows] == [0, 0]


@pytest.mark.parametrize("output_format", ["nrrd", "dicom-seg", "rtstruct"])
def test_structures_of_other_names_are_refused_until_it_is_said_which_they_are(
    output_format, cohort, expected, tmp_path
):
    named = {2: LABELS[2].model_copy(update={"name": "GTV 1"}), 5: LABELS[5].model_copy(update={"name": "rim"})}
    _write(tmp_path, output_format, cohort, labels=named)
    ((case, reason),) = [(r.input, r.reason) for r in _scores(tmp_path, cohort[0]).refusals]
    assert case == "C1"
    assert "none of its 2 structures is a label of the manifest (tumour, oedema)" in reason
    assert "GTV" not in reason
    rules = [StructureRule.of("gtv*=tumour"), StructureRule.of("rim=oedema")]
    assert _scores(tmp_path, cohort[0], rules=rules).rows == expected


def test_a_single_structure_is_a_single_label_whatever_it_is_called(cohort, tmp_path):
    one = {1: LABELS[2].model_copy(update={"name": "GTV 1"})}
    label = (cohort[3] == 2).astype(np.uint8)
    path = _write(tmp_path, "rtstruct", cohort, label=label, labels=one)
    assert np.array_equal(read_predicted(path, cohort[2].geometry, labels={1: "lesion"}), label)


@pytest.mark.parametrize("output_format", ["nrrd", "dicom-seg", "rtstruct"])
def test_structures_of_another_scan_are_refused(output_format, cohort, tmp_path):
    path = _write(tmp_path, output_format, cohort)
    grid = cohort[2].geometry
    aside = np.diag([0.7, 0.8, 2.5, 1.0])  # Not oblique.
    aside[:3, 3] = grid.affine[:3, 3]
    manifest, *_ = cohort
    moved = tmp_path / "moved"
    write_nifti(np.ones(grid.shape, np.uint8) * 2, aside, moved / "label.nii.gz")
    write_nifti(np.zeros(grid.shape, np.uint8), aside, moved / "image.nii.gz")
    case = Case("C1", "P1", {"image": moved / "image.nii.gz"}, moved / "label.nii.gz", modality="CT")
    write_manifest(Manifest(moved / "m.csv", (case,), manifest.card), moved / "m.csv")
    scored = _scores(path.parent, read_manifest(moved / "m.csv"))
    assert (scored.rows, len(scored.refusals)) == ([], 1)


def _pictures(folder: Path):
    """A manifest of two pictures, the label map of the first, and a prediction of it."""
    truth, found = blobs((30, 20), seed=1), blobs((30, 20), seed=2)
    cases = []
    for name, label in (("C1", truth), ("C2", np.zeros((9, 8), np.uint8))):
        write_png(label, folder / "labels" / f"{name}.png", label_count=2)
        write_png(label, folder / "images" / f"{name}.png", label_count=2)
        images = {"grey": folder / "images" / f"{name}.png"}
        cases.append(Case(name, name, images, folder / "labels" / f"{name}.png", modality="OTHER"))
    path = folder / "manifest.csv"
    write_manifest(Manifest(path, tuple(cases), _card(channels=["grey"], modality="OTHER")), path)
    return read_manifest(path), found


def _coco(folder: Path, found: np.ndarray) -> Path:
    coco = CocoFile(folder / COCO_FILE, labels=LABELS, algorithm=ALGORITHM)
    for name, label in (("C1", found), ("C2", np.zeros((9, 8), np.uint8))):
        source = Input(name, lambda: pytest.fail("not read"), picture=f"images/{name}.png")
        coco.add(Prediction(label, Geometry(label.shape, np.eye(4))), source)
    coco.save()
    return folder / COCO_FILE


def test_a_coco_file_scores_as_png_does_as_a_folder_or_by_itself(tmp_path):
    manifest, found = _pictures(tmp_path / "data")
    write_png(found, tmp_path / "png" / "C1.png", label_count=2)
    write_png(np.zeros((9, 8), np.uint8), tmp_path / "png" / "C2.png", label_count=2)
    path = _coco(tmp_path / "coco", found)
    scored = _scores(tmp_path / "png", manifest)
    assert len(scored.rows) == 4
    for name, label in (("C1", found), ("C2", np.zeros((9, 8), np.uint8))):
        write_nifti(label[..., np.newaxis], np.eye(4), tmp_path / "nifti" / f"{name}.nii.gz")
    assert repr(_scores(tmp_path / "nifti", manifest)) == repr(scored)
    # Undefined figures are nan, which equals nothing.
    assert repr(_scores(path, manifest)) == repr(_scores(path.parent, manifest)) == repr(scored)
    result = CliRunner().invoke(app, ["evaluate", str(path), str(manifest.path), "--json"])
    assert (result.exit_code, json.loads(result.stdout)["cases"]) == (0, 2)


def test_a_picture_that_is_not_listed_is_missing_and_one_of_another_size_is_refused(tmp_path):
    manifest, found = _pictures(tmp_path / "data")
    path = _coco(tmp_path / "coco", found)
    content = json.loads(path.read_text())
    content["images"][0]["width"] = 31
    content["images"][1]["file_name"] = "elsewhere.png"
    path.write_text(json.dumps(content))
    scored = _scores(path, manifest)
    assert scored.missing == ("C2",)
    assert "drawn on a picture of 31 x 20 pixels" in scored.refusals[0].reason
    content["images"][1]["file_name"] = "other/C1.jpg"
    path.write_text(json.dumps(content))
    with pytest.raises(RequestError, match="lists 2 pictures named as case C1"):
        _scores(path, manifest)
    for text in ("[]", "{", '{"images": [], "annotations": [], "categories": []}'):
        path.write_text(text)
        with pytest.raises(RequestError):
            _scores(path, manifest)


def test_the_command_takes_a_rtstruct_and_says_which_structure_it_is(cohort, tmp_path):
    named = {2: LABELS[2].model_copy(update={"name": "GTV 1"}), 5: LABELS[5]}
    _write(tmp_path, "rtstruct", cohort, labels=named)
    arguments = ["evaluate", str(tmp_path), str(cohort[0].path), "--structure", "gtv*=tumour", "--structure", "oedema"]
    result = CliRunner().invoke(app, [*arguments, "--bootstrap", "100", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["refused"] == []


def test_reports_maps_and_overlays_are_no_label_maps(tmp_path):
    for name in ("C1.sr.dcm", "C1.uncertainty.dcm", "C1.overlay.dcm"):
        (tmp_path / name).touch()
    assert find_prediction(tmp_path, "C1") is None
    (tmp_path / "C1.dcm").touch()
    assert find_prediction(tmp_path, "C1") == tmp_path / "C1.dcm"
