"""Safe private attributes: the few numbers without which some makers' images can't be read, by creator and place.

Each is a number; a private text never stays. (PS3.15 E.3.10 lets a profile keep private attributes known to be safe.)
"""

from __future__ import annotations

import re

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from medseg.privacy.encode import put
from medseg.privacy.numbers import clean_floats, has_too_many_digits, is_of_person
from medseg.privacy.person import Person, raw_bytes

__all__ = ["add_safe_private"]

_SAFE = {
    ("Philips PET Private Group", 0x7053): {0x00: "DS", 0x09: "DS"},
    ("Philips MR Imaging DD 001", 0x2005): {0x0D: "FL", 0x0E: "FL"},
    ("Philips Imaging DD 001", 0x2001): {0x03: "FL"},
    ("SIEMENS MR HEADER", 0x0019): {0x0C: "IS", 0x0E: "FD"},
    ("GEMS_PARM_01", 0x0043): {0x39: "IS"},
}
"""Element numbers and value representations, by private creator and group: factors of SUV and activity, slope and
intercept of Philips' stored values, b-values and gradient directions."""
_GROUPS = frozenset(group for _, group in _SAFE)
_WIDTH = {"FL": 4, "FD": 8}
_MOST_VALUES = {"DS": 1, "IS": 4}
"""Values of an attribute: a factor is one, the b-value of GE is the first of four."""
_GE_OFFSET, _HIGHEST_B = 10**9, 10**5
"""What GE adds to some b-values (1000000800 is 800), and what no b-value reaches."""
_NUMBER = re.compile(rb"[ \0]*[+-]?(?:\d{1,16}\.?\d{0,16}|\.\d{1,16})(?:[eE][+-]?\d{1,3})?[ \0]*\Z")


def add_safe_private(clean: Dataset, source: Dataset, *, person: Person) -> bool:
    """Copy the safe private numbers of a data set.

    Args:
        clean: Gets them, with their block's creator.
        source: The data set as read.
        person: Whose it is; numbers of theirs don't stay.

    Returns:
        Whether there were any.
    """
    added = False
    for creator_tag in [tag for tag in source._dict if (tag >> 16) in _GROUPS and 0x10 <= (tag & 0xFFFF) <= 0xFF]:
        creator, group = raw_bytes(source, creator_tag).strip(b" \0"), creator_tag >> 16
        for number, vr in _SAFE.get((creator.decode("latin-1"), group), {}).items():
            tag = (group << 16) | ((creator_tag & 0xFF) << 8) | number
            value = _number(source.get_item(tag), vr, person)
            if value is not None:
                put(clean, creator_tag, "LO", creator)
                put(clean, tag, vr, value)
                added = True
    return added


def _number(element: object, vr: str, person: Person) -> bytes | None:
    if not isinstance(element, RawDataElement) or not element.value or not element.is_little_endian:
        return None
    raw = element.value
    if vr in _WIDTH:
        one_or_three = len(raw) in (_WIDTH[vr], 3 * _WIDTH[vr])
        return clean_floats(raw, vr, person=person) if one_or_three and not raw.isalpha() else None
    parts = raw.split(b"\\")
    known = len(parts) <= _MOST_VALUES[vr] and all(_NUMBER.match(part) for part in parts)
    if not known or any(is_of_person(part, person) for part in parts):
        return None
    sizes = [abs(float(part)) for part in parts if part.strip(b" \0")]
    marked = vr == "IS" and sizes and _GE_OFFSET <= sizes[0] < _GE_OFFSET + _HIGHEST_B
    return None if any(has_too_many_digits(size) for size in sizes[1 if marked else 0 :]) else raw
