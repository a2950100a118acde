"""Worker: cleans one file after the other, here or in a process of its own."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from medseg.errors import DataError, MissingExtraError, ReadError, RequestError
from medseg.privacy.dicom import clean_dicom, is_dicom, preview_dicom, read_dicom, syntax_of
from medseg.privacy.guards import HeadError, QuarantineError
from medseg.privacy.heads import FaceCut, face_cuts
from medseg.privacy.images import clean_image, clean_jpeg
from medseg.privacy.inputs import read_input
from medseg.privacy.outcomes import Status, write_whole
from medseg.privacy.pixels import clean_text, is_label_picture, ocr_is_here, photograph_has_text, preview_image
from medseg.privacy.places import split_name
from medseg.privacy.profile import Profile
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.series_text import series_has_text
from medseg.privacy.volumes import clean_meta_image, clean_nifti, clean_nrrd

__all__ = ["HEADS", "KINDS", "LOOK", "TEXT", "Done", "Pool", "Submit", "Task", "Work"]

KINDS = {
    ".jpg": "photograph", ".jpeg": "photograph", ".png": "photograph", ".tif": "photograph", ".tiff": "photograph",
    ".bmp": "photograph", ".webp": "photograph", ".nii": "volume", ".nii.gz": "volume", ".nrrd": "volume",
    ".mha": "volume",
    ".csv": "table", ".json": "table",
}  # fmt: skip
"""What a file is, by its suffix, where it isn't DICOM."""
Task = list[tuple[int, str, str]]
"""Number, path in the source, and output path (empty for DICOM, `HEADS` for a series of a head) of some files."""
HEADS = "heads"
"""Instead of output paths: the files of a task are one series, whose face is to be taken off."""
LOOK = "look"
"""The files of a task are the copies of one series, to be looked at for text; one answer says whether there is some."""
TEXT = "text"
"""The files of a task are of a series with text on it: each is cleaned once more, its pixels looked at."""


@dataclass(frozen=True)
class Work:
    """What a worker needs to clean files."""

    source: Path
    out: Path
    profile: Profile
    key: bytes
    acknowledge_faces: bool
    deface: bool
    accepted: frozenset[int]
    quarantine: Path | None


@dataclass(frozen=True)
class Done:
    """A worker's answer for one file; `identities` never leave the process tree.

    `head` is the series' pseudonym where the file waits for the rest of its series, to be defaced with it.
    """

    status: Status
    place: str
    reason: str
    identities: frozenset[str]
    head: str = ""


_state: dict[str, object] = {}


def _start(work: Work) -> None:
    """Prepare a process: its work and its pseudonyms. pydicom's own log may quote values and stays silent."""
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    _state.update(work=work, pseudonyms=Pseudonymiser(work.key), seen=set())


def _clean_chunk(task: Task) -> list[Done]:
    """Clean some files and write their copies; one answer for each, in order."""
    what = task[0][2] if task else ""
    if what == LOOK:
        return [_look_at_series([name for _, name, _ in task])]
    if what in (HEADS, HEADS + TEXT):
        return _clean_head(task, look=what != HEADS)
    if what == TEXT:
        return [_clean_one(number, name, "", look=True) for number, name, _ in task]
    return [_clean_one(number, name, place) for number, name, place in task]


def _look_at_series(places: list[str]) -> Done:
    """A refusal that says so where text was found on a series; else `written`."""
    work = _state["work"]
    assert isinstance(work, Work)
    try:
        found = series_has_text([work.out / place for place in places])
    except MissingExtraError:
        found = False
    return Done("quarantined" if found else "written", "", "", frozenset())


def _clean_head(task: Task, *, look: bool) -> list[Done]:
    """Clean the files of one series of a head, its face taken off."""
    work = _state["work"]
    assert isinstance(work, Work)
    try:
        sources = [read_dicom(read_input(work.source, name)) for _, name, _ in task]
        cuts, share = face_cuts(sources, [syntax_of(source) for source in sources])
    except DataError as error:
        return [Done("refused", "", str(error), frozenset()) for _ in task]
    except Exception as error:
        # As for a file: the series is refused, the folder goes on.
        reason = f"medseg can't take the face off this series ({type(error).__name__})"
        return [Done("refused", "", reason, frozenset()) for _ in task]
    del sources
    note = f"the face was taken off, {share:.0%} of the head" if share else "the skull was stripped already"
    made = [
        _clean_one(number, name, "", face=cut, look=look) for (number, name, _), cut in zip(task, cuts, strict=True)
    ]
    return [replace(done, reason=note) if done.status == "written" else done for done in made]


