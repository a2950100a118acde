"""`medseg predict` on what is no DICOM: results that refer to the series, and COCO of photographs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.made_from import MADE_FROM
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label, read_volume
from medseg.export import write_nifti
from medseg.export.coco import CocoFile
from medseg.inference.predict import Predictor
from medseg.privacy.identities import IdentityIndex
from tests.export.chance import chance_model
from tests.export.source_series import LABELS, clean_series, random_rotation
from tests.export.test_dicom_match import turned


def _run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """``dicom/`` and ``image.nii.gz``, as a converter writes it."""
    files = clean_series(rotation=random_rotation(2)).write(tmp_path / "dicom")
    volume = turned(read_volume(files[0].parent))
    write_nifti(volume.array[0].astype(np.uint16), volume.affine, tmp_path / "image.nii.gz")
    return tmp_path


def test_a_nifti_file_gives_a_seg_of_its_series_with_a_report(converted: Path) -> None:
    model, image, out = chance_model(converted / "m.medseg", 3), converted / "image.nii.gz", converted / "out"
    assert _run("predict", model, image, out)[0] == 0
    arguments = ("predict", model, image, out, "--format", "dicom-seg", "--report")
    status, _, err = _run(*arguments)
    assert status == 2
    assert "name the folder of the series that they were converted from with --dicom-source" in err
    status, told, err = _run(*arguments, "--dicom-source", converted / "dicom")
    assert (status, told.strip()) == (0, "1 of 1 image predicted as dicom-seg"), err
    expected, grid = read_label(out / "image_0001.nii.gz")
    found, place = read_label(out / "image_0001.dcm", image=converted / "dicom")
    assert len(np.unique(expected)) > 1
    numbers = np.array([0, *LABELS])[found]
    flipped = np.flip(numbers, 1)
    assert np.array_equal(expected, flipped)
    assert np.allclose(place.affine @ [0, place.shape[1] - 1, 0, 1], grid.affine[:, 3], atol=1e-3)
    assert (out / "image_0001.sr.dcm").is_file()


def test_the_series_of_an_identified_patient_is_refused_unless_the_result_stays_inside(converted: Path) -> None:
    model, image = chance_model(converted / "m.medseg", 3), converted / "image.nii.gz"
    clean_series(rotation=random_rotation(2), removed="NO").write(converted / "dicom")
    arguments = ("predict", model, image, converted / "out", "--format", "rtstruct", "--dicom-source")
    status, _, err = _run(*arguments, converted / "dicom")
    assert status == 4
    assert "medseg deidentify" in err
    assert _run(*arguments[:3], converted / "in", *arguments[4:], converted / "dicom", "--internal")[0] == 0
    assert [path.name for path in (converted / "in").glob("[!.]*")] == ["image_0001.rtstruct.dcm"]


def test_the_series_is_looked_for_before_the_time_for_a_prediction_is_spent(converted: Path, monkeypatch) -> None:
    model = chance_model(converted / "m.medseg", 3)
    monkeypatch.setattr(Predictor, "predict", lambda *_, **__: pytest.fail("predicted"))
    clean_series(rotation=random_rotation(3)).write(converted / "others")
    status, _, err = _run("predict", model, converted / "image.nii.gz", converted / "out", "--format", "dicom-seg",
                          "--dicom-source", converted / "others")  # fmt: skip
    assert (status, "no series of 1 lies on this image's voxels" in err) == (3, True), err


@pytest.mark.parametrize(
    ("source", "output_format", "folder", "message"),
    [
        ("image.nii.gz", "nifti", "dicom", "--dicom-source goes with the DICOM formats; nifti refers to no series"),
        ("dicom", "dicom-seg", "dicom", "--dicom-source goes with images that are no DICOM"),
        ("image.nii.gz", "dicom-seg", "nowhere", "--dicom-source: expected a folder of DICOM files; found none"),
    ],
)
def test_a_source_that_does_not_go_with_the_rest_exits_2_and_writes_nothing(
    source: str, output_format: str, folder: str, message: str, converted: Path
) -> None:
    model = chance_model(converted / "m.medseg", 3)
    status, _, err = _run("predict", model, converted / source, converted / "out", "--format", output_format,
                          "--dicom-source", converted / folder)  # fmt: skip
    assert status == 2
    assert message in err
    assert not (converted / "out").exists()


def test_a_volume_of_few_slices_is_predicted_with_a_warning_and_a_single_slice_refused(tmp_path: Path) -> None:
    model = chance_model(tmp_path / "m.medseg", 3)
    array = np.random.default_rng(0).integers(0, 100, size=(16, 16, 4)).astype(np.uint8)
    for count in (1, 2, 4):
        write_nifti(array[..., :count], np.diag([0.8, 0.8, 2.0, 1.0]), tmp_path / "in" / f"scan{count}.nii.gz")
    status, told, err = _run("predict", model, tmp_path / "in", tmp_path / "out", "--keep-names", "--json")
    assert status == 3
    assert json.loads(told)["written"] == 2
    assert "refused: scan1: expected a volume; found a single slice" in err
    assert "warning: scan2: the volume (12.8 x 12.8 x 4 mm" in err
    assert "scan4" not in err


def _photographs(folder: Path) -> None:
    for name in ("b/two.png", "one.png"):
        pixels = np.random.default_rng(len(name)).integers(0, 255, size=(20, 26, 3)).astype(np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)


def test_photographs_give_one_coco_file_that_import_and_evaluate_read_as_the_png(tmp_path: Path) -> None:
    _photographs(tmp_path / "in")
    model = chance_model(tmp_path / "m.medseg", 2)
    for output_format in ("png", "coco"):
        status, told, err = _run("predict", model, tmp_path / "in", tmp_path / output_format, "--keep-names",
                                 "--format", output_format)  # fmt: skip
        assert (status, told.strip()) == (0, f"2 of 2 images predicted as {output_format}"), err
    content = json.loads((tmp_path / "coco" / "instances.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["b/two.png", "one.png"]
    assert all(1 / 3 <= entry["score"] <= 1 for entry in content["annotations"])
    (tmp_path / "coco" / "instances.json").rename(tmp_path / "in" / "instances.json")
    status, _, err = _run("import", tmp_path / "in", tmp_path / "data", "--keep-names", "--label", "2=tumour",
                          "--label", "5=oedema")  # fmt: skip
    assert status == 0, err
    for case in read_manifest(tmp_path / "data" / "manifest.csv").cases:
        assert case.label is not None
        expected, _ = read_label(tmp_path / "png" / f"{case.case.removeprefix('b_')}.png")
        assert np.array_equal(read_label(case.label)[0], expected)
        assert len(np.unique(expected)) > 1
    status, told, err = _run(
        "predict", model, tmp_path / "data" / "manifest.csv", tmp_path / "again", "--format", "coco"
    )
    assert status == 0, err
    status, told, _ = _run("evaluate", tmp_path / "again", tmp_path / "data" / "manifest.csv", "--json")
    assert status == 0
    assert json.loads(told)["mean_over_labels"]["metrics"]["dice"]["mean"] == 1


def test_png_of_a_volume_is_scored_and_imported_and_goes_on_where_it_stopped(converted: Path) -> None:
    model, image = chance_model(converted / "m.medseg", 3), converted / "image.nii.gz"
    assert _run("predict", model, image, converted / "nifti")[0] == 0
    expected, grid = read_label(converted / "nifti" / "image_0001.nii.gz")
    arguments = ("predict", model, image, converted / "png", "--format", "png")
    status, told, err = _run(*arguments)
    assert (status, told.strip()) == (0, "1 of 1 image predicted as png"), err
    stack = converted / "png" / "image_0001.slices"
    found, place = read_label(stack)
    assert np.array_equal(found, expected)
    assert place.corner_distance(grid) < 1e-3
    before = (stack / "slice_0001.png").stat().st_mtime_ns
    assert _run(*arguments)[0] == 0
    assert (stack / "slice_0001.png").stat().st_mtime_ns == before
    source = converted / "in"
    (source / "images").mkdir(parents=True)
    shutil.copy(image, source / "images" / "image_0001.nii.gz")
    shutil.copytree(stack, source / "labels" / "image_0001.slices")
    status, _, err = _run("import", source, converted / "data", "--keep-names")
    assert (status, "1 label stack of slices" in err) == (0, True), err
    manifest = converted / "data" / "manifest.csv"
    assert read_manifest(manifest).card.label_names() == {2: "tumour", 5: "oedema"}
    status, told, err = _run("evaluate", converted / "png", manifest, "--json")
    assert status == 0, err
    assert json.loads(told)["mean_over_labels"]["metrics"]["dice"]["mean"] == 1
    # The folder of image and stack is one image to predict, not one more for each slice.
    status, told, err = _run("predict", model, source, converted / "overlay", "--format", "overlay")
    assert (status, told.strip()) == (0, "1 of 1 image predicted as overlay"), err
    assert [path.name for path in (converted / "overlay").glob("[!.]*")] == ["image_0001.overlay.png"]


def test_coco_goes_on_where_it_stopped_and_volumes_get_a_file_each(tmp_path: Path) -> None:
    _photographs(tmp_path / "in")
    model = chance_model(tmp_path / "m.medseg", 2)
    arguments = ("predict", model, tmp_path / "in", tmp_path / "out", "--format", "coco")
    (tmp_path / "in" / "b" / "two.png").rename(tmp_path / "later.png")
    assert _run(*arguments, "--keep-names")[0] == 0
    first = json.loads((tmp_path / "out" / "instances.json").read_text())
    (tmp_path / "later.png").rename(tmp_path / "in" / "two.png")
    assert _run(*arguments, "--keep-names")[0] == 0
    content = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert content["images"][0] == first["images"][0]
    assert [image["file_name"] for image in content["images"]] == ["one.png", "two.png"]
    files = clean_series().write(tmp_path / "dicom")
    volumes = chance_model(tmp_path / "v.medseg", 3)
    status, _, err = _run("predict", volumes, files[0].parent, tmp_path / "none", "--format", "coco")
    assert status == 0, err
    assert [path.name for path in (tmp_path / "none").glob("[!.]*")] == ["image_0001.coco.json"]
    assert _run("predict", volumes, files[0].parent, tmp_path / "none")[0] == 0
    expected, grid = read_label(tmp_path / "none" / "image_0001.nii.gz")
    found, place = read_label(tmp_path / "none" / "image_0001.coco.json")
    assert np.array_equal(found, expected)
    assert place.corner_distance(grid) < 1e-3


def test_a_kill_loses_no_picture_of_coco(tmp_path: Path, monkeypatch) -> None:
    _photographs(tmp_path / "in")
    model = chance_model(tmp_path / "m.medseg", 2)
    arguments = ("predict", model, tmp_path / "in", tmp_path / "out", "--format", "coco")
    with monkeypatch.context() as killed:
        killed.setattr(CocoFile, "save", lambda *_, **__: None)  # What comes after the last picture doesn't come.
        _run(*arguments)
    assert not (tmp_path / "out" / "instances.json").exists()
    monkeypatch.setattr(Predictor, "predict", lambda *_, **__: pytest.fail("predicted again"))
    status, _, err = _run(*arguments)
    assert status == 0, err
    assert len(json.loads((tmp_path / "out" / "instances.json").read_text())["images"]) == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MADE_FROM, "instances.json"]


def test_a_seg_that_refers_to_another_series_is_not_taken_for_the_one_that_is_asked_for(converted: Path) -> None:
    model, image, out = chance_model(converted / "m.medseg", 3), converted / "image.nii.gz", converted / "out"
    arguments = ("predict", model, image, out, "--format", "dicom-seg", "--dicom-source")
    assert _run(*arguments, converted / "dicom")[0] == 0
    assert _run(*arguments, converted / "dicom")[:2] == (0, "1 of 1 image predicted as dicom-seg\n")
    shutil.copytree(converted / "dicom", converted / "copy")
    for path in (converted / "copy").iterdir():
        content = pydicom.dcmread(path)
        content.SeriesInstanceUID += ".1"
        content.save_as(path)
    status, _, err = _run(*arguments, converted / "copy")
    assert (status, "refers to a series that --dicom-source doesn't hold" in err) == (3, True), err


def test_the_folder_that_the_inputs_lie_in_takes_no_predictions(tmp_path: Path) -> None:
    _photographs(tmp_path / "in")
    model = chance_model(tmp_path / "m.medseg", 2)
    before = {path: path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()}
    status, _, err = _run("predict", model, tmp_path / "in", tmp_path / "in", "--keep-names", "--format", "png")
    assert (status, "expected a folder of its own" in err) == (2, True)
    assert {path: path.read_bytes() for path in (tmp_path / "in").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("output_format", ["coco", "png"])
def test_a_prediction_named_after_a_patient_of_the_project_is_not_written(tmp_path: Path, output_format: str) -> None:
    _photographs(tmp_path / "in")
    (tmp_path / "in" / "one.png").rename(tmp_path / "in" / "Novakova_Jana.png")
    index = IdentityIndex()
    index.add(["Novakova^Jana"])
    index.save(tmp_path / "k.identities")
    model = chance_model(tmp_path / "m.medseg", 2)
    options = ("--format", output_format, "--keep-names", "--key", tmp_path / "k")
    status, told, err = _run("predict", model, tmp_path / "in", tmp_path / "out", *options)
    assert status == 4
    assert "ovakova" not in told + err
    assert not [path for path in (tmp_path / "out").rglob("*") if "ovakova" in path.name or path.suffix == ".json"]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in files if b"ovakova" in path.read_bytes()]
