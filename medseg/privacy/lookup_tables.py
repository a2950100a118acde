"""Look-up tables of DICOM: palettes and LUT data, cut to their entries and free of text.

Text hides best in a palette's entries that no pixel has: those are blanked where the pixels can be counted. Another
table in which text hides doesn't stay, and an image that can't be read without it is refused.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from medseg.errors import ReadError
from medseg.privacy.person import raw_bytes
from medseg.types import Array

__all__ = ["clean_lookup_table"]

_PALETTES = (0x00281201, 0x00281202, 0x00281203)
_SEGMENTED = range(0x00281221, 0x00281224)
_PIXEL_DATA, _LUT_DATA, _PHOTOMETRIC = 0x7FE00010, 0x00283006, 0x00280004
_UNDEFINED = 0xFFFFFFFF
_AROUND = 4
"""Entries on either side of what reads as letters, over which a ramp of 16 bits has to go on."""
_IN_TEXT = "expected colours in the palette, found text; save the image as RGB"


def clean_lookup_table(tag: int, element: RawDataElement, source: Dataset) -> bytes | None:
    """A look-up table cut to the length that its descriptor gives, without text.

    Args:
        tag: The table's tag.
        element: It.
        source: The data set or item that holds it.

    Returns:
        The table, little endian; None where text hides in one that isn't needed to read the pixels.

    Raises:
        ReadError: Text hides among the colours of a palette.
    """
    descriptor = raw_bytes(source, 0x00283002 if tag == _LUT_DATA else (tag & 0xFFFF00FF) | 0x1100)
    order: Literal["little", "big"] = "little" if element.is_little_endian else "big"
    entries = 0
    raw = element.value or b""
    if len(descriptor) == 6 and tag not in _SEGMENTED:
        entries = int.from_bytes(descriptor[:2], order) or 65536
        if len(raw) < entries:
            return None
        raw = raw[: 2 * entries] if len(raw) >= 2 * entries else raw[:entries]
    if not element.is_little_endian and len(raw) % 2 == 0:
        raw = np.frombuffer(raw, ">u2").astype("<u2").tobytes()
    if not _shows_text(raw):
        return raw
    if tag == _LUT_DATA or not raw_bytes(source, _PHOTOMETRIC).startswith(b"PALETTE"):
        return None
    used = _used_entries(source) if tag in _PALETTES and entries else None
    if used is not None:
        first = int.from_bytes(descriptor[2:4], order)
        table = np.frombuffer(raw, np.uint8).reshape(-1, len(raw) // entries).copy()
        table[~np.isin(np.arange(entries), np.clip(used.astype(np.int64) - first, 0, entries - 1))] = 0
        raw = table.tobytes()
    if used is None or _shows_text(raw):
        raise ReadError(_IN_TEXT)
    return raw


def _used_entries(source: Dataset) -> Array | None:
    """The stored values that the pixels have; None where they are compressed or of another kind than 8 or 16 bits."""
    element: Any = source._dict.get(BaseTag(_PIXEL_DATA))
    allocated, stored = (int.from_bytes(raw_bytes(source, tag)[:2], "little") for tag in (0x00280100, 0x00280101))
    if not isinstance(element, RawDataElement) or element.length == _UNDEFINED or not element.is_little_endian:
        return None
    if allocated not in (8, 16) or not element.value:
        return None
    pixels = np.frombuffer(element.value[: len(element.value) // 2 * 2], f"<u{allocated // 8}")
    return np.unique(pixels & ((1 << stored) - 1))


def _shows_text(raw: bytes) -> bool:
    """Whether text stands in the bytes, or in every second one."""
    steps = (2,) if len(raw) % 2 == 0 and raw[::2] == raw[1::2] else (1, 2)
    return any(_hides_text(raw, start, step) for step in steps for start in range(step))


def _hides_text(raw: bytes, start: int, step: int) -> bool:
    """Whether a run of at least 6 letters doesn't just rise or fall as a ramp does, nor lies on a ramp of 16 bits."""
    wide = np.frombuffer(raw[: len(raw) // 2 * 2], "<u2") if step == 1 else None
    for match in re.finditer(rb"[A-Za-z^ ]{6,}", raw[start::step]):
        if _is_ramp(np.frombuffer(match[0], np.uint8)):
            continue
        if wide is None or not _is_ramp(wide[max(0, match.start() // 2 - _AROUND) : match.end() // 2 + 1 + _AROUND]):
            return True
    return False


def _is_ramp(values: Array) -> bool:
    steps = np.diff(values.astype(np.int32))
    return bool(np.all(steps >= 0) or np.all(steps <= 0))
