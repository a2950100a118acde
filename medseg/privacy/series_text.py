"""Text on a series: a look at every series, whatever its class says about text in its pixels.

Text that a device or an archive writes into its images is mostly on every slice, in one place, of one value: on frames
spread over the series it stands still while anatomy and noise don't. Text on a few slices only makes them unlike the
others: their thin strokes are counted (`strokes`) on every slice that is stored uncompressed. Only where rows of
letters show does the detector look, so that an ordinary series costs some milliseconds and 0.3 ms a slice.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import DataError
from medseg.privacy.dicom import LABEL_CLASSES, read_dicom, syntax_of
from medseg.privacy.frames import decode_frames
from medseg.privacy.letter_rows import letter_rows
from medseg.privacy.ocr import require_ocr
from medseg.privacy.person import raw_bytes
from medseg.privacy.pixels import can_be_read, grey_view
from medseg.privacy.strokes import odd_slices, stroke_counts
from medseg.privacy.text_boxes import Box, find_text, merged
from medseg.types import Array

__all__ = ["has_odd_text", "has_still_text", "series_has_text"]

_FRAMES = 8
_FEWEST_FOR_ODD = 4
_FEWEST_PIXELS = 16
"""Rows and columns; of less no letter can be read."""
_CLEANED = b"113101"
_MOST_BYTES = 1 << 28
"""Of one multi-frame file; larger ones are looked at in their own class's way only."""
_STILL = 0.03
_STROKE = 0.12
"""Of the grey scale: how far a text's pixels may differ from frame to frame, and a stroke from what lies beside it."""
_ROOM = 48


@dataclass(frozen=True, slots=True)
class _Window:
    """The grey scale of a series: the values shown as black and as white."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return max(self.high - self.low, 1.0)

    def view(self, frame: Array) -> Array:
        """A frame as a grey picture of 8 bits."""
        return np.asarray(np.clip((frame.astype(np.float32) - self.low) * (255 / self.width), 0, 255), np.uint8)


def series_has_text(files: Sequence[Path]) -> bool:
    """Whether there is text on the frames of a series.

    Args:
        files: The series' clean copies. Those whose pixels were cleaned already are left out.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    require_ocr()
    alike: dict[tuple[int, int], list[Array]] = {}
    for place in _spread(len(files)):
        for frame in _frames(files[place]):
            if min(frame.shape) >= _FEWEST_PIXELS:
                alike.setdefault((frame.shape[0], frame.shape[1]), []).append(frame)
    if any(has_still_text(frames) for frames in alike.values()):
        return True
    if not alike:
        return False
    samples = max(alike.values(), key=len)
    return has_odd_text(len(files), _loader(files, samples[0]), samples=samples)


def has_still_text(frames: Sequence[Array]) -> bool:
    """Whether text stands in the same place on some frames of a series.

    Args:
        frames: Stored values, each (rows, columns). Of one or two, text on any of them counts.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    window = _window(frames)
    if len(frames) < 3:
        # Nothing stands still on so few frames, and on noise rows of letters don't show; so the detector sees all.
        return any(_shows_text(window.view(frame), None) or can_be_read(grey_view(frame)) for frame in frames)
    stack = np.stack(list(frames)).astype(np.int32)
    still = (np.abs(np.diff(stack, axis=0)) <= _STILL * window.width).sum(axis=0) >= len(frames) - 2
    return _shows_text(window.view(np.sort(stack, axis=0)[len(stack) // 2]), still)


def has_odd_text(count: int, load: Callable[[int], Array | None], *, samples: Sequence[Array]) -> bool:
    """Whether there is text on a few slices of a series that the others don't have; of at least four slices.

    Args:
        count: How many slices there are.
        load: Gives a slice by its place, stored values, (rows, columns); none where it can't be seen. It is used before
            the next one is asked for.
        samples: Some slices, for the grey scale.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    window = _window(samples)
    places, counts = [], []
    for place in range(count):
        frame = load(place)
        if frame is not None:
            places.append(place)
            counts.append(stroke_counts(frame, least=_STROKE * window.width))
    if len(places) < _FEWEST_FOR_ODD:
        return False
    for odd in odd_slices(counts, (samples[0].shape[0], samples[0].shape[1])):
        frame = load(places[odd.place])
        if frame is not None and _shows_text(window.view(frame), odd.where):
            return True
    return False


def _shows_text(view: Array, where: Array | None) -> bool:
    """Whether rows of letters show in a grey picture, and the detector finds text there too."""
    rows, columns = view.shape
    parts = [
        Box(
            max(0, row.top - _ROOM),
            max(0, row.left - _ROOM),
            min(rows, row.bottom + _ROOM),
            min(columns, row.right + _ROOM),
        )
        for row in letter_rows(view, where=where)
    ]
    return any(_finds_text(view[part.top : part.bottom, part.left : part.right]) for part in merged(parts))


def _finds_text(view: Array) -> bool:
    return bool(find_text([np.repeat(view[..., None], 3, axis=2)]))


def _window(frames: Sequence[Array]) -> _Window:
    low, high = np.percentile(np.stack([frame[::3, ::3] for frame in frames]), (1.0, 99.5))
    return _Window(float(low), float(high))


def _spread(count: int) -> list[int]:
    """At most `_FRAMES` places, evenly from the first to the last."""
    return sorted({round(part) for part in np.linspace(0, count - 1, _FRAMES)})


def _loader(files: Sequence[Path], like: Array) -> Callable[[int], Array | None]:
    """Gives the only frame of a copy of ours that is stored uncompressed, as the end of the file, until the next call.

    All are read into one place: fresh memory for each takes longer than counting strokes does.
    """
    length = like.size * like.itemsize
    room = bytearray(length)

    def load(place: int) -> Array | None:
        nonlocal room
        with files[place].open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            room = room if len(room) >= size else bytearray(size)
            start = file.readinto(memoryview(room)[:size]) - length
        head = bytes(room[max(0, start - 12) : max(0, start)])
        if head[:4] != b"\xe0\x7f\x10\x00" or head[8:] != length.to_bytes(4, "little"):
            return None
        return np.frombuffer(room, like.dtype, like.size, start).reshape(like.shape)

    return load


def _frames(path: Path) -> list[Array]:
    """Grey frames of a file, at most `_FRAMES`; none where there are no grey pixels or they were cleaned."""
    try:
        source = read_dicom(path.read_bytes())
        if raw_bytes(source, 0x00080016).strip(b" \0").decode("latin-1") in LABEL_CLASSES or 0x7FE00010 not in source:
            return []
        bits = raw_bytes(source, 0x00280100)[:1]
        if bits not in (b"\x08", b"\x10") or len(raw_bytes(source, 0x7FE00010)) > _MOST_BYTES:
            return []
        if _CLEANED in raw_bytes(source, 0x00120064):
            return []
        array = decode_frames(source, 0x7FE00010, syntax_of(source)).array
    except DataError:
        return []
    if array.shape[3] != 1:
        return []
    return [array[place, ..., 0] for place in _spread(len(array))]
