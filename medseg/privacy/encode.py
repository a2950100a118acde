"""Encoding: a rebuilt data set as a DICOM file, explicit VR, little endian (PS3.5 section 7, PS3.10 section 7).

pydicom's writer decodes and checks every value again, which takes three quarters of the time a slice needs. Here each
value is bytes already, made by a rule.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from operator import itemgetter

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

__all__ = ["encode_file", "put"]

_LONG = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_UNDEFINED = 0xFFFFFFFF
_LONGEST = 0xFFFE
"""Bytes of a value whose length has 16 bits; longer ones are written as UN (PS3.5 6.2.2)."""


def put(dataset: Dataset, tag: int, vr: str, value: bytes, *, encapsulated: bool = False) -> None:
    """Set an attribute to bytes that are its value already (padded here to an even length)."""
    if len(value) % 2:
        value += b"\0" if vr == "UI" or vr in _LONG - {"UC", "UR", "UT"} else b" "
    base = BaseTag(tag)
    length = _UNDEFINED if encapsulated else len(value)
    dataset._dict[base] = RawDataElement(base, vr, length, value, 0, False, True, True)


def encode_file(dataset: Dataset, meta: Mapping[int, tuple[str, bytes]]) -> bytes:
    """A DICOM file with an empty preamble.

    Args:
        dataset: Made of `put` and of sequences of such data sets.
        meta: VR and value of the file meta elements after the group length, by tag.
    """
    head = Dataset()
    put(head, 0x00020001, "OB", b"\0\1")
    for tag, (vr, value) in meta.items():
        put(head, tag, vr, value)
    group = _elements(head)
    length = b"\x02\0\0\0UL\x04\0" + struct.pack("<I", len(group))
    # Joined once: each copy of the pixels takes as long as the rest of a slice.
    return b"".join([b"\0" * 128, b"DICM", length, group, *_parts(dataset)])


def _elements(dataset: Dataset) -> bytes:
    return b"".join(_parts(dataset))


def _parts(dataset: Dataset) -> list[bytes]:
    parts: list[bytes] = []
    # By number: tags compare in Python.
    for tag, element in sorted(((int(tag), element) for tag, element in dataset._dict.items()), key=itemgetter(0)):
        if isinstance(element, RawDataElement):
            _add(parts, tag, element)
        else:
            items = b"".join(_item(item) for item in element.value)
            parts.append(struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"SQ", 0, len(items)) + items)
    return parts


def _add(parts: list[bytes], tag: int, element: RawDataElement) -> None:
    value = element.value or b""
    vr = (element.VR or "UN").encode()
    if len(value) > _LONGEST and element.VR not in _LONG:
        parts.append(struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, b"UN", 0, len(value)))
    elif element.VR in _LONG:
        parts.append(struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, vr, 0, element.length))
    else:
        parts.append(struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)))
    parts.append(value)
    if element.length == _UNDEFINED:
        parts.append(b"\xfe\xff\xdd\xe0\0\0\0\0")


def _item(item: Dataset) -> bytes:
    body = _elements(item)
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body
