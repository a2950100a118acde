"""Traps in and beside the pixels of a DICOM file: spare bits, overlays, icons, tables, compressed frames."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGBaseline8Bit

from tests.privacy.corpus.pictures import spare_tables
from tests.privacy.corpus.slices import CT, MR, Who, image, noise, save, segment


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


def jpeg_comment(ds: FileDataset, who: Who) -> bytes:
    return _jpeg(ds, who, segment(b"\xff\xfe", who.person().encode()) + segment(b"\xff\xe1", who.name().encode()))


def jpeg_trailing(ds: FileDataset, who: Who) -> bytes:
    return _jpeg(ds, who, b"", tail=who.person().encode())


def _jpeg(ds: FileDataset, who: Who, extra: bytes, *, tail: bytes = b"") -> bytes:
    frame = _plain_jpeg(who)
    return _compressed(ds, encapsulate([frame[:2] + extra + frame[2:] + tail]), JPEGBaseline8Bit)


def _plain_jpeg(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(who, 16, 16)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _compressed(ds: FileDataset, frames: bytes, syntax: str) -> bytes:
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelData = 8, 8, 7, frames
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return save(ds, syntax=syntax)


def jpeg2000_comment(ds: FileDataset, who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(who, 16, 16)).save(stream, "JPEG2000", irreversible=False, no_jp2=True)
    frame = stream.getvalue()
    place = frame.index(b"\xff\x52")
    frame = frame[:place] + segment(b"\xff\x64", b"\0\1" + who.person().encode()) + frame[place:]
    return _compressed(ds, encapsulate([frame + b"\0" * (len(frame) % 2)]), JPEG2000Lossless)


def overlays_of_all_groups(who: Who) -> bytes:
    ds = image(who, CT)
    for group in (0x6002, 0x601E):
        ds.add_new((group << 16) | 0x0010, "US", 16)
        ds.add_new((group << 16) | 0x0022, "LO", who.name())
        ds.add_new((group << 16) | 0x3000, "OW", who.person().encode().ljust(32, b"\0"))
    return save(ds)


def offset_table(who: Who) -> bytes:
    """Text in the extended offset table and in a fragment behind the last frame."""
    frame = _plain_jpeg(who)
    ds = image(who, MR)
    ds.ExtendedOffsetTable = who.name().encode()
    ds.ExtendedOffsetTableLengths = who.name().encode()
    body = encapsulate([frame])
    text = who.person().encode()
    end = body.rindex(b"\xfe\xff\xdd\xe0") if b"\xfe\xff\xdd\xe0" in body else len(body)
    text += b"\0" * (len(text) % 2)
    return _compressed(ds, body[:end] + b"\xfe\xff\x00\xe0" + struct.pack("<I", len(text)) + text, JPEGBaseline8Bit)


def tables_in_frame(who: Who) -> bytes:
    frame = spare_tables(who)
    ds = image(who, MR)
    ds.Rows, ds.Columns = 24, 32
    return _compressed(ds, encapsulate([frame + b"\0" * (len(frame) % 2)]), JPEGBaseline8Bit)
