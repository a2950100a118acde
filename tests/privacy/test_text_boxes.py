"""Text boxes: found by the real detector, in the parts of a picture that have sharp edges."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medseg.privacy.boxes import Box, merged
from medseg.privacy.ocr import find_lines
from medseg.privacy.text_boxes import find_text, in_one_line

pytest.importorskip("rapidocr_onnxruntime", reason="needs the extra ocr, which Python 3.13 has not (decision 0012)")


def drawn(text: str, *, place: tuple[int, int], size: int, ink: int, ground: np.ndarray) -> np.ndarray:
    """A grey picture with a text on it."""
    image = Image.fromarray(ground)
    ImageDraw.Draw(image).text(place, text, font=ImageFont.load_default(size), fill=ink)
    return np.asarray(image)


def covered(frame: np.ndarray, boxes: set[Box]) -> np.ndarray:
    mask = np.zeros(frame.shape, bool)
    for box in boxes:
        mask[box.top : box.bottom, box.left : box.right] = True
    return mask


def coloured(frame: np.ndarray) -> np.ndarray:
    return np.repeat(frame[..., None], 3, axis=2)


def bone(size: int = 192) -> np.ndarray:
    """A bright ring on tissue, as a bone across its axis."""
    rows, columns = np.mgrid[:size, :size]
    distance = np.hypot(rows - 90, columns - 100)
    return np.where(np.abs(distance - 24) < 5, 230, np.where(distance < 85, 110, 4)).astype(np.uint8)


def test_a_bone_is_no_letter():
    assert find_text([coloured(bone())]) == set()


def test_bones_in_a_row_that_the_detector_takes_for_a_line_are_not_painted():
    chance = np.random.default_rng(10)
    rows, columns = np.mgrid[:256, :320]
    frame, left = np.full((256, 320), 90.0), 90.0
    for _ in range(int(chance.integers(2, 5))):
        tall, wide = chance.uniform(14, 30), chance.uniform(10, 22)
        inside = ((rows - 128 - chance.uniform(-6, 6)) / tall) ** 2 + ((columns - left) / wide) ** 2 < 1
        frame += np.where(inside, chance.uniform(80, 150), 0)
        left += wide * chance.uniform(1.5, 2.4)
    picture = coloured((frame + chance.normal(0, 4, frame.shape)).clip(0, 255).astype(np.uint8))
    assert find_lines(picture, scale=2.0, sure=0.6)
    assert find_text([picture]) == set()


def test_very_large_letters_count_where_they_can_be_read():
    frame = drawn("NOVAK", place=(20, 60), size=90, ink=230, ground=np.full((220, 400), 60, np.uint8))
    mask = covered(frame, find_text([coloured(frame)]))
    assert mask[frame > 150].mean() > 0.95


@pytest.mark.parametrize("turns", [0, 1, 2])
def test_faint_small_letters_on_tissue_are_found_whatever_their_direction(turns):
    ground = np.full((192, 192), 90, np.uint8)
    frame = np.rot90(drawn("DOB 12/03/1956", place=(30, 60), size=11, ink=145, ground=ground), turns)
    mask = covered(frame, find_text([coloured(np.ascontiguousarray(frame))]))
    assert mask[frame > 120].all()
    assert mask.mean() < 0.15


def test_a_picture_without_sharp_edges_is_not_given_to_the_detector(monkeypatch):
    monkeypatch.setattr("medseg.privacy.text_boxes.find_lines", lambda *_a, **_b: pytest.fail("the detector was asked"))
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None], 256, axis=0)
    assert find_text([coloured(ramp)]) == set()


def test_letters_in_the_far_corner_of_a_large_picture_are_found():
    ground = np.zeros((820, 1700), np.uint8)
    ground[790, 20:1650] = 120
    frame = drawn("NOVAKOVA JANA", place=(1400, 760), size=14, ink=255, ground=ground)
    mask = covered(frame, find_text([coloured(frame)]))
    assert mask[frame == 255].mean() > 0.9


def test_boxes_that_overlap_are_joined_until_none_do():
    chain = [Box(0, 0, 10, 10), Box(20, 20, 30, 30), Box(8, 8, 22, 22), Box(50, 50, 60, 60)]
    assert sorted(merged(chain), key=lambda box: box.top) == [Box(0, 0, 30, 30), Box(50, 50, 60, 60)]
    assert merged([Box(0, 0, 5, 5), Box(5, 0, 9, 5)]) != [Box(0, 0, 9, 5)]


@pytest.mark.parametrize("turned", [False, True])
def test_what_stands_beside_a_word_on_its_line_belongs_to_it(turned):
    def corners(left, top, right, bottom):
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
        return points[:, ::-1] if turned else points

    word = corners(100, 10, 300, 40)
    assert in_one_line(corners(60, 12, 80, 38), word)
    assert not in_one_line(corners(20, 12, 55, 38), word)
    assert in_one_line(corners(20, 12, 55, 38), word, gap=2.0)
    assert not in_one_line(corners(60, 25, 80, 55), word, gap=2.0)
