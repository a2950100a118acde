"""Crooked files: the rules of the format bent or broken, and names in what falls out of them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian

from tests.privacy.corpus.slices import CT, MR, PT, Who, before_pixels, image, noise, raw_element, save


def _tag(tag: int, length: int) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)


def _open_sequence(tag: int, vr: bytes = b"SQ") -> bytes:
    return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, 0xFFFFFFFF)


def _at_start(data: bytes, element: bytes) -> bytes:
    place = data.index(b"\x08\x00\x08\x00CS")
    return data[:place] + element + data[place:]


def doubled(who: Who) -> bytes:
    """Elements that occur twice, the second time with a name, and some out of order."""
    data = save(image(who, CT))
    for tag, vr in ((0x00080070, "LO"), (0x00081090, "LO"), (0x00180015, "CS"), (0x00100010, "PN"), (0x00080060, "CS"),
                    (0x00181210, "SH"), (0x00080018, "UI"), (0x0020000E, "UI"), (0x00080016, "LO")):  # fmt: skip
        value = who.uid() if vr == "UI" else who.name().upper()
        if tag != 0x00080016:
            data = before_pixels(data, raw_element(tag, vr, value.encode()))
    return data


def command_group(who: Who) -> bytes:
    """Elements of a network command, and of the file's meta information, inside the data set."""
    elements = raw_element(0x00000002, "UI", who.uid().encode()) + raw_element(0x00000600, "AE", who.name().encode())
    elements += raw_element(0x00001000, "UI", who.uid().encode()) + raw_element(0x00000901, "AT", who.name().encode())
    elements += raw_element(0x00020016, "AE", who.name().encode()) + raw_element(0x00020102, "OB", who.name().encode())
    return before_pixels(save(image(who, CT)), elements)


def forbidden_groups(who: Who) -> bytes:
    data = save(image(who, MR))
    for group in (0x0001, 0x0003, 0x0005, 0x0007, 0xFFFF, 0x7FDF, 0x5001, 0x6001, 0x0009):
        for element in (0x0001, 0x0010, 0x0011, 0x1001):
            data = before_pixels(data, raw_element(group << 16 | element, "LO", who.name().encode()))
    return data


def after_pixels(who: Who) -> bytes:
    """Elements behind the pixel data: private, padding with text, a second patient, an item that nobody opened."""
    data = save(image(who, CT)) + raw_element(0x7FE10010, "LO", who.name().encode())
    data += raw_element(0x7FE11010, "OB", who.person().encode()) + raw_element(0xFFFAFFFA, "OB", who.name().encode())
    data += raw_element(0xFFFCFFFC, "OB", who.person().encode()) + raw_element(0x00100010, "PN", who.person().encode())
    return data + _tag(0xFFFEE000, 8) + who.name().encode()


def nested_twelve_deep(who: Who) -> bytes:
    """A referenced image that holds a referenced image, and so on; names and private blocks at each depth."""
    inner = Dataset()
    for _ in range(12):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, who.uid()
        item.PatientName, item.ImageComments, item.StudyDate = who.person(), who.name(), who.date()
        item.private_block(0x0011, f"P {who.name()}", create=True).add_new(1, "LO", who.name())
        item.SourceImageSequence = [inner]
        inner = item
    ds = image(who, CT)
    ds.SourceImageSequence = ds.ReferencedImageSequence = [inner]
    return save(ds)


def unknown_and_open(who: Who) -> bytes:
    """Open sequences under VR UN, whose items are implicit; delimiters that have a length."""
    name = who.person().encode()
    name += b" " * (len(name) % 2)
    inside = struct.pack("<HHI", 0x0010, 0x0010, len(name)) + name
    item = _tag(0xFFFEE000, 0xFFFFFFFF) + inside + _tag(0xFFFEE00D, 0) + _tag(0xFFFEE0DD, 0)
    data = before_pixels(save(image(who, CT)), _open_sequence(0x00081140, b"UN") + item)
    return before_pixels(data, _open_sequence(0x00189346, b"UN") + item)


