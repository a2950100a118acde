import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from medseg.data.dicom import read_series
from medseg.data.reading import Reading
from medseg.data.volume import Volume
from medseg.errors import DataError, LabelError, PrivacyError
from medseg.export import write_dicom_seg, write_report
from medseg.export.measure import measure_lesions
from tests.export.source_series import ALGORITHM, LABELS, clean_series, errors_of, random_rotation

_PET = {"Units": "GML", "SUVType": "BW"}


def _two_lesions(shape):
    label = np.zeros(shape, dtype=np.uint8)
    label[3:9, 4:8, 1:4] = 2
    label[15:17, 10:12, 2] = 2
    return label


def _report(tmp_path, *, seg=False, label=None, **facts):
    files = clean_series(**facts).write(tmp_path / "series")
    volume = read_series(files)
    label = _two_lesions(volume.shape) if label is None else label
    path = tmp_path / "seg.dcm"
    if seg:
        write_dicom_seg(label, volume.affine, files, path, labels=LABELS, algorithm=ALGORITHM)
    write_report(
        label, volume, files, tmp_path / "sr.dcm",
        labels=LABELS, algorithm=ALGORITHM, segmentation=path if seg else None,
    )  # fmt: skip
    return pydicom.dcmread(tmp_path / "sr.dcm"), volume, label


def _children(item, meaning):
    return [c for c in item.get("ContentSequence", []) if c.ConceptNameCodeSequence[0].CodeMeaning == meaning]


def _groups(report):
    (measurements,) = _children(report, "Imaging Measurements")
    return _children(measurements, "Measurement Group")


def _values(group):
    """Name (and derivation) to value and unit, by pydicom alone."""
    found = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            derived = [c.ConceptCodeSequence[0].CodeMeaning for c in _children(item, "Derivation")]
            measured = item.MeasuredValueSequence[0]
            name = " ".join([item.ConceptNameCodeSequence[0].CodeMeaning, *derived])
            found[name] = float(measured.NumericValue), measured.MeasurementUnitsCodeSequence[0].CodeValue
    return found


def _tracking(group):
    return _children(group, "Tracking Identifier")[0].TextValue


def test_every_lesion_has_its_volume_diameters_and_values(tmp_path):
    report, volume, label = _report(tmp_path, rotation=random_rotation(4))
    groups = {_tracking(group): _values(group) for group in _groups(report)}
    assert list(groups) == ["tumour, all", "oedema, all", "tumour 1", "tumour 2"]
    voxel = 0.8 * 0.7 * 2.5
    assert groups["tumour, all"] == {"Volume": (pytest.approx(76 * voxel), "mm3")}
    assert groups["oedema, all"] == {"Volume": (0.0, "mm3")}
    first = groups["tumour 1"]
    assert first["Volume"] == (pytest.approx(72 * voxel), "mm3")
    # The middles of the faces that lie furthest apart: 6 x 4 x 3 voxels of 0.7 x 0.8 x 2.5 mm, across the slices.
    assert first["Maximum 3D Diameter of a Mesh"][0] == pytest.approx(np.linalg.norm([5 * 0.7, 3 * 0.8, 3 * 2.5]))
    assert first["Long axis"][0] == pytest.approx(np.linalg.norm([6 * 0.7, 3 * 0.8]))
    inside = volume.array[0][3:9, 4:8, 1:4].astype(float)
    assert first["Attenuation Coefficient Mean"] == (pytest.approx(inside.mean(), rel=1e-5), "[hnsf'U]")
    assert first["Attenuation Coefficient Standard Deviation"][0] == pytest.approx(inside.std(), rel=1e-5)
    assert first["Attenuation Coefficient Maximum"][0] == inside.max()
    assert (label == 2).sum() == 76


def test_a_ball_has_its_volume_and_diameter():
    grid = np.stack(np.meshgrid(*[np.arange(-15, 16)] * 3, indexing="ij"))
    ball = (np.linalg.norm(grid, axis=0) <= 12).astype(np.uint8)
    volume = Volume(ball[np.newaxis].astype(np.float32), np.diag([2.0, 2, 2, 1]), ("PT",), "PT", unit="SUVbw")
    (lesion,) = measure_lesions(ball, volume)
    assert lesion.volume_mm3 == pytest.approx(4 / 3 * np.pi * 24**3, rel=0.02)
    assert lesion.diameter_mm == pytest.approx(48, abs=2)
    assert lesion.long_axis_mm == pytest.approx(48, abs=2)
    assert (lesion.mean, lesion.deviation, lesion.maximum) == (1, 0, 1)


def test_pet_is_reported_as_suv_and_an_unknown_unit_not_at_all(tmp_path):
    report, _, _ = _report(tmp_path / "pet", modality="PT", **_PET)
    found = _values(_groups(report)[2])
    assert found["SUVbw Maximum"][1] == "g/ml{SUVbw}"
    report, volume, _ = _report(tmp_path / "mr", modality="MR")
    assert volume.unit == ""
    assert set(_values(_groups(report)[2])) == {"Volume", "Maximum 3D Diameter of a Mesh", "Long axis"}


