"""Rebuild: a new data set made of what the rules permit; whatever they don't name was never there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from medseg.errors import ReadError
from medseg.privacy.code_strings import is_code_string
from medseg.privacy.codes import names_of_code
from medseg.privacy.dates import clean_time, shift_date, shift_datetime
from medseg.privacy.device import device_text
from medseg.privacy.dicom_rules import Kind, Rule, Rules
from medseg.privacy.encode import put
from medseg.privacy.lookup_tables import clean_lookup_table
from medseg.privacy.numbers import DISPENSABLE, NUMBER_WIDTHS, clean_number, fits_multiplicity, may_be_missing
from medseg.privacy.person import Person, decode_text, raw_bytes
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.vocabulary import is_known_text

__all__ = ["items_of", "rebuild_dataset"]

_PIXEL_REPRESENTATION, _SHARED = 0x00280103, 0x52009229
_CODE_TAGS = (0x00080100, 0x00080119, 0x00080120)
_SCHEME, _MEANING = 0x00080102, 0x00080104
_FUNCTIONAL_GROUPS = frozenset(("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"))
_AGE = re.compile(rb"(\d{3})([DWMY])[ \0]*\Z")
_DUMMIES = {
    "DA": b"19000101", "TM": b"000000", "DT": b"19000101000000", "AS": b"000Y", "IS": b"0", "DS": b"0",
    "CS": b"UNKNOWN", "AE": b"REMOVED", "PN": b"REMOVED", "UR": b"REMOVED", "UC": b"REMOVED", "UT": b"REMOVED",
    "ST": b"REMOVED", "LT": b"REMOVED", "LO": b"REMOVED", "SH": b"REMOVED",
}  # fmt: skip
_UNSAID = {"RescaleType": b"US", "BurnedInAnnotation": b"YES", "RecognizableVisualFeatures": b"YES"}
"""What the standard has for values that nobody stated; of what pixels may show, the careful word."""
_INSTEAD_OF = {0x00540410: 0x00185100}
"""Attributes of type 2 that may not stand beside another: the coded orientation of a PET's patient and PatientPosition
(PS3.3 C.8.4.6)."""
_ONLY_WITH = {0x00201040: 0x00200052}
"""Attributes of type 2 that mean nothing without another: what a frame of reference refers to, and its UID."""
_NUMBERED = {"SegmentLabel": (0x00620004, "Segment"), "ROIName": (0x30060022, "ROI")}
"""Labels that a reader must be able to tell apart, with the attribute that numbers them."""
_REFERRED_TO = {"StackID": 0x00209056, "GraphicLayer": 0x00700002}
"""Names by which the parts of a file are told apart or refer to each other; a pseudonym stands for them."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The item at hand: input, whether its `US or SS` are signed, and who it belongs to."""

    source: Dataset
    signed: bool
    person: Person
    pseudonyms: Pseudonymiser


def rebuild_dataset(
    source: Dataset, rules: Rules, *, person: Person, pseudonyms: Pseudonymiser, signed: bool | None = None
) -> Dataset:
    """Build a new data set (explicit VR, little endian) of what the rules permit.

    Args:
        source: Data set as read; not changed.
        rules: Rules of its SOP class, or of the items of one of its sequences.
        person: Whose it is.
        pseudonyms: Gives the pseudonyms.
        signed: Pixel representation of the data set that holds this item.

    Returns:
        The data set; an empty one for a coded concept (PS3.3 8.8) whose code the standard doesn't know.

    Raises:
        ReadError: A number without which the copy would say something else can't stay.
    """
    pixel_representation = raw_bytes(source, _PIXEL_REPRESENTATION)
    own_sign = bool(any(pixel_representation)) if pixel_representation else bool(signed)
    place = _Place(source, own_sign, person, pseudonyms)
    result = Dataset()
    is_code = any(tag in rules and tag in source for tag in (*_CODE_TAGS, _MEANING))
    code = _code_item(source) if is_code else None
    if is_code and code is None:
        return result
    for tag, element, rule in _permitted(source, rules):
        if rule.kind is Kind.ITEMS:
            _add_items(result, tag, rule, place)
            continue
        vr, value = _value(tag, element, rule, place)
        if value is None:
            if rule.kind is Kind.NUMBER:
                _leave_out(rule, person)
            value = _fallback(rule, place)
        if value is not None:
            put(result, tag, vr, value)
    if code is not None:
        _put_code(result, *code)
    for missing, missing_vr in rules.expected:
        if missing not in result._dict and _is_wanted(missing, result):
            _put_empty(result, missing, missing_vr)
    return result


def _leave_out(rule: Rule, person: Person) -> None:
    """Note that the copy will lack a number.

    Raises:
        ReadError: Without it the copy would say something else.
    """
    if not may_be_missing(rule.keyword, rule.required):
        raise ReadError(
            f"expected numbers in {rule.keyword} that are written as the standard says and are no number of "
            "the patient's, found others; without them the copy would say something else"
        )
    person.left_out.add(rule.keyword)


