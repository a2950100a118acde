"""A hostile corpus: small files, each with identities of its own in a place where tools have missed them.

Everything is made from a seed. No two files share a name, a number or a date; `Planted.identities` lists what must be
found nowhere in the output.
"""

from __future__ import annotations

import gzip
import io
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

CT, MR, PT = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("2", "4", "128"))
US, SC, SEG, RTSTRUCT = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("6.1", "7", "66.4", "481.3"))
_SYLLABLES = [c + v for c in "bdfgjklmnprstvz" for v in "aeiou"]


@dataclass
class Who:
    """Identities of one file; `all` collects each one that was planted."""

    draw: random.Random
    all: list[str] = field(default_factory=list)

    def name(self) -> str:
        """A family name of 8 letters that is in no vocabulary."""
        word = "".join(self.draw.choice(_SYLLABLES) for _ in range(4)).capitalize()
        self.all.append(word)
        return word

    def person(self) -> str:
        return f"{self.name()}^{self.name()}"

    def number(self, prefix: str = "M") -> str:
        text = f"{prefix}{self.draw.randrange(10**8, 10**9)}"
        self.all.append(text)
        return text

    def date(self) -> str:
        text = f"19{self.draw.randrange(31, 59)}{self.draw.randrange(1, 13):02d}{self.draw.randrange(1, 29):02d}"
        self.all.append(text)
        return text

    def uid(self) -> str:
        text = f"1.2.826.0.1.3680043.{self.draw.randrange(10**11, 10**12)}.{self.draw.randrange(10**8, 10**9)}"
        self.all.append(text)
        return text


@dataclass
class Planted:
    """One file of the corpus: where it lies, what must not get out, and what should become of it."""

    path: str
    identities: list[str]
    expect: str


