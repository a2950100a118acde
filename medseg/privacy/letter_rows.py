"""Letter rows: where a grey picture may hold a line of letters, told in a few milliseconds without the detector.

Letters are thin strokes, in small patches of like height that stand beside each other on one line. Much else does so
too (vessels, the edges of bones); what is found here is for the detector to look at.
"""

from __future__ import annotations

import numpy as np

from medseg.privacy.boxes import Box
from medseg.types import Array

__all__ = ["letter_rows"]

_STROKE = 9
"""Pixels; strokes are thinner."""
_CONTRAST = 20
_LOWEST, _HIGHEST = 4, 52
"""Pixels; how high letters are."""
_FEWEST_PIXELS = 5
_FEWEST_SIGNS = 4
_MOST_PATCHES = 1200
"""Of more, the picture is noise or texture."""
_SPREAD = 0.3
"""Of the contrast of the letters of a row, which are of one ink: standard deviation by mean."""


def letter_rows(view: Array, *, where: Array | None = None) -> list[Box]:
    """Rectangles that may hold a line of at least four letters or digits, across or upright.

    Args:
        view: Grey picture, uint8, (rows, columns).
        where: Boolean, of the same shape; letters are only seen at these pixels and beside them. Anywhere by default.
    """
    import cv2

    kernel = np.ones((_STROKE, _STROKE), np.uint8)
    found = []
    for operation in (cv2.MORPH_TOPHAT, cv2.MORPH_BLACKHAT):
        contrast = np.asarray(cv2.morphologyEx(view, operation, kernel))
        thin = (contrast >= _CONTRAST).astype(np.uint8)
        if where is not None:
            thin &= cv2.dilate(thin * where.astype(np.uint8), np.ones((3, 3), np.uint8))
        count, labels, facts, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
        left, top, wide, tall, area = (facts[1:count, column] for column in range(5))
        peaks = _peaks(contrast, labels, count)
        boxes = np.stack([left, top, left + wide, top + tall], axis=1)
        inky = area >= _FEWEST_PIXELS
        found += [Box(y, x, end, right) for x, y, right, end in _rows(boxes[inky], peaks[inky])]
        turned = boxes[inky][:, [1, 0, 3, 2]]
        found += [Box(x, y, right, end) for x, y, right, end in _rows(turned, peaks[inky])]
    return found


def _peaks(contrast: Array, labels: Array, count: int) -> Array:
    """The highest contrast of each patch but the background."""
    peaks = np.zeros(count, np.uint8)
    inside = labels > 0
    np.maximum.at(peaks, labels[inside], contrast[inside])
    return peaks[1:].astype(np.float32)


def _rows(boxes: Array, peaks: Array) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom of the rows that patches (left, top, right, bottom) stand in, across."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    heights = boxes[:, 3] - boxes[:, 1]
    fit = (heights >= _LOWEST) & (heights <= _HIGHEST)
    boxes, heights, peaks = boxes[fit], heights[fit], peaks[fit]
    if not 2 <= len(boxes) <= _MOST_PATCHES:
        return []
    left, _, right, bottom = boxes.T
    gap = left[None, :] - right[:, None]
    high = np.maximum(heights[:, None], heights[None, :])
    level = np.abs(bottom[None, :] - bottom[:, None]) <= 0.22 * high + 1
    alike = np.minimum(heights[:, None], heights[None, :]) >= 0.55 * high
    count, rows = connected_components(csr_matrix((gap >= -2) & (gap <= 0.9 * high) & level & alike), directed=False)
    members = np.bincount(rows, minlength=count)
    signs = np.bincount(rows, np.maximum(1, np.round((right - left) / (0.75 * heights))), minlength=count)
    found = []
    for row in np.flatnonzero((members >= 2) & (signs >= _FEWEST_SIGNS)):
        own = rows == row
        if float(np.std(peaks[own])) <= _SPREAD * float(np.mean(peaks[own])):
            (x, y), (end, low) = boxes[own, :2].min(axis=0), boxes[own, 2:].max(axis=0)
            found.append((int(x), int(y), int(end), int(low)))
    return found
