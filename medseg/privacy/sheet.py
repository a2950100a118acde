"""Contact sheet: the frames of one file on one picture, for a person who decides whether it may go out.

Nothing may hide on a frame that isn't shown: beside frames from first to last stand the brightest and the darkest value
that each place has on any frame, on which a text shows even if it is on one frame only.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from medseg.types import Array

__all__ = ["contact_sheet"]

_MOST_FRAMES = 10
_GAP = 4


def contact_sheet(count: int, picture: Callable[[int], Array]) -> Array:
    """Frames side by side, in rows.

    Args:
        count: Number of frames.
        picture: The frame of a number as a picture (rows, columns, 3), uint8; all of one size.

    Returns:
        A picture (rows, columns, 3): up to 10 frames from first to last and, where there are more than one, the
        brightest and the darkest value of each place on all frames.
    """
    first = picture(0)
    if count == 1:
        return first
    shown = set(np.linspace(0, count - 1, min(count, _MOST_FRAMES)).round().astype(int).tolist())
    tiles = [first]
    brightest = darkest = first
    for number in range(1, count):
        frame = picture(number)
        brightest, darkest = np.maximum(brightest, frame), np.minimum(darkest, frame)
        if number in shown:
            tiles.append(frame)
    tiles += [brightest, darkest]
    rows, columns, colours = tiles[0].shape
    across = math.ceil(math.sqrt(len(tiles) * (rows + _GAP) / (columns + _GAP)))
    down = math.ceil(len(tiles) / across)
    sheet = np.full((down * (rows + _GAP) - _GAP, across * (columns + _GAP) - _GAP, colours), 128, np.uint8)
    for place, tile in enumerate(tiles):
        top, left = (place // across) * (rows + _GAP), (place % across) * (columns + _GAP)
        sheet[top : top + rows, left : left + columns] = tile
    return sheet
