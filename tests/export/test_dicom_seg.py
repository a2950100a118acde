import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medseg.data.card import CodedConcept, LabelInfo
from medseg.errors import GeometryError, LabelError, PrivacyError, ReadError
from medseg.export import Algorithm, write_dicom_seg
from tests.examples import examples

_ALGORITHM = Algorithm(name="lesions", version="0.1.0", model_id="ab" * 32)
_LABELS = {
    2: LabelInfo(name="tumour", code=CodedConcept(value="108369006", scheme="SCT", meaning="Neoplasm")),
    5: LabelInfo(name="oedema", colour=(0, 200, 0)),
}
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def _rotation(seed):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return rotation * np.sign(np.linalg.det(rotation))


def _write_series(folder, *, shape=(7, 5, 4), rotation=None, spacing=(0.8, 1.1, 2.5), removed="YES"):
    """A CT series of columns x rows x slices; returns its files and its affine, index (column, row, slice) to RAS."""
    axes = np.eye(3) if rotation is None else rotation
    affine = np.eye(4)
    affine[:3, :3] = axes * np.array(spacing)
    affine[:3, 3] = (-30.0, 12.0, 100.0)
    files = []
    for index in range(shape[2]):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = f"2.25.77{index}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, f"2.25.77{index}"
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = "2.25.1", "2.25.2", "2.25.3"
        image.PatientID, image.PatientName, image.PatientBirthDate, image.PatientSex = "PABC", "PABC", "", ""
        image.AccessionNumber, image.StudyID, image.StudyDate, image.StudyTime = "", "", "20010203", "040506"
        image.ReferringPhysicianName, image.Modality = "", "CT"
        image.PatientIdentityRemoved = removed
        image.DeidentificationMethod = "medseg"
        image.Rows, image.Columns = shape[1], shape[0]
        image.ImageOrientationPatient = [f"{v:.8f}" for v in (*axes[:, 0], *axes[:, 1])]
        image.ImagePositionPatient = [f"{v:.8f}" for v in (affine @ [0, 0, index, 1])[:3]]
        image.PixelSpacing = [spacing[1], spacing[0]]
        image.SliceThickness = spacing[2]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.PixelData = np.zeros(shape[0] * shape[1], dtype=np.int16).tobytes()
        path = folder / f"{(index * 3) % shape[2]}{index}.dcm"
        image.save_as(path, enforce_file_format=True)
        files.append(path)
    return files, _RAS @ affine


