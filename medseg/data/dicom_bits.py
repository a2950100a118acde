"""Bits: frames of one bit a pixel, as SEGs have them: uncompressed, run-length encoded, or deflated frame by frame."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from medseg.errors import ReadError
from medseg.privacy.codecs import DEFLATED_FRAMES, unpacked
from medseg.types import Array

__all__ = ["bit_frames", "has_bit_frames"]

_NATIVE: Final = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
_TRUNCATED: Final = "the DICOM file is truncated: fewer pixels than the header states; copy it again"
_RLE_HEADER: Final = 64


def has_bit_frames(syntax: UID) -> bool:
    """Whether single bits in this transfer syntax are read here; of JPEG 2000 pydicom's decoders read them."""
    return syntax in (*_NATIVE, RLELossless, DEFLATED_FRAMES)


def bit_frames(dataset: Dataset, syntax: UID) -> Iterator[Array]:
    """Frames of 0 and 1, uint8, axes (row, column).

    Raises:
        ReadError: They are truncated or damaged.
    """
    shape = (int(dataset.Rows), int(dataset.Columns))
    if syntax in _NATIVE:
        yield from _native(dataset, shape)
        return
    size = shape[0] * shape[1]
    count = max(1, int(dataset.get("NumberOfFrames") or 1))
    frames = 0
    try:
        for frame in generate_frames(dataset.PixelData, number_of_frames=count):
            frames += 1
            if syntax == RLELossless:
                yield _of_runs(frame, size).reshape(shape)
            else:
                yield _bits(unpacked(frame, -(-size // 8)), size).reshape(shape)
    except ReadError:
        raise
    except Exception as error:
        # Whatever broken fragments do to the parser, it is the file that is refused.
        raise ReadError(f"the frames' fragments are damaged ({type(error).__name__}); copy the file again") from None
    if frames < count:
        raise ReadError(f"expected {count} frames; found {frames}. The file is truncated, copy it again")


def _native(dataset: Dataset, shape: tuple[int, int]) -> Iterator[Array]:
    """Frames that follow each other without a gap, the lowest bit first (PS3.5 section 8.1.1).

    pydicom 3.0 cuts a frame off where it doesn't end with a byte, unless it unpacks all frames at once.
    """
    size = shape[0] * shape[1]
    packed = np.frombuffer(dataset.PixelData or b"", dtype=np.uint8)
    if dataset.original_encoding[1] is False and dataset["PixelData"].VR == "OW":
        packed = packed[: len(packed) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    for number in range(max(1, int(dataset.get("NumberOfFrames") or 1))):
        start, end = number * size, (number + 1) * size
        if end > len(packed) * 8:
            raise ReadError(_TRUNCATED)
        bits = np.unpackbits(packed[start // 8 : -(-end // 8)], bitorder="little")
        yield bits[start % 8 : start % 8 + size].reshape(shape)


def _bits(packed: bytes, size: int) -> Array:
    bits: Array = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little", count=size)
    return bits


def _of_runs(frame: bytes, size: int) -> Array:
    """Pixels of a run-length encoded frame (PS3.5 annex G): a byte a pixel, or, of writers that don't unpack, a bit."""
    if len(frame) < _RLE_HEADER:
        raise ReadError(_TRUNCATED)
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
        raise ReadError(_TRUNCATED)
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
