"""Letter rows: found without the detector."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from medseg.privacy.letter_rows import letter_rows

pytest.importorskip("cv2")


def written(*, turns: int = 0, ink: int = 200, ground: int = 90, size: int = 16) -> np.ndarray:
    image = Image.new("L", (200, 160), ground)
    ImageDraw.Draw(image).text((30, 60), "MRN 4711-0815", font=ImageFont.load_default(size), fill=ink)
    return np.ascontiguousarray(np.rot90(np.asarray(image), turns))


@pytest.mark.parametrize("turns", [0, 1])
@pytest.mark.parametrize(("ink", "ground"), [(200, 90), (30, 90)])
def test_a_line_of_light_or_dark_letters_is_a_row_across_or_upright(ink, ground, turns):
    view = written(turns=turns, ink=ink, ground=ground)
    rows, columns = np.nonzero(view != ground)
    boxes = letter_rows(view)
    assert boxes
    assert min(box.top for box in boxes) <= rows.min() + 3
    assert max(box.bottom for box in boxes) >= rows.max() - 3
    assert min(box.left for box in boxes) <= columns.min() + 3
    assert max(box.right for box in boxes) >= columns.max() - 3


def test_only_the_pixels_asked_for_count():
    view = written()
    assert letter_rows(view, where=np.zeros(view.shape, bool)) == []


def test_noise_an_even_picture_and_one_long_line_have_no_rows():
    noise = np.random.default_rng(0).integers(0, 256, (512, 512)).astype(np.uint8)
    line = np.full((160, 200), 60, np.uint8)
    line[80:83, 10:190] = 220
    for view in (noise, np.full((160, 200), 7, np.uint8), line):
        assert letter_rows(view) == []
