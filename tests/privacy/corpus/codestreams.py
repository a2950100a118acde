"""Compressed frames with names between, before and behind what a decoder reads."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless, RLELossless

from tests.privacy.corpus.slices import CT, IMAGES, MR, PT, Who, image, noise, save, segment

ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0\0\0\0\0"


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def _item(data: bytes) -> bytes:
    return ITEM + struct.pack("<I", len(_even(data))) + _even(data)


def _put(ds: FileDataset, body: bytes, syntax: str) -> bytes:
    ds.PixelData = body
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return save(ds, syntax=syntax)


def _eight_bits(ds: FileDataset, *, frames: int = 1, colours: int = 1) -> FileDataset:
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    if frames > 1:
        ds.NumberOfFrames = frames
    if colours == 3:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "YBR_FULL_422", 0
    return ds


def _jpeg(who: Who, *, colour: bool = False) -> bytes:
    stream = io.BytesIO()
    shape = (16, 16, 3) if colour else (16, 16)
    Image.fromarray(noise(who, *shape)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def _jpeg2000(who: Who, *, boxes: bool = False) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(who, 16, 16)).save(stream, "JPEG2000", irreversible=False, no_jp2=not boxes)
    return stream.getvalue()


def _lossless(who: Who, syntax: str) -> tuple[FileDataset, list[bytes]]:
    ds = image(who, MR)
    ds.compress(syntax, generate_instance_uid=False)
    return ds, list(generate_frames(ds.PixelData, number_of_frames=1))


def jpeg_in_every_segment(who: Who) -> bytes:
    """APP0 to APP15, comments, an ICC profile with a description and EXIF, in the third of four frames."""
    frames = [_jpeg(who) for _ in range(4)]
    extra = b"".join(segment(bytes((0xFF, 0xE1 + number)), who.name().encode()) for number in range(15))
    extra += segment(b"\xff\xfe", who.name().encode("utf-16"))
    extra += segment(b"\xff\xe2", b"ICC_PROFILE\0\1\1" + who.name().encode())
    frames[2] = frames[2][:2] + extra + frames[2][2:]
    return _put(_eight_bits(image(who, MR), frames=4), encapsulate(frames), JPEGBaseline8Bit)


def jpeg_colour(who: Who) -> bytes:
    """YBR_FULL_422 with a comment before the scan and fill bytes before markers."""
    frame = _jpeg(who, colour=True)
    place = frame.index(b"\xff\xda")
    frame = frame[:place] + segment(b"\xff\xfe", who.person().encode()) + b"\xff\xff" + frame[place:]
    ds = _eight_bits(image(who, IMAGES + "77.1.4"), colours=3)
    ds.Modality = "XC"
    return _put(ds, encapsulate([frame]), JPEGBaseline8Bit)


def jpeg_after_the_end(who: Who) -> bytes:
    """Text, and a whole second picture, behind the end of the first."""
    frame = _jpeg(who) + who.person().encode() + _jpeg(who)
    return _put(_eight_bits(image(who, PT)), encapsulate([frame]), JPEGBaseline8Bit)


def jpeg_before_the_start(who: Who) -> bytes:
    """Bytes between fragments and a frame cut into several, with slack in the table of offsets."""
    frames = [_even(_jpeg(who)) for _ in range(2)]
    table = struct.pack("<II", 0, 16 + len(frames[0])) + who.name().encode().ljust(16)
    body = _item(table)
    for frame in frames:
        body += _item(frame[:200]) + _item(frame[200:])
    return _put(_eight_bits(image(who, MR), frames=2), body + END + who.name().encode(), JPEGBaseline8Bit)


def fragments_to_spare(who: Who) -> bytes:
    """More fragments than frames, of which some hold text."""
    body = _item(b"") + _item(_jpeg(who)) + _item(who.person().encode()) + _item(_jpeg(who) + who.name().encode())
    return _put(_eight_bits(image(who, CT)), body + END, JPEGBaseline8Bit)


def jpeg2000_boxes(who: Who) -> bytes:
    """A JP2 file as a frame, with XML and UUID boxes."""
    frame = _jpeg2000(who, boxes=True)
    place = frame.index(b"jp2c") - 4
    text = f"<patient>{who.person()}</patient>".encode()
    xml = struct.pack(">I", len(text) + 8) + b"xml " + text
    uuid = struct.pack(">I", 40) + b"uuid" + b"\1" * 16 + who.name().encode().ljust(16)
    frame = frame[:place] + xml + uuid + frame[place:]
    return _put(_eight_bits(image(who, MR)), encapsulate([_even(frame)]), JPEG2000Lossless)


def jpeg2000_after_the_end(who: Who) -> bytes:
    """Comments in Latin and binary form in the main head, and text behind the end of the code stream."""
    frame = _jpeg2000(who)
    place = frame.index(b"\xff\x52")
    notes = segment(b"\xff\x64", b"\0\1" + who.name().encode())
    notes += segment(b"\xff\x64", b"\0\0" + who.name().encode("utf-16"))
    frame = frame[:place] + notes + frame[place:] + who.person().encode()
    return _put(_eight_bits(image(who, CT)), encapsulate([_even(frame)]), JPEG2000)


def jpeg_ls_comment(who: Who) -> bytes:
    ds, (frame,) = _lossless(who, JPEGLSLossless)
    notes = segment(b"\xff\xfe", who.person().encode()) + segment(b"\xff\xe8", who.name().encode())
    frame = frame[:2] + notes + frame[2:].rstrip(b"\0") + who.name().encode()
    return _put(ds, encapsulate([_even(frame)]), JPEGLSLossless)


def run_lengths(who: Who) -> bytes:
    """RLE: text in the unused offsets of the head, and behind the last segment."""
    ds, (frame,) = _lossless(who, RLELossless)
    count = struct.unpack("<I", frame[:4])[0]
    unused = 4 + 4 * count
    head = frame[:unused] + who.name().encode().ljust(64 - unused, b"\0")
    return _put(ds, encapsulate([_even(head + frame[64:] + who.person().encode())]), RLELossless)


def table_of_long_offsets(who: Who) -> bytes:
    """An extended offset table whose spare entries are text."""
    ds = _eight_bits(image(who, CT))
    frame = _even(_jpeg(who))
    ds.ExtendedOffsetTable = struct.pack("<Q", 0) + who.name().encode()
    ds.ExtendedOffsetTableLengths = struct.pack("<Q", len(frame)) + who.name().encode()
    return _put(ds, _item(b"") + _item(frame) + END, JPEGBaseline8Bit)


def palette_to_spare(who: Who) -> bytes:
    """A palette whose entries that no pixel uses are text, with ICC profile and colour space beside it."""
    ds = _eight_bits(image(who, IMAGES + "77.1.4"))
    ds.PhotometricInterpretation, ds.Modality = "PALETTE COLOR", "XC"
    ds.PixelData = (noise(who, 16, 16) % 64).tobytes()
    text = np.frombuffer(who.person().encode().ljust(384), np.uint8)
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        table = np.zeros(512, np.uint8)
        table[1:128:2] = np.arange(64)
        table[128:] = text
        setattr(ds, f"{colour}PaletteColorLookupTableData", table.tobytes())
    ds.PaletteColorLookupTableUID, ds.ICCProfile = who.uid(), who.name().encode().ljust(128)
    ds.ColorSpace = who.name().upper()
    return save(ds)


def float_pixels(who: Who) -> bytes:
    """Pixels as floating-point numbers, ordinary pixels beside them, and padding that is text."""
    ds = image(who, IMAGES + "30")
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):
        delattr(ds, keyword)
    ds.BitsAllocated = 32
    ds.FloatPixelData = np.linspace(0, 1, 256, dtype=np.float32).tobytes() + who.person().encode().ljust(64)
    ds.FloatPixelPaddingValue = float(np.frombuffer(who.name().encode()[:4], np.float32)[0])
    ds.add_new(0x7FE00009, "OD", who.person().encode().ljust(64))
    return save(ds)


FRAMES: tuple[Callable[[Who], bytes], ...] = (
    jpeg_in_every_segment, jpeg_colour, jpeg_after_the_end, jpeg_before_the_start, fragments_to_spare, jpeg2000_boxes,
    jpeg2000_after_the_end, jpeg_ls_comment, run_lengths, table_of_long_offsets, palette_to_spare, float_pixels,
)  # fmt: skip
