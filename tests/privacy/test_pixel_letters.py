"""Pixel letters: the patient's name among the pixels goes, and every other pixel stays."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.privacy.pixel_letters import without_letters

NAMES = {"Vrzogalku", "4821390175", "Jana", "111111"}


def slices(kind: type) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 200, (2, 40, 60)).astype(kind)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("row", [0, 3, 36, 39])
def test_the_line_in_which_the_patient_is_named_goes_and_nothing_else(kind, row):
    values, line = slices(kind), b"VRZOGALKU^JANA 4821390175 *12.03.87"
    values[1, row] = 200
    before = values.copy()
    values[1, row, 4 : 4 + len(line)] = np.frombuffer(line, np.uint8)
    before[1, row, 4 : 4 + len(line)] = 0
    found = without_letters(
        values.tobytes() + b"\0\0", (2, 40, 60), bits=values.itemsize * 8, identities=NAMES, everywhere=False
    )
    assert found == before.tobytes() + b"\0\0"


def test_only_where_everything_is_searched_the_middle_is():
    values = slices(np.uint8)
    values[0, 20, :9] = np.frombuffer(b"Vrzogalku", np.uint8)
    for everywhere in (False, True):
        found = without_letters(values.tobytes(), (2, 40, 60), bits=8, identities=NAMES, everywhere=everywhere)
        assert (found is not None) is everywhere


@pytest.mark.parametrize("value", [ord("1"), ord("a"), 0, 255])
def test_grey_is_no_name(value):
    values = np.full((1, 30, 30), value, np.uint8)
    assert without_letters(values.tobytes(), (1, 30, 30), bits=8, identities=NAMES, everywhere=True) is None


def test_fewer_pixels_than_the_header_says_are_left_to_others():
    assert without_letters(b"Vrzogalku", (1, 30, 30), bits=8, identities=NAMES, everywhere=True) is None


def test_values_above_a_byte_are_no_letters():
    values = np.full((1, 20, 64), 300, np.uint16)
    values[0, 0, 10:19] = 0x100 + np.frombuffer(b"Vrzogalku", np.uint8).astype(np.uint16)
    values[0, 0, 30:40] = ord("A")
    assert without_letters(values.tobytes(), (1, 20, 64), bits=16, identities=NAMES, everywhere=True) is None


def test_of_dark_noise_in_which_chance_writes_a_number_nothing_else_goes():
    values = np.random.default_rng(5).normal(52, 3, (8, 480, 640)).astype(np.uint8)
    found = without_letters(values.tobytes(), values.shape, bits=8, identities=["483920"], everywhere=True)
    assert found is not None
    assert b"483920" not in found
    after = np.frombuffer(found, np.uint8)
    assert (after != values.ravel()).sum() == 6 * values.tobytes().count(b"483920") > 0
