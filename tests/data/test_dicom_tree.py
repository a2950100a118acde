"""DICOM series with label maps beside or inside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from medseg.data.manifest import read_manifest
from medseg.data.quality import check_manifest
from medseg.data.readers import read_volume
from tests.data.dicom_factory import make_series
from tests.data.import_factory import (
    NAME,
    all_bytes,
    refused,
    run_import,
    write_label,
    write_mask,
)
from tests.data.seg_factory import make_seg, segment_numbers, source_images, write_seg


def _dicom_tree(root: Path) -> None:
    for number in range(3):
        series = make_series((4, 5, 6), seed=number, patient=f"{NAME}-{number // 2}")
        folder = root / f"{NAME}_{number}"
        series.write(folder / "ct")
        write_label(folder / "lesions.nii.gz", affine=series.affine, shape=(6, 5, 4))


def test_a_dicom_tree_with_masks_beside_the_series_becomes_volumes(tmp_path: Path) -> None:
    _dicom_tree(tmp_path / "in")
    report = run_import(tmp_path / "in", tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert (report.cases, report.patients, report.labelled) == (3, 2, 3)
    expected = {make_series((4, 5, 6), seed=n).voxels.tobytes() for n in range(3)}
    found = {
        read_volume(next(iter(c.images.values()))).array[0].transpose(2, 1, 0).astype(np.uint16).tobytes()
        for c in manifest.cases
    }
    assert found == expected
    assert NAME.encode() not in all_bytes(tmp_path / "out")


def test_a_broken_series_is_refused_with_its_true_reason_and_the_others_go_on(tmp_path: Path) -> None:
    _dicom_tree(tmp_path / "in")
    sorted((tmp_path / "in" / f"{NAME}_2" / "ct").iterdir())[1].unlink()
    report = run_import(tmp_path / "in", tmp_path / "out")
    assert report.cases == 2
    assert "missing slices" in next(iter(refused(tmp_path / "out").values()))


def test_single_slices_keep_their_pixel_spacing(tmp_path: Path) -> None:
    """A radiograph becomes a PNG, which holds no spacing; a slice of CT a NIfTI, and so does its label map."""
    for number in range(2):
        film = make_series(
            (1, 16, 20), seed=number, patient=f"X{number}", spacing=(0.2, 0.2, 1), extra={"Modality": "DX"}
        )
        for data in film.slices:
            del data.ImagePositionPatient, data.ImageOrientationPatient
        film.write(tmp_path / "films" / str(number) / "dx")
        rows = np.zeros((16, 20), np.uint8)
        rows[4:9, 4 : 9 + number] = 255
        write_mask(tmp_path / "films" / str(number) / "lesion.png", rows)
    run_import(tmp_path / "films", tmp_path / "out")
    first = read_manifest(tmp_path / "out" / "manifest.csv").cases[0]
    assert first.label is not None
    assert (first.spacing, first.label.suffix) == ((0.2, 0.2), ".png")

    scan = make_series((1, 16, 20), spacing=(0.7, 0.7, 5), extra={"RescaleIntercept": -1024})
    images = source_images(scan)
    scan.write(tmp_path / "slices" / "ct")
    write_seg(make_seg(images, segment_numbers((1, 16, 20), values=1)), tmp_path / "slices" / "seg.dcm")
    run_import(tmp_path / "slices", tmp_path / "slice")
    manifest = read_manifest(tmp_path / "slice" / "manifest.csv")
    report = check_manifest(manifest)
    assert (report.errors, manifest.cases[0].spacing) == (0, (0.7, 0.7, 5.0))

    for number in range(2):
        make_series((4, 16, 20), seed=number, patient=str(number)).write(tmp_path / "mixed" / str(number))
    make_series((1, 16, 20), patient="9", extra={"RescaleIntercept": -1024}).write(tmp_path / "mixed" / "9")
    run_import(tmp_path / "mixed", tmp_path / "volumes")
    assert "found 2 axes" in next(iter(refused(tmp_path / "volumes").values()))


def test_plain_values_are_not_named_after_another_image_s_segments(tmp_path: Path) -> None:
    """Value 1 of a mask is not the first of the names that another patient's SEG brought."""
    _dicom_tree(tmp_path / "in")
    for number, names in ((5, ("liver", "spleen")), (6, ("lesion", "liver"))):
        series = make_series((4, 5, 6), seed=number, patient=str(number))
        images = source_images(series)
        series.write(tmp_path / "in" / str(number) / "ct")
        content = make_seg(images, segment_numbers((4, 5, 6)), names)
        write_seg(content, tmp_path / "in" / str(number) / "seg.dcm")
    report = run_import(tmp_path / "in", tmp_path / "out")
    assert report.cases == 2
    assert sum("nobody can tell which value is which" in one.reason for one in report.refusals) == 3
    stated = {1: "lesion", 2: "liver", 3: "spleen"}
    assert run_import(tmp_path / "in", tmp_path / "stated", labels=stated).cases == 5


def test_masks_in_a_folder_of_their_own_are_found_by_the_series_folder_s_name(tmp_path: Path) -> None:
    for number in range(2):
        series = make_series((4, 5, 6), seed=number, patient=str(number))
        series.write(tmp_path / "in" / "dicom" / f"scan{number}")
        write_label(tmp_path / "in" / "masks" / f"scan{number}_mask.nii.gz", affine=series.affine)
    assert run_import(tmp_path / "in", tmp_path / "out").labelled == 2


def test_label_maps_that_belong_to_no_series_are_told(tmp_path: Path) -> None:
    _dicom_tree(tmp_path / "in")
    (tmp_path / "in" / "elsewhere").mkdir()
    for number in range(2):
        stray = tmp_path / "in" / f"{NAME}_{number}" / "lesions.nii.gz"
        stray.rename(tmp_path / "in" / "elsewhere" / f"image_{number}.nii.gz")
    report = run_import(tmp_path / "in", tmp_path / "out")
    assert any(note.startswith("2 volumes or pictures belong to no series and are left out") for note in report.notes)


def test_two_masks_that_fit_one_series_are_a_question_not_a_guess(tmp_path: Path) -> None:
    _dicom_tree(tmp_path / "in")
    folder = tmp_path / "in" / f"{NAME}_0"
    shutil.copy(folder / "lesions.nii.gz", folder / "lesions_second_reader.nii.gz")
    run_import(tmp_path / "in", tmp_path / "out")
    assert "2 label maps fit" in next(iter(refused(tmp_path / "out").values()))
