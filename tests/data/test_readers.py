"""Readers of single files, against nibabel, SimpleITK and Pillow."""

from __future__ import annotations

import contextlib
import gzip
import struct
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from medseg.data.nifti import save_nifti
from medseg.data.pictures import save_png
from medseg.data.readers import read_geometry, read_label, read_volume
from medseg.errors import DataError, GeometryError, LabelError, ReadError
from tests.examples import examples

AFFINE = np.array([[0.0, -1.5, 0.0, 12.0], [0.8, 0.0, 0.1, -7.0], [0.0, 0.2, 3.0, 40.0], [0.0, 0.0, 0.0, 1.0]])
VOXELS = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)


def _nifti(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE, **header: object) -> Path:
    image = nib.Nifti1Image(array, affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_nifti_keeps_values_and_place(tmp_path: Path, name: str) -> None:
    volume = read_volume(_nifti(tmp_path / name, VOXELS))
    np.testing.assert_array_equal(volume.array[0], VOXELS)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-6)
    assert read_geometry(tmp_path / name).corner_distance(volume.geometry) == 0.0


def test_the_slope_of_a_nifti_is_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "a.nii.gz")
    stored = nib.load(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").array[0], stored.get_fdata(), atol=1e-6)


def test_a_fourth_axis_becomes_channels_and_a_fifth_is_refused(tmp_path: Path) -> None:
    four = np.stack([VOXELS, 2 * VOXELS], axis=-1)
    volume = read_volume(_nifti(tmp_path / "a.nii.gz", four))
    np.testing.assert_array_equal(volume.array[1], 2 * VOXELS)
    assert len(volume.channels) == 2
    _nifti(tmp_path / "b.nii.gz", np.stack([four, four], axis=-1))
    with pytest.raises(GeometryError, match="found 5 axes"):
        read_volume(tmp_path / "b.nii.gz")


def test_units_other_than_millimetres_are_converted(tmp_path: Path) -> None:
    image = nib.Nifti1Image(VOXELS, np.diag([0.001, 0.001, 0.002, 1.0]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_allclose(read_volume(tmp_path / "a.nii.gz").spacing, (1.0, 1.0, 2.0), rtol=1e-5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(tmp_path: Path, value: float) -> None:
    bad = VOXELS.copy()
    bad[1, 2, 3] = value
    with pytest.raises(ReadError, match="NaN"):
        read_volume(_nifti(tmp_path / "a.nii.gz", bad))
    sitk.WriteImage(sitk.GetImageFromArray(bad), str(tmp_path / "a.nrrd"))
    with pytest.raises(ReadError, match="NaN"):
        read_volume(tmp_path / "a.nrrd")


def test_a_nifti_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = _nifti(tmp_path / "a.nii.gz", VOXELS).read_bytes()
    plain = _nifti(tmp_path / "a.nii", VOXELS).read_bytes()
    for name, content in (("b.nii.gz", whole), ("b.nii", plain)):
        for length in (0, 10, 200, 400, len(content) // 2, len(content) - 9):
            (tmp_path / name).write_bytes(content[:length])
            with pytest.raises(DataError):
                read_volume(tmp_path / name)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 351), value=st.integers(0, 255))
@example(place=123, value=4)
def test_a_nifti_with_a_changed_header_is_read_or_refused(tmp_path: Path, place: int, value: int) -> None:
    path = tmp_path / "a.nii"
    if not path.exists():
        _nifti(path, VOXELS)
    content = bytearray(path.read_bytes())
    content[place] = value
    (tmp_path / "b.nii").write_bytes(content)
    with contextlib.suppress(DataError):
        read_volume(tmp_path / "b.nii")


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header.set_data_shape((32000, 32000, 2))
    header.set_data_dtype(np.uint8)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + b"\0" * 4))
    with pytest.raises(ReadError, match="truncated"):
        read_volume(tmp_path / "a.nii.gz")


def _sitk_image() -> sitk.Image:
    image = sitk.GetImageFromArray(VOXELS.transpose(2, 1, 0))
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-11.0, 22.0, 33.0))
    image.SetDirection((0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    return image


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".mhd", ".nii.gz"])
def test_every_format_puts_a_voxel_where_simpleitk_puts_it(tmp_path: Path, ending: str) -> None:
    image = _sitk_image()
    sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
    volume = read_volume(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(volume.array[0], VOXELS)
    for index in ((0, 0, 0), (4, 5, 6), (1, 0, 3)):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        ras = (volume.affine @ [*index, 1])[:3]
        np.testing.assert_allclose(ras, lps * (-1, -1, 1), atol=1e-4)
    assert read_geometry(tmp_path / f"a{ending}").corner_distance(volume.geometry) < 1e-6


def test_nrrd_components_and_a_fourth_axis_are_channels(tmp_path: Path) -> None:
    both = np.stack([VOXELS, VOXELS + 1], axis=-1).transpose(2, 1, 0, 3)
    sitk.WriteImage(sitk.GetImageFromArray(both, isVector=True), str(tmp_path / "a.nrrd"))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array[1], VOXELS + 1)
    sitk.WriteImage(sitk.JoinSeries([_sitk_image(), _sitk_image() + 1]), str(tmp_path / "b.nrrd"))
    volume = read_volume(tmp_path / "b.nrrd")
    assert volume.shape == VOXELS.shape
    np.testing.assert_array_equal(volume.array[1], VOXELS + 1)


