"""Strokes: how many thin, strong ones stand in each block of a slice, and the slices of a series that are odd in it.

Letters on a single slice make a block of it unlike the same block of all others. Counting takes about 0.2 ms a slice of
512 x 512; it looks at a quarter of the rows, of which letters of 8 pixels touch at least one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.types import Array

__all__ = ["OddSlice", "odd_slices", "stroke_counts"]

_GRIDS = ((4, 1), (8, 3))
"""Of the rows and columns that are looked at, each so many-th: for strokes up to 3 and up to 11 pixels."""
_ROWS, _COLUMNS = 8, 64
"""Of a block, in rows and columns that are looked at."""
_ODD = 5.0
_SOMEWHAT_ODD = 2.5
_GRAIN = 1.5
_MOST = 6
_MARGIN = 24


@dataclass(frozen=True, slots=True)
class OddSlice:
    """A slice with strokes where the others of its series have none.

    Attributes:
        place: Its place in the sequence.
        where: Boolean, (rows, columns); the blocks where it is odd and some room around.
    """

    place: int
    where: Array


def stroke_counts(frame: Array, *, least: float) -> Array:
    """Pixels on thin strokes in each block of a slice, for all grids, flat.

    Args:
        frame: Stored values, (rows, columns).
        least: How much a stroke differs from both its sides, in stored values.
    """
    counts = []
    for down, across in _GRIDS:
        seen = frame[down // 2 :: down, ::across].astype(np.int32)
        left, right = seen[:, 2:-2] - seen[:, :-4], seen[:, 2:-2] - seen[:, 4:]
        stroke = ((np.minimum(left, right) > least) | (np.maximum(left, right) < -least)).view(np.uint8)
        columns = np.add.reduceat(stroke, np.arange(0, stroke.shape[1], _COLUMNS), axis=1, dtype=np.uint8)
        counts.append(np.add.reduceat(columns, np.arange(0, len(columns), _ROWS), axis=0, dtype=np.uint16).ravel())
    return np.concatenate(counts)


def odd_slices(counts: Sequence[Array], shape: tuple[int, int]) -> list[OddSlice]:
    """The slices, at most six and the oddest first, with many more strokes in a block than the others have there.

    Args:
        counts: Of each slice of a series.
        shape: Rows and columns of the slices.
    """
    table = np.stack(list(counts)).astype(np.float32)
    usual = np.median(table, axis=0)
    spread = 1.48 * np.median(np.abs(table - usual), axis=0)
    odd = (table - usual) / (spread + _GRAIN)
    highest = odd.max(axis=1)
    places = [int(place) for place in np.argsort(-highest)[:_MOST] if highest[place] >= _ODD]
    return [OddSlice(place, _where(odd[place] >= _SOMEWHAT_ODD, shape)) for place in places]


def _where(blocks: Array, shape: tuple[int, int]) -> Array:
    """Pixels of some blocks, given flat for all grids."""
    where = np.zeros(shape, bool)
    start = 0
    for down, across in _GRIDS:
        rows = len(range(down // 2, shape[0], down))
        columns = len(range(0, shape[1], across)) - 4
        grid = (-(-rows // _ROWS), -(-columns // _COLUMNS))
        own = blocks[start : start + grid[0] * grid[1]].reshape(grid)
        start += own.size
        tall, wide = _ROWS * down, _COLUMNS * across
        for row, column in np.argwhere(own):
            top, left = max(0, row * tall - _MARGIN), max(0, column * wide - _MARGIN)
            where[top : (row + 1) * tall + _MARGIN, left : (column + 1) * wide + _MARGIN] = True
    return where
