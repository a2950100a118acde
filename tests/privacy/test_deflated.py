from __future__ import annotations

import io
import zlib

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from medseg.data.readers import read_volume
from medseg.errors import DataError, ReadError
from medseg.pacs.archive import Instance
from medseg.pacs.folder import check_instance
from medseg.privacy.deflated import check_deflated
from medseg.privacy.dicom import read_dicom
from medseg.privacy.dicom_layers import dicom_layers
from tests.data.dicom_factory import make_series


def _file(syntax, comment="") -> bytes:
    data = make_series((1, 64, 64)).slices[0]
    data.ImageComments = comment
    data.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("preamble", [True, False])
def test_a_deflated_file_may_grow_to_a_limit_and_not_beyond(preamble):
    whole = _file(DeflatedExplicitVRLittleEndian, "x" * 10_000)
    data = whole if preamble else whole[132:]
    inflated = len(zlib.decompress(_body(whole), -15))
    stream = io.BytesIO(data)
    check_deflated(stream, most=inflated)
    assert stream.tell() == 0
    with pytest.raises(ReadError, match="grows to more than"):
        check_deflated(stream, most=inflated - 1)
    assert stream.tell() == 0


def _body(data: bytes) -> bytes:
    """What follows the file meta information."""
    return data[144 + int.from_bytes(data[140:144], "little") :]


def test_what_is_not_deflated_or_damaged_is_left_to_its_reader():
    for data in (_file(ExplicitVRLittleEndian), b"", b"x" * 500, _file(DeflatedExplicitVRLittleEndian)[:-100]):
        check_deflated(io.BytesIO(data), most=100_000)
    check_deflated(io.BytesIO(_file(ExplicitVRLittleEndian)), most=10)


def test_every_reader_of_dicom_refuses_a_bomb_before_it_inflates_it(tmp_path, monkeypatch):
    monkeypatch.setattr(check_deflated, "__kwdefaults__", {"most": 2000})
    data = _file(DeflatedExplicitVRLittleEndian)
    (tmp_path / "a.dcm").write_bytes(data)
    with pytest.raises(DataError, match="grows to more than"):
        read_volume(tmp_path / "a.dcm")
    with pytest.raises(ReadError, match="grows to more than"):
        read_dicom(data)
    with pytest.raises(ReadError, match="grows to more than"):
        next(dicom_layers(data))
    with pytest.raises(ReadError, match="damaged one"):
        check_instance(data, Instance("1", "2", "3"))
