"""Text on a series: what stands still, what is on one slice only, and what the detector isn't asked about."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medseg.privacy import series_text
from medseg.privacy.series_text import has_odd_text, has_still_text, series_has_text
from tests.privacy.corpus import Who, image, save

pytest.importorskip("rapidocr_onnxruntime")
SIZE = 192


def ink(size: int = 16) -> np.ndarray:
    picture = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(picture).text((30, 120), "NOVAKOVA 4711", font=ImageFont.load_default(size), fill=255)
    return np.asarray(picture) > 127


def anatomy(number: int) -> np.ndarray:
    """A body with a bone that moves from slice to slice, and noise; 12 bits."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    body = np.where(np.hypot(rows - 96, columns - 96) < 88, 1000, 30)
    bone = np.abs(np.hypot(rows - 70, columns - 50 - 6 * number) - 18) < 4
    noise = np.random.default_rng(number).normal(0, 25, (SIZE, SIZE))
    return (body + 1200 * bone + noise).clip(0, 4095).astype(np.uint16)


def series(*written: int, count: int = 12, value: int = 1700) -> list[np.ndarray]:
    frames = [anatomy(number) for number in range(count)]
    for number in written:
        frames[number][ink()] = value
    return frames


def odd(frames: list[np.ndarray]) -> bool:
    return has_odd_text(len(frames), lambda place: frames[place], samples=frames[::3])


@pytest.mark.parametrize("value", [1700, 300])
def test_text_on_all_slices_stands_still(value):
    assert has_still_text(series(*range(12), value=value))


@pytest.mark.parametrize("place", [0, 5, 11])
def test_text_on_one_slice_makes_it_odd(place):
    frames = series(place)
    assert not has_still_text(frames[::2])
    assert odd(frames)


def test_text_on_one_of_two_frames_is_found():
    assert has_still_text(series(1, count=2))


def test_an_ordinary_series_does_not_start_the_detector(monkeypatch):
    monkeypatch.setattr(series_text, "find_text", lambda *_a, **_b: pytest.fail("the detector was asked"))
    assert not has_still_text(series())
    assert not odd(series())
    same = np.random.default_rng(0).integers(0, 4000, (SIZE, SIZE), dtype=np.uint16)
    assert not has_still_text([same] * 8)
    assert not odd([same] * 8)


def test_slices_of_a_series_are_read_from_their_files(tmp_path):
    first = image(Who(random.Random(3)), size=SIZE, stored=12)
    answers = []
    for place in (None, 6):
        paths = []
        for number, frame in enumerate(series(*([] if place is None else [place]))):
            ds = copy.deepcopy(first)
            ds.PixelData = frame.tobytes()
            paths.append(tmp_path / f"{place}_{number}.dcm")
            paths[-1].write_bytes(save(ds))
        answers.append(series_has_text(paths))
    assert answers == [False, True]


def test_frames_too_small_for_letters_are_left_out(tmp_path):
    path = tmp_path / "small.dcm"
    path.write_bytes(save(image(Who(random.Random(4)), size=12)))
    assert not series_has_text([path] * 5)
