"""Lone letters: letters and digits that stand alone on a picture, such as the mark of a probe or of a side.

The detector looks for lines and misses some of them. A device draws a letter in one even grey, which nothing in a
patient has: what is as small and compact as a letter, thin and of one grey is read by the second network.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medseg.privacy.boxes import Box
from medseg.privacy.ocr import read_lines
from medseg.types import Array

__all__ = ["lone_letters"]

_STROKE = 9
"""Pixels; strokes are thinner."""
_CONTRAST = 40
_LOWEST, _HIGHEST = 8, 48
"""Pixels; how high letters are."""
_WIDEST, _NARROWEST = 1.3, 0.3
"""Of the height."""
_LEAST_INK, _MOST_INK = 0.15, 0.8
"""Of the area of a letter's box."""
_INK, _EVEN = (20, 80), 4
"""The percentiles that are a dark and a light letter's grey, and how far ink lies from it in compressed pictures."""
_OF_ONE_GREY = 0.4
"""Of a letter's pixels; the others are its smoothed edge."""
_MOST = 48
"""Of dark and of light candidates, the strongest: speckle makes hundreds, and reading one takes 27 ms."""
_SURE = 0.9
_PADDING = 0.3
_READ_AT = 48
"""Pixels; the height that the network reads at."""


def lone_letters(view: Array, known: Iterable[Box]) -> list[Box]:
    """Boxes of upright letters and digits (ASCII) that stand alone, with some room around.

    Args:
        view: The picture, uint8, (rows, columns, 3).
        known: Boxes of text in it; they aren't looked into.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    import cv2

    boxes = _candidates(np.asarray(cv2.cvtColor(np.ascontiguousarray(view), cv2.COLOR_RGB2GRAY)), known)
    pieces = [view[box.top : box.bottom, box.left : box.right] for box in boxes]
    pieces = [np.asarray(cv2.resize(piece, _read_size(piece), interpolation=cv2.INTER_CUBIC)) for piece in pieces]
    return [
        box
        for box, (text, score) in zip(boxes, read_lines(pieces), strict=True)
        if len(text) == 1 and text.isascii() and text.isalnum() and score >= _SURE
    ]


def _read_size(piece: Array) -> tuple[int, int]:
    """Columns and rows."""
    rows, columns = piece.shape[:2]
    return max(1, round(columns * _READ_AT / rows)), _READ_AT


def _candidates(grey: Array, known: Iterable[Box]) -> list[Box]:
    """What has the size, the form and the even grey of a letter; of many, those of the most contrast and evenness."""
    import cv2

    covered = np.zeros(grey.shape, bool)
    for box in known:
        covered[box.top : box.bottom, box.left : box.right] = True
    kernel = np.ones((_STROKE, _STROKE), np.uint8)
    boxes: list[Box] = []
    for operation, ink in ((cv2.MORPH_BLACKHAT, _INK[0]), (cv2.MORPH_TOPHAT, _INK[1])):
        found: list[tuple[float, Box]] = []
        contrast = np.asarray(cv2.morphologyEx(grey, operation, kernel))
        thin = (contrast >= _CONTRAST).astype(np.uint8)
        count, labels, facts, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
        wide, tall, area = (facts[:, column] for column in (cv2.CC_STAT_WIDTH, cv2.CC_STAT_HEIGHT, cv2.CC_STAT_AREA))
        high = (tall >= _LOWEST) & (tall <= _HIGHEST)
        compact = (wide >= _NARROWEST * tall) & (wide <= _WIDEST * tall)
        inky = (area >= _LEAST_INK * wide * tall) & (area <= _MOST_INK * wide * tall)
        for number in np.flatnonzero(high & compact & inky & (np.arange(count) > 0)).tolist():
            left, top, width, height = (int(fact) for fact in facts[number, :4])
            if covered[top + height // 2, left + width // 2]:
                continue
            part = (slice(top, top + height), slice(left, left + width))
            own = labels[part] == number
            values = grey[part][own].astype(np.int16)
            even = float((np.abs(values - np.percentile(values, ink)) <= _EVEN).mean())
            if even >= _OF_ONE_GREY:
                strength = even * float(contrast[part][own].max())
                found.append((strength, _roomy(left, top, width, height, grey.shape)))
        found.sort(key=lambda one: -one[0])
        boxes += [box for _, box in found[:_MOST]]
    return boxes


def _roomy(left: int, top: int, width: int, height: int, shape: tuple[int, ...]) -> Box:
    room = max(2, round(_PADDING * height))
    bottom, right = min(shape[0], top + height + room), min(shape[1], left + width + room)
    return Box(max(0, top - room), max(0, left - room), bottom, right)
