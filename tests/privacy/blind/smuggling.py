"""People in vendors' blocks, in overlays, among and behind pixels, and in functional groups."""

import struct

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from tests.privacy.blind.classes import code, raw, uid
from tests.privacy.blind.people import Planter


def private(p: Planter, ds: FileDataset) -> None:
    """Vendors' blocks: Siemens CSA, GE, Philips, and one of a doctor's own making."""
    csa = b"SV10\x04\x03\x02\x01" + struct.pack("<II", 1, 77) + p.family().encode().ljust(64, b"\0")
    csa += (
        struct.pack("<i4siii", 1, b"LO\0\0", 0, 1, 77)
        + struct.pack("<4i", 40, 40, 77, 40)
        + p.family().encode().ljust(40, b"\0")
    )
    block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
    block.add_new(0x10, "OB", csa)
    block.add_new(0x20, "OB", p.family().encode() * 4)
    mr = ds.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    mr.add_new(0x0C, "IS", str(p.int32()))
    mr.add_new(0x0D, "CS", p.upper())
    mr.add_new(0x0E, "FD", [float(int(p.number(9)))] * 3)
    mr.add_new(0x0A, "US", 7)
    ds.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(
        0x39, "IS", [str(p.int32()), "0", str(p.int32()), "0"]
    )
    ds.private_block(0x0009, "GEMS_IDEN_01", create=True).add_new(0x01, "LO", p.family())
    philips = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
    philips.add_new(0x03, "FL", 1000.0)
    philips.add_new(0x04, "CS", p.upper())
    philips.add_new(0x10, "CS", p.upper())
    own = ds.private_block(0x0031, f"DR {p.upper()}", create=True)
    inner = Dataset()
    inner.PatientName = p.family()
    for _ in range(4):
        outer = Dataset()
        outer.private_block(0x0031, f"DEEP {p.upper()}", create=True).add_new(0x01, "SQ", Sequence([inner]))
        inner = outer
    own.add_new(0x01, "SQ", Sequence([inner]))
    own.add_new(0x02, "UN", p.family().encode() * 2)
    own.add_new(0x03, "UT", p.family())
    pet = ds.private_block(0x7053, "Philips PET Private Group", create=True)
    pet.add_new(0x00, "DS", p.number())
    pet.add_new(0x09, "DS", p.date(p.day()))
    raw(ds, 0x00091099, "LO", p.family())
    raw(ds, 0x00111001, "LO", p.family())


