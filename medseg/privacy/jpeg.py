"""JPEG, JPEG-LS and JPEG 2000 code streams without comments, application data, unused tables or trailing bytes.

The entropy-coded data are copied as they are, so that every pixel stays bit for bit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from medseg.errors import ReadError

__all__ = ["Stripped", "strip_jpeg", "strip_jpeg2000"]

_EOI, _SOS, _DQT, _DHT, _DAC, _DRI, _DNL = 0xD9, 0xDA, 0xDB, 0xC4, 0xCC, 0xDD, 0xDC
_LSE, _APP0, _APP14 = 0xF8, 0xE0, 0xEE
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7))
_JPEG_LS = 0xF7
_LOSSLESS = frozenset((0xC3, 0xC7, 0xCB, 0xCF))
_PROGRESSIVE = frozenset((0xC2, 0xC6, 0xCA, 0xCE))
_ARITHMETIC = frozenset((0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF))
_LARGEST_CATEGORY = 16
"""Of a difference, in T.81 H.1.2.2."""
_J2K_COM, _J2K_SOT, _J2K_SOD, _J2K_EOC = 0xFF64, 0xFF90, 0xFF93, 0xFFD9
_J2K_KEPT = frozenset((0xFF50, 0xFF51, 0xFF52, 0xFF53, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F, 0xFF60, 0xFF61))
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_DAMAGED = "expected a complete JPEG code stream, found a damaged or cut off one"


@dataclass(frozen=True, slots=True)
class Stripped:
    """A clean code stream.

    Attributes:
        data: The code stream.
        precision: Bits a sample.
        components: Samples a pixel.
        rows: Height in pixels.
        columns: Width in pixels.
    """

    data: bytes
    precision: int
    components: int
    rows: int
    columns: int


def strip_jpeg(data: bytes) -> Stripped:
    """Rebuild a JPEG (ITU T.81) or JPEG-LS (T.87) stream from the segments that its pixels need.

    Kept: frame, scans, the tables that each scan uses, restart interval, JPEG-LS presets and fixed JFIF and Adobe
    segments where there were some (they give the colour transform). Everything before the start and after the end goes.

    Raises:
        ReadError: The stream is damaged, cut off or hierarchical.
    """
    if data[:2] != b"\xff\xd8":
        raise ReadError(_DAMAGED)
    out, place = [b"\xff\xd8"], 2
    frame: tuple[int, bytes] | None = None
    tables, scans = _Tables(), 0
    while True:
        place, marker = _next_marker(data, place)
        if marker == _EOI:
            break
        body, place = _segment(data, place)
        if marker in _FRAMES:
            if frame is not None or len(body) != 6 + 3 * body[5]:
                raise ReadError(_DAMAGED)
            frame = marker, body
        if marker == _SOS:
            if frame is None or not body or len(body) != 4 + 2 * body[0]:
                raise ReadError(_DAMAGED)
            scans += 1
            end = _scan_end(data, place, stuffed_bits=frame[0] == _JPEG_LS)
            coded = data[place:end] if frame[0] == _JPEG_LS else data[place:end].rstrip(b"\xff")
            out += [*tables.needed(frame, body), _with_length(marker, body) + coded]
            place = end
        elif kept := _kept(marker, body):
            out.append(_with_length(marker, kept))
        else:
            tables.take(marker, body)
    if frame is None or not scans:
        raise ReadError(_DAMAGED)
    out.append(b"\xff\xd9")
    rows, columns = int.from_bytes(frame[1][1:3], "big"), int.from_bytes(frame[1][3:5], "big")
    return Stripped(b"".join(out), frame[1][0], frame[1][5], rows, columns)


def _kept(marker: int, body: bytes) -> bytes:
    """The segments that stay where they are: size, and how colours are coded, with nothing else; empty for others."""
    if marker in _FRAMES:
        return body
    if marker == _DNL:
        return body[:2]
    if marker == _APP0 and body[:5] == b"JFIF\0":
        return b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
    if marker == _APP14 and body[:5] == b"Adobe" and len(body) >= 12:
        return b"Adobe" + b"\0\x64\0\0\0\0" + body[11:12]
    return b""


class _Tables:
    """The tables read so far, and which of them the output has; one that no scan uses may hold text and goes."""

    def __init__(self) -> None:
        self._read: dict[tuple[int, int], bytes] = {}
        self._sent: dict[tuple[int, int], bytes] = {}

    def take(self, marker: int, body: bytes) -> None:
        """Take up the tables of a segment; a segment of another kind is left out."""
        if marker == _DQT:
            for table in _quantisation(body):
                self._read[_DQT, table[0] & 0x0F] = table
        elif marker == _DHT:
            for table in _huffman(body):
                self._read[_DHT, table[0]] = table
        elif marker == _DAC:
            for start in range(0, len(body) - 1, 2):
                self._read[_DAC, body[start]] = body[start : start + 2]
        elif marker == _DRI:
            self._read[_DRI, 0] = body[:2]
        elif marker == _LSE:
            self._read[_LSE, 0] = body[:11] if body[:1] == b"\x01" and len(body) >= 11 else _refuse_palette()

    def needed(self, frame: tuple[int, bytes], scan: bytes) -> list[bytes]:
        """Segments that a scan needs and that the output doesn't have yet."""
        marker, body = frame
        wanted = [(_LSE, 0), (_DRI, 0)] if marker == _JPEG_LS else [(_DRI, 0)]
        if marker != _JPEG_LS:
            wanted += [(_DQT, body[8 + 3 * n]) for n in range(body[5])] if marker not in _LOSSLESS else []
            coding = _DAC if marker in _ARITHMETIC else _DHT
            tables = [scan[2 + 2 * n] for n in range(scan[0])]
            wanted += [(coding, table >> 4) for table in tables] if _uses_first(marker, scan) else []
            wanted += [(coding, 0x10 | (table & 0x0F)) for table in tables] if _uses_second(marker, scan) else []
        new = [key for key in dict.fromkeys(wanted) if key in self._read and self._sent.get(key) != self._read[key]]
        if any(
            key[0] == _DHT and key[1] < 0x10 and max(self._read[key][17:], default=0) > _LARGEST_CATEGORY for key in new
        ):
            raise ReadError(_DAMAGED)
        self._sent |= {key: self._read[key] for key in new}
        return [_with_length(key[0], self._read[key]) for key in new]


