"""Every format of a prediction, there and back: voxel-equal, each voxel at its place in the patient."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.dicom import find_series, read_series
from medseg.data.readers import read_label
from medseg.data.source import Input
from medseg.data.volume import Volume
from medseg.errors import DataError, PrivacyError, ReadError, RequestError
from medseg.export import write_nifti, write_png
from medseg.export.prediction import output_paths, write_prediction
from medseg.inference.predict import Prediction
from medseg.privacy.identities import IdentityIndex
from tests.data.dicom_factory import make_enhanced, make_series
from tests.examples import examples
from tests.export.chance import chance_model
from tests.export.source_series import ALGORITHM, LABELS
from tests.export.written import CLEAN, PHASES, SEGS, chance_prediction, import_back, write_chance


@given(
    seed=st.integers(0, 10_000),
    spacing=st.tuples(*[st.floats(0.2, 8)] * 3),
    order=st.permutations(range(2)),
    flip=st.tuples(*[st.booleans()] * 3),
)
@settings(max_examples=examples(8), deadline=None, phases=PHASES)
def test_every_format_keeps_every_voxel_s_place_in_the_patient(seed, spacing, order, flip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("there")
    generator = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    orientation = (*rotation[:, 0], *rotation[:, 1])
    series = make_series((2, 4, 5), seed=seed, spacing=spacing, orientation=orientation, extra=CLEAN)
    files = series.write(folder / "ct", names=[f"IM{number}.dcm" for number in order])
    volume = read_series(generator.permutation(files).tolist())
    # The array may have been turned meanwhile: its axes run either way, and the affine says so.
    turn = np.eye(4)
    for axis, is_flipped in enumerate(flip):
        if is_flipped:
            turn[axis, axis], turn[axis, 3] = -1, volume.shape[axis] - 1
    array = np.flip(volume.array, tuple(axis + 1 for axis, is_flipped in enumerate(flip) if is_flipped))
    turned = Volume(array, volume.affine @ turn, volume.channels, volume.modality)
    prediction = chance_prediction(turned, seed=seed)
    expected = [_world(prediction.label_map == value, turned.affine) for value in (2, 5)]
    for output_format in ("dicom-seg", "dicom-seg-labelmap", "rtstruct", "nifti", "nrrd", "png", "coco"):
        path = write_chance(turned, files, folder / "out", output_format, prediction=prediction)
        label, grid = read_label(path, image=folder / "ct" if output_format == "rtstruct" else None)
        values = (1, 2) if output_format in ("dicom-seg", "rtstruct") else (2, 5)  # these count structures from 1
        for points, value in zip(expected, values, strict=True):
            assert _apart(points, _world(label == value, grid.affine)) < 1e-3, output_format


def _world(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return (affine @ np.vstack([np.argwhere(mask).T, np.ones(int(mask.sum()))]))[:3]


def _apart(first: np.ndarray, second: np.ndarray) -> float:
    """Largest distance in mm of each point from the nearest of the others."""
    if 0 in (first.shape[1], second.shape[1]):
        return 0.0 if first.shape == second.shape else np.inf
    distances = np.linalg.norm(first[:, :, np.newaxis] - second[:, np.newaxis, :], axis=0)
    return float(max(distances.min(axis=0).max(), distances.min(axis=1).max()))


@given(seed=st.integers(0, 10_000), shape=st.tuples(st.integers(1, 9), st.integers(1, 9)), turns=st.integers(0, 3))
@settings(max_examples=examples(20), deadline=None)
def test_png_keeps_every_pixel_at_its_column_and_row(seed, shape, turns, tmp_path_factory):
    label = np.rot90(np.random.default_rng(seed).choice([0, 2, 5], size=shape), turns).astype(np.uint8)
    path = tmp_path_factory.mktemp("png") / "case.png"
    write_png(label, path, label_count=2)
    found, grid = read_label(path)
    assert np.array_equal(found, label)
    assert np.array_equal(grid.affine, np.eye(4))


@pytest.mark.parametrize("output_format", SEGS)
def test_each_kind_of_seg_comes_back_through_import_voxel_equal(output_format, tmp_path):
    series = make_series(extra=CLEAN)
    files = series.write(tmp_path / "in" / "ct")
    volume = read_series(files)
    prediction = chance_prediction(volume)
    write_chance(volume, files, tmp_path / "in" / "seg", output_format, prediction=prediction)
    (label, grid), manifest, report = import_back(tmp_path / "in", tmp_path / "out")
    assert np.array_equal(label, prediction.label_map)
    assert grid.corner_distance(volume.geometry) < 1e-3
    assert report.refusals == ()
    assert manifest.card.labels[2].code == LABELS[2].code
    assert np.abs(np.subtract(manifest.card.labels[5].colour, LABELS[5].colour)).max() <= 1  # by way of CIELab


def test_a_slicer_segmentation_comes_back_through_import_with_its_names_and_codes(tmp_path):
    volume = read_series(make_series(extra=CLEAN).write(tmp_path / "ct"))
    prediction = chance_prediction(volume)
    (tmp_path / "in" / "images").mkdir(parents=True)
    write_nifti(volume.array[0].astype(np.uint16), volume.affine, tmp_path / "in" / "images" / "case.nii.gz")
    path = write_chance(volume, (), tmp_path / "in" / "labels", "nrrd", prediction=prediction)
    assert path.name == "case.seg.nrrd"
    (label, _), manifest, _ = import_back(tmp_path / "in", tmp_path / "out")
    assert np.array_equal(label, prediction.label_map)
    assert manifest.card.label_names() == {2: "tumour", 5: "oedema"}
    assert manifest.card.labels[2].code == LABELS[2].code
    assert manifest.card.labels[5].colour == LABELS[5].colour


def test_simpleitk_reads_the_slicer_segmentation_where_it_lies(tmp_path):
    import SimpleITK as sitk

    volume = read_series(make_series(extra=CLEAN, orientation=(0, 1, 0, 0, 0, -1)).write(tmp_path / "ct"))
    prediction = chance_prediction(volume)
    image = sitk.ReadImage(write_chance(volume, (), tmp_path, "nrrd", prediction=prediction))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, prediction.label_map)
    for index in ((0, 0, 0), (6, 5, 4), (3, 1, 2)):
        x, y, z = image.TransformIndexToPhysicalPoint(index)
        assert np.allclose((volume.affine @ [*index, 1])[:3], (-x, -y, z), atol=1e-3)
    assert image.GetMetaData("Segment0_Name") == "tumour"
    assert image.GetMetaData("Segment1_LabelValue") == "5"


@pytest.mark.parametrize("output_format", [*SEGS, "dicom-uncertainty", "dicom-overlay"])
def test_an_enhanced_image_of_two_phases_is_referred_to_frame_by_frame(output_format, tmp_path):
    series = make_series((4, 6, 7), extra=CLEAN)
    image = make_enhanced(series, order=[2, 0, 3, 1])
    twice = image.PerFrameFunctionalGroupsSequence
    for keyword, value in CLEAN.items():
        setattr(image, keyword, value)
    image.NumberOfFrames = 8
    image.PixelData = image.PixelData * 2
    again = pydicom.Dataset.from_json(image.to_json()).PerFrameFunctionalGroupsSequence
    image.PerFrameFunctionalGroupsSequence = [*twice, *again]
    for number, group in enumerate(image.PerFrameFunctionalGroupsSequence):
        content = pydicom.Dataset()
        content.TemporalPositionIndex = number // 4 + 1
        group.FrameContentSequence = [content]
    # Orientation and spacing by frame, as Philips and Siemens write them.
    shared = image.SharedFunctionalGroupsSequence[0]
    for group in image.PerFrameFunctionalGroupsSequence:
        group.PlaneOrientationSequence, group.PixelMeasuresSequence = (
            shared.PlaneOrientationSequence, shared.PixelMeasuresSequence,
        )  # fmt: skip
    del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
    (tmp_path / "mf").mkdir()
    image.save_as(tmp_path / "mf" / "mf.dcm", enforce_file_format=True)
    volume = read_series([tmp_path / "mf" / "mf.dcm"])
    assert volume.array.shape == (2, 7, 6, 4)
    prediction = chance_prediction(volume)
    path = write_chance(
        volume, [tmp_path / "mf" / "mf.dcm"], tmp_path / "mf" / "out", output_format, prediction=prediction
    )
    written = pydicom.dcmread(path)
    if output_format == "dicom-overlay":
        assert written.NumberOfFrames == 4
        assert written.SourceImageSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
        return
    for group in written.PerFrameFunctionalGroupsSequence:
        sources = group.DerivationImageSequence[0].SourceImageSequence
        assert {s.ReferencedSOPInstanceUID for s in sources} == {image.SOPInstanceUID}
        assert len(sources) == 2  # both phases lie there
        for source in sources:
            place = image.PerFrameFunctionalGroupsSequence[source.ReferencedFrameNumber - 1].PlanePositionSequence[0]
            assert place.ImagePositionPatient == group.PlanePositionSequence[0].ImagePositionPatient
    if output_format in SEGS:
        (label, _), _, _ = import_back(tmp_path / "mf", tmp_path / "imported")
        assert np.array_equal(label, prediction.label_map)


@pytest.mark.parametrize("output_format", [*SEGS, "dicom-uncertainty", "dicom-overlay", "rtstruct", "sr"])
def test_without_a_dicom_series_or_a_clean_one_a_dicom_object_is_refused_with_the_reason(output_format, tmp_path):
    series = make_series()
    files = series.write(tmp_path / "ct")
    volume = read_series(files)
    with pytest.raises(ReadError, match=r"this image is none; name the folder of the series .* with --dicom-source"):
        write_chance(volume, (), tmp_path / "out", output_format)
    with pytest.raises(PrivacyError, match="medseg deidentify"):
        write_chance(volume, files, tmp_path / "out", output_format)
    assert not (tmp_path / "out").exists()


def test_a_source_without_a_frame_of_reference_is_refused_where_positions_count(tmp_path):
    series = make_series(extra=CLEAN)
    for image in series.slices:
        del image.FrameOfReferenceUID
    files = series.write(tmp_path / "ct")
    volume = read_series(files)
    for output_format in (*SEGS, "dicom-uncertainty"):
        with pytest.raises(DataError, match="no frame of reference"):
            write_chance(volume, files, tmp_path / "out", output_format)
    assert write_chance(volume, files, tmp_path / "out", "dicom-overlay").exists()


@pytest.mark.parametrize("output_format", ["nifti", "dicom-seg-labelmap", "rtstruct", "sr"])
def test_a_report_beside_anything_but_a_binary_seg_is_refused(output_format, tmp_path):
    with pytest.raises(RequestError, match="--report goes with --format dicom-seg"):
        output_paths(tmp_path, "case", output_format, report=True)


def test_probabilities_are_asked_for_where_they_are_needed(tmp_path):
    files = make_series(extra=CLEAN).write(tmp_path / "ct")
    volume = read_series(files)
    bare = Prediction(np.zeros(volume.shape, np.uint8), volume.geometry)
    for output_format in ("dicom-seg-fractional", "dicom-uncertainty"):
        with pytest.raises(DataError, match="probabilities of 2 labels"):
            write_chance(volume, files, tmp_path / "out", output_format, prediction=bare)


@pytest.mark.parametrize("output_format", [*SEGS, "dicom-uncertainty", "dicom-overlay"])
def test_dciodvfy_finds_nothing_that_highdicom_s_own_output_lacks(output_format, tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("no dciodvfy here; apt-get install dicom3tools")
    series = make_series(extra=CLEAN)
    files = series.write(tmp_path / "ct")
    volume = read_series(files)
    ours = _errors(write_chance(volume, files, tmp_path / "out", output_format))
    assert ours <= (_plain_labelmap_errors(series, tmp_path) if output_format == "dicom-seg-labelmap" else set())


def _errors(path: Path) -> set[str]:
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    lines = (told.stdout + told.stderr).splitlines()
    assert lines != []
    return {line for line in lines if line.startswith("Error")}


def _plain_labelmap_errors(series, folder: Path) -> set[str]:
    """What dciodvfy, which doesn't know that storage class yet, says of highdicom's own."""
    from tests.data.seg_factory import make_seg, source_images, write_seg

    voxels = np.random.default_rng(0).integers(0, 3, size=(5, 6, 7)).astype(np.uint8)
    return _errors(
        write_seg(make_seg(source_images(series), voxels, ("a", "b"), kind="LABELMAP"), folder / "plain.dcm")
    )


def test_the_command_writes_every_format_and_segs_come_home_equal_to_the_nifti(tmp_path):
    make_series((8, 12, 14), extra=CLEAN).write(tmp_path / "in")
    model = chance_model(tmp_path / "m.medseg", 3)
    for output_format in ("nifti", "nrrd", *SEGS, "dicom-uncertainty", "dicom-overlay"):
        arguments = ["predict", model, tmp_path / "in", tmp_path / "out", "--format", output_format]
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
        assert f"1 of 1 image predicted as {output_format}" in result.stdout
        (path,) = output_paths(tmp_path / "out", "image_0001", output_format)
        assert path.is_file()
    nifti, _ = read_label(tmp_path / "out" / "image_0001.nii.gz")
    assert len(np.unique(nifti)) > 1
    for output_format in SEGS:
        (path,) = output_paths(tmp_path / "out", "image_0001", output_format)
        tree = tmp_path / output_format
        shutil.copytree(tmp_path / "in", tree)
        shutil.copy(path, tree)
        (label, _), _, _ = import_back(tree, tmp_path / f"{output_format} imported")
        if output_format == "dicom-seg-fractional":
            assert (label != nifti).mean() < 0.02  # in steps of 1/255 there are ties
        else:
            assert np.array_equal(label, nifti)


@pytest.mark.parametrize("folder", ["dicom_enhanced_mf/dcm_qa_enh"])
def test_real_series_get_every_kind_of_seg_back(test_data, folder, tmp_path):
    from medseg.data.dicom_labels import Target, paint_labels, read_label_object
    from medseg.export import write_dicom_seg

    series = min((s for s in find_series(test_data / folder)[0] if s.modality == "MR"), key=lambda s: s.headers[0].rows)
    volume = read_series(series.files)
    label = chance_prediction(volume).label_map
    for kind in ("binary", "labelmap"):
        path = tmp_path / f"{kind}.dcm"
        write_dicom_seg(label, volume.affine, series.files, path, labels=LABELS, algorithm=ALGORITHM, kind=kind,
                        identified_source="keep")  # fmt: skip
        target = Target(volume.geometry, series.headers)
        back, _ = paint_labels([read_label_object(path)], target, {"tumour": 2, "oedema": 5})
        assert np.array_equal(back, label)


@pytest.mark.parametrize("output_format", ["nifti", "dicom-seg"])
def test_a_prediction_that_the_gate_refuses_is_not_written(output_format, tmp_path):
    files = make_series((4, 5, 6), extra=CLEAN | {"StudyID": "4711081523"}).write(tmp_path / "ct")
    volume = read_series(files)
    identities = IdentityIndex()
    identities.add(["Novakova^Jana", "4711081523"])
    for name in ("case", "Jana Novakova"):
        out = tmp_path / "out"
        source = Input(name, lambda: volume, tuple(files))
        options = {"output_format": output_format, "labels": LABELS, "algorithm": ALGORITHM}
        refused = name != "case" or output_format == "dicom-seg"
        if refused:
            with pytest.raises(PrivacyError, match="refused"):
                write_prediction(chance_prediction(volume), volume, source, out, identities=identities, **options)
            assert not out.exists()
        path = write_prediction(
            chance_prediction(volume), volume, source, out, identities=identities, **options, tier="internal"
        )
        assert list(out.iterdir()) == [path]
        shutil.rmtree(out)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=examples(6), deadline=None, phases=PHASES)
def test_fractions_read_as_the_label_map_also_where_chances_are_even_or_specks_were_cleaned_away(
    seed, tmp_path_factory
):
    folder = tmp_path_factory.mktemp("even")
    files = make_series(extra=CLEAN).write(folder / "in")
    volume = read_series(files)
    generator = np.random.default_rng(seed)
    probabilities = generator.choice([0.0, 0.25, 0.5, 0.501, 1.0], size=(3, *volume.shape)) + 1e-6
    probabilities = (probabilities / probabilities.sum(axis=0)).astype(np.float16)
    label = np.array([0, 2, 5], np.uint8)[probabilities.argmax(axis=0)]
    label[generator.random(volume.shape) < 0.2] = 0
    path = write_chance(volume, files, folder / "in", "dicom-seg-fractional",
                  prediction=Prediction(label, volume.geometry, probabilities))  # fmt: skip
    (found, _), _, _ = import_back(folder / "in", folder / "out")
    assert np.array_equal(found, label)
    written = pydicom.dcmread(path)
    assert written.SegmentationFractionalType == "PROBABILITY"
