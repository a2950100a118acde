"""Code of a structure: a concept of a public coding scheme, in the scheme's words, and a display colour."""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset

from medseg.data.card import CodedConcept
from medseg.data.dicom_frames import text_of
from medseg.privacy.codes import standard_code
from medseg.privacy.vocabulary import is_known_text

__all__ = ["colour_of", "concept_of", "public_concept"]

_SCHEMES: Final = ("DCM", "SCT", "FMA", "RADLEX", "UMLS", "NCIt")
"""Public schemes of which pydicom's dictionaries know a part."""
_CODE: Final = re.compile(r"[0-9A-Za-z.-]{1,16}")


def concept_of(item: Dataset, keyword: str) -> CodedConcept | None:
    """The first code of a sequence, as `public_concept` takes it over; None where there is none."""
    found = item.get(keyword)
    if not found:
        return None
    value = text_of(found[0], "CodeValue")
    scheme = text_of(found[0], "CodingSchemeDesignator")
    return public_concept(value, scheme, text_of(found[0], "CodeMeaning"))


def public_concept(value: str, scheme: str, meaning: str) -> CodedConcept | None:
    """A code with its meaning as the coding scheme has it; None for private and unknown codes.

    A code's meaning is free text in a file. It is taken from pydicom's dictionaries, or, where they don't know the
    code, from the file when its words are all known ones. Retired SNOMED RT codes (SRT) become SNOMED CT (SCT).
    """
    known = standard_code(value, scheme)
    if known is not None:
        return CodedConcept(value=known[0], scheme=known[1], meaning=known[2][:64])
    if scheme not in _SCHEMES or not _CODE.fullmatch(value) or not meaning or not is_known_text(meaning):
        return None
    return CodedConcept(value=value, scheme=scheme, meaning=meaning[:64])


def colour_of(item: Dataset) -> tuple[int, int, int] | None:
    """Red, green, blue (0 to 255) of RecommendedDisplayCIELabValue; None where there is none, or it is damaged."""
    value = item.get("RecommendedDisplayCIELabValue")
    if value is None or len(value) != 3:
        return None
    import highdicom as hd

    red, green, blue = hd.color.CIELabColor.from_dicom_value([int(part) for part in value]).to_rgb()
    return int(red), int(green), int(blue)
