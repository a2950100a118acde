"""Frames: pixel data without anything that isn't a pixel.

Native pixel data are cut to the length that the header gives, and bits outside the stored ones are cleared. Compressed
frames keep their entropy-coded data; markers that hold text (comments, application segments, JPEG 2000 boxes) and bytes
after the last marker go, of baseline JPEG also bytes that no block needs. Where bits above the stored ones are coded
too, the frame is decoded and stored uncompressed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from medseg.errors import MissingExtraError, ReadError
from medseg.privacy.bits import CODED_BITS, packed_bits
from medseg.privacy.codecs import NATIVE, Layout, brings_colours, coded_frames, is_coded
from medseg.privacy.decoders import decoded_frames, in_silence
from medseg.privacy.jpeg import strip_jpeg, strip_jpeg2000
from medseg.privacy.jpeg_slack import without_slack
from medseg.privacy.limits import SUSPECT_BYTES
from medseg.privacy.person import raw_bytes
from medseg.types import Array

__all__ = [
    "CleanPixels",
    "Decoded",
    "PixelFacts",
    "clean_pixel_data",
    "decode_frames",
    "each_frame",
    "looks_drawn",
    "native_bytes",
    "pixel_facts",
]

_HTJ2K = frozenset(("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"))
_FEWEST_STROKE_PIXELS = 60
_UNDECODABLE = "expected pixel data that can be decoded, found damaged or unknown ones"
_EXPLICIT = str(ExplicitVRLittleEndian)
_JPEG = frozenset((*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes))
_JPEG2000 = frozenset((*JPEG2000TransferSyntaxes, *_HTJ2K))


@dataclass(frozen=True, slots=True)
class PixelFacts:
    """What the header says about the pixels."""

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str


@dataclass(frozen=True, slots=True)
class CleanPixels:
    """Pixel data to be written.

    Attributes:
        data: The value of the attribute, encapsulated where the transfer syntax is a compressed one.
        transfer_syntax: Its UID.
        photometric: Photometric interpretation where it changed, else empty.
    """

    data: bytes
    transfer_syntax: str
    photometric: str = ""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Frames as an array (frame, row, column, sample) of stored values, and their photometric interpretation."""

    array: Array
    photometric: str


def pixel_facts(source: Dataset) -> PixelFacts:
    """Read the attributes that describe the pixels.

    Raises:
        ReadError: One is missing or impossible.
    """
    rows, columns = _short(source, 0x00280010), _short(source, 0x00280011)
    allocated = _short(source, 0x00280100)
    stored = _short(source, 0x00280101) or allocated
    frames_text = raw_bytes(source, 0x00280008).strip(b" \0") or b"1"
    frames = int(frames_text) if frames_text.isdigit() else 0
    facts = PixelFacts(
        rows=rows,
        columns=columns,
        samples=_short(source, 0x00280002) or 1,
        frames=frames,
        allocated=allocated,
        stored=stored,
        high=_short(source, 0x00280102) if raw_bytes(source, 0x00280102) else stored - 1,
        signed=_short(source, 0x00280103) == 1,
        photometric=raw_bytes(source, 0x00280004).strip(b" \0").decode("ascii", "replace"),
    )
    if not rows or not columns or frames < 1 or allocated not in (1, 8, 16, 32, 64) or not 0 < stored <= allocated:
        raise ReadError("expected rows, columns and bits of the pixels in the header, found none or impossible ones")
    if facts.samples not in (1, 3, 4) or facts.high >= allocated or facts.high + 1 < stored:
        raise ReadError("expected 1, 3 or 4 samples a pixel and stored bits within the allocated ones, found others")
    return facts


