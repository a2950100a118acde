"""Metadata: the table beside a data set, joined to its cases; only columns known to be harmless become covariates."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from medseg.data.recognise import Source, pair_key, stem_of
from medseg.wording import counted

__all__ = ["CaseFacts", "harmless_covariates", "join_metadata"]

_COVARIATES: Final = {
    "diagnosis": "diagnosis", "benign_malignant": "benign_malignant", "malignant": "malignant", "grade": "grade",
    "stage": "stage", "age": "age", "age_approx": "age", "age_years": "age", "sex": "sex", "gender": "sex",
    "anatom_site_general": "anatomical_site", "anatomical_site": "anatomical_site", "histology": "histology",
    "fitzpatrick": "skin_type", "skin_type": "skin_type", "fold": "source_fold", "split": "source_split",
}  # fmt: skip
"""Columns that become covariates, by their name in lower case; everything else may identify and is left out."""
_PATIENT: Final = ("patient", "patient_id", "patientid", "subject", "subject_id", "participant_id")
_SITE: Final = ("site", "centre", "center", "hospital", "institution", "scanner")
_HARMLESS_VALUE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ,_+/.-]{0,39}|")
_OLDEST: Final = 89
"""Ages above are written as 90 (US Safe Harbor, 45 CFR 164.514(b)(2)(i)(C))."""


@dataclass(frozen=True)
class CaseFacts:
    """What the table says of one case.

    Attributes:
        covariates: Harmless columns, name to value.
        patient: What is equal for images of one patient; private; empty when the table doesn't say.
        site: Hospital or scanner as the table has it; private; empty when the table doesn't say.
    """

    covariates: Mapping[str, str] = field(default_factory=dict)
    patient: str = field(default="", repr=False)
    site: str = field(default="", repr=False)


def join_metadata(tables: Sequence[Path], sources: Sequence[Source]) -> tuple[list[CaseFacts], tuple[str, ...]]:
    """Find the table that knows the cases and read what it says of each.

    The id column is the one whose values are most of the images' names (or of the patients').

    Returns:
        The facts of each source in their order, and sentences on what was taken, without values.
    """
    names = [_names_of(source) for source in sources]
    best: tuple[int, list[dict[str, str]], str] = (0, [], "")
    for table in tables:
        rows = _read(table)
        for column in rows[0] if rows else ():
            values = {row[column].strip().lower() for row in rows}
            hits = sum(bool(values & own) for own in names)
            if hits > best[0]:
                best = (hits, rows, column)
    hits, rows, id_column = best
    if hits < 0.5 * len(sources) or not hits:
        notes = ("a table is there, but none of its columns names the images; no covariate taken",) if tables else ()
        return [CaseFacts() for _ in sources], notes
    by_id = {row[id_column].strip().lower(): row for row in rows}
    facts = [_facts(next((by_id[name] for name in own if name in by_id), {}), id_column) for own in names]
    taken = sorted({name for fact in facts for name in fact.covariates})
    dropped = sum(1 for column in rows[0] if column != id_column and not _is_known(column))
    note = f"the table knows {hits:,} of {counted(len(sources), 'image')}; covariates: {', '.join(taken) or 'none'}"
    return facts, (f"{note}; {dropped} other columns left out",)


def _names_of(source: Source) -> set[str]:
    paths = list(source.images.values())
    stems = {stem_of(path).lower() for path in paths} | {pair_key(path) for path in paths}
    own_patient = source.patient.removeprefix("id ").removeprefix("folder ").lower()
    return (stems | {own_patient}) - {""}


def _read(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV or TSV file; none when it is no table."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []
    head = text.partition("\n")[0]
    delimiter = max("\t;,", key=head.count)
    try:
        reader = csv.DictReader(text.splitlines(), delimiter=delimiter, restval="")
        return [{str(key): str(value) for key, value in row.items() if key is not None} for row in reader]
    except csv.Error:
        return []


def _is_known(column: str) -> bool:
    return column.strip().lower() in (*_COVARIATES, *_PATIENT, *_SITE)


def _facts(row: Mapping[str, str], id_column: str) -> CaseFacts:
    covariates: dict[str, str] = {}
    patient = site = ""
    for column, raw in row.items():
        name, value = column.strip().lower(), raw.strip()
        if name in _COVARIATES:
            covariates.setdefault(_COVARIATES[name], _harmless(_COVARIATES[name], value))
        elif name in _PATIENT and column != id_column:
            patient = value
        elif name in _SITE:
            site = value
    return CaseFacts(covariates=covariates, patient=patient, site=site)


def harmless_covariates(told: Mapping[str, str]) -> dict[str, str]:
    """Of covariates, those of known names, with values that identify nobody."""
    names = {name: _COVARIATES.get(name.strip().lower(), name) for name in told}
    known = set(_COVARIATES.values())
    return {known_as: _harmless(known_as, told[name].strip()) for name, known_as in names.items() if known_as in known}


def _harmless(name: str, value: str) -> str:
    if name == "age":
        match = re.fullmatch(r"0*(\d{1,3})(?:\.\d+)?(?:Y|y)?", value)
        return "" if match is None else str(min(int(match[1]), _OLDEST + 1))
    return value if _HARMLESS_VALUE.fullmatch(value) else ""
