"""Patients: whose the pictures and volumes are that say nothing of it, by a table, by their folder or by their name."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import DataError, RequestError
from medseg.privacy.dicom import is_dicom
from medseg.privacy.inputs import as_folder, head_of, shown
from medseg.privacy.outcomes import DeidentifyReport
from medseg.privacy.places import folders_of_persons, split_name

__all__ = ["Grouping", "grouping_of", "read_patients"]

_COLUMNS = "expected a table of patients with the columns file and patient (CSV, UTF-8), found another"


@dataclass(frozen=True)
class Grouping:
    """Which files count as one patient's for no better reason than their folder, and which for none at all.

    Attributes:
        folders: Top folders that hold pictures or volumes, of whatever names.
        shared: How many files each folder holds in which files of several names were taken as one patient's, by the
            folder's number, from 1 in the order of the names.
        alone: Files in no folder, each taken as a patient of its own.
    """

    folders: int
    shared: Mapping[int, int]
    alone: int


def grouping_of(files: Sequence[str], report: DeidentifyReport, *, named: Mapping[int, str]) -> Grouping:
    """How the pictures and volumes of a source were grouped.

    Args:
        files: Names of all inputs, by running number less 1.
        report: What became of them; what lies beside a DICOM series is its patient's and no matter.
        named: Patient of the files that a table names, by running number.
    """
    of_series = {outcome.place.split("/")[0] for outcome in report.written if outcome.kind == "dicom"}
    bases: dict[str, list[str]] = {}
    alone: set[str] = set()
    for outcome in report.written:
        if outcome.kind not in ("photograph", "volume") or outcome.number in named:
            continue
        if outcome.place.split("/")[0] in of_series:
            continue
        name = as_folder(files[outcome.number - 1])
        base = split_name(name.rsplit("/", 1)[-1])[0]
        folders = folders_of_persons(name)
        if folders:
            bases.setdefault(folders[0], []).append("/".join((*folders[1:], base)))
        else:
            alone.add(base or name)
    shared = {n: len(bases[folder]) for n, folder in enumerate(sorted(bases), start=1) if len(set(bases[folder])) > 1}
    return Grouping(len(bases), shared, len(alone) if len(alone) > 1 else 0)


def read_patients(path: Path, source: Path, files: Sequence[str]) -> dict[int, str]:
    """Whose each file is, by running number, from a CSV table with the columns ``file`` and ``patient``.

    Args:
        path: The table. A file is named by its path in the source, or by its name alone where no other has that.
        source: The source folder.
        files: Names of all inputs, by running number less 1.

    Raises:
        RequestError: The table is another one, names what isn't there or a DICOM file, or one file twice.
    """
    places: dict[str, set[int]] = {}
    for number, name in enumerate(files, start=1):
        for known in {shown(name), as_folder(name), name.rsplit("/", 1)[-1]}:
            places.setdefault(known, set()).add(number)
    found: dict[int, str] = {}
    for row, (file, patient) in enumerate(_rows(path), start=2):
        numbers = places.get(file.replace("\\", "/").removeprefix("./"), set())
        if len(numbers) != 1:
            what = "no file of the source" if not numbers else f"{len(numbers)} files; give the path"
            raise RequestError(f"row {row} of the table of patients names {what}")
        (number,) = numbers
        if not patient or found.setdefault(number, patient) != patient:
            raise RequestError(
                f"row {row} of the table of patients: expected one patient for the file, found none or two"
            )
        if _is_dicom(source, files[number - 1]):
            raise RequestError(f"row {row} of the table of patients names a DICOM file, whose header says whose it is")
    return found


def _rows(path: Path) -> list[tuple[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [(row["file"].strip(), row["patient"].strip()) for row in csv.DictReader(stream)]
    except (OSError, ValueError, KeyError, AttributeError, csv.Error):
        raise RequestError(_COLUMNS) from None


def _is_dicom(source: Path, name: str) -> bool:
    try:
        return is_dicom(head_of(source, name, 132))
    except (OSError, DataError):
        return False
