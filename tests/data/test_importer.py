"""Import of every layout; what is refused, resumed and never written."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from medseg.data.importer import ImportOptions, ImportReport, import_tree
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label, read_volume
from medseg.data.recognise import Choice
from medseg.errors import RequestError, RunError
from medseg.privacy.ledger import verify
from tests.data.dicom_factory import make_series

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
NAME = "Mustermann"


def _volume(
    path: Path, *, seed: int = 0, shape: tuple[int, ...] = (6, 5, 4), affine: np.ndarray = AFFINE
) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    image = nib.Nifti1Image(array, affine)
    image.header["descrip"] = NAME.encode()
    nib.save(image, path)
    return array


def _label(path: Path, *, values: tuple[int, ...] = (1,), affine: np.ndarray = AFFINE, shape=(6, 5, 4)) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(shape, np.uint8)
    for place, value in enumerate(values):
        array[place + 1, 2, 1:3] = value
    nib.save(nib.Nifti1Image(array, affine), path)
    return array


def _pairs(root: Path, count: int = 3, *, images: str = "images", labels: str = "labels") -> None:
    for number in range(count):
        _volume(root / images / f"{NAME}_{number}.nii.gz", seed=number)
        _label(root / labels / f"{NAME}_{number}.nii.gz")


def _run(source: Path, out: Path, **options: object) -> ImportReport:
    return import_tree(source, out, options=ImportOptions(**options))


def _refused(out: Path) -> dict[str, str]:
    with (out / "refused.csv").open() as stream:
        return {row["input"]: row["reason"] for row in csv.DictReader(stream)}


def _all_bytes(out: Path) -> bytes:
    import gzip

    parts = []
    for path in sorted(out.rglob("*")):
        parts.append(str(path.relative_to(out)).encode())
        if path.is_file():
            content = path.read_bytes()
            parts.append(gzip.decompress(content) if path.suffix == ".gz" else content)
    return b"\n".join(parts)


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("images", "masks"), ("imagesTr", "labelsTr")])
def test_images_beside_labels_become_cases(tmp_path: Path, images: str, labels: str) -> None:
    _pairs(tmp_path / "in", images=images, labels=labels)
    report = _run(tmp_path / "in", tmp_path / "out")
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


def test_nothing_of_the_source_s_names_and_headers_is_written(tmp_path: Path) -> None:
    _pairs(tmp_path / "in")
    _volume(tmp_path / "in" / "images" / f"{NAME}_bad.nii.gz")
    _label(tmp_path / "in" / "labels" / f"{NAME}_bad.nii.gz", shape=(4, 4, 4))
    report = _run(tmp_path / "in", tmp_path / "out")
    assert len(report.refusals) == 1
    assert NAME.encode() not in _all_bytes(tmp_path / "out")
    assert NAME not in repr(report)


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
    report = _run(tmp_path / "in", tmp_path / "out")
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
    assert NAME.encode() not in _all_bytes(tmp_path / "out")
    assert manifest.card.channels == ("red", "green", "blue")


def test_a_decathlon_folder_brings_its_label_names(tmp_path: Path) -> None:
    _pairs(tmp_path / "in", images="imagesTr", labels="labelsTr")
    facts = {
        "name": "Task04",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "anterior", "2": "posterior"},
    }
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(facts))
    report = _run(tmp_path / "in", tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert "Decathlon" in report.layout
    assert manifest.card.label_names() == {1: "anterior", 2: "posterior"}
    assert manifest.cases[0].modality == "MR"


def test_an_nnunet_folder_brings_channels(tmp_path: Path) -> None:
    for number in range(2):
        for channel in range(2):
            _volume(
                tmp_path / "in" / "imagesTr" / f"case_{number:03d}_{channel:04d}.nii.gz", seed=10 * number + channel
            )
        _label(tmp_path / "in" / "labelsTr" / f"case_{number:03d}.nii.gz")
    facts = {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "lesion": 1},
        "file_ending": ".nii.gz",
    }
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(facts))
    assert "nnU-Net" in _run(tmp_path / "in", tmp_path / "out").layout
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert manifest.card.channels == ("T1", "FLAIR")
    np.testing.assert_array_equal(
        read_volume(manifest.cases[1].images["FLAIR"]).array[0],
        np.random.default_rng(11).normal(size=(6, 5, 4)).astype(np.float32),
    )


def _patients(root: Path) -> None:
    for number in range(4):
        folder = root / f"{NAME}_{number}"
        for kind in ["PET", *(["CT"] if number < 2 else [])]:
            _volume(folder / f"{kind}_image.nii.gz", seed=number)
            _label(folder / f"{kind}_mask.nii.gz")


def test_a_folder_per_patient_takes_the_most_complete_modality_and_says_so(tmp_path: Path) -> None:
    _patients(tmp_path / "in")
    report = _run(tmp_path / "in", tmp_path / "out")
    assert (report.cases, report.patients) == (4, 4)
    assert any("took PT" in note and "CT (2)" in note for note in report.notes)
    assert {case.modality for case in read_manifest(tmp_path / "out" / "manifest.csv").cases} == {"PT"}


def test_the_modality_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    _patients(tmp_path / "in")
    report = _run(tmp_path / "in", tmp_path / "out", choice=Choice(modality="CT"))
    assert report.cases == 2
    assert len(report.refusals) == 2
    with pytest.raises(RequestError, match="expected one of those found"):
        _run(tmp_path / "in", tmp_path / "other", choice=Choice(modality="MR"))
    assert not (tmp_path / "other").exists()


def test_one_image_and_one_mask_in_a_patient_folder_belong_together(tmp_path: Path) -> None:
    for number in range(2):
        _volume(tmp_path / "in" / f"patient{number}" / "FLAIR_MNI.nii.gz")
        _label(tmp_path / "in" / f"patient{number}" / "lesion_MNI.nii.gz")
    assert _run(tmp_path / "in", tmp_path / "out").labelled == 2


def test_a_flat_folder_is_paired_by_name_or_taken_without_labels(tmp_path: Path) -> None:
    for number in range(2):
        _volume(tmp_path / "in" / f"lesion_{number}.nii.gz")
        _label(tmp_path / "in" / f"lesion_{number}_mask.nii.gz")
        _volume(tmp_path / "plain" / f"scan {number}.nii.gz")
    assert _run(tmp_path / "in", tmp_path / "out").labelled == 2
    report = _run(tmp_path / "plain", tmp_path / "out2")
    assert (report.cases, report.labelled) == (2, 0)


def _dicom_tree(root: Path) -> None:
    for number in range(3):
        series = make_series((4, 5, 6), seed=number, patient=f"{NAME}-{number // 2}")
        folder = root / f"{NAME}_{number}"
        series.write(folder / "ct")
        _label(folder / "lesions.nii.gz", affine=series.affine, shape=(6, 5, 4))


def test_a_dicom_tree_with_masks_beside_the_series_becomes_volumes(tmp_path: Path) -> None:
    _dicom_tree(tmp_path / "in")
    report = _run(tmp_path / "in", tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert (report.cases, report.patients, report.labelled) == (3, 2, 3)
    expected = {make_series((4, 5, 6), seed=n).voxels.tobytes() for n in range(3)}
    found = {
        read_volume(next(iter(c.images.values()))).array[0].transpose(2, 1, 0).astype(np.uint16).tobytes()
        for c in manifest.cases
    }
    assert found == expected
    assert NAME.encode() not in _all_bytes(tmp_path / "out")


def test_a_broken_series_is_refused_with_its_true_reason_and_the_others_go_on(tmp_path: Path) -> None:
    _dicom_tree(tmp_path / "in")
    sorted((tmp_path / "in" / f"{NAME}_2" / "ct").iterdir())[1].unlink()
    report = _run(tmp_path / "in", tmp_path / "out")
    assert report.cases == 2
    assert "missing slices" in next(iter(_refused(tmp_path / "out").values()))


def test_masks_in_a_folder_of_their_own_are_found_by_the_series_folder_s_name(tmp_path: Path) -> None:
    for number in range(2):
        series = make_series((4, 5, 6), seed=number, patient=str(number))
        series.write(tmp_path / "in" / "dicom" / f"scan{number}")
        _label(tmp_path / "in" / "masks" / f"scan{number}_mask.nii.gz", affine=series.affine)
    assert _run(tmp_path / "in", tmp_path / "out").labelled == 2


def test_two_masks_that_fit_one_series_are_a_question_not_a_guess(tmp_path: Path) -> None:
    _dicom_tree(tmp_path / "in")
    folder = tmp_path / "in" / f"{NAME}_0"
    shutil.copy(folder / "lesions.nii.gz", folder / "lesions_second_reader.nii.gz")
    _run(tmp_path / "in", tmp_path / "out")
    assert "2 label maps fit" in next(iter(_refused(tmp_path / "out").values()))


def test_a_label_grid_within_tolerance_is_repaired_and_another_is_refused_with_both_described(tmp_path: Path) -> None:
    near, far = AFFINE.copy(), AFFINE.copy()
    near[0, 3] += 0.05
    far[0, 3] += 0.5
    for number, affine in enumerate((AFFINE, near, far)):
        _volume(tmp_path / "in" / "images" / f"{number}.nii.gz")
        _label(tmp_path / "in" / "labels" / f"{number}.nii.gz", affine=affine)
    report = _run(tmp_path / "in", tmp_path / "out")
    assert (report.cases, report.repaired) == (2, 1)
    reason = _refused(tmp_path / "out")["C0003"]
    assert reason.count("spacing 1 x 1 x 2 mm") == 2
    for case in read_manifest(tmp_path / "out" / "manifest.csv").cases:
        image = read_volume(next(iter(case.images.values())))
        assert read_label(case.label)[1].corner_distance(image.geometry) == 0.0


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda root: (root / "images" / "b.nii.gz").write_bytes(b"junk"), "truncated or damaged"),
        (lambda root: _nan(root / "images" / "b.nii.gz"), "NaN"),
        (lambda root: _label(root / "labels" / "b.nii.gz", values=(1, 7)), "holds 7"),
        (lambda root: _volume(root / "images" / "b.nii.gz", shape=(6, 5)), "different grids"),
        (lambda root: (root / "labels" / "b.nii.gz").unlink(), "no label map was found"),
    ],
)
def test_a_bad_case_is_refused_and_the_others_go_on(tmp_path: Path, damage, reason: str) -> None:
    root = tmp_path / "in"
    for name in "abc":
        _volume(root / "images" / f"{name}.nii.gz")
        _label(root / "labels" / f"{name}.nii.gz")
    damage(root)
    report = _run(root, tmp_path / "out", labels={1: "lesion"})
    assert report.cases == 2
    assert reason in _refused(tmp_path / "out")["C0002"]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2


def _nan(path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((6, 5, 4), np.nan, np.float32), AFFINE), path)


def test_a_volume_of_two_slices_is_taken(tmp_path: Path) -> None:
    for name in "ab":
        _volume(tmp_path / "in" / "images" / f"{name}.nii.gz", shape=(6, 5, 2))
        _label(tmp_path / "in" / "labels" / f"{name}.nii.gz", shape=(6, 5, 2))
    assert _run(tmp_path / "in", tmp_path / "out").cases == 2


def test_empty_label_maps_are_counted_and_only_empty_ones_are_an_error(tmp_path: Path) -> None:
    _pairs(tmp_path / "in")
    _label(tmp_path / "in" / "labels" / f"{NAME}_0.nii.gz", values=())
    assert _run(tmp_path / "in", tmp_path / "out").empty == 1
    for number in range(3):
        _label(tmp_path / "in" / "labels" / f"{NAME}_{number}.nii.gz", values=())
    with pytest.raises(RequestError, match="every label map is empty"):
        _run(tmp_path / "in", tmp_path / "out2")
    assert not (tmp_path / "out2" / "images").exists()


def test_a_second_run_copies_nothing_and_changes_nothing(tmp_path: Path) -> None:
    _pairs(tmp_path / "in")
    _run(tmp_path / "in", tmp_path / "out")
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (tmp_path / "out").rglob("*.[ncpy]*")}
    report = _run(tmp_path / "in", tmp_path / "out")
    assert report.reused == 3
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (tmp_path / "out").rglob("*.[ncpy]*")}


def test_ids_stay_when_cases_come_and_go(tmp_path: Path) -> None:
    _pairs(tmp_path / "in")
    _run(tmp_path / "in", tmp_path / "out")
    old = {case.sha256: case.case for case in read_manifest(tmp_path / "out" / "manifest.csv").cases}
    for folder in ("images", "labels"):
        (tmp_path / "in" / folder / f"{NAME}_0.nii.gz").unlink()
    _volume(tmp_path / "in" / "images" / "AAA.nii.gz", seed=9)
    _label(tmp_path / "in" / "labels" / "AAA.nii.gz")
    report = _run(tmp_path / "in", tmp_path / "out")
    new = {case.sha256: case.case for case in read_manifest(tmp_path / "out" / "manifest.csv").cases}
    assert report.reused == 2
    assert all(old[digest] == new[digest] for digest in old.keys() & new.keys())
    assert sorted(new.values()) == ["C0002", "C0003", "C0004"]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3


def test_another_data_set_is_not_mixed_in(tmp_path: Path) -> None:
    _pairs(tmp_path / "in")
    _run(tmp_path / "in", tmp_path / "out")
    _volume(tmp_path / "other" / "images" / "x.nii.gz", seed=77)
    _label(tmp_path / "other" / "labels" / "x.nii.gz", values=(1, 1))
    with pytest.raises(RequestError, match="other data"):
        _run(tmp_path / "other", tmp_path / "out")


def test_a_folder_that_another_import_writes_into_is_refused(tmp_path: Path) -> None:
    _pairs(tmp_path / "in")
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".medseg-import.lock"), pytest.raises(RunError, match="another import"):
        _run(tmp_path / "in", tmp_path / "out")


def test_nothing_to_import_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.txt").write_text("x")
    with pytest.raises(RequestError, match="found 1 other files"):
        _run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(RequestError, match="found none"):
        _run(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(RequestError, match="inside the source"):
        _run(tmp_path / "in", tmp_path / "in" / "out")


def test_names_are_kept_where_they_identify_nobody(tmp_path: Path) -> None:
    _patients(tmp_path / "in")
    _run(tmp_path / "in", tmp_path / "out", keep_names=True)
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert (manifest.cases[0].case, manifest.cases[0].patient) == (f"{NAME}_0_PET_image", f"{NAME}_0")


def test_a_turned_photograph_whose_mask_cannot_tell_is_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    for name in "ab":
        for folder in ("images", "masks"):
            (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(
            tmp_path / "in" / "images" / f"{name}.jpg", exif=exif if name == "a" else Image.Exif()
        )
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "in" / "masks" / f"{name}.png")
    assert _run(tmp_path / "in", tmp_path / "out").cases == 1
    assert "EXIF orientation" in _refused(tmp_path / "out")["C0001"]


def test_a_killed_import_leaves_nothing_half_written_and_goes_on(tmp_path: Path) -> None:
    for number in range(40):
        _volume(tmp_path / "in" / "images" / f"{number:02d}.nii.gz", seed=number, shape=(40, 40, 40))
        _label(tmp_path / "in" / "labels" / f"{number:02d}.nii.gz", shape=(40, 40, 40))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "medseg", "import", str(tmp_path / "in"), str(out), "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while len(list((out / "images").glob("C*"))) < 5 if (out / "images").is_dir() else True:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.csv").exists()
    for path in (out / "images").glob("C*"):
        assert read_volume(path).shape == (40, 40, 40)
    report = _run(tmp_path / "in", out)
    assert report.cases == 40
    assert report.reused >= 4
    assert not list(out.rglob("*.tmp"))
    assert [case.case for case in read_manifest(out / "manifest.csv").cases] == [f"C{n:04d}" for n in range(1, 41)]


def test_the_command_prints_counts_and_exits_3_when_something_was_refused(tmp_path: Path) -> None:
    _pairs(tmp_path / "in")
    (tmp_path / "in" / "images" / f"{NAME}_1.nii.gz").write_bytes(b"junk")
    command = [sys.executable, "-m", "medseg", "import", str(tmp_path / "in"), str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["cases"] == 2
    assert NAME not in done.stdout + done.stderr


def test_the_real_data_sets_are_recognised(test_data: Path, tmp_path: Path) -> None:
    report = _run(test_data / "sts_sarcoma", tmp_path / "sts", jobs=2)
    assert (report.layout, report.cases, report.patients, report.labelled) == ("a folder per patient", 36, 36, 36)
    report = _run(test_data / "ms_open_flair", tmp_path / "ms")
    assert (report.cases, report.labelled, report.refusals) == (2, 2, ())
    report = _run(test_data / "dicom_sts_rtstruct", tmp_path / "rt", choice=Choice(modality="PT"))
    manifest = read_manifest(tmp_path / "rt" / "manifest.csv")
    assert (report.cases, report.labelled) == (1, 1)
    nifti = read_volume(test_data / "dicom_sts_rtstruct" / "STS_008" / "nifti" / "PET_image.nii.gz")
    ours = read_volume(next(iter(manifest.cases[0].images.values())))
    assert ours.geometry.corner_distance(nifti.geometry) < 1e-2
    np.testing.assert_allclose(ours.array, nifti.array, rtol=1e-4, atol=1e-4)
