"""Frames of a SEG: decoded by pydicom, and compared with what highdicom reads wherever highdicom reads the file.

Two independent readers of one file have to see the same voxels of the same segments at the same places, or the file is
refused (decision 0011). highdicom's part is held in bounded memory: the volumes of a few segments at a time.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from pydicom.dataset import Dataset

from medseg.data.dicom_frames import Frame
from medseg.data.dicom_pixels import decode_frames
from medseg.errors import ReadError
from medseg.privacy.decoders import in_silence
from medseg.types import Array, FloatArray

if TYPE_CHECKING:
    from highdicom.seg import Segmentation

__all__ = ["seg_frames"]

logging.getLogger("highdicom").setLevel(logging.CRITICAL + 1)  # Its log lines quote paths and values.

_HELD_BYTES: Final = 1 << 29
_SAME_PLACE: Final = 0.1
"""Largest distance, in voxels, of a frame from where highdicom has it."""
_DIFFERENT: Final = (
    "highdicom and medseg read different voxels, or places, from this SEG, so that neither can be trusted; export it "
    "again, and tell the makers of medseg"
)


def seg_frames(
    dataset: Dataset, places: Sequence[Frame], segments: Sequence[int], *, kind: str, notes: list[str]
) -> Iterator[Array]:
    """Decode the frames one by one; the last is followed by the verdict.

    Args:
        dataset: The SEG as read from its file.
        places: Where each frame lies.
        segments: Segment of each frame; 0 in a label map.
        kind: ``BINARY``, ``FRACTIONAL`` or ``LABELMAP``.
        notes: Gets the sentence that says why highdicom couldn't be asked, where it couldn't.

    Yields:
        Stored values, axes (row, column).

    Raises:
        ReadError: Frames are missing or damaged, or highdicom reads others.
    """
    second = _SecondReader(dataset, is_label_map=kind == "LABELMAP")
    count = 0
    for frame in decode_frames(dataset):
        count += 1
        if count <= len(places):
            second.compare(frame, places[count - 1], segments[count - 1])
            yield frame
    if count != len(places):
        raise ReadError(f"expected {len(places)} frames; found {count}. The SEG is damaged, copy it again")
    second.compare_totals()
    if second.obstacle:
        notes.append(
            f"a SEG that highdicom does not read ({second.obstacle}): its voxels were read by one reader, not two"
        )


class _UnreadError(Exception):
    """What highdicom gives can't be compared, and why."""


def _word(error: Exception) -> str:
    """What a user is told of an error; texts of highdicom's own quote values and paths."""
    return str(error) if isinstance(error, _UnreadError) else type(error).__name__


class _SecondReader:
    """highdicom's view of a file; once anything in it fails, `obstacle` says what and nothing is compared any more."""

    def __init__(self, dataset: Dataset, *, is_label_map: bool) -> None:
        self.obstacle = ""
        self._is_label_map = is_label_map
        self._numbers = [int(item.SegmentNumber) for item in dataset.get("SegmentSequence") or []]
        self._volumes: OrderedDict[int, Array] = OrderedDict()
        self._totals: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._reads = 0
        self._shape = (0, 0, 0)
        self._to_index: FloatArray = np.eye(4)
        try:
            self._seg = self._opened(dataset)
        except Exception as error:
            # highdicom raises whatever an attribute that it misses makes it raise.
            self.obstacle = _word(error)

    def _opened(self, dataset: Dataset) -> Segmentation:
        import highdicom

        found = highdicom.seg.segread(Path(str(dataset.filename)))
        geometry = found.get_volume_geometry()
        if geometry is None:
            raise _UnreadError("its frames are no even stack")
        slices, rows, columns = (int(size) for size in geometry.spatial_shape)
        if 2 * slices * rows * columns > _HELD_BYTES:
            raise _UnreadError("too large to be held twice")
        self._shape = (slices, rows, columns)
        self._to_index = np.linalg.inv(geometry.affine)
        return found

    def compare(self, frame: Array, place: Frame, segment: int) -> None:
        """Compare one frame with the slice that highdicom has at its place.

        Raises:
            ReadError: They differ.
        """
        if self.obstacle:
            return
        volume = self._volume(segment)
        if volume is None:
            return
        slice_number = self._slice_of(place)
        if slice_number is None:
            raise ReadError(_DIFFERENT)
        ours = np.where(np.isin(frame, self._numbers), frame, 0) if self._is_label_map else frame
        if volume[slice_number].shape != ours.shape or not np.array_equal(volume[slice_number], ours):
            raise ReadError(_DIFFERENT)
        self._seen[segment] = self._seen.get(segment, 0) + int(np.count_nonzero(ours))

    def compare_totals(self) -> None:
        """Compare how many voxels of each segment there are: highdicom may have some where no frame of ours lies.

        Raises:
            ReadError: They differ.
        """
        if not self.obstacle and self._seen != self._totals:
            raise ReadError(_DIFFERENT)

    def _volume(self, segment: int) -> Array | None:
        """Values of a segment, axes (slice, row, column); None, and an obstacle, where highdicom can't give it."""
        if segment not in self._volumes:
            self._reads += 1
            if self._reads > 2 * len(self._numbers) + 2:
                self.obstacle = "too large to be held twice"
                return None
            try:
                values = self._read(segment)
            except Exception as error:
                # As above, and whatever decoders like.
                self.obstacle = _word(error)
                return None
            self._volumes[segment] = values
            self._totals[segment] = int(np.count_nonzero(values))
            while len(self._volumes) * values.nbytes > _HELD_BYTES:
                self._volumes.popitem(last=False)
        return self._volumes[segment]

    def _read(self, segment: int) -> Array:
        with in_silence():
            if self._is_label_map:
                whole: Array = self._seg.get_volume(combine_segments=True).array
                return whole
            one: Array = self._seg.get_volume(segment_numbers=[segment], rescale_fractional=False).array
            return one[..., 0]

    def _slice_of(self, place: Frame) -> int | None:
        """Number of the slice in which highdicom has a frame, row for row and column for column; None for none."""
        if place.position is None or place.orientation is None or place.spacing is None:
            return None
        rows, columns = self._shape[1:]
        across, down = place.orientation[:3] * place.spacing[1], place.orientation[3:] * place.spacing[0]
        corners = np.array([(0, 0), (rows - 1, 0), (0, columns - 1), (rows - 1, columns - 1)], dtype=np.float64)
        world = place.position + corners[:, :1] * down + corners[:, 1:] * across
        index = world @ self._to_index[:3, :3].T + self._to_index[:3, 3]
        number = round(float(index[0, 0]))
        expected = np.column_stack([np.full(4, float(number)), corners])
        if not 0 <= number < self._shape[0] or np.abs(index - expected).max() > _SAME_PLACE:
            return None
        return number
