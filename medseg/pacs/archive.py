"""Archive: what both protocols can do, in the same words."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from medseg.errors import RequestError
from medseg.pacs.settings import ArchiveSettings
from medseg.pacs.wanted import Wanted

__all__ = [
    "CONNECT_SECONDS",
    "LOST",
    "NOBODY_ANSWERS",
    "PAUSE_SECONDS",
    "TOO_SLOW",
    "Archive",
    "FoundSeries",
    "FoundStudy",
    "Instance",
    "Outgoing",
    "Take",
    "connect",
    "conversation",
    "quiet",
]

CONNECT_SECONDS = 10.0
"""How long to wait for a connection at most; a machine that is there answers sooner than its database does."""
PAUSE_SECONDS = 1.0
"""How long to wait after a connection over which nothing went was lost, before it is tried again."""
LOST = "the archive stopped answering half-way; where it is only slow, raise timeout_seconds"
TOO_SLOW = "the archive doesn't answer in time; check host and port, or raise timeout_seconds"
NOBODY_ANSWERS = "nothing answers at the archive's address; check host and port, and whether it runs"

_LOGGERS = ("pynetdicom", "dicomweb_client", "urllib3", "requests", "pydicom")


@dataclass(frozen=True)
class FoundStudy:
    """A study that the archive holds.

    Attributes:
        uid: Study Instance UID; identifies.
        patient: Patient ID; identifies.
        accession: Accession number; identifies.
    """

    uid: str = field(repr=False)
    patient: str = field(repr=False)
    accession: str = field(repr=False)


@dataclass(frozen=True)
class FoundSeries:
    """A series that the archive holds.

    Attributes:
        study: Study Instance UID; identifies.
        uid: Series Instance UID; identifies.
        modality: As ``CT``.
    """

    study: str = field(repr=False)
    uid: str = field(repr=False)
    modality: str


@dataclass(frozen=True)
class Instance:
    """One object in an archive, told by its three UIDs; each of them identifies."""

    study: str = field(repr=False)
    series: str = field(repr=False)
    uid: str = field(repr=False)


@dataclass(frozen=True)
class Outgoing:
    """One object to push.

    Attributes:
        number: Running number among the objects of the push, from 1.
        instance: Its UIDs.
        sop_class: SOP Class UID.
        syntax: Transfer Syntax UID.
        load: Reads the file's bytes anew, and refuses one that changed since it passed the gate.
    """

    number: int
    instance: Instance
    sop_class: str
    syntax: str
    load: Callable[[], bytes] = field(repr=False)


Take = Callable[[bytes], str]
"""Takes the bytes of one fetched file and keeps account of it; returns why it isn't wanted, or an empty text."""


class Archive(Protocol):
    """An archive that answers.

    Every method raises `ArchiveError` where the archive cannot be reached or doesn't let us in, and
    `ConnectionLostError` where it stops answering half-way.
    """

    def find_studies(self, wanted: Wanted) -> list[FoundStudy]:
        """Studies that fit a line of the list."""

    def find_series(self, study: str) -> list[FoundSeries]:
        """Series of a study; empty where the archive holds none."""

    def find_instances(self, series: FoundSeries) -> list[Instance]:
        """Instances of a series."""

    def fetch(self, instances: Sequence[Instance], take: Take, *, whole_series: bool) -> dict[str, str]:
        """Fetch instances of one series.

        Args:
            instances: What is missing.
            take: Gets each file.
            whole_series: Nothing of the series is here yet, so that it may be asked for as one.

        Returns:
            Reasons, by SOP Instance UID, for those that the archive refused to give.
        """

    def can_be_asked(self) -> bool:
        """Whether the archive answers queries; a mere receiver doesn't."""

    def send(self, objects: Sequence[Outgoing]) -> Iterator[tuple[Outgoing, str]]:
        """Send objects; yields each with why it was refused, or an empty text."""

    def close(self) -> None:
        """Hang up; the next question calls again."""


def connect(settings: ArchiveSettings, protocol: Literal["dicomweb", "dicom"]) -> Archive:
    """Make ready to talk to an archive; nothing is sent yet.

    Raises:
        RequestError: The archive file lacks the protocol's section.
        MissingExtraError: The protocol's library isn't installed.
    """
    if protocol == "dicomweb":
        if settings.dicomweb is None:
            raise RequestError("expected a section dicomweb in the archive file, found none; `medseg pacs` uses dicom")
        from medseg.pacs.web import WebArchive

        return WebArchive(settings.dicomweb, timeout_seconds=settings.timeout_seconds)
    if settings.dicom is None:
        raise RequestError("expected a section dicom in the archive file, found none; `medseg dicomweb` uses dicomweb")
    from medseg.pacs.dimse import DimseArchive

    return DimseArchive(settings.dicom, timeout_seconds=settings.timeout_seconds)


@contextmanager
def conversation(archive: Archive) -> Iterator[None]:
    """Talk to an archive without a word in the logs, and hang up in the end."""
    with quiet():
        try:
            yield
        finally:
            archive.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' own log lines and warnings, which repeat UIDs and values of attributes."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
