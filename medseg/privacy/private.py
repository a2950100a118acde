"""Safe private attributes: the few numbers without which some makers' images can't be read, by creator and place.

Each is a number; a private text never stays. (PS3.15 E.3.10 lets a profile keep private attributes known to be safe.)
"""

from __future__ import annotations

import re

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from medseg.privacy.encode import put
from medseg.privacy.person import raw_bytes

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
_NUMBERS = re.compile(rb"[ \0\\0-9.eE+-]{1,64}\Z")


def add_safe_private(clean: Dataset, source: Dataset) -> bool:
    """Copy the safe private numbers of a data set.

    Args:
        clean: Gets them, with their block's creator.
        source: The data set as read.

    Returns:
        Whether there were any.
    """
    added = False
    for creator_tag in [tag for tag in source._dict if (tag >> 16) in _GROUPS and 0x10 <= (tag & 0xFFFF) <= 0xFF]:
        creator, group = raw_bytes(source, creator_tag).strip(b" \0"), creator_tag >> 16
        for number, vr in _SAFE.get((creator.decode("latin-1"), group), {}).items():
            tag = (group << 16) | ((creator_tag & 0xFF) << 8) | number
            value = _number(source.get_item(tag), vr)
            if value is not None:
                put(clean, creator_tag, "LO", creator)
                put(clean, tag, vr, value)
                added = True
    return added


def _number(element: object, vr: str) -> bytes | None:
    if not isinstance(element, RawDataElement) or not element.value or not element.is_little_endian:
        return None
    if vr in _WIDTH:
        return element.value if len(element.value) in (_WIDTH[vr], 3 * _WIDTH[vr]) else None
    digits = sum(48 <= byte < 58 for byte in element.value)
    return element.value if _NUMBERS.match(element.value) and digits <= 40 else None