def clean_pixel_data(source: Dataset, tag: int, transfer_syntax: str) -> CleanPixels:
    """Pixel data that hold pixels only.

    Args:
        source: The data set as read, with its pixel data.
        tag: Pixel Data, Float Pixel Data or Double Float Pixel Data.
        transfer_syntax: The file's transfer syntax UID.

    Raises:
        ReadError: The pixel data are shorter than the header says, damaged or of a kind that can't be cleaned.
    """
    raw = raw_bytes(source, tag)
    facts = pixel_facts(source)
    if transfer_syntax in NATIVE:
        big = transfer_syntax == ExplicitVRBigEndian
        return CleanPixels(_native(raw, facts, source, big=big), ExplicitVRLittleEndian)
    if facts.allocated == facts.samples == 1 and transfer_syntax in CODED_BITS:
        packed = packed_bits(raw, transfer_syntax, shape=(facts.rows, facts.columns), count=facts.frames)
        return CleanPixels(packed, ExplicitVRLittleEndian)
    if transfer_syntax == RLELossless or is_coded(transfer_syntax):
        decoded = decode_frames(source, tag, transfer_syntax)
        return native_bytes(decoded.array, decoded.photometric)
    frames = _compressed(raw, facts)
    if transfer_syntax in _JPEG:
        stripped = [strip_jpeg(frame) for frame in frames]
    elif transfer_syntax in _JPEG2000:
        stripped = [strip_jpeg2000(frame) for frame in frames]
    else:
        raise ReadError("expected a still-image transfer syntax, found an unknown one; it can't be cleaned")
    if any(found.precision > facts.stored for found in stripped):
        decoded = decode_frames(source, tag, transfer_syntax)
        return native_bytes(decoded.array, decoded.photometric)
    try:
        clean = [without_slack(found.data) if transfer_syntax == JPEGBaseline8Bit else found.data for found in stripped]
    except ReadError:
        decoded = decode_frames(source, tag, transfer_syntax)
        return native_bytes(decoded.array, decoded.photometric)
    return CleanPixels(encapsulate(clean), transfer_syntax)


def looks_drawn(source: Dataset, tag: int, transfer_syntax: str) -> bool:
    """Whether an uncompressed grey image holds thin strokes of its one highest value, as text that was written into it.

    Metal and clipped tissue reach the highest value in patches; a pen of 1 to 3 pixels doesn't. A cheap test (a
    fraction of a millisecond a slice) that says which slices the text detector should see.
    """
    facts = pixel_facts(source)
    if transfer_syntax not in NATIVE or facts.allocated not in (8, 16) or facts.samples != 1 or tag != 0x7FE00010:
        return False
    order, sign = ">" if transfer_syntax == ExplicitVRBigEndian else "<", "i" if facts.signed else "u"
    kind = f"{order}{sign}{facts.allocated // 8}"
    raw = raw_bytes(source, tag)
    count = facts.rows * facts.columns * facts.frames
    if len(raw) * 8 < count * facts.allocated:
        return False
    frames = np.frombuffer(raw, kind, count).reshape(facts.frames, facts.rows, facts.columns)
    return any(_has_thin_strokes(frame) for frame in frames)


def _has_thin_strokes(frame: Array) -> bool:
    top = frame == frame.max()
    if not _FEWEST_STROKE_PIXELS <= int(np.count_nonzero(top)) <= top.size // 8:
        return False
    rows, columns = np.divmod(np.flatnonzero(top), top.shape[1])
    beside = top[rows, np.minimum(columns + 1, top.shape[1] - 1)] | top[np.minimum(rows + 1, top.shape[0] - 1), columns]
    wide = top[rows, np.minimum(columns + 4, top.shape[1] - 1)] & top[rows, np.maximum(columns - 4, 0)]
    tall = top[np.minimum(rows + 4, top.shape[0] - 1), columns] & top[np.maximum(rows - 4, 0), columns]
    return float(np.mean(beside)) > 0.4 and float(np.mean(wide & tall)) < 0.1


def native_bytes(array: Array, photometric: str) -> CleanPixels:
    """Frames (frame, row, column, sample) as uncompressed little-endian pixel data, colour by pixel."""
    data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes()
    return CleanPixels(data, ExplicitVRLittleEndian, photometric)


def _compressed(raw: bytes, facts: PixelFacts) -> list[bytes]:
    try:
        frames = list(generate_frames(raw, number_of_frames=facts.frames))
    except Exception:
        # Decoders raise whatever they like on damaged data.
        raise ReadError("expected complete compressed frames, found damaged ones") from None
    if len(frames) != facts.frames:
        raise ReadError(f"expected {facts.frames} compressed frames, found {len(frames)}")
    return frames


