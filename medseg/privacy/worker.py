"""Worker: cleans one file after the other, here or in a process of its own."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from medseg.errors import DataError, MissingExtraError, ReadError, RequestError
from medseg.privacy.bare import bare_file
from medseg.privacy.dicom import clean_dicom, is_dicom, preview_dicom, read_dicom, syntax_of
from medseg.privacy.guards import HeadError, QuarantineError
from medseg.privacy.heads import FaceCut, face_cuts
from medseg.privacy.inputs import read_input
from medseg.privacy.kinds import KINDS
from medseg.privacy.nifti import deface_nifti
from medseg.privacy.outcomes import Status, write_whole
from medseg.privacy.pairs import joined
from medseg.privacy.photographs import Photograph, clean_photograph, photographs_can_be_looked_at, preview_pair
from medseg.privacy.pixels import clean_text, is_label_picture, ocr_is_here, picture_file, preview_image
from medseg.privacy.places import split_name
from medseg.privacy.profile import Profile
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.series_text import slices_with_text
from medseg.privacy.volume_text import volume_has_text, volume_sheet
from medseg.wording import counted

__all__ = [
    "BLANKED",
    "DEFACED",
    "LESS",
    "PAINTED",
    "STRIPPED",
    "UNSEEN",
    "Done",
    "Input",
    "Pool",
    "Submit",
    "Task",
    "Work",
    "unseen",
    "refused",
]

DEFACED = "the face was taken off"
"""How the note on a copy begins whose face was taken off; the ledger counts by it."""
PAINTED = "text was painted over"
"""How the note on a copy of a photograph begins that isn't as it was; a person may refuse it."""
STRIPPED = "the skull was stripped already"
UNSEEN = "not looked at for text, as no text detector is installed"
"""The note on a copy of a volume that a later call looks at."""
BLANKED = "letters among its pixels that name the patient were blanked"
LESS = "left out, as they may be the patient's or are none: numbers of"
"""How a note on a copy says that it lacks numbers; the ledger counts by it."""
_MASKS = frozenset(("mask", "masks", "segmentation", "seg", "label", "labels", "lesion", "lesions", "labelmap"))
_OUR_DISK = frozenset((errno.ENOSPC, errno.EROFS, errno.EDQUOT))
"""Errors that are the output's trouble, not the input's."""


@dataclass(frozen=True)
class Input:
    """A file to work on: its running number, its name in the source, and its output path, empty for DICOM.

    `parts` are the names of the files that hold its voxels, where it is a header alone.
    """

    number: int
    name: str
    place: str = ""
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """Files that a worker takes together.

    Attributes:
        kind: ``files``: each is cleaned by itself. ``head``: they are one series, cleaned with its face taken off.
            ``look``: they are copies of one series, by their output path, looked at for text.
        inputs: The files.
        look: Look for text in the pixels whatever the class, as there is some.
    """

    kind: Literal["files", "head", "look"]
    inputs: tuple[Input, ...]
    look: bool = False


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
    painted: frozenset[int]
    quarantine: Path | None


@dataclass(frozen=True)
class Done:
    """A worker's answer for one file; `identities` never leave the process tree.

    `head` is the series' pseudonym where the file waits for the rest of its series, to be defaced with it. `again` are
    the running numbers of the files of a series that have to be cleaned once more, as there is text on them.
    """

    status: Status
    place: str
    reason: str
    identities: frozenset[str]
    head: str = ""
    again: tuple[int, ...] = ()


