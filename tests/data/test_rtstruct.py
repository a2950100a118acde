import contextlib

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from medseg.data.dicom import read_series, series_geometry
from medseg.data.dicom_labels import Target, paint_labels, read_label_object
from medseg.data.dicom_sort import sort_series
from medseg.data.dicom_structures import StructureRule
from medseg.data.importer import ImportOptions, import_tree
from medseg.data.readers import read_label
from medseg.data.recognise import Choice
from medseg.errors import DataError, GeometryError, LabelError, ReadError, RequestError
from tests.data.dicom_factory import make_item, make_series
from tests.examples import examples

_LPS = np.array([-1.0, -1.0, 1.0])


def _structure_set(path, series, regions, *, frame=None, refer=True, patient=None):
    """Write regions: name to a list of (geometric type, points (column, row, slice) in voxels of the series)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    data.Modality, data.PatientID, data.StudyInstanceUID = "RTSTRUCT", patient or series.patient, series.study
    data.SeriesInstanceUID = generate_uid()
    frame = series.frame if frame is None else frame
    referenced = make_item(SeriesInstanceUID=series.uid if refer else generate_uid())
    referenced.ContourImageSequence = [
        make_item(ReferencedSOPClassUID=s.SOPClassUID, ReferencedSOPInstanceUID=s.SOPInstanceUID) for s in series.slices
    ] if refer else []  # fmt: skip
    study = make_item(ReferencedSOPInstanceUID=series.study, RTReferencedSeriesSequence=[referenced])
    data.ReferencedFrameOfReferenceSequence = [make_item(FrameOfReferenceUID=frame, RTReferencedStudySequence=[study])]
    data.StructureSetROISequence = [
        make_item(ROINumber=n, ROIName=name, ReferencedFrameOfReferenceUID=frame)
        for n, name in enumerate(regions, start=1)
    ]
    data.ROIContourSequence = [
        make_item(ReferencedROINumber=n, ROIDisplayColor=[255, 0, 0], ContourSequence=[
            make_item(ContourGeometricType=kind, NumberOfContourPoints=len(points),
                  ContourData=[f"{v:.6g}" for v in _world(series, points).ravel()])
            for kind, points in drawn
        ])
        for n, drawn in enumerate(regions.values(), start=1)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def _world(series, points):
    points = np.asarray(points, dtype=float)
    return (points @ series.affine[:3, :3].T + series.affine[:3, 3]) * _LPS


def _square(low, high, z):
    return [(low, low, z), (high, low, z), (high, high, z), (low, high, z)]


def _painted(path, files, values):
    (series,), _ = sort_series(files)
    return paint_labels([read_label_object(path)], Target(series_geometry(series), series.headers), values)


def _set_of(tmp_path, regions, **facts):
    series = make_series((6, 12, 14))
    files = series.write(tmp_path / "ct")
    return _structure_set(tmp_path / "rs.dcm", series, regions, **facts), files


def test_the_structures_of_real_patients_are_their_masks_voxel_for_voxel(test_data, tmp_path):
    """The masks beside them follow the same rule: the voxels whose centres lie inside."""
    import nibabel as nib

    root = test_data / "dicom_sts_rtstruct"
    for modality in ("CT", "MR", "PET"):
        out = tmp_path / modality
        choice = Choice(modality="PT" if modality == "PET" else modality, structures=(StructureRule.of("gtv*=tumour"),))
        report = import_tree(root, out, options=ImportOptions(choice=choice))
        assert report.labelled == report.cases == (2 if modality == "CT" else 1)
        for case in sorted((out / "labels").iterdir()):
            own = nib.as_closest_canonical(nib.load(case))
            mask = np.asarray(own.dataobj) > 0
            dice = []
            for path in root.glob(f"*/nifti/{modality}*_mask.nii.gz"):
                theirs = nib.as_closest_canonical(nib.load(path))
                if theirs.shape == own.shape and np.allclose(theirs.affine, own.affine, atol=1e-3):
                    other = np.asarray(theirs.dataobj) > 0
                    dice.append(2 * (mask & other).sum() / (mask.sum() + other.sum()))
            assert dice == [1.0]


def test_import_gives_cases_with_labels_from_a_tree_with_a_structure_set(tmp_path):
    series = make_series((6, 12, 14))
    series.write(tmp_path / "tree" / "ct")
    _structure_set(tmp_path / "tree" / "rt" / "rs.dcm", series, {"GTV": [("CLOSED_PLANAR", _square(2.5, 6.5, 3))]})
    report = import_tree(tmp_path / "tree", tmp_path / "out", options=ImportOptions())
    assert (report.cases, report.labelled) == (1, 1)
    (path,) = (tmp_path / "out" / "labels").iterdir()
    label, _ = read_label(path)
    assert np.argwhere(label).min(axis=0).tolist() == [3, 3, 3]
    assert label.sum() == 16


def test_holes_keyholes_points_and_open_contours_are_told_apart(tmp_path):
    square, hole = _square(1.5, 9.5, 2), _square(3.5, 6.5, 2)
    keyhole = [*_square(1.5, 9.5, 4), (1.5, 1.5, 4), *_square(3.5, 6.5, 4), (3.5, 3.5, 4), (1.5, 1.5, 4)]
    regions = {
        "Tumour": [("CLOSED_PLANAR", square), ("CLOSED_PLANAR", hole), ("CLOSED_PLANAR", keyhole)],
        "marker": [("POINT", [(5.2, 4.8, 3.1)])],
        "path": [("OPEN_PLANAR", _square(1, 4, 1)), ("CLOSED_PLANAR", _square(10.5, 11.5, 1))],
    }
    path, files = _set_of(tmp_path, regions)
    label, notes = _painted(path, files, {"tumour": 1, "marker": 2, "path": 3})
    ring = np.zeros((14, 12), dtype=bool)
    ring[2:10, 2:10], ring[4:7, 4:7] = True, False
    assert np.array_equal(label[..., 2] == 1, ring)
    assert np.array_equal(label[..., 4] == 1, ring)
    assert np.argwhere(label == 2).tolist() == [[5, 5, 3]]
    assert (label == 3).sum() == 1
    assert notes == ("RTSTRUCT: 1 open or unfinished contours enclose nothing and are left out",)


def test_a_structure_without_an_area_is_refused(tmp_path):
    path, files = _set_of(tmp_path, {"line": [("OPEN_NONPLANAR", _square(1, 4, 1))]})
    with pytest.raises(LabelError, match="1 open contours and no closed one"):
        _painted(path, files, {"line": 1})


def test_coordinates_of_another_frame_of_reference_are_refused_unless_they_name_the_slices(tmp_path):
    regions = {"GTV": [("CLOSED_PLANAR", _square(2.5, 6.5, 3))]}
    path, files = _set_of(tmp_path, regions, frame=generate_uid())
    with pytest.raises(GeometryError, match="another frame of reference"):
        _painted(path, files, {"gtv": 1})
    content = pydicom.dcmread(path)
    slices = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    contour = content.ROIContourSequence[0].ContourSequence[0]
    contour.ContourImageSequence = [make_item(ReferencedSOPInstanceUID=slices[3].SOPInstanceUID)]
    content.save_as(path)
    assert _painted(path, files, {"gtv": 1})[0].sum() == 16


def test_a_structure_that_was_named_but_not_drawn_is_none(tmp_path):
    path, _ = _set_of(tmp_path, {"GTV": [("CLOSED_PLANAR", _square(2.5, 6.5, 3))], "OAR": []})
    assert [s.key for s in read_label_object(path).structures] == ["gtv"]
    empty, _ = _set_of(tmp_path, {"OAR": []})
    with pytest.raises(ReadError, match="no structure with a contour"):
        read_label_object(empty)


def test_names_of_structures_reach_no_message(tmp_path):
    path, files = _set_of(tmp_path, {"Jane Roe 4711": [("CLOSED_PLANAR", _square(2.5, 6.5, 30))]})
    with pytest.raises(DataError) as refusal:
        _painted(path, files, {"jane roe 4711": 1})
    assert "lies on the image" in str(refusal.value)
    assert "Jane" not in f"{refusal.value}{read_label_object(path)}"


@pytest.mark.parametrize(
    ("data", "count"), [(b"1\\2\\x", 1), (b"1\\2", 1), (b"1\\2\\nan", 1), (b"1\\2\\3", 7), (b"", 4), (b"1\\\\3", 1)]
)
def test_damaged_coordinates_are_refused(tmp_path, data, count):
    path, files = _set_of(tmp_path, {"GTV": [("CLOSED_PLANAR", _square(2.5, 6.5, 3))]})
    raw = path.read_bytes()
    content = pydicom.dcmread(path)
    contour = content.ROIContourSequence[0].ContourSequence[0]
    contour.NumberOfContourPoints = count
    contour[0x30060050] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x30060050), "DS", len(data), data, 0, True, True
    )
    content.save_as(path)
    assert path.read_bytes() != raw
    with pytest.raises(ReadError, match="contour 1 of 1"):
        _painted(path, files, {"gtv": 1})


@given(place=st.integers(140, 2400), value=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mutated_structure_set_is_read_or_refused(tmp_path, place, value, cut):
    path = tmp_path / "rs.dcm"
    if not path.exists():
        _set_of(tmp_path, {"GTV": [("CLOSED_PLANAR", _square(2.5, 6.5, 3))], "b": [("POINT", [(1, 1, 1)])]})
    files = sorted((tmp_path / "ct").iterdir())
    data = bytearray(path.read_bytes())
    data[place % len(data)] = value
    broken = tmp_path / "broken.dcm"
    broken.write_bytes(bytes(data[: place + 200]) if cut else bytes(data))
    with contextlib.suppress(DataError):
        _painted(broken, files, {"gtv": 1, "b": 2})


def test_a_structure_set_alone_has_no_grid(tmp_path):
    path, files = _set_of(tmp_path, {"GTV": [("CLOSED_PLANAR", _square(2.5, 6.5, 3))]})
    with pytest.raises(ReadError, match="reads structure sets"):
        read_label(path)
    label, grid = read_label(path, image=files[0].parent)
    assert label.sum() == 16
    assert grid.corner_distance(read_series(files).geometry) == 0


def test_of_several_structure_sets_of_one_image_the_researcher_chooses(tmp_path):
    series = make_series((6, 12, 14))
    series.write(tmp_path / "tree" / "ct")
    sizes = {"old": (4.5, "20200101", "Draft"), "new": (6.5, "20210101", "Reader Two"), "third": (8.5, "20190101", "X")}
    for name, (edge, date, label) in sizes.items():
        drawn = {"GTV": [("CLOSED_PLANAR", _square(2.5, edge, 3))]}
        drawn |= {"cord": [("CLOSED_PLANAR", _square(9.5, 10.5, 1))]} if name == "third" else {}
        path = _structure_set(tmp_path / "tree" / "rt" / f"{name}.dcm", series, drawn)
        content = pydicom.dcmread(path)
        content.StructureSetLabel, content.StructureSetDate, content.StructureSetTime = label, date, "101112"
        content.save_as(path)

    def voxels(choice):
        out = tmp_path / f"out {len(list(tmp_path.iterdir()))}"
        import_tree(tmp_path / "tree", out, options=ImportOptions(choice=Choice(structure_set=choice)))
        (path,) = (out / "labels").iterdir()
        return np.unique(read_label(path)[0], return_counts=True)[1][1:].tolist()

    assert voxels("reader*") == [16]
    assert voxels("newest") == [1, 16]  # The cord only the oldest outlines.
    with pytest.raises(RequestError, match="--structure-set"):
        voxels("")


def test_structures_are_drawn_on_an_image_only(tmp_path):
    path, _ = _set_of(tmp_path, {"GTV": [("CLOSED_PLANAR", _square(2.5, 6.5, 3))]})
    with pytest.raises(ReadError, match="is not an image"):
        read_label(path, image=path)