def _native(raw: bytes, facts: PixelFacts, source: Dataset, *, big: bool) -> bytes:
    samples = 2 if facts.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") else facts.samples
    bits = facts.rows * facts.columns * samples * facts.frames * facts.allocated
    expected = (bits + 7) // 8
    if len(raw) < expected:
        raise ReadError(f"expected {expected} bytes of pixel data, found {len(raw)}; the file is cut off")
    raw = raw[:expected]
    if big and facts.allocated > 8:
        width = facts.allocated // 8
        raw = np.frombuffer(raw, f">u{width}").astype(f"<u{width}").tobytes()
    if facts.allocated == 1:
        return _without_spare_bits(raw, bits)
    if facts.stored == facts.allocated:
        return raw
    values = np.frombuffer(raw, f"<u{facts.allocated // 8}")
    masked = _masked(values, facts, _padding(source, facts))
    return raw if masked is values else masked.tobytes()


def _without_spare_bits(raw: bytes, bits: int) -> bytes:
    spare = bits % 8
    return raw if not spare else raw[:-1] + bytes([raw[-1] & ((1 << spare) - 1)])


def _masked(values: Array, facts: PixelFacts, padding: int | None) -> Array:
    """Clear the bits that aren't stored ones; a sign that goes on through them, and the padding value, stay."""
    low = facts.high + 1 - facts.stored
    mask = values.dtype.type(((1 << facts.stored) - 1) << low)
    outside = values & ~mask
    if not outside.any():
        return values
    cleared = values & mask
    if facts.signed and low == 0:
        sign = (values >> values.dtype.type(facts.stored - 1)) & values.dtype.type(1)
        extended = np.where(sign.astype(bool), cleared | ~mask, cleared)
        untouched = outside == 0
        cleared = np.where(untouched, values, extended)
    if padding is not None:
        cleared = np.where(values == values.dtype.type(padding), values, cleared)
    return np.asarray(cleared, values.dtype)


def _padding(source: Dataset, facts: PixelFacts) -> int | None:
    raw = raw_bytes(source, 0x00280120)
    return int.from_bytes(raw[:2], "little") if len(raw) == 2 and facts.allocated == 16 else None


def decode_frames(source: Dataset, tag: int, transfer_syntax: str) -> Decoded:
    """Decode all frames to stored values, bits outside the stored ones cleared.

    Raises:
        ReadError: A frame is damaged, or nothing here decodes its transfer syntax.
    """
    facts = pixel_facts(source)
    raw = raw_bytes(source, tag)
    if transfer_syntax in NATIVE:
        raw, transfer_syntax = _native(raw, facts, source, big=transfer_syntax == ExplicitVRBigEndian), _EXPLICIT
    if is_coded(transfer_syntax):
        return _decoded_here(source, facts, raw, transfer_syntax)
    options = _decoding(source, facts)
    try:
        with in_silence() if transfer_syntax == RLELossless else nullcontext():
            array, found = get_decoder(UID(transfer_syntax)).as_array(raw, raw=True, **options)
    except Exception:
        # Decoders raise whatever they like on damaged data.
        raise ReadError(_UNDECODABLE) from None
    shape = (facts.frames, facts.rows, facts.columns, facts.samples)
    if array.size != int(np.prod(shape)) or array.dtype.itemsize * 8 != facts.allocated:
        raise ReadError("expected decoded frames of the size and depth in the header, found others")
    array = np.ascontiguousarray(array).reshape(shape)
    if facts.stored < facts.allocated and transfer_syntax not in NATIVE:
        unsigned = _masked(array.view(f"u{array.dtype.itemsize}"), facts, _padding(source, facts))
        array = unsigned.view(array.dtype)
    photometric = str(found["photometric_interpretation"])
    return Decoded(array, "YBR_FULL" if photometric.endswith("_422") else photometric)