def _is_wanted(tag: int, result: Dataset) -> bool:
    """Whether an attribute of type 2 that the source lacks belongs into its copy."""
    instead, beside = _INSTEAD_OF.get(tag), _ONLY_WITH.get(tag)
    return (instead is None or instead not in result._dict) and (beside is None or beside in result._dict)


def _permitted(source: Dataset, rules: Rules) -> list[tuple[int, RawDataElement | DataElement, Rule]]:
    """The attributes with a rule; their tags as numbers, since a tag's own comparisons take as long as its rule."""
    found = ((int(tag), element) for tag, element in source._dict.items())
    return [(tag, element, rule) for tag, element in found if (rule := rules.get(tag)) is not None]


def _put_empty(result: Dataset, tag: int, vr: str) -> None:
    if vr == "SQ":
        result._dict[BaseTag(tag)] = DataElement(tag, "SQ", Sequence([]))
    else:
        put(result, tag, "US" if vr == "US|SS" else vr, b"")


def _value(tag: int, element: RawDataElement | DataElement, rule: Rule, place: _Place) -> tuple[str, bytes | None]:
    """VR and value of an attribute under its rule; None when the value can't stay."""
    vr = rule.vr
    if vr == "US|SS":
        vr = "SS" if place.signed else "US"
    if rule.kind is Kind.DUMMY:
        return vr, None
    if not isinstance(element, RawDataElement):
        return vr, b"" if rule.kind is Kind.EMPTY else None
    raw = element.value or b""
    if rule.kind is Kind.EMPTY and rule.keyword == "Manufacturer" and raw and _SHARED in place.source:
        return vr, None
    if rule.kind is Kind.EMPTY or not raw.strip(b" \0"):
        empty = rule.kind is Kind.EMPTY or vr not in NUMBER_WIDTHS or not raw
        return vr, b"" if empty else clean_number(tag, vr, element, person=place.person)
    if rule.kind is Kind.NUMBER:
        return vr, clean_number(tag, vr, element, person=place.person)
    if rule.kind is Kind.TABLE:
        return vr, clean_lookup_table(tag, element, place.source)
    return vr, _MAKERS[rule.kind](raw, rule, place)


def _fallback(rule: Rule, place: _Place) -> bytes | None:
    """What stands for a value that can't stay: nothing for type 3, no value for type 2, a dummy for type 1.

    Labels that a reader must tell apart are numbered, whatever their type.
    """
    if rule.required == 3 or rule.keyword in DISPENSABLE:
        return None
    if rule.keyword in _REFERRED_TO:
        name = f"{place.person.key}|{decode_text(raw_bytes(place.source, _REFERRED_TO[rule.keyword]), place.source)}"
        return place.pseudonyms.folder("N", name).encode("ascii")
    if rule.keyword in _NUMBERED:
        tag, word = _NUMBERED[rule.keyword]
        number = raw_bytes(place.source, tag)
        value = int.from_bytes(number[:2], "little") if len(number) == 2 and rule.keyword == "SegmentLabel" else number
        return f"{word} {value if isinstance(value, int) else value.decode('ascii', 'ignore').strip()}".encode("ascii")
    if rule.required == 2:
        # Of type 2 in one module and of type 1 in another one that images of many classes may have.
        return b"REMOVED" if rule.keyword == "Manufacturer" else b""
    if rule.vr == "UI":
        return place.pseudonyms.pseudo_uid("dummy", place.person.key).encode("ascii")
    if rule.vr in NUMBER_WIDTHS or rule.vr == "US|SS":
        return b"\0" * NUMBER_WIDTHS.get(rule.vr, 2)
    return _UNSAID.get(rule.keyword, _DUMMIES.get(rule.vr))


def _term(raw: bytes, rule: Rule, place: _Place) -> bytes | None:
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        return None
    parts = text.split("\\") if rule.vr in ("CS", "LO", "SH", "UC") else [text]
    mine = frozenset[str]() if rule.vr == "CS" else place.person.words
    parts = [part.strip(" \0") for part in parts]
    kept = [part if _is_term(part, rule.vr, place.person, mine) else "" for part in parts]
    if len(parts) > 1 and not is_known_text(" ".join(part for part in kept if len(part) < 4)):
        # Each by itself is known, but together they are too many letters and numbers: a name can be spelt by them.
        kept = [part if len(part) > 2 and not any(map(str.isdigit, part)) else "" for part in kept]
    if not any(kept) or (len(parts) > 1 and not fits_multiplicity(tag_for_keyword(rule.keyword) or 0, len(parts))):
        return None
    if len(kept) > 1 and rule.keyword == "ImageType":
        kept = [word or ("OTHER" if part.strip(" \0") else "") for word, part in zip(kept, parts, strict=True)]
    return "\\".join(kept).encode("ascii")


def _is_term(part: str, vr: str, person: Person, mine: frozenset[str]) -> bool:
    digits = "".join(filter(str.isdigit, part))
    if len(digits) > 4 and int(digits) in person.numbers:
        return False  # a number of the patient's written in groups, each of which is as short as a thickness
    if is_known_text(part, identities=mine):
        return True
    return vr == "CS" and is_code_string(part) and person.words.isdisjoint(part.split())


