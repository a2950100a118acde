"""Deep PNG: colour of 16 bits a sample, which Pillow reads with 8, made anew row by row (PNG, third edition, 9, 11)."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from medseg.errors import ReadError
from medseg.types import Array

__all__ = ["deep_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {2: 3, 6: 4}
_MOST_BYTES = 1 << 30
_DAMAGED = "expected a complete image, found a damaged or cut off one"
_INTERLACED = "expected a PNG of 16 bits colour without interlacing, found another; save it as TIFF"


def deep_png(data: bytes) -> bytes:
    """A PNG of the same colours, 16 bits a sample, and nothing else; where alpha is zero, colour is too.

    Args:
        data: A PNG of colour, with or without alpha, 16 bits a sample.

    Raises:
        ReadError: It is damaged or interlaced.
    """
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if depth != 16 or colour not in _SAMPLES or interlaced:
        raise ReadError(_INTERLACED)
    wide = 2 * _SAMPLES[colour] * width
    if height * (wide + 1) > _MOST_BYTES:
        raise ReadError(f"expected at most {_MOST_BYTES} bytes of pixels, found more")
    try:
        raw = zlib.decompressobj().decompress(_image_data(data), height * (wide + 1))
    except zlib.error:
        raise ReadError(_DAMAGED) from None
    if len(raw) != height * (wide + 1):
        raise ReadError(_DAMAGED)
    rows = np.frombuffer(raw, np.uint8).reshape(height, wide + 1)
    pixels = _unfiltered(rows, wide // width)
    if colour == 6:
        samples = pixels.reshape(height, width, 8)
        samples[(samples[..., 6:] == 0).all(axis=2)] = 0
    made = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(made.tobytes(), 6)), (b"IEND", b""))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )


def _image_data(data: bytes) -> bytes:
    found, place = [], 8
    while data[place + 4 : place + 8] != b"IEND":
        if place + 8 > len(data):
            raise ReadError(_DAMAGED)
        (length,) = struct.unpack_from(">I", data, place)
        if data[place + 4 : place + 8] == b"IDAT":
            found.append(data[place + 8 : place + 8 + length])
        place += 12 + length
    return b"".join(found)


def _unfiltered(rows: Array, step: int) -> Array:
    """Bytes of the pixels, (rows, bytes a row), of rows that begin with the number of their filter.

    Args:
        rows: uint8, (rows, 1 + bytes a row).
        step: Bytes a pixel.
    """
    made = np.zeros((len(rows), rows.shape[1] - 1), np.uint8)
    above = np.zeros(rows.shape[1] - 1, np.uint8)
    for number, row in enumerate(rows):
        kind, given = int(row[0]), row[1:]
        if kind == 0:
            made[number] = given
        elif kind == 1:
            made[number] = np.add.accumulate(given.reshape(-1, step), axis=0, dtype=np.uint8).ravel()
        elif kind == 2:
            made[number] = given + above
        elif kind in (3, 4):
            made[number] = _sequential(given, above, step, kind)
        else:
            raise ReadError(_DAMAGED)
        above = made[number]
    return made


def _sequential(given: Array, above: Array, step: int, kind: int) -> Array:
    """A row whose bytes each need the one before: filters 3 (average) and 4 (Paeth)."""
    row = [0] * step + given.tolist()
    up = [0] * step + above.tolist()
    for place in range(step, len(row)):
        left, high = row[place - step], up[place]
        if kind == 3:
            guess = (left + high) >> 1
        else:
            corner = up[place - step]
            near = left + high - corner
            guess = min((abs(near - left), 0, left), (abs(near - high), 1, high), (abs(near - corner), 2, corner))[2]
        row[place] = (row[place] + guess) & 255
    return np.array(row[step:], np.uint8)
