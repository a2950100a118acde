"""DICOM scan: the top-level elements of a little-endian DICOM file, found by walking its bytes.

Sorting a folder needs thirty elements of each of thousands of files. Building a data set for that takes many times as
long as walking the elements (PS3.5 section 7.1) does. Whatever is unusual (no preamble, big endian, deflated, wanted
sequences, text that isn't ASCII, damage) is left to pydicom: the scan then says that it can't tell.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import ImplicitVRLittleEndian

__all__ = ["PIXEL_PLACE", "scan_elements"]

PIXEL_PLACE: Final = "PixelPlace"
"""Key of the offset and length in bytes of native pixel data among the scanned elements."""

_HEAD: Final = struct.Struct("<HH2sH").unpack_from
_LENGTH: Final = struct.Struct("<I").unpack_from
_READ: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_START_BYTES: Final = 1 << 12
_MOST_BYTES: Final = 1 << 22
_UNDEFINED: Final = 0xFFFFFFFF
_LONG: Final = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UN", b"UT", b"UC", b"UR", b"SV", b"UV"))
_SHORT: Final = frozenset(
    (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL", b"SS",
     b"ST", b"TM", b"UI", b"UL", b"US")
)  # fmt: skip
_NUMBERS: Final = {b"US or SS": "H", b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"FD": "d", b"FL": "f"}
_PLAIN: Final = _SHORT | {b"UT", b"UC", b"UR"}
"""VRs of a value that can be taken as it stands."""
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXEL_GROUP: Final = 0x7FE00000
_PIXEL_DATA: Final = 0x7FE00010
_UNUSUAL: Final = ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "")
"""Big endian, deflated, and none stated."""
_DEEPEST: Final = 12


class _UnusualError(Exception):
    """The scan can't tell; pydicom has to."""


def scan_elements(path: Path, keywords: Mapping[int, str]) -> dict[str, Any] | None:
    """Values of the wanted top-level elements, up to the pixel data.

    Args:
        path: The file.
        keywords: Tag to keyword of the wanted elements.

    Returns:
        Keyword to value (text, number, or a tuple of them), ``TransferSyntaxUID``, and `PIXEL_PLACE` where the pixels
        are native; None where the file is unusual in any way.

    Raises:
        OSError: The file can't be read.
    """
    descriptor = os.open(path, _READ)
    try:
        data = os.read(descriptor, _START_BYTES)
        while True:
            try:
                return _scan(data, keywords)
            except (struct.error, IndexError):
                more = os.read(descriptor, len(data) * 3)
                if not more or len(data) > _MOST_BYTES:
                    return None
                data += more
            except (_UnusualError, UnicodeDecodeError, ValueError):
                return None
    finally:
        os.close(descriptor)


def _scan(data: bytes, keywords: Mapping[int, str]) -> dict[str, Any]:
    place, syntax = _meta(data)
    implicit = syntax == ImplicitVRLittleEndian
    found: dict[str, Any] = {"TransferSyntaxUID": syntax}
    last = 0x0007FFFF
    while True:
        if implicit:
            tag, vr, length, start = _element(data, place, implicit=True)
        else:  # `_element` written out: this loop is where the time of sorting a folder goes.
            group, element, vr, length = _HEAD(data, place)
            tag = group << 16 | element
            start = place + 8
            if vr not in _SHORT:
                if vr not in _LONG:
                    raise _UnusualError
                (length,) = _LENGTH(data, start)
                start += 4
        if tag <= last:
            raise _UnusualError  # Elements stand in ascending order; anything else is damage.
        last = tag
        if tag >= _PIXEL_GROUP:
            if tag == _PIXEL_DATA and length != _UNDEFINED:
                found[PIXEL_PLACE] = (start, length)
            return found
        if tag in keywords:
            if vr in _PLAIN:
                raw = data[start : start + length]
                value = _MADE.get((vr, raw)) if len(raw) == length else None
                found[keywords[tag]] = value if value is not None else _value(data, start, length, vr)
            else:
                _take(data, (tag, vr, length, start), keywords[tag], found)
        place = start + length if length != _UNDEFINED else _behind(data, start, vr, implicit=implicit, depth=0)


