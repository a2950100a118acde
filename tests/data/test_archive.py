"""Zip files and DICOMDIRs: what is honest is imported, what isn't is refused before it does harm."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.uid import ExplicitVRLittleEndian

from medseg.data.archive import is_dicomdir, missing_from_dicomdir
from medseg.data.importer import ImportOptions, import_tree
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_volume
from medseg.errors import MedsegError, ReadError
from tests.data.dicom_factory import make_series


def _zip(path: Path, members: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_file_is_imported_like_its_folder_and_leaves_nothing(tmp_path: Path) -> None:
    series = make_series()
    paths = series.write(tmp_path / "in")
    source = _zip(tmp_path / "x.zip", {f"Doe^Jane/{path.name}": path.read_bytes() for path in paths})
    seen: list[tuple[int, int]] = []
    import_tree(source, tmp_path / "out", options=ImportOptions(), looking=lambda *counts: seen.append(counts))
    (case,) = read_manifest(tmp_path / "out" / "manifest.csv").cases
    (image,) = case.images.values()
    np.testing.assert_array_equal(read_volume(image).array[0], series.voxels.transpose(2, 1, 0))
    assert (5, 5) in seen
    assert not list((tmp_path / "out").glob(".medseg-unpacked*"))


@pytest.mark.parametrize("name", ["../evil.dcm", "/evil.dcm", "a/../../evil.dcm", "C:\\evil.dcm", "..\\evil.dcm"])
def test_a_member_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    source = _zip(tmp_path / "x.zip", {"good.dcm": b"1", name: b"2"})
    with pytest.raises(ReadError, match=r"member 2 of 2 .* leads out"):
        import_tree(source, tmp_path / "a" / "b" / "out", options=ImportOptions())
    assert not list(tmp_path.rglob("*evil*"))


def test_a_link_in_a_zip_file_is_refused(tmp_path: Path) -> None:
    member = zipfile.ZipInfo("link.dcm")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(ReadError, match="is a link"):
        import_tree(tmp_path / "x.zip", tmp_path / "out", options=ImportOptions())


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    source = _zip(tmp_path / "x.zip", {"zeros.dcm": bytes(1 << 20)})
    content = source.read_bytes()
    source.write_bytes(content.replace(struct.pack("<I", 1 << 20), struct.pack("<I", 0xF0000000)))
    with pytest.raises(ReadError, match="zip bomb"):
        import_tree(tmp_path / "x.zip", tmp_path / "out", options=ImportOptions())


def test_a_member_larger_than_it_claims_is_stopped(tmp_path: Path) -> None:
    source = _zip(tmp_path / "x.zip", {"a.dcm": bytes(5000)}, compression=zipfile.ZIP_STORED)
    content = source.read_bytes()
    source.write_bytes(content.replace(struct.pack("<II", 5000, 5000), struct.pack("<II", 5000, 100)))
    with pytest.raises(MedsegError):
        import_tree(source, tmp_path / "out", options=ImportOptions())


@pytest.mark.parametrize("cut", [30, 200])
def test_a_damaged_zip_file_is_refused(tmp_path: Path, cut: int) -> None:
    source = _zip(tmp_path / "x.zip", {"a.dcm": bytes(range(256)) * 4})
    content = bytearray(source.read_bytes())
    content[cut : cut + 20] = bytes(20)
    source.write_bytes(content)
    with pytest.raises(MedsegError):
        import_tree(source, tmp_path / "out", options=ImportOptions())


def test_a_dicomdir_stands_for_its_folder_and_tells_what_is_missing(tmp_path: Path) -> None:
    series = make_series()
    files = FileSet()
    for number, data in enumerate(series.slices):
        data.StudyDate, data.StudyTime, data.StudyID, data.SeriesNumber = "20200101", "10", "1", 1
        data.InstanceNumber = number + 1
        files.add(data)
    files.write(tmp_path / "cd")
    directory = tmp_path / "cd" / "DICOMDIR"
    assert is_dicomdir(directory)
    assert missing_from_dicomdir(directory) == []
    report = import_tree(directory, tmp_path / "out", options=ImportOptions())
    assert (report.cases, len(report.refusals)) == (1, 0)
    lost = next(path for path in (tmp_path / "cd").rglob("*") if path.is_file() and path.name != "DICOMDIR")
    lost.unlink()
    assert [refusal.reason[:30] for refusal in missing_from_dicomdir(directory)] == ["the file is listed but missing"]


def test_a_dicomdir_entry_that_leads_out_is_not_followed(tmp_path: Path) -> None:
    record = Dataset()
    record.ReferencedFileID = ["..", "secret"]
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2"
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.DirectoryRecordSequence = [record]
    path = tmp_path / "DICOMDIR"
    directory.preamble = bytes(128)
    directory.save_as(path)
    (refusal,) = missing_from_dicomdir(path)
    assert "leads out" in refusal.reason
