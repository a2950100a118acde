from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from medseg.data.leakage import (
    Pair,
    find_duplicates,
    find_leaks,
    parse_pairs,
    read_acknowledged,
    refuse_leaks,
    write_acknowledged,
)
from medseg.data.manifest import Card, Case, Manifest
from medseg.data.split import Folds, Split
from medseg.errors import LeakageError, ManifestError
from tests.data.cohort import SKIN_CARD, picture_cohort, save_nifti, volume_cohort


def with_copy(manifest: Manifest, path: Path) -> Manifest:
    """The manifest and one more case of another patient, whose image is `path`."""
    first = manifest.cases[0]
    copy = replace(first, case="copy", patient="other", images=dict.fromkeys(first.images, path))
    return replace(manifest, cases=(*manifest.cases, copy))


def halves(manifest: Manifest) -> Folds:
    """Two folds: the last case alone, and the others."""
    names = tuple(case.case for case in manifest.cases)
    parts = (names[:-1], names[-1:])
    splits = [Split(repeat=0, fold=k, training=parts[1 - k], validation=(), test=parts[k]) for k in (0, 1)]
    return Folds(splits=tuple(splits), kind="kfold")


def test_different_pictures_and_volumes_are_not_suspected(tmp_path: Path) -> None:
    assert find_duplicates(picture_cohort(tmp_path / "p", cases=8)) == ()
    assert find_duplicates(volume_cohort(tmp_path / "v", cases=8)) == ()


def test_a_copied_file_is_the_same_bytes_and_leaks(tmp_path: Path) -> None:
    manifest = picture_cohort(tmp_path)
    copied = with_copy(manifest, shutil.copy(tmp_path / "images" / "S000.jpg", tmp_path / "images" / "copy.jpg"))
    (pair,) = find_duplicates(copied, jobs=2)
    assert pair == Pair(first="S000", second="copy", reason="same bytes", similarity=1.0)
    leaks = find_leaks(halves(copied), copied, [pair])
    with pytest.raises(LeakageError, match="S000 and copy: same bytes") as caught:
        refuse_leaks(leaks)
    assert caught.value.exit_status == 2
    refuse_leaks(leaks, acknowledged=parse_pairs(["copy:S000"], copied))


def test_the_same_pixels_in_another_file_are_found(tmp_path: Path) -> None:
    manifest = picture_cohort(tmp_path)
    Image.open(tmp_path / "images" / "S000.jpg").save(tmp_path / "images" / "copy.png")
    (pair,) = find_duplicates(with_copy(manifest, tmp_path / "images" / "copy.png"))
    assert pair.reason == "same pixels"