def _uses_first(marker: int, scan: bytes) -> bool:
    """Whether a scan uses tables of DC or lossless coding."""
    return marker not in _PROGRESSIVE or (scan[-3] == 0 and scan[-1] >> 4 == 0)


def _uses_second(marker: int, scan: bytes) -> bool:
    """Whether a scan uses tables of AC coding."""
    return marker not in _LOSSLESS and (marker not in _PROGRESSIVE or scan[-3] > 0)


def _refuse_palette() -> bytes:
    raise ReadError("expected a plain JPEG-LS stream, found one with a mapping table; it can't be cleaned")


def _huffman(body: bytes) -> list[bytes]:
    """The tables of a segment; bytes behind the last one go."""
    tables, place = [], 0
    while place < len(body):
        if len(body) < place + 17 or (body[place] & 0x0F) > 3 or (body[place] >> 4) > 1:
            break
        end = place + 17 + sum(body[place + 1 : place + 17])
        if end > len(body) or end - place - 17 > 256:
            raise ReadError(_DAMAGED)
        tables.append(body[place:end])
        place = end
    return tables


def _quantisation(body: bytes) -> list[bytes]:
    tables, place = [], 0
    while place < len(body):
        end = place + 1 + (128 if body[place] >> 4 else 64)
        if end > len(body) or (body[place] & 0x0F) > 3 or (body[place] >> 4) > 1:
            break
        tables.append(body[place:end])
        place = end
    return tables


