"""Releases: who stood behind the figures that left earlier, so that no later release gives single patients away.

A mean over 80 patients beside the mean over 79 of them is the value of one, and of four releases of which every two
differ by many, the four together may be (`medseg.privacy.combinations`). Everything `shareable` that tells figures
(report, model package, description of a manifest) is noted in a ledger: for each figure how many patients stand behind
it, and short hashes of their pseudonyms where the writer knows them, so that the exchange of one patient for another
counts as well as one more or one fewer.

The ledger of a run knows its own releases. A patient added to a data set makes another run, so the figures of reports
are noted beside the manifest too, together with the models that they are of: scores of two models differ by more than
one patient's share, but a fold whose held-out part grew by one patient has the very model that it had before.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import RunError
from medseg.privacy.combinations import Value, isolates_few
from medseg.privacy.disclosure import Cell, Limits, withhold_small_differences
from medseg.privacy.ledger import Ledger

__all__ = [
    "RELEASED",
    "Behind",
    "earlier_releases",
    "guard_figures",
    "ledger_of_data",
    "of_same_models",
    "record_release",
    "with_models",
]

RELEASED = "released"
"""The ledger's action for something shareable that tells figures."""


@dataclass(frozen=True)
class Behind:
    """The patients behind a figure.

    Attributes:
        count: How many.
        members: For each a short hash of the pseudonym and, behind a dot, of those of the cases that count, where the
            figure is about cases; None where only the count is known.
    """

    count: int
    members: frozenset[str] | None = None

    @classmethod
    def of(cls, patients: Iterable[str]) -> Behind:
        """By their pseudonyms."""
        members = frozenset(map(_hashed, patients))
        return cls(len(members), members)

    @classmethod
    def of_cases(cls, patient_of: Mapping[str, str]) -> Behind:
        """By the cases that count, each with its patient: one case of a patient more or fewer is a difference, too."""
        cases: dict[str, list[str]] = {}
        for case, patient in patient_of.items():
            cases.setdefault(patient, []).append(case)
        members = frozenset(f"{_hashed(p)}.{_hashed(' '.join(sorted(own)))}" for p, own in cases.items())
        return cls(len(cases), members)

    @classmethod
    def of_values(cls, values: Sequence[float], patients: Sequence[str], *, cases: Sequence[str]) -> Behind:
        """By the cases with a defined value, one value a case."""
        rows = zip(values, patients, cases, strict=True)
        return cls.of_cases({case: patient for value, patient, case in rows if not math.isnan(value)})

    def difference(self, other: Behind) -> int:
        """Patients behind one of the two figures and not behind the other; at least so many where sets are unknown."""
        if self.members is None or other.members is None:
            return abs(self.count - other.count)
        mine, theirs = self.members, other.members
        if not (_tells_cases(mine) and _tells_cases(theirs)):
            mine, theirs = _patients(mine), _patients(theirs)
        return len(_patients(mine ^ theirs))

    def values(self, *key: str) -> dict[Value, float]:
        """The values that a sum over these patients is made of, each with the weight 1; none where sets are unknown."""
        return {(member.partition(".")[0], member, *key): 1.0 for member in self.members or ()}


def _hashed(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=6).hexdigest()


def _patients(members: frozenset[str]) -> frozenset[str]:
    return frozenset(member.partition(".")[0] for member in members)


def _tells_cases(members: frozenset[str]) -> bool:
    return all("." in member for member in members)


def earlier_releases(ledger: Path) -> tuple[Mapping[str, Behind], ...]:
    """What stood behind each figure of the releases that a ledger knows of, oldest first, each once.

    Raises:
        RunError: The entry of a release was changed so that it can't be read.
    """
    if not ledger.exists():
        return ()
    releases: list[Mapping[str, Behind]] = []
    for line in ledger.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("action") == RELEASED:
            try:
                release = _release(entry.get("facts", {}))
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                raise RunError(
                    "a release that the ledger notes cannot be read, so nobody can say what it told; "
                    "`medseg audit --ledger FILE` says where the ledger was changed"
                ) from None
            if release not in releases:
                releases.append(release)
    return tuple(releases)


def ledger_of_data(manifest: Path) -> Path | None:
    """The ledger beside a manifest; None where that folder cannot be written."""
    return manifest.parent / "ledger.jsonl" if os.access(manifest.parent, os.W_OK) else None


def with_models(figures: Mapping[str, Behind], models: Mapping[str, str]) -> dict[str, Behind]:
    """Figures named together with the digest of the models that they are of, for the ledger beside a manifest."""
    return {f"{name} by {models[name]}": behind for name, behind in figures.items() if name in models}


def of_same_models(
    releases: Iterable[Mapping[str, Behind]], models: Mapping[str, str]
) -> tuple[Mapping[str, Behind], ...]:
    """Of releases that `with_models` named, the figures of these models, under their plain names."""
    return tuple(
        {name: release[f"{name} by {mark}"] for name, mark in models.items() if f"{name} by {mark}" in release}
        for release in releases
    )


def record_release(ledger: Path, figures: Mapping[str, Behind], *, what: str) -> None:
    """Note a release in a ledger.

    Args:
        ledger: The ledger of the run or data set.
        figures: The patients behind each figure that is told, by the figure's name.
        what: ``report``, ``model package``, ``description``.
    """
    groups: dict[tuple[int, tuple[str, ...] | None], int] = {}
    places = {}
    for name, behind in figures.items():
        key = behind.count, None if behind.members is None else tuple(sorted(behind.members))
        places[name] = groups.setdefault(key, len(groups))
    facts = {
        "what": what,
        "tier": "shareable",
        "groups": [{"patients": count, "members": None if m is None else list(m)} for count, m in groups],
        "figures": places,
    }
    Ledger(ledger).append(RELEASED, facts)


def guard_figures(
    cells: Mapping[str, Cell],
    figures: Mapping[str, Behind],
    *,
    earlier: Iterable[Mapping[str, Behind]],
    limits: Limits | None = None,
) -> dict[str, Cell]:
    """Withhold what, beside one earlier release or several, would tell of fewer patients than the threshold.

    Args:
        cells: Figures about to be told, by name.
        figures: The patients behind each, by the same names.
        earlier: From `earlier_releases`.
        limits: How careful to be.
    """
    releases, limits = tuple(earlier), limits or Limits()
    made = dict(cells)
    for release in releases:
        differences = {n: figures[n].difference(release[n]) for n in made if n in figures and n in release}
        made = withhold_small_differences(made, differences, limits=limits)
    together = {
        name: limits.threshold - 1
        for name, cell in made.items()
        if not cell.withheld and name in figures and _gives_away(figures[name], name, releases, limits)
    }
    return withhold_small_differences(made, together, limits=limits)


def _gives_away(figure: Behind, name: str, releases: Iterable[Mapping[str, Behind]], limits: Limits) -> bool:
    """Whether a figure gives away few patients together with several earlier ones of the same name."""
    known = {release[name].members for release in releases if name in release}
    if figure.members in known or len(known) < 2:
        return False
    sums = [Behind(len(members), members).values() for members in known if members]
    return isolates_few([*sums, figure.values()], threshold=limits.threshold)


def _release(facts: Mapping[str, Any]) -> Mapping[str, Behind]:
    groups = [
        Behind(int(group["patients"]), None if group["members"] is None else frozenset(group["members"]))
        for group in facts.get("groups", ())
    ]
    return {str(name): groups[int(place)] for name, place in facts.get("figures", {}).items()}