def test_a_truncated_nrrd_is_refused(tmp_path: Path) -> None:
    sitk.WriteImage(_sitk_image(), str(tmp_path / "a.nrrd"))
    content = (tmp_path / "a.nrrd").read_bytes()
    for length in (0, 40, len(content) - 100):
        (tmp_path / "b.nrrd").write_bytes(content[:length])
        with pytest.raises(ReadError):
            read_volume(tmp_path / "b.nrrd")


RGB = np.random.default_rng(1).integers(0, 256, (4, 6, 3)).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_a_picture_has_column_then_row(tmp_path: Path, name: str) -> None:
    Image.fromarray(RGB).save(tmp_path / name)
    volume = read_volume(tmp_path / name)
    np.testing.assert_array_equal(volume.array, RGB.transpose(2, 1, 0))
    assert (volume.shape, volume.modality, volume.channels) == ((6, 4), "DERMOSCOPY", ("red", "green", "blue"))
    assert read_geometry(tmp_path / name).shape == (6, 4)


def test_a_jpeg_is_taken_as_stored_even_if_exif_turns_it(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
    volume = read_volume(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(volume.array, np.asarray(image).transpose(2, 1, 0))
    assert "orientation" in volume.notes[0]


def test_grey_of_16_bits_keeps_its_bits(tmp_path: Path) -> None:
    grey = np.arange(0, 60000, 2500, dtype=np.uint16).reshape(4, 6)
    Image.fromarray(grey).save(tmp_path / "a.png")
    volume = read_volume(tmp_path / "a.png")
    assert volume.array.dtype == np.uint16
    np.testing.assert_array_equal(volume.array[0], grey.T)


def test_palette_and_transparency_become_colours(tmp_path: Path) -> None:
    Image.fromarray(RGB).quantize(8).save(tmp_path / "p.png")
    assert read_volume(tmp_path / "p.png").array.shape == (3, 6, 4)
    Image.fromarray(np.dstack([RGB, RGB[..., :1]])).save(tmp_path / "a.png")
    volume = read_volume(tmp_path / "a.png")
    np.testing.assert_array_equal(volume.array, RGB.transpose(2, 1, 0))
    assert volume.notes == ("transparency dropped",)


def test_a_picture_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 65536, 65536, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(ReadError, match=r"claims more|too large"):
        read_volume(tmp_path / "a.png")


def test_a_truncated_picture_and_a_stack_of_pages_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.tile(RGB, (20, 20, 1))).save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ReadError, match="truncated"):
        read_volume(tmp_path / "b.png")
    page = Image.fromarray(RGB)
    page.save(tmp_path / "c.tif", save_all=True, append_images=[page])
    with pytest.raises(ReadError, match="several pages"):
        read_volume(tmp_path / "c.tif")


MASK = np.array([[0, 1, 1], [0, 0, 1]], dtype=np.uint8)


@pytest.mark.parametrize("values", [MASK, MASK * 255])
def test_a_drawn_mask_is_0_and_1(tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([values] * 3)).save(tmp_path / "b.png")
    Image.fromarray(values.astype(bool)).save(tmp_path / "c.png")
    Image.fromarray(values).save(tmp_path / "d.tif")
    for name in ("a.png", "b.png", "c.png", "d.tif"):
        label, geometry = read_label(tmp_path / name)
        np.testing.assert_array_equal(label, MASK.T)
        assert label.dtype == np.uint8
        assert geometry.shape == (3, 2)


def test_a_single_label_of_a_multi_class_map_keeps_its_value(tmp_path: Path) -> None:
    Image.fromarray(MASK * 2).save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.unique(read_label(tmp_path / "a.png")[0]), [0, 2])


def test_palette_indices_are_labels(tmp_path: Path) -> None:
    image = Image.fromarray(MASK * 3).convert("P")
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image = Image.fromarray(MASK * 3, mode="P") if image.mode != "P" else image
    image.save(tmp_path / "a.png")
    assert set(np.unique(read_label(tmp_path / "a.png")[0])) == {0, 3}


def test_fractions_negative_values_colours_and_jpeg_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="fractions"):
        read_label(_nifti(tmp_path / "a.nii.gz", np.full((2, 2, 2), 0.5, np.float32)))
    with pytest.raises(LabelError, match="0 to 65535"):
        read_label(_nifti(tmp_path / "b.nii.gz", np.full((2, 2, 2), -1, np.int16)))
    Image.fromarray(RGB).save(tmp_path / "c.png")
    with pytest.raises(ReadError, match="colours"):
        read_label(tmp_path / "c.png")
    Image.fromarray(MASK).save(tmp_path / "d.jpg")
    with pytest.raises(ReadError, match="JPEG"):
        read_label(tmp_path / "d.jpg")


