"""Standard code: a coded concept of a public coding scheme, which says nothing of a patient by itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

__all__ = ["standard_code"]


@lru_cache(maxsize=8192)
def standard_code(value: str, scheme: str) -> tuple[str, str, str] | None:
    """Value, scheme and meaning of a code that pydicom's dictionaries know (PS3.16), or None.

    Retired SNOMED RT codes (SRT, SNM3, 99SDM) become SNOMED CT (SCT).

    Example:
        >>> standard_code("T-62000", "SRT")
        ('10200004', 'SCT', 'Liver')
    """
    if scheme in ("SRT", "SNM3", "99SDM"):
        value, scheme = _retired().get(value, ""), "SCT"
    meaning = _meanings(scheme).get(value)
    return None if meaning is None else (value, scheme, meaning)


@lru_cache(maxsize=1)
def _retired() -> Mapping[str, str]:
    from pydicom.sr._snomed_dict import mapping

    return cast(Mapping[str, str], mapping["SRT"])


@lru_cache(maxsize=32)
def _meanings(scheme: str) -> Mapping[str, str]:
    """Code value to meaning."""
    from pydicom.sr._concepts_dict import concepts

    dictionary: Mapping[str, Mapping[str, Mapping[str, tuple[str, object]]]] = cast(Any, concepts)
    found: dict[str, str] = {}
    for codes in dictionary.get(scheme, {}).values():
        for value, facts in codes.items():
            found.setdefault(value, facts[0])  # of several names of a code the dictionary's first
    return found
