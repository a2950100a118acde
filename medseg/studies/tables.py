"""cases.csv and summary.json: the scores of a study, one row a case and label, and what they add up to."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medseg.data.files import atomic_write
from medseg.errors import RunError
from medseg.metrics import LabelScores

__all__ = [
    "KEY_COLUMNS",
    "CaseRow",
    "case_rows",
    "metric_names",
    "read_cases",
    "read_summary",
    "write_cases",
    "write_summary",
]

CaseRow = dict[str, Any]
"""One row of cases.csv: the key columns, then one float a metric; undefined is nan."""

KEY_COLUMNS = ("case", "patient", "fold", "repeat", "label", "label_name")
"""The columns that say what was scored; every other column is a metric."""

_NUMBERS = ("fold", "repeat", "label")


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


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Write summary.json, or facts like it under another name, atomically; nan becomes null."""
    with atomic_write(path, mode="w") as stream:
        json.dump(_without_nan(summary), stream, indent=2, allow_nan=False)
        stream.write("\n")


def read_summary(path: Path) -> dict[str, Any]:
    """Read summary.json; null becomes nan.

    Args:
        path: summary.json, or the run folder that holds it.

    Raises:
        RunError: The file is missing or no JSON object.
    """
    path = Path(path) / "summary.json" if Path(path).is_dir() else Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RunError("summary.json is missing or unreadable; score the study again") from None
    if not isinstance(content, dict):
        raise RunError("summary.json: expected an object; score the study again")
    restored: dict[str, Any] = _with_nan(content)
    return restored


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


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return math.nan if value is None else value
