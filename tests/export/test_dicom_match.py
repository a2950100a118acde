"""The series that a NIfTI image was converted from is found by grid and voxels, and results refer to it."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from medseg.data.dicom import read_series, read_sorted_series
from medseg.data.readers import read_volume
from medseg.data.source import Input
from medseg.data.volume import Volume
from medseg.errors import DataError, GeometryError, PrivacyError, ReadError, RequestError
from medseg.export.dicom_match import SeriesFinder, _remembered, _some, find_source_series, lay_on_series
from medseg.export.prediction import write_prediction
from medseg.inference.predict import Prediction
from tests.data.dicom_factory import make_enhanced, make_series
from tests.examples import examples
from tests.export.source_series import ALGORITHM, LABELS, blobs, random_rotation

CLEAN = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": "test"}
SHAPE = (5, 6, 7)


def turned(volume: Volume, axes=(0, 1, 2), flips=(False, True, False)) -> Volume:
    """The same image with its axes in another order and some of them reversed, as converters write it."""
    affine = volume.affine.copy()
    affine[:, :3] = volume.affine[:, list(axes)]
    array = np.transpose(volume.array, (0, *(1 + axis for axis in axes)))
    for axis, is_flipped in enumerate(flips):
        if is_flipped:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis + 1] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis + 1)
    return Volume(array, affine, volume.channels)


def predicted(volume: Volume, label: np.ndarray, like: Volume) -> Prediction:
    """The prediction of a label map of the series' grid on the image `volume`."""
    carried = Volume(label[np.newaxis], like.affine, ("x",))
    for axes, flips in itertools.product(itertools.permutations(range(3)), itertools.product((False, True), repeat=3)):
        found = turned(carried, axes, flips)
        if found.geometry.corner_distance(volume.geometry) < 1e-6:
            return Prediction(found.array[0], volume.geometry)
    raise AssertionError("the image isn't turned by right angles")


def write_seg(prediction: Prediction, volume: Volume, source: Input, folder: Path) -> bytes:
    return write_prediction(
        prediction, volume, source, folder, output_format="dicom-seg", labels=LABELS, algorithm=ALGORITHM
    ).read_bytes()


