"""Text on a series: a look at every series, whatever its class says about text in its pixels.

Text that a device or an archive writes into its images is mostly on every slice, in one place, of one value: on frames
spread over the series it stands still while anatomy and noise don't. Text on some slices only gives them more thin
strokes in one place than the slices beside have there: these are counted (`strokes`) on every slice. The detector looks
only where rows of letters stand still or a slice has more strokes, so that an ordinary series costs some milliseconds
and 0.3 ms a slice; slices that are stored compressed have to be decoded for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from medseg.privacy.boxes import Box, merged
from medseg.privacy.letter_rows import letter_rows
from medseg.privacy.ocr import require_ocr
from medseg.privacy.pixels import can_be_read, grey_views
from medseg.privacy.series_frames import SeriesSlice, grey_frames, series_slices, spread
from medseg.privacy.strokes import OddBlock, odd_blocks, stroke_counts
from medseg.privacy.text_boxes import find_text, shows_text
from medseg.types import Array

__all__ = ["GreyScale", "has_still_text", "odd_slices", "slices_with_text", "text_can_be_read"]

_FRAMES = 8
_FEWEST_FOR_STILL, _FEWEST_FOR_ODD = 3, 4
"""Frames; fewer are looked at one by one."""
_STILL = 0.03
_STROKE = 0.12
"""Of the grey scale: how far a text's pixels may differ from frame to frame, and a stroke from what lies beside it."""
_ROOM = 48
_BLOCK_ROOM = 40
"""Pixels around rows of letters and around odd blocks that the detector sees, too."""
_PATIENCE = 20
"""So many odd parts without text in a row, and the others, which are less odd, aren't looked at."""
_MANY_BLOCKS = 4
"""Of one slice; where there are so many, all of it is looked at."""


@dataclass(frozen=True, slots=True)
class GreyScale:
    """The grey scale of a series: the stored values shown as black and as white."""

    low: float
    high: float

    @classmethod
    def of(cls, frames: Sequence[Array]) -> GreyScale:
        """That of some frames, each (rows, columns)."""
        low, high = np.percentile(np.concatenate([frame[::3, ::3].ravel() for frame in frames]), (1.0, 99.5))
        return cls(float(low), float(high))

    @property
    def width(self) -> float:
        """Stored values from black to white, at least 1."""
        return max(self.high - self.low, 1.0)

    def view(self, frame: Array) -> Array:
        """A frame as a grey picture of 8 bits."""
        return np.asarray(np.clip((frame.astype(np.float32) - self.low) * (255 / self.width), 0, 255), np.uint8)

    def strokes(self, frame: Array) -> Array:
        """A frame's pixels on thin strokes, by block."""
        return stroke_counts(frame, least=_STROKE * self.width)


def slices_with_text(files: Sequence[Path]) -> list[int]:
    """The places of the files of a series that have text on a frame, and of some beside them that may have some.

    Args:
        files: The series' clean copies. Those whose pixels were cleaned already may be left out.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    require_ocr()
    alike: dict[tuple[int, int], list[Array]] = {}
    for place in spread(len(files), most=_FRAMES):
        for frame in grey_frames(files[place], most=_FRAMES):
            alike.setdefault((frame.shape[0], frame.shape[1]), []).append(frame)
    if any(has_still_text(frames) for frames in alike.values()):
        return list(range(len(files)))
    if not alike:
        return []
    samples = max(alike.values(), key=len)
    scale = GreyScale.of(samples)
    found: set[int] = set()
    for shape, slices in series_slices(files, samples[0], scale.strokes).items():

        def load(place: int, slices: Sequence[SeriesSlice] = slices) -> Array:
            return next(grey_frames(files[slices[place].file], places=[slices[place].frame]))

        if len(slices) == len(alike.get(shape, ())) < _FEWEST_FOR_STILL:
            odd = []
        elif len(slices) < _FEWEST_FOR_ODD:
            odd = [place for place in range(len(slices)) if has_still_text([load(place)])]
        else:
            odd = odd_slices([one.strokes for one in slices], load, scale=scale, shape=shape)
        found |= {slices[place].file for place in odd}
    return sorted(found)


def text_can_be_read(slices: Sequence[Array]) -> bool:
    """Whether at least four letters or digits in a row can be read on any of some slices that lie one behind the other.

    Unlike a series of DICOM files, which is painted, such slices wait for a person: what only looks like text doesn't
    count.

    Args:
        slices: Stored values, whole numbers, each (rows, columns).

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    samples = spread(len(slices), most=_FRAMES)
    scale = GreyScale.of([slices[place] for place in samples])
    if has_still_text([slices[place] for place in samples]) or len(slices) < _FEWEST_FOR_ODD:
        places: Sequence[int] = samples
    else:
        strokes = [scale.strokes(one) for one in slices]
        shape = (slices[0].shape[0], slices[0].shape[1])
        odd = odd_slices(strokes, slices.__getitem__, scale=scale, shape=shape)
        places = [odd[place] for place in spread(len(odd), most=_FRAMES)] if odd else []
    return any(can_be_read(np.repeat(scale.view(slices[place])[..., None], 3, axis=2)) for place in places)


