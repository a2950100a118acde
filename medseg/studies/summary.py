"""Summary: what the scores of all cases add up to, per label and metric, with an interval over patients.

A case that was predicted in several repeats counts once, with the mean of its repeats. A mean is taken over the cases
where the metric is defined; ``n`` says how many those are and ``undefined`` how many are not. HD95 and ASSD are
undefined where the prediction is empty, so their means flatter a model that misses lesions: read them beside recall and
``undefined``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.errors import RunError
from medseg.metrics.table import (
    CaseRow,
    EmptyReference,
    labels_of,
    mean_of_defined,
    metric_names,
    per_case_values,
)
from medseg.studies.bootstrap import Clusters, mean_interval
from medseg.types import FloatArray

__all__ = ["summarise"]


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
    labels = labels_of(rows)

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
        "mean_over_labels": {"metrics": facts(mean_of_defined(table, axis=1))},
        "folds": _folds(rows, empty_reference=empty_reference),
    }


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
    names = {str(value): name for value, name in labels_of(rows).items()}
    for repeat, fold in sorted({(row["repeat"], row["fold"]) for row in rows}):
        part = [row for row in rows if (row["repeat"], row["fold"]) == (repeat, fold)]
        cases, patients, table = per_case_values(part, ("dice",), empty_reference=empty_reference)
        dice = table[:, :, 0]
        labels = [str(value) for value in labels_of(part)]
        by_label = dict(zip(labels, mean_of_defined(dice, axis=0).tolist(), strict=True))
        folds.append(
            {
                "repeat": repeat,
                "fold": fold,
                "cases": len(cases),
                "patients": len(set(patients)),
                "dice": float(mean_of_defined(mean_of_defined(dice, axis=1), axis=0)),
                "dice_by_label": {value: by_label.get(value, math.nan) for value in names},
            }
        )
    return folds