def test_suv_by_lean_body_mass_is_coded_as_that_of_james_with_128(tmp_path):
    files = clean_series(modality="PT", Units="GML", SUVType="LBMJAMES128").write(tmp_path / "series")
    volume = read_series(files, reading=Reading(suv="lbm"))
    assert volume.unit == "SUVlbm"
    label = _two_lesions(volume.shape)
    write_report(label, volume, files, tmp_path / "sr.dcm", labels=LABELS, algorithm=ALGORITHM)
    report = pydicom.dcmread(tmp_path / "sr.dcm")
    numbers = [item for item in _groups(report)[2].ContentSequence if item.ValueType == "NUM"]
    concepts = {item.ConceptNameCodeSequence[0].CodeValue: item for item in numbers}
    james, unit = codes.DCM.SuvlbmJames128, codes.UCUM.StandardizedUptakeValueLeanBodyMassJames128Multiplier
    assert concepts[james.value].MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].LongCodeValue == unit.value


def test_each_lesion_is_outlined_on_its_own_slices(tmp_path):
    report, _, _ = _report(tmp_path)
    first = _groups(report)[2]
    regions = _children(first, "Image Region")
    assert len(regions) == 3
    for region in regions:
        points = np.array(region.GraphicData, dtype=float).reshape(-1, 2)
        assert region.GraphicType == "POLYLINE"
        assert np.array_equal(points[0], points[-1])
        # The voxels 3 to 8 and 4 to 7; the first pixel's corner is 0, its centre 0.5.
        assert points.min(axis=0).tolist() == [3, 4]
        assert points.max(axis=0).tolist() == [9, 8]
    slices = [pydicom.dcmread(path) for path in sorted((tmp_path / "series").iterdir())]
    named = {r.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID for r in regions}
    assert named == {slices[n].SOPInstanceUID for n in (1, 2, 3)}


def test_a_report_beside_a_seg_refers_to_its_segments(tmp_path):
    report, _, _ = _report(tmp_path, seg=True)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    for number, group in enumerate(_groups(report)[:2], start=1):
        (item,) = _children(group, "Referenced Segment")
        reference = item.ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert reference.ReferencedSegmentNumber == number
    evidence = {
        image.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for image in series.ReferencedSOPSequence
    }
    assert seg.SOPInstanceUID in evidence
    assert len(evidence) == 7


def test_other_programs_read_the_report_and_find_no_error(tmp_path):
    for program, package in (("dciodvfy", "dicom3tools"), ("dsrdump", "dcmtk")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not here; install Debian's {package}")
    nothing = np.zeros((24, 20, 6), dtype=np.uint8)
    for name, facts in {"seg": {"seg": True}, "alone": {}, "none": {"label": nothing}}.items():
        _report(tmp_path / name, **facts)
        path = tmp_path / name / "sr.dcm"
        assert errors_of(path) == []
        dump = subprocess.run(["dsrdump", str(path)], capture_output=True, text=True, check=False)
        assert dump.returncode == 0
        assert not dump.stderr.strip()
        assert "Imaging Measurement Report" in dump.stdout


def test_highdicom_finds_the_groups_of_the_report(tmp_path):
    import highdicom as hd

    _report(tmp_path, seg=True)
    report = hd.sr.srread(tmp_path / "sr.dcm")
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 4
    assert [len(g.roi) if g.reference_type.meaning == "Image Region" else 0 for g in groups] == [0, 0, 3, 1]


def test_the_same_prediction_is_the_same_report_and_names_no_moment_of_its_making(tmp_path):
    first, volume, label = _report(tmp_path)
    files = sorted((tmp_path / "series").iterdir())
    write_report(label, volume, files, tmp_path / "again.dcm", labels=LABELS, algorithm=ALGORITHM)
    assert (tmp_path / "again.dcm").read_bytes() == (tmp_path / "sr.dcm").read_bytes()
    dates = [str(e.value) for e in first.iterall() if e.VR in ("DA", "DT") and e.value]
    assert dates
    assert all(value.startswith("20010203") for value in dates)


def test_the_gate_lets_structure_set_and_report_of_a_clean_series_out(tmp_path):
    from medseg.export import write_rtstruct
    from medseg.privacy.audit import audit_paths

    _, volume, label = _report(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    files = sorted((tmp_path / "series").iterdir())
    write_rtstruct(label, volume.affine, files, out / "a.rtstruct.dcm", labels=LABELS, algorithm=ALGORITHM)
    write_report(label, volume, files, out / "a.sr.dcm", labels=LABELS, algorithm=ALGORITHM)
    report = audit_paths([out], identities=None)
    assert report.files == 2
    assert report.finds == ()


def test_an_identified_source_and_a_picture_are_refused(tmp_path):
    with pytest.raises(PrivacyError, match="a report would carry its patient"):
        _report(tmp_path, removed="NO")
    files = clean_series((1, 20, 24)).write(tmp_path / "one")
    volume = read_series(files)
    with pytest.raises(DataError, match="a report measures volumes"):
        write_report(
            np.ones(volume.shape, dtype=np.uint8) * 2, volume, files, tmp_path / "sr.dcm",
            labels=LABELS, algorithm=ALGORITHM,
        )  # fmt: skip


def test_noise_is_no_report():
    grid = np.zeros((40, 40, 14), np.uint8)
    grid[::2, ::2, ::2] = 1
    volume = Volume(grid[np.newaxis].astype(np.float32), np.eye(4), ("CT",), "CT")
    with pytest.raises(LabelError, match="expected at most 1000 lesions of a label for a report; found 2800"):
        measure_lesions(grid, volume)