def image(who: Who, sop_class: str = CT, *, size: int = 16, stored: int = 16) -> FileDataset:
    """A small slice with an identity in every usual attribute."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, who.uid()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, ds.SOPInstanceUID
    meta.ImplementationClassUID = who.uid()
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = who.uid(), who.uid(), who.uid()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = who.person(), who.number(), who.date()
    ds.PatientSex, ds.PatientAge, ds.PatientWeight = "F", "093Y", "61"
    ds.AccessionNumber, ds.StudyID = who.number("A"), who.number("S")[:12]
    ds.ReferringPhysicianName, ds.OperatorsName = who.person(), who.person()
    ds.InstitutionName, ds.InstitutionAddress = f"Klinik {who.name()}", f"{who.name()}weg 7"
    ds.StationName, ds.DeviceSerialNumber = who.number("CT"), who.number("D")
    ds.StudyDescription, ds.SeriesDescription = f"Thorax {who.name()}", f"Chest for Dr {who.name()}"
    ds.ProtocolName, ds.ImageComments, ds.PatientComments = who.name(), who.name(), who.name()
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = who.date()
    ds.StudyTime, ds.SeriesTime, ds.AcquisitionTime, ds.ContentTime = "101112", "101213", "101314.5", "101415"
    ds.Modality = {CT: "CT", MR: "MR", PT: "PT", US: "US", SC: "OT"}.get(sop_class, "CT")
    ds.Manufacturer, ds.ManufacturerModelName, ds.BodyPartExamined = "SIEMENS", "SOMATOM Force", "CHEST"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = 2, 1, 1
    ds.PatientPosition, ds.PositionReferenceIndicator = "HFS", ""
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [-7.5, -7.5, 30.25], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness, ds.KVP, ds.ConvolutionKernel = [0.75, 0.75], 3.0, 120, "B31f"
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Rows, ds.Columns = 1, "MONOCHROME2", size, size
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, stored, stored - 1, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = -1024, 1, "HU"
    pixels = np.random.default_rng(who.draw.randrange(2**32)).integers(0, 1 << stored, (size, size), dtype=np.uint16)
    ds.PixelData = pixels.tobytes()
    ds["PixelData"].VR = "OW"
    return ds


def save(ds: FileDataset, *, syntax: str = ExplicitVRLittleEndian) -> bytes:
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    ds._read_implicit = ds._read_little = None
    stream = io.BytesIO()
    ds.save_as(stream, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
    return stream.getvalue()


def raw_element(tag: int, vr: str, value: bytes) -> bytes:
    """An explicit little-endian element as bytes, for what pydicom wouldn't write."""
    value += b" " * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in ("OB", "OW", "SQ", "UN", "UT", "UC", "UR"):
        return head + b"\0\0" + struct.pack("<I", len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def before_pixels(data: bytes, element: bytes) -> bytes:
    place = data.rindex(b"\xe0\x7f\x10\x00")
    return data[:place] + element + data[place:]


# --- traps: a data set and its identities in, the file's bytes out --------------------------------------------------


def file_meta(ds: FileDataset, who: Who) -> bytes:
    ds.file_meta.SourceApplicationEntityTitle = who.name()
    ds.file_meta.SendingApplicationEntityTitle = who.name()
    ds.file_meta.ReceivingApplicationEntityTitle = who.name()
    ds.file_meta.ImplementationVersionName = who.name()
    ds.file_meta.SourcePresentationAddress = f"host.{who.name()}.org"
    ds.file_meta.PrivateInformationCreatorUID = who.uid()
    ds.file_meta.PrivateInformation = who.name().encode()
    return save(ds)


def preamble(ds: FileDataset, who: Who) -> bytes:
    return who.person().encode().ljust(128, b"\0") + save(ds)[128:]


def trailing_bytes(ds: FileDataset, who: Who) -> bytes:
    return save(ds) + who.person().encode() * 5 + b"\xff" * 7


def trailing_padding(ds: FileDataset, who: Who) -> bytes:
    return save(ds) + raw_element(0xFFFCFFFC, "OB", who.person().encode())


def bytes_after_last_pixel(ds: FileDataset, who: Who) -> bytes:
    ds.PixelData += who.person().encode().ljust(64, b"\0")
    return save(ds)


def high_bits(ds: FileDataset, who: Who) -> bytes:
    ds.BitsStored, ds.HighBit = 12, 11
    pixels = np.frombuffer(ds.PixelData, np.uint16) & 0x0FFF
    text = np.unpackbits(np.frombuffer(who.name().encode().ljust(32, b"\0"), np.uint8)).astype(np.uint16)
    ds.PixelData = (pixels | (text << 12)).tobytes()
    return save(ds)


def high_bits_signed(ds: FileDataset, who: Who) -> bytes:
    ds.PixelRepresentation = 1
    return high_bits(ds, who)


def overlay(ds: FileDataset, who: Who) -> bytes:
    ds.add_new(0x60000010, "US", 16)
    ds.add_new(0x60000011, "US", 16)
    ds.add_new(0x60000040, "CS", "G")
    ds.add_new(0x60000022, "LO", who.name())
    ds.add_new(0x60001500, "LO", who.name())
    ds.add_new(0x60003000, "OW", who.person().encode().ljust(32, b"\0"))
    ds.add_new(0x60004000, "LT", who.name())
    return save(ds)


def curve(ds: FileDataset, who: Who) -> bytes:
    ds.add_new(0x50000005, "US", 1)
    ds.add_new(0x50002500, "LO", who.name())
    ds.add_new(0x50003000, "OW", who.person().encode().ljust(32, b"\0"))
    return save(ds)


def icon(ds: FileDataset, who: Who) -> bytes:
    item = Dataset()
    item.Rows = item.Columns = 8
    item.BitsAllocated = item.BitsStored = 8
    item.PixelData = who.person().encode().ljust(64, b"\0")
    ds.IconImageSequence = [item]
    return save(ds)


def look_up_tables(ds: FileDataset, who: Who) -> bytes:
    voi, modality = Dataset(), Dataset()
    for item in (voi, modality):
        item.LUTDescriptor = [32, 0, 16]
        item.LUTExplanation = who.name()
        item.add_new(0x00283006, "OW", who.person().encode().ljust(64, b"\0"))
    modality.ModalityLUTType = "HU"
    ds.VOILUTSequence, ds.ModalityLUTSequence = [voi], [modality]
    ds.WindowCenter, ds.WindowWidth, ds.WindowCenterWidthExplanation = 40, 400, who.name()
    return save(ds)


def private_block(ds: FileDataset, who: Who) -> bytes:
    block = ds.private_block(0x0029, f"MAKER {who.name()}", create=True)
    block.add_new(0x10, "LO", who.person())
    block.add_new(0x11, "OB", who.number().encode())
    block.add_new(0x12, "UN", who.date().encode())
    return save(ds)


def odd_groups(ds: FileDataset, who: Who) -> bytes:
    data = save(ds)
    return before_pixels(data, raw_element(0x70051000, "LO", who.name().encode()))


def unknown_vr(ds: FileDataset, who: Who) -> bytes:
    return before_pixels(save(ds), raw_element(0x00324000, "UN", who.person().encode()))


def invented_vr(ds: FileDataset, who: Who) -> bytes:
    return before_pixels(save(ds), raw_element(0x00380010, "LO", who.number().encode()))


def group_lengths(ds: FileDataset, who: Who) -> bytes:
    ds.PatientAddress = who.name()
    data = save(ds)
    place = data.index(b"\x10\x00\x10\x00PN")
    return data[:place] + raw_element(0x00100000, "UL", struct.pack("<I", 40)) + data[place:]


def nested_uids(ds: FileDataset, who: Who) -> bytes:
    deep, item, series = Dataset(), Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, who.uid()
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "121311", "DCM", who.name()
    item.PurposeOfReferenceCodeSequence = [purpose]
    deep.ReferencedSOPClassUID, deep.ReferencedSOPInstanceUID = CT, who.uid()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = who.uid(), [deep]
    ds.ReferencedImageSequence, ds.SourceImageSequence, ds.ReferencedSeriesSequence = [item], [item], [series]
    return save(ds)


def original_attributes(ds: FileDataset, who: Who) -> bytes:
    before, item = Dataset(), Dataset()
    before.PatientName, before.PatientID = who.person(), who.number()
    item.ModifiedAttributesSequence = [before]
    item.AttributeModificationDateTime, item.ModifyingSystem = "20200101", who.name()
    item.SourceOfPreviousValues, item.ReasonForTheAttributeModification = who.name(), "COERCE"
    ds.OriginalAttributesSequence = [item]
    return save(ds)


def digital_signature(ds: FileDataset, who: Who) -> bytes:
    item, mac = Dataset(), Dataset()
    item.DigitalSignatureUID, item.DigitalSignatureDateTime = who.uid(), "20200101000000"
    item.CertificateOfSigner = who.person().encode().ljust(64, b"\0")
    item.Signature = who.name().encode().ljust(64, b"\0")
    mac.MACIDNumber, mac.MACAlgorithm = 1, "SHA256"
    ds.MACParametersSequence = [mac]
    return before_pixels(save(ds), b"") + _sequence_bytes(0xFFFAFFFA, item)


def _sequence_bytes(tag: int, item: Dataset) -> bytes:
    inner = io.BytesIO()
    item.save_as(inner, implicit_vr=False, little_endian=True)
    body = inner.getvalue()
    return raw_element(tag, "SQ", b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body)


def other_patient_ids(ds: FileDataset, who: Who) -> bytes:
    item = Dataset()
    item.PatientID, item.TypeOfPatientID, item.IssuerOfPatientID = who.number(), "TEXT", who.name()
    ds.OtherPatientIDsSequence, ds.OtherPatientIDs = [item], who.number()
    ds.OtherPatientNames, ds.PatientBirthName, ds.PatientMotherBirthName = who.person(), who.person(), who.person()
    ds.PatientAddress, ds.PatientTelephoneNumbers, ds.MilitaryRank = who.name(), who.number("+"), who.name()
    ds.MedicalRecordLocator, ds.CountryOfResidence, ds.RegionOfResidence = who.number(), who.name(), who.name()
    ds.EthnicGroup, ds.Occupation, ds.AdditionalPatientHistory = who.name(), who.name(), who.name()
    return save(ds)


def request(ds: FileDataset, who: Who) -> bytes:
    item = Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = who.number(), who.number()
    item.RequestedProcedureDescription = who.name()
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = who.number()[:16], "99LOCAL", who.name()
    ds.RequestAttributesSequence, ds.ProcedureCodeSequence = [item], [code]
    ds.PerformedProcedureStepID, ds.PerformedProcedureStepDescription = who.number()[:16], who.name()
    ds.RequestingPhysician, ds.AdmittingDiagnosesDescription = who.person(), who.name()
    return save(ds)


def charset_latin2(ds: FileDataset, who: Who) -> bytes:
    ds.SpecificCharacterSet = "ISO_IR 101"
    ds.PatientName = f"Dvořák{who.name()}^Jiří"
    return save(ds)


def charset_japanese(ds: FileDataset, who: Who) -> bytes:
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    who.all.append("山田")
    ds.PatientName = f"{who.person()}=山田^太郎=やまだ^たろう"
    ds.InstitutionName = "山田病院"
    return save(ds)


def charset_chinese(ds: FileDataset, who: Who) -> bytes:
    ds.SpecificCharacterSet = "GB18030"
    who.all.append("王小东")
    ds.PatientName = f"{who.person()}=王^小东"
    ds.StudyDescription = "王小东 胸部"
    return save(ds)


def charset_wrong(ds: FileDataset, who: Who) -> bytes:
    who.all.append("Grünwaldner")
    data = save(ds)
    return before_pixels(data, raw_element(0x00324000, "LT", "Grünwaldner Björn".encode()))


def charset_unknown(ds: FileDataset, who: Who) -> bytes:
    ds.PatientAddress = who.name()
    data = save(ds)
    place = data.index(b"\x08\x00\x08\x00CS")
    return data[:place] + raw_element(0x00080005, "CS", b"KLINGON 7") + data[place:]


def several_names(ds: FileDataset, who: Who) -> bytes:
    ds.add_new(0x00081060, "PN", [who.person(), f"{who.name()}^{who.name()}^^Dr^MD"])
    ds.add_new(0x00081048, "PN", f"{who.person()}={who.person()}={who.person()}")
    return save(ds)


def dates_in_text(ds: FileDataset, who: Who) -> bytes:
    date = who.date()
    dotted = f"{date[6:]}.{date[4:6]}.{date[:4]}"
    who.all.append(dotted)
    ds.SeriesDescription, ds.StudyDescription = f"Chest {dotted}", f"Chest {date}"
    ds.ProtocolName = date
    return save(ds)


def dates_in_uids(ds: FileDataset, who: Who) -> bytes:
    date = who.date()
    ds.SOPInstanceUID = f"1.2.840.10008.{date}.{who.draw.randrange(10**6)}"
    ds.FrameOfReferenceUID = f"2.16.840.1.113669.{date}.1"
    return save(ds)


def malformed_dates(ds: FileDataset, who: Who) -> bytes:
    data = save(ds)
    old = who.date()
    dotted = f"{old[:4]}.{old[4:6]}.{old[6:]}"
    who.all.append(dotted)
    data = before_pixels(data, raw_element(0x00181012, "DA", dotted.encode()))
    return before_pixels(data, raw_element(0x0018A002, "DT", f"born {who.date()}".encode()))


def several_dates(ds: FileDataset, who: Who) -> bytes:
    ds.add_new(0x00181200, "DA", [who.date(), who.date()])
    ds.add_new(0x00181201, "TM", ["010203", "040506"])
    ds.add_new(0x0008002A, "DT", f"{who.date()}101112.5+0130")
    ds.TimezoneOffsetFromUTC = "+0130"
    return save(ds)


def retrieve_url(ds: FileDataset, who: Who) -> bytes:
    ds.add_new(0x00081190, "UR", f"https://pacs.{who.name()}.org/{who.number()}")
    ds.add_new(0x00080054, "AE", who.name())
    ds.StorageMediaFileSetUID = who.uid()
    return save(ds)


def text_in_codes(ds: FileDataset, who: Who) -> bytes:
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", f"Chest of {who.name()}"
    region.CodingSchemeVersion, region.MappingResource = who.name(), "DCMR"
    ds.AnatomicRegionSequence = [region]
    ds.add_new(0x00180015, "CS", who.name().upper())
    ds.add_new(0x00185100, "CS", who.name().upper())
    ds.add_new(0x00080008, "CS", ["ORIGINAL", "PRIMARY", who.name().upper()])
    return save(ds)


def text_in_technical(ds: FileDataset, who: Who) -> bytes:
    ds.ConvolutionKernel, ds.FilterType, ds.SoftwareVersions = who.name(), who.name(), who.name()
    ds.Manufacturer, ds.ManufacturerModelName = who.name(), f"SOMATOM of {who.name()}"
    ds.RescaleType, ds.PositionReferenceIndicator = who.name(), who.name()
    ds.ScanOptions = who.name().upper()
    return save(ds)


def text_in_numbers(ds: FileDataset, who: Who) -> bytes:
    data = save(ds)
    data = before_pixels(data, raw_element(0x00180060, "DS", who.name().encode()))
    data = before_pixels(data, raw_element(0x00200012, "IS", who.name().encode()))
    data = before_pixels(data, raw_element(0x00189345, "FD", who.person().encode()[:16].ljust(16)))
    return before_pixels(data, raw_element(0x00281050, "DS", b"40\\" + who.name().encode()))


def trial(ds: FileDataset, who: Who) -> bytes:
    ds.ClinicalTrialSponsorName, ds.ClinicalTrialProtocolID = who.name(), who.number()
    ds.ClinicalTrialSubjectID, ds.ClinicalTrialSiteName = who.number(), who.name()
    ds.ClinicalTrialTimePointDescription = who.name()
    return save(ds)


def equipment(ds: FileDataset, who: Who) -> bytes:
    item = Dataset()
    item.Manufacturer, item.InstitutionName, item.StationName = "X", who.name(), who.name()
    item.OperatorsName, item.ContributionDescription = who.person(), who.name()
    ds.ContributingEquipmentSequence = [item]
    ds.GantryID, ds.DetectorID, ds.DeviceUID, ds.PlateID = who.number(), who.number(), who.uid(), who.number()
    return save(ds)


def implicit(ds: FileDataset, who: Who) -> bytes:
    nested_uids(ds, who)
    return save(ds, syntax=ImplicitVRLittleEndian)


def big_endian(ds: FileDataset, who: Who) -> bytes:
    nested_uids(ds, who)
    ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).byteswap().tobytes()
    return save(ds, syntax=ExplicitVRBigEndian)


