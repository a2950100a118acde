"""Slack: bytes of a JPEG's scans that no block needs, and symbols of its Huffman tables that none uses.

Decoders pass over both, so that text may hide there. Whether there are such bytes is seen by changing the last ones of
a scan: if the picture stays as it was, nothing needs them. Then the file is written anew from its coefficients.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import ReadError
from medseg.privacy.jpeg_blocks import read_coefficients
from medseg.privacy.jpeg_write import standard_symbols, write_coefficients
from medseg.types import Array

__all__ = ["without_slack"]

_SOS, _DHT, _DRI = 0xDA, 0xC4, 0xDD
_FRAMES = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
_SEQUENTIAL = frozenset((0xC0, 0xC1))
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_FILLS = (b"\x5a\xc3\x91\x6e", b"\xa7\x1c\x6d\x95", b"\x33\xe9\x48\xb2")
"""What the last bytes are changed to; three, as one may mean the same by chance."""
_CHANGED_BYTES = 2
_BLEND = 2
"""Pixels at the edge of a block that a decoder blends with the next one's."""
_NO_WAY = "expected a JPEG whose scans can be looked into, found another; save it anew, or as PNG"


@dataclass(frozen=True, slots=True)
class _Scan:
    """Where a scan's coded data stand, its restart intervals among them, and how many colours it has."""

    intervals: tuple[tuple[int, int], ...]
    components: int


@dataclass(frozen=True, slots=True)
class _Stream:
    """What a code stream is made of, by position."""

    process: int
    factors: tuple[int, int]
    components: int
    restart: int
    scans: tuple[_Scan, ...]
    tables: tuple[tuple[int, int], ...]


def without_slack(data: bytes) -> bytes:
    """The same file where nothing hides between its blocks, else one of the same coefficients and nothing more.

    Args:
        data: A JPEG file of which only the segments are left that its pixels need (`medseg.privacy.jpeg`).

    Raises:
        ReadError: It can't be decoded, or something hides there and its coefficients can't be read (arithmetic coding,
            more than 8 bits).
    """
    stream = _read(data)
    before = _decoded(data)
    if before is None:
        raise ReadError(_NO_WAY)
    if any(_has_spare_bytes(data, stream, scan, before) for scan in stream.scans) or any(
        _has_spare_symbol(data, place, before, progressive=stream.process not in _SEQUENTIAL) for place in stream.tables
    ):
        return write_coefficients(read_coefficients(data))
    return data


def _read(data: bytes) -> _Stream:
    process, factors, components, restart = 0, (1, 1), 1, 0
    scans: list[_Scan] = []
    tables: list[tuple[int, int]] = []
    for marker, start, end, coded in _segments(data):
        if marker in _FRAMES:
            process, components = marker, data[start + 5]
            given = [data[start + 7 + 3 * n] for n in range(components)]
            factors = (max(f & 15 for f in given), max(f >> 4 for f in given)) if components > 1 else (1, 1)
        elif marker == _DRI:
            restart = int.from_bytes(data[start:end], "big")
        elif marker == _DHT:
            tables.append((start, end))
        elif marker == _SOS:
            cuts = [match.start() for match in _RESTART.finditer(data, end, coded)] if restart else []
            starts = [end, *(cut + 2 for cut in cuts)]
            scans.append(_Scan(tuple(zip(starts, [*cuts, coded], strict=True)), data[start]))
    if not process:
        raise ReadError(_NO_WAY)
    return _Stream(process, factors, components, restart, tuple(scans), tuple(tables))


def _segments(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Marker, start and end of each segment's body, and the end of the coded data behind it."""
    place = 2
    while data[place + 1] != 0xD9:
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        coded = end
        while data[place + 1] == _SOS and (data[coded] != 0xFF or data[coded + 1] in (0, *range(0xD0, 0xD8))):
            following = data.find(b"\xff", coded + 1)
            coded = following if following >= 0 else len(data)
        yield data[place + 1], place + 4, end, coded
        place = coded


def _decoded(data: bytes) -> Array | None:
    """The samples of a picture, uint8, (rows, columns[, colours]), without conversion of colours where that can be."""
    for mode in ("YCbCr", None):
        made = _decoded_as(data, mode)
        if made is not None:
            return made
    return None


def _decoded_as(data: bytes, mode: str | None) -> Array | None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            if mode and image.mode == "RGB":
                image.draft(mode, image.size)
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError, struct.error):
        return None


def _has_spare_bytes(data: bytes, stream: _Stream, scan: _Scan, before: Array) -> bool:
    """Whether the last bytes of a scan, or of a restart interval in it, can be changed and nothing is seen of it."""
    if len(scan.intervals) == 1:
        return not any(_differs(_changed(data, scan.intervals, fill), before) for fill in _FILLS)
    if stream.process not in _SEQUENTIAL or scan.components != stream.components:
        return True
    seen = np.zeros(len(scan.intervals), bool)
    for fill in _FILLS:
        after = _decoded(_changed(data, scan.intervals, fill))
        if after is None or after.shape != before.shape:
            return True
        units = _changed_units(before, after, stream.factors)
        number = np.minimum(np.arange(units.size) // stream.restart, len(seen) - 1)
        np.logical_or.at(seen, number, units.ravel())
        if seen.all():
            return False
    return True


def _changed(data: bytes, intervals: Sequence[tuple[int, int]], fill: bytes) -> bytes:
    """The file with other bytes at the end of each interval; a 0xFF keeps the zero byte behind it."""
    made, place = [], 0
    for start, end in intervals:
        cut = max(start, end - _CHANGED_BYTES)
        if cut > start and data[cut - 1] == 0xFF:
            cut -= 1
        made += [data[place:cut], fill]
        place = end
    return b"".join([*made, data[place:]])


def _differs(data: bytes, before: Array) -> bool:
    after = _decoded(data)
    return after is not None and not np.array_equal(after, before)


def _changed_units(before: Array, after: Array, factors: tuple[int, int]) -> Array:
    """Which MCUs differ inside, bool, (rows, columns)."""
    down, across = 8 * factors[0], 8 * factors[1]
    differs = np.logical_or.reduce(np.atleast_3d(before != after), axis=2)
    padded = np.pad(differs, ((0, -differs.shape[0] % down), (0, -differs.shape[1] % across)))
    units = padded.reshape(padded.shape[0] // down, down, padded.shape[1] // across, across)
    rim = _BLEND if factors != (1, 1) else 0
    return np.asarray(units[:, rim : down - rim, :, rim : across - rim].any(axis=(1, 3)))


def _has_spare_symbol(data: bytes, place: tuple[int, int], before: Array, *, progressive: bool) -> bool:
    """Whether a Huffman table has symbols without meaning, or its last one can be changed and nothing is seen of it."""
    start, end = place
    body = data[start:end]
    if body[17:] in standard_symbols():
        return False
    runs = range(0, 0x100, 0x10) if progressive else (0, 0xF0)
    valid = {symbol for symbol in body[17:] if body[0] < 0x10 or symbol & 15 or symbol in runs}
    if len(valid) != len(body) - 17:
        return True
    others = [s for s in ((0, 1, 2, 3, 5) if body[0] < 0x10 else (0x01, 0x02, 0x03, 0xF0, 0x11)) if s != body[-1]]
    return not any(_differs(data[: end - 1] + bytes([other]) + data[end:], before) for other in others[:3])
