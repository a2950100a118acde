"""The text of a file's attributes, whether its representations are written down or not."""

from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medseg.privacy.dicom_layers import dicom_layers
from tests.data.dicom_factory import make_series


def _parts(syntax: str, data: Dataset | None = None) -> dict[str, bytes]:
    data = make_series((1, 16, 16)).slices[0] if data is None else data
    data.SpecificCharacterSet = "ISO_IR 192"
    data.OperatorsName = ["Novák^Jan", "Lee^Kim"]
    data.ImageComments = "back\\slash"
    item = Dataset()
    item.ContourData = [1.5, -2.25]
    item.ContourNumber = 7
    data.ROIContourSequence = Sequence([item])
    block = data.private_block(0x0009, "VENDOR", create=True)
    block.add_new(0x01, "LO", "Novakova")
    data.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    return dict(next(iter(dicom_layers(buffer.getvalue()))).parts)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_text_is_the_same_with_and_without_written_representations(syntax):
    parts = _parts(syntax)
    assert parts["(0008,1070)"] == "Novák^Jan\nLee^Kim".encode()
    assert parts["(0020,4000)"] == b"back\\slash"
    assert parts["(3006,0039)(3006,0050)"] == b"1.5\n-2.25"
    assert parts["(3006,0039)(3006,0048)"] == b"7"


def test_only_private_text_and_the_syntax_differ_between_the_two():
    data = make_series((1, 16, 16)).slices[0]
    implicit, explicit = _parts(ImplicitVRLittleEndian, data), _parts(ExplicitVRLittleEndian, data)
    differing = {place for place in implicit | explicit if implicit.get(place) != explicit.get(place)}
    assert differing <= {"(0002,0000)", "(0002,0010)", "(0009,1001)"}
