"""Person: whose data set it is, and which of its words must not be found in the output."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydicom._private_dict import private_dictionaries
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medseg.privacy.codes import is_public_scheme, standard_code
from medseg.privacy.dates import utc_offset_minutes
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.vocabulary import is_known_text

__all__ = [
    "TEXT_VRS",
    "Person",
    "decode_text",
    "dictionary_vr",
    "elements_of",
    "patient_key",
    "person_of",
    "raw_bytes",
    "text_of",
]

TEXT_VRS = frozenset(("LO", "SH", "ST", "LT", "UT", "UC", "AE", "PN"))
_LEAST_IDENTITY = 10_000
"""Of 00001 no whole number is made: cosines, slopes and indices are such numbers."""
_CODE = frozenset((0x00080100, 0x00080102, 0x00080103, 0x00080104))
"""Value, scheme, version and meaning of a code."""
_NUMBERED = (
    0x00100020, 0x00101000, 0x00080050, 0x00200010, 0x00100030, 0x00080020, 0x00080021, 0x00080022, 0x00080023,
    0x00401001, 0x00402016, 0x00402017, 0x00101090, 0x00102154,
)  # fmt: skip
"""IDs of the patient, the order, the study and the procedure, telephone numbers, and the dates of a file."""
_SCHEME = 0x00080102
_MOST_DIGITS = 4
_LONG_NUMBER = re.compile(rb"\d{5,18}")


@dataclass(slots=True)
class Person:
    """Whose file it is, and what must not be found in the output.

    Attributes:
        key: What the pseudonym is made from; an identity.
        pseudonym: The patient's pseudonym.
        shift_days: Whole days by which the patient's dates move.
        zone_minutes: UTC offset of the file's local time, where it says so, or else of its first time that has one.
        words: Words, upper case, of the file's own names and numbers.
        numbers: The file's own patient, order and study numbers, its dates, and those in its texts, as whole numbers.
        identities: Texts that were dropped or replaced.
        left_out: Keywords of the numbers that the copy is without, as they may be the patient's or are none.
    """

    key: str
    pseudonym: str
    shift_days: int
    zone_minutes: int | None
    words: frozenset[str]
    numbers: frozenset[int] = frozenset()
    identities: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)


def raw_bytes(dataset: Dataset, tag: int) -> bytes:
    """The undecoded value of an attribute; empty when it isn't there or is a sequence."""
    # pydicom types the keys as BaseTag; any int is one to a dict.
    element: Any = dataset._dict.get(tag)  # type: ignore[call-overload]
    if isinstance(element, RawDataElement):
        return element.value or b""
    if element is None or isinstance(element.value, Sequence | type(None)):
        return b""
    value = element.value
    text = value if isinstance(value, str) else "\\".join(str(part) for part in value)
    return text.encode("utf-8", "replace")


def text_of(dataset: Dataset, tag: int) -> str:
    """An attribute's text in the file's own character set, without padding; in Latin-1 where that fails."""
    return decode_text(raw_bytes(dataset, tag), dataset)


def patient_key(dataset: Dataset) -> str:
    """The text that tells this patient from others: patient ID, else name and birth date, else the study's UID."""
    patient_id = text_of(dataset, 0x00100020)
    if patient_id:
        return patient_id
    name = text_of(dataset, 0x00100010).strip("^ ")
    if name:
        return f"{name}|{text_of(dataset, 0x00100030)}"
    return f"study|{text_of(dataset, 0x0020000D)}"


def person_of(dataset: Dataset, pseudonyms: Pseudonymiser, *, kept: Collection[int] = ()) -> Person:
    """Read who a data set belongs to.

    Args:
        dataset: As read.
        pseudonyms: Gives the pseudonyms.
        kept: Tags of texts that the profile lets stay, so that they are no identities.
    """
    key = patient_key(dataset)
    found = _Gathered(kept=frozenset(kept))
    _collect(dataset, dataset, found)
    # The same text elsewhere in the file is no identity either: it stays in the copy, and is not to be found there.
    staying = {text_of(dataset, tag) for tag in found.kept}
    found.identities -= staying
    found.numbers -= {int(digits) for text in staying for digits in re.findall(r"[0-9]{5,18}", text)}
    zone = utc_offset_minutes(raw_bytes(dataset, 0x00080201).decode("ascii", "replace"))
    return Person(
        key=key,
        pseudonym=pseudonyms.patient(key),
        shift_days=pseudonyms.shift_days(key),
        zone_minutes=found.zone_minutes if zone is None else zone,
        words=frozenset(found.words | _words_of(text_of(dataset, 0x00100020))),
        numbers=_numbers_of(dataset) | found.numbers,
        identities=found.identities,
    )


def decode_text(raw: bytes, dataset: Dataset) -> str:
    """A value's text in the data set's own character set, without padding; in Latin-1 where that fails."""
    return _decoded(raw, raw_bytes(dataset, 0x00080005))


def _decoded(raw: bytes, charset: bytes) -> str:
    raw = raw.rstrip(b" \0")
    if raw.isascii() and b"\x1b" not in raw:
        return raw.decode("ascii").strip()
    names = charset.decode("ascii", "replace") or "ISO_IR 6"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return decode_bytes(raw, convert_encodings(names.split("\\")), {0x5C, 0x5E, 0x3D}).strip()
    except Exception:
        # pydicom's decoders raise their own kinds; Latin-1 reads every byte.
        return raw.decode("latin-1").strip()


