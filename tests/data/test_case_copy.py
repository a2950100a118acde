"""One case: image and label map are checked against each other, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label, read_volume
from tests.data.import_factory import (
    AFFINE,
    refused,
    run_import,
    write_label,
    write_volume,
)


def test_a_label_grid_within_tolerance_is_repaired_and_another_is_refused_with_both_described(tmp_path: Path) -> None:
    near, far = AFFINE.copy(), AFFINE.copy()
    near[0, 3] += 0.05
    far[0, 3] += 0.5
    for number, affine in enumerate((AFFINE, near, far)):
        write_volume(tmp_path / "in" / "images" / f"{number}.nii.gz")
        write_label(tmp_path / "in" / "labels" / f"{number}.nii.gz", affine=affine)
    report = run_import(tmp_path / "in", tmp_path / "out")
    assert (report.cases, report.repaired) == (2, 1)
    reason = refused(tmp_path / "out")["C0003"]
    assert reason.count("spacing 1 x 1 x 2 mm") == 2
    for case in read_manifest(tmp_path / "out" / "manifest.csv").cases:
        image = read_volume(next(iter(case.images.values())))
        assert read_label(case.label)[1].corner_distance(image.geometry) == 0.0


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda root: (root / "images" / "b.nii.gz").write_bytes(b"junk"), "truncated or damaged"),
        (lambda root: _nan(root / "images" / "b.nii.gz"), "NaN"),
        (lambda root: write_label(root / "labels" / "b.nii.gz", values=(1, 7)), "holds 7"),
        (lambda root: write_volume(root / "images" / "b.nii.gz", shape=(6, 5)), "different grids"),
        (lambda root: (root / "labels" / "b.nii.gz").unlink(), "no label map was found"),
    ],
)
def test_a_bad_case_is_refused_and_the_others_go_on(tmp_path: Path, damage, reason: str) -> None:
    root = tmp_path / "in"
    for name in "abc":
        write_volume(root / "images" / f"{name}.nii.gz")
        write_label(root / "labels" / f"{name}.nii.gz")
    damage(root)
    report = run_import(root, tmp_path / "out", labels={1: "lesion"})
    assert report.cases == 2
    assert reason in refused(tmp_path / "out")["C0002"]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 2


def _nan(path: Path) -> None:
    nib.save(nib.Nifti1Image(np.full((6, 5, 4), np.nan, np.float32), AFFINE), path)


def test_a_volume_of_two_slices_is_taken(tmp_path: Path) -> None:
    for name in "ab":
        write_volume(tmp_path / "in" / "images" / f"{name}.nii.gz", shape=(6, 5, 2))
        write_label(tmp_path / "in" / "labels" / f"{name}.nii.gz", shape=(6, 5, 2))
    assert run_import(tmp_path / "in", tmp_path / "out").cases == 2


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
    assert run_import(tmp_path / "in", tmp_path / "out").cases == 1
    assert "EXIF orientation" in refused(tmp_path / "out")["C0001"]