def _read_with_pydicom_only(path, affine, shape, labels):
    """Each frame's pixels put back by its own position: label map of the grid `affine`, from pydicom alone."""
    seg = pydicom.dcmread(path)
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    frames = bits[: seg.NumberOfFrames * seg.Rows * seg.Columns].reshape(-1, seg.Rows, seg.Columns)
    values = dict(enumerate(sorted(labels), start=1))
    shared = seg.SharedFunctionalGroupsSequence[0]
    orientation = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    spacing = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    label_map = np.zeros(shape, dtype=np.uint8)
    for frame, group in zip(frames, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        for row, column in np.argwhere(frame):
            lps = position + orientation[0] * spacing[1] * column + orientation[1] * spacing[0] * row
            index = np.linalg.inv(affine) @ [*(lps * (-1, -1, 1)), 1]
            assert np.abs(index - np.rint(index)).max() < 1e-3
            label_map[tuple(np.rint(index[:3]).astype(int))] = values[number]
    return label_map


@given(seed=st.integers(0, 1000), flips=st.tuples(*[st.booleans()] * 3), order=st.permutations(range(3)))
@settings(max_examples=examples(12), deadline=None)
def test_every_voxel_comes_back_at_its_place_in_the_patient(seed, flips, order, tmp_path_factory):
    folder = tmp_path_factory.mktemp("seg")
    files, affine = _write_series(folder, rotation=_rotation(seed))
    label_map = np.random.default_rng(seed).choice([0, 0, 2, 5], size=(7, 5, 4)).astype(np.uint8)
    # The reader may have turned the array: any flip and order of its axes is the same label map.
    turn = np.eye(4)[:, [*order, 3]]
    turned = label_map.transpose(order)
    for axis in range(3):
        if flips[axis]:
            flip = np.eye(4)
            flip[axis, axis], flip[axis, 3] = -1, turned.shape[axis] - 1
            turn, turned = turn @ flip, np.flip(turned, axis)
    path = folder / "out.dcm"
    shuffled = [files[i] for i in np.random.default_rng(seed).permutation(4)]
    write_dicom_seg(turned, affine @ turn, shuffled, path, labels=_LABELS, algorithm=_ALGORITHM)
    assert np.array_equal(_read_with_pydicom_only(path, affine, (7, 5, 4), _LABELS), label_map)


def test_highdicom_reads_the_segments_with_their_codes_references_and_algorithm(tmp_path):
    import highdicom as hd

    files, affine = _write_series(tmp_path)
    label_map = np.zeros((7, 5, 4), dtype=np.uint8)
    label_map[1:3, 1:4, 1:3], label_map[5, 2, 2] = 2, 5
    uid = write_dicom_seg(label_map, affine, files, tmp_path / "s.dcm", labels=_LABELS, algorithm=_ALGORITHM)
    seg = hd.seg.segread(tmp_path / "s.dcm")
    assert seg.SOPInstanceUID == uid
    assert seg.FrameOfReferenceUID == "2.25.3"
    assert seg.StudyInstanceUID == "2.25.1"
    assert seg.PatientIdentityRemoved == "YES"
    first, second = (seg.get_segment_description(n) for n in (1, 2))
    assert (first.segment_label, first.segmented_property_type.value) == ("tumour", "108369006")
    assert second.segmented_property_type.meaning == "Lesion"
    identification = first.algorithm_identification
    assert (identification.name, identification.version) == ("lesions", "0.1.0")
    referenced = {str(r[2]) for r in seg.get_source_image_uids()}
    assert referenced == {f"2.25.77{i}" for i in range(4)}
    volume = seg.get_volume(combine_segments=True)
    assert int((volume.array == 1).sum()) == int((label_map == 2).sum())


def test_the_same_prediction_is_the_same_instance_and_names_no_moment_of_its_making(tmp_path):
    files, affine = _write_series(tmp_path)
    label_map = np.ones((7, 5, 4), dtype=np.uint8) * 2
    for name in ("a.seg", "b.seg"):
        write_dicom_seg(label_map, affine, files, tmp_path / name, labels=_LABELS, algorithm=_ALGORITHM)
    assert (tmp_path / "a.seg").read_bytes() == (tmp_path / "b.seg").read_bytes()
    seg = pydicom.dcmread(tmp_path / "a.seg")
    dates = [e.value for e in seg.iterall() if e.VR in ("DA", "DT") and e.value]
    assert dates
    assert all(str(value).startswith("20010203") for value in dates)
    other = write_dicom_seg(label_map * 0, affine, files, tmp_path / "c.seg", labels=_LABELS, algorithm=_ALGORITHM)
    assert other != seg.SOPInstanceUID


def test_nothing_found_is_recorded_as_empty_frames(tmp_path):
    files, affine = _write_series(tmp_path)
    empty = np.zeros((7, 5, 4), dtype=np.uint8)
    write_dicom_seg(empty, affine, files, tmp_path / "s.dcm", labels=_LABELS, algorithm=_ALGORITHM)
    seg = pydicom.dcmread(tmp_path / "s.dcm")
    assert seg.NumberOfFrames >= 4
    assert not any(seg.PixelData)


def test_a_label_map_on_another_grid_is_refused(tmp_path):
    files, affine = _write_series(tmp_path)
    shifted = affine.copy()
    shifted[0, 3] += 0.4
    label_map = np.ones((7, 5, 4), dtype=np.uint8) * 2
    with pytest.raises(GeometryError, match="does not lie on the voxels"):
        write_dicom_seg(label_map, shifted, files, tmp_path / "s", labels=_LABELS, algorithm=_ALGORITHM)
    with pytest.raises(GeometryError, match="outside the source's frames"):
        write_dicom_seg(label_map, affine, files[:-1], tmp_path / "s", labels=_LABELS, algorithm=_ALGORITHM)
    with pytest.raises(LabelError, match="found 1 too"):
        write_dicom_seg(label_map // 2, affine, files, tmp_path / "s", labels=_LABELS, algorithm=_ALGORITHM)
    assert not (tmp_path / "s").exists()


def test_a_source_that_was_not_deidentified_is_refused_unless_asked_for(tmp_path):
    files, affine = _write_series(tmp_path, removed="NO")
    label_map = np.ones((7, 5, 4), dtype=np.uint8) * 2
    with pytest.raises(PrivacyError, match="deidentify"):
        write_dicom_seg(label_map, affine, files, tmp_path / "s", labels=_LABELS, algorithm=_ALGORITHM)
    write_dicom_seg(
        label_map, affine, files, tmp_path / "s", labels=_LABELS, algorithm=_ALGORITHM, identified_source="keep"
    )
    assert pydicom.dcmread(tmp_path / "s").PatientID == "PABC"


def test_a_file_that_is_not_dicom_is_refused_without_its_name(tmp_path):
    secret = tmp_path / "Jane_Roe.dcm"
    secret.write_bytes(b"no dicom")
    with pytest.raises(ReadError, match="source file 1 of 1") as refusal:
        write_dicom_seg(
            np.zeros((1, 1, 1), int), np.eye(4), [secret], tmp_path / "s", labels=_LABELS, algorithm=_ALGORITHM
        )
    assert "Jane" not in str(refusal.value)


@pytest.mark.parametrize("folder", ["dicom_mr_study", "dicom_seg_pet_lesions"])
def test_real_series_take_every_voxel_of_a_label_map(test_data, folder, tmp_path):
    import highdicom as hd

    from medseg.data.dicom import find_series, read_series

    series = next(s for s in find_series(test_data / folder)[0] if s.modality in ("MR", "PT"))
    volume = read_series(series.files)
    label_map = np.zeros(volume.shape, dtype=np.uint8)
    label_map[3:9, 4:11, 5:8], label_map[20, 20, 9] = 2, 5
    path = tmp_path / "s.dcm"
    write_dicom_seg(
        label_map, volume.affine, series.files, path, labels=_LABELS, algorithm=_ALGORITHM, identified_source="keep"
    )
    seg = hd.seg.segread(path).get_volume(combine_segments=True)
    to_ras = volume.affine
    for number, value in ((1, 2), (2, 5)):
        lps = (seg.affine @ np.c_[np.argwhere(seg.array == number), np.ones((seg.array == number).sum())].T)[:3]
        ras = (to_ras @ np.c_[np.argwhere(label_map == value), np.ones((label_map == value).sum())].T)[:3]
        found, expected = (np.array(sorted(map(tuple, np.round(p.T, 2)))) for p in (lps * [[-1], [-1], [1]], ras))
        assert np.abs(found - expected).max() < 0.02
