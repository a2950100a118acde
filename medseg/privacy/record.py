"""Record: what a de-identification says of itself, in the marker of its output and in the ledger."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path

from medseg.errors import RequestError
from medseg.privacy.crosswalk import Crosswalk
from medseg.privacy.ledger import Ledger
from medseg.privacy.outcomes import DeidentifyReport
from medseg.privacy.profile import Profile
from medseg.privacy.worker import BLANKED, DEFACED, LESS, PAINTED, UNSEEN, Work

__all__ = ["check_request", "marker_of", "refuse_inside", "write_ledger"]


def check_request(profile: Profile, *, acknowledge_faces: bool, deface: bool, decided: Sequence[int]) -> None:
    """Refuse what the profile doesn't allow to be done with faces, and decisions that contradict each other.

    Raises:
        RequestError: Faces are to go and to stay, or `decided`, the numbers of all decisions, has one twice.
    """
    if acknowledge_faces and deface:
        raise RequestError("expected --deface or --acknowledge-faces, found both; faces either go or stay")
    if acknowledge_faces and profile.faces != "refuse":
        raise RequestError(f"the profile {profile.name} allows no exception for faces; leave --acknowledge-faces out")
    if deface and profile.faces == "always-refuse":
        raise RequestError(f"the profile {profile.name} always refuses heads in thin slices; leave --deface out")
    if len(set(decided)) < len(decided):
        raise RequestError("expected one decision (pass, paint or refuse) on each file, found several on one")


def refuse_inside(
    src: Path, out: Path, *, identities: Path | None, quarantine: Path | None, crosswalk: Crosswalk | None
) -> None:
    """Refuse to put what identifies into the release, and the crosswalk beside the images it speaks of.

    Raises:
        RequestError: One of them lies where it must not.
    """
    if any(place is not None and out in (Path(place).resolve() / "x").parents for place in (identities, quarantine)):
        raise RequestError("expected index of identities and quarantine outside the output folder, found one inside")
    if crosswalk is not None and not {src, out}.isdisjoint(crosswalk.path.resolve().parents):
        raise RequestError("expected the crosswalk outside the source and the output folder, found it inside")


def marker_of(profile: Profile) -> dict[str, object]:
    """What the output folder says of how it was made."""
    return {
        "what": "de-identified copies made by medseg; pseudonymised data are personal data",
        "version": metadata.version("medseg"),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "profile": profile.model_dump(mode="json"),
    }


def write_ledger(
    ledger: Ledger, report: DeidentifyReport, work: Work, *, rejected: Collection[int], unseen: int
) -> None:
    """Append what was done: exceptions and decisions of persons, faces taken off, and the counts.

    Args:
        ledger: The ledger.
        report: What became of each file.
        work: What was asked for.
        rejected: Running numbers of the files that a person has refused.
        unseen: Series that nothing here could look at for text.
    """
    profile = work.profile.name
    entries: list[tuple[str, dict[str, object]]] = []
    if work.acknowledge_faces:
        entries.append(("exception", {"what": "heads in thin slices were let pass", "profile": profile}))
    if work.deface:
        entries.append(("defaced", {"files": len(report.noted(DEFACED)), "profile": profile}))
    painted = report.noted(PAINTED)
    for event, what, files in (
        ("painted", "text in photographs was painted over", painted),
        ("painted", BLANKED, report.noted(BLANKED)),
        ("left out", "numbers that may be the patient's or are none were left out", report.noted(LESS)),
        ("exception", f"volumes were {UNSEEN}", report.noted(UNSEEN)),
    ):
        if files:
            entries.append((event, {"what": what, "files": len(files), "profile": profile}))
    if unseen:
        what = "series were not looked at for text, as no text detector is installed"
        entries.append(("exception", {"what": what, "profile": profile, "series": unseen}))
    done = {outcome.number for outcome in report.written}
    for what, numbers in (
        # What somebody decided but could not be done isn't told as done.
        ("looked at the pixels", done & set(work.accepted)),
        ("had the text in the pixels painted over", painted & set(work.painted)),
        ("refused the pixels", rejected),
    ):
        if numbers:
            facts: dict[str, object] = {"what": f"a person has {what}", "profile": profile, "files": sorted(numbers)}
            entries.append(("exception", facts))
    counts = {name: len(getattr(report, name)) for name in ("written", "quarantined", "refused")}
    entries.append(("deidentified", {"profile": profile, "files": len(report.outcomes), **counts}))
    ledger.append_many(entries)
