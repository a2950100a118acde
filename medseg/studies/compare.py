"""Comparison: two or more runs on the same cases, paired case by case.

The difference of two runs is taken in each case, so what makes a case hard cancels out. Its mean gets a BCa interval
over patients; its sign is tested by Wilcoxon's signed-rank test on the patients' means (two-sided, zeros by Pratt's
method; cases of one patient are not independent). p values are corrected for the number of comparisons by Holm's method
(1979).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medseg.errors import RequestError, RunError
from medseg.metrics.table import CaseRow, EmptyReference, metric_names, per_case_values
from medseg.studies.bootstrap import Clusters, mean_interval
from medseg.types import FloatArray

__all__ = ["compare_runs", "holm", "signed_rank_p"]


def compare_runs(
    runs: Mapping[str, Sequence[CaseRow]],
    *,
    metric: str = "dice",
    bootstrap: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    empty_reference: EmptyReference = "skip",
) -> dict[str, Any]:
    """Compare every pair of runs, for each label and for the mean over labels.

    Args:
        runs: Name of each run to its rows of cases.csv.
        metric: Column to compare.
        bootstrap: Resamples of the patients.
        confidence: Coverage of the intervals.
        seed: Seed of the resampling; the same patients are drawn for every pair.
        empty_reference: As in `medseg.studies.summarise`.

    Returns:
        ``comparisons``, one for each pair and label: ``first, second, label`` (None for the mean over labels),
        ``label_name, first_mean, second_mean, difference`` (second minus first), ``low, high, p, p_holm, n, patients``;
        ``undefined`` counts the cases left out because the metric is undefined in both runs, ``one_sided`` in one.

    Raises:
        RequestError: Fewer than two runs, or no run knows the metric.
        RunError: The runs did not score the same cases, patients and labels.
    """
    if len(runs) < 2:
        raise RequestError(f"expected two runs or more to compare; found {len(runs)}")
    for name, rows in runs.items():
        if metric not in metric_names(rows):
            known = ", ".join(metric_names(rows)) or "no metric at all"
            raise RequestError(f"run {name}: expected a metric of its cases.csv, found {metric!r}; it has {known}")
    first_rows = next(iter(runs.values()))
    cases, patients, labels = _require_same_cases(runs)
    clusters = Clusters.draw(patients, resamples=bootstrap, seed=seed)
    values = {name: _values(rows, metric, cases, empty_reference) for name, rows in runs.items()}
    names = {row["label"]: row["label_name"] for row in first_rows}
    targets: list[tuple[int | None, str, int]] = [(value, names[value], i) for i, value in enumerate(labels)]
    if len(labels) > 1:
        targets.append((None, "mean over labels", len(labels)))
    comparisons: list[dict[str, Any]] = []
    for first, second in itertools.combinations(runs, 2):
        for value, label_name, column in targets:
            facts = _pair(values[first][:, column], values[second][:, column], clusters, confidence)
            comparisons.append({"first": first, "second": second, "label": value, "label_name": label_name, **facts})
    for comparison, corrected in zip(comparisons, holm([c["p"] for c in comparisons]), strict=True):
        comparison["p_holm"] = corrected
    return {
        "metric": metric,
        "cases": len(cases),
        "patients": clusters.count,
        "interval": "BCa bootstrap over patients, paired",
        "test": "Wilcoxon signed-rank on patient means, two-sided, Holm-corrected",
        "confidence": confidence,
        "bootstrap": bootstrap,
        "seed": seed,
        "empty_reference": empty_reference,
        "comparisons": comparisons,
    }


def signed_rank_p(differences: FloatArray) -> float:
    """Two-sided p value of Wilcoxon's signed-rank test.

    Args:
        differences: One for each patient; nan is left out.

    Returns:
        1 when all differences are zero; nan when there is none.
    """
    from scipy.stats import wilcoxon

    defined = differences[~np.isnan(differences)]
    if not len(defined):
        return math.nan
    if not np.any(defined):
        return 1.0
    return float(wilcoxon(defined, zero_method="pratt").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, at most 1; nan stays nan and does not count as a comparison.

    Example:
        >>> holm([0.01, 0.04])
        [0.02, 0.04]
    """
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    corrected = [math.nan] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def _require_same_cases(runs: Mapping[str, Sequence[CaseRow]]) -> tuple[list[str], list[str], list[int]]:
    """Cases, their patients and the labels, which every run shares."""
    (first, first_rows), *others = runs.items()
    expected = {(row["case"], row["patient"], row["label"]) for row in first_rows}
    for name, rows in others:
        found = {(row["case"], row["patient"], row["label"]) for row in rows}
        if found != expected:
            raise RunError(
                f"expected runs on the same cases, patients and labels; {len(expected - found)} of {len(expected)} are "
                f"only in {first}, {len(found - expected)} only in {name}. Run both with the same manifest and folds"
            )
    patient_of = {row["case"]: row["patient"] for row in first_rows}
    return list(patient_of), list(patient_of.values()), sorted({row["label"] for row in first_rows})


def _values(rows: Sequence[CaseRow], metric: str, cases: Sequence[str], policy: EmptyReference) -> FloatArray:
    """One column for each label and, last, their mean; rows in the order of `cases`."""
    found, _, table = per_case_values(rows, (metric,), empty_reference=policy)
    position = {case: i for i, case in enumerate(found)}
    by_label = table[[position[case] for case in cases], :, 0]
    defined = ~np.isnan(by_label)
    count = defined.sum(axis=1)
    total = np.where(defined, by_label, 0.0).sum(axis=1)
    mean = np.divide(total, count, out=np.full(len(cases), math.nan), where=count > 0)
    return np.column_stack([by_label, mean])


def _pair(first: FloatArray, second: FloatArray, clusters: Clusters, confidence: float) -> dict[str, Any]:
    difference = second - first
    defined = ~np.isnan(difference)
    interval = mean_interval(difference, clusters=clusters, confidence=confidence)
    some = bool(defined.any())
    patient_means = clusters.means(difference)
    return {
        "first_mean": float(first[defined].mean()) if some else math.nan,
        "second_mean": float(second[defined].mean()) if some else math.nan,
        "difference": float(difference[defined].mean()) if some else math.nan,
        "low": interval.low,
        "high": interval.high,
        "p": signed_rank_p(patient_means),
        "n": int(defined.sum()),
        "patients": int(np.count_nonzero(~np.isnan(patient_means))),
        "undefined": int(np.count_nonzero(np.isnan(first) & np.isnan(second))),
        "one_sided": int(np.count_nonzero(np.isnan(first) != np.isnan(second))),
    }
