from __future__ import annotations

import numpy as np

from medseg.privacy.sheet import contact_sheet


def test_a_file_of_one_frame_is_its_own_sheet() -> None:
    frame = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.array_equal(contact_sheet(1, lambda _number: frame), frame)


def test_text_on_any_one_of_many_frames_shows_on_the_sheet() -> None:
    for value in (255, 0):
        for hidden in (0, 37, 99):
            frames = np.full((100, 20, 30, 3), 90, np.uint8)
            frames[hidden, 5:9, 10:20] = value
            sheet = contact_sheet(100, frames.__getitem__)
            assert (sheet == value).sum() >= 4 * 10 * 3


def test_all_of_a_few_frames_are_shown_in_their_order() -> None:
    frames = np.stack([np.full((16, 16, 3), 10 * number + 5, np.uint8) for number in range(5)])
    sheet = contact_sheet(5, frames.__getitem__)
    found = [int(value) for value in dict.fromkeys(sheet[8, :, 0].tolist() + sheet[28, :, 0].tolist()) if value != 128]
    assert found == [5, 15, 25, 35, 45]
    assert sheet.shape == (56, 56, 3)