class _Cleaner:
    """Takes one task after the other; knows which identities it has told already."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._pseudonyms = Pseudonymiser(work.key)
        self._told: set[str] = set()

    def take(self, task: Task) -> list[Done]:
        """Clean some files and write their copies; one answer for each, in order, or one for a look at a series."""
        if task.kind == "look":
            return [self._look_at(task.inputs)]
        if task.kind == "head":
            return self._clean_head(task)
        return [self._clean(one, look=task.look) for one in task.inputs]

    def _look_at(self, copies: Sequence[Input]) -> Done:
        """Which files of a series have text; `refused` where nothing here can look."""
        try:
            found = slices_with_text([self._work.out / copy.place for copy in copies])
        except MissingExtraError:
            return Done("refused", "", "", frozenset())
        return Done("written", "", "", frozenset(), again=tuple(copies[place].number for place in found))

    def _clean_head(self, task: Task) -> list[Done]:
        """Clean the files of one series of a head, its face taken off."""
        try:
            sources = [read_dicom(read_input(self._work.source, one.name)) for one in task.inputs]
            cuts, share = face_cuts(sources, [syntax_of(source) for source in sources])
        except DataError as error:
            return [Done("refused", "", str(error), frozenset()) for _ in task.inputs]
        except Exception as error:
            # As for a file: the series is refused, the folder goes on.
            reason = f"medseg can't take the face off this series ({type(error).__name__})"
            return [Done("refused", "", reason, frozenset()) for _ in task.inputs]
        del sources
        note = f"{DEFACED}, {share:.0%} of the head" if share else STRIPPED
        made = [self._clean(one, face=cut, look=task.look) for one, cut in zip(task.inputs, cuts, strict=True)]
        return [
            replace(done, reason="; ".join(filter(None, (note, done.reason)))) if done.place else done for done in made
        ]

    def _clean(self, one: Input, *, face: FaceCut | None = None, look: bool = False) -> Done:
        """Clean one file and write its copy."""
        work = self._work
        identities: frozenset[str] = frozenset()
        data, place, note = b"", one.place, ""
        try:
            data = _read(work.source, one)
            if place:
                clean, note = _clean_other(data, one, work)
            else:
                made = clean_dicom(
                    data,
                    work.profile,
                    pseudonyms=self._pseudonyms,
                    acknowledge_faces=work.acknowledge_faces,
                    clean_text=clean_text if work.profile.clean_pixels else None,
                    looked_at=one.number in work.accepted,
                    face=face,
                    look=look,
                )
                clean, identities = made.data, made.identities - self._told
                self._told |= identities
                less = f"{LESS} {counted(made.left_out, 'attribute')}" if made.left_out else ""
                note = "; ".join(filter(None, (BLANKED if made.blanked else "", less)))
                place = f"{made.patient}/{made.study}/{made.series}/{made.instance}.dcm"
            target = work.out / place
            if not look and target.is_file() and target.read_bytes() != clean:
                raise ReadError("another file of this source has the same UIDs and other content; that one was written")
            write_whole(target, clean)
        except HeadError as error:
            return Done("refused", "", str(error), identities, head=error.series if work.deface else "")
        except QuarantineError as error:
            _show(work.quarantine, one, data)
            if place:  # A call that could not look may have written a copy.
                (work.out / place).unlink(missing_ok=True)
            return Done("quarantined", "", str(error), identities)
        except Exception as error:
            return refused(error, identities=identities)
        return Done("written", place, note, identities)


def refused(error: Exception, *, identities: frozenset[str] = frozenset()) -> Done:
    """The answer for a file that was the cause of an error.

    One file that breaks something must not end the folder: it is refused, by the kind of an unexpected error alone.

    Raises:
        Exception: The error, where it is the output's or the request's, not the file's.
    """
    if isinstance(error, RequestError) or (isinstance(error, OSError) and error.errno in _OUR_DISK):
        raise error
    if isinstance(error, DataError):
        return Done("refused", "", str(error), identities)
    if isinstance(error, (OSError, MemoryError)):
        return Done("refused", "", "the file cannot be read", identities)
    return Done("refused", "", f"medseg can't deal with this file ({type(error).__name__})", identities)


def unseen(note: str) -> bool:
    """Whether a copy, by its note, has still to be looked at for text, and can be now."""
    return UNSEEN in note and ocr_is_here()


def _read(source: Path, one: Input) -> bytes:
    data = read_input(source, one.name)
    return joined(one.name, data, [read_input(source, part) for part in one.parts]) if one.parts else data


def _show(folder: Path | None, one: Input, data: bytes) -> None:
    """Put a picture of a quarantined file where a person can look at it; one that can't be shown has none."""
    if folder is None:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    suffix = split_name(one.place.rsplit("/", 1)[-1])[2]
    with suppress(DataError):
        if is_dicom(data[:132]):
            picture = preview_dicom(data)
        elif KINDS[suffix] == "volume":
            picture = picture_file(volume_sheet(bare_file(data, suffix, acknowledge_faces=True), suffix))
        else:
            picture = preview_image(data)
        write_whole(folder / f"{one.number:06d}.png", picture)


