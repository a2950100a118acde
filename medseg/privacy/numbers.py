"""Numbers of DICOM attributes: kept if they are numbers, as many as the standard allows, and nobody's.

A patient's number or birthday is an identity wherever it stands, also as the number of a series; and letters are bytes,
so that eight of them can be written as one floating-point number.
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
from pydicom.datadict import dictionary_has_tag, dictionary_VM, repeater_has_tag
from pydicom.dataelem import RawDataElement

from medseg.privacy.person import Person
from medseg.privacy.vocabulary import words_in

__all__ = [
    "DISPENSABLE",
    "NUMBER_WIDTHS",
    "clean_floats",
    "clean_number",
    "fits_multiplicity",
    "has_too_many_digits",
    "is_of_person",
    "may_be_missing",
]

NUMBER_WIDTHS = {"US": 2, "SS": 2, "AT": 4, "UL": 4, "SL": 4, "FL": 4, "FD": 8, "SV": 8, "UV": 8}
"""Bytes of each binary number, by value representation."""
_INTEGERS = {"US": "<u2", "SS": "<i2", "UL": "<u4", "SL": "<i4", "SV": "<i8", "UV": "<u8", "AT": "<u4"}
_FLOATS = {"FL": "<f4", "FD": "<f8"}
_NUMBER = re.compile(rb"[ \0]*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?[ \0]*\Z")
_SMALLEST, _LARGEST = 1e-30, 1e18
"""What is measured in medicine lies between, whatever its unit; text read as a floating-point number mostly doesn't."""
_RUNNING = frozenset((0x00200011, 0x00200012, 0x00200013, 0x00200019, 0x00201208, 0x00201209))
"""Numbers of series, acquisitions, instances and items: one too long to count by may be a patient's or an order's."""
_MOST_RUNNING_DIGITS = 7
_MOST_DIGITS, _MOST_OF_ROUND = 7, 5
_LARGER = {
    0x00181074: 1e10, 0x00180070: 1e10, 0x00541310: 1e10, 0x00541311: 1e10, 0x00541300: 1e8, 0x00181242: 1e8,
    0x00181060: 1e8, 0x00541322: 1e10, 0x00181075: 1e10,
}  # fmt: skip
"""Nothing is measured to more digits, but becquerels, their calibration, counts and milliseconds of a day: a longer
number is one of the many that people are filed under, or a date."""
_FLAGS = {0x00186016: 0x1F}
"""Numbers whose bits are flags, and the bits that mean something: RegionFlags (PS3.3 C.8.5.5.1.3)."""
_SHORTEST_IDENTITY = 5
DISPENSABLE = words_in(
    """
    WindowCenter WindowWidth FrameIncrementPointer LossyImageCompressionRatio MagneticFieldStrength AcquisitionDuration
    FrameAcquisitionDuration RegionFlags
    """
)
"""A copy without is whole; one with a 0 can't be shown, points to nowhere or says something false."""
_SPARE = DISPENSABLE | words_in(
    "KVP SeriesNumber InstanceNumber AcquisitionNumber TemporalPositionIdentifier ItemNumber"
)
"""Of type 1 in some classes, but nothing else of the file is read by them."""
_NEEDED = words_in(
    """
    NumberOfFrames PixelSpacing ImagerPixelSpacing PixelAspectRatio PixelPaddingValue ImagePositionPatient
    ImageOrientationPatient RescaleIntercept RescaleSlope ReferencedFrameNumber ReferencedSegmentNumber
    """
)
"""Without these a copy is read as another picture or speaks of another one, also where they are optional."""


def clean_number(tag: int, vr: str, element: RawDataElement, *, person: Person) -> bytes | None:
    """The value of a number's attribute in little endian.

    Args:
        tag: The attribute.
        vr: Its value representation by the standard.
        element: As read.
        person: Whose it is.

    Returns:
        None when it isn't a number, when there are more than the standard allows, when it reads as text, and when it is
        a number of the person's.
    """
    raw = element.value or b""
    if vr in ("DS", "IS"):
        return _of_digits(tag, raw, vr, person)
    width = NUMBER_WIDTHS[vr]
    if vr == "AT" and not _are_attributes(raw, little=element.is_little_endian):
        return None
    count, rest = divmod(len(raw), width)
    if rest or not fits_multiplicity(tag, count) or (len(raw) >= 8 and _reads_as_text(raw)):
        return None
    if not element.is_little_endian:
        step = 2 if vr == "AT" else width
        raw = np.frombuffer(raw, f">u{step}").astype(f"<u{step}").tobytes()
    if vr in _FLOATS:
        return clean_floats(raw, vr, person=person, tag=tag)
    if tag in _FLAGS:
        flags = np.frombuffer(raw, _INTEGERS[vr]) & _FLAGS[tag]
        return flags.astype(_INTEGERS[vr]).tobytes()
    if width > 2 and vr != "AT":
        values = np.frombuffer(raw, _INTEGERS[vr]).tolist()
        own = not person.numbers.isdisjoint(map(abs, values))
        return None if own or any(has_too_many_digits(value, tag) for value in values) else raw
    return raw