def _clean_one(number: int, name: str, place: str, *, face: FaceCut | None = None, look: bool = False) -> Done:
    """Clean one file and write its copy."""
    work, pseudonyms, seen = _state["work"], _state["pseudonyms"], _state["seen"]
    assert isinstance(work, Work)
    assert isinstance(pseudonyms, Pseudonymiser)
    assert isinstance(seen, set)
    identities: frozenset[str] = frozenset()
    data = b""
    try:
        data = read_input(work.source, name)
        if place:
            clean = _clean_other(data, place, work, looked_at=number in work.accepted)
        else:
            made = clean_dicom(
                data,
                work.profile,
                pseudonyms=pseudonyms,
                acknowledge_faces=work.acknowledge_faces,
                clean_text=clean_text if work.profile.clean_pixels else None,
                looked_at=number in work.accepted,
                face=face,
                look=look,
            )
            clean, identities = made.data, made.identities - seen
            seen |= identities
            place = f"{made.patient}/{made.study}/{made.series}/{made.instance}.dcm"
        target = work.out / place
        if not look and target.is_file() and target.read_bytes() != clean:
            raise ReadError("another file of this source has the same UIDs and other content; that one was written")
        write_whole(target, clean)
    except HeadError as error:
        return Done("refused", "", str(error), identities, head=error.series if work.deface else "")
    except QuarantineError as error:
        _show(work.quarantine, number, data)
        return Done("quarantined", "", str(error), identities)
    except DataError as error:
        return Done("refused", "", str(error), identities)
    except (OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno in _OUR_DISK:
            raise
        return Done("refused", "", "the file cannot be read", identities)
    except RequestError:
        raise
    except Exception as error:
        # One file that breaks something must not end the folder: it is refused, by the kind of error alone.
        return Done("refused", "", f"medseg can't deal with this file ({type(error).__name__})", identities)
    return Done("written", place, _what_was_done(data, clean, place, work), identities)


def _what_was_done(data: bytes, clean: bytes, place: str, work: Work) -> str:
    """A note on a NIfTI file whose face was taken off; a DICOM series has its own."""
    if not work.deface or not place.endswith((".nii", ".nii.gz")):
        return ""
    return "" if clean == clean_nifti(data, acknowledge_faces=True) else "the face was taken off"


def _show(folder: Path | None, number: int, data: bytes) -> None:
    """Put a picture of a quarantined file where a person can look at it; one that can't be shown has none."""
    if folder is None:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(DataError):
        write_whole(folder / f"{number:06d}.png", preview_dicom(data) if is_dicom(data[:132]) else preview_image(data))


def _clean_other(data: bytes, place: str, work: Work, *, looked_at: bool) -> bytes:
    """A clean copy of an image or a volume.

    Raises:
        QuarantineError: A person has to look at the picture first.
        ReadError: It can't be cleaned.
    """
    _, roles, suffix = split_name(place.rsplit("/", 1)[-1])
    if KINDS[suffix] == "photograph" and work.profile.photographs == "look" and not looked_at:
        _look_for_text(data, is_mask=not _MASKS.isdisjoint(roles.split("_")))
    if suffix in (".jpg", ".jpeg"):
        return clean_jpeg(data)
    if suffix in (".nii", ".nii.gz"):
        return clean_nifti(data, acknowledge_faces=work.acknowledge_faces, deface=work.deface)
    if suffix == ".nrrd":
        return clean_nrrd(data, acknowledge_faces=work.acknowledge_faces)
    if suffix == ".mha":
        return clean_meta_image(data, acknowledge_faces=work.acknowledge_faces)
    return clean_image(data, suffix)


def _look_for_text(data: bytes, *, is_mask: bool) -> None:
    """Raise where text can be read in a picture, or where nothing here can look for it."""
    if not ocr_is_here():
        if is_mask and is_label_picture(data):
            return
        raise QuarantineError(
            "a photograph; a person has to look at it for text first "
            '(with pip install "medseg[ocr]" medseg looks for it)'
        )
    if photograph_has_text(data, is_mask=is_mask):
        raise QuarantineError("something can be read in this picture; a person has to look at it")


_MASKS = frozenset(("mask", "masks", "segmentation", "seg", "label", "labels", "lesion", "lesions", "labelmap"))
_OUR_DISK = frozenset((28, 30, 122))
"""No space left, read-only file system, quota: the output's trouble, not the input's."""


Submit = Callable[[Iterator[Task]], Iterator[list[Done]]]
"""Cleans the files of some tasks; the answers come in the order of the tasks."""


class Pool:
    """Runs `_clean_chunk` here or in several processes; results come in the order of the tasks."""

    def __init__(self, work: Work, jobs: int) -> None:
        self._work = work
        self._jobs = jobs
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Submit:
        if self._jobs == 1:
            _start(self._work)
            return lambda tasks: map(_clean_chunk, tasks)
        method = "fork" if os.name == "posix" and threading.active_count() == 1 else "spawn"
        self._executor = ProcessPoolExecutor(
            self._jobs, multiprocessing.get_context(method), initializer=_start, initargs=(self._work,)
        )
        return lambda tasks: self._executor.map(_clean_chunk, tasks)  # type: ignore[union-attr]

    def __exit__(self, *_exception: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
