"""Text boxes: where text stands in a picture.

Text has sharp edges. Parts of a picture without any (background, smooth tissue) are left out; the detector sees the
others at twice their size, as letters of 8 pixels need it, as they are and with their fine detail made stronger. It
takes a bone or an organ for text at times, so what is as high as wide and larger than small print, or higher than the
lines that devices write, counts only if the second network reads something in it. Lines count unread: it doesn't know
every script. Letters that stand alone are missed at times; on a picture with text they are looked for once more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from medseg.privacy.boxes import Box, merged
from medseg.privacy.lone_letters import lone_letters
from medseg.privacy.ocr import find_lines, read_any_way
from medseg.types import Array

__all__ = ["find_text", "in_one_line", "shows_text"]

_SURE = 0.6
_SCALE = 2.0
_QUICK_SCALE = 1.4
_NEAR_SCALE = 3.0
_NEAR_SIDE = 256
_ROOM = 16
_MARGIN = 12
_SMOOTH = 12.0
_STRONGER = 3.0
_MOST_SEEN = 2_400_000
"""Pixels that the detector sees of one view; of more, at most the picture in its own size."""
_TILE = 1536
_OVERLAP = 64
_EDGE = 38
"""Grey values between a pixel and its neighbours (15 % of the scale) from which it lies on a sharp edge."""
_CELL = 32
_FEWEST_EDGES = 6
_PADDING = 0.3
_LOWEST = 6.0
"""Pixels; nothing can be read in lower lines."""
_TALL = 48.0
"""Pixels; letters of 40 pixels give lines as high as this."""
_SMALL_PRINT = 24.0
"""Pixels; up to this height a box counts whatever its form."""
_COMPACT = 1.7
_SLOPE = 0.15
"""Of letters larger than small print: devices write across or upright."""
_READ, _WELL_READ = 0.5, 0.75
"""How sure the network has to be of what it reads in a compact or slanting find, and in a higher one."""


def find_text(views: Sequence[Array], *, quick: bool = False) -> set[Box]:
    """Boxes of text in a picture.

    Args:
        views: The picture, uint8, (rows, columns, 3), in one or several grey scales.
        quick: Look less closely, as at what was painted over already.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    boxes: set[Box] = set()
    for view in views:
        parts = _sharp_parts(view)
        seen = sum((part.bottom - part.top) * (part.right - part.left) for part in parts)
        scale = max(1.0, min(_QUICK_SCALE if quick else _SCALE, (_MOST_SEEN / max(seen, 1)) ** 0.5))
        tiles = [tile for whole in parts for tile in _tiles(whole, int(_TILE / scale))]
        for part in tiles:
            boxes.update(_padded(line, *view.shape[:2]) for line in _lines(view, part, scale=scale))
        if quick or not parts:
            continue
        even = _evened(view)
        for part in tiles:
            faint = (line for line in _seen(even, part, scale=scale) if _LOWEST <= _sides(line)[0] <= _SMALL_PRINT)
            boxes.update(_padded(line, *view.shape[:2]) for line in faint)
    if boxes and not quick:
        boxes.update(letter for view in views for letter in lone_letters(view, set(boxes)))
    return boxes


def shows_text(view: Array) -> bool:
    """Whether there is text in a part of a grey picture, uint8, (rows, columns); a single look, none from near.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    picture = np.repeat(view[..., None], 3, axis=2)
    scale = max(1.0, min(_SCALE, (_MOST_SEEN / view.size) ** 0.5))
    parts = _tiles(Box(0, 0, *view.shape), int(_TILE / scale))
    return any(_is_text(picture, line) for part in parts for line in _seen(picture, part, scale=scale))


def _evened(view: Array) -> Array:
    """A picture's fine detail, stronger, on even grey: small faint letters on tissue stand out in it."""
    import cv2

    detail = view.astype(np.float32) - cv2.GaussianBlur(view, (0, 0), _SMOOTH).astype(np.float32)
    return np.asarray(np.clip(128 + _STRONGER * detail, 0, 255), np.uint8)


def _lines(view: Array, part: Box, *, scale: float) -> list[Array]:
    """Polygons, (4, 2), of the text in a part of a picture.

    Of what doesn't count as text a second look, from near, is taken at what lies in and beside it: a letter across a
    bone's edge is seen as one thing with the bone. A word of one letter counts in a line with others.
    """
    found = list(_seen(view, part, scale=scale))
    counting = [_is_text(view, line) for line in found]
    lines = [line for line, counts in zip(found, counting, strict=True) if counts]
    other = [line for line, counts in zip(found, counting, strict=True) if not counts]
    beside = [line for line in other if any(in_one_line(line, word) for word in lines)]
    for line in other:
        left, top = np.maximum(line.min(axis=0) - _ROOM, 0)
        right, bottom = line.max(axis=0) + _ROOM
        if max(right - left, bottom - top) <= _NEAR_SIDE:
            near = Box(int(top), int(left), int(bottom) + 1, int(right) + 1)
            lines += [piece for piece in _seen(view, near, scale=_NEAR_SCALE) if _is_text(view, piece)]
    return lines + beside


