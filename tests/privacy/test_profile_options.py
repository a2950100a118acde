from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
import yaml
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medseg.errors import ReadError
from medseg.privacy.dicom import clean_dicom
from medseg.privacy.guards import QuarantineError
from medseg.privacy.profile import Profile, load_profile
from medseg.privacy.pseudonym import Pseudonymiser

IMAGES = "1.2.840.10008.5.1.4.1.1."


def file_of(tail: str, **values: Any) -> bytes:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = IMAGES + tail, "1.2.3.1"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3.2", "1.2.3.3", "1.2.3.4"
    ds.PatientID, ds.PatientName, ds.PatientSex = "7734512", "Kowalska^Jadwiga", "F"
    ds.StudyDate, ds.Modality, ds.BodyPartExamined = "20210311", "CT", "LIVER"
    ds.SeriesDescription, ds.Manufacturer, ds.DeviceSerialNumber = "axial abdomen", "SIEMENS", "SN-1"
    if not tail.startswith(("88", "11")):
        ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PhotometricInterpretation = 8, 8, 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.PixelData = np.arange(64, dtype="<u2").tobytes()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    block = ds.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x39, "IS", "1000")
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def cleaned(data: bytes, **options: Any) -> Dataset:
    profile = Profile.model_validate(load_profile("basic").model_dump() | options)
    return pydicom.dcmread(io.BytesIO(clean_dicom(data, profile, pseudonyms=Pseudonymiser(bytes(32))).data))


def codes(ds: Dataset) -> set[str]:
    return {item.CodeValue for item in ds.DeidentificationMethodCodeSequence}


@pytest.mark.parametrize(
    ("option", "value", "keyword", "expected", "code"),
    [
        ("dates", "shift", "StudyDate", None, "113107"),
        ("patient_characteristics", True, "PatientSex", "F", "113108"),
        ("descriptors", True, "SeriesDescription", "axial abdomen", "113105"),
        ("device_identity", True, "DeviceSerialNumber", "SN-1", "113109"),
        ("safe_private", True, 0x00431039, 1000, "113111"),
        ("technical_text", False, "Manufacturer", "", None),
    ],
)
def test_each_option_changes_what_stays_and_only_then_its_code_is_written(
    option, value, keyword, expected, code
) -> None:
    data = file_of("2")
    without, having = cleaned(data), cleaned(data, **{option: value})
    before, after = (ds[keyword].value if keyword in ds else None for ds in (without, having))
    assert before != after
    assert after == expected or (expected is None and after not in ("", "20210311"))
    assert codes(without) == {"113100"}
    assert codes(having) == {"113100"} | ({code} if code else set())


@pytest.mark.parametrize(
    ("tail", "option", "code"), [("88.11", "structured_content", "113104"), ("11.1", "graphics", "113103")]
)
def test_reports_and_presentation_states_are_cleaned_or_refused(tail: str, option: str, code: str) -> None:
    data = file_of(tail, Modality="SR" if tail == "88.11" else "PR")
    assert codes(cleaned(data)) == {"113100", code}
    with pytest.raises(ReadError, match="the profile does not clean"):
        cleaned(data, **{option: False})


def test_images_that_may_hold_text_wait_for_a_person_where_pixels_are_not_cleaned() -> None:
    with pytest.raises(QuarantineError):
        cleaned(file_of("7", BurnedInAnnotation="NO"))


def test_every_shipped_profile_names_every_option() -> None:
    for name in ("basic", "research", "minimal-risk"):
        facts = load_profile(name)
        assert facts.model_fields_set == set(Profile.model_fields)
        assert Profile.model_validate(yaml.safe_load(yaml.safe_dump(facts.model_dump(mode="json")))) == facts
