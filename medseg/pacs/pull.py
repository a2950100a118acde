"""Pull: studies from an archive into a folder, only what is missing, each file checked and written whole."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from medseg.data.refusal import Refusal
from medseg.errors import ArchiveError, ConnectionLostError, ReadError
from medseg.pacs.archive import PAUSE_SECONDS, Archive, FoundSeries, FoundStudy, Instance, conversation
from medseg.pacs.folder import PulledFolder, open_pulled
from medseg.pacs.wanted import Wanted
from medseg.privacy.deflated import check_deflated
from medseg.privacy.ledger import Ledger

__all__ = ["Found", "PullReport", "find", "pull"]

_NOT_FOUND = "the archive holds no such study, or doesn't show it to us"


@dataclass(frozen=True)
class Found:
    """What the archive holds for one line of the list; counts, no identities.

    Attributes:
        number: Line of the list.
        studies: Number of studies.
        series: The series that are wanted.
    """

    number: int
    studies: int
    series: tuple[FoundSeries, ...]

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of the series, sorted."""
        return tuple(sorted({s.modality for s in self.series}))


@dataclass(frozen=True)
class PullReport:
    """What a pull did.

    Attributes:
        studies: Number of studies found.
        instances: Number of instances wanted in them.
        fetched: Number of instances that came now.
        already: Number of instances that an earlier pull had brought.
        refusals: Lines of the list that weren't found, and instances that didn't come.
    """

    studies: int
    instances: int
    fetched: int
    already: int
    refusals: tuple[Refusal, ...]


def find(archive: Archive, wanted: Sequence[Wanted]) -> list[Found]:
    """Ask what an archive holds.

    Raises:
        ArchiveError: As `Archive`.
    """
    with conversation(archive):
        return [_find_one(archive, line) for line in wanted]


def pull(
    archive: Archive,
    wanted: Sequence[Wanted],
    out: Path,
    *,
    attempts: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> PullReport:
    """Pull studies into a folder. The files are identified data; their names are keyed hashes.

    The same call again fetches what is missing. After a lost connection it goes on by itself, up to `attempts` times
    without anything new. Beside the folder lie its account (``OUT.pull.jsonl``) and its ledger.

    Args:
        archive: From `connect`.
        wanted: From `read_wanted`.
        out: New or empty folder, or one of an earlier pull.
        attempts: How often to go on after a lost connection from which nothing more has come.
        progress: Called with the number of instances that are here, and of all.

    Raises:
        ArchiveError: The archive can't be reached, doesn't let us in, or gives nothing at all.
        RequestError: The folder holds something else.
        OSError: The disk is full.
    """
    with conversation(archive):
        found = [_find_one(archive, line) for line in wanted]
        refusals = [Refusal(f"line {f.number} of the list", _NOT_FOUND) for f in found if not f.series]
        series = list(dict.fromkeys(s for f in found for s in f.series))
        instances = list(dict.fromkeys(i for s in series for i in archive.find_instances(s)))
        studies = len({s.study for s in series})
        if not instances:
            return PullReport(studies, 0, 0, 0, tuple(refusals))
        with open_pulled(out) as folder:
            run = _Run(archive, instances, folder, progress)
            try:
                run.go(attempts)
            finally:
                _record(out, studies=studies, run=run)
    return PullReport(studies, len(instances), run.fetched, run.already, (*refusals, *run.refusals()))


def _find_one(archive: Archive, wanted: Wanted) -> Found:
    """Studies of one line, and their series of the wanted UID and modality.

    What the archive answers is compared once more: some archives ignore keys that they don't know.
    """
    studies: list[FoundStudy] = []
    for study in archive.find_studies(wanted):
        pairs = ((wanted.study, study.uid), (wanted.patient, study.patient), (wanted.accession, study.accession))
        if study.uid and all(asked in ("", told) for asked, told in pairs):
            studies.append(study)
    series = [
        s
        for study in studies
        for s in archive.find_series(study.uid)
        if s.uid and wanted.series in ("", s.uid) and wanted.modality in ("", s.modality)
    ]
    return Found(wanted.number, len(studies), tuple(series))


class _Run:
    """One pull: what is missing, asked for series by series until it is here or refused."""

    def __init__(
        self,
        archive: Archive,
        instances: Sequence[Instance],
        folder: PulledFolder,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._archive = archive
        self._instances = list(instances)
        self._folder = folder
        self._progress = progress
        self._here = {i for i in self._instances if folder.holds(i)}
        self._reasons: dict[str, str] = {}
        self.already = len(self._here)

    @property
    def fetched(self) -> int:
        """Number of instances that came now."""
        return len(self._here) - self.already

    def go(self, attempts: int) -> None:
        """Fetch until nothing is missing, or nothing new comes any more."""
        self._tell()
        vain, lost = 0, ""
        while vain < attempts and (missing := self._missing_by_series()):
            before = len(self._here)
            try:
                for series in missing:
                    self._fetch(series)
                lost = ""
            except ConnectionLostError as error:
                lost = str(error)
            if len(self._here) > before:
                vain = 0
            elif lost:
                vain += 1
                time.sleep(PAUSE_SECONDS)  # An archive that restarts needs a moment.
            else:
                break
        if lost and not self._here:
            raise ArchiveError(lost)
        for instance in self._instances if lost else ():
            self._reasons.setdefault(instance.uid, lost)

    def refusals(self) -> Iterator[Refusal]:
        """Instances that aren't here, by their number."""
        count = len(self._instances)
        for number, instance in enumerate(self._instances, start=1):
            if instance not in self._here:
                reason = self._reasons.get(instance.uid, "the archive lists it, but didn't deliver it")
                yield Refusal(f"instance {number} of {count}", reason)

    def _missing_by_series(self) -> list[list[Instance]]:
        missing = [i for i in self._instances if i not in self._here]
        return [list(group) for _, group in groupby(missing, key=lambda i: (i.study, i.series))]

    def _fetch(self, missing: list[Instance]) -> None:
        series = (missing[0].study, missing[0].series)
        others = any((i.study, i.series) == series for i in self._here)
        asked = {instance.uid: instance for instance in missing}

        def take(data: bytes) -> str:
            uid = _uid_of(data)
            instance = asked.get(uid)
            if instance is None:
                return "not wanted"
            try:
                self._folder.put(instance, data)
            except ReadError as error:
                self._reasons[uid] = str(error)
                return str(error)
            self._here.add(instance)
            self._tell()
            return ""

        self._reasons |= self._archive.fetch(missing, take, whole_series=not others)

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(len(self._here), len(self._instances))


def _uid_of(data: bytes) -> str:
    import pydicom

    try:
        check_deflated(io.BytesIO(data))
        head = pydicom.dcmread(io.BytesIO(data), specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
        return str(head.get("SOPInstanceUID", ""))
    except Exception:
        # pydicom raises whatever a damaged or hostile file makes it raise.
        return ""


def _record(out: Path, *, studies: int, run: _Run) -> None:
    facts = {"studies": studies, "fetched": run.fetched, "already": run.already, "missing": len(list(run.refusals()))}
    out = Path(out).resolve()
    Ledger(out.with_name(f"{out.name}.ledger.jsonl")).append("pulled", facts)