@given(
    seed=st.integers(0, 1000),
    axes=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
    enhanced=st.booleans(),
)
@settings(max_examples=examples(4), deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_a_turned_copy_of_a_series_gives_the_very_seg_of_the_series(seed, axes, flips, enhanced, tmp_path_factory):
    folder = tmp_path_factory.mktemp("match")
    rotation = random_rotation(seed)
    orientation = tuple(np.concatenate([rotation[:, 0], rotation[:, 1]]))
    series = make_series(SHAPE, seed=seed, orientation=orientation, extra=CLEAN)
    if enhanced:
        image = make_enhanced(series)
        for keyword, value in CLEAN.items():
            setattr(image, keyword, value)
        (folder / "in").mkdir()
        files = [folder / "in" / "mf.dcm"]
        image.save_as(files[0], enforce_file_format=True)
    else:
        files = series.write(folder / "in")
    volume = read_series(files)
    label = blobs(volume.shape, seed=seed)
    converted = turned(volume, axes, flips)
    # A converter's header holds 32-bit numbers.
    converted = Volume(converted.array, converted.affine.astype(np.float32).astype(float), converted.channels)
    prediction = predicted(turned(volume, axes, flips), label, volume)
    match = SeriesFinder(find_source_series(folder / "in")).find(converted)
    found = lay_on_series(prediction, Input("case", lambda: converted), match)
    assert np.array_equal(found.prediction.label_map, label)
    assert np.array_equal(found.volume.array, volume.array)
    assert found.note == ""
    direct = Input("case", lambda: volume, tuple(files))
    assert write_seg(found.prediction, found.volume, found.source, folder / "a") == write_seg(
        Prediction(label, volume.geometry), volume, direct, folder / "b"
    )


def _pair(tmp_path: Path, *, same_patient_grid=True, **facts):
    """Two series of one protocol, and their volumes."""
    origin = (-10.0, -20.0, 30.0)
    first = make_series(SHAPE, seed=1, origin=origin, extra=CLEAN)
    second = make_series(SHAPE, seed=2, origin=origin if same_patient_grid else (0.0, 0.0, 0.0), extra=CLEAN, **facts)
    volumes = [read_series(s.write(tmp_path / "in" / name)) for s, name in ((first, "a"), (second, "b"))]
    return first, second, volumes


def _refer(volume: Volume, folder: Path):
    empty = Prediction(np.zeros(volume.shape, np.uint8), volume.geometry)
    match = SeriesFinder(find_source_series(folder)).find(volume)
    return lay_on_series(empty, Input("case", lambda: volume), match)


def test_of_two_series_on_one_grid_the_voxels_tell_which_it_is(tmp_path):
    _, second, volumes = _pair(tmp_path)
    found = _refer(turned(volumes[1]), tmp_path / "in")
    assert {path.parent.name for path in found.source.series} == {"b"}
    scaled = Volume(volumes[1].array * np.float32(0.01) - 3, volumes[1].affine, ("PT",))
    assert {path.parent.name for path in _refer(scaled, tmp_path / "in").source.series} == {"b"}
    for image in second.slices:
        image.SeriesInstanceUID += ".1"
        image.SOPInstanceUID += ".1"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    second.write(tmp_path / "in" / "copy")
    with pytest.raises(DataError, match="2 series hold this very image; expected one"):
        _refer(turned(volumes[1]), tmp_path / "in")


def test_another_patient_on_the_same_grid_is_not_taken_for_this_one(tmp_path):
    first, _, volumes = _pair(tmp_path)
    with pytest.raises(DataError, match=r"none shows this image \(correlation at most .*another patient's"):
        _refer(volumes[0], tmp_path / "in" / "b")
    assert first.patient not in str(_refused(volumes[0], tmp_path / "in" / "b"))


def _refused(volume: Volume, folder: Path) -> DataError:
    with pytest.raises(DataError) as found:
        _refer(volume, folder)
    return found.value


def test_series_that_were_read_for_one_image_are_not_read_again_for_the_next(tmp_path, monkeypatch):
    volumes = {}
    for name in ("a", "b", "c"):
        series = make_series((6, 12, 12), seed=ord(name), origin=(-10.0, -20.0, 30.0), extra=CLEAN)
        volumes[name] = read_series(series.write(tmp_path / "in" / name))
    read = []

    def counting(series):
        read.append(series.files[0].parent.name)
        return read_sorted_series(series)

    monkeypatch.setattr("medseg.export.dicom_match.read_sorted_series", counting)
    finder = SeriesFinder(find_source_series(tmp_path / "in"))
    for name, volume in volumes.items():
        match = finder.find(turned(volume))
        assert match.series.series.files[0].parent.name == name
        assert np.array_equal(match.volume.array, volume.array)
    assert len(read) <= 3 + 1 + 2  # Each once, the first image's once more, then of each image its own.
    before = len(read)
    noise = np.random.default_rng(0).normal(0, 300, size=volumes["b"].array.shape)
    changed = Volume(volumes["b"].array + noise, volumes["b"].affine, ("CT",))
    assert finder.find(changed).note.startswith("the voxels were changed")
    assert read[before:] == ["b"]
    mirrored = Volume(volumes["a"].array[:, ::-1], volumes["a"].affine, ("CT",))
    with pytest.raises(DataError, match="none shows this image"):
        finder.find(mirrored)
    assert read[before:] == ["b"]


def test_what_is_remembered_of_many_series_stays_in_bounds():
    assert _remembered(series=1, channels=1) == 1 << 16
    assert all(_remembered(series=n, channels=c) * n * c <= 1 << 26 for n in (1, 1000, 5000) for c in (1, 3))
    assert _remembered(series=10**6, channels=60) == 1 << 10


def test_a_changed_image_is_taken_where_one_series_alone_is_like_it_and_that_is_said(tmp_path):
    _, _, volumes = _pair(tmp_path)
    noise = np.random.default_rng(0).normal(0, 300, size=volumes[0].array.shape)
    changed = Volume(volumes[0].array + noise, volumes[0].affine, ("CT",))
    found = _refer(changed, tmp_path / "in")
    assert found.note.startswith("the voxels were changed since they left the series (correlation 0.9")
    assert np.array_equal(found.volume.array, volumes[0].array)
    skull = volumes[0].array.copy()
    skull[:, :4] = 0
    assert _refer(Volume(skull, volumes[0].affine, ("CT",)), tmp_path / "in").note == ""


def _body(tmp_path: Path) -> Volume:
    """A round body in air, with its own noise inside, as a series and as the volume read of it."""
    series = make_series((6, 24, 24), seed=1, origin=(-10.0, -20.0, 30.0), extra=CLEAN)
    ball = np.hypot(*np.mgrid[-1:1:24j, -1:1:24j]) < 0.8
    noise = np.random.default_rng(0)
    for image in series.slices:
        image.PixelData = (1000 * ball + noise.integers(0, 150, ball.shape)).astype("<i2").tobytes()
    return read_series(series.write(tmp_path / "in" / "body"))


def test_what_is_alike_only_in_outline_is_refused(tmp_path):
    own = _body(tmp_path)
    mirrored = Volume(own.array[:, ::-1], own.affine, own.channels)
    assert np.corrcoef(mirrored.array.ravel(), own.array.ravel())[0, 1] > 0.95
    assert "none shows this image" in str(_refused(mirrored, tmp_path / "in"))
    changed = Volume(own.array + np.linspace(0, 200, 24)[:, None, None], own.affine, own.channels)
    assert _refer(changed, tmp_path / "in").note.startswith("the voxels were changed")


def test_the_voxels_that_are_compared_come_from_all_slices(monkeypatch):
    monkeypatch.setattr("medseg.export.dicom_match._LOOKED_AT", 64)
    slices = np.broadcast_to(np.arange(16.0), (16, 16, 16))
    assert len(np.unique(_some(slices))) == 16


def test_two_series_like_a_changed_image_are_refused(tmp_path):
    first, second, volumes = _pair(tmp_path)
    for image, like in zip(second.slices, first.slices, strict=True):
        image.PixelData = like.PixelData
        image.RescaleIntercept = -5
    second.write(tmp_path / "in" / "b")
    noise = np.random.default_rng(0).normal(0, 300, size=volumes[0].array.shape)
    with pytest.raises(DataError, match="2 series on this image's grid are like it"):
        _refer(Volume(volumes[0].array + noise, volumes[0].affine, ("CT",)), tmp_path / "in")


def test_resampled_cropped_and_shifted_images_belong_to_no_series(tmp_path):
    _, _, (volume, _) = _pair(tmp_path)
    shifted, finer = volume.affine.copy(), volume.affine.copy()
    shifted[:3, 3] += 0.2
    finer[:3, 0] /= 2
    for other in (
        Volume(volume.array, shifted, ("CT",)),
        Volume(volume.array, finer, ("CT",)),
        Volume(volume.array[:, 1:], volume.affine, ("CT",)),
    ):
        with pytest.raises(GeometryError, match="no series of 2 lies on this image's voxels"):
            _refer(other, tmp_path / "in")


def test_of_several_channels_the_first_that_a_series_holds_counts(tmp_path):
    _, _, volumes = _pair(tmp_path)
    strange = np.random.default_rng(9).normal(size=volumes[0].array.shape)
    both = Volume(np.concatenate([strange, volumes[1].array]), volumes[0].affine, ("PT", "CT"))
    assert {path.parent.name for path in _refer(both, tmp_path / "in").source.series} == {"b"}


def test_a_single_slice_is_found_whatever_thickness_its_nifti_states(tmp_path):
    files = make_series((1, 6, 7), extra=CLEAN).write(tmp_path / "in")
    flat = read_series(files)
    affine = flat.affine.copy()
    affine[:3, 2] *= 3
    found = _refer(Volume(flat.array[..., np.newaxis], affine, ("CT",)), tmp_path / "in")
    assert found.prediction.label_map.shape == (7, 6)


def test_pictures_empty_folders_and_even_images_are_refused(tmp_path):
    _, _, (volume, _) = _pair(tmp_path)
    with pytest.raises(DataError, match="a picture has no place in the patient"):
        _refer(Volume(np.zeros((3, 4, 5)), np.eye(4), ("red", "green", "blue")), tmp_path / "in")
    with pytest.raises(DataError, match="none shows this image"):
        _refer(Volume(np.zeros_like(volume.array), volume.affine, ("CT",)), tmp_path / "in")
    for folder in (tmp_path, tmp_path / "nowhere"):
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
        with pytest.raises(RequestError, match="--dicom-source: expected a folder"):
            find_source_series(folder)


def test_an_identified_series_stays_refused_by_way_of_its_nifti(tmp_path):
    volume = read_series(make_series(SHAPE).write(tmp_path / "in"))
    found = _refer(turned(volume), tmp_path / "in")
    with pytest.raises(PrivacyError, match="medseg deidentify"):
        write_seg(found.prediction, found.volume, found.source, tmp_path / "out")


@pytest.mark.parametrize("folder", ["dicom_sts_rtstruct/STS_008", "dicom_enhanced_mf/dcm_qa_enh", "dicom_mr_study"])
def test_what_dcm2niix_writes_is_led_back_to_its_series(test_data, folder, tmp_path):
    program = shutil.which("dcm2niix")
    if program is None:
        pytest.skip("no dcm2niix here; apt-get install dcm2niix")
    subprocess.run(
        [program, "-z", "n", "-f", "%s_%d", "-o", tmp_path, test_data / folder], check=False, capture_output=True
    )
    candidates = find_source_series(test_data / folder)
    finder = SeriesFinder(candidates)
    images = sorted(tmp_path.glob("*.nii"))
    assert len(images) >= 2
    led = set()
    for path in images:
        volume = read_volume(path)
        label = np.random.default_rng(0).integers(0, 2, size=volume.shape).astype(np.uint8)
        prediction = Prediction(label, volume.geometry)
        found = lay_on_series(prediction, Input("case", lambda volume=volume: volume), finder.find(volume))
        assert found.note == ""
        own = np.indices(found.prediction.label_map.shape).reshape(3, -1)
        step = np.linalg.inv(volume.affine) @ found.prediction.geometry.affine
        index = step[:3] @ np.vstack([own, np.ones((1, own.shape[1]))])
        places = np.rint(index).astype(int)
        assert np.abs(index - places).max() < 0.01
        assert np.array_equal(label[tuple(places)], found.prediction.label_map.ravel())
        led.add(found.source.series)
    assert len(led) == min(len(images), len(candidates))


def test_a_manifest_whose_image_is_a_series_refers_to_its_instances(tmp_path):
    from medseg.data.manifest import Card, Case, Manifest, write_manifest
    from medseg.data.source import find_inputs

    files = make_series(SHAPE, extra=CLEAN).write(tmp_path / "dicom" / "C1")
    card = Card.model_validate({"title": "x", "labels": {1: {"name": "lesion"}}, "modality": "CT", "channels": ["CT"]})
    case = Case(case="C1", patient="P1", images={"CT": tmp_path / "dicom" / "C1"}, modality="CT")
    write_manifest(Manifest(tmp_path / "m.csv", (case,), card), tmp_path / "m.csv")
    ((entry,), _) = find_inputs(tmp_path / "m.csv")
    assert sorted(entry.instances()) == sorted(files)
    volume = entry.read()
    label = blobs(volume.shape, seed=1)
    assert write_seg(Prediction(label, volume.geometry), volume, entry, tmp_path / "out")
    shutil.copytree(tmp_path / "dicom" / "C1", tmp_path / "dicom" / "C1" / "again")
    make_series(SHAPE, seed=5).write(tmp_path / "dicom" / "C1" / "again")
    with pytest.raises(ReadError, match="expected a folder with one DICOM series; found 2"):
        entry.instances()
