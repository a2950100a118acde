"""DICOM code: a concept of a standard coding scheme, in the standard's words, and a display colour."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from pydicom.dataset import Dataset

from medseg.data.card import CodedConcept
from medseg.privacy.vocabulary import is_known_text

__all__ = ["colour_of", "concept_of"]

_CODE: Final = re.compile(r"[0-9A-Za-z.-]{1,16}")


def concept_of(item: Dataset, keyword: str) -> CodedConcept | None:
    """The first code of a sequence, its meaning as the coding scheme has it; None for private and unknown codes.

    A code's meaning is free text in a file. It is taken from pydicom's dictionaries, or, where they don't know the
    code, from the file when its words are all known ones. Retired SNOMED RT codes (SRT) become SNOMED CT (SCT).
    """
    found = item.get(keyword)
    if not found:
        return None
    value = str(found[0].get("CodeValue", "") or "").strip()
    scheme = str(found[0].get("CodingSchemeDesignator", "") or "").strip()
    return _standard(value, scheme, str(found[0].get("CodeMeaning", "") or "").strip())


def _standard(value: str, scheme: str, meaning: str) -> CodedConcept | None:
    from pydicom.sr._concepts_dict import concepts
    from pydicom.sr._snomed_dict import mapping

    dictionary: Mapping[str, Mapping[str, Mapping[str, tuple[str, object]]]] = cast(Any, concepts)
    if scheme in ("SRT", "SNM3", "99SDM"):
        value, scheme = str(mapping["SRT"].get(value, "")), "SCT"
    if scheme not in dictionary or not _CODE.fullmatch(value):
        return None
    known = next((codes[value][0] for codes in dictionary[scheme].values() if value in codes), "")
    text = known or (meaning if is_known_text(meaning) else "")
    return CodedConcept(value=value, scheme=scheme, meaning=text[:64]) if text else None


def colour_of(item: Dataset) -> tuple[int, int, int] | None:
    """Red, green, blue (0 to 255) of RecommendedDisplayCIELabValue; None where there is none, or it is damaged."""
    value = item.get("RecommendedDisplayCIELabValue")
    if value is None or len(value) != 3:
        return None
    import highdicom as hd

    red, green, blue = hd.color.CIELabColor.from_dicom_value([int(part) for part in value]).to_rgb()
    return int(red), int(green), int(blue)
