"""DICOM scan: the top-level elements of a little-endian DICOM file, found by walking its bytes.

Sorting a folder needs thirty elements of each of thousands of files. Building a data set for that takes many times as
long as walking the elements (PS3.5 section 7.1) does. Whatever is unusual (no preamble, big endian, deflated, wanted
sequences, text that isn't ASCII, damage) is left to pydicom: the scan then says that it can't tell.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import ImplicitVRLittleEndian

__all__ = ["PIXEL_PLACE", "scan_elements"]

PIXEL_PLACE: Final = "PixelPlace"
"""Key of the offset and length in bytes of native pixel data among the scanned elements."""

_START_BYTES: Final = 1 << 15
_MOST_BYTES: Final = 1 << 22
_UNDEFINED: Final = 0xFFFFFFFF
_LONG: Final = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR", b"SV", b"UV"))
_SHORT: Final = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
_NUMBERS: Final = {"US or SS": "H", "US": "H", "SS": "h", "UL": "I", "SL": "i", "FD": "d", "FL": "f"}
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_GROUP: Final = 0x7FE00000
_PIXEL_DATA: Final = 0x7FE00010
_DEEPEST: Final = 12


class _UnusualError(Exception):
    """The scan can't tell; pydicom has to."""


def scan_elements(path: Path, keywords: Mapping[int, str]) -> dict[str, Any] | None:
    """Values of the wanted top-level elements, up to the pixel data.

    Args:
        path: The file.
        keywords: Tag to keyword of the wanted elements.

    Returns:
        Keyword to value (text, number, or a list of them), ``TransferSyntaxUID``, and `PIXEL_PLACE` where the pixels
        are native; None where the file is unusual in any way.

    Raises:
        OSError: The file can't be read.
    """
    with path.open("rb") as stream:
        data = stream.read(_START_BYTES)
        while True:
            try:
                return _scan(data, keywords)
            except (struct.error, IndexError):
                more = stream.read(len(data) * 3)
                if not more or len(data) > _MOST_BYTES:
                    return None
                data += more
            except (_UnusualError, UnicodeDecodeError, ValueError):
                return None


def _scan(data: bytes, keywords: Mapping[int, str]) -> dict[str, Any]:
    if data[128:132] != b"DICM":
        raise _UnusualError
    place, syntax = _meta(data)
    implicit = syntax == ImplicitVRLittleEndian
    if syntax in ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", ""):
        raise _UnusualError
    found: dict[str, Any] = {"TransferSyntaxUID": syntax}
    last = 0
    while True:
        tag, vr, length, start = _element(data, place, implicit=implicit)
        if tag <= last or tag < 0x00080000:
            raise _UnusualError  # Elements stand in ascending order; anything else is damage.
        if tag >= _PIXEL_GROUP:
            if tag == _PIXEL_DATA and length != _UNDEFINED:
                found[PIXEL_PLACE] = (start, length)
            return found
        last = tag
        keyword = keywords.get(tag)
        if keyword is not None:
            if length == _UNDEFINED or vr in (b"SQ", b"UN") or _vr_of(tag) == "SQ":
                if tag >> 16 & 1 and length != _UNDEFINED:
                    place = start + length
                    continue  # A private element of unknown kind can't be told; it isn't needed.
                raise _UnusualError
            found[keyword] = _value(data, start, length, _vr_of(tag) if implicit else vr.decode("ascii"))
        place = start + length if length != _UNDEFINED else _behind(data, start, vr, implicit=implicit, depth=0)


def _vr_of(tag: int) -> str:
    """VR of a tag, from the data dictionary."""
    cached = _VRS.get(tag)
    if cached is None:
        cached = _VRS[tag] = dictionary_VR(tag)
    return cached


_VRS: dict[int, str] = {
    tag_for_keyword("Rows") or 0: "US",
    0x00190010: "LO", 0x0019100C: "IS", 0x00430010: "LO", 0x00431039: "IS", 0x20010010: "LO", 0x20011003: "FL",
}  # fmt: skip
"""VR of a tag, as far as it was asked for; the private ones, which no dictionary has, are the vendors' b-values."""


def _meta(data: bytes) -> tuple[int, str]:
    """Where the data set begins, and the transfer syntax."""
    place, syntax = 132, ""
    while True:
        if struct.unpack_from("<H", data, place)[0] != 2:
            return place, syntax
        tag, _, length, start = _element(data, place, implicit=False)
        if length == _UNDEFINED:
            raise _UnusualError
        if tag == 0x00020010:
            syntax = data[start : start + length].decode("ascii").strip(" \0")
        place = start + length


def _element(data: bytes, place: int, *, implicit: bool) -> tuple[int, bytes, int, int]:
    """Tag, VR (empty where implicit), length and start of the value."""
    group, element = struct.unpack_from("<HH", data, place)
    tag = group << 16 | element
    if implicit or group == 0xFFFE:
        return tag, b"", struct.unpack_from("<I", data, place + 4)[0], place + 8
    vr = data[place + 4 : place + 6]
    if vr in _SHORT:
        return tag, vr, struct.unpack_from("<H", data, place + 6)[0], place + 8
    if vr in _LONG:
        return tag, vr, struct.unpack_from("<I", data, place + 8)[0], place + 12
    if len(vr) < 2:
        raise IndexError
    raise _UnusualError


def _behind(data: bytes, place: int, vr: bytes, *, implicit: bool, depth: int) -> int:
    """Where a sequence of undefined length ends."""
    if depth > _DEEPEST or vr not in (b"SQ", b""):
        raise _UnusualError
    while True:
        tag, _, length, start = _element(data, place, implicit=True)
        if tag == _SEQUENCE_END:
            return start
        if tag != _ITEM:
            raise _UnusualError
        place = start + length
        if length == _UNDEFINED:
            place = start
            while True:
                tag, inner_vr, inner, start = _element(data, place, implicit=implicit)
                if tag == _ITEM_END:
                    place = start
                    break
                place = start + inner
                if inner == _UNDEFINED:
                    place = _behind(data, start, inner_vr, implicit=implicit, depth=depth + 1)


def _value(data: bytes, start: int, length: int, vr: str) -> Any:
    raw = data[start : start + length]
    if len(raw) < length:
        raise IndexError
    kind = _NUMBERS.get(vr)
    if kind is not None:
        values = [one[0] for one in struct.iter_unpack(f"<{kind}", raw)]
    else:
        values = [text.strip(" \0") for text in raw.decode("ascii").split("\\")]
    return values[0] if len(values) == 1 else values if values else ""