def overlays(p: Planter, ds: FileDataset) -> None:
    """Overlays in 60xx and above the stored bits, curves, an icon, and attributes retired long ago."""
    rows = int(ds.Rows)
    bitmap = p.family().encode().ljust(rows * rows // 8, b"\0")
    for group in (0x60000000, 0x60020000, 0x601E0000):
        for tag, vr, value in (
            (0x10, "US", rows),
            (0x11, "US", rows),
            (0x22, "LO", p.family()),
            (0x40, "CS", "G"),
            (0x50, "SS", [1, 1]),
            (0x100, "US", 1),
            (0x102, "US", 0),
            (0x1500, "LO", p.family()),
            (0x3000, "OW", bitmap),
        ):
            raw(ds, group + tag, vr, value)
    raw(ds, 0x50000022, "LO", p.family())
    raw(ds, 0x50003000, "OW", p.family().encode().ljust(20))
    raw(ds, 0x50002600, "LO", p.family())
    for tag, vr in (
        (0x00084000, "LT"),
        (0x40000010, "LT"),
        (0x40080115, "ST"),
        (0x40080300, "ST"),
        (0x00200000 + 0x3401, "CS"),
        (0x00200000 + 0x3100, "CS"),
        (0x00102000, "LO"),
        (0x00201070, "IS"),
    ):
        raw(ds, tag, vr, str(p.int32()) if vr == "IS" else p.upper())
    icon = Dataset()
    icon.Rows = icon.Columns = 16
    icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
    icon.BitsAllocated = icon.BitsStored = 8
    icon.HighBit, icon.PixelRepresentation = 7, 0
    icon.PixelData = p.family().encode().ljust(256, b"\0")
    ds.IconImageSequence = Sequence([icon])
    if ds.BitsAllocated == 16 and ds.BitsStored == 12:
        values = np.frombuffer(ds.PixelData, "<u2").copy()
        bits = np.unpackbits(np.frombuffer(p.family().encode().ljust(24, b"\0"), np.uint8))
        values[: bits.size] |= bits.astype(np.uint16) << 13
        ds.PixelData = values.tobytes()


def pixel_tail(p: Planter, ds: FileDataset) -> None:
    """Bytes after the last row of the last frame."""
    tail = f"{p.family()} {p.code()} ".encode()
    ds.PixelData = ds.PixelData + tail + b"\0" * (len(tail) % 2)


def pixel_row(ds: FileDataset) -> None:
    """The patient's name and number as the first pixels, as old consoles wrote them, one letter a pixel."""
    text = f"{ds.PatientName}".replace("^", " ") + f" {ds.PatientID}"
    pixels = np.frombuffer(ds.PixelData, np.uint8 if ds.BitsAllocated == 8 else np.uint16).copy()
    pixels[: len(text)] = np.frombuffer(text.encode(), np.uint8)
    ds.PixelData = pixels.tobytes()


def functional(p: Planter, ds: FileDataset) -> None:
    """The functional groups of enhanced images: windows, rescales, attributes left over, specimens, optical paths."""
    groups = ds.get("SharedFunctionalGroupsSequence") or Sequence([Dataset()])
    window, rescale, world, left, diffusion = Dataset(), Dataset(), Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth, window.WindowCenterWidthExplanation = "40", "400", p.family()
    rescale.RescaleIntercept, rescale.RescaleSlope = "0", "1"
    raw(rescale, 0x00281054, "LO", p.upper())
    world.LUTLabel, world.LUTExplanation = p.upper(), p.family()
    world.MeasurementUnitsCodeSequence = Sequence([code("1", "UCUM", p.family())])
    left.PatientName, left.ImageComments, left.PatientBirthDate = p.family(), p.family(), p.date(p.day())
    left.OtherPatientIDs, left.AcquisitionDateTime = p.number(), f"{p.date(p.day())}101112"
    raw(diffusion, 0x00189087, "FD", 800.0)
    raw(diffusion, 0x00189075, "CS", p.upper())
    for item in groups:
        item.FrameVOILUTSequence, item.PixelValueTransformationSequence = Sequence([window]), Sequence([rescale])
        item.RealWorldValueMappingSequence, item.MRDiffusionSequence = Sequence([world]), Sequence([diffusion])
        item.UnassignedSharedConvertedAttributesSequence = Sequence([left])
    ds.SharedFunctionalGroupsSequence = groups
    path, specimen, step, word = Dataset(), Dataset(), Dataset(), Dataset()
    path.OpticalPathIdentifier, path.OpticalPathDescription, path.ICCProfile = (
        p.upper(),
        p.family(),
        p.family().encode().ljust(32),
    )
    word.ValueType, word.TextValue = "TEXT", p.family()
    word.ConceptNameCodeSequence = Sequence([code("121041", "DCM", p.family())])
    step.SpecimenPreparationStepContentItemSequence = Sequence([word])
    specimen.SpecimenIdentifier, specimen.SpecimenUID, specimen.SpecimenShortDescription = p.code(), uid(p), p.family()
    specimen.SpecimenDetailedDescription, specimen.SpecimenPreparationSequence = p.family(), Sequence([step])
    ds.OpticalPathSequence, ds.SpecimenDescriptionSequence = Sequence([path]), Sequence([specimen])
    region = Dataset()
    region.RegionSpatialFormat, region.RegionDataType, region.RegionFlags = 1, 1, p.int32()
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.01, 0.01
    region.PixelComponentOrganization, region.TransducerFrequency = 0, p.int32()
    ds.SequenceOfUltrasoundRegions = Sequence([region])
    ds.PaletteColorLookupTableUID = uid(p)
    for tag in (0x00281101, 0x00281102, 0x00281103):
        raw(ds, tag, "US", [16, 0, 16])
        raw(ds, tag + 0x100, "OW", p.family().encode("utf-16-le").ljust(32, b"\0")[:32])
