"""Standard code: a coded concept of a public coding scheme, which says nothing of a patient by itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

__all__ = ["is_public_scheme", "names_of_code", "standard_code"]

_RETIRED = ("SRT", "SNM3", "99SDM")


@lru_cache(maxsize=8192)
def standard_code(value: str, scheme: str) -> tuple[str, str, str] | None:
    """Value, scheme and first meaning of a code that pydicom's dictionaries know (PS3.16), or None.

    Retired SNOMED RT codes (SRT, SNM3, 99SDM) become SNOMED CT (SCT).

    Example:
        >>> standard_code("T-62000", "SRT")
        ('10200004', 'SCT', 'Liver')
    """
    value, scheme = _current(value, scheme)
    found = _meanings(scheme).get(value)
    return None if found is None else (value, scheme, found[0])


def is_public_scheme(scheme: str) -> bool:
    """Whether pydicom's dictionaries have codes of a coding scheme, or of what took its place."""
    return scheme in _RETIRED or bool(_meanings(scheme))


def names_of_code(value: str, scheme: str) -> tuple[str, ...]:
    """All names that pydicom's dictionaries have for a code, in their order; none for a code they don't know."""
    value, scheme = _current(value, scheme)
    return _meanings(scheme).get(value, ())


def _current(value: str, scheme: str) -> tuple[str, str]:
    """A code, or the one in SNOMED CT that took the place of a retired one."""
    return (_retired().get(value, ""), "SCT") if scheme in _RETIRED else (value, scheme)


@lru_cache(maxsize=1)
def _retired() -> Mapping[str, str]:
    from pydicom.sr._snomed_dict import mapping

    return cast(Mapping[str, str], mapping["SRT"])


@lru_cache(maxsize=32)
def _meanings(scheme: str) -> Mapping[str, tuple[str, ...]]:
    """Code value to its names."""
    from pydicom.sr._concepts_dict import concepts

    dictionary: Mapping[str, Mapping[str, Mapping[str, tuple[str, object]]]] = cast(Any, concepts)
    found: dict[str, tuple[str, ...]] = {}
    for codes in dictionary.get(scheme, {}).values():
        for value, facts in codes.items():
            found[value] = (*found.get(value, ()), facts[0])
    return found
