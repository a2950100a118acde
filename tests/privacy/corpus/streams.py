"""Traps in how a DICOM file is written: before and behind the data set, odd elements, transfer syntaxes."""

from __future__ import annotations

import struct

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.privacy.corpus.attributes import nested_uids
from tests.privacy.corpus.slices import CT, MR, Who, before_pixels, image, raw_element, save


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


def hidden_sequence(who: Who) -> bytes:
    """A sequence of undefined length under VR UN, and padding inside an item."""
    inner = raw_element(0x00100010, "PN", who.person().encode()) + raw_element(0xFFFCFFFC, "OB", who.name().encode())
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    head = struct.pack("<HH2sHI", 0x0040, 0x0275, b"UN", 0, 0xFFFFFFFF)
    private = struct.pack("<HH2sHI", 0x0041, 0x1001, b"UN", 0, 0xFFFFFFFF)
    return before_pixels(save(image(who, CT)), head + item + private + item)


def private_numbers(who: Who) -> bytes:
    ds = image(who, MR)
    data = save(ds)
    for creator, tag, vr in ((b"SIEMENS MR HEADER", 0x0019100C, "IS"), (b"GEMS_PARM_01", 0x00431039, "IS")):
        group = tag >> 16
        data = before_pixels(data, raw_element((group << 16) | 0x10, "LO", creator)) if group > 0x28 else data
        data = before_pixels(data, raw_element(tag, vr, who.name().encode())) if group > 0x28 else data
    return data
