"""Structures of a data set: their names become labels, and each file finds its image."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg.data.dicom import read_series
from medseg.data.dicom_structures import structure_names
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label
from medseg.errors import RequestError
from medseg.export.nifti import write_nifti
from tests.data.dicom_factory import make_series
from tests.data.seg_factory import NAMES, import_structures, make_seg, segment_numbers, source_images, write_seg


def _refused(out: Path) -> list[str]:
    with (out / "refused.csv").open() as stream:
        return [row["reason"] for row in csv.DictReader(stream)]


def test_one_name_is_one_label_in_every_case_whatever_its_number_in_the_file(tmp_path):
    for number, names in enumerate((("Lesion", "oedema"), ("oedema", "lesion"))):
        series = make_series(patient=f"P{number}", seed=number)
        voxels = np.zeros((5, 6, 7), np.uint8)
        voxels[1, 1, 1], voxels[2, 2, 2:4] = names.index(next(n for n in names if n.lower() == "lesion")) + 1, 0
        voxels[2, 2, 2:4] = names.index("oedema") + 1
        folder = tmp_path / "in" / f"p{number}"
        write_seg(make_seg(source_images(series), voxels, names), folder / "seg.dcm")
        series.write(folder / "ct")
    report = import_structures(tmp_path / "in", tmp_path / "out")
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert report.labelled == 2
    assert manifest.card.label_names() == {1: "Lesion", 2: "oedema"}
    assert manifest.card.labels[1].code is not None
    assert manifest.card.labels[1].code.meaning == "Neoplasm"
    for case in manifest.cases:
        label, _ = read_label(case.label)
        assert [(label == value).sum() for value in (1, 2)] == [1, 2]


def test_labels_of_images_that_are_not_taken_are_no_labels_of_the_data_set(tmp_path):
    """A patient's CT and MR, each with its own structure: of the CTs that are taken none has the MR's."""
    for number, modality in enumerate(("CT", "CT", "MR")):
        series = make_series(patient=f"P{number}", seed=number, modality=modality)
        folder = tmp_path / "in" / f"p{number}"
        write_seg(make_seg(source_images(series), segment_numbers(values=1), (f"gtv {modality}",)), folder / "seg.dcm")
        series.write(folder / "series")
    report = import_structures(tmp_path / "in", tmp_path / "out")
    assert read_manifest(tmp_path / "out" / "manifest.csv").card.label_names() == {1: "gtv CT"}
    assert "1 label left out, which no image taken here has" in report.notes
    assert "structures: 1 name became 1 label" in report.notes


def test_label_maps_beside_the_images_leave_the_structures_without_labels_and_that_is_said(tmp_path):
    series = make_series()
    images = source_images(series)
    write_seg(make_seg(images, segment_numbers(values=2), ("lesion", "oedema")), tmp_path / "in" / "seg.dcm")
    series.write(tmp_path / "in" / "ct")
    label, geometry = read_label(tmp_path / "in" / "seg.dcm", image=tmp_path / "in" / "ct")
    write_nifti((label == 1).astype(np.uint8), geometry.affine, tmp_path / "in" / "ct" / "mask.nii.gz")
    notes = import_structures(tmp_path / "in", tmp_path / "out").notes
    assert (
        "1 image has a label map beside it and a DICOM label file: took the label maps; --structure takes the others"
        in notes
    )
    assert not any("became 2" in note or "left out" in note for note in notes)
    assert any(note.startswith("no structure of the DICOM label files became a label") for note in notes)
    asked = import_structures(tmp_path / "in", tmp_path / "asked", structures=("*",)).notes
    assert "structures: 2 names became 2 labels" in asked


def test_names_that_may_identify_are_shown_on_request_and_written_nowhere(tmp_path):
    series = make_series()
    voxels = segment_numbers(values=2)
    write_seg(
        make_seg(source_images(series), voxels, ("Dr Muellermeier lesion", "oedema")), tmp_path / "in" / "seg.dcm"
    )
    series.write(tmp_path / "in" / "ct")
    assert structure_names(tmp_path / "in")[0] == {"Dr Muellermeier lesion": 1, "oedema": 1}
    report = import_structures(tmp_path / "in", tmp_path / "out")
    names = read_manifest(tmp_path / "out" / "manifest.csv").card.label_names()
    assert sorted(names.values()) == ["Neoplasm 1", "oedema"]
    assert any("--list-structures shows them" in note for note in report.notes)
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"Muellermeier" not in written
    import_structures(tmp_path / "in", tmp_path / "named", structures=("*muellermeier*=tumour",))
    assert read_manifest(tmp_path / "named" / "manifest.csv").card.label_names() == {1: "tumour"}


def test_names_that_nothing_matches_are_a_wrong_request(tmp_path):
    series = make_series()
    write_seg(make_seg(source_images(series), segment_numbers(values=1)), tmp_path / "in" / "seg.dcm")
    series.write(tmp_path / "in" / "ct")
    with pytest.raises(RequestError, match="none of the 1 structure names matches"):
        import_structures(tmp_path / "in", tmp_path / "out", structures=("kidney",))
    assert not (tmp_path / "out").exists()
    import_structures(tmp_path / "in", tmp_path / "out", labels={4: "tumour"})
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert manifest.card.label_names() == {4: "tumour"}
    assert set(np.unique(read_label(manifest.cases[0].label)[0])) == {0, 4}


def test_two_versions_of_a_segmentation_are_a_question_not_a_guess(tmp_path):
    series = make_series()
    for version in range(2):
        seg = make_seg(source_images(series), segment_numbers(seed=version, values=1))
        write_seg(seg, tmp_path / "in" / f"seg{version}.dcm")
    series.write(tmp_path / "in" / "ct")
    with pytest.raises(RequestError, match="2 files outline 1 structures of the same name"):
        import_structures(tmp_path / "in", tmp_path / "out")


def test_a_segmentation_whose_image_is_not_here_is_refused_and_the_others_go_on(tmp_path):
    series, stranger = make_series(), make_series(patient="OTHER", seed=1)
    write_seg(make_seg(source_images(series), segment_numbers(values=1)), tmp_path / "in" / "a.dcm")
    write_seg(make_seg(source_images(stranger), segment_numbers(values=1)), tmp_path / "in" / "b.dcm")
    series.write(tmp_path / "in" / "ct")
    report = import_structures(tmp_path / "in", tmp_path / "out")
    assert (report.cases, report.labelled) == (1, 1)
    assert _refused(tmp_path / "out") == [
        "it refers to no image that is here, and shares no image's frame of reference; import both together"
    ]


def test_the_same_import_again_reads_nothing_and_another_choice_reads_anew(tmp_path):
    series = make_series()
    write_seg(make_seg(source_images(series), segment_numbers(), NAMES), tmp_path / "in" / "seg.dcm")
    series.write(tmp_path / "in" / "ct")
    import_structures(tmp_path / "in", tmp_path / "out")
    assert import_structures(tmp_path / "in", tmp_path / "out").reused == 1
    with pytest.raises(RequestError, match="choose another folder"):
        import_structures(tmp_path / "in", tmp_path / "out", structures=("oedema",))


def test_the_lesions_of_a_real_pet_import_as_two_labels_where_their_frames_say(test_data, tmp_path):
    source = test_data / "dicom_seg_pet_lesions"
    report = import_structures(source, tmp_path / "out")
    assert (report.cases, report.labelled, report.refusals) == (1, 1, ())
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    label, grid = read_label(manifest.cases[0].label)
    assert manifest.card.label_names() == {1: "Neoplasm, Primary", 2: "Neoplasm, Secondary"}
    # Independent: pydicom alone, every frame's pixels by its own position.
    seg = pydicom.dcmread(source / "mask" / "mask.dcm")
    shared = seg.SharedFunctionalGroupsSequence[0]
    spacing = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    expected = np.zeros(label.shape, np.uint8)
    for frame, group in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        value = 1 if group.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1 else 2
        rows, columns = np.nonzero(frame)
        lps = position[:, None] + np.stack([columns * spacing[1], rows * spacing[0], np.zeros(len(rows))])
        index = np.linalg.inv(grid.affine) @ np.vstack([-lps[:2], lps[2:], np.ones((1, len(rows)))])
        assert np.abs(index - np.rint(index)).max() < 0.05  # the file's positions are rounded
        expected[tuple(np.rint(index[:3]).astype(int))] = value
    assert np.array_equal(label, expected)
    assert read_series([p for p in (source / "image").iterdir() if p.suffix == ".dcm"]).shape == label.shape
