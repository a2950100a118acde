"""DICOM sorting: files of a folder in any order, by series, and the volumes that each series holds.

Only headers are read, in threads where the disk is what takes the time. A series is one volume, with these exceptions,
each of which makes several `SeriesFiles` of it:

- images without a place in the patient (radiographs, ultrasound, angiography, photographs, secondary captures, planar
  nuclear medicine): each image, and each frame of a film, is a 2D image of its own;
- an enhanced multi-frame image with several stacks (StackID): each stack is a volume;
- phases that cover different places (`dicom_phases`): each phase is a volume. Phases on one grid stay together and
  become channels.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

from medseg.data.dicom_frames import Frame
from medseg.data.dicom_header import Header, read_header
from medseg.data.dicom_labels import LABEL_MODALITIES
from medseg.data.dicom_phases import find_phases, places_along
from medseg.data.reading import DEFAULT_READING, Reading
from medseg.data.refusal import Refusal
from medseg.errors import DataError, ReadError

__all__ = [
    "SeriesFiles",
    "count_copies",
    "find_series",
    "header_or_reason",
    "in_parallel",
    "sort_files",
    "sort_series",
    "volumes_of",
]

_PLANAR: Final = frozenset(
    ("CR", "DX", "MG", "IO", "PX", "RF", "XA", "RG", "US", "IVUS", "NM", "XC", "GM", "ES", "DMS", "OP", "OT", "SC")
)
"""Modalities whose images have no place in the patient unless the header states one."""
_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7."
"""Secondary Capture Image Storage; its multi-frame classes begin alike."""
_PARALLEL: Final = 1e-3
_BATCH: Final = 32
_STRETCH: Final = 1024
"""Files that are read in one way before the disk is timed again."""
_PROBE: Final = 32
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Place = tuple[int, int]
"""Index of a header and of one of its frames."""


@dataclass(frozen=True, eq=False)
class SeriesFiles:
    """The files of one volume: a series, or a part of one.

    Attributes:
        headers: What was read of each file, in the order of the slices' positions, where they have any.
        part: Which part of the series, for example ``stack2`` or ``image3``; empty for the whole.
        reading: Which SUV its values become, and what becomes of an irregular stack.
    """

    headers: tuple[Header, ...] = field(repr=False)
    part: str = ""
    reading: Reading = DEFAULT_READING

    @property
    def files(self) -> tuple[Path, ...]:
        """In the order of `headers`."""
        return tuple(header.path for header in self.headers)

    @property
    def modality(self) -> str:
        """DICOM's term: ``CT``, ``MR``, ``PT``, ``US`` and so on."""
        return self.headers[0].modality

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID; grouping only, never shown."""
        return self.headers[0].series_uid

    @property
    def study_uid(self) -> str:
        """StudyInstanceUID; grouping only, never shown."""
        return self.headers[0].study_uid

    @property
    def patient(self) -> str:
        """PatientID; grouping only, never shown."""
        return self.headers[0].patient


def find_series(folder: Path, *, progress: Callable[[], None] | None = None) -> tuple[list[SeriesFiles], list[Refusal]]:
    """Sort every file below a folder into series. Only headers are read; links are not followed.

    Args:
        folder: Any mixture of files, nested or not.
        progress: Called once a file.

    Returns:
        The volumes, in the order of their first file's path; and the files that hold no image, with the reason.

    Raises:
        ReadError: The folder doesn't exist.
    """
    if not folder.is_dir():
        raise ReadError("expected a folder of DICOM files; found none")
    return sort_series(list(_files_below(str(folder))), progress=progress)


def _files_below(folder: str) -> Iterator[Path]:
    """Every file that is no link and not hidden; `os.scandir` knows the kind without asking the disk again."""
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        hidden = entry.name.startswith(".") or entry.name.upper() == "DICOMDIR"
        if not hidden and entry.is_file(follow_symlinks=False):
            yield Path(entry.path)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(entry.path)


def sort_series(
    paths: Sequence[Path], *, progress: Callable[[], None] | None = None, names: Sequence[str] = ()
) -> tuple[list[SeriesFiles], list[Refusal]]:
    """Sort files into series; as `sort_files`."""
    series, _, refusals = sort_files(paths, progress=progress, names=names)
    return series, refusals


def sort_files(
    paths: Sequence[Path], *, progress: Callable[[], None] | None = None, names: Sequence[str] = ()
) -> tuple[list[SeriesFiles], list[Path], list[Refusal]]:
    """Sort files into series with images and files that outline structures (SEG, RTSTRUCT).

    Args:
        paths: The files.
        progress: Called once a file.
        names: What refusals call each file, where they are some of many; else ``file 3 of 20``.

    Returns:
        The volumes; the files that outline structures; and all files that hold no image, those included, with the
        reason.
    """
    groups: defaultdict[str, list[Header]] = defaultdict(list)
    refusals = []
    outlines = []
    for number, header in enumerate(_headers(paths), start=1):
        if progress is not None:
            progress()
        name = names[number - 1] if names else f"file {number} of {len(paths)}"
        if isinstance(header, str):
            refusals.append(Refusal(name, header))
        elif not header.is_image:
            refusals.append(Refusal(name, f"not an image: {header.kind}"))
            outlines += [header.path] if header.modality in LABEL_MODALITIES else []
        else:
            groups[header.series_uid or f"without UID {number}"].append(header)
    return [volume for headers in groups.values() for volume in volumes_of(headers)], outlines, refusals


def _headers(paths: Sequence[Path]) -> Iterator[Header | str]:
    """The header of each file, or why there is none, in order.

    Threads help only where reading waits for the disk: Python walks one header at a time, and threads that take turns
    for each small read need longer than one that just goes on. So some files are read and timed every now and then.
    """
    for start in range(0, len(paths), _STRETCH):
        begun, busy = time.perf_counter(), time.thread_time()
        probe = start + _PROBE
        yield from [header_or_reason(path) for path in paths[start:probe]]
        waited = (time.perf_counter() - begun) > 2 * (time.thread_time() - busy)
        rest = paths[probe : start + _STRETCH]
        yield from in_parallel(header_or_reason, rest) if waited else map(header_or_reason, rest)


def header_or_reason(path: Path) -> Header | str:
    """The header, or why there is none."""
    try:
        return read_header(path)
    except DataError as error:
        return str(error)


def volumes_of(headers: Sequence[Header]) -> list[SeriesFiles]:
    """The volumes that the files of one series hold; the module says by which rule.

    A series that is no set of volumes stays whole: reading it says why.
    """
    places = [(h, f) for h, header in enumerate(headers) for f in range(len(header.frames))]
    if len(places) < 2 or count_copies(headers):
        return [_series_of(headers)]
    if _is_planar(headers, places):
        ordered = sorted(places, key=lambda place: (headers[place[0]].instance_uid, place[1]))
        return [_part_of(headers, [place], f"image{number}") for number, place in enumerate(ordered, start=1)]
    stacks: defaultdict[str, list[Place]] = defaultdict(list)
    for h, f in places:
        stacks[headers[h].frames[f].stack].append((h, f))
    volumes = []
    for number, (_, members) in enumerate(sorted(stacks.items()), start=1):
        name = f"stack{number}" if len(stacks) > 1 else ""
        phases = _apart(headers, members)
        if phases:
            volumes += [_part_of(headers, chosen, f"{name}{phase}") for phase, chosen in phases]
        else:
            volumes.append(_part_of(headers, members, name))
    return volumes


def count_copies(headers: Sequence[Header]) -> int:
    """How many files are copies of another by their SOPInstanceUID."""
    instances = Counter(header.instance_uid for header in headers if header.instance_uid)
    return sum(count - 1 for count in instances.values())


def _is_planar(headers: Sequence[Header], places: Sequence[Place]) -> bool:
    """Whether these are 2D images, of which each is a case of its own."""
    if not all(h.modality in _PLANAR or f"{h.sop_class}.".startswith(_CAPTURE) for h in headers):
        return False
    frames = [headers[h].frames[f] for h, f in places]
    if not all(frame.is_placed for frame in frames):
        return True
    return _are_parallel(frames) and max(places_along(frames)) == 0


def _are_parallel(frames: Sequence[Frame]) -> bool:
    directions = np.array([frame.orientation for frame in frames], dtype=np.float64)
    return bool(np.abs(directions - directions[0]).max() <= _PARALLEL)


def _apart(headers: Sequence[Header], members: Sequence[Place]) -> list[tuple[str, list[Place]]]:
    """Phases that cover different places; empty where there is one, or where all share a grid."""
    frames = [headers[h].frames[f] for h, f in members]
    if not all(frame.is_placed for frame in frames) or not _are_parallel(frames):
        return []
    phases = find_phases(frames)
    if len(phases) < 2:
        return []
    numbers = places_along(frames)
    covered = {frozenset(numbers[index] for index in phase.frames) for phase in phases}
    if len(covered) == 1:
        return []
    return [(phase.name, [members[index] for index in phase.frames]) for phase in phases]


def _part_of(headers: Sequence[Header], places: Sequence[Place], part: str) -> SeriesFiles:
    chosen: defaultdict[int, list[int]] = defaultdict(list)
    for h, f in places:
        chosen[h].append(f)
    kept = [headers[h] if len(fs) == len(headers[h].frames) else headers[h].with_frames(fs) for h, fs in chosen.items()]
    return _series_of(kept, part=part)


def _series_of(headers: Sequence[Header], *, part: str = "") -> SeriesFiles:
    ordered = sorted(headers, key=lambda header: header.instance_uid)
    first = ordered[0].frames[0]
    if first.orientation is not None:
        normal = np.cross(first.orientation[:3], first.orientation[3:])
        heights = {id(h): 0.0 if (p := h.frames[0].position) is None else float(p @ normal) for h in ordered}
        ordered.sort(key=lambda header: heights[id(header)])
    return SeriesFiles(tuple(ordered), part=part)


def in_parallel(function: Callable[[_Item], _Result], items: Sequence[_Item]) -> Iterator[_Result]:
    """The results in order, computed in threads, a few ahead; on an error the items not yet begun are left.

    Memory: the results of a few batches of 32, whatever the number of items.
    """
    workers = min(8, os.cpu_count() or 1)
    size = max(1, min(_BATCH, len(items) // (4 * workers)))
    batches = (items[start : start + size] for start in range(0, len(items), size))

    def compute(batch: Sequence[_Item]) -> list[_Result]:
        return [function(item) for item in batch]

    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[Future[list[_Result]]] = deque(pool.submit(compute, one) for one in islice(batches, 4 * workers))
        try:
            while waiting:
                yield from waiting.popleft().result()
                following = next(batches, None)
                if following is not None:
                    waiting.append(pool.submit(compute, following))
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
