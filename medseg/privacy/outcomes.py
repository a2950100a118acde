"""Outcome: what became of one input file; and the account of them all, by which a stopped run goes on.

The account holds no name and no path of the source: a file is known by a keyed hash of its place in the source.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from medseg.errors import RequestError
from medseg.privacy.inputs import shown
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.unfinished import HALF

__all__ = [
    "DEIDENTIFIED_MARK",
    "OWN_FILES",
    "Account",
    "DeidentifyReport",
    "Outcome",
    "entry_of",
    "is_made_with",
    "open_output",
    "write_decisions",
    "write_private_list",
    "write_refused",
    "write_whole",
]

DEIDENTIFIED_MARK: Final = "medseg-deidentified.json"
"""Name of the file by which a folder of clean copies is known."""
Status = Literal["written", "quarantined", "refused"]
OWN_FILES: Final = frozenset(
    (DEIDENTIFIED_MARK, "outcomes.jsonl", "looked.jsonl", "refused.csv", "ledger.jsonl", ".ledger.jsonl.lock")
)
"""Names of what `medseg deidentify` writes beside the copies; they are no images."""


@dataclass(frozen=True)
class Outcome:
    """What became of one input file.

    Attributes:
        number: Its running number, from 1 in the order of the source's sorted paths.
        status: `written`, `quarantined` (a person has to look at it) or `refused`.
        place: Output path relative to the output folder, empty unless written.
        reason: Why it was not written; no name, no value, no path.
        kind: ``dicom``, ``photograph``, ``volume``, ``table``, ``unknown``; ``part`` of a file that holds the voxels of
            a header in another one, whose copy is its own.
    """

    number: int
    status: Status
    place: str
    reason: str
    kind: str


@dataclass(frozen=True)
class DeidentifyReport:
    """One outcome for each input file.

    Attributes:
        written: Files that have a clean copy.
        quarantined: Files that a person has to look at.
        refused: Files that can't be cleaned.
    """

    written: tuple[Outcome, ...]
    quarantined: tuple[Outcome, ...]
    refused: tuple[Outcome, ...]

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """All of them, by running number."""
        return tuple(sorted(self.written + self.quarantined + self.refused, key=lambda outcome: outcome.number))

    def noted(self, note: str) -> frozenset[int]:
        """Numbers of the copies of which a note says something: that text was painted over, numbers left out."""
        return frozenset(outcome.number for outcome in self.written if note in outcome.reason)


class Account:
    """The outcomes so far, kept in ``outcomes.jsonl`` of the output folder.

    Args:
        out: The output folder.
        pseudonyms: Gives the keyed hashes of the source's paths.
    """

    def __init__(self, out: Path, pseudonyms: Pseudonymiser) -> None:
        self._path = out / "outcomes.jsonl"
        self._pseudonyms = pseudonyms
        self._known: dict[str, dict[str, str]] = {}
        self._places: dict[str, str] = {}
        self._out = out
        self._looked = dict(_looked(out / "looked.jsonl"))
        for line in self._path.read_bytes().splitlines() if self._path.is_file() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and isinstance(entry.get("file"), str):
                self._take(entry)

    def identifier(self, relative: str) -> str:
        """The keyed hash by which the account knows a source file."""
        return self._pseudonyms.name("source", relative, "F", 20)

    def stamp(self, facts: str) -> str:
        """A keyed hash of a source file's size and time (`stamp_of`), to see whether it changed since."""
        return self._pseudonyms.name("stamp", facts, "", 12)

    def known(self, identifier: str, stamp: str) -> dict[str, str] | None:
        """The outcome of an earlier run, if the file is unchanged and its copy is still there."""
        entry = self._known.get(identifier)
        if entry is None or entry["stamp"] != stamp:
            return None
        if entry["status"] == "written" and not (self._out / entry["place"]).is_file():
            return None
        return entry

    def was_looked_at(self, series: str, files: int) -> bool:
        """Whether an earlier run looked at a series of that many files for text."""
        return self._looked.get(series) == files

    def looked_at(self, series: str, files: int) -> None:
        """Note that a series was looked at for text, in ``looked.jsonl``."""
        self._looked[series] = files
        with (self._out / "looked.jsonl").open("a", encoding="ascii") as stream:
            stream.write(json.dumps({"series": series, "files": files}, sort_keys=True) + "\n")

    def claim(self, place: str, identifier: str) -> bool:
        """Whether an output path is free for this file (or its own already)."""
        return self._places.setdefault(place, identifier) == identifier

    def owner(self, place: str) -> str | None:
        """The file that an output path belongs to."""
        return self._places.get(place)

    def add(self, entries: Iterable[dict[str, str]]) -> None:
        """Take up outcomes and append them to the file."""
        lines = []
        for entry in entries:
            self._take(entry)
            lines.append(json.dumps(entry, sort_keys=True))
        if lines:
            with self._path.open("a", encoding="ascii") as stream:
                stream.write("\n" + "\n".join(lines) + "\n")

    def close(self, identifiers: Iterable[str]) -> None:
        """Write the account anew, in an order that says nothing about the source's."""
        entries = sorted((self._known[i] for i in identifiers), key=lambda entry: entry["file"])
        write_whole(self._path, "".join(json.dumps(e, sort_keys=True) + "\n" for e in entries).encode("ascii"))

    def _take(self, entry: dict[str, str]) -> None:
        self._known[entry["file"]] = entry
        if entry["status"] == "written" and entry.get("kind") != "part":
            self._places.setdefault(entry["place"], entry["file"])


