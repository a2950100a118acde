"""Case names: ids for cases, patients and sites that say nothing of the source, and stay when it is read again."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from medseg.data.case_copy import Done
from medseg.data.files import sha256_of
from medseg.data.label_source import LabelSource
from medseg.data.metadata import CaseFacts
from medseg.data.recognise import Source, stem_of
from medseg.errors import RequestError

__all__ = ["Job", "digest_of", "name_cases"]

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, eq=False)
class Job:
    """One case to copy.

    Attributes:
        case: Id of the case.
        patient: Id of the patient.
        site: Id of the site; empty when not known.
        source: The files.
        covariates: Further columns of the manifest.
        digest: What knows the source again; empty when it wasn't computed yet.
    """

    case: str
    patient: str
    site: str
    source: Source
    covariates: Mapping[str, str]
    digest: str


def name_cases(
    sources: Sequence[Source], facts: Sequence[CaseFacts], state: Mapping[str, Done], *, keep: bool
) -> list[Job]:
    """Give each source its ids: those of an earlier run where its bytes are the same, else the next numbers.

    Args:
        sources: What becomes a case.
        facts: What the table says of each.
        state: Case id to what an earlier run did.
        keep: Keep the names of files and folders.

    Raises:
        RequestError: The earlier run was of other data.
    """
    order = sorted(range(len(sources)), key=lambda i: sources[i].key)
    ordered = [(sources[i], facts[i]) for i in order]
    digests = [digest_of(source) if state else "" for source, _ in ordered]
    known: defaultdict[str, list[Done]] = defaultdict(list)
    recorded = [done for done in state.values() if done.digest]
    for done in recorded:
        known[done.digest].append(done)
    earlier = [known[digest].pop(0) if known.get(digest) else None for digest in digests]
    if any(done.copied for done in state.values()) and not any(earlier):
        raise RequestError("the output folder holds an import of other data; choose another folder")
    cases = _ids([before.case if before else "" for before in earlier], "C", taken={done.case for done in recorded},
                 kept=_case_names([source for source, _ in ordered]) if keep else None)  # fmt: skip
    keys = [fact.patient or source.patient for source, fact in ordered]
    unique = list(dict.fromkeys(keys))
    before_of = {key: before.patient for key, before in zip(reversed(keys), reversed(earlier), strict=True) if before}
    patients = _ids([before_of.get(key, "") for key in unique], "P", taken={done.patient for done in recorded},
                    kept=[_clean(_patient_name(key)) for key in unique] if keep else None)  # fmt: skip
    patient_of = dict(zip(unique, patients, strict=True))
    site_of = _sites([fact.site for _, fact in ordered], keep=keep)
    return [
        Job(case, patient_of[key], site_of.get(fact.site, ""), source, fact.covariates, digest)
        for case, key, (source, fact), digest in zip(cases, keys, ordered, digests, strict=True)
    ]


def digest_of(source: Source) -> str:
    """SHA-256 over the digests of a source's files, to know it again; no name goes in but the channels'."""
    try:
        parts = [sha256_of(path) for path in source.paths]
        if source.series is not None:
            parts += [mark for mark in (source.series.part, source.series.reading.mark) if mark]
        parts += sorted(source.images) if len(source.images) > 1 else []
        parts += [one.content for one in source.label_maps if isinstance(one, LabelSource) and one.content]
    except OSError:
        return ""
    return hashlib.sha256("\n".join(parts).encode("ascii")).hexdigest() if parts else ""


def _ids(earlier: Sequence[str], letter: str, *, taken: set[str], kept: Sequence[str] | None) -> list[str]:
    """The kept names where no two are the same, else the earlier ids, else the next numbers that were never used."""
    if kept is not None and len(set(kept)) == len(kept):
        return list(kept)
    used = taken | set(earlier)
    width = max(4, len(str(len(earlier))))
    numbers = iter(range(1, len(earlier) + len(used) + 1))
    ids = []
    for before in earlier:
        name = before
        while not name or (not before and name in used):
            name = f"{letter}{next(numbers):0{width}d}"
        used.add(name)
        ids.append(name)
    return ids


def _sites(sites: Sequence[str], *, keep: bool) -> dict[str, str]:
    unique = sorted(set(sites) - {""})
    return {site: site if keep and _ID.fullmatch(site) else f"S{n}" for n, site in enumerate(unique, start=1)}


def _case_names(sources: Sequence[Source]) -> list[str]:
    """The files' names; where two are alike, with the patient's before them; a series bears the patient's and a hash.

    A series has no name but its UID, of which six digits of a hash tell the patient's series apart.
    """
    own, full = [], []
    for source in sources:
        path = next(iter(source.images.values()), None)
        uid = f"{source.series.series_uid}{source.series.part}" if source.series is not None else source.key
        name = source.name or (stem_of(path) if path is not None else "")
        name = name or f"{_patient_name(source.patient)}-{_short_hash(uid)}"
        own.append(_clean(name))
        full.append(_clean(f"{_patient_name(source.patient)}_{name}"))
    return own if len(set(own)) == len(own) else full


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _patient_name(key: str) -> str:
    return key.removeprefix("id ").removeprefix("folder ")


def _clean(name: str) -> str:
    """The name with what an id can't hold replaced."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:64] or "unnamed"
