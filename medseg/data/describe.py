"""Description: the numbers of a paper's first table, from a manifest and its quality report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from medseg.data.manifest import Manifest
from medseg.data.quality import QualityReport

__all__ = ["MOST_LEVELS", "Row", "describe_manifest", "numbers_of"]

Row = tuple[str, str]
"""What is counted or measured, and its value as text."""

MOST_LEVELS = 12
"""A column of more different texts is not counted level by level."""


def describe_manifest(manifest: Manifest, report: QualityReport) -> list[Row]:
    """Counts, volumes and covariates of a data set, one row each.

    The numbers are exact and unrounded in count, so they are for the internal tier; for the shareable one see
    `medseg.data.describe_shareable`.

    Args:
        manifest: The cases.
        report: What `check_manifest` saw of them.
    """
    cases = manifest.cases
    labelled = [seen for seen in report.cases if seen.labels is not None]
    rows: list[Row] = [
        ("cases", str(len(cases))),
        ("patients", str(len({case.patient for case in cases}))),
        ("sites", str(len({case.site for case in cases if case.site}) or "not known")),
        ("modality", _counts([case.modality for case in cases])),
        ("labelled cases", _share(sum(case.label is not None for case in cases), len(cases))),
        ("unusable cases", _share(report.errors, len(cases))),
        ("labelled cases without lesion", _share(sum(not seen.labels for seen in labelled), len(labelled))),
    ]
    for value, name in manifest.card.label_names().items():
        rows.append((f"cases with {name}", _share(sum(value in (s.labels or ()) for s in labelled), len(labelled))))
    lesion = [seen for seen in labelled if seen.labels]
    rows += _measured("labelled volume, mL", [seen.foreground_ml for seen in lesion])
    rows += _measured("labelled share of the image, %", [100 * seen.foreground_fraction for seen in lesion])
    rows += _measured("components a case", [float(seen.components or 0) for seen in lesion])
    for axis, name in enumerate("xyz"):
        spacings = [seen.spacing[axis] for seen in report.cases if seen.spacing and len(seen.spacing) > axis]
        volumes = [seen for seen in report.cases if seen.shape and len(seen.shape) == 3]
        rows += _measured(f"spacing {name}, mm", spacings) if volumes else []
    for column in dict.fromkeys(name for case in cases for name in case.covariates):
        rows += _covariate(column, [case.covariates.get(column, "") for case in cases])
    return rows


def _covariate(column: str, texts: Sequence[str]) -> list[Row]:
    known = [text for text in texts if text]
    missing = len(texts) - len(known)
    tail: list[Row] = [(f"{column}: not known", _share(missing, len(texts)))] if missing else []
    numbers = numbers_of(known)
    if numbers is not None and len(set(known)) > 2:
        return [*_measured(column, numbers), *tail]
    if len(set(known)) > MOST_LEVELS:
        return [(column, f"{len(set(known))} different texts"), *tail]
    return [*((f"{column}: {level}", _share(n, len(texts))) for level, n in sorted(Counter(known).items())), *tail]


def numbers_of(texts: Iterable[str]) -> list[float] | None:
    """The texts as numbers; None when one of them is none."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        return None


def _measured(name: str, values: Sequence[float]) -> list[Row]:
    finite = np.array([value for value in values if np.isfinite(value)])
    if not finite.size:
        return []
    low, middle, high = (f"{value:.4g}" for value in np.percentile(finite, [25, 50, 75]))
    return [(f"{name}, median (quartiles)", f"{middle} ({low} to {high})")]


def _counts(texts: Sequence[str]) -> str:
    return ", ".join(f"{text} {n}" for text, n in sorted(Counter(texts).items()))


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)" if whole else "0"