def deflated(ds: FileDataset, who: Who) -> bytes:
    ds.PatientComments = who.name()
    return save(ds, syntax="1.2.840.10008.1.2.1.99")


def no_meta(ds: FileDataset, who: Who) -> bytes:
    ds.PatientComments = who.name()
    data = save(ds, syntax=ImplicitVRLittleEndian)
    return data[data.index(b"\x08\x00\x08\x00", 132) :]


def jpeg_comment(ds: FileDataset, who: Who) -> bytes:
    return _jpeg(ds, who, b"\xff\xfe" + _segment(who.person().encode()) + b"\xff\xe1" + _segment(who.name().encode()))


def jpeg_trailing(ds: FileDataset, who: Who) -> bytes:
    return _jpeg(ds, who, b"", tail=who.person().encode())


def _segment(body: bytes) -> bytes:
    return (len(body) + 2).to_bytes(2, "big") + body


def _jpeg(ds: FileDataset, who: Who, extra: bytes, *, tail: bytes = b"") -> bytes:
    pixels = np.random.default_rng(who.draw.randrange(2**32)).integers(0, 255, (16, 16), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    frame = stream.getvalue()
    frame = frame[:2] + extra + frame[2:] + tail
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = encapsulate([frame])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return save(ds, syntax="1.2.840.10008.1.2.4.50")


def jpeg2000_comment(ds: FileDataset, who: Who) -> bytes:
    pixels = np.random.default_rng(who.draw.randrange(2**32)).integers(0, 255, (16, 16), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    frame = stream.getvalue()
    place = frame.index(b"\xff\x52")
    frame = frame[:place] + b"\xff\x64" + _segment(b"\0\1" + who.person().encode()) + frame[place:]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return save(ds, syntax="1.2.840.10008.1.2.4.90")


TRAPS: tuple[Callable[[FileDataset, Who], bytes], ...] = (
    file_meta, preamble, trailing_bytes, trailing_padding, bytes_after_last_pixel, high_bits, high_bits_signed, overlay,
    curve, icon, look_up_tables, private_block, odd_groups, unknown_vr, invented_vr, group_lengths, nested_uids,
    original_attributes, digital_signature, other_patient_ids, request, charset_latin2, charset_japanese,
    charset_chinese, charset_wrong, charset_unknown, several_names, dates_in_text, dates_in_uids, malformed_dates,
    several_dates, retrieve_url, text_in_codes, text_in_technical, text_in_numbers, trial, equipment, implicit,
    big_endian, deflated, no_meta, jpeg_comment, jpeg_trailing, jpeg2000_comment,
)  # fmt: skip


# --- DICOM files that must not come through ------------------------------------------------------------------------


def document(who: Who) -> bytes:
    ds = image(who, "1.2.840.10008.5.1.4.1.1.104.1")
    ds.EncapsulatedDocument, ds.MIMETypeOfEncapsulatedDocument = b"%PDF-1.4 " + who.person().encode(), "application/pdf"
    del ds.PixelData
    return save(ds)


def report(who: Who) -> bytes:
    ds = image(who, "1.2.840.10008.5.1.4.1.1.88.11")
    item = Dataset()
    item.ValueType, item.TextValue = "TEXT", f"Finding of {who.name()}"
    ds.ContentSequence = [item]
    del ds.PixelData
    return save(ds)


def presentation(who: Who) -> bytes:
    ds = image(who, "1.2.840.10008.5.1.4.1.1.11.1")
    item, text = Dataset(), Dataset()
    text.UnformattedTextValue = who.name()
    item.TextObjectSequence = [text]
    ds.GraphicAnnotationSequence, ds.ContentDescription = [item], who.name()
    del ds.PixelData
    return save(ds)


def directory(who: Who) -> bytes:
    ds = image(who, "1.2.840.10008.1.3.10")
    item = Dataset()
    item.PatientName = who.person()
    ds.DirectoryRecordSequence = [item]
    del ds.PixelData
    return save(ds)


def truncated(who: Who) -> bytes:
    data = save(image(who))
    return data[:-100]


def garbage(who: Who) -> bytes:
    return b"\0" * 128 + b"DICM" + who.person().encode() * 20


def private_class(who: Who) -> bytes:
    return save(image(who, "1.3.12.2.1107.5.9.1"))


def thin_head(who: Who) -> bytes:
    ds = image(who)
    ds.BodyPartExamined, ds.SliceThickness = "HEAD", 1.0
    return save(ds)


def ultrasound(who: Who) -> bytes:
    return save(image(who, US))


def screenshot(who: Who) -> bytes:
    return save(image(who, SC))


def says_burned_in(who: Who) -> bytes:
    ds = image(who)
    ds.BurnedInAnnotation = "YES"
    return save(ds)


REFUSED = (document, report, presentation, directory, truncated, garbage, private_class, thin_head)
QUARANTINED = (ultrasound, screenshot, says_burned_in)


def segmentation(who: Who) -> bytes:
    """A binary SEG with names in its labels, descriptions and creator."""
    ds = image(who, SEG)
    ds.Modality, ds.SegmentationType = "SEG", "BINARY"
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = who.name().upper(), who.name(), who.person()
    category, kind, segment = Dataset(), Dataset(), Dataset()
    category.CodeValue, category.CodingSchemeDesignator, category.CodeMeaning = "49755003", "SCT", who.name()
    kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning = "4147007", "SCT", who.name()
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentDescription = 1, f"Tumor of {who.name()}", who.name()
    segment.SegmentAlgorithmType, segment.SegmentAlgorithmName = "SEMIAUTOMATIC", who.name()
    segment.SegmentedPropertyCategoryCodeSequence, segment.SegmentedPropertyTypeCodeSequence = [category], [kind]
    segment.TrackingID, segment.TrackingUID = who.name(), who.uid()
    ds.SegmentSequence = [segment]
    derivation, source, frame = Dataset(), Dataset(), Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = CT, who.uid()
    derivation.SourceImageSequence, derivation.DerivationDescription = [source], who.name()
    frame.DerivationImageSequence = [derivation]
    ds.PerFrameFunctionalGroupsSequence = [frame]
    ds.NumberOfFrames, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 1, 0
    ds.PixelData = b"\x0f" * 32
    ds["PixelData"].VR = "OB"
    return save(ds)


def structures(who: Who) -> bytes:
    """An RTSTRUCT with names in its labels."""
    ds = image(who, RTSTRUCT)
    del ds.PixelData
    ds.Modality, ds.StructureSetLabel, ds.StructureSetName = "RTSTRUCT", who.name(), who.name()
    ds.StructureSetDate, ds.StructureSetTime = who.date(), "101112"
    roi, contour, points, observation = Dataset(), Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ROIDescription, roi.ReferencedFrameOfReferenceUID = (
        1,
        who.name(),
        who.name(),
        who.uid(),
    )
    roi.ROIGenerationAlgorithm = "MANUAL"
    points.ContourGeometricType, points.NumberOfContourPoints = "CLOSED_PLANAR", 3
    points.ContourData = [0, 0, 30.25, 1, 0, 30.25, 1, 1, 30.25]
    contour.ReferencedROINumber, contour.ContourSequence = 1, [points]
    observation.ObservationNumber = observation.ReferencedROINumber = 1
    observation.ROIObservationLabel, observation.RTROIInterpretedType, observation.ROIInterpreter = (
        who.name(),
        "GTV",
        who.person(),
    )
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [roi], [contour], [observation]
    return save(ds)


# --- photographs and volumes ---------------------------------------------------------------------------------------


def jpeg_photo(who: Who) -> bytes:
    picture = Image.fromarray(
        np.random.default_rng(who.draw.randrange(2**32)).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    )
    exif = picture.getexif()
    exif[0x010E], exif[0x013B], exif[0x8298] = who.name(), who.name(), who.name()
    exif.get_ifd(0x8825)[0x001D] = who.date()
    stream = io.BytesIO()
    xmp = f"<x:xmpmeta>{who.name()}</x:xmpmeta>".encode()
    picture.save(stream, "JPEG", exif=exif, comment=who.name(), xmp=xmp, icc_profile=who.name().encode() * 30)
    data = stream.getvalue()
    iptc = b"\xff\xed" + _segment(b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x20" + who.person().encode())
    thumb = io.BytesIO()
    picture.resize((8, 8)).save(thumb, "JPEG", comment=who.name())
    return data[:2] + iptc + data[2:] + thumb.getvalue() + who.person().encode()


def png_photo(who: Who) -> bytes:
    pixels = np.random.default_rng(who.draw.randrange(2**32)).integers(0, 255, (16, 24, 4), dtype=np.uint8)
    hidden = who.name().encode()
    pixels[0, :8, 0], pixels[0, :8, 3] = np.frombuffer(hidden[:8], np.uint8), 0
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", who.name())
    info.add_text("Comment", who.name() * 20, zip=True)
    info.add_itxt("Title", who.name(), lang="cs")
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", pnginfo=info)
    return stream.getvalue() + who.person().encode()


def png_palette(who: Who) -> bytes:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 2, (16, 16), dtype=np.uint8)).convert("P")
    name = who.person().encode()
    picture.putpalette(b"\0\0\0\xff\xff\xff" + name.ljust(60, b" "))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def tiff_photo(who: Who) -> bytes:
    pixels = np.random.default_rng(who.draw.randrange(2**32)).integers(0, 255, (16, 24, 3), dtype=np.uint8)
    label = Image.fromarray(np.frombuffer(who.person().encode().ljust(64, b"\0")[:64], np.uint8).reshape(8, 8))
    stream = io.BytesIO()
    tags = {270: who.name(), 305: who.name(), 315: who.name(), 306: f"{who.date()} 10:11:12"}
    Image.fromarray(pixels).save(stream, "TIFF", save_all=True, append_images=[label], tiffinfo=tags)
    return stream.getvalue() + who.name().encode()


def bmp_photo(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(stream, "BMP")
    return stream.getvalue() + who.person().encode()


def webp_photo(who: Who) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 255, (16, 16, 3), dtype=np.uint8))
    exif = picture.getexif()
    exif[0x010E] = who.name()
    picture.save(stream, "WEBP", lossless=True, exif=exif, xmp=who.name().encode())
    return stream.getvalue()


