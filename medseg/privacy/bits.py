"""Bits: frames of one bit a pixel, as SEGs have them, that are run-length encoded or deflated one by one."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
from pydicom.uid import RLELossless

from medseg.errors import ReadError
from medseg.privacy.codecs import DEFLATED_FRAMES, unpacked
from medseg.privacy.fragments import each_coded_frame
from medseg.privacy.limits import require_plausible
from medseg.types import Array

__all__ = ["CODED_BITS", "TRUNCATED", "coded_bits", "packed_bits"]

CODED_BITS: Final = frozenset((str(RLELossless), DEFLATED_FRAMES))
"""Transfer syntaxes whose single bits are read here; of JPEG 2000 pydicom's decoders read them."""
TRUNCATED: Final = "the DICOM file is truncated: fewer pixels than the header states; copy it again"
_RLE_HEADER: Final = 64


def coded_bits(raw: bytes, syntax: str, *, shape: tuple[int, int], count: int) -> Iterator[Array]:
    """Frames of 0 and 1, uint8, axes (row, column).

    Args:
        raw: The value of the pixel data: fragments.
        syntax: One of `CODED_BITS`.
        shape: Rows and columns.
        count: Frames that the header states.

    Raises:
        ReadError: They are truncated or damaged, or would grow as no image does.
    """
    size = shape[0] * shape[1]
    require_plausible(count * -(-size // 8), len(raw))
    for frame in each_coded_frame(raw, count):
        if syntax == RLELossless:
            yield _of_runs(frame, size).reshape(shape)
        else:
            yield _bits(unpacked(frame, -(-size // 8)), size).reshape(shape)


def packed_bits(raw: bytes, syntax: str, *, shape: tuple[int, int], count: int) -> bytes:
    """The same frames uncompressed: 8 pixels a byte, one frame after the other without a gap (PS3.5 section 8.1.1).

    Args:
        raw: As `coded_bits`.
        syntax: As `coded_bits`.
        shape: As `coded_bits`.
        count: As `coded_bits`.

    Raises:
        ReadError: As `coded_bits`.
    """
    packed, rest = bytearray(), np.empty(0, np.uint8)
    for frame in coded_bits(raw, syntax, shape=shape, count=count):
        bits = np.concatenate([rest, frame.ravel()])
        whole = len(bits) // 8 * 8
        packed += np.packbits(bits[:whole], bitorder="little").tobytes()
        rest = bits[whole:]
    return bytes(packed) + np.packbits(rest, bitorder="little").tobytes()


def _bits(packed: bytes, size: int) -> Array:
    bits: Array = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little", count=size)
    return bits


def _of_runs(frame: bytes, size: int) -> Array:
    """Pixels of a run-length encoded frame (PS3.5 annex G): a byte a pixel, or, of writers that don't unpack, a bit."""
    if len(frame) < _RLE_HEADER:
        raise ReadError(TRUNCATED)
    count, start = struct.unpack_from("<2I", frame)
    if count != 1 or not _RLE_HEADER <= start < len(frame):
        raise ReadError(f"expected one segment in a run-length encoded frame of single bits; found {count}")
    data = _without_runs(frame[start:], size)
    if len(data) >= size:
        pixels: Array = np.frombuffer(data, np.uint8, size)
        if pixels.max(initial=0) > 1:
            raise ReadError("expected 0 and 1 in a frame of single bits; found other values. Export the file again")
        return pixels
    if len(data) < -(-size // 8):
        raise ReadError(TRUNCATED)
    return _bits(data, size)


def _without_runs(coded: bytes, most: int) -> bytes:
    """Bytes of a segment (PackBits), at most a run more than `most`."""
    out = bytearray()
    place = 0
    while place < len(coded) and len(out) < most:
        head = coded[place]
        if head < 128:
            out += coded[place + 1 : place + 2 + head]
            place += 2 + head
        elif head > 128:
            out += coded[place + 1 : place + 2] * (257 - head)
            place += 2
        else:
            place += 1
    return bytes(out[:most])
