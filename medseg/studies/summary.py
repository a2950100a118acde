"""Summary: what the scores of all cases add up to, per label and metric, with an interval over patients.

A case that was predicted in several repeats counts once, with the mean of its repeats. A mean is taken over the cases
where the metric is defined; ``n`` says how many those are and ``undefined`` how many are not. HD95 and ASSD are
undefined where the prediction is empty, so their means flatter a model that misses lesions: read them beside recall and
``undefined``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from medseg.errors import RunError
from medseg.studies.bootstrap import Clusters, mean_interval
from medseg.studies.tables import CaseRow, metric_names
from medseg.types import FloatArray

__all__ = ["EmptyReference", "per_case_values", "summarise"]

EmptyReference = Literal["skip", "score"]
_SCORED_ONE = ("dice", "iou", "lesion_f1", "lesion_dice")


def summarise(
    rows: Sequence[CaseRow], *, bootstrap: int, confidence: float, seed: int, empty_reference: EmptyReference
) -> dict[str, Any]:
    """Summarise the rows of cases.csv.

    Args:
        rows: One for each case, repeat and label.
        bootstrap: Resamples of the patients.
        confidence: Coverage of the intervals.
        seed: Seed of the resampling.
        empty_reference: A case whose reference and prediction are both empty: ``skip`` leaves it out, ``score`` counts
            its Dice, IoU, NSD, lesion F1 and lesion Dice as 1.

    Returns:
        ``labels``: label value (as text) to ``name`` and ``metrics``; ``mean_over_labels``: ``metrics`` of each case's
        mean over the labels where the metric is defined; ``folds``: cases and mean Dice of each fold. A metric is
        ``mean, median, sd, low, high, n, undefined, patients``; sd is over cases.

    Raises:
        RunError: There are no rows, or a case, repeat and label stands there twice.
    """
    if not rows:
        raise RunError("expected at least one scored case; found none, so there is nothing to summarise")
    metrics = metric_names(rows)
    cases, patients, table = per_case_values(rows, metrics, empty_reference=empty_reference)
    clusters = Clusters.draw(patients, resamples=bootstrap, seed=seed)
    labels = _labels(rows)

    def facts(values: FloatArray) -> dict[str, dict[str, float | int]]:
        return {name: _metric(values[:, m], clusters=clusters, confidence=confidence) for m, name in enumerate(metrics)}

    return {
        "cases": len(cases),
        "patients": clusters.count,
        "interval": "BCa bootstrap over patients",
        "confidence": confidence,
        "bootstrap": bootstrap,
        "seed": seed,
        "empty_reference": empty_reference,
        "labels": {
            str(value): {"name": name, "metrics": facts(table[:, i])} for i, (value, name) in enumerate(labels.items())
        },
        "mean_over_labels": {"metrics": facts(_nanmean(table, axis=1))},
        "folds": _folds(rows, empty_reference=empty_reference),
    }


def per_case_values(
    rows: Sequence[CaseRow], metrics: Sequence[str], *, empty_reference: EmptyReference
) -> tuple[list[str], list[str], FloatArray]:
    """Metrics as an array, repeats averaged.

    Args:
        rows: Rows of cases.csv.
        metrics: Columns to take.
        empty_reference: As in `summarise`.

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
    label_index = {value: i for i, value in enumerate(_labels(rows))}
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
    return list(patient_of), list(patient_of.values()), _nanmean(table, axis=3)


def _labels(rows: Sequence[CaseRow]) -> dict[int, str]:
    return dict(sorted({row["label"]: row["label_name"] for row in rows}.items()))


def _value(row: CaseRow, name: str, empty_reference: EmptyReference) -> float:
    value = float(row[name])
    scored = empty_reference == "score" and (name in _SCORED_ONE or name.startswith("nsd_"))
    # Dice is undefined exactly where reference and prediction are both empty.
    return 1.0 if scored and math.isnan(value) and math.isnan(row["dice"]) else value


def _nanmean(values: FloatArray, *, axis: int) -> FloatArray:
    defined = ~np.isnan(values)
    count = defined.sum(axis=axis)
    total = np.where(defined, values, 0.0).sum(axis=axis)
    means: FloatArray = np.divide(total, count, out=np.full(total.shape, math.nan), where=count > 0)
    return means


def _metric(values: FloatArray, *, clusters: Clusters, confidence: float) -> dict[str, float | int]:
    defined = values[~np.isnan(values)]
    interval = mean_interval(values, clusters=clusters, confidence=confidence)
    some = len(defined) > 0
    return {
        "mean": float(defined.mean()) if some else math.nan,
        "median": float(np.median(defined)) if some else math.nan,
        "sd": float(defined.std(ddof=1)) if len(defined) > 1 else math.nan,
        "low": interval.low,
        "high": interval.high,
        "n": len(defined),
        "undefined": len(values) - len(defined),
        "patients": int(np.count_nonzero(~np.isnan(clusters.means(values)))),
    }


def _folds(rows: Sequence[CaseRow], *, empty_reference: EmptyReference) -> list[dict[str, Any]]:
    """Cases, patients and mean Dice of each fold, per label and over labels."""
    folds: list[dict[str, Any]] = []
    names = {str(value): name for value, name in _labels(rows).items()}
    for repeat, fold in sorted({(row["repeat"], row["fold"]) for row in rows}):
        part = [row for row in rows if (row["repeat"], row["fold"]) == (repeat, fold)]
        cases, patients, table = per_case_values(part, ("dice",), empty_reference=empty_reference)
        dice = table[:, :, 0]
        labels = [str(value) for value in _labels(part)]
        by_label = dict(zip(labels, _nanmean(dice, axis=0).tolist(), strict=True))
        folds.append(
            {
                "repeat": repeat,
                "fold": fold,
                "cases": len(cases),
                "patients": len(set(patients)),
                "dice": float(_nanmean(_nanmean(dice, axis=1), axis=0)),
                "dice_by_label": {value: by_label.get(value, math.nan) for value in names},
            }
        )
    return folds
