"""Metrics: pure functions that score a prediction against a reference. Undefined is nan."""

from medseg.metrics.case import LabelScores, metric_columns, nsd_column, score_case
from medseg.metrics.lesions import LesionScores, components, lesion_scores
from medseg.metrics.overlap import Overlap, overlap
from medseg.metrics.surface import SurfaceDistances, boundary, surface_distances

__all__ = [
    "LabelScores",
    "LesionScores",
    "Overlap",
    "SurfaceDistances",
    "boundary",
    "components",
    "lesion_scores",
    "metric_columns",
    "nsd_column",
    "overlap",
    "score_case",
    "surface_distances",
]
