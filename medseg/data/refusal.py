"""Refusal: one input that was not taken, and the true reason."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.data.files import atomic_write

__all__ = ["Refusal", "most_frequent", "write_refusals"]


@dataclass(frozen=True)
class Refusal:
    """One input that was not taken.

    Attributes:
        input: What it was, without its name: ``file 3 of 20``, ``series 2 of 5`` or the pseudonym of a case.
        reason: Expected, found and what to do, in a sentence. No name, no path, no value of a DICOM attribute.
    """

    input: str
    reason: str


def write_refusals(refusals: Iterable[Refusal], path: Path) -> None:
    """Write the columns ``input,reason`` as CSV, atomically."""
    with atomic_write(path, mode="w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("input", "reason"))
        writer.writerows((refusal.input, refusal.reason) for refusal in refusals)


def most_frequent(refusals: Sequence[Refusal]) -> str:
    """The three most frequent reasons with their counts, each on a line of its own that begins here."""
    reasons = Counter(refusal.reason for refusal in refusals).most_common(3)
    return "".join(f"\n  {count} x {reason}" for reason, count in reasons)
