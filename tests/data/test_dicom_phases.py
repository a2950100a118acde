"""Several images of one place: channels where they share a grid, volumes of their own where they don't."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.dicom import find_series, read_series, read_sorted_series, series_geometry
from medseg.data.dicom_frames import Frame
from medseg.data.dicom_phases import find_phases
from medseg.errors import GeometryError
from tests.data.dicom_factory import Series, make_enhanced, make_item, make_series
from tests.examples import examples


def _repeated(values: list[dict[str, object]], *, places: int = 3, shuffle: bool = True) -> Series:
    """A series with one slice for each place and each set of attributes, in random order."""
    series = make_series((places * len(values), 5, 6), modality="MR")
    for number, data in enumerate(series.slices):
        place, phase = divmod(number, len(values))
        data.ImagePositionPatient = [-10, -20, 30 + 2.5 * place]
        for keyword, value in values[phase].items():
            setattr(data, keyword, value)
    if shuffle:
        order = np.random.default_rng(1).permutation(len(series.slices))
        series.slices = [series.slices[i] for i in order]
    return series


def _expected(series: Series, phases: int) -> np.ndarray:
    """Voxels with axes (channel, x, y, z)."""
    return series.voxels.reshape(-1, phases, 5, 6).transpose(1, 3, 2, 0)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([{"EchoTime": 10}, {"EchoTime": 80}], ("echo1", "echo2")),
        ([{"DiffusionBValue": 0.0}, {"DiffusionBValue": 50.0}, {"DiffusionBValue": 800.0}], ("b0", "b50", "b800")),
        ([{"TemporalPositionIdentifier": n} for n in (1, 2, 10)], ("phase1", "phase2", "phase3")),
        ([{"AcquisitionTime": f"10{n:02d}00"} for n in (1, 2)], ("phase1", "phase2")),
        ([{"ImageType": ["ORIGINAL", "PRIMARY", kind, "NONE"]} for kind in ("M", "P")], ("magnitude", "phase")),
        ([{"ImageType": ["DERIVED", "PRIMARY", "DIXON", kind]} for kind in ("FAT", "WATER")], ("fat", "water")),
        (
            [{"EchoTime": t, "ImageType": ["ORIGINAL", "PRIMARY", k]} for k in ("M", "P") for t in (5, 9)],
            ("magnitude_echo1", "magnitude_echo2", "phase_echo1", "phase_echo2"),
        ),
        (
            [{"DiffusionBValue": 0.0, "AcquisitionNumber": 1}]
            + [{"DiffusionBValue": 800.0, "AcquisitionNumber": n} for n in (2, 3)],
            ("b0", "b800_acquisition1", "b800_acquisition2"),
        ),
        ([{"ConvolutionKernel": k} for k in ("Doe^Jane", "I70f")], ("kernel1", "kernel2")),
    ],
)
def test_images_of_one_place_become_named_channels(
    tmp_path: Path, values: list[dict[str, object]], names: tuple[str, ...]
) -> None:
    series = _repeated(values)
    volume = read_series(series.write(tmp_path))
    assert volume.channels == names
    np.testing.assert_array_equal(volume.array, _expected(series, len(values)))
    np.testing.assert_allclose(volume.spacing, (0.7, 0.8, 2.5))


@pytest.mark.parametrize(
    ("tags", "values"),
    [
        (((0x0019, 0x0010, "LO", "SIEMENS MR HEADER"), (0x0019, 0x100C, "IS")), (0, 800)),
        (((0x0043, 0x0010, "LO", "GEMS_PARM_01"), (0x0043, 0x1039, "IS")), (1000000000, 1000000800)),
        (((0x2001, 0x0010, "LO", "Philips Imaging DD 001"), (0x2001, 0x1003, "FL")), (0.0, 800.0)),
    ],
)
def test_b_values_of_the_vendors_private_elements_count(tmp_path: Path, tags: tuple, values: tuple) -> None:
    series = _repeated([{}, {}], shuffle=False)
    creator, value = tags
    for number, data in enumerate(series.slices):
        data.add_new(creator[:2], creator[2], creator[3])
        data.add_new(value[:2], value[2], values[number % 2])
    assert read_series(series.write(tmp_path)).channels == ("b0", "b800")


@settings(max_examples=examples(30), deadline=None)
@given(places=st.integers(2, 5), phases=st.integers(2, 5), order=st.randoms(use_true_random=False))
def test_every_frame_lands_in_its_phase_whatever_the_order(places: int, phases: int, order) -> None:
    wanted = [(place, phase) for place in range(places) for phase in range(phases)]
    order.shuffle(wanted)
    orientation = np.array([1.0, 0, 0, 0, 1, 0])
    frames = [
        Frame(np.array([0.0, 0, 3.0 * place]), orientation, (1.0, 1.0), 1.0, 0.0, 1.0,
              variations={"TriggerTime": str(100 * phase + place)})  # The time also runs from slice to slice.
        for place, phase in wanted
    ]  # fmt: skip
    found = find_phases(frames)
    assert [phase.name for phase in found] == [f"phase{n + 1}" for n in range(phases)]
    for number, phase in enumerate(found):
        assert {wanted[index] for index in phase.frames} == {(place, number) for place in range(places)}


def test_phases_of_different_places_are_volumes_of_their_own(tmp_path: Path) -> None:
    series = make_series((7, 5, 6), modality="MR")
    for number, data in enumerate(series.slices):
        first = number < 4
        data.EchoTime = 10 if first else 80
        data.ImagePositionPatient = [-10, -20, 30 + 2.5 * (number if first else number - 4)]
    paths = series.write(tmp_path)
    found, _ = find_series(tmp_path)
    assert [(one.part, len(one.files)) for one in found] == [("echo1", 4), ("echo2", 3)]
    np.testing.assert_array_equal(read_sorted_series(found[1]).array[0], series.voxels[4:].transpose(2, 1, 0))
    with pytest.raises(GeometryError, match="found 2"):
        read_series(paths)


def test_times_are_ordered_across_midnight(tmp_path: Path) -> None:
    before = {"AcquisitionTime": "235900", "AcquisitionDate": "20200101"}
    series = _repeated([before, {"AcquisitionTime": "000100", "AcquisitionDate": "20200102"}])
    expected = series.voxels.reshape(-1, 2, 5, 6).transpose(1, 3, 2, 0)
    series.write(tmp_path)
    volume = read_series(sorted(tmp_path.iterdir()))
    assert volume.channels == ("phase1", "phase2")
    assert np.array_equal(volume.array, expected)


def test_times_around_midnight_without_dates_order_nothing(tmp_path: Path) -> None:
    _repeated([{"AcquisitionTime": "235900"}, {"AcquisitionTime": "000100"}]).write(tmp_path)
    with pytest.raises(GeometryError):
        read_series(sorted(tmp_path.iterdir()))


def test_stacks_pushed_into_each_other_are_volumes_of_their_own(tmp_path: Path) -> None:
    series = make_series((6, 5, 6))
    for number, data in enumerate(series.slices):
        data.ConvolutionKernel = ("B30f", "B70f")[number % 2]
    series.write(tmp_path)
    found, _ = find_series(tmp_path)
    volumes = [read_sorted_series(one) for one in found]
    assert [one.part for one in found] == ["kernel1", "kernel2"]
    assert [volume.spacing[2] for volume in volumes] == [pytest.approx(5.0)] * 2
    for number, volume in enumerate(volumes):
        assert np.array_equal(volume.array[0], series.voxels[number::2].transpose(2, 1, 0))


def test_stacks_of_an_enhanced_image_are_volumes_of_their_own(tmp_path: Path) -> None:
    series = make_series((6, 5, 6))
    for number, data in enumerate(series.slices[3:]):
        data.ImagePositionPatient, data.ImageOrientationPatient = [number * 3.0, 0, 0], [0, 1, 0, 0, 0, -1]
    order = [4, 0, 2, 5, 1, 3]
    data = make_enhanced(series, order=order)
    for number, frame in zip(order, data.PerFrameFunctionalGroupsSequence, strict=True):
        frame.PlaneOrientationSequence = [
            make_item(ImageOrientationPatient=series.slices[number].ImageOrientationPatient)
        ]
        frame.FrameContentSequence = [make_item(StackID=str(1 + number // 3), InStackPositionNumber=1 + number % 3)]
    data.save_as(tmp_path / "enhanced", enforce_file_format=True)
    found, _ = find_series(tmp_path)
    assert [one.part for one in found] == ["stack1", "stack2"]
    rescaled = series.voxels.astype(int) - np.arange(6)[:, None, None]
    for number, one in enumerate(found):
        array = read_sorted_series(one).array[0]
        expected = rescaled[3 * number : 3 * number + 3].transpose(2, 1, 0)
        assert np.array_equal(array, expected) or np.array_equal(array, expected[..., ::-1])
        assert series_geometry(one).shape == (6, 5, 3)


def test_dimension_indices_tell_frames_apart_where_nothing_else_does(tmp_path: Path) -> None:
    series = make_series((6, 5, 6))
    for number, data in enumerate(series.slices):
        data.ImagePositionPatient = [-10, -20, 30 + 2.5 * (number // 2)]
    data = make_enhanced(series)
    data.DimensionIndexSequence = [
        make_item(DimensionIndexPointer=0x00200032),
        make_item(DimensionIndexPointer=0x20051011),
    ]
    for number, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        frame.FrameContentSequence = [make_item(DimensionIndexValues=[1 + number // 2, 1 + number % 2])]
    path = tmp_path / "enhanced"
    data.save_as(path, enforce_file_format=True)
    volume = read_series([path])
    assert volume.channels == ("dimension1", "dimension2")
    rescaled = series.voxels.astype(int) - np.arange(6)[:, None, None]
    np.testing.assert_array_equal(volume.array, rescaled.reshape(3, 2, 5, 6).transpose(1, 3, 2, 0))


def test_a_mosaic_is_refused(tmp_path: Path) -> None:
    series = make_series((1, 8, 8), modality="MR", extra={"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]})
    with pytest.raises(GeometryError, match="mosaic"):
        read_series(series.write(tmp_path))


def test_real_enhanced_phases_equal_dcm2niix(test_data: Path, tmp_path: Path) -> None:
    import shutil
    import subprocess

    import nibabel as nib

    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("dcm2niix (Debian package dcm2niix) is not installed")
    folder = tmp_path / "in"
    folder.mkdir()
    files = sorted((test_data / "dicom_enhanced_mf" / "dcm_qa_enh").glob("Siemens_*.dcm"))
    for path in files:
        shutil.copy(path, folder)
    subprocess.run([program, "-z", "n", "-o", str(tmp_path), str(folder)], check=True, capture_output=True)
    (converted,) = tmp_path.glob("*.nii")
    theirs = nib.load(converted)
    volume = read_series(files)
    index = np.argwhere(np.ones(volume.shape, dtype=bool))[::53]
    world = nib.affines.apply_affine(volume.affine, index)
    place = np.rint(nib.affines.apply_affine(np.linalg.inv(theirs.affine), world)).astype(int)
    values = np.asarray(theirs.dataobj)[tuple(place.T)]
    np.testing.assert_array_equal(values.T, volume.array[(slice(None), *index.T)])