def _take(data: bytes, element: tuple[int, bytes, int, int], keyword: str, found: dict[str, Any]) -> None:
    """Note the value of a wanted element; `element` is as `_element` returns it."""
    tag, vr, length, start = element
    kind = vr or _vr_of(tag)
    if length != _UNDEFINED and kind not in (b"SQ", b"UN"):
        found[keyword] = _value(data, start, length, kind)
    elif length == _UNDEFINED or not tag >> 16 & 1:
        raise _UnusualError  # A private element of unknown kind can't be told either, but isn't needed.


def _vr_of(tag: int) -> bytes:
    """VR of a tag, from the data dictionary."""
    cached = _VRS.get(tag)
    if cached is None:
        cached = _VRS[tag] = dictionary_VR(tag).encode("ascii")
    return cached


_VRS: dict[int, bytes] = {
    tag_for_keyword("Rows") or 0: b"US",
    0x00190010: b"LO", 0x0019100C: b"IS", 0x00430010: b"LO", 0x00431039: b"IS", 0x20010010: b"LO", 0x20011003: b"FL",
}  # fmt: skip
"""VR of a tag, as far as it was asked for; the private ones, which no dictionary has, are the vendors' b-values."""


_MADE: dict[tuple[bytes, bytes], Any] = {}
"""Values made before: the files of a series share most of theirs."""
_MOST_MADE: Final = 4096
_LONGEST_MADE: Final = 256
"""Bytes; what is longer is nothing that files share, and thousands of such values would fill the memory."""


def _meta(data: bytes) -> tuple[int, str]:
    """Where the data set begins, and the transfer syntax."""
    if data[128:132] != b"DICM":
        raise _UnusualError
    place, syntax = 132, ""
    while True:
        if data[place : place + 2] != b"\x02\x00":
            if len(data) < place + 2:
                raise IndexError
            if syntax in _UNUSUAL:
                raise _UnusualError
            return place, syntax
        tag, _, length, start = _element(data, place, implicit=False)
        if length == _UNDEFINED:
            raise _UnusualError
        if tag == 0x00020010:
            syntax = data[start : start + length].decode("ascii").strip(" \0")
        place = start + length


def _element(data: bytes, place: int, *, implicit: bool) -> tuple[int, bytes, int, int]:
    """Tag, VR (empty where implicit), length and start of the value."""
    group, element, vr, short = _HEAD(data, place)
    tag = group << 16 | element
    if implicit or group == 0xFFFE:
        return tag, b"", _LENGTH(data, place + 4)[0], place + 8
    if vr in _SHORT:
        return tag, vr, short, place + 8
    if vr in _LONG:
        return tag, vr, _LENGTH(data, place + 8)[0], place + 12
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


def _value(data: bytes, start: int, length: int, vr: bytes) -> Any:
    raw = data[start : start + length]
    if len(raw) < length:
        raise IndexError
    value = _MADE.get((vr, raw))
    if value is None:
        if length > _LONGEST_MADE:
            return _made(raw, vr)
        if len(_MADE) >= _MOST_MADE:
            _MADE.clear()
        value = _MADE[vr, raw] = _made(raw, vr)
    return value


def _made(raw: bytes, vr: bytes) -> Any:
    """The value that these bytes are."""
    kind = _NUMBERS.get(vr)
    if kind is None:
        text = raw.decode("ascii")
        if "\\" in text:
            return tuple(part.strip(" \0") for part in text.split("\\"))
        return text.strip(" \0")
    values = tuple(one[0] for one in struct.iter_unpack(f"<{kind}", raw))
    return values[0] if len(values) == 1 else values if values else ""
