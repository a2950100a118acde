"""Files of a folder by series, and the volumes or pictures that each series holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    RLELossless,
)

from medseg.data.dicom import find_series, read_sorted_series
from medseg.data.readers import read_volume
from medseg.errors import ReadError
from tests.data.dicom_factory import make_series, set_pixels

RNG = np.random.default_rng(7)


def test_a_folder_of_mixed_files_is_sorted_into_series(tmp_path: Path) -> None:
    first, second = make_series(), make_series(modality="MR", seed=1)
    paths = [*first.write(tmp_path / "a"), *second.write(tmp_path / "a", names=list("vwxyz"))]
    (tmp_path / "a" / "notes.txt").write_text("junk")
    (tmp_path / "a" / "junk").write_bytes(b"\x08\x00\x05\x00" + bytes(range(256)) * 4)
    report = pydicom.dcmread(paths[0])
    report.SOPClassUID, report.Modality = "1.2.840.10008.5.1.4.1.1.88.33", "SR"
    report.save_as(tmp_path / "report.dcm")
    series, refusals = find_series(tmp_path)
    assert sorted((s.modality, len(s.files)) for s in series) == [("CT", 5), ("MR", 5)]
    assert len(refusals) == 3
    assert any("Comprehensive SR" in refusal.reason for refusal in refusals)
    for found in series:
        expected = first if found.modality == "CT" else second
        np.testing.assert_array_equal(read_sorted_series(found).array[0], expected.voxels.transpose(2, 1, 0))
        heights = [pydicom.dcmread(path).ImagePositionPatient[2] for path in found.files]
        assert heights == sorted(heights)
    with pytest.raises(ReadError, match="found 2"):
        read_volume(tmp_path)


@pytest.mark.parametrize("modality", ["NM", "US", "XA", "CR", "DX", "MG", "XC", "DMS", "OT"])
def test_planar_images_are_2d_cases_each(tmp_path: Path, modality: str) -> None:
    series = make_series((3, 6, 8), extra={"Modality": modality})
    for data in series.slices:
        del data.ImagePositionPatient, data.ImageOrientationPatient
    series.write(tmp_path)
    found, _ = find_series(tmp_path)
    assert sorted(one.part for one in found) == ["image1", "image2", "image3"]
    arrays = {read_sorted_series(one).array.tobytes() for one in found}
    assert arrays == {plane.T[np.newaxis].tobytes() for plane in series.voxels}


def test_each_frame_of_a_film_is_a_2d_case(tmp_path: Path) -> None:
    film = RNG.integers(0, 255, (5, 6, 8, 3)).astype(np.uint8)
    series = make_series((1, 6, 8), extra={"Modality": "US"})
    data = series.slices[0]
    set_pixels(data, film[0])
    del data.ImagePositionPatient, data.ImageOrientationPatient
    data.NumberOfFrames, data.PixelData = 5, film.tobytes()
    data.compress(RLELossless)
    series.write(tmp_path)
    found, _ = find_series(tmp_path)
    assert len(found) == 5
    for one, frame in zip(sorted(found, key=lambda s: s.part), film, strict=True):
        np.testing.assert_array_equal(read_sorted_series(one).array, frame.transpose(2, 1, 0))


@pytest.mark.parametrize("disk_is_slow", [False, True])
def test_headers_come_in_the_order_of_the_files_in_one_thread_and_in_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk_is_slow: bool
) -> None:
    from medseg.data import dicom_sort

    if disk_is_slow:
        monkeypatch.setattr("medseg.data.dicom_sort.time.thread_time", lambda: 0.0)
    paths = make_series().write(tmp_path) * 230
    assert len(paths) > dicom_sort._STRETCH
    headers = list(dicom_sort._headers(paths))
    assert [header.path for header in headers if not isinstance(header, str)] == paths
