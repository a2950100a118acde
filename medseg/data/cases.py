"""Reading a case: its channels on one grid, its label map on the same grid, checked once at the door."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from medseg.data.manifest import Card, Case
from medseg.data.readers import read_label, read_volume
from medseg.data.volume import Geometry, Volume
from medseg.errors import DataError, GeometryError, LabelError, ReadError
from medseg.types import Array, LabelMap

__all__ = ["GEOMETRY_TOLERANCE_MM", "each_case", "first_non_finite", "read_case_image", "read_case_label"]

GEOMETRY_TOLERANCE_MM = 0.1
"""Two grids whose corners are closer than this are one grid."""

_T = TypeVar("_T")


def read_case_image(case: Case, *, channels: Sequence[str]) -> Volume:
    """Read all channels of a case.

    Args:
        case: The case.
        channels: The card's channels; the array's first axis has this order.

    Returns:
        Array (channel, x, y[, z]), in the file's own dtype where one file holds all channels.

    Raises:
        ReadError: A file cannot be read, the number of channels is another, or a voxel is NaN or infinite.
        GeometryError: The channels' grids differ.
    """
    volumes = [_named(case, read_volume, path).in_order(channels) for path in case.images.values()]
    first = volumes[0]
    for other in volumes[1:]:
        _require_same_grid(case, first.geometry, other.geometry, "two channels")
    array = first.array if len(volumes) == 1 else np.concatenate([volume.array for volume in volumes])
    if array.shape[0] != len(channels):
        raise ReadError(f"case {case.case}: expected the card's {len(channels)} channels, found {array.shape[0]}")
    if first_non_finite(array) is not None:
        raise ReadError(f"case {case.case}: image holds NaN or infinite values; repair the image or take the row out")
    modality = case.modality if case.modality != "OTHER" else first.modality
    notes = tuple(dict.fromkeys(note for volume in volumes for note in volume.notes))
    return Volume(array=array, affine=first.affine, channels=tuple(channels), modality=modality, notes=notes)


def read_case_label(case: Case, *, card: Card, geometry: Geometry, ignore_label: int | None = None) -> LabelMap:
    """Read the label map of a case.

    Args:
        case: A case with a label.
        card: Names the values that may occur.
        geometry: Grid of the case's image.
        ignore_label: A further value that may occur.

    Returns:
        Label map, uint8, axes (x, y[, z]).

    Raises:
        ReadError: The case has no label or the file cannot be read.
        GeometryError: The grid isn't the image's.
        LabelError: A value isn't in the card.
    """
    if case.label is None:
        raise ReadError(f"case {case.case}: has no label")
    label, label_geometry = _named(case, read_label, case.label)
    _require_same_grid(case, geometry, label_geometry, "image and label")
    unknown = sorted(set(np.unique(label).tolist()) - {0, *card.labels} - {ignore_label})
    if unknown:
        if unknown == [card.ignore]:
            raise LabelError(f"case {case.case}: some voxels are to be ignored; set data.ignore_label={card.ignore}")
        found = ", ".join(str(value) for value in unknown[:5])
        known = ", ".join(str(value) for value in (0, *card.labels))
        raise LabelError(f"case {case.case}: label map holds {found}; the card names {known}")
    return label.astype(np.uint8, copy=False)


def first_non_finite(array: Array) -> tuple[int, ...] | None:
    """Index of the first NaN or infinite element, or None; no copy of the array is made when all are finite."""
    if not np.issubdtype(array.dtype, np.floating):
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.min(initial=0)) and np.isfinite(array.max(initial=0)):
            return None
    return tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])


def each_case(
    work: Callable[[Case], _T],
    cases: Sequence[Case],
    *,
    jobs: int = 1,
    progress: Callable[[], None] | None = None,
) -> Iterator[_T]:
    """Do the same for each case, in the order of the cases; at most ``jobs`` cases are in memory at once.

    Args:
        work: What to do; with several jobs it runs in threads (decoding releases the interpreter's lock).
        cases: The cases.
        jobs: Number of threads; 1 works in the caller's own.
        progress: Called after each case.
    """
    if jobs <= 1:
        for case in cases:
            yield work(case)
            if progress is not None:
                progress()
        return
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        pending: deque[Future[_T]] = deque()
        waiting = iter(cases)
        try:
            for case in waiting:
                pending.append(pool.submit(work, case))
                if len(pending) >= jobs:
                    yield pending.popleft().result()
                    if progress is not None:
                        progress()
            while pending:
                yield pending.popleft().result()
                if progress is not None:
                    progress()
        finally:
            for future in pending:
                future.cancel()


def _named(case: Case, read: Callable[..., _T], path: object) -> _T:
    """What `read` returns; a refusal is told with the case's pseudonym in front."""
    try:
        return read(path)
    except DataError as error:
        raise type(error)(f"case {case.case}: {error}") from None


def _require_same_grid(case: Case, first: Geometry, second: Geometry, what: str) -> None:
    if first.corner_distance(second) > GEOMETRY_TOLERANCE_MM:
        raise GeometryError(
            f"case {case.case}: {what} lie on different grids; found {first.describe()} and {second.describe()}. "
            "Resample one onto the other"
        )