def nifti(who: Who, *, packed: bool = True) -> bytes:
    made = nib.Nifti1Image(
        np.random.default_rng(3).integers(0, 999, (6, 5, 4)).astype(np.int16), np.diag([2.0, 2, 3, 1])
    )
    made.header["descrip"], made.header["db_name"] = who.name().encode(), who.name().encode()
    made.header["aux_file"], made.header["intent_name"] = who.name().encode(), who.name().encode()
    made.header.extensions.append(nib.nifti1.Nifti1Extension(6, f"scan of {who.person()}".encode()))
    data = made.to_bytes() + who.person().encode()
    if not packed:
        return data
    stream = io.BytesIO()
    with gzip.GzipFile(f"{who.name()}.nii", "wb", fileobj=stream, mtime=1) as file:
        file.write(data)
    return stream.getvalue()


def nifti_plain(who: Who) -> bytes:
    return nifti(who, packed=False)


def nifti2(who: Who) -> bytes:
    made = nib.Nifti2Image(np.arange(60, dtype=np.float32).reshape(5, 4, 3), np.diag([2.0, 2, 3, 1]))
    made.header["descrip"], made.header["intent_name"] = who.name().encode(), who.name().encode()
    made.header.extensions.append(nib.nifti1.Nifti1Extension(6, who.person().encode()))
    return made.to_bytes()