CHANGES = {
    "recompressed": lambda image: image,
    "smaller": lambda image: image.resize((64, 48)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "cropped a little": lambda image: image.crop((3, 2, 93, 70)),
    "cropped": lambda image: image.crop((7, 5, 89, 67)),
    "turned by 4 degrees": lambda image: image.rotate(4, Image.Resampling.BILINEAR),
    "turned by 9 degrees": lambda image: image.rotate(-9, Image.Resampling.BILINEAR),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_picture_is_a_near_duplicate(tmp_path: Path, change: str) -> None:
    manifest = picture_cohort(tmp_path)
    with Image.open(tmp_path / "images" / "S000.jpg") as image:
        CHANGES[change](image).save(tmp_path / "images" / "copy.jpg", quality=60)
    (pair,) = find_duplicates(with_copy(manifest, tmp_path / "images" / "copy.jpg"))
    assert (pair.first, pair.second, pair.reason) == ("S000", "copy", "near-duplicate picture")
    assert 0.97 < pair.similarity <= 1


def test_a_rescaled_cropped_or_reoriented_volume_is_a_near_duplicate(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path)
    original = nibabel.load(tmp_path / "images" / "C0003.nii.gz")
    voxels = np.asarray(original.dataobj)
    path = tmp_path / "images" / "copy.nii.gz"
    changed = {
        "other units": (np.round(voxels * 3 + 1000).astype(np.int16), original.affine),
        "finer grid": (np.kron(voxels, np.ones((2, 2, 2), np.float32)), original.affine @ np.diag([0.5, 0.5, 0.5, 1])),
        "axes turned": (voxels[::-1].swapaxes(0, 2).copy(), original.affine[:, [2, 1, 0, 3]] @ np.diag([1, 1, -1, 1])),
    }
    for array, affine in changed.values():
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
        pairs = [pair for pair in find_duplicates(with_copy(manifest, path)) if "copy" in pair.key]
        assert [pair.first for pair in pairs] == ["C0003"]


@pytest.mark.parametrize("kept", [0.9, 0.6])
def test_a_volume_that_was_cropped_anywhere_shares_voxels_with_the_whole(tmp_path: Path, kept: float) -> None:
    manifest = volume_cohort(tmp_path)
    rng = np.random.default_rng(3)
    whole = np.round(rng.normal(100, 30, size=(30, 28, 26))).astype(np.int16)
    first = replace(manifest.cases[0], case="whole", patient="one", images={"CT": tmp_path / "whole.nii.gz"})
    nibabel.save(nibabel.Nifti1Image(whole, np.eye(4)), tmp_path / "whole.nii.gz")
    corner = whole[tuple(slice(size - round(kept * size), size) for size in whole.shape)]
    changed = (corner[::-1].swapaxes(0, 2) * np.float32(0.37) + 11).astype(np.float32)
    for name, array in (("corner", corner), ("changed", changed)):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
        other = replace(first, case=name, patient="other", images={"CT": tmp_path / f"{name}.nii.gz"})
        card = Card(title="t", channels=("CT",))
        pairs = find_duplicates(replace(manifest, cases=(first, other), card=card))
        assert [(pair.key, pair.reason) for pair in pairs] == [(tuple(sorted((name, "whole"))), "same voxels in part")]
        with pytest.raises(LeakageError, match=r"same voxels in part \(\d+% of those that are remembered\)"):
            refuse_leaks(pairs)


def test_flat_images_are_not_all_one_picture(tmp_path: Path) -> None:
    cases = []
    for number in range(3):
        path = save_nifti(np.full((6, 6, 6), number, dtype=np.float32), tmp_path / f"{number}.nii.gz")
        cases.append(Case(case=f"C{number}", patient=f"P{number}", images={"CT": path}))
    manifest = Manifest(path=tmp_path / "m.csv", cases=tuple(cases), card=Card(title="t", channels=("CT",)))
    assert find_duplicates(manifest) == ()


def test_one_patient_on_both_sides_cannot_be_acknowledged() -> None:
    cases = tuple(Case(case=f"C{n}", patient="P", images={"image": Path("/x")}) for n in range(2))
    manifest = Manifest(path=Path("/x.csv"), cases=cases, card=SKIN_CARD)
    leaks = find_leaks(halves(manifest), manifest, ())
    with pytest.raises(LeakageError, match="C0 and C1: same patient"):
        refuse_leaks(leaks, acknowledged=[("C0", "C1")])


def test_a_pair_in_one_fold_is_no_leak() -> None:
    cases = tuple(Case(case=f"C{n}", patient=f"P{n}", images={"image": Path("/x")}) for n in range(3))
    manifest = Manifest(path=Path("/x.csv"), cases=cases, card=SKIN_CARD)
    pair = Pair(first="C0", second="C1", reason="same pixels", similarity=1.0)
    assert find_leaks(halves(manifest), manifest, [pair]) == ()


def test_acknowledged_pairs_are_recorded_beside_the_folds(tmp_path: Path) -> None:
    folds = tmp_path / "m.folds.csv"
    pair = Pair(first="C0", second="C1", reason="same pixels", similarity=1.0)
    assert read_acknowledged(folds) == ()
    write_acknowledged(folds, [pair])
    assert (tmp_path / "m.folds.acknowledged.csv").exists()
    assert read_acknowledged(folds) == (("C0", "C1"),)
    write_acknowledged(folds, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["C0", "C0:C0", "C0:JaneDoe", "C0:C1:C2"])
def test_a_wrong_pair_is_refused_by_number(text: str) -> None:
    cases = tuple(Case(case=f"C{n}", patient=f"P{n}", images={"image": Path("/x")}) for n in range(3))
    manifest = Manifest(path=Path("/x.csv"), cases=cases, card=SKIN_CARD)
    with pytest.raises(ManifestError, match="pair 1") as caught:
        parse_pairs([text], manifest)
    assert "Jane" not in str(caught.value)


def test_no_two_real_lesions_or_hippocampi_are_suspected(test_data: Path) -> None:
    skin = sorted((test_data / "isic2017" / "images").glob("*.jpg"))[::2]
    crops = sorted((test_data / "msd_hippocampus" / "images").glob("*.nii.gz"))
    for paths, card in ((skin, SKIN_CARD), (crops, Card(title="t", channels=("T1",)))):
        key = "image" if card is SKIN_CARD else "T1"
        cases = tuple(Case(case=f"C{n}", patient=f"P{n}", images={key: path}) for n, path in enumerate(paths))
        assert find_duplicates(Manifest(path=test_data / "m.csv", cases=cases, card=card), jobs=2) == ()
