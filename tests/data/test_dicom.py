"""DICOM series against closed forms and SimpleITK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.data.dicom import find_series, read_series, read_sorted_series
from medseg.data.readers import read_geometry, read_volume
from medseg.data.volume import Geometry
from medseg.errors import DataError, GeometryError
from tests.data.dicom_factory import make_enhanced, make_series, set_pixels
from tests.examples import examples


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


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    paths = make_series((3, 64, 64)).write(tmp_path)
    content = paths[1].read_bytes()
    for length in (len(content) - 1000, 700, 300, 140, 3):
        paths[1].write_bytes(content[:length])
        with pytest.raises(DataError):
            read_series(paths)


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


def test_slices_that_differ_in_what_their_values_are_become_no_volume(tmp_path: Path) -> None:
    partly = make_series(extra={"RescaleSlope": 1, "RescaleIntercept": -1024})
    del partly.slices[2].RescaleIntercept
    with pytest.raises(GeometryError, match="some slices state how their stored values become values"):
        read_series(partly.write(tmp_path / "partly"))
    mixed = make_series(modality="PT", extra={"Units": "BQML"})
    mixed.slices[2].Units = "GML"
    with pytest.raises(GeometryError, match="expected one unit of the values in a series"):
        read_series(mixed.write(tmp_path / "mixed"))


def test_slices_of_several_patients_are_no_series(tmp_path: Path) -> None:
    series = make_series()
    for data in series.slices[::2]:
        data.PatientID = "DOE-4712"
    with pytest.raises(GeometryError, match="expected slices of one patient in a series"):
        read_series(series.write(tmp_path))


def test_a_film_without_positions_is_refused(tmp_path: Path) -> None:
    series = make_series((1, 5, 6))
    data = series.slices[0]
    set_pixels(data, series.voxels.repeat(3, axis=0))
    data.NumberOfFrames = 3
    del data.ImagePositionPatient
    with pytest.raises(GeometryError, match="multi-frame image of 3 frames without position"):
        read_series(series.write(tmp_path / "film"))
    data.Modality = "SM"
    with pytest.raises(GeometryError, match="3 tiles of a microscopy slide"):
        read_series(series.write(tmp_path / "slide"))


def test_a_single_slice_is_a_2d_image_in_its_place(tmp_path: Path) -> None:
    series = make_series((1, 5, 6))
    volume = read_series(series.write(tmp_path))
    assert volume.shape == (6, 5)
    np.testing.assert_allclose(volume.affine, series.affine, atol=1e-6)
    assert "single slice" in volume.notes[0]


def test_two_slices_are_a_volume(tmp_path: Path) -> None:
    series = make_series((2, 5, 6))
    assert read_series(series.write(tmp_path)).shape == (6, 5, 2)


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
