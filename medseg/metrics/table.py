"""Case table: cases.csv, the scores of a study, one row a case, repeat and label."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medseg.data.files import atomic_write
from medseg.errors import RunError
from medseg.metrics.case import LabelScores
from medseg.types import FloatArray

__all__ = [
    "KEY_COLUMNS",
    "CaseRow",
    "EmptyReference",
    "case_rows",
    "labels_of",
    "mean_of_defined",
    "metric_names",
    "per_case_values",
    "read_cases",
    "write_cases",
]

EmptyReference = Literal["skip", "score"]
"""What becomes of a case whose reference and prediction are both empty: left out, or counted as right."""
CaseRow = dict[str, Any]
"""One row of cases.csv: the key columns, then one float a metric; undefined is nan."""

KEY_COLUMNS = ("case", "patient", "fold", "repeat", "label", "label_name")
"""The columns that say what was scored; every other column is a metric."""

_NUMBERS = ("fold", "repeat", "label")
_SCORED_ONE = ("dice", "iou", "lesion_f1", "lesion_dice")


def case_rows(
    scores: Iterable[LabelScores], *, case: str, patient: str, fold: int = 0, repeat: int = 0
) -> list[CaseRow]:
    """Rows of cases.csv from what `medseg.metrics.score_case` returned for one case.

    Args:
        scores: One entry for each label.
        case: Pseudonym of the case.
        patient: Pseudonym of its patient.
        fold: Fold in which the case was held out.
        repeat: Repeat of the drawing of folds.
    """
    key = {"case": case, "patient": patient, "fold": fold, "repeat": repeat}
    return [{**key, "label": s.label, "label_name": s.name, **s.columns()} for s in scores]


def metric_names(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The metric columns of some rows, in their order."""
    return tuple(name for name in rows[0] if name not in KEY_COLUMNS) if rows else ()


def write_cases(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write cases.csv atomically; nan becomes an empty cell.

    Args:
        rows: At least one; all with the columns of the first.
        path: Where to write.

    Raises:
        RunError: There is no row.
    """
    if not rows:
        raise RunError("expected at least one scored case; found none, so there is no table to write")
    columns = (*KEY_COLUMNS, *metric_names(rows))
    with atomic_write(path, mode="w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_cell(row[name]) for name in columns] for row in rows)


def read_cases(path: Path) -> list[CaseRow]:
    """Read cases.csv; an empty cell of a metric becomes nan.

    Args:
        path: cases.csv, or the run folder that holds it.

    Raises:
        RunError: The file is missing or is no table of this kind.
    """
    path = Path(path) / "cases.csv" if Path(path).is_dir() else Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [name for name in KEY_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise RunError(f"{path.name}: expected the columns {', '.join(KEY_COLUMNS)}; missing {missing[0]}")
            return [_row(raw) for raw in reader]
    except (OSError, UnicodeDecodeError):
        raise RunError(
            "cases.csv is missing or unreadable; give a run folder that `medseg crossval` finished"
        ) from None
    except (csv.Error, ValueError, TypeError):
        raise RunError(f"{path.name}: a cell is not a number where one is expected; score the study again") from None


def per_case_values(
    rows: Sequence[CaseRow], metrics: Sequence[str], *, empty_reference: EmptyReference
) -> tuple[list[str], list[str], FloatArray]:
    """Metrics as an array, repeats averaged.

    Args:
        rows: Rows of cases.csv.
        metrics: Columns to take.
        empty_reference: A case whose reference and prediction are both empty: ``skip`` leaves it out, ``score`` counts
            its Dice, IoU, NSD, lesion F1 and lesion Dice as 1.

    Returns:
        Case ids, the patient of each, and an array (case, label, metric) with nan where undefined or not scored; labels
        are in rising order.

    Raises:
        RunError: A case, repeat and label stands there twice, or one case has two patients.
    """
    patient_of: dict[str, str] = {}
    repeats = {row["repeat"]: None for row in rows}
    for row in rows:
        if patient_of.setdefault(row["case"], row["patient"]) != row["patient"]:
            raise RunError(f"case {row['case']}: found two patients; one case belongs to one patient")
    case_index = {case: i for i, case in enumerate(patient_of)}
    label_index = {value: i for i, value in enumerate(labels_of(rows))}
    repeat_index = {repeat: i for i, repeat in enumerate(repeats)}
    table = np.full((len(case_index), len(label_index), len(metrics), len(repeat_index)), math.nan)
    seen: set[tuple[str, int, int]] = set()
    for row in rows:
        key = (row["case"], row["label"], row["repeat"])
        if key in seen:
            raise RunError(f"case {row['case']}: label {row['label']} of repeat {row['repeat']} stands there twice")
        seen.add(key)
        table[case_index[key[0]], label_index[key[1]], :, repeat_index[key[2]]] = [
            _value(row, name, empty_reference) for name in metrics
        ]
    return list(patient_of), list(patient_of.values()), mean_of_defined(table, axis=3)


def labels_of(rows: Sequence[CaseRow]) -> dict[int, str]:
    """Label value to name, in rising order."""
    return dict(sorted({row["label"]: row["label_name"] for row in rows}.items()))


def mean_of_defined(values: FloatArray, *, axis: int) -> FloatArray:
    """Mean along an axis of the values that are defined; nan where none is."""
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    means: FloatArray = np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0)
    return means


def _value(row: CaseRow, name: str, empty_reference: EmptyReference) -> float:
    value = float(row[name])
    scored = empty_reference == "score" and (name in _SCORED_ONE or name.startswith("nsd_"))
    # Dice is undefined exactly where reference and prediction are both empty.
    return 1.0 if scored and math.isnan(value) and math.isnan(row["dice"]) else value


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.10g}"
    return str(value)


def _row(raw: Mapping[str, str]) -> CaseRow:
    row: CaseRow = {}
    for name, text in raw.items():
        if name in _NUMBERS:
            row[name] = int(text)
        elif name in KEY_COLUMNS:
            row[name] = text
        else:
            row[name] = float(text) if text else math.nan
    return row
