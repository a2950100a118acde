import shutil

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.dicom import find_series, read_series
from medseg.data.dicom_labels import Target, paint_labels, read_label_object
from medseg.errors import DataError, GeometryError, LabelError, PrivacyError
from medseg.export import write_rtstruct
from tests.data.dicom_factory import make_enhanced
from tests.examples import examples
from tests.export.source_series import ALGORITHM, LABELS, blobs, clean_series, errors_of, random_rotation


def _written(tmp_path, *, label=None, **facts):
    series = clean_series(**facts)
    files = series.write(tmp_path / "series")
    volume = read_series(files)
    label = blobs(volume.shape, seed=3) if label is None else label
    write_rtstruct(label, volume.affine, files, tmp_path / "rs.dcm", labels=LABELS, algorithm=ALGORITHM)
    return series, volume, label


def _read(path, series_files, volume):
    entry = read_label_object(path)
    headers = find_series(series_files)[0][0].headers
    return paint_labels([entry], Target(volume.geometry, headers), {"tumour": 2, "oedema": 5})


@given(seed=st.integers(0, 1000), oblique=st.booleans())
@settings(max_examples=examples(8), deadline=None)
def test_a_label_map_comes_back_voxel_for_voxel_from_its_contours(seed, oblique, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rs")
    rotation = random_rotation(seed) if oblique else None
    series = clean_series(rotation=rotation)
    files = series.write(folder / "series", names=[f"{n * 5 % 6}.dcm" for n in range(6)])
    volume = read_series(files)
    label = blobs(volume.shape, seed=seed)
    shuffled = [files[i] for i in np.random.default_rng(seed).permutation(6)]
    write_rtstruct(label, volume.affine, shuffled, folder / "rs.dcm", labels=LABELS, algorithm=ALGORITHM)
    back, notes = _read(folder / "rs.dcm", folder / "series", volume)
    assert np.array_equal(back, label)
    assert notes == ()


@given(seed=st.integers(0, 1000))
@settings(max_examples=examples(4), deadline=None)
def test_every_point_lies_half_a_voxel_from_the_voxels_it_separates(seed, tmp_path_factory):
    """By pydicom alone: the points of a one-voxel lesion, in the patient, against the voxel's centre."""
    folder = tmp_path_factory.mktemp("rs")
    series = clean_series(rotation=random_rotation(seed))
    files = series.write(folder / "series")
    volume = read_series(files)
    voxel = np.random.default_rng(seed).integers((1, 1, 1), np.array(volume.shape) - 1)
    label = np.zeros(volume.shape, dtype=np.uint8)
    label[tuple(voxel)] = 2
    write_rtstruct(label, volume.affine, files, folder / "rs.dcm", labels=LABELS, algorithm=ALGORITHM)
    (contour,) = pydicom.dcmread(folder / "rs.dcm").ROIContourSequence[0].ContourSequence
    points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
    slices = [s for s in series.slices if s.SOPInstanceUID == contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
    centre = (series.affine @ [*voxel, 1])[:3] * (-1, -1, 1)  # The factory's closed form, no reader.
    assert np.abs(points.mean(axis=0) - centre).max() < 1e-3
    normal = np.cross(series.orientation[:3], series.orientation[3:])
    height = np.array(slices[0].ImagePositionPatient, dtype=float) @ normal
    assert np.abs(points @ normal - height).max() < 1e-3
    distances = np.sort(np.linalg.norm(points - centre, axis=1))
    assert distances == pytest.approx([0.35, 0.35, 0.4, 0.4], abs=1e-3)


def test_a_structure_set_says_what_drew_it_and_on_which_slices(tmp_path):
    series, _, _ = _written(tmp_path)
    content = pydicom.dcmread(tmp_path / "rs.dcm")
    assert content.Modality == "RTSTRUCT"
    assert content.PatientIdentityRemoved == "YES"
    assert [roi.ROIName for roi in content.StructureSetROISequence] == ["tumour", "oedema"]
    assert {roi.ROIGenerationAlgorithm for roi in content.StructureSetROISequence} == {"AUTOMATIC"}
    assert list(content.ROIContourSequence[1].ROIDisplayColor) == [0, 200, 0]
    code = content.RTROIObservationsSequence[0].RTROIIdentificationCodeSequence[0]
    assert (code.CodeValue, code.CodeMeaning) == ("108369006", "Neoplasm")
    (frame,) = content.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == series.frame
    (referenced,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == series.uid
    own = {s.SOPInstanceUID for s in series.slices}
    assert {image.ReferencedSOPInstanceUID for image in referenced.ContourImageSequence} == own
    contours = [c for roi in content.ROIContourSequence for c in roi.ContourSequence]
    assert {c.ContourGeometricType for c in contours} == {"CLOSED_PLANAR"}
    assert {c.ContourImageSequence[0].ReferencedSOPInstanceUID for c in contours} <= own


def test_dciodvfy_finds_no_error(tmp_path):
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not here; install Debian's dicom3tools")
    _written(tmp_path)
    assert errors_of(tmp_path / "rs.dcm") == []


def test_another_reader_draws_the_same_voxels(tmp_path):
    """OpenCV's polygon filling, as rt-utils uses it, on the points that pydicom alone gives."""
    import cv2

    ring = np.zeros((24, 20, 6), dtype=np.uint8)
    ring[4:16, 3:15, 2:5], ring[8:12, 7:11, 3] = 2, 0
    series, _, _ = _written(tmp_path, label=ring)
    content = pydicom.dcmread(tmp_path / "rs.dcm")
    to_index = np.linalg.inv(np.diag([-1, -1, 1, 1]) @ series.affine)
    drawn = np.zeros((6, 20, 24), dtype=np.uint8)
    for contour in content.ROIContourSequence[0].ContourSequence:
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3) @ to_index[:3, :3].T + to_index[:3, 3]
        # fillPoly also paints what its edges touch: fixed-point corners pulled in by a tenth show the inside only.
        fine = np.zeros((200, 240), dtype=np.uint8)
        cv2.fillPoly(fine, [np.rint(points[:, :2] * 10 + 5).astype(np.int32)], 1)
        drawn[int(np.rint(points[0, 2]))] ^= fine[5::10, 5::10]
    assert np.array_equal(drawn.transpose(2, 1, 0) * 2, ring)


def test_nothing_found_is_recorded_as_structures_without_contours(tmp_path):
    _written(tmp_path, label=np.zeros((24, 20, 6), dtype=np.uint8))
    content = pydicom.dcmread(tmp_path / "rs.dcm")
    assert len(content.StructureSetROISequence) == 2
    assert not any("ContourSequence" in roi for roi in content.ROIContourSequence)


def test_the_same_prediction_is_the_same_instance(tmp_path):
    series = clean_series()
    files = series.write(tmp_path / "series")
    volume = read_series(files)
    label = blobs(volume.shape, seed=1)
    for name in ("a.dcm", "b.dcm"):
        write_rtstruct(label, volume.affine, files, tmp_path / name, labels=LABELS, algorithm=ALGORITHM)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()


def test_frames_of_an_enhanced_image_are_referred_to_by_number(tmp_path):
    series = clean_series()
    image = make_enhanced(series, order=[3, 1, 0, 2, 5, 4])
    for keyword, value in series.extra.items():
        setattr(image, keyword, value)
    image.save_as(tmp_path / "enhanced.dcm", enforce_file_format=True)
    volume = read_series([tmp_path / "enhanced.dcm"])
    label = blobs(volume.shape, seed=2)
    path = tmp_path / "out" / "rs.dcm"
    write_rtstruct(label, volume.affine, [tmp_path / "enhanced.dcm"], path, labels=LABELS, algorithm=ALGORITHM)
    back, _ = paint_labels([read_label_object(path)], Target(volume.geometry), {"tumour": 2, "oedema": 5})
    assert np.array_equal(back, label)
    contour = pydicom.dcmread(path).ROIContourSequence[0].ContourSequence[0]
    assert 1 <= contour.ContourImageSequence[0].ReferencedFrameNumber <= 6


def test_what_cannot_be_referred_to_is_refused(tmp_path):
    series = clean_series(removed="NO")
    files = series.write(tmp_path / "series")
    volume = read_series(files)
    label = blobs(volume.shape, seed=1)
    out = tmp_path / "rs.dcm"
    with pytest.raises(PrivacyError, match="deidentify"):
        write_rtstruct(label, volume.affine, files, out, labels=LABELS, algorithm=ALGORITHM)
    clean = clean_series(FrameOfReferenceUID="").write(tmp_path / "frameless")
    with pytest.raises(DataError, match="frame of reference"):
        write_rtstruct(label, volume.affine, clean, out, labels=LABELS, algorithm=ALGORITHM)
    clean = clean_series().write(tmp_path / "clean")
    with pytest.raises(GeometryError, match="does not lie on the voxels"):
        write_rtstruct(label, np.diag([1.0, 1, 1, 1]), clean, out, labels=LABELS, algorithm=ALGORITHM)
    with pytest.raises(LabelError, match="found 4 too"):
        write_rtstruct(label * 2, volume.affine, clean, out, labels=LABELS, algorithm=ALGORITHM)
    for file in clean:
        dataset = pydicom.dcmread(file)
        del dataset.SOPClassUID
        dataset.save_as(file)
    with pytest.raises(DataError, match="lacks what a structure set has to refer to"):
        write_rtstruct(label, volume.affine, clean, out, labels=LABELS, algorithm=ALGORITHM)
    assert not out.exists()