def _words_of(text: str) -> set[str]:
    return {word for word in re.split(r"[\W_]+", text.upper()) if len(word) > 1}


def _numbers_of(dataset: Dataset) -> frozenset[int]:
    """Whole numbers of at least 5 digits in the attributes that hold identities and dates."""
    texts = (raw_bytes(dataset, tag) for tag in _NUMBERED)
    numbers = (int(digits) for text in texts for digits in _LONG_NUMBER.findall(text))
    return frozenset(number for number in numbers if number >= _LEAST_IDENTITY)


@dataclass(slots=True)
class _Gathered:
    """What was gathered so far of a data set; the zone is that of the first time that tells its own.

    `kept` are the tags that nothing is gathered of.
    """

    identities: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    numbers: set[int] = field(default_factory=set)
    zone_minutes: int | None = None
    kept: frozenset[int] = frozenset()


def _collect(dataset: Dataset, root: Dataset, gathered: _Gathered) -> None:
    """Gather what may identify in a data set and its items, private ones too: names, texts, UIDs, the birth date."""
    told = _CODE if _is_standard_code(dataset) else frozenset()
    for element in list(elements_of(dataset)):
        if isinstance(element, DataElement) or (element.VR or dictionary_vr(element.tag)) == "SQ":
            for item in _items(element, dataset):
                _collect(item, root, gathered)
        elif element.tag not in told and element.tag not in gathered.kept:
            _collect_element(element, root, gathered)


def _items(element: RawDataElement | DataElement, dataset: Dataset) -> list[Dataset]:
    """The items of a sequence, which pydicom leaves undecoded where it states its length; none where it is damaged."""
    try:
        whole = convert_raw_data_element(element, ds=dataset) if isinstance(element, RawDataElement) else element
    except Exception:
        # pydicom raises whatever a damaged file makes it raise; such a sequence is not kept either.
        return []
    return list(whole.value) if isinstance(whole.value, Sequence) else []


def _collect_element(element: RawDataElement, root: Dataset, gathered: _Gathered) -> None:
    vr = element.VR or dictionary_vr(element.tag)
    if _is_everybodys(element):
        return
    if vr == "PN" or (vr in TEXT_VRS and element.value):
        found = _found_in(element.value or b"", raw_bytes(root, 0x00080005), is_name=vr == "PN")
        gathered.identities |= found.identities
        gathered.words |= found.words
        gathered.numbers |= found.numbers
    elif (vr == "UI" and element.value) or (element.tag == 0x00100030 and element.value):
        gathered.identities.add(element.value.rstrip(b" \0").decode("latin-1"))
    elif vr == "DT" and gathered.zone_minutes is None and element.value:
        gathered.zone_minutes = utc_offset_minutes(element.value.rstrip(b" \0")[-5:].decode("ascii", "replace"))


def _is_everybodys(element: RawDataElement) -> bool:
    """Whether a value is a public coding scheme, a vendor's name of a private block, or a short number but no ID."""
    text, tag = (element.value or b"").strip(b" \0"), int(element.tag)
    if tag == _SCHEME:
        return is_public_scheme(text.decode("latin-1"))
    if tag >> 16 & 1:
        return 0x10 <= tag & 0xFFFF <= 0xFF and text.decode("latin-1") in private_dictionaries
    return text.isdigit() and len(text) <= _MOST_DIGITS and tag not in _NUMBERED


@dataclass(frozen=True, slots=True)
class _Found:
    identities: frozenset[str]
    words: frozenset[str]
    numbers: frozenset[int]


@lru_cache(maxsize=2048)
def _found_in(raw: bytes, charset: bytes, *, is_name: bool) -> _Found:
    """What may identify in one value; the files of a series share most of theirs."""
    identities: set[str] = set()
    words: set[str] = set()
    for text in _decoded(raw, charset).split("\\"):
        if is_name:
            words |= _words_of(text)
            identities.update(part for part in re.split(r"[\^=]+", text) if len(part) > 1)
        if not is_known_text(text):
            identities.add(text.strip())
    # Of several words a number of five digits mostly measures: "Ax Flair (10000 TR)".
    numbers = (
        int(digits)
        for text in identities
        for digits in re.findall(r"[0-9]{5,18}" if len(text.split()) == 1 else r"[0-9]{6,18}", text)
    )
    return _Found(frozenset(identities), frozenset(words), frozenset(n for n in numbers if n >= _LEAST_IDENTITY))


def _is_standard_code(dataset: Dataset) -> bool:
    """Whether an item is a code of a public scheme: it stands in every such file, and its words are everybody's."""
    if 0x00080102 not in dataset._dict:
        return False
    value, scheme = (raw_bytes(dataset, tag).decode("latin-1").strip(" \0") for tag in (0x00080100, 0x00080102))
    return standard_code(value, scheme) is not None


def elements_of(dataset: Dataset) -> Iterator[RawDataElement | DataElement]:
    """The elements as they are stored: undecoded, where nothing has decoded them."""
    yield from dataset._dict.values()


@lru_cache(maxsize=8192)
def dictionary_vr(tag: int) -> str:
    """The dictionary's VR of a tag; ``UN`` where it has none."""
    from pydicom.datadict import dictionary_VR

    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return "UN"
