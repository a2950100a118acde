"""Every layout of research data is recognised."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label, read_volume
from medseg.data.recognise import Choice
from medseg.errors import RequestError
from medseg.privacy.ledger import verify
from tests.data.import_factory import (
    NAME,
    all_bytes,
    run_import,
    write_label,
    write_pairs,
    write_patients,
    write_volume,
)


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("images", "masks"), ("imagesTr", "labelsTr")])
def test_images_beside_labels_become_cases(tmp_path: Path, images: str, labels: str) -> None:
    write_pairs(tmp_path / "in", images=images, labels=labels)
    report = run_import(tmp_path / "in", tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert (report.cases, report.patients, report.labelled) == (3, 3, 3)
    assert [(case.case, case.patient) for case in manifest.cases] == [(f"C000{n}", f"P000{n}") for n in (1, 2, 3)]
    for number, case in enumerate(manifest.cases):
        source = read_volume(tmp_path / "in" / images / f"{NAME}_{number}.nii.gz")
        copy = read_volume(next(iter(case.images.values())))
        np.testing.assert_array_equal(copy.array, source.array)
        np.testing.assert_allclose(copy.affine, source.affine)
        assert case.label is not None
        label, geometry = read_label(case.label)
        assert geometry.corner_distance(copy.geometry) == 0.0
        assert set(np.unique(label)) == {0, 1}
    assert manifest.card.label_names() == {1: "lesion"}
    assert verify(tmp_path / "out" / "ledger.jsonl") == []


def test_mask_suffixes_are_understood_and_jpegs_keep_their_pixels(tmp_path: Path) -> None:
    (tmp_path / "in" / "images").mkdir(parents=True)
    (tmp_path / "in" / "masks").mkdir()
    generator = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x010E] = NAME
    for number, suffix in enumerate(("_segmentation", "_mask", "_seg", "")):
        picture = Image.fromarray(generator.integers(0, 255, (16, 24, 3)).astype(np.uint8))
        picture.save(tmp_path / "in" / "images" / f"ISIC_{number:07d}.jpg", exif=exif, comment=NAME)
        mask = np.zeros((16, 24), np.uint8)
        mask[3:9, 5:7] = 255
        Image.fromarray(mask).save(tmp_path / "in" / "masks" / f"ISIC_{number:07d}{suffix}.png")
    rows = ["image_id,diagnosis,age_approx,sex,patient_id,operator,site"]
    rows += [
        f"ISIC_{n:07d},nevus,{age},male,pat{n // 2},{NAME},{NAME} clinic" for n, age in enumerate((30, 95, 40, 50))
    ]
    (tmp_path / "in" / "metadata.csv").write_text("\n".join(rows))
    report = run_import(tmp_path / "in", tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert (report.cases, report.patients) == (4, 2)
    assert [case.patient for case in manifest.cases] == ["P0001", "P0001", "P0002", "P0002"]
    assert dict(manifest.cases[1].covariates) == {"diagnosis": "nevus", "age": "90", "sex": "male"}
    assert {case.site for case in manifest.cases} == {"S1"}
    for number, case in enumerate(manifest.cases):
        source = tmp_path / "in" / "images" / f"ISIC_{number:07d}.jpg"
        with Image.open(source) as old, Image.open(next(iter(case.images.values()))) as new:
            np.testing.assert_array_equal(np.asarray(old), np.asarray(new))
            assert not new.getexif()
    assert NAME.encode() not in all_bytes(tmp_path / "out")
    assert manifest.card.channels == ("red", "green", "blue")


def test_a_decathlon_folder_brings_its_label_names(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in", images="imagesTr", labels="labelsTr")
    facts = {
        "name": "Task04",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "anterior", "2": "posterior"},
    }
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(facts))
    report = run_import(tmp_path / "in", tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert "Decathlon" in report.layout
    assert manifest.card.label_names() == {1: "anterior", 2: "posterior"}
    assert manifest.cases[0].modality == "MR"


@pytest.mark.parametrize("labels", [{"1": "lesion", "70000": "x"}, {"1": ""}, {"1": "same", "2": "same"}])
def test_labels_that_no_card_can_hold_are_refused_before_anything_is_copied(
    tmp_path: Path, labels: dict[str, str]
) -> None:
    write_pairs(tmp_path / "in", images="imagesTr", labels="labelsTr")
    (tmp_path / "in" / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(RequestError, match=r"the labels that the data set states.*\n  - labels"):
        run_import(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out" / "images").exists()


def test_an_nnunet_folder_brings_channels(tmp_path: Path) -> None:
    for number in range(2):
        for channel in range(2):
            write_volume(
                tmp_path / "in" / "imagesTr" / f"case_{number:03d}_{channel:04d}.nii.gz", seed=10 * number + channel
            )
        write_label(tmp_path / "in" / "labelsTr" / f"case_{number:03d}.nii.gz")
    facts = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "lesion": 1},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(facts))
    assert "nnU-Net" in run_import(tmp_path / "in", tmp_path / "out").layout
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert manifest.card.channels == ("T1", "FLAIR")
    np.testing.assert_array_equal(
        read_volume(manifest.cases[1].images["FLAIR"]).array[0],
        np.random.default_rng(11).normal(size=(6, 5, 4)).astype(np.float32),
    )


def test_a_folder_per_patient_takes_the_most_complete_modality_and_says_so(tmp_path: Path) -> None:
    write_patients(tmp_path / "in")
    report = run_import(tmp_path / "in", tmp_path / "out")
    assert (report.cases, report.patients) == (4, 4)
    assert any("took PT" in note and "CT (2)" in note for note in report.notes)
    assert {case.modality for case in read_manifest(tmp_path / "out" / "manifest.csv").cases} == {"PT"}


def test_the_modality_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    write_patients(tmp_path / "in")
    report = run_import(tmp_path / "in", tmp_path / "out", choice=Choice(modality="CT"))
    assert report.cases == 2
    assert len(report.refusals) == 2
    with pytest.raises(RequestError, match="expected one of those found"):
        run_import(tmp_path / "in", tmp_path / "other", choice=Choice(modality="MR"))
    assert not (tmp_path / "other").exists()


def test_one_image_and_one_mask_in_a_patient_folder_belong_together(tmp_path: Path) -> None:
    for number in range(2):
        write_volume(tmp_path / "in" / f"patient{number}" / "FLAIR_MNI.nii.gz")
        write_label(tmp_path / "in" / f"patient{number}" / "lesion_MNI.nii.gz")
    assert run_import(tmp_path / "in", tmp_path / "out").labelled == 2


def test_a_flat_folder_is_paired_by_name_or_taken_without_labels(tmp_path: Path) -> None:
    for number in range(2):
        write_volume(tmp_path / "in" / f"lesion_{number}.nii.gz")
        write_label(tmp_path / "in" / f"lesion_{number}_mask.nii.gz")
        write_volume(tmp_path / "plain" / f"scan {number}.nii.gz")
    assert run_import(tmp_path / "in", tmp_path / "out").labelled == 2
    report = run_import(tmp_path / "plain", tmp_path / "out2")
    assert (report.cases, report.labelled) == (2, 0)


def test_the_real_data_sets_are_recognised(test_data: Path, tmp_path: Path) -> None:
    report = run_import(test_data / "sts_sarcoma", tmp_path / "sts", jobs=2)
    assert (report.layout, report.cases, report.patients, report.labelled) == ("a folder per patient", 36, 36, 36)
    report = run_import(test_data / "ms_open_flair", tmp_path / "ms")
    assert (report.cases, report.labelled, report.refusals) == (2, 2, ())
    report = run_import(test_data / "dicom_sts_rtstruct", tmp_path / "rt", choice=Choice(modality="PT"))
    manifest = read_manifest(tmp_path / "rt" / "manifest.csv")
    assert (report.cases, report.labelled) == (1, 1)
    nifti = read_volume(test_data / "dicom_sts_rtstruct" / "STS_008" / "nifti" / "PET_image.nii.gz")
    ours = read_volume(next(iter(manifest.cases[0].images.values())))
    assert ours.geometry.corner_distance(nifti.geometry) < 1e-2
    np.testing.assert_allclose(ours.array, nifti.array, rtol=1e-4, atol=1e-4)
