"""Slices: a small DICOM file with an identity in every usual attribute, from which the traps are made."""

from __future__ import annotations

import io
import random
import struct
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

IMAGES = "1.2.840.10008.5.1.4.1.1."
CT, MR, PT = (IMAGES + tail for tail in ("2", "4", "128"))
US, SC, SEG, RTSTRUCT = (IMAGES + tail for tail in ("6.1", "7", "66.4", "481.3"))
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


def noise(who: Who, *shape: int) -> np.ndarray:
    """A picture of 8 bits that says nothing."""
    return np.random.default_rng(who.draw.randrange(2**32)).integers(0, 255, shape, dtype=np.uint8)


def segment(marker: bytes, body: bytes) -> bytes:
    """A segment of a JPEG or JPEG 2000 code stream."""
    return marker + (len(body) + 2).to_bytes(2, "big") + body