def _uid(raw: bytes, _rule: Rule, place: _Place) -> bytes | None:
    parts = raw.decode("latin-1").split("\\")
    return "\\".join(place.pseudonyms.uid(part) for part in parts).encode("ascii")


def _time(raw: bytes, rule: Rule, place: _Place) -> bytes | None:
    person = place.person
    made: list[str] = []
    for part in raw.decode("latin-1").split("\\"):
        if rule.vr == "DA":
            value = shift_date(part, person.shift_days)
        elif rule.vr == "TM":
            value = clean_time(part)
        else:
            value = shift_datetime(part, person.shift_days, zone_minutes=person.zone_minutes)
        if value is None:
            return None
        made.append(value)
    return "\\".join(made).encode("ascii")


def _age(raw: bytes, _rule: Rule, _place: _Place) -> bytes | None:
    match = _AGE.match(raw)
    if match is None:
        return None
    days = int(match[1]) * {b"D": 1.0, b"W": 7.0, b"M": 30.4375, b"Y": 365.25}[match[2]]
    return b"090Y" if days >= 90 * 365.25 else match[1] + match[2]


def _sex(raw: bytes, _rule: Rule, _place: _Place) -> bytes | None:
    return raw.strip(b" \0") if raw.strip(b" \0") in (b"M", b"F", b"O") else None


def _device(raw: bytes, _rule: Rule, place: _Place) -> bytes | None:
    return device_text(raw, words=place.person.words, numbers=place.person.numbers)


def _patient(_raw: bytes, _rule: Rule, place: _Place) -> bytes | None:
    return place.person.pseudonym.encode("ascii")


def _accession(raw: bytes, _rule: Rule, place: _Place) -> bytes | None:
    return place.pseudonyms.accession(decode_text(raw, place.source)).encode("ascii")


def _study_id(raw: bytes, _rule: Rule, place: _Place) -> bytes | None:
    return place.pseudonyms.study_id(f"{place.person.key}|{decode_text(raw, place.source)}").encode("ascii")


def _colours(_raw: bytes, _rule: Rule, _place: _Place) -> bytes | None:
    return _srgb()


@lru_cache(maxsize=1)
def _srgb() -> bytes:
    """The standard sRGB profile of littleCMS without its date."""
    from PIL import ImageCms

    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[24:36] = bytes(12)
    made[84:100] = bytes(16)
    return bytes(made)


_MAKERS: dict[Kind, Callable[[bytes, Rule, _Place], bytes | None]] = {
    Kind.TERM: _term,
    Kind.UID: _uid,
    Kind.TIME: _time,
    Kind.AGE: _age,
    Kind.SEX: _sex,
    Kind.DEVICE: _device,
    Kind.PATIENT: _patient,
    Kind.ACCESSION: _accession,
    Kind.STUDY_ID: _study_id,
    Kind.COLOURS: _colours,
}


def _add_items(result: Dataset, tag: int, rule: Rule, place: _Place) -> None:
    items = []
    for item in items_of(place.source, tag):
        rebuilt = rebuild_dataset(
            item, rule.children, person=place.person, pseudonyms=place.pseudonyms, signed=place.signed
        )
        if len(rebuilt) or rule.keyword in _FUNCTIONAL_GROUPS or not rule.children:
            items.append(rebuilt)
    if not items and rule.required == 1 and rule.keyword.endswith("CodeSequence"):
        unknown = Dataset()
        _put_code(unknown, "261665006", "SCT", "Unknown")
        items.append(unknown)
    if items or rule.required == 2:
        result._dict[BaseTag(tag)] = DataElement(tag, "SQ", Sequence(items))


def items_of(source: Dataset, tag: int) -> list[Dataset]:
    """The items of a sequence; none when it isn't there or can't be read."""
    element: Any = source.get_item(tag)
    if isinstance(element, RawDataElement):
        try:
            element = convert_raw_data_element(element, ds=source)
        except Exception:
            # A value that can't be converted says nothing that could be kept.
            return []
    value = element.value if element is not None else None
    return list(value) if isinstance(value, Sequence) else []


def _code_item(source: Dataset) -> tuple[str, str, str] | None:
    """Value, scheme and the standard's own meaning of a code; None when the standard doesn't know it."""
    value = next((raw_bytes(source, tag) for tag in _CODE_TAGS if tag in source), b"")
    scheme = raw_bytes(source, _SCHEME)
    try:
        code, name = value.decode("ascii").strip(" \0"), scheme.decode("ascii").strip(" \0")
    except UnicodeDecodeError:
        return None
    # Of several names the last: of a mammogram's view 399162004 it says "Cranio-caudal projection", the first "caudad".
    names = names_of_code(code, name)
    return (code, name, names[-1]) if names else None


def _put_code(result: Dataset, code: str, scheme: str, meaning: str) -> None:
    for tag in (*_CODE_TAGS, 0x00080103):
        result.pop(tag, None)
    put(result, 0x00080100 if len(code) <= 16 else 0x00080119, "SH" if len(code) <= 16 else "UC", code.encode())
    put(result, _SCHEME, "SH", scheme.encode())
    put(result, _MEANING, "LO", meaning.encode("ascii", "ignore")[:64])
