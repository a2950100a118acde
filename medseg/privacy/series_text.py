"""Text on a series: a look at a few frames of every series, whatever its class says about text in its pixels.

Text that a device or an archive writes into its images is on every slice, in one place. It is looked for on the highest
and the lowest values over frames spread over the series, where it stands still while the anatomy moves, and on the
middle frame by itself; of one or two frames on each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from medseg.errors import DataError
from medseg.privacy.dicom import LABEL_CLASSES, read_dicom, syntax_of
from medseg.privacy.frames import decode_frames
from medseg.privacy.person import raw_bytes
from medseg.privacy.pixels import can_be_read, grey_view
from medseg.types import Array

__all__ = ["series_has_text"]

_FRAMES = 8
_CLEANED = b"113101"
_MOST_BYTES = 1 << 28
"""Of one multi-frame file; larger ones are looked at in their own class's way only."""


def series_has_text(files: Sequence[Path]) -> bool:
    """Whether letters or numbers can be read on some frames of a series.

    Args:
        files: The series' clean copies. Those whose pixels were cleaned already are left out.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    alike: dict[tuple[int, ...], list[Array]] = {}
    for place in _spread(len(files)):
        for frame in _frames(files[place]):
            alike.setdefault(frame.shape, []).append(frame)
    return any(can_be_read(view) for frames in alike.values() for view in _views(frames))


def _spread(count: int) -> list[int]:
    """At most `_FRAMES` places, evenly from the first to the last."""
    return sorted({round(part) for part in np.linspace(0, count - 1, _FRAMES)})


def _views(frames: Sequence[Array]) -> Iterator[Array]:
    """Pictures to look at: of three and more frames both projections and the middle one, else each frame."""
    if len(frames) > 2:
        frames = [np.max(frames, axis=0), np.min(frames, axis=0), frames[len(frames) // 2]]
    for frame in frames:
        yield grey_view(frame)


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