def has_too_many_digits(value: float, tag: int = 0) -> bool:
    """Whether a number has more digits before its point, noughts at its end apart, than anything is measured to.

    Args:
        value: The number, finite.
        tag: The attribute that holds it; a few count in becquerels or milliseconds.

    Example:
        >>> has_too_many_digits(4821390175.0), has_too_many_digits(123_250_000.0), has_too_many_digits(19870412)
        (True, False, True)
    """
    size = abs(value)
    if tag in _LARGER:
        return size >= _LARGER[tag]
    return size >= 10**_MOST_DIGITS and len(str(int(size)).rstrip("0")) > _MOST_OF_ROUND


def may_be_missing(keyword: str, required: int) -> bool:
    """Whether a copy says nothing false without a number; a 0 in its place would be false.

    Args:
        keyword: Of the attribute.
        required: 1, 2 or 3, its type in the class of image.
    """
    return keyword in _SPARE or (required != 1 and keyword not in _NEEDED)


def is_of_person(part: bytes, person: Person) -> bool:
    """Whether a number written in digits is one of the person's."""
    if len(part) < _SHORTEST_IDENTITY or not person.numbers:
        return False
    value = abs(float(part.strip(b" \0")))
    return value.is_integer() and int(value) in person.numbers


def clean_floats(raw: bytes, vr: str, *, person: Person, tag: int = 0) -> bytes | None:
    """Floating-point numbers of a size that is measured and that aren't the person's.

    Args:
        raw: Little endian, a whole number of values.
        vr: FL or FD.
        person: Whose they are.
        tag: The attribute that holds them.

    Returns:
        The numbers, each nan with the same bytes, and 0 for what is left of rounding (6e-33 of a cosine); None when
        they read as text, one is the person's, or one has more digits than a measurement.
    """
    if len(raw) >= 8 and _reads_as_text(raw):
        return None
    values = np.frombuffer(raw, _FLOATS[vr])
    sizes = np.abs(values)
    real = np.isfinite(values) & (values != 0)
    tiny = real & (sizes < _SMALLEST)
    if np.any(real & (sizes > _LARGEST)) or any(_is_printable(value.tobytes()) for value in values[tiny]):
        return None
    whole = sizes[real & (sizes >= 10_000) & (sizes == np.floor(sizes))]
    if not person.numbers.isdisjoint(whole.astype(np.int64).tolist()):
        return None
    if any(has_too_many_digits(size, tag) for size in sizes[real & (sizes >= 10**_MOST_DIGITS)].tolist()):
        return None
    kept = np.where(np.isnan(values), np.nan, np.where(tiny, 0.0, values))
    return kept.astype(_FLOATS[vr]).tobytes()


@lru_cache(maxsize=4096)
def fits_multiplicity(tag: int, count: int) -> bool:
    """Whether an attribute has no more values than the standard allows; fewer hide nothing (a dose of one plane)."""
    low, _, high = dictionary_VM(tag).partition("-")
    most = high or low
    return not most.isdigit() or count <= int(most)


def _of_digits(tag: int, raw: bytes, vr: str, person: Person) -> bytes | None:
    parts = raw.split(b"\\")
    longest = 24 if vr == "DS" else 12
    for part in parts:
        if not part.strip(b" \0"):
            continue
        if not _NUMBER.match(part) or len(part) > longest or is_of_person(part, person):
            return None
        if len(part) > _MOST_DIGITS and has_too_many_digits(_finite(part), tag):
            return None
    if tag in _RUNNING and any(len(part.strip()) > _MOST_RUNNING_DIGITS for part in parts):
        return None
    return raw.rstrip(b"\0") if fits_multiplicity(tag, len(parts)) else None


def _finite(part: bytes) -> float:
    """A number written in digits; the largest there is in the place of 1E400."""
    return max(-_LARGEST, min(_LARGEST, float(part.strip(b" \0"))))


def _are_attributes(raw: bytes, *, little: bool) -> bool:
    """Whether each value points to an attribute of the standard or to a private one, and spells nothing."""
    words = np.frombuffer(raw[: len(raw) // 4 * 4], "<u2" if little else ">u2").reshape(-1, 2).tolist()
    known = [dictionary_has_tag(tag) or repeater_has_tag(tag) for tag in (high << 16 | low for high, low in words)]
    spelt = raw.isalnum()
    return all(known[place] or (high & 1 and low >= 0x1000 and not spelt) for place, (high, low) in enumerate(words))


def _reads_as_text(raw: bytes) -> bool:
    if len(raw) == 8:
        return raw.isalpha()
    return raw.isascii() and sum(32 <= byte < 127 for byte in raw) > 0.9 * len(raw)


def _is_printable(raw: bytes) -> bool:
    return all(32 <= byte < 127 for byte in raw)