def slack_in_items(who: Who) -> bytes:
    """Sequences with a length whose items are shorter than they say, or hold padding."""
    padding = raw_element(0xFFFCFFFC, "OB", who.person().encode())
    inside = raw_element(0x00081150, "UI", CT.encode()) + raw_element(0x00081155, "UI", who.uid().encode()) + padding
    item = _tag(0xFFFEE000, len(inside)) + inside
    return before_pixels(save(image(who, CT)), raw_element(0x00082112, "SQ", item))


def odd_lengths(who: Who) -> bytes:
    """Values of an odd number of bytes."""
    data = save(image(who, CT))
    for tag in (0x00181030, 0x00081090, 0x00204000):
        value = (who.name() + "x").encode()
        data = before_pixels(data, struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, b"LO", len(value)) + value)
    return data


def reserved_bytes(who: Who) -> bytes:
    """A name in the reserved bytes of long element heads, two letters each."""
    name = who.name().encode()
    data = save(image(who, CT))
    for number in range(0, 8, 2):
        head = struct.pack("<HH2s", 0x0028, 0x2000 + number, b"OB") + name[number : number + 2] + struct.pack("<I", 0)
        data = before_pixels(data, head)
    return data


def changed_representation(who: Who) -> bytes:
    """Ordinary attributes under VR OB, UT and UN, as a careless converter writes them."""
    data = save(image(who, CT))
    for tag, vr in ((0x00100010, "OB"), (0x00081030, "UT"), (0x00181030, "UN"), (0x00080080, "OW"), (0x00204000, "UC")):
        data = before_pixels(data, raw_element(tag, vr, who.person().encode()))
    return data


