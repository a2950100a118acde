"""Every kind of pixel that DICOM allows, written by hand and compared with the closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from medseg.data.dicom import read_series
from medseg.data.readers import read_volume
from medseg.errors import ReadError
from tests.data.dicom_factory import Series, make_enhanced, make_series, set_pixels

RNG = np.random.default_rng(7)
COLOURS = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)


def _write(series: Series, folder: Path, syntax: pydicom.uid.UID | None = None) -> list[Path]:
    if syntax is None:
        return series.write(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, data in enumerate(series.slices):
        data.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            words = np.frombuffer(data.PixelData, dtype=f"<u{data.BitsAllocated // 8}")
            data.PixelData = words.astype(words.dtype.newbyteorder(">")).tobytes()
        paths.append(folder / f"{number}.dcm")
        implicit = syntax == ImplicitVRLittleEndian
        little = syntax != ExplicitVRBigEndian
        pydicom.dcmwrite(paths[-1], data, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return paths


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32])
def test_every_integer_pixel_keeps_its_value(tmp_path: Path, dtype: type, syntax: pydicom.uid.UID | None) -> None:
    limits = np.iinfo(dtype)
    voxels = RNG.integers(limits.min, limits.max, (2, 4, 6), endpoint=True, dtype=dtype)
    voxels.flat[:2] = limits.min, limits.max
    volume = read_series(_write(Series(voxels=voxels), tmp_path, syntax))
    np.testing.assert_array_equal(volume.array[0], voxels.transpose(2, 1, 0))


@pytest.mark.parametrize(("stored", "signed"), [(12, False), (12, True), (10, False), (15, True), (1, False)])
@pytest.mark.parametrize("syntax", [None, ExplicitVRBigEndian])
def test_bits_above_those_stored_do_not_count(
    tmp_path: Path, stored: int, signed: bool, syntax: pydicom.uid.UID | None
) -> None:
    low = -(1 << (stored - 1)) if signed else 0
    voxels = RNG.integers(low, low + (1 << stored), (2, 4, 6))
    noise = RNG.integers(0, 1 << (16 - stored), voxels.shape) << stored
    words = ((voxels & ((1 << stored) - 1)) | noise).astype(np.uint16)
    series = Series(voxels=words)
    for data in series.slices:
        data.BitsStored, data.HighBit, data.PixelRepresentation = stored, stored - 1, int(signed)
    volume = read_series(_write(series, tmp_path, syntax))
    np.testing.assert_array_equal(volume.array[0], voxels.transpose(2, 1, 0))


@pytest.mark.parametrize(("keyword", "bits"), [("FloatPixelData", 32), ("DoubleFloatPixelData", 64)])
def test_floating_point_pixels_are_read_and_rescaled(tmp_path: Path, keyword: str, bits: int) -> None:
    values = RNG.normal(size=(2, 4, 6)).astype(f"f{bits // 8}")
    series = make_series((2, 4, 6))
    for data, plane in zip(series.slices, values, strict=True):
        del data.PixelData, data.BitsStored, data.HighBit, data.PixelRepresentation
        data.BitsAllocated, data.RescaleSlope, data.RescaleIntercept = bits, 2, 1
        setattr(data, keyword, plane.tobytes())
    volume = read_series(series.write(tmp_path))
    np.testing.assert_allclose(volume.array[0], 2 * values.transpose(2, 1, 0) + 1, rtol=1e-6, atol=1e-6)


def test_one_bit_pixels_are_unpacked(tmp_path: Path) -> None:
    mask = RNG.integers(0, 2, (1, 6, 9)).astype(np.uint8)
    series = Series(voxels=mask, extra={"Modality": "OT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.1"})
    data = series.slices[0]
    packed = np.packbits(mask.ravel(), bitorder="little").tobytes()
    data.BitsAllocated = data.BitsStored = 1
    data.HighBit, data.PixelData = 0, packed + b"\0" * (len(packed) % 2)
    np.testing.assert_array_equal(read_series(series.write(tmp_path)).array[0], mask[0].T)


def _photograph(pixels: np.ndarray, photometric: str = "RGB", **facts: object) -> Series:
    series = make_series((1, 6, 8), extra={"Modality": "XC"})
    set_pixels(series.slices[0], pixels)
    series.slices[0].PhotometricInterpretation = photometric
    for keyword, value in facts.items():
        setattr(series.slices[0], keyword, value)
    return series


def test_planar_configuration_changes_nothing(tmp_path: Path) -> None:
    by_plane = COLOURS.transpose(2, 0, 1).tobytes()
    series = _photograph(COLOURS, PlanarConfiguration=1, PixelData=by_plane)
    np.testing.assert_array_equal(read_series(series.write(tmp_path)).array, COLOURS.transpose(2, 1, 0))


def test_sixteen_bit_colours_keep_their_values(tmp_path: Path) -> None:
    colours = RNG.integers(0, 65536, (6, 8, 3)).astype(np.uint16)
    volume = read_series(_photograph(colours).write(tmp_path))
    np.testing.assert_array_equal(volume.array, colours.transpose(2, 1, 0))


def _to_ybr(rgb: np.ndarray) -> np.ndarray:
    """Full-range ITU-R BT.601, as PS3.3 section C.7.6.3.1.2 writes it."""
    red, green, blue = np.moveaxis(rgb.astype(float), -1, 0)
    luma = 0.2990 * red + 0.5870 * green + 0.1140 * blue
    planes = [luma, -0.1687 * red - 0.3313 * green + 0.5 * blue + 128, 0.5 * red - 0.4187 * green - 0.0813 * blue + 128]
    return np.clip(np.rint(np.stack(planes, axis=-1)), 0, 255).astype(np.uint8)


def test_ybr_full_becomes_rgb(tmp_path: Path) -> None:
    volume = read_series(_photograph(_to_ybr(COLOURS), "YBR_FULL").write(tmp_path))
    assert np.abs(volume.array.astype(int) - COLOURS.transpose(2, 1, 0)).max() <= 2


def test_ybr_full_422_becomes_rgb(tmp_path: Path) -> None:
    flat = np.repeat(COLOURS[:, ::2], 2, axis=1)
    ybr = _to_ybr(flat)
    packed = np.stack([ybr[:, ::2, 0], ybr[:, 1::2, 0], ybr[:, ::2, 1], ybr[:, ::2, 2]], axis=-1)
    series = _photograph(flat, "YBR_FULL_422", PixelData=packed.tobytes())
    volume = read_series(series.write(tmp_path))
    assert np.abs(volume.array.astype(int) - flat.transpose(2, 1, 0)).max() <= 2


@pytest.mark.parametrize("photometric", ["YBR_PARTIAL_420", "HSV", "MADE UP"])
def test_colours_that_nothing_converts_are_refused_not_guessed(tmp_path: Path, photometric: str) -> None:
    with pytest.raises(ReadError, match="photometric interpretation") as refusal:
        read_series(_photograph(COLOURS, photometric).write(tmp_path))
    assert "MADE UP" not in str(refusal.value)


def test_four_samples_are_refused(tmp_path: Path) -> None:
    series = _photograph(COLOURS, "ARGB", SamplesPerPixel=4, PixelData=bytes(6 * 8 * 4))
    with pytest.raises(ReadError, match="4 samples"):
        read_series(series.write(tmp_path))


def _palette(segmented: bool, bits: int) -> tuple[Series, np.ndarray]:
    indices = RNG.integers(0, 4, (1, 6, 8)).astype(np.uint8)
    series = Series(voxels=indices, extra={"Modality": "US"})
    data = series.slices[0]
    data.PhotometricInterpretation = "PALETTE COLOR"
    ramps = np.array([[0, 1, 2, 3], [3, 2, 1, 0], [1, 1, 1, 1]]) * (60 if bits == 8 else 60 * 257)
    for name, ramp in zip(("Red", "Green", "Blue"), ramps, strict=True):
        setattr(data, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 16])
        if segmented:
            words = [0, 1, int(ramp[0]), 1, 3, int(ramp[3])]  # One value, then a line of three to the last.
            keyword = f"Segmented{name}PaletteColorLookupTableData"
        else:
            words, keyword = [int(v) for v in ramp], f"{name}PaletteColorLookupTableData"
        setattr(data, keyword, np.array(words, dtype="<u2").tobytes())
    return series, (ramps[:, indices[0]] // (257 if bits == 16 else 1)).astype(int)


@pytest.mark.parametrize("segmented", [False, True])
def test_a_palette_becomes_its_colours(tmp_path: Path, segmented: bool) -> None:
    series, expected = _palette(segmented, 16)
    volume = read_series(series.write(tmp_path))
    assert volume.channels == ("red", "green", "blue")
    assert np.abs(volume.array.astype(int) - expected.transpose(0, 2, 1)).max() <= 1


def test_bits_above_those_stored_do_not_count_in_lookup_tables_either(tmp_path: Path) -> None:
    series, expected = _palette(False, 16)
    data = series.slices[0]
    words = np.frombuffer(data.PixelData, np.uint8).reshape(6, 8).astype(np.uint16)
    facts = (data.PhotometricInterpretation, data.RescaleSlope)
    set_pixels(data, words | (RNG.integers(0, 16, words.shape) << 12).astype(np.uint16))
    data.PhotometricInterpretation, data.RescaleSlope = facts
    data.BitsStored, data.HighBit = 12, 11
    volume = read_series(series.write(tmp_path))
    assert np.abs(volume.array.astype(int) - expected.transpose(0, 2, 1)).max() <= 1


def test_a_palette_of_8_bit_colours_in_16_bit_words_is_not_black(tmp_path: Path) -> None:
    series, expected = _palette(False, 8)
    volume = read_series(series.write(tmp_path))
    np.testing.assert_array_equal(volume.array, expected.transpose(0, 2, 1))


def test_padding_takes_the_lowest_value_of_the_image(tmp_path: Path) -> None:
    voxels = RNG.integers(0, 3000, (3, 6, 7)).astype(np.int16)
    voxels[:, :2] = -2000
    series = Series(voxels=voxels, extra={"PixelPaddingValue": -2000, "RescaleIntercept": -1024})
    volume = read_series(series.write(tmp_path))
    expected = np.where(voxels == -2000, voxels[voxels > -2000].min(), voxels).astype(int) - 1024
    np.testing.assert_array_equal(volume.array[0], expected.transpose(2, 1, 0))
    assert any("padding" in note for note in volume.notes)


def test_padding_within_the_range_of_the_image_is_left(tmp_path: Path) -> None:
    voxels = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(np.int16) - 20
    volume = read_series(Series(voxels=voxels, extra={"PixelPaddingValue": 0}).write(tmp_path))
    np.testing.assert_array_equal(volume.array[0], voxels.transpose(2, 1, 0))


def test_one_rescale_for_all_frames_of_a_multi_frame_image_counts(tmp_path: Path) -> None:
    series = make_series((4, 5, 6))
    data = make_enhanced(series)
    data.RescaleSlope, data.RescaleIntercept = 2, -7
    for number, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        if number:
            del frame.PixelValueTransformationSequence
    data.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    expected = series.voxels.transpose(2, 1, 0) * np.array([1, 2, 2, 2]) + np.array([0, -7, -7, -7])
    np.testing.assert_array_equal(read_series([tmp_path / "enhanced.dcm"]).array[0], expected)


def test_each_frame_of_an_enhanced_image_has_its_own_rescale(tmp_path: Path) -> None:
    series = make_series((4, 5, 6), modality="CT")
    data = make_enhanced(series)
    for number, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        frame.PixelValueTransformationSequence[0].RescaleSlope = f"{number + 0.5}"
    path = tmp_path / "enhanced.dcm"
    data.save_as(path, enforce_file_format=True)
    slope, intercept = np.arange(4) + 0.5, -np.arange(4)
    expected = series.voxels.transpose(2, 1, 0) * slope + intercept
    np.testing.assert_allclose(read_series([path]).array[0], expected, rtol=1e-6)


def test_reconstructed_nuclear_medicine_is_a_volume(tmp_path: Path) -> None:
    voxels = RNG.integers(0, 1000, (4, 5, 6)).astype(np.uint16)
    series = make_series(
        (1, 5, 6), extra={"Modality": "NM", "ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]}
    )
    data = series.slices[0]
    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = [-1, -2, 30], [1, 0, 0, 0, 1, 0]
    data.DetectorInformationSequence, data.SpacingBetweenSlices = [detector], -3.0
    del data.ImagePositionPatient, data.ImageOrientationPatient
    data.NumberOfFrames, data.PixelData = 4, voxels.tobytes()
    volume = read_series(series.write(tmp_path))
    np.testing.assert_array_equal(volume.array[0], voxels[::-1].transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine[:3, 3], [1, 2, 21])
    np.testing.assert_allclose(volume.spacing, (0.7, 0.8, 3.0))


def test_rescale_is_applied_slice_by_slice(tmp_path: Path) -> None:
    series = make_series(modality="PT")
    for number, data in enumerate(series.slices):
        data.RescaleSlope = f"{0.5 + number:.1f}"
    volume = read_series(series.write(tmp_path))
    expected = series.voxels.transpose(2, 1, 0) * (0.5 + np.arange(5))
    np.testing.assert_allclose(volume.array[0], expected, rtol=1e-6)
    assert volume.array.dtype == np.float32


def test_hounsfield_units_stay_integers(tmp_path: Path) -> None:
    series = make_series(extra={"RescaleIntercept": -1024})
    for data in series.slices:
        data.BitsStored, data.HighBit = 12, 11
    volume = read_series(series.write(tmp_path))
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array[0], series.voxels.transpose(2, 1, 0).astype(int) - 1024)


def test_signed_values_keep_their_sign(tmp_path: Path) -> None:
    voxels = np.arange(-30, 30).reshape(3, 4, 5).astype(np.int16)
    volume = read_series(Series(voxels=voxels).write(tmp_path))
    np.testing.assert_array_equal(volume.array[0], voxels.transpose(2, 1, 0))


def test_a_modality_lut_is_looked_up(tmp_path: Path) -> None:
    series = Series(voxels=np.array([[[0, 1], [2, 3]]] * 2, dtype=np.uint16))
    for data in series.slices:
        del data.RescaleSlope, data.RescaleIntercept
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
        table.add_new((0x0028, 0x3006), "US", [10, 20, 40, 80])
        data.ModalityLUTSequence = [table]
    volume = read_series(series.write(tmp_path))
    np.testing.assert_array_equal(volume.array[0, :, :, 0], [[10, 40], [20, 80]])


@pytest.mark.parametrize("syntax", [None, ExplicitVRBigEndian])
def test_a_modality_lut_of_packed_bytes_is_looked_up(tmp_path: Path, syntax: pydicom.uid.UID | None) -> None:
    series = Series(voxels=RNG.integers(0, 300, (2, 4, 6)).astype(np.uint16))
    values = RNG.integers(0, 256, 200).astype(np.uint8)
    for data in series.slices:
        del data.RescaleSlope, data.RescaleIntercept
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [200, 50, 8], "US"
        pairs = values.reshape(-1, 2)
        table.add_new((0x0028, 0x3006), "OW", (pairs if syntax is None else pairs[:, ::-1]).tobytes())
        data.ModalityLUTSequence = [table]
    volume = read_series(_write(series, tmp_path, syntax))
    expected = values[np.clip(series.voxels.astype(int) - 50, 0, 199)]
    np.testing.assert_array_equal(volume.array[0], expected.transpose(2, 1, 0))


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"BitsStored": 12, "HighBit": 15}, "HighBit is 15 with 12 bits stored; expected 11"),
        ({"RescaleSlope": 0}, "RescaleSlope is 0"),
        ({"BitsStored": 0, "PixelRepresentation": 1}, "expected 1 to 16 bits stored a pixel; found 0"),
        ({"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11}, "found 12"),
        ({"BitsStored": 17, "HighBit": 16}, "expected 1 to 16 bits stored a pixel; found 17"),
        ({"Rows": 7}, "truncated"),
    ],
)
def test_pixels_that_cannot_be_told_are_refused_with_their_true_reason(
    tmp_path: Path, facts: dict[str, object], reason: str
) -> None:
    series = make_series((1, 6, 8), extra=facts)
    with pytest.raises(ReadError, match=reason):
        read_series(series.write(tmp_path))


@pytest.mark.parametrize(
    ("photometric", "reason"), [("YBR_RCT", "colour space of JPEG 2000"), ("YBR_FULL_422", "aren't halved")]
)
def test_colours_that_are_mislabelled_are_refused_with_their_true_reason(
    tmp_path: Path, photometric: str, reason: str
) -> None:
    with pytest.raises(ReadError, match=reason):
        read_series(_photograph(COLOURS, photometric).write(tmp_path))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_slices_equal_the_plain_ones(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    series = make_series((2, 64, 64))
    for data in series.slices:
        data.BitsStored, data.HighBit = 12, 11
        data.compress(syntax)
    volume = read_series(series.write(tmp_path))
    np.testing.assert_array_equal(volume.array[0], series.voxels.transpose(2, 1, 0))


def test_a_truncated_compressed_file_is_refused(tmp_path: Path) -> None:
    series = make_series((2, 64, 64))
    for data in series.slices:
        data.compress(JPEG2000Lossless)
    paths = series.write(tmp_path)
    content = paths[1].read_bytes()
    paths[1].write_bytes(content[: len(content) // 2])
    with pytest.raises(ReadError):
        read_series(paths)


def test_an_undecodable_transfer_syntax_names_its_uid(tmp_path: Path) -> None:
    paths = make_series((2, 8, 8)).write(tmp_path)
    for path in paths:
        content = path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")
        path.write_bytes(content)
    with pytest.raises(ReadError, match=r"1\.2\.840\.10008\.9\.9\.9"):
        read_series(paths)


def test_implicit_little_endian_is_read(tmp_path: Path) -> None:
    series = make_series((2, 8, 8))
    for data in series.slices:
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    np.testing.assert_array_equal(read_series(series.write(tmp_path)).array[0], series.voxels.transpose(2, 1, 0))


def test_colour_has_three_channels(tmp_path: Path) -> None:
    series = make_series((1, 5, 6), extra={"Modality": "XC"})
    colours = np.random.default_rng(0).integers(0, 255, (5, 6, 3)).astype(np.uint8)
    set_pixels(series.slices[0], colours)
    volume = read_series(series.write(tmp_path))
    assert (volume.channels, volume.modality, volume.array.dtype) == (("red", "green", "blue"), "DERMOSCOPY", np.uint8)
    np.testing.assert_array_equal(volume.array, colours.transpose(2, 1, 0))


def test_monochrome1_radiographs_are_inverted_and_ct_is_not(tmp_path: Path) -> None:
    plane = np.arange(30).reshape(1, 5, 6).astype(np.uint8)
    film = Series(voxels=plane, extra={"PhotometricInterpretation": "MONOCHROME1", "Modality": "CR"})
    np.testing.assert_array_equal(read_series(film.write(tmp_path / "cr")).array[0], 255 - plane[0].T)
    scan = Series(voxels=plane, extra={"PhotometricInterpretation": "MONOCHROME1"})
    np.testing.assert_array_equal(read_series(scan.write(tmp_path / "ct")).array[0], plane[0].T)


def test_jpeg_of_twelve_bits_is_read_as_simpleitk_reads_it(test_data: Path) -> None:
    import SimpleITK as sitk

    path = test_data / "dicom_transfer_syntaxes" / "pylibjpeg-data" / "JPEGExtended" / "RG2_JPLY.dcm"
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
    np.testing.assert_array_equal(read_volume(path).array[0], expected.T)