def in_one_line(line: Array, word: Array, *, gap: float = 1.0) -> bool:
    """Whether something is as high as a word and stands beside it on its line, across or upright.

    Args:
        line: Corners of the thing, (4, 2), x and y in pixels.
        word: Corners of the word.
        gap: The widest gap between them, in heights of the word.
    """
    (left, top), (right, bottom) = line.min(axis=0), line.max(axis=0)
    (start, high), (end, low) = word.min(axis=0), word.max(axis=0)
    if end - start < low - high:
        left, top, right, bottom = top, left, bottom, right
        start, high, end, low = high, start, low, end
    height = low - high
    alike = abs(top - high) <= 0.3 * height and abs(bottom - low) <= 0.3 * height
    return bool(alike and max(left - end, start - right) <= gap * height)


def _seen(view: Array, part: Box, *, scale: float) -> Iterator[Array]:
    """What the detector finds in a part, which it sees with a margin: letters at the very edge are missed without."""
    crop = view[part.top : part.bottom, part.left : part.right]
    margin = ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0))
    start, end = (part.left, part.top), (part.right, part.bottom)
    for polygon in find_lines(np.pad(crop, margin, mode="edge"), scale=scale, sure=_SURE):
        yield np.clip(polygon - _MARGIN + np.array(start), start, end)


def _sharp_parts(view: Array) -> list[Box]:
    """Rectangles that don't overlap and hold all sharp edges, with some room around."""
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    sharp = (cv2.dilate(view, kernel) - cv2.erode(view, kernel)).max(axis=2) >= _EDGE
    rows, columns = sharp.shape
    height, width = -(-rows // _CELL), -(-columns // _CELL)
    padded = np.zeros((height * _CELL, width * _CELL), bool)
    padded[:rows, :columns] = sharp
    busy = padded.reshape(height, _CELL, width, _CELL).sum((1, 3)) >= _FEWEST_EDGES
    roomy = cv2.dilate(busy.astype(np.uint8), kernel)
    count, _, facts, _ = cv2.connectedComponentsWithStats(roomy, connectivity=8)
    cells = [Box(top, left, top + tall, left + wide) for left, top, wide, tall, _ in facts[1:count].tolist()]
    return [
        Box(box.top * _CELL, box.left * _CELL, min(rows, box.bottom * _CELL), min(columns, box.right * _CELL))
        for box in merged(cells)
    ]


def _tiles(whole: Box, side: int) -> Iterator[Box]:
    """Parts of a rectangle, no side longer than this, that overlap where there are several."""
    for top, bottom in _spans(whole.top, whole.bottom, side):
        for left, right in _spans(whole.left, whole.right, side):
            yield Box(top, left, bottom, right)


def _spans(start: int, end: int, side: int) -> list[tuple[int, int]]:
    length = end - start
    if length <= side:
        return [(start, end)]
    count = -(-(length - _OVERLAP) // (side - _OVERLAP))
    each = -(-(length + (count - 1) * _OVERLAP) // count)
    return [(int(place), int(place) + each) for place in np.linspace(start, end - each, count)]


def _is_text(view: Array, points: Array) -> bool:
    """Whether a find counts: by its form as long as it is as small as devices' text, else if it can be read."""
    sides = points[[1, 3]] - points[0]
    low, high = _sides(points)
    if low <= _SMALL_PRINT:
        return low >= _LOWEST
    straight = bool((np.abs(sides).min(axis=1) <= _SLOPE * np.abs(sides).max(axis=1)).all())
    if low <= _TALL and high >= _COMPACT * low and straight:
        return True
    return any(
        sum(sign.isalnum() for sign in text) >= 2 and score >= (_READ if low <= _TALL else _WELL_READ)
        for text, score in read_any_way(view, points)
    )


def _sides(points: Array) -> tuple[float, float]:
    """The shorter and the longer side of a rectangle, (4, 2)."""
    low, high = sorted(float(np.linalg.norm(points[end] - points[0])) for end in (1, 3))
    return low, high


def _padded(polygon: Array, rows: int, columns: int) -> Box:
    left, top = polygon.min(axis=0)
    right, bottom = polygon.max(axis=0)
    pad = max(2.0, _PADDING * min(bottom - top, right - left))
    return Box(
        max(0, int(top - pad)),
        max(0, int(left - pad)),
        min(rows, int(bottom + pad) + 1),
        min(columns, int(right + pad) + 1),
    )
