"""Run lengths: a mask as the lengths of its alternating runs, the first one of background, as COCO and CVAT store it.

COCO counts along columns (down the rows of the first column, then the second), which is the order of an array with axes
(x, y); CVAT counts along rows. COCO's compressed form is a text: each number in groups of five bits, least significant
first, offset by 48, a sixth bit says that more follow; from the fourth number on the difference to the one before last.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from medseg.errors import LabelError
from medseg.privacy.limits import MAX_PIXELS

__all__ = ["compress_runs", "expand_runs", "mask_of_runs", "runs_of_mask"]

_OFFSET: Final = 48
_LONGEST: Final = 13
"""Groups of five bits that a number may have; 64 bits hold no more."""


def runs_of_mask(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs along an array's last axis first, the first run of False (0 when the mask starts with True).

    Example:
        >>> runs_of_mask(np.array([[False, True], [True, True]]))
        [1, 3]
    """
    flat = mask.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def mask_of_runs(runs: Sequence[int], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The mask of this shape; the opposite of `runs_of_mask`.

    Raises:
        LabelError: The runs don't fill the shape, or it is too large.
    """
    pixels = shape[0] * shape[1]
    if min(shape) < 1 or pixels > MAX_PIXELS:
        raise LabelError(f"a mask in run lengths: expected 1 to {MAX_PIXELS:,} pixels; found {pixels:,}")
    if any(run < 0 for run in runs) or sum(runs) != pixels:
        raise LabelError(f"run lengths don't fill their picture: expected {pixels:,} pixels; found another sum")
    values = np.zeros(len(runs), dtype=bool)
    values[1::2] = True
    return np.repeat(values, np.asarray(runs, dtype=np.int64)).reshape(shape)


def compress_runs(runs: Sequence[int]) -> str:
    """COCO's compressed text.

    Example:
        >>> compress_runs([6, 1, 40, 4, 5, 4, 5, 4, 21])
        '61X13mN000`0'
    """
    characters = []
    for number, run in enumerate(runs):
        value = run - runs[number - 2] if number > 2 else run
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != -1 if group & 0x10 else value != 0
            characters.append(chr((group | 0x20 if more else group) + _OFFSET))
    return "".join(characters)


def expand_runs(text: str) -> list[int]:
    """Run lengths of COCO's compressed text.

    Raises:
        LabelError: The text is cut off or holds other characters.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        group = ord(character) - _OFFSET
        if not 0 <= group < 64 or shift >= 5 * _LONGEST:
            raise LabelError("a compressed mask is damaged; export it again")
        value |= (group & 0x1F) << shift
        shift += 5
        if not group & 0x20:
            if group & 0x10:
                value |= -1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    if shift:
        raise LabelError("a compressed mask is cut off; export it again")
    return runs
