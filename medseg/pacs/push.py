"""Push: objects into an archive, through the gate, only what the archive lacks, and asked for afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.data.refusal import Refusal
from medseg.errors import ArchiveError, ConnectionLostError
from medseg.pacs.archive import PAUSE_SECONDS, Archive, FoundSeries, Instance, Outgoing, conversation
from medseg.pacs.outgoing import Candidate, check_home, check_shareable, read_candidates
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.ledger import Ledger
from medseg.types import Tier

__all__ = ["PushReport", "push"]


@dataclass(frozen=True)
class PushReport:
    """What a push did.

    Attributes:
        objects: Number of DICOM objects.
        sent: Number that the archive took now.
        already: Number that it held before.
        confirmed: Whether the archive was asked afterwards and lists them; False for a mere receiver.
        refusals: Files that are no DICOM objects, and objects that the archive didn't take.
    """

    objects: int
    sent: int
    already: int
    confirmed: bool
    refusals: tuple[Refusal, ...]


def push(
    archive: Archive,
    source: Path,
    *,
    tier: Tier,
    identities: IdentityIndex | None = None,
    attempts: int = 3,
    progress: Callable[[int, int], None] | None = None,
) -> PushReport:
    """Push the DICOM objects of a file or folder. All pass the gate before the first is sent.

    The same call again sends what the archive still lacks. Beside the source lies its ledger.

    Args:
        archive: From `connect`.
        source: A file or a folder.
        tier: What the archive is declared to be (`ArchiveSettings.tier`).
        identities: The project's identities; needed for a shareable archive.
        attempts: How often to go on after a lost connection over which nothing more has gone.
        progress: Called with the number of objects dealt with, and of all.

    Raises:
        PrivacyError: The gate refused one; nothing was sent.
        ArchiveError: The archive can't be reached or doesn't let us in.
        RequestError: Nothing to push.
    """
    with conversation(archive):
        candidates, refusals = read_candidates(Path(source))
        if tier == "shareable":
            check_shareable(candidates, identities=identities)
        else:
            check_home(candidates, archive)
        run = _Run(archive, candidates, progress)
        # What can't be put on record doesn't leave: the first line is written before anything is sent.
        ledger = _ledger(Path(source))
        ledger.append("push begun", {"tier": tier, "objects": len(candidates), "already": run.already})
        try:
            run.go(attempts)
        finally:
            ledger.append("pushed", {"tier": tier, "sent": run.sent, "failed": len(run.failures())})
    count = len(candidates) + len(refusals)
    failed = [Refusal(f"file {o.number} of {count}", reason) for o, reason in run.failures()]
    return PushReport(len(candidates), run.sent, run.already, run.can_ask, (*refusals, *failed))


class _Run:
    """One push: what the archive lacks, sent until it is there or refused."""

    def __init__(
        self, archive: Archive, candidates: Sequence[Candidate], progress: Callable[[int, int], None] | None
    ) -> None:
        self._archive = archive
        self._objects = [candidate.outgoing for candidate in candidates]
        self._progress = progress
        self._reasons: dict[int, str] = {}
        self.can_ask = archive.can_be_asked()
        self._there = self._listed()
        self.already = len(self._there)

    @property
    def sent(self) -> int:
        """Number of objects that the archive took now."""
        return len(self._there) - self.already

    def go(self, attempts: int) -> None:
        """Send until all are there or refused, or the connection is lost and nothing more goes over it."""
        if self._there:
            self._tell()
        vain, lost = 0, ""
        while vain < attempts:
            before = len(self._there) + len(self._reasons)
            try:
                self._send()
                lost = ""
                break
            except ConnectionLostError as error:
                lost = str(error)
            vain = 0 if len(self._there) + len(self._reasons) > before else vain + 1
            if vain:
                time.sleep(PAUSE_SECONDS)  # An archive that restarts needs a moment.
        if lost and not self._there:
            raise ArchiveError(lost)
        for outgoing in self._objects:
            if lost and outgoing.instance not in self._there:
                self._reasons.setdefault(outgoing.number, lost)
        self._confirm()

    def failures(self) -> list[tuple[Outgoing, str]]:
        """Objects that aren't there, each with its reason."""
        return [(o, self._reasons[o.number]) for o in self._objects if o.number in self._reasons]

    def _send(self) -> None:
        left = [o for o in self._objects if o.instance not in self._there and o.number not in self._reasons]
        if not left:
            return
        for outgoing, reason in self._archive.send(left):
            if reason:
                self._reasons[outgoing.number] = reason
            else:
                self._there.add(outgoing.instance)
            self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(len(self._there) + len(self._reasons), len(self._objects))

    def _listed(self) -> set[Instance]:
        """Those of the objects that the archive lists."""
        if not self.can_ask:
            return set()
        series = {FoundSeries(o.instance.study, o.instance.series, "") for o in self._objects}
        held = {instance for s in series for instance in self._archive.find_instances(s)}
        return {o.instance for o in self._objects} & held

    def _confirm(self) -> None:
        """Ask the archive for what it said it took; an object that it doesn't list has not arrived."""
        if not self.can_ask or not self.sent:
            return
        listed = self._listed()
        for outgoing in self._objects:
            if outgoing.instance in self._there - listed:
                self._reasons[outgoing.number] = "the archive said it took it, but doesn't list it"
        self._there &= listed


def _ledger(source: Path) -> Ledger:
    source = source.resolve()
    return Ledger(source.with_name(f"{source.name}.ledger.jsonl"))