def nrrd(who: Who) -> bytes:
    head = (
        f"NRRD0005\n# made by {who.name()}\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\n"
        f"space directions: (1,0,0) (0,1,0) (0,0,2)\nkinds: domain domain domain\nendian: little\nencoding: gzip\n"
        f"space origin: (0,0,0)\ncontent: {who.name()}\nPatient:={who.person()}\n\n"
    )
    body = gzip.compress(np.arange(24, dtype=np.int16).tobytes() + who.name().encode())
    return head.encode() + body + who.name().encode()


def meta_image(who: Who) -> bytes:
    head = (
        f"ObjectType = Image\nNDims = 3\nComment = {who.name()}\nName = {who.name()}\nBinaryData = True\n"
        f"BinaryDataByteOrderMSB = False\nCompressedData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
        f"ElementSpacing = 1 1 2\nDimSize = 4 3 2\nElementType = MET_SHORT\nPatientID = {who.number()}\n"
        f"ElementDataFile = LOCAL\n"
    )
    return head.encode() + zlib.compress(np.arange(24, dtype=np.int16).tobytes() + who.name().encode())


FILES: tuple[tuple[Callable[[Who], bytes], str], ...] = (
    (jpeg_photo, ".jpg"), (png_photo, ".png"), (png_palette, ".png"), (tiff_photo, ".tif"), (bmp_photo, ".bmp"),
    (webp_photo, ".webp"), (nifti, ".nii.gz"), (nifti_plain, ".nii"), (nifti2, ".nii"), (nrrd, ".nrrd"),
    (meta_image, ".mha"),
)  # fmt: skip