def _looked(path: Path) -> Iterable[tuple[str, int]]:
    """Series and number of files of the lines that were written whole."""
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            yield str(entry["series"]), int(entry["files"])
        except (ValueError, KeyError, TypeError):
            continue


def write_whole(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write a file that is there whole or not at all; its folder is made.

    Args:
        path: The file.
        data: Its content.
        mode: Its permissions, of which the process's umask takes away.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
            stream.write(data)
        os.replace(temporary, path)
    except BaseException:
        # Also an interrupt must leave no half of a file behind.
        temporary.unlink(missing_ok=True)
        raise


def write_refused(out: Path, report: DeidentifyReport) -> None:
    """Write ``refused.csv``: running number, status and reason of each file that has no copy."""
    rows = [(o.number, o.status, o.reason) for o in report.outcomes if o.status != "written"]
    write_whole(out / "refused.csv", _csv(("number", "status", "reason"), rows).encode("ascii", "replace"))


def write_private_list(path: Path, files: Sequence[str], report: DeidentifyReport) -> None:
    """Write which source files have no copy, for the owner of the key only: running number, status, reason and path.

    The list holds identities; it belongs beside the key and never into the output.
    """
    rows = []
    for outcome in report.outcomes:
        if outcome.status != "written":
            name = shown(files[outcome.number - 1])
            # A spreadsheet would take such a name for a formula.
            name = f"'{name}" if name[:1] in "=+-@" else name
            rows.append((outcome.number, outcome.status, outcome.reason, name))
    text = _csv(("number", "status", "reason", "file"), rows)
    write_whole(path, text.encode("utf-8", "backslashreplace"), mode=0o600)


def write_decisions(path: Path, report: DeidentifyReport) -> None:
    """Write the form in which a person decides on each file: number, decision (to fill in), choices, reason.

    Photographs whose text was painted over are in it too; without a decision they stay as they are.
    """
    painted = [outcome for outcome in report.written if outcome.kind == "photograph" and outcome.reason]
    rows = []
    for one in sorted((*report.quarantined, *painted), key=lambda outcome: outcome.number):
        # Text in DICOM files has been painted over already, where that could be done.
        choices = "pass, paint, refuse" if one.kind == "photograph" else "pass, refuse"
        rows.append((one.number, "", choices, one.reason))
    write_whole(path, _csv(("number", "decision", "choices", "reason"), rows).encode("ascii", "replace"))


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return stream.getvalue()


def open_output(out: Path, marker: dict[str, object], *, key_check: str) -> None:
    """Make the output folder and its marker ``medseg-deidentified.json``, or go on in one that has the same.

    Half-written files that an earlier run left behind because it was killed are taken away.

    Raises:
        RequestError: The folder holds something else, or was made with another key or profile.
    """
    path = out / DEIDENTIFIED_MARK
    if path.is_file():
        earlier = _marker(out)
        if earlier.get("key_check") != key_check or earlier.get("profile") != marker["profile"]:
            raise RequestError(
                "expected a new output folder or one made with the same key and profile, found one made with others"
            )
        for half in out.rglob(".*.tmp"):
            if HALF.fullmatch(half.name):
                half.unlink(missing_ok=True)
        return
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RequestError("expected a new or empty output folder, found one that holds other things")
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**marker, "key_check": key_check}, indent=2, sort_keys=True) + "\n"
    write_whole(path, text.encode("utf-8"))


def is_made_with(out: Path, key_check: str) -> bool:
    """Whether a folder is one of copies that were made with a key."""
    return _marker(out).get("key_check") == key_check


def _marker(out: Path) -> dict[str, object]:
    """What the marker of an output folder says; empty where there is none, or a damaged one."""
    try:
        found = json.loads((out / DEIDENTIFIED_MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def entry_of(outcome: Outcome, *, file: str, stamp: str) -> dict[str, str]:
    """An outcome as the account writes it."""
    facts = {key: str(value) for key, value in asdict(outcome).items() if key != "number"}
    return {**facts, "file": file, "stamp": stamp}
