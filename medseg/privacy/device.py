"""Device: the serial numbers and names of a scanner, which stay where a profile retains the identity of devices.

What stays is one word, so that a site's or a person's name is no part of it by accident, and nothing of the patient's.
(PS3.15 E.3.8, Retain Device Identity Option. UIDs of devices become pseudonyms, the same for the same device.)
"""

from __future__ import annotations

import re
from collections.abc import Collection

from pydicom.datadict import tag_for_keyword

__all__ = ["DEVICE_KEYWORDS", "DEVICE_TAGS", "device_text"]

DEVICE_KEYWORDS = frozenset(
    ("DeviceSerialNumber", "StationName", "DeviceUID", "GantryID", "DetectorID", "PlateID", "CassetteID", "GeneratorID")
)
DEVICE_TAGS = frozenset(tag for keyword in DEVICE_KEYWORDS if (tag := tag_for_keyword(keyword)) is not None)
_WORD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._/#-]{0,30}[A-Za-z0-9])?\Z")
_NUMBER = re.compile(r"[0-9]{5,}")
_SHORTEST = 3


def device_text(raw: bytes, *, words: Collection[str], numbers: Collection[int]) -> bytes | None:
    """A serial number or a name of a device; None where it isn't one word, or is or holds something of the patient's.

    Args:
        raw: The value.
        words: Words of the patient's names and numbers, upper case.
        numbers: The patient's numbers.

    Example:
        >>> device_text(b"SN-123456 ", words={"KOWALSKI"}, numbers=())
        b'SN-123456'
        >>> device_text(b"KOWALSKI-1", words={"KOWALSKI"}, numbers=()) is None
        True
    """
    try:
        text = raw.decode("ascii").strip(" \0")
    except UnicodeDecodeError:
        return None
    if not _WORD.match(text):
        return None
    if any(word in text.upper() for word in words if len(word) >= _SHORTEST):
        return None
    return None if any(int(digits) in numbers for digits in _NUMBER.findall(text)) else text.encode("ascii")
