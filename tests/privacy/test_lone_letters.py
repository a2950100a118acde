"""Lone letters: a mark that stands alone on a picture with text, which the detector for lines misses."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medseg.privacy.boxes import Box
from medseg.privacy.lone_letters import lone_letters
from medseg.privacy.text_boxes import find_text

pytest.importorskip("rapidocr_onnxruntime", reason="needs the extra ocr, which Python 3.13 has not (decision 0012)")

MARK = (102, 108)


def button(rows: int = 240, columns: int = 320) -> np.ndarray:
    """A shaded round button with a P, as a probe's mark, beside a picture's edge."""
    down, across = np.mgrid[:rows, :columns].astype(np.float32)
    away = np.hypot(down - MARK[0], across - MARK[1])
    frame = np.where(away < 13, 60 + 40 * np.cos(away / 4) * (down < MARK[0]), 0)
    frame[90:, 124:] = 60 + 30 * np.sin(down[90:, 124:] / 7)
    image = Image.fromarray(frame.clip(0, 255).astype(np.uint8))
    ImageDraw.Draw(image).text((MARK[1] - 4, MARK[0] - 8), "P", font=ImageFont.load_default(13), fill=161)
    return np.repeat(np.asarray(image)[..., None], 3, axis=2)


def holds(boxes: set[Box] | list[Box], row: int, column: int) -> bool:
    return any(box.top <= row < box.bottom and box.left <= column < box.right for box in boxes)


def test_a_mark_is_found_and_what_is_beside_it_is_not_painted():
    found = lone_letters(button(), ())
    assert holds(found, *MARK)
    assert all(box.right < 126 and box.bottom < 120 for box in found)


def test_nothing_is_sought_inside_known_text():
    assert lone_letters(button(), [Box(85, 90, 120, 125)]) == []


def test_a_mark_counts_on_a_picture_with_text_only():
    frame = button()
    assert not holds(find_text([frame]), *MARK)
    image = Image.fromarray(frame)
    ImageDraw.Draw(image).text((8, 20), "Adv Breast", font=ImageFont.load_default(18), fill=(230, 230, 230))
    boxes = find_text([np.asarray(image)])
    assert holds(boxes, 32, 40)
    assert holds(boxes, *MARK)


def test_a_mark_beside_speckle_is_found():
    import cv2

    speckle = cv2.GaussianBlur(np.random.default_rng(0).normal(40, 20, (768, 1024)).astype(np.float32), (0, 0), 1.5)
    frame = (40 + (speckle - speckle.mean()) * 20 / speckle.std()).clip(0, 255).astype(np.uint8)
    frame[490:540, 10:60] = 0
    cv2.putText(frame, "L", (25, 525), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 200, 1, cv2.LINE_AA)
    assert holds(lone_letters(np.repeat(frame[..., None], 3, axis=2), ()), 519, 31)


def test_noise_has_no_letters():
    noise = np.random.default_rng(3).integers(0, 256, (200, 200), np.uint8)
    assert lone_letters(np.repeat(noise[..., None], 3, axis=2), ()) == []
    assert lone_letters(np.zeros((5, 7, 3), np.uint8), ()) == []
