"""Series frames: the grey frames of a series' clean copies, and all its slices in the order of their positions.

A copy that holds one uncompressed frame of the usual size is read without its header being parsed: most series have
thousands of these.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset

from medseg.errors import DataError
from medseg.privacy.dicom import LABEL_CLASSES, read_dicom, syntax_of
from medseg.privacy.frames import each_frame, pixel_facts
from medseg.privacy.person import raw_bytes
from medseg.types import Array

__all__ = ["SeriesSlice", "grey_frames", "series_slices", "spread"]

_FEWEST_PIXELS = 16
"""Rows and columns; of less no letter can be read."""
_CLEANED = b"113101"
_NOT_QUICK = (_CLEANED, *(label.encode("ascii") for label in LABEL_CLASSES))
"""What a header doesn't hold whose file is read without being parsed."""
_MOST_BYTES = 1 << 28
"""Of one multi-frame file; larger ones are looked at in their own class's way only."""
_LARGEST_HEADER = 1 << 16
_POSITION = b"\x20\x00\x32\x00DS"
_NOWHERE = (np.nan, np.nan, np.nan)


@dataclass(frozen=True, slots=True)
class SeriesSlice:
    """A frame of a file.

    Attributes:
        file: The file's place.
        frame: The frame's place in it.
        position: In mm; nan where the file doesn't tell it.
        strokes: What was asked of the frame.
    """

    file: int
    frame: int
    position: tuple[float, ...]
    strokes: Array


def spread(count: int, *, most: int) -> list[int]:
    """At most so many places, evenly from the first to the last."""
    return sorted({round(part) for part in np.linspace(0, count - 1, most)})


def grey_frames(path: Path, *, most: int | None = None, places: Sequence[int] | None = None) -> Iterator[Array]:
    """Grey frames (rows, columns) of a copy, stored values; none where there are no grey pixels or they were cleaned.

    Args:
        path: The copy.
        most: Only so many, evenly from the first to the last.
        places: Only these.
    """
    try:
        source = _opened(path)
        if source is None:
            return
        if most is not None:
            places = spread(pixel_facts(source).frames, most=most)
        for frame in each_frame(source, 0x7FE00010, syntax_of(source), places=places):
            if frame.shape[2] == 1 and min(frame.shape[:2]) >= _FEWEST_PIXELS:
                yield frame[..., 0]
    except DataError:
        return


def series_slices(
    files: Sequence[Path], like: Array, strokes: Callable[[Array], Array]
) -> dict[tuple[int, int], list[SeriesSlice]]:
    """All grey frames of a series by their rows and columns, in the order of their positions where files tell these.

    Args:
        files: The series' copies.
        like: A frame as most of them have.
        strokes: What to keep of each frame (rows, columns).
    """
    quick = _quick_reader(like)
    found: dict[tuple[int, int], list[SeriesSlice]] = {}
    for file, path in enumerate(files):
        read = quick(path)
        frames = iter([read.frame]) if read is not None else grey_frames(path)
        position = _NOWHERE if read is None else read.position
        for number, frame in enumerate(frames):
            shape = (frame.shape[0], frame.shape[1])
            found.setdefault(shape, []).append(SeriesSlice(file, number, position, strokes(frame)))
    return {shape: _in_order(slices) for shape, slices in found.items()}


@dataclass(frozen=True, slots=True)
class _Read:
    frame: Array
    position: tuple[float, ...]


def _quick_reader(like: Array) -> Callable[[Path], _Read | None]:
    """Reads the only frame of a copy of ours that is stored uncompressed, as the end of the file, until the next call.

    All are read into one place: fresh memory for each takes longer than counting strokes does.
    """
    length = like.size * like.itemsize
    size_tags = b"\x28\x00\x10\x00US\x02\x00%b\x28\x00\x11\x00US\x02\x00%b" % tuple(
        side.to_bytes(2, "little") for side in like.shape
    )
    room = bytearray(length)

    def read(path: Path) -> _Read | None:
        nonlocal room
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            start = size - length
            if not 0 < start <= _LARGEST_HEADER:
                return None
            room = room if len(room) >= size else bytearray(size)
            if file.readinto(memoryview(room)[:size]) != size:
                return None
        head = bytes(room[:start])
        is_usual = head[-12:-8] == b"\xe0\x7f\x10\x00" and head[-4:] == length.to_bytes(4, "little")
        if not is_usual or size_tags not in head or any(word in head for word in _NOT_QUICK):
            return None
        return _Read(np.frombuffer(room, like.dtype, like.size, start).reshape(like.shape), _position(head))

    return read


def _position(head: bytes) -> tuple[float, ...]:
    """Image Position (Patient) in an explicit little-endian header."""
    start = head.find(_POSITION) + len(_POSITION) + 2
    length = int.from_bytes(head[start - 2 : start], "little")
    words = head[start : start + length].split(b"\\") if start > len(_POSITION) + 1 else []
    try:
        return (float(words[0]), float(words[1]), float(words[2]))
    except (IndexError, ValueError):
        return _NOWHERE


def _in_order(slices: list[SeriesSlice]) -> list[SeriesSlice]:
    """By the position along the axis in which they lie farthest apart; as they are where one has none."""
    positions = np.array([one.position for one in slices])
    if not np.isfinite(positions).all():
        return slices
    along = positions[:, int(np.argmax(np.ptp(positions, axis=0)))]
    return [slices[place] for place in np.argsort(along, kind="stable")]


def _opened(path: Path) -> FileDataset | None:
    """A copy that has grey pixels which weren't cleaned of text yet."""
    source = read_dicom(path.read_bytes())
    if raw_bytes(source, 0x00080016).strip(b" \0").decode("latin-1") in LABEL_CLASSES or 0x7FE00010 not in source:
        return None
    bits = raw_bytes(source, 0x00280100)[:1]
    if bits not in (b"\x08", b"\x10") or len(raw_bytes(source, 0x7FE00010)) > _MOST_BYTES:
        return None
    return None if _CLEANED in raw_bytes(source, 0x00120064) else source