def each_frame(
    source: Dataset, tag: int, transfer_syntax: str, *, places: Sequence[int] | None = None
) -> Iterator[Array]:
    """Frames (row, column, sample) one after the other, as stored; compressed ones are decoded one by one.

    Args:
        source: The data set as read.
        tag: Its pixel data's tag.
        transfer_syntax: Its transfer syntax UID.
        places: The frames that are wanted; all by default.

    Raises:
        ReadError: A frame is damaged, or nothing here decodes its transfer syntax.
    """
    if transfer_syntax in NATIVE:
        frames = decode_frames(source, tag, transfer_syntax).array
        yield from frames if places is None else (frames[place] for place in places)
        return
    facts, raw = pixel_facts(source), raw_bytes(source, tag)
    if is_coded(transfer_syntax):
        for array in _coded_here(source, facts, raw, transfer_syntax, places=places):
            yield array.reshape(facts.rows, facts.columns, facts.samples)
        return
    options = {**_decoding(source, facts), "indices": range(facts.frames) if places is None else places}
    try:
        for array, _ in decoded_frames(get_decoder(UID(transfer_syntax)), raw, {"raw": True, **options}):
            yield array.reshape(facts.rows, facts.columns, facts.samples)
    except Exception:
        # Decoders raise whatever they like on damaged data.
        raise ReadError(_UNDECODABLE) from None


def _coded_here(
    source: Dataset, facts: PixelFacts, raw: bytes, transfer_syntax: str, *, places: Sequence[int] | None = None
) -> Iterator[Array]:
    """Frames in a form that pydicom doesn't decode, films among them; all are refused without the extra for them."""
    if brings_colours(transfer_syntax) and facts.samples == 3 and facts.allocated != 8:
        raise ReadError(
            "expected colours of 8 bits in this transfer syntax, found deeper ones; export the frames plain"
        )
    layout = Layout(
        facts.frames, facts.rows, facts.columns, facts.samples, facts.allocated, facts.signed,
        by_plane=_short(source, 0x00280006) == 1, is_rgb=facts.photometric == "RGB",
    )  # fmt: skip
    try:
        yield from coded_frames(raw, transfer_syntax, layout, places=places)
    except MissingExtraError as error:
        raise ReadError(f"the transfer syntax {transfer_syntax} is not decoded here: {error}") from None


def _decoded_here(source: Dataset, facts: PixelFacts, raw: bytes, transfer_syntax: str) -> Decoded:
    if facts.allocated == 1:
        raise ReadError("expected pixels of 8 or more bits to look at, found single bits")
    size = facts.frames * facts.rows * facts.columns * facts.samples * facts.allocated // 8
    if size > SUSPECT_BYTES:
        raise ReadError(
            f"uncompressed, as a copy of it would be, the film or image has {size / 1e9:.1f} GB; expected at most "
            f"{SUSPECT_BYTES / 1e9:.1f}. Export a shorter part of it"
        )
    shape = (facts.frames, facts.rows, facts.columns, facts.samples)
    array = np.empty(shape, f"{'i' if facts.signed else 'u'}{facts.allocated // 8}")
    for place, frame in enumerate(_coded_here(source, facts, raw, transfer_syntax)):
        array[place] = frame.reshape(shape[1:])
    if facts.stored < facts.allocated:
        array = _masked(array.view(f"u{array.dtype.itemsize}"), facts, _padding(source, facts)).view(array.dtype)
    colours = brings_colours(transfer_syntax) and facts.samples == 3
    return Decoded(array, "RGB" if colours else facts.photometric)


def _decoding(source: Dataset, facts: PixelFacts) -> dict[str, Any]:
    """What pydicom's decoders ask about the pixels; all allocated bits are kept."""
    return {
        "rows": facts.rows,
        "columns": facts.columns,
        "samples_per_pixel": facts.samples,
        "number_of_frames": facts.frames,
        "bits_allocated": facts.allocated,
        "bits_stored": facts.allocated,
        "pixel_representation": int(facts.signed),
        "photometric_interpretation": facts.photometric,
        "planar_configuration": _short(source, 0x00280006),
        "pixel_keyword": "PixelData",
    }


def _short(source: Dataset, tag: int) -> int:
    element = source.get_item(tag)
    raw = raw_bytes(source, tag)
    if len(raw) < 2:
        return 0
    return int(struct.unpack("<H" if getattr(element, "is_little_endian", True) else ">H", raw[:2])[0])