def test_a_label_map_in_floats_is_whole(tmp_path: Path) -> None:
    values = np.array([[[0.0, 1.0], [2.0, 0.0]]], dtype=np.float64)
    label, geometry = read_label(_nifti(tmp_path / "a.nii.gz", values))
    np.testing.assert_array_equal(label, values.astype(int))
    np.testing.assert_allclose(geometry.affine, AFFINE, atol=1e-6)


def test_unknown_and_missing_files_say_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_bytes(b"hello")
    with pytest.raises(ReadError, match="unknown format"):
        read_volume(tmp_path / "a.xyz")
    with pytest.raises(ReadError, match="found none"):
        read_volume(tmp_path / "nothing.nii.gz")
    with pytest.raises(ReadError, match="it is empty"):
        read_volume(_folder(tmp_path / "empty"))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    dtype=st.sampled_from([np.uint8, np.int16, np.int32, np.uint16, np.float32]),
    seed=st.integers(0, 1000),
)
def test_saving_and_reading_a_volume_changes_nothing(tmp_path: Path, shape: tuple[int, ...], dtype, seed: int) -> None:
    generator = np.random.default_rng(seed)
    array = generator.integers(0, 200, shape).astype(dtype)
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(generator.normal(size=(3, 3)))[0] * generator.uniform(0.3, 5, 3)
    affine[:3, 3] = generator.uniform(-100, 100, 3)
    save_nifti(array, affine, tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array[0], array)
    assert volume.array.dtype == dtype
    np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
    assert nib.load(tmp_path / "a.nii.gz").header["descrip"].item() == b""


def test_a_saved_png_is_the_picture_again(tmp_path: Path) -> None:
    save_png(RGB.transpose(2, 1, 0), tmp_path / "a.png")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png").array, RGB.transpose(2, 1, 0))


def _bare_nrrd(path: Path, *fields: str) -> Path:
    head = ("NRRD0005", "type: uchar", "dimension: 3", "sizes: 4 3 2", "encoding: raw", *fields, "", "")
    path.write_bytes("\n".join(head).encode() + bytes(range(24)))
    return path


def _bare_meta_image(path: Path, *fields: str) -> Path:
    head = ("ObjectType = Image", "NDims = 3", "BinaryData = True", "DimSize = 4 3 2", *fields)
    path.write_bytes("\n".join((*head, "ElementType = MET_UCHAR", "ElementDataFile = LOCAL", "")).encode() + bytes(24))
    return path


@pytest.mark.parametrize(("unit", "size"), [("um", 1000), ("mm", 1), ("cm", 0.1), ("m", 0.001)])
def test_the_unit_of_length_of_a_header_counts(tmp_path: Path, unit: str, size: float) -> None:
    directions = f"space directions: ({size},0,0) (0,{2 * size},0) (0,0,{3 * size})"
    place = f"space origin: ({4 * size},0,0)"
    one = _bare_nrrd(tmp_path / "a.nrrd", "space: RAS", directions, place, "space units:" + f' "{unit}"' * 3)
    two = _bare_meta_image(
        tmp_path / "a.mha", f"DistanceUnits = {unit}", f"ElementSpacing = {size} {2 * size} {3 * size}"
    )
    np.testing.assert_allclose(read_volume(one).affine, [[1, 0, 0, 4], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]])
    assert read_volume(two).spacing == pytest.approx((1, 2, 3))
    assert read_geometry(two).spacing == pytest.approx((1, 2, 3))


def test_units_that_nobody_can_tell_and_values_that_a_header_scales_are_refused(tmp_path: Path) -> None:
    for units in ('"inch" "inch" "inch"', '"mm" "mm" "um"'):
        with pytest.raises(ReadError, match="the same unit of length along all axes"):
            read_volume(_bare_nrrd(tmp_path / "a.nrrd", "space: RAS", f"space units: {units}"))
    assert read_volume(_bare_nrrd(tmp_path / "a.nrrd", 'units: "mm" "mm" "s"')).spacing == (1, 1, 1)
    with pytest.raises(ReadError, match="the header scales the values"):
        read_volume(_bare_meta_image(tmp_path / "a.mha", "ElementToIntensityFunctionSlope = 2"))
    assert read_volume(_bare_meta_image(tmp_path / "a.mha", "ElementToIntensityFunctionSlope = 1.0")).shape == (4, 3, 2)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-left-handed", ""])
def test_axes_that_a_header_does_not_name_are_told(tmp_path: Path, space: str) -> None:
    (note,) = read_volume(_bare_nrrd(tmp_path / "a.nrrd", *([f"space: {space}"] if space else []))).notes
    assert note == "the header names no patient axes: taken as left, posterior, superior"
    assert read_volume(_bare_nrrd(tmp_path / "b.nrrd", "space: left-posterior-superior")).notes == ()
