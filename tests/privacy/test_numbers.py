"""Numbers: what is one stays; what spells a name, or is a number of the patient's, doesn't."""

from __future__ import annotations

import struct

import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from medseg.privacy.numbers import clean_number, has_too_many_digits, may_be_missing
from medseg.privacy.person import Person

WHO = Person(
    key="k", pseudonym="P", shift_days=-40, zone_minutes=None, words=frozenset(), numbers=frozenset({57812181})
)


def cleaned(tag: int, vr: str, value: bytes) -> bytes | None:
    return clean_number(tag, vr, RawDataElement(BaseTag(tag), vr, len(value), value, 0, False, True, True), person=WHO)


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00181060, "DS", b"57812181"), (0x00181060, "DS", b"5.7812181e7"), (0x00200012, "IS", b"+57812181 "),
        (0x00189073, "FD", b"Novakova"), (0x00189073, "FD", struct.pack("<d", 57812181)),
        (0x00189073, "FD", struct.pack("<d", 1e200)), (0x00180060, "DS", b"120\\130"), (0x00180060, "DS", b"120 kV"),
        (0x00720074, "FL", b"jana"), (0x00209157, "UL", struct.pack("<I", 57812181)),
    ],
)  # fmt: skip
def test_names_and_numbers_of_the_patient_go(tag, vr, value):
    assert cleaned(tag, vr, value) is None


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00181060, "DS", b"57812182"), (0x00181110, "DS", b"-578.12181"), (0x00189073, "FD", struct.pack("<d", 0.1)),
        (0x00209157, "UL", struct.pack("<II", 1, 7)), (0x00280010, "US", b"AB"), (0x00180060, "DS", b"120 "),
        (0x3004000C, "DS", b"0 "), (0x00209157, "UL", struct.pack("<I", 70000)),
    ],
)  # fmt: skip
def test_other_numbers_stay_as_they_are(tag, vr, value):
    assert cleaned(tag, vr, value) == value


def test_each_nan_has_the_same_bytes():
    assert cleaned(0x00189073, "FD", b"Novako\xf8\x7f") == struct.pack("<d", float("nan"))


@pytest.mark.parametrize(("vr", "kind"), [("SL", "<i"), ("SV", "<q")])
def test_a_number_of_the_patient_goes_below_zero_too(vr, kind):
    tag = 0x0048021E if vr == "SL" else 0x00720082
    assert cleaned(tag, vr, struct.pack(kind, -57812181)) is None
    assert cleaned(tag, vr, struct.pack(kind, -5781218)) == struct.pack(kind, -5781218)


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00180060, "DS", b"4821390175"), (0x00180084, "DS", b"19510702"), (0x00181150, "IS", b"1468252297"),
        (0x00281050, "DS", b"4.821390175E9"), (0x00189087, "FD", struct.pack("<d", 649399364)),
        (0x00660002, "UL", struct.pack("<I", 1468252297)), (0x00181060, "DS", b"4821390175"),
        (0x00180084, "DS", b"19900620"), (0x00180084, "DS", b"1768146000"),
        (0x00280009, "AT", b"TROU"), (0x00280009, "AT", b"SRUO"),
    ],
)  # fmt: skip
def test_numbers_longer_than_anything_is_measured_to_go_whoever_they_belong_to(tag, vr, value):
    assert cleaned(tag, vr, value) is None


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00181074, "DS", b"302540448"), (0x00181074, "DS", b"3.7E+8"), (0x00541300, "DS", b"81234567.5"),
        (0x00180084, "DS", b"123.25319482"), (0x00189087, "FD", struct.pack("<d", 3e9)),
        (0x00280009, "AT", bytes.fromhex("18006310")), (0x00209165, "AT", bytes.fromhex("05200110")),
    ],
)  # fmt: skip
def test_becquerels_milliseconds_round_numbers_and_pointers_to_attributes_stay(tag, vr, value):
    assert cleaned(tag, vr, value) == value


def test_what_is_left_of_rounding_is_zero_and_digits_written_as_a_number_go():
    assert cleaned(0x00189073, "FD", struct.pack("<d", 3.749399456654644e-33)) == bytes(8)
    assert cleaned(0x00189073, "FD", b"\x0157812\x31\x31") == bytes(8)
    assert cleaned(0x00189073, "FD", b"57812182") is None


@pytest.mark.parametrize(
    ("keyword", "required", "missing"),
    [("ImageOrientationPatient", 1, False), ("RescaleSlope", 3, False), ("DiffusionBValue", 1, False),
     ("ReferencedFrameNumber", 3, False), ("RepetitionTime", 2, True), ("WindowWidth", 1, True)],
)  # fmt: skip
def test_a_copy_is_not_made_without_a_number_that_it_is_read_by(keyword, required, missing):
    assert may_be_missing(keyword, required) is missing


def test_the_calibration_of_a_scanner_counts_in_more_digits_than_a_measurement():
    assert not has_too_many_digits(31811984.0, 0x00541322)
    assert has_too_many_digits(31811984.0, 0x00180050)
