"""Wanted: one line of the list of studies to pull, each told by its UID, its accession number or its patient."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import RequestError

__all__ = ["Wanted", "read_wanted"]

_COLUMNS = ("study", "series", "accession", "patient", "date", "modality")
_TELLING = ("study", "accession", "patient")
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*")
_DATE = re.compile(r"\d{8}(?:-\d{8})?")


@dataclass(frozen=True)
class Wanted:
    """Studies, or one series or modality of them; fields left empty match everything. All of it identifies.

    Attributes:
        number: Line of the list, from 1.
        study: Study Instance UID.
        series: Series Instance UID.
        accession: Accession number.
        patient: Patient ID.
        date: Study date, ``YYYYMMDD`` or ``YYYYMMDD-YYYYMMDD``.
        modality: Modality of the series, as ``CT``.
    """

    number: int
    study: str = field(default="", repr=False)
    series: str = field(default="", repr=False)
    accession: str = field(default="", repr=False)
    patient: str = field(default="", repr=False)
    date: str = field(default="", repr=False)
    modality: str = ""


def read_wanted(path: Path | None, *, studies: Sequence[str] = ()) -> list[Wanted]:
    """Read a list of studies: a CSV file with some of the columns study, series, accession, patient, date, modality.

    Args:
        path: The file; None for none.
        studies: Further Study Instance UIDs.

    Raises:
        RequestError: The file is missing or no such table, a line tells no study, a value isn't of its kind, or nothing
            is wanted at all. Lines are told by number; values are never repeated.
    """
    rows = [] if path is None else _rows(path)
    rows += [{"study": study} for study in studies]
    if not rows:
        raise RequestError("expected studies to look for: --list FILE (CSV), or --study UID")
    return [_checked(row, number) for number, row in enumerate(rows, start=1)]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            header = [name.strip().lower() for name in reader.fieldnames or ()]
            if not set(header) & set(_TELLING) or set(header) - set(_COLUMNS):
                raise RequestError(
                    f"the list of studies: expected columns among {', '.join(_COLUMNS)}, with at least one of "
                    f"{', '.join(_TELLING)}; found others"
                )
            reader.fieldnames = header
            rows = [{k: (v or "").strip() for k, v in row.items() if k is not None} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error):
        raise RequestError("the list of studies cannot be read; expected a CSV file in UTF-8") from None
    return [row for row in rows if any(row.values())]


def _checked(row: dict[str, str], number: int) -> Wanted:
    wanted = Wanted(number, **row)
    if not (wanted.study or wanted.accession or wanted.patient):
        raise RequestError(f"line {number} of the list: expected one of {', '.join(_TELLING)}, found all of them empty")
    if any(sign in value for value in row.values() for sign in "*?\\"):
        raise RequestError(f"line {number} of the list: found *, ? or \\; expected whole values, one study a line")
    if any(value and (not _UID.fullmatch(value) or len(value) > 64) for value in (wanted.study, wanted.series)):
        raise RequestError(f"line {number} of the list: expected a UID (digits and points, at most 64), found none")
    if wanted.date and not _DATE.fullmatch(wanted.date):
        raise RequestError(f"line {number} of the list: expected the date as YYYYMMDD or YYYYMMDD-YYYYMMDD")
    return wanted