def _show_painted(folder: Path | None, number: int, before: bytes, after: bytes) -> None:
    """Put a photograph and its painted copy, side by side, where a person can look at them."""
    if folder is not None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(folder / f"{number:06d}.painted.png", preview_pair(before, after))


def _clean_other(data: bytes, one: Input, work: Work) -> tuple[bytes, str]:
    """A clean copy of an image or a volume, and a note on what was done to it.

    Raises:
        QuarantineError: A person has to look at the picture first.
        ReadError: It can't be cleaned.
    """
    _, roles, suffix = split_name(one.place.rsplit("/", 1)[-1])
    if KINDS[suffix] == "photograph" and work.profile.photographs != "pass" and one.number not in work.accepted:
        is_mask = not _MASKS.isdisjoint(roles.split("_")) and is_label_picture(data)
        if not is_mask:
            made = _look_at_photograph(data, suffix, one, work)
            if made.painted:
                _show_painted(work.quarantine, one.number, data, made.data)
            return made.data, f"{PAINTED}, on {made.painted:.1%} of the picture" if made.painted else ""
    if suffix in (".nii", ".nii.gz") and work.deface:
        clean, has_gone = deface_nifti(data)
        notes = [DEFACED] if has_gone else []
    else:
        clean, notes = bare_file(data, suffix, acknowledge_faces=work.acknowledge_faces), []
    if KINDS[suffix] == "volume" and work.profile.clean_pixels and one.number not in work.accepted:
        if not ocr_is_here():
            notes.append(UNSEEN)
        elif volume_has_text(clean, suffix):
            raise QuarantineError("something can be read on a slice of this volume; a person has to look at it")
    return clean, "; ".join(notes)


def _look_at_photograph(data: bytes, suffix: str, one: Input, work: Work) -> Photograph:
    """A clean copy of a photograph; raises where a person has to look at it, or where nothing here can."""
    if not photographs_can_be_looked_at():
        raise QuarantineError(
            "a photograph; a person has to look at it for text, faces and tattoos first "
            '(with pip install "medseg[ocr]" medseg looks for them)'
        )
    decided = one.number in work.painted
    return clean_photograph(data, suffix, paint=decided or work.profile.photographs == "paint", decided=decided)


Submit = Callable[[Iterator[Task]], Iterator[list[Done]]]
"""Cleans the files of some tasks; the answers come in the order of the tasks."""


_cleaners: list[_Cleaner] = []
"""The one of this process, where it is one of a pool."""


def _start(work: Work) -> None:
    _cleaners[:] = [_Cleaner(work)]


def _take(task: Task) -> list[Done]:
    return _cleaners[0].take(task)


class Pool:
    """Has tasks done here or in several processes; results come in the order of the tasks."""

    def __init__(self, work: Work, jobs: int) -> None:
        self._work = work
        self._jobs = jobs
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Submit:
        if self._jobs == 1:
            cleaner = _Cleaner(self._work)
            return lambda tasks: map(cleaner.take, tasks)
        method = "fork" if os.name == "posix" and threading.active_count() == 1 else "spawn"
        executor = self._executor = ProcessPoolExecutor(
            self._jobs, multiprocessing.get_context(method), initializer=_start, initargs=(self._work,)
        )
        return lambda tasks: executor.map(_take, tasks)

    def __exit__(self, *_exception: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
