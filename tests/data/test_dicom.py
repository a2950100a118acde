"""DICOM series against closed forms and SimpleITK."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from medseg.data.dicom import find_series, read_series, read_series_geometry, read_sorted_series
from medseg.data.dicom_geometry import stack_slices
from medseg.data.readers import read_geometry, read_volume
from medseg.data.volume import Geometry
from medseg.errors import DataError, GeometryError, ReadError
from tests.data.dicom_factory import AXIAL, Series, make_enhanced, make_series, set_pixels


def test_a_series_is_placed_and_filled_as_the_closed_form_says(tmp_path: Path) -> None:
    series = make_series()
    volume = read_series(series.write(tmp_path))
    assert volume.array.shape == (1, 7, 6, 5)
    np.testing.assert_array_equal(volume.array[0], series.voxels.transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    assert (volume.modality, volume.channels) == ("CT", ("CT",))


def test_file_names_and_instance_numbers_decide_nothing(tmp_path: Path) -> None:
    series = make_series()
    for data, number in zip(series.slices, (3, 1, 5, 2, 4), strict=True):
        data.InstanceNumber = number
    series.write(tmp_path, names=["e.dcm", "b", "a.ima", "z.dcm", "c"])
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array[0], series.voxels.transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)


def _rotation(angles: tuple[float, float, float]) -> np.ndarray:
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(angles)):
        turn = np.eye(3)
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn[[first, second], [first, second]] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        turned = turn @ turned
    return turned


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    order=st.permutations(range(4)),
)
def test_any_oblique_series_lies_where_simpleitk_puts_it(
    tmp_path_factory: pytest.TempPathFactory,
    angles: tuple[float, float, float],
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    order: list[int],
) -> None:
    import SimpleITK as sitk

    turned = _rotation(angles)
    series = make_series((4, 5, 6), orientation=(*turned[:, 0], *turned[:, 1]), spacing=spacing, origin=origin)
    folder = tmp_path_factory.mktemp("series")
    series.write(folder, names=[f"{number}.dcm" for number in order])
    volume = read_volume(folder)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-3)

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    other = Geometry(image.GetSize(), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    assert volume.geometry.corner_distance(other) < 1e-3
    np.testing.assert_array_equal(volume.array[0], sitk.GetArrayFromImage(image).T)


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


def _missing(series: Series) -> None:
    del series.slices[2]


def _duplicate(series: Series) -> None:
    series.slices[2].ImagePositionPatient = series.slices[1].ImagePositionPatient


def _uneven(series: Series) -> None:
    series.slices[4].ImagePositionPatient = [-10, -20, 30 + 4 * 2.5 + 0.9]


def _mixed(series: Series) -> None:
    series.slices[3].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def _tilted(series: Series) -> None:
    for number, data in enumerate(series.slices):
        data.ImagePositionPatient = [-10, -20 + number * 2.5 * np.tan(np.radians(15)), 30 + number * 2.5]


def _shifted(series: Series) -> None:
    series.slices[2].ImagePositionPatient = [-5, -20, 35]


def _two_sizes(series: Series) -> None:
    set_pixels(series.slices[1], np.zeros((3, 3), dtype=np.uint16))


def _two_spacings(series: Series) -> None:
    series.slices[1].PixelSpacing = [0.8, 0.9]


def _no_position(series: Series) -> None:
    del series.slices[1].ImagePositionPatient


def _copies(series: Series) -> None:
    series.slices.append(series.slices[0])


def _localiser(series: Series) -> None:
    for data in series.slices:
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def _twice(series: Series) -> None:
    series.slices.pop()
    for number, data in enumerate(series.slices):
        data.ImagePositionPatient = [-10, -20, 30 + 2.5 * (number // 2)]


def _two_frames_of_reference(series: Series) -> None:
    series.slices[1].FrameOfReferenceUID = "1.2.3"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_missing, "missing slices: 1 of 5"),
        (_duplicate, "duplicate slices"),
        (_uneven, "uneven slice distance"),
        (_mixed, "mixed orientation"),
        (_tilted, "gantry tilt: the slices are sheared by 15.0 degrees"),
        (_shifted, "sideways shift"),
        (_two_sizes, "2 sizes"),
        (_two_spacings, "mixed pixel spacing"),
        (_no_position, "1 of 5 slices have no ImagePositionPatient"),
        (_copies, "1 of 6 files are copies"),
        (_localiser, "localiser"),
        (_twice, "2 images at each of 2 positions"),
        (_two_frames_of_reference, "frame of reference"),
    ],
)
def test_a_series_that_is_no_stack_is_refused_with_its_true_reason(tmp_path: Path, damage, reason: str) -> None:
    series = make_series()
    damage(series)
    paths = series.write(tmp_path)
    with pytest.raises(GeometryError, match=reason) as refusal:
        read_series(paths)
    assert "DOE-4711" not in str(refusal.value)
    assert "Doe" not in str(refusal.value)
    with pytest.raises(GeometryError, match=reason):
        read_series_geometry(paths)


def test_rounded_positions_are_no_unevenness_and_are_noted() -> None:
    heights = np.round(np.arange(20) * 0.625, 1)
    positions = np.stack([0 * heights, 0 * heights, heights], axis=1)
    stack = stack_slices(positions, np.tile(AXIAL, (20, 1)), np.ones((20, 2)))
    assert stack.notes


def test_a_folder_of_mixed_files_is_sorted_into_series(tmp_path: Path) -> None:
    first, second = make_series(), make_series(modality="MR", seed=1)
    paths = [*first.write(tmp_path / "a"), *second.write(tmp_path / "a", names=list("vwxyz"))]
    (tmp_path / "a" / "notes.txt").write_text("junk")
    (tmp_path / "a" / "junk").write_bytes(b"\x08\x00\x05\x00" + bytes(range(256)) * 4)
    report = pydicom.dcmread(paths[0])
    report.SOPClassUID, report.Modality = "1.2.840.10008.5.1.4.1.1.88.33", "SR"
    report.save_as(tmp_path / "report.dcm")
    series, refusals = find_series(tmp_path)
    assert sorted((s.modality, len(s.files)) for s in series) == [("CT", 5), ("MR", 5)]
    assert len(refusals) == 3
    assert any("Comprehensive SR" in refusal.reason for refusal in refusals)
    for found in series:
        expected = first if found.modality == "CT" else second
        np.testing.assert_array_equal(read_sorted_series(found).array[0], expected.voxels.transpose(2, 1, 0))
        heights = [pydicom.dcmread(path).ImagePositionPatient[2] for path in found.files]
        assert heights == sorted(heights)
    with pytest.raises(ReadError, match="found 2"):
        read_volume(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    paths = make_series((3, 64, 64)).write(tmp_path)
    content = paths[1].read_bytes()
    for length in (len(content) - 1000, 700, 300, 140, 3):
        paths[1].write_bytes(content[:length])
        with pytest.raises(DataError):
            read_series(paths)


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


def test_a_file_without_preamble_or_meta_information_is_read(tmp_path: Path) -> None:
    series = make_series((3, 8, 8))
    paths = []
    for number, data in enumerate(series.slices):
        stream = io.BytesIO()
        bare = Dataset()
        bare.update({element.tag: element for element in data})
        pydicom.dcmwrite(stream, bare, implicit_vr=True, little_endian=True)
        path = tmp_path / f"{number}"
        path.write_bytes(stream.getvalue())
        assert stream.getvalue()[128:132] != b"DICM"
        paths.append(path)
    np.testing.assert_array_equal(read_series(paths).array[0], series.voxels.transpose(2, 1, 0))


def test_implicit_little_endian_is_read(tmp_path: Path) -> None:
    series = make_series((2, 8, 8))
    for data in series.slices:
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    np.testing.assert_array_equal(read_series(series.write(tmp_path)).array[0], series.voxels.transpose(2, 1, 0))


def test_an_enhanced_multi_frame_image_equals_the_classic_series(tmp_path: Path) -> None:
    turned = _rotation((20, -35, 50))
    series = make_series((4, 5, 6), orientation=(*turned[:, 0], *turned[:, 1]))
    make_enhanced(series, order=[2, 0, 3, 1]).save_as(tmp_path / "enhanced", enforce_file_format=True)
    volume = read_volume(tmp_path / "enhanced")
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-5)
    expected = series.voxels.transpose(2, 1, 0).astype(int) - np.arange(4)
    np.testing.assert_array_equal(volume.array[0], expected)


def test_an_enhanced_image_with_two_frames_at_a_position_is_refused(tmp_path: Path) -> None:
    make_enhanced(make_series((4, 5, 6)), order=[0, 1, 0, 1]).save_as(tmp_path / "x", enforce_file_format=True)
    with pytest.raises(GeometryError, match="2 images at each of 2 positions"):
        read_volume(tmp_path / "x")


def test_a_film_without_positions_is_refused(tmp_path: Path) -> None:
    series = make_series((1, 5, 6))
    data = series.slices[0]
    set_pixels(data, series.voxels.repeat(3, axis=0))
    data.NumberOfFrames = 3
    del data.ImagePositionPatient
    with pytest.raises(GeometryError, match="multi-frame image of 3 frames without position"):
        read_series(series.write(tmp_path))


def test_a_single_slice_is_a_2d_image_in_its_place(tmp_path: Path) -> None:
    series = make_series((1, 5, 6))
    volume = read_series(series.write(tmp_path))
    assert volume.shape == (6, 5)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    assert "single slice" in volume.notes[0]


def test_two_slices_are_a_volume(tmp_path: Path) -> None:
    series = make_series((2, 5, 6))
    assert read_series(series.write(tmp_path)).shape == (6, 5, 2)


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


def test_a_header_that_claims_too_much_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    series = make_series((2, 5, 6), extra={"Rows": 65535, "Columns": 65535})
    with pytest.raises(ReadError, match="claims more than"):
        read_series(series.write(tmp_path))


def _pet(**facts: object) -> Series:
    dose = Dataset()
    dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = 370e6, 6586.2
    dose.RadiopharmaceuticalStartTime = "100000"
    common = {
        "Units": "BQML", "CorrectedImage": ["ATTN", "DECY"], "DecayCorrection": "START", "PatientWeight": 70,
        "SeriesDate": "20200102", "SeriesTime": "110000", "AcquisitionDate": "20200102", "AcquisitionTime": "110000",
        "RadiopharmaceuticalInformationSequence": [dose],
    }  # fmt: skip
    return make_series((3, 5, 6), modality="PT", extra={**common, **facts})


def test_pet_becomes_suvbw_by_the_closed_form(tmp_path: Path) -> None:
    series = _pet()
    volume = read_series(series.write(tmp_path))
    factor = 70_000 / (370e6 * 2 ** (-3600 / 6586.2))
    np.testing.assert_allclose(volume.array[0], series.voxels.transpose(2, 1, 0) * factor, rtol=1e-5)
    assert "PET scaled to SUVbw" in volume.notes


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({"PatientWeight": None}, "lacks the body weight"),
        ({"Units": "PROPCNTS"}, "stored units"),
        ({"CorrectedImage": ["ATTN"]}, "lacks attenuation and decay correction"),
        ({"DecayCorrection": "NONE"}, "lacks a decay correction"),
        ({"RadiopharmaceuticalInformationSequence": []}, "lacks the injected activity"),
        ({"SeriesTime": None, "AcquisitionTime": None}, "lacks the times"),
    ],
)
def test_pet_without_what_suv_needs_is_left_and_said_so(tmp_path: Path, facts: dict[str, object], note: str) -> None:
    series = _pet(**facts)
    volume = read_series(series.write(tmp_path))
    np.testing.assert_array_equal(volume.array[0], series.voxels.transpose(2, 1, 0))
    assert any(note in text for text in volume.notes)


def test_every_real_series_is_read_as_simpleitk_reads_it_or_refused(test_data: Path) -> None:
    import SimpleITK as sitk

    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    outcomes = {}
    for name in ("dicom_geometry_edge_cases", "dicom_mr_study", "dicom_sts_rtstruct"):
        for series in find_series(test_data / name)[0]:
            place = series.files[0].parent.relative_to(test_data).as_posix()
            try:
                volume = read_sorted_series(series)
            except GeometryError as error:
                outcomes[place] = str(error)
                continue
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series.files[0].parent), series.series_uid))
            image = reader.Execute()
            affine = np.eye(4)
            affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
            affine[:3, 3] = image.GetOrigin()
            other = Geometry(image.GetSize(), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
            assert volume.geometry.corner_distance(other) < 1e-3, place
            np.testing.assert_allclose(volume.array[0], sitk.GetArrayFromImage(image).T, rtol=1e-5, atol=1e-5)
            outcomes[place] = "read"
    assert outcomes.pop("dicom_geometry_edge_cases/failing/gantrytilting/001").startswith("gantry tilt")
    assert outcomes.pop("dicom_geometry_edge_cases/failing/sliceincrement/001").startswith("missing slices: 1 of 5")
    assert set(outcomes.values()) == {"read"}
    assert len(outcomes) == 10


def test_geometry_alone_equals_the_volumes(tmp_path: Path) -> None:
    make_series().write(tmp_path)
    assert read_geometry(tmp_path).corner_distance(read_volume(tmp_path).geometry) == 0.0


def test_the_scan_reads_what_pydicom_reads(test_data: Path) -> None:
    from medseg.data.dicom_header import _KEYWORD_OF, _read_facts
    from medseg.data.dicom_scan import scan_elements

    scanned = 0
    paths = [p for p in sorted(test_data.glob("dicom_*/**/*")) if p.is_file()]
    for path in paths[:: max(1, len(paths) // 150)]:
        facts = scan_elements(path, _KEYWORD_OF)
        if facts is None:
            continue
        scanned += 1
        facts.pop("PixelPlace", None)
        for keyword, value in _read_facts(path).items():
            if keyword.startswith("PixelPadding"):
                assert (facts[keyword] - value) % 65536 == 0  # Signed or not is settled later, with the pixels.
                continue
            ours = facts.get(keyword, "")
            texts = [str(v) for v in (ours if isinstance(ours, list) else [ours])]
            several = isinstance(value, pydicom.multival.MultiValue)
            expected = list(value) if several else ["" if value is None else value]
            for text, other in zip(texts, expected, strict=True):
                assert text == str(other).strip() or float(text) == float(other), (path.name, keyword)
    assert scanned > 100


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 1400), st.integers(0, 255)), min_size=1, max_size=4), cut=st.booleans()
)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path: Path, changes: list[tuple[int, int]], cut: bool
) -> None:
    path = tmp_path / "whole.dcm"
    if not path.exists():
        make_series((1, 8, 8)).write(tmp_path, names=["whole.dcm"])
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(content[: changes[0][0]] if cut else content)
    with contextlib.suppress(DataError):
        read_series([damaged])


@pytest.mark.parametrize(
    "name",
    [
        "dicom_transfer_syntaxes/cornerstone/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm",
        "dicom_seg_small/dcmqi/24x38x3/multiframe/mf.dcm",
    ],
)
def test_real_frames_lie_where_highdicom_puts_them(test_data: Path, name: str) -> None:
    import highdicom

    volume = read_volume(test_data / name)
    other = highdicom.imread(test_data / name).get_volume(apply_modality_transform=True)
    index = np.argwhere(np.ones((*volume.shape[:2], volume.shape[2]), dtype=bool))[::97]
    ours = np.c_[index, np.ones(len(index))].T
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine @ ours
    theirs = (np.linalg.inv(other.affine) @ lps)[:3].T
    np.testing.assert_allclose(theirs, np.rint(theirs), atol=1e-4)
    np.testing.assert_array_equal(other.array[tuple(np.rint(theirs).astype(int).T)], volume.array[0][tuple(index.T)])


def test_jpeg_of_twelve_bits_is_read_as_simpleitk_reads_it(test_data: Path) -> None:
    import SimpleITK as sitk

    path = test_data / "dicom_transfer_syntaxes" / "pylibjpeg-data" / "JPEGExtended" / "RG2_JPLY.dcm"
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
    np.testing.assert_array_equal(read_volume(path).array[0], expected.T)