def has_still_text(frames: Sequence[Array]) -> bool:
    """Whether text stands in the same place on some frames of a series.

    Args:
        frames: Stored values, each (rows, columns). Of one or two, text on any of them counts.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    scale = GreyScale.of(frames)
    if len(frames) < _FEWEST_FOR_STILL:
        # Nothing stands still on so few frames, and on noise rows of letters don't show; so the detector sees all.
        return any(
            _has_letters(scale.view(frame), None) or any(map(can_be_read, grey_views(frame))) for frame in frames
        )
    stack = np.stack(list(frames)).astype(np.int32)
    still = (np.abs(np.diff(stack, axis=0)) <= _STILL * scale.width).sum(axis=0) >= len(frames) - 2
    return _has_letters(scale.view(np.sort(stack, axis=0)[len(stack) // 2]), still)


def odd_slices(
    strokes: Sequence[Array], load: Callable[[int], Array], *, scale: GreyScale, shape: tuple[int, int]
) -> list[int]:
    """The slices of a series with text that most others don't have; of at least four slices.

    From a slice with text the detector goes on to the slices beside it, on either side until two in a row show none;
    these two are among the answer, too.

    Args:
        strokes: Of each slice, in the order of their positions.
        load: Gives a slice by its place, stored values, (rows, columns).
        scale: The series' grey scale.
        shape: Rows and columns of the slices.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    found: set[int] = set()
    without = 0
    for place, part in _parts(odd_blocks(strokes, shape), shape):
        if place in found:
            continue
        if _shows(load, part, scale, place):
            found |= _beside(place, len(strokes), partial(_shows, load, part, scale))
            without = 0
        elif (without := without + 1) >= _PATIENCE:
            break
    return sorted(found)


def _parts(blocks: Sequence[OddBlock], shape: tuple[int, int]) -> Iterator[tuple[int, Box]]:
    """Slices and their parts to look at, in the order of the blocks: each block, or all of a slice that has many."""
    counts = Counter(block.place for block in blocks)
    seen: dict[int, list[Box]] = {}
    for block in blocks:
        if not any(_inside(block.box, part) for part in seen.setdefault(block.place, [])):
            has_many = counts[block.place] >= _MANY_BLOCKS
            seen[block.place].append(Box(0, 0, *shape) if has_many else _roomy(block.box, shape, room=_BLOCK_ROOM))
            yield block.place, seen[block.place][-1]


def _beside(place: int, count: int, shows: Callable[[int], bool]) -> set[int]:
    """A slice and those beside it with text in the same part; of those without, the first two on either side."""
    found = {place}
    for step in (-1, 1):
        other, without = place + step, 0
        while 0 <= other < count and without < 2:
            found.add(other)
            without = 0 if shows(other) else without + 1
            other += step
    return found


def _shows(load: Callable[[int], Array], part: Box, scale: GreyScale, place: int) -> bool:
    """Whether there is text in a part of a slice."""
    return shows_text(scale.view(load(place)[part.top : part.bottom, part.left : part.right]))


def _has_letters(view: Array, where: Array | None) -> bool:
    """Whether rows of letters show in a grey picture, and the detector finds text there too."""
    parts = merged([_roomy(row, view.shape, room=_ROOM) for row in letter_rows(view, where=where)])
    return any(_finds_text(view[part.top : part.bottom, part.left : part.right]) for part in parts)


def _finds_text(view: Array) -> bool:
    return bool(find_text([np.repeat(view[..., None], 3, axis=2)]))


def _roomy(box: Box, shape: tuple[int, ...], *, room: int) -> Box:
    """A box with some room around, within a picture."""
    return Box(
        max(0, box.top - room),
        max(0, box.left - room),
        min(shape[0], box.bottom + room),
        min(shape[1], box.right + room),
    )


def _inside(box: Box, part: Box) -> bool:
    return part.top <= box.top and part.left <= box.left and box.bottom <= part.bottom and box.right <= part.right
