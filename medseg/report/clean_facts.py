"""CleanFacts: what a folder that `medseg deidentify` wrote says of how it was made."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medseg.errors import RequestError
from medseg.privacy.ledger import verify
from medseg.privacy.outcomes import DEIDENTIFIED_MARK
from medseg.privacy.profile import Profile

__all__ = ["CleanFacts", "read_clean"]


@dataclass(frozen=True)
class CleanFacts:
    """How a folder of clean copies was made.

    Attributes:
        profile: The profile, as its marker has it.
        version: Of medseg.
        date: Day on which the folder was begun, ISO 8601.
        written: Files with a clean copy, after the last call.
        quarantined: Files that a person has to look at.
        refused: Files that can't be cleaned.
        calls: How often deidentify ran on it.
        exceptions: What was let pass on purpose, and how often that was recorded.
        chain_is_whole: Whether its ledger's chain is whole.
    """

    profile: Profile
    version: str
    date: str
    written: int
    quarantined: int
    refused: int
    calls: int
    exceptions: dict[str, int]
    chain_is_whole: bool


def read_clean(folder: Path) -> CleanFacts:
    """Read the marker and the ledger of a folder of clean copies.

    Raises:
        RequestError: `medseg deidentify` did not write the folder, or did not finish it.
    """
    ledger = folder / "ledger.jsonl"
    try:
        marker = json.loads((folder / DEIDENTIFIED_MARK).read_text(encoding="utf-8"))
        profile = Profile.model_validate(marker["profile"])
        entries = [json.loads(line) for line in ledger.read_text(encoding="ascii").splitlines()]
        done: list[dict[str, Any]] = [entry["facts"] for entry in entries if entry["action"] == "deidentified"]
        last = done[-1]
        exceptions: dict[str, int] = {}
        for entry in entries:
            if entry["action"] == "exception":
                what = str(entry["facts"]["what"])
                exceptions[what] = exceptions.get(what, 0) + 1
        return CleanFacts(
            profile=profile,
            version=str(marker["version"]),
            date=str(marker["date"]),
            written=int(last["written"]),
            quarantined=int(last["quarantined"]),
            refused=int(last["refused"]),
            calls=len(done),
            exceptions=exceptions,
            chain_is_whole=not verify(ledger),
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, ValidationError):
        raise RequestError(
            "--clean: expected a folder that `medseg deidentify` wrote and finished, with its marker and ledger; "
            "found none"
        ) from None
