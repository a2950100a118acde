"""Frames of a SEG, compared with highdicom's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from medseg.data.dicom_frames import Frame, enhanced_frames
from medseg.data.dicom_seg import read_seg
from medseg.data.dicom_seg_frames import seg_frames
from medseg.errors import ReadError
from tests.data.dicom_factory import make_series
from tests.data.seg_factory import KINDS, import_structures, make_seg, segment_numbers, source_images, write_seg


def _facts(path: Path) -> tuple[pydicom.Dataset, list[Frame], list[int]]:
    content = pydicom.dcmread(path)
    segments = [
        int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if "SegmentIdentificationSequence" in group
        else 0
        for group in content.PerFrameFunctionalGroupsSequence
    ]
    return content, list(enhanced_frames(content)), segments


@pytest.mark.parametrize("kind", KINDS)
def test_segments_or_places_that_highdicom_reads_otherwise_refuse_the_file(kind: str, tmp_path: Path) -> None:
    voxels = segment_numbers((5, 9, 7))
    given = voxels if kind != "FRACTIONAL" else np.stack([voxels == 1, voxels == 2], -1) * 0.6
    series = source_images(make_series((5, 9, 7)))
    content, places, segments = _facts(write_seg(make_seg(series, given, ("a", "b"), kind=kind), tmp_path / "seg.dcm"))
    notes: list[str] = []
    assert len(list(seg_frames(content, places, segments, kind=kind, notes=notes))) == len(places)
    assert notes == []
    wrong = [[3 - number for number in segments]] if kind != "LABELMAP" else []
    shifted = [replace(place, position=place.position + 1.0) for place in places if place.position is not None]
    for other_places, other_segments in [
        (shifted, segments),
        (places[::-1], segments),
        *[(places, one) for one in wrong],
    ]:
        with pytest.raises(ReadError, match="highdicom and medseg read different voxels, or places"):
            list(seg_frames(content, other_places, other_segments, kind=kind, notes=[]))


def test_voxels_that_only_highdicom_has_refuse_the_file(tmp_path: Path) -> None:
    series = source_images(make_series((5, 9, 7)))
    path = write_seg(make_seg(series, segment_numbers((5, 9, 7)), ("a", "b")), tmp_path / "seg.dcm")
    content, places, segments = _facts(path)
    content.NumberOfFrames = len(places) - 1
    with pytest.raises(ReadError, match=r"highdicom and medseg read different voxels|expected .* frames"):
        list(seg_frames(content, places[:-1], segments[:-1], kind="BINARY", notes=[]))


def test_a_seg_that_highdicom_does_not_read_is_read_by_us_and_that_is_said(tmp_path: Path) -> None:
    series = make_series((5, 9, 7))
    content = make_seg(source_images(series), segment_numbers((5, 9, 7)), ("lesion", "oedema"))
    for item in content.SegmentSequence:
        del item.SegmentAlgorithmType
    series.write(tmp_path / "in" / "ct")
    write_seg(content, tmp_path / "in" / "seg.dcm")
    report = import_structures(tmp_path / "in", tmp_path / "out")
    assert report.labelled == 1
    assert any(
        "highdicom does not read (AttributeError): its voxels were read by one reader" in n for n in report.notes
    )


def test_real_segs_in_rare_forms_have_the_voxels_of_the_plain_one(
    test_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain, _ = read_seg(test_data / "dicom_seg_small" / "dcmqi" / "liver.dcm")
    folder = test_data / "dicom_transfer_syntaxes" / "pydicom-data"
    for name, size in (("liver_deflate", 512), ("liver_j2k", 512), ("liver_nonbyte_aligned_rle", 510)):
        found, _ = read_seg(folder / f"{name}.dcm")
        assert np.array_equal(found, plain[:size, :size])
    assert capfd.readouterr().err == ""
