"""Strokes: the slices of a series that have some where those beside them have none."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.privacy.boxes import Box
from medseg.privacy.strokes import odd_blocks, stroke_counts

SHAPE = (256, 192)


def noise(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(900, 15, SHAPE).astype(np.int16)


@pytest.mark.parametrize("width", [2, 8])
def test_thin_strokes_are_counted_in_their_block_and_wide_things_and_noise_are_not(width):
    wide, thin = noise(0), noise(0)
    wide[100:160, 60:120] = 1900
    thin[100:160, 60 : 60 + width] = 1900
    plain = stroke_counts(noise(0), least=400).sum()
    assert plain == 0
    assert stroke_counts(wide, least=400).sum() == 0
    assert stroke_counts(thin, least=400).sum() > 0


def series(*written: int) -> list[np.ndarray]:
    slices = [noise(number) for number in range(12)]
    for number in written:
        slices[number][96:110, 20:80:6] = 1500
    return [stroke_counts(frame, least=300) for frame in slices]


@pytest.mark.parametrize("place", [0, 1, 7, 11])
def test_the_one_slice_with_strokes_is_odd_and_told_where(place):
    blocks = odd_blocks(series(place), SHAPE)
    assert {block.place for block in blocks} == {place}
    assert any(block.box == Box(96, 0, 128, 64) for block in blocks)
    assert all(block.box.top < 110 and block.box.bottom > 96 and block.box.left < 80 for block in blocks)


def test_of_a_run_of_slices_with_strokes_the_first_and_the_last_are_odd():
    assert {block.place for block in odd_blocks(series(*range(3, 10)), SHAPE)} == {3, 9}


def test_a_series_of_like_slices_has_no_odd_one():
    assert odd_blocks(series(), SHAPE) == odd_blocks(series(*range(12)), SHAPE) == []


@pytest.mark.parametrize("top", [0, 40000])
def test_values_beyond_16_bits_are_counted_as_the_same_values_within(top):
    frame = np.full(SHAPE, 900, np.uint16)
    frame[96:110, 20:80:6] = 1500
    assert (stroke_counts(frame + np.uint16(top), least=300) == stroke_counts(frame, least=300)).all()
