"""Strokes: how many thin, strong ones stand in each block of a slice, and the blocks that are odd in their series.

Letters give a block of a slice more strokes than the same block has on the slices beside it. Counting takes about 0.2
ms a slice of 512 x 512; it looks at a quarter of the rows, of which letters of 8 pixels touch at least one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

import numpy as np

from medseg.privacy.boxes import Box
from medseg.types import Array

__all__ = ["OddBlock", "odd_blocks", "stroke_counts"]

_GRIDS = ((4, 1), (8, 3))
"""Of the rows and columns that are looked at, each so many-th: for strokes up to 3 and up to 11 pixels."""
_ROWS, _COLUMNS = 8, 64
"""Of a block, in rows and columns that are looked at; the columns are the bits of a word."""
_GRAIN = 1.5
_AROUND = (-2, -1, 1, 2)
_BEFORE, _AFTER = (-3, -2, -1), (1, 2, 3)
_FEWEST_ON_A_SIDE = 2
_ODD_AROUND = 2.0
_ODD_ON_A_SIDE = 3.0
_SMALL = 16384
"""Differences of values below it fit into 16 bits."""


@dataclass(frozen=True, slots=True)
class OddBlock:
    """A block of a slice with more strokes than the slices beside it have there.

    Attributes:
        place: The slice's place in the sequence.
        box: The block's pixels.
    """

    place: int
    box: Box


def stroke_counts(frame: Array, *, least: float) -> Array:
    """Pixels on thin strokes in each block of a slice, for all grids, flat.

    Args:
        frame: Stored values, (rows, columns).
        least: How much a stroke differs from both its sides, in stored values.
    """
    step = max(1, int(least))
    counts = []
    for down, across in _GRIDS:
        seen = frame[down // 2 :: down, ::across]
        small = seen.dtype.itemsize == 1 or (int(seen.max()) < _SMALL and int(seen.min()) > -_SMALL)
        seen = seen.astype(np.int16 if small and step < _SMALL else np.int32)
        # Row behind row: numpy is twice as fast on one long row, whose pixels at the sides are left out below.
        middle, left, right = seen.ravel()[2:-2], seen.ravel()[:-4], seen.ravel()[4:]
        stroke = np.zeros(seen.shape, bool)
        stroke.ravel()[2:-2] = (middle - np.maximum(left, right) > step) | (np.minimum(left, right) - middle > step)
        bits = np.packbits(stroke[:, 2:-2], axis=1)
        words = np.zeros((len(bits), -(-bits.shape[1] // 8) * 8), np.uint8)
        words[:, : bits.shape[1]] = bits
        columns = np.bitwise_count(words.view(np.uint64))
        counts.append(np.add.reduceat(columns, np.arange(0, len(columns), _ROWS), axis=0, dtype=np.uint16).ravel())
    return np.concatenate(counts)


def odd_blocks(counts: Sequence[Array], shape: tuple[int, int]) -> list[OddBlock]:
    """Blocks with more strokes than the slices beside have there, the oddest first; of at least four slices.

    Text on one slice is odd among the two slices before and the two after it; text on some in a row is so on its first
    and its last slice, against the three slices before or after. Both kinds take turns in the list.

    Args:
        counts: Of each slice of a series, in the order of their positions.
        shape: Rows and columns of the slices.
    """
    table = np.stack(list(counts)).astype(np.float32)
    count = len(table)
    place = np.arange(count)[:, None]
    beside = place + np.array(_AROUND)
    beside = np.where(beside < 0, beside + 5, np.where(beside >= count, beside - 5, beside)).clip(0, count - 1)
    sides = [_excess(table, (place + np.array(steps)).clip(0, count - 1)) for steps in (_BEFORE, _AFTER)]
    sides[0][:_FEWEST_ON_A_SIDE] = sides[1][count - _FEWEST_ON_A_SIDE :] = 0
    kinds = ((_excess(table, beside), _ODD_AROUND), (np.maximum(*sides), _ODD_ON_A_SIDE))
    ranked = [np.argsort(-odd, axis=None)[: np.count_nonzero(odd >= least)].tolist() for odd, least in kinds]
    mixed = dict.fromkeys(cell for cell in chain.from_iterable(zip_longest(*ranked)) if cell is not None)
    boxes = _boxes(shape)
    return [OddBlock(cell // len(boxes), boxes[cell % len(boxes)]) for cell in mixed]


def _excess(table: Array, beside: Array) -> Array:
    """How far each count (slice, block) lies above the highest of some slices (slice, other slices) beside it."""
    highest, mean = np.zeros_like(table), np.zeros_like(table)
    for others in beside.T:
        np.maximum(highest, table[others], out=highest)
        mean += table[others] / beside.shape[1]
    return (table - highest) / (_GRAIN + np.sqrt(mean))


def _boxes(shape: tuple[int, int]) -> list[Box]:
    """Each block, in the order of the counts."""
    found = []
    for down, across in _GRIDS:
        rows = len(range(down // 2, shape[0], down))
        columns = len(range(0, shape[1], across)) - 4
        tall, wide = _ROWS * down, _COLUMNS * across
        found += [
            Box(top, left, min(top + tall, shape[0]), min(left + wide, shape[1]))
            for top in range(0, rows * down, tall)
            for left in range(0, columns * across, wide)
        ]
    return found
