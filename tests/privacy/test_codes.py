"""Codes of public schemes are no identities; codes of a hospital and everything beside them stay so."""

from __future__ import annotations

import io

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medseg.privacy.codes import standard_code
from medseg.privacy.person import person_of
from medseg.privacy.pseudonym import Pseudonymiser


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def test_a_code_is_known_by_its_scheme_and_retired_ones_by_their_successor():
    assert standard_code("121322", "DCM") == ("121322", "DCM", "Source image for image processing operation")
    assert standard_code("T-62000", "SRT") == ("10200004", "SCT", "Liver")
    assert standard_code("T-62000", "DCM") is None
    assert standard_code("MEIER-1", "99HOSPITAL") is None


def test_only_what_a_hospital_wrote_is_searched_for():
    data = Dataset()
    data.PatientID = "ID-4711"
    data.PurposeOfReferenceCodeSequence = [_code("121322", "DCM", "Source image for image processing operation")]
    data.SegmentSequence = [
        _code("M-01000", "SRT", "Morphologically Altered Structure"), _code("K17", "99KLINIK", "Befund Meierhofer")
    ]  # fmt: skip
    for keyword in ("PurposeOfReferenceCodeSequence", "SegmentSequence"):
        data[keyword].is_undefined_length = True  # as the files of a hospital, so that items are read as they stand
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, implicit_vr=False, little_endian=True)
    read = pydicom.dcmread(io.BytesIO(stream.getvalue()), force=True)
    found = person_of(read, Pseudonymiser(bytes(32))).identities
    assert "Befund Meierhofer" in found
    assert not {"121322", "Source image for image processing operation", "M-01000"} & found
    assert not any("Altered" in text for text in found)