def _next_marker(data: bytes, place: int) -> tuple[int, int]:
    """The next marker that has a segment, and where that begins; stray bytes before it go, as for a decoder."""
    match = _MARKER.search(data, place)
    if match is None:
        raise ReadError(_DAMAGED)
    return match.end(), data[match.end() - 1]


def _segment(data: bytes, place: int) -> tuple[bytes, int]:
    length = int.from_bytes(data[place : place + 2], "big")
    end = place + length
    if length < 2 or end > len(data):
        raise ReadError(_DAMAGED)
    return data[place + 2 : end], end


def _with_length(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def _scan_end(data: bytes, place: int, *, stuffed_bits: bool) -> int:
    """Where the next marker after entropy-coded data stands.

    In JPEG a 0xFF of the data is followed by a zero byte or a restart marker; in JPEG-LS by a byte below 0x80.
    """
    while True:
        place = data.find(b"\xff", place)
        if place < 0 or place + 1 >= len(data):
            raise ReadError(_DAMAGED)
        following = data[place + 1]
        if following == 0xFF:
            place += 1
        elif following == 0 or 0xD0 <= following <= 0xD7 or (stuffed_bits and following < 0x80):
            place += 2
        else:
            return place


def strip_jpeg2000(data: bytes) -> Stripped:
    """Rebuild a JPEG 2000 (ITU T.800, T.814) code stream without comments, boxes and optional index segments.

    Raises:
        ReadError: The code stream is damaged or cut off.
    """
    start = data.find(b"\xff\x4f\xff\x51")
    if start < 0 or (start > 0 and data[4:8] != b"jP  "):
        raise ReadError(_DAMAGED)
    out, place = [b"\xff\x4f"], start + 2
    facts: tuple[int, int, int, int] | None = None
    while (marker := int.from_bytes(data[place : place + 2], "big")) != _J2K_SOT:
        body, after = _segment(data, place + 2)
        if marker == 0xFF51:
            facts = _size(body)
        if marker in _J2K_KEPT:
            out.append(data[place:after])
        place = after
    if facts is None:
        raise ReadError(_DAMAGED)
    while int.from_bytes(data[place : place + 2], "big") == _J2K_SOT:
        part, place = _tile_part(data, place)
        out.append(part)
    if data[place : place + 2] != b"\xff\xd9" and place < len(data) - 1:
        raise ReadError(_DAMAGED)
    precision, components, rows, columns = facts
    return Stripped(b"".join(out) + b"\xff\xd9", precision, components, rows, columns)


def _size(body: bytes) -> tuple[int, int, int, int]:
    if len(body) < 39:
        raise ReadError(_DAMAGED)
    width, height, left, top = (int.from_bytes(body[n : n + 4], "big") for n in (2, 6, 10, 14))
    components = int.from_bytes(body[34:36], "big")
    return (body[36] & 0x7F) + 1, components, height - top, width - left


def _tile_part(data: bytes, place: int) -> tuple[bytes, int]:
    """One tile part with a header of only what decoding needs, and where it ends in the input."""
    header, after = _segment(data, place + 2)
    if len(header) != 8:
        raise ReadError(_DAMAGED)
    length = int.from_bytes(header[2:6], "big")
    end = place + length if length else data.rfind(b"\xff\xd9")
    if end > len(data) or end < after:
        raise ReadError(_DAMAGED)
    kept = []
    while (marker := int.from_bytes(data[after : after + 2], "big")) != _J2K_SOD:
        _, following = _segment(data, after + 2)
        if marker in _J2K_KEPT:
            kept.append(data[after:following])
        if following >= end:
            raise ReadError(_DAMAGED)
        after = following
    inner = b"".join(kept) + data[after:end]
    sized = header[:2] + (12 + len(inner)).to_bytes(4, "big") + header[6:]
    return b"\xff\x90\x00\x0a" + sized + inner, end
