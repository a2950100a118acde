"""Witness: beside the project's key, how each ledger of the project ended, so that lines cut off its end are missed.

The chain of a ledger tells that a line was changed, removed or put in, except at its end. Where a command was given the
key, each append is noted in ``KEY.ledgers``: the hash of the last line before it and after it. Who can write the run
folder, and not the key's, can't cut or change the end of a ledger unseen.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

__all__ = ["call_witness", "dismiss_witnesses", "ends_as_noted", "note_append"]

_witnesses: list[Path] = []


def call_witness(key: Path) -> None:
    """Note from now on, until `dismiss_witnesses`, beside this key how ledgers end."""
    path = _beside(key)
    if path not in _witnesses:
        _witnesses.append(path)


def dismiss_witnesses() -> None:
    """Note nothing any more, as at the beginning of a command."""
    _witnesses.clear()


def note_append(before: str, after: str) -> None:
    """Note that a ledger was appended to; where nothing can be written beside the key, `ends_as_noted` says so.

    Args:
        before: SHA-256 of the last line before, in hexadecimal.
        after: SHA-256 of the last line after.
    """
    line = json.dumps({"before": before, "after": after}).encode("ascii") + b"\n"
    for path in _witnesses:
        with suppress(OSError), open(path, "ab", opener=_private) as stream:
            stream.write(line)


def ends_as_noted(ledger: Path, key: Path) -> tuple[int, bool]:
    """Up to which line a ledger is as it was noted, and whether nothing that was noted behind it is missing.

    Args:
        ledger: The ledger.
        key: The project's key.

    Returns:
        Number of the last line that was noted, 0 where none was; False where it was noted with other lines behind it.
    """
    heads = [hashlib.sha256(line).hexdigest() for line in ledger.read_bytes().splitlines()]
    notes = _read(_beside(key))
    noted = {head for note in notes for head in note}
    last = max((number for number, head in enumerate(heads, start=1) if head in noted), default=0)
    return last, last == 0 or heads[last - 1] not in {before for before, _ in notes}


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _beside(key: Path) -> Path:
    return key.resolve().with_name(f"{key.name}.ledgers")


def _read(path: Path) -> set[tuple[str, str]]:
    notes = set()
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        with suppress(ValueError, KeyError, TypeError):  # A line torn by a kill.
            note = json.loads(line)
            notes.add((str(note["before"]), str(note["after"])))
    return notes
