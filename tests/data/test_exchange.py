from __future__ import annotations

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.exchange import copy_bare
from medseg.errors import ReadError
from tests.data.cohort import picture_cohort, volume_cohort


def _convert(*arguments: object) -> None:
    done = CliRunner().invoke(app, ["manifest", "convert", *map(str, arguments)])
    assert done.exit_code == 0, done.output


def test_a_picture_that_is_handed_on_keeps_its_pixels_and_nothing_else(tmp_path: Path) -> None:
    manifest = picture_cohort(tmp_path / "a")
    own = next(iter(manifest.cases[0].images.values()))
    exif = Image.Exif()
    exif[0x013B] = "Jana Novakova"
    with Image.open(own) as picture:
        picture.save(own, exif=exif, comment="Jana Novakova", quality="keep")
    pixels = np.asarray(Image.open(own))
    assert b"Novakova" in own.read_bytes()
    _convert(manifest.path, tmp_path / "b", "--to", "coco")
    _convert(tmp_path / "b", tmp_path / "c", "--from", "coco")
    for folder in "bc":
        (copy,) = (tmp_path / folder / "images").glob(f"{manifest.cases[0].case}.*")
        assert b"Novakova" not in copy.read_bytes()
        np.testing.assert_array_equal(np.asarray(Image.open(copy)), pixels)


def test_a_volume_of_another_tool_leaves_its_descriptions_behind(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path / "a", cases=2)
    _convert(manifest.path, tmp_path / "b", "--to", "nnunet")
    before = {}
    for path in (tmp_path / "b").rglob("*.nii.gz"):
        image = nibabel.load(path)
        image.header["descrip"] = b"Jana Novakova"
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"Novakova"))
        nibabel.save(image, path)
        before[path.name.replace("_0000", "")] = image.affine
        assert b"Novakova" in gzip.decompress(path.read_bytes())
    _convert(tmp_path / "b", tmp_path / "c", "--from", "nnunet")
    copies = list((tmp_path / "c").rglob("*.nii.gz"))
    assert len(copies) == 4
    for copy in copies:
        assert b"Novakova" not in gzip.decompress(copy.read_bytes())
        np.testing.assert_array_equal(nibabel.load(copy).affine, before[copy.name])


def test_a_mask_is_copied_bit_for_bit(tmp_path: Path) -> None:
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(mask).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(np.asarray(Image.open(copy_bare(tmp_path / "mask.png", tmp_path / "b.png"))), mask)


@pytest.mark.parametrize("name", ["a.mhd", "a.nhdr"])
def test_a_header_whose_voxels_lie_in_another_file_is_told_from_a_damaged_one(tmp_path: Path, name: str) -> None:
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkInt16), str(tmp_path / name))
    with pytest.raises(ReadError, match="whose voxels lie in another one"):
        copy_bare(tmp_path / name, tmp_path / f"copy{name}")