def unknown_files(who: Who) -> list[tuple[str, bytes]]:
    return [
        (f"{who.name()}.pdf", b"%PDF-1.7 " + who.person().encode()),
        (f"{who.name()}.txt", who.person().encode()),
        (f"{who.name()}.zip", b"PK\x03\x04" + who.person().encode()),
        (f"{who.name()}.stl", b"solid " + who.person().encode()),
        (f"{who.name()}.jpg", b"\xff\xd8" + who.person().encode()),
        (f"{who.name()}.png", b"\x89PNG\r\n\x1a\n" + who.person().encode()),
        (f"{who.name()}.nii.gz", b"\x1f\x8b" + who.person().encode()),
        (f"{who.name()}.mhd", b"ObjectType = Image\nElementDataFile = other.raw\n"),
        (f"{who.name()}.docx", b""),
        ("DICOMDIR", b""),
    ]


def make_corpus(folder: Path, *, seed: int = 7) -> list[Planted]:
    """Write the corpus below `folder`, a folder a patient, named after the patient."""
    draw = random.Random(seed)
    planted: list[Planted] = []

    def put(name: str, data: bytes, who: Who, expect: str, *, patient: str = "") -> None:
        home = patient or f"{who.name()}_{who.name()}"
        path = folder / home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        planted.append(Planted(f"{home}/{name}", who.all, expect))

    for trap in TRAPS:
        for sop_class in (CT, MR, PT):
            who = Who(draw)
            put(f"{who.name()}.dcm", trap(image(who, sop_class), who), who, "written")
    for make in (segmentation, structures):
        who = Who(draw)
        put("IM1", make(who), who, "written")
    for make in REFUSED:
        who = Who(draw)
        put("IM1.dcm", make(who), who, "refused")
    for make in QUARANTINED:
        who = Who(draw)
        put("IM1.dcm", make(who), who, "quarantined")
    for make_file, suffix in FILES:
        for _ in range(2):
            who = Who(draw)
            put(f"{who.name()}{suffix}", make_file(who), who, "written")
    who = Who(draw)
    home = f"{who.name()}_{who.name()}"
    for name, data in unknown_files(who):
        put(name, data, who, "refused", patient=home)
    return planted
