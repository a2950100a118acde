"""Outgoing objects: read, named by number, and let through the gate, or not.

Two kinds of archives, two rules. A `shareable` one gets what passes the gate without a find and says of itself that it
was de-identified. An `internal` one is where the patients come from: an object may carry a patient there, if the
archive holds that very study of that very patient, and every image that the object refers to.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.data.made_from import MADE_FROM
from medseg.data.refusal import Refusal
from medseg.errors import PrivacyError, ReadError, RequestError
from medseg.pacs.archive import Archive, Instance, Outgoing
from medseg.pacs.wanted import Wanted
from medseg.privacy.audit import gate
from medseg.privacy.deflated import check_deflated
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.outcomes import OWN_FILES

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Candidate", "check_home", "check_shareable", "read_candidates"]

_MOST_LISTED = 5


@dataclass(frozen=True, eq=False)
class Candidate:
    """One object that somebody wants to push.

    Attributes:
        outgoing: Its number, UIDs and bytes.
        patient: Patient ID; identifies.
        removed: Whether it says that its patient's identity was removed.
        references: SOP Instance UIDs that it refers to.
    """

    outgoing: Outgoing
    patient: str = field(repr=False)
    removed: bool
    references: frozenset[str] = field(repr=False)


def read_candidates(source: Path) -> tuple[list[Candidate], list[Refusal]]:
    """The DICOM objects of a file or a folder, in the order of their paths.

    Raises:
        RequestError: Nothing is there, or no DICOM object.
    """
    own = {*OWN_FILES, MADE_FROM}
    inside = sorted(p for p in source.rglob("*") if p.is_file() and not p.is_symlink() and p.name not in own)
    files = [source] if source.is_file() else inside
    if not files:
        raise RequestError("expected DICOM files to push, found none there")
    candidates, refusals, seen = [], [], set()
    for number, path in enumerate(files, start=1):
        try:
            candidate = _read(path, number)
        except ReadError as error:
            refusals.append(Refusal(f"file {number} of {len(files)}", str(error)))
            continue
        if candidate.outgoing.instance.uid in seen:
            refusals.append(Refusal(f"file {number} of {len(files)}", "the same object as an earlier file"))
            continue
        seen.add(candidate.outgoing.instance.uid)
        candidates.append(candidate)
    if not candidates:
        raise RequestError(f"expected DICOM objects to push; none of the {len(files)} files is one")
    return candidates, refusals


def check_shareable(candidates: Sequence[Candidate], *, identities: IdentityIndex | None) -> None:
    """Let objects out to an archive that nothing identified may reach.

    Raises:
        PrivacyError: One of them isn't de-identified, or the gate found something in it; none may go.
        RequestError: There is no list of the project's identities to search for.
    """
    if identities is None:
        raise RequestError(
            "expected --key FILE (or --identities FILE), so that the objects can be searched for this project's "
            "identities; or, for the hospital's own archive, tier: internal in the archive file"
        )
    for candidate in candidates:
        number = candidate.outgoing.number
        if not candidate.removed:
            raise PrivacyError(
                f"file {number} doesn't say that its patient's identity was removed, and the archive is declared "
                "shareable. Nothing was sent; run `medseg deidentify` first"
            )
        gate(candidate.outgoing.load(), name=f"file {number}", tier="shareable", identities=identities)


def check_home(candidates: Sequence[Candidate], archive: Archive) -> None:
    """Let objects go home: to the archive that holds their patient's study and the images that they refer to.

    Raises:
        PrivacyError: An object's home isn't there; none may go.
    """
    if not archive.can_be_asked():
        raise PrivacyError(
            "an archive declared internal has to answer queries, so that each object can be seen to belong there; this "
            "one only receives. Nothing was sent"
        )
    own = {candidate.outgoing.instance.uid for candidate in candidates}
    held: dict[str, tuple[str | None, set[str]]] = {}
    problems = []
    for candidate in candidates:
        study = candidate.outgoing.instance.study
        if study not in held:
            held[study] = _held(archive, study)
        patient, instances = held[study]
        # A structure set refers to its study as if that were an instance (PS3.3 C.8.8.5).
        problem = _homeless(candidate, patient, instances | own | {study})
        if problem:
            problems.append(f"file {candidate.outgoing.number}: {problem}")
    if problems:
        more = f"; and {len(problems) - _MOST_LISTED} more" if len(problems) > _MOST_LISTED else ""
        raise PrivacyError(
            f"objects may only go home to the archive that their patient comes from: "
            f"{'; '.join(problems[:_MOST_LISTED])}{more}. Nothing was sent"
        )


def _held(archive: Archive, study: str) -> tuple[str | None, set[str]]:
    """Patient ID of a study in the archive (None without the study), and the UIDs of its instances."""
    patient = next((s.patient for s in archive.find_studies(Wanted(1, study=study)) if s.uid == study), None)
    if patient is None:
        return None, set()
    series = archive.find_series(study)
    return patient, {instance.uid for s in series for instance in archive.find_instances(s)}


def _homeless(candidate: Candidate, patient: str | None, instances: Collection[str]) -> str:
    """Why an object doesn't belong there, or an empty text."""
    if candidate.removed and patient != candidate.patient:
        return (
            "it carries a pseudonym; `medseg pacs restore` gives it its patient back (an archive of de-identified data "
            "is declared tier: shareable)"
        )
    if patient is None:
        return "the archive doesn't hold its study"
    if patient != candidate.patient:
        return "the archive holds its study under another patient"
    missing = len(candidate.references - set(instances))
    if missing:
        return f"the archive lacks {missing} of the {len(candidate.references)} images that it refers to"
    return ""


def _read(path: Path, number: int) -> Candidate:
    import pydicom

    try:
        data = path.read_bytes()
        check_deflated(io.BytesIO(data))
        dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        instance = Instance(
            *(str(dataset[k].value) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
        )
        sop_class, syntax = str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID)
        references = frozenset(_references(dataset))
    except Exception:
        # pydicom raises whatever a damaged or hostile file makes it raise.
        raise ReadError("expected a DICOM object, found another or a damaged file") from None
    digest = hashlib.sha256(data).digest()

    def load() -> bytes:
        again = path.read_bytes()
        if hashlib.sha256(again).digest() != digest:
            raise RequestError(f"file {number} changed while it was being pushed; give the same command again")
        return again

    return Candidate(
        Outgoing(number, instance, sop_class, syntax, load),
        patient=str(dataset.get("PatientID") or "").strip(),
        removed=dataset.get("PatientIdentityRemoved") == "YES",
        references=references,
    )


def _references(dataset: Dataset) -> Iterator[str]:
    for element in dataset:
        if element.keyword == "ReferencedSOPInstanceUID" and element.value:
            yield str(element.value)
        elif element.VR == "SQ":
            items: Any = element.value
            for item in items:
                yield from _references(item)
