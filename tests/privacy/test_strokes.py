"""Strokes: the slice of a series that has some where the others have none."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.privacy.strokes import odd_slices, stroke_counts

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


def test_the_one_slice_with_strokes_is_odd_and_told_where():
    slices = [noise(number) for number in range(12)]
    slices[7] = slices[7].copy()
    slices[7][96:110, 20:80:6] = 1500
    odd = odd_slices([stroke_counts(frame, least=300) for frame in slices], SHAPE)
    assert [one.place for one in odd] == [7]
    assert odd[0].where[96:110, 20:80].all()
    assert odd[0].where.mean() < 0.7


def test_a_series_of_like_slices_has_no_odd_one():
    slices = [noise(number) for number in range(12)]
    for frame in slices:
        frame[96:110, 20:80:6] = 1500
    assert odd_slices([stroke_counts(frame, least=300) for frame in slices], SHAPE) == []
