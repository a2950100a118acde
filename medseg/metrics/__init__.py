"""Metrics: pure functions that score a prediction against a reference, and the scores' table. Undefined is nan."""

from medseg.metrics.case import LabelScores, metric_columns, nsd_column, score_case
from medseg.metrics.lesions import LesionScores, components, lesion_scores
from medseg.metrics.overlap import Overlap, overlap
from medseg.metrics.surface import SurfaceDistances, boundary, surface_distances
from medseg.metrics.table import CaseRow, case_rows, per_case_values, read_cases, write_cases

__all__ = [
    "CaseRow",
    "LabelScores",
    "LesionScores",
    "Overlap",
    "SurfaceDistances",
    "boundary",
    "case_rows",
    "components",
    "lesion_scores",
    "metric_columns",
    "nsd_column",
    "overlap",
    "per_case_values",
    "read_cases",
    "score_case",
    "surface_distances",
    "write_cases",
]