def two_files_in_one(who: Who) -> bytes:
    """A second DICOM file, and a zip file, behind the first."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{who.name()}.txt", who.person())
    return save(image(who, CT)) + save(image(who, CT)) + stream.getvalue()


def tiff_as_well(who: Who) -> bytes:
    """A file that is a TIFF picture, too: the preamble points to a description behind the data set."""
    data = save(image(who, CT))
    text = who.person().encode() + b"\0"
    entry = struct.pack("<HHHII", 1, 270, 2, len(text), len(data) + 18) + b"\0\0\0\0"
    return (b"II*\0" + struct.pack("<I", len(data))).ljust(128, b"\0") + data[128:] + entry + text


def behind_deflated(who: Who) -> bytes:
    """Bytes behind the end of the deflated data set, and a second deflated stream."""
    squeezed = zlib.compressobj(wbits=-15)
    second = squeezed.compress(who.person().encode() * 9) + squeezed.flush()
    return save(image(who, CT), syntax="1.2.840.10008.1.2.1.99") + who.person().encode() + second


def meta_of_wrong_length(who: Who) -> bytes:
    """File meta information whose length is wrong, with private elements of group 2."""
    data = save(image(who, CT))
    end = 144 + struct.unpack("<I", data[140:144])[0]
    extra = raw_element(0x00020100, "UI", who.uid().encode()) + raw_element(0x00020102, "OB", who.person().encode())
    extra += raw_element(0x00020035, "LO", who.name().encode())
    return data[:140] + struct.pack("<I", 6) + data[144:end] + extra + data[end:]


def big_endian_nested(who: Who) -> bytes:
    ds, item = image(who, PT), Dataset()
    item.PatientName, item.RadiopharmaceuticalStartTime, item.Radiopharmaceutical = who.person(), "101112", who.name()
    item.RadiopharmaceuticalStartDateTime, item.RadionuclideTotalDose = who.date() + "101112", "3.5e8"
    ds.RadiopharmaceuticalInformationSequence = [item]
    ds.private_block(0x0029, who.name(), create=True).add_new(1, "SQ", [item])
    ds.PixelData = np.frombuffer(ds.PixelData, np.uint16).byteswap().tobytes()
    return save(ds, syntax=ExplicitVRBigEndian)


def wide_words(who: Who) -> bytes:
    """Pixels of 12 bits at the top of 16: a name in the four bits below."""
    ds = image(who, CT, stored=12)
    ds.HighBit = 15
    bits = np.unpackbits(np.frombuffer(who.name().encode(), np.uint8))
    words = np.frombuffer(ds.PixelData, np.uint16) << 4
    words[: bits.size] |= bits
    ds.PixelData = words.tobytes()
    return save(ds)


def more_frames_than_said(who: Who) -> bytes:
    ds = image(who, CT)
    ds.PixelData = ds.PixelData + who.person().encode().ljust(512, b"\0")
    return save(ds)


def bits_at_the_end(who: Who) -> bytes:
    """A picture of single bits whose last byte has room for more, and bytes behind it."""
    ds = image(who, "1.2.840.10008.5.1.4.1.1.66.4", size=17)
    return save(add_segments(ds, who))


def add_segments(ds: FileDataset, who: Who) -> FileDataset:
    """Make a binary segmentation of 17 x 17 pixels, with names wherever it has a text and behind its last bit."""
    segment, code, place, frame = Dataset(), Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "108369006", "SCT", f"Tumour of {who.name()}"
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentDescription = 1, f"GTV {who.name()}", who.name()
    segment.SegmentAlgorithmType, segment.SegmentAlgorithmName = "MANUAL", who.name()
    segment.TrackingID, segment.TrackingUID = who.name(), who.uid()
    segment.SegmentedPropertyCategoryCodeSequence = segment.SegmentedPropertyTypeCodeSequence = [code]
    place.ImagePositionPatient = [0, 0, 0]
    identification = Dataset()
    identification.ReferencedSegmentNumber = 1
    frame.PlanePositionSequence, frame.SegmentIdentificationSequence = [place], [identification]
    measures, plane, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [1, 1], 3, 3
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], [frame]
    ds.SegmentSequence, ds.SegmentationType, ds.NumberOfFrames, ds.Modality = [segment], "BINARY", 1, "SEG"
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = who.name().upper(), who.name(), who.person()
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = 0
    bits = np.packbits(noise(who, 17 * 17) > 127, bitorder="little")
    bits[-1] |= 0xFE
    ds.PixelData = bits.tobytes() + b"\0" + who.person().encode().ljust(40)
    ds["PixelData"].VR = "OB"
    return ds


def icons_everywhere(who: Who) -> bytes:
    """Icons in items, with pixels and a palette that spell names, and waveforms and overlays beside the pixels."""
    ds, icon, holder = image(who, CT), Dataset(), Dataset()
    icon.Rows = icon.Columns = 8
    icon.SamplesPerPixel, icon.PhotometricInterpretation, icon.BitsAllocated, icon.BitsStored = 1, "PALETTE COLOR", 8, 8
    icon.HighBit, icon.PixelRepresentation, icon.PixelData = 7, 0, who.person().encode().ljust(64)
    icon.RedPaletteColorLookupTableDescriptor = icon.BluePaletteColorLookupTableDescriptor = [64, 0, 8]
    icon.RedPaletteColorLookupTableData = who.person().encode().ljust(64)
    icon.BluePaletteColorLookupTableData = who.person().encode().ljust(64)
    holder.ReferencedSOPClassUID, holder.ReferencedSOPInstanceUID, holder.IconImageSequence = CT, who.uid(), [icon]
    ds.IconImageSequence, ds.ReferencedImageSequence = [icon], [holder]
    table = Dataset()
    table.LUTDescriptor, table.LUTExplanation = [256, 0, 16], who.name()
    table.LUTData = who.person().encode().ljust(512)
    table["LUTData"].VR = "OW"
    ds.VOILUTSequence = ds.SoftcopyVOILUTSequence = [table]
    table.ModalityLUTType = who.name()
    data = save(ds)
    for group in (0x5000, 0x5002, 0x501E, 0x6000, 0x6002, 0x60FE):
        data = before_pixels(data, raw_element(group << 16 | 0x3000, "OW", who.person().encode().ljust(64)))
        data = before_pixels(data, raw_element(group << 16 | 0x0022, "LO", who.name().encode()))
        data = before_pixels(data, raw_element(group << 16 | 0x1500, "LO", who.name().encode()))
    return data


BENT = (
    doubled, command_group, forbidden_groups, after_pixels, nested_twelve_deep, unknown_and_open, slack_in_items,
    odd_lengths, reserved_bytes, changed_representation, two_files_in_one, tiff_as_well, behind_deflated,
    meta_of_wrong_length, big_endian_nested, wide_words, more_frames_than_said, bits_at_the_end, icons_everywhere,
)  # fmt: skip
