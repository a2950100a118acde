"""LabelScores: every metric of one label in one case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import GeometryError
from medseg.metrics.lesions import lesion_scores
from medseg.metrics.overlap import Mask, overlap
from medseg.metrics.surface import box_around, surface_distances
from medseg.types import LabelMap, Spacing

__all__ = ["LabelScores", "metric_columns", "nsd_column", "score_case"]

_COLUMNS_BEFORE_NSD = ("dice", "iou", "precision", "recall", "hd95_mm", "assd_mm")
_COLUMNS_AFTER_NSD = (
    "volume_ml",
    "reference_volume_ml",
    "volume_error",
    "lesion_f1",
    "lesion_dice",
    "lesions",
    "lesions_detected",
    "lesions_predicted",
    "lesions_true",
    "voxels",
    "reference_voxels",
)


@dataclass(frozen=True)
class LabelScores:
    """Every metric of one label in one case; undefined is nan, by the rules of each metric's module.

    Attributes:
        label: Value in the label map.
        name: Name of the label.
        dice: Dice coefficient.
        iou: Intersection over union.
        precision: Share of the predicted voxels that are right.
        recall: Share of the reference's voxels that are found.
        hd95_mm: 95th percentile Hausdorff distance in millimetres (pixels for a picture without spacing).
        assd_mm: Average symmetric surface distance in millimetres (pixels for a picture without spacing).
        nsd: Normalised surface distance at each tolerance in millimetres.
        volume_ml: Predicted volume in millilitres; nan in 2D, where an area is not a volume.
        reference_volume_ml: Reference volume in millilitres; nan in 2D.
        volume_error: (predicted - reference) / reference volume, or area in 2D, signed.
        lesion_f1: F1 of lesion detection.
        lesion_dice: Mean Dice lesion by lesion.
        lesions: Lesions in the reference.
        lesions_detected: Lesions in the reference that are found.
        lesions_predicted: Components of the prediction.
        lesions_true: Components of the prediction that are lesions.
        voxels: Predicted voxels.
        reference_voxels: Reference voxels.
    """

    label: int
    name: str
    dice: float
    iou: float
    precision: float
    recall: float
    hd95_mm: float
    assd_mm: float
    nsd: Mapping[float, float]
    volume_ml: float
    reference_volume_ml: float
    volume_error: float
    lesion_f1: float
    lesion_dice: float
    lesions: int
    lesions_detected: int
    lesions_predicted: int
    lesions_true: int
    voxels: int
    reference_voxels: int

    def columns(self) -> dict[str, float]:
        """The metrics by column name of ``cases.csv``, in the order of `metric_columns`."""
        row = {name: getattr(self, name) for name in _COLUMNS_BEFORE_NSD}
        row |= {nsd_column(tolerance): value for tolerance, value in self.nsd.items()}
        return row | {name: getattr(self, name) for name in _COLUMNS_AFTER_NSD}


def nsd_column(tolerance_mm: float) -> str:
    """Column name of the normalised surface distance at a tolerance, for example ``nsd_2mm``."""
    return f"nsd_{tolerance_mm:g}mm"


def metric_columns(nsd_tolerance_mm: Sequence[float]) -> tuple[str, ...]:
    """The metric columns of ``cases.csv`` in order.

    Args:
        nsd_tolerance_mm: Tolerances of the normalised surface distance in millimetres.

    Returns:
        Column names.
    """
    return (*_COLUMNS_BEFORE_NSD, *(nsd_column(t) for t in nsd_tolerance_mm), *_COLUMNS_AFTER_NSD)


def score_case(
    prediction: LabelMap,
    reference: LabelMap,
    *,
    labels: Mapping[int, str],
    spacing: Spacing,
    nsd_tolerance_mm: Sequence[float],
    ignore_label: int | None = None,
) -> list[LabelScores]:
    """Score one prediction against its reference, label by label.

    Args:
        prediction: Label map (x, y[, z]).
        reference: Label map of the same shape.
        labels: Value and name of each label to score, without the background.
        spacing: Millimetres between voxel centres along each axis.
        nsd_tolerance_mm: Tolerances of the normalised surface distance in millimetres.
        ignore_label: Reference value whose voxels count as background on both sides.

    Returns:
        One entry for each label, in the order of `labels`.

    Raises:
        GeometryError: The two label maps or the spacing do not fit together.
    """
    if prediction.shape != reference.shape:
        raise GeometryError(
            f"expected a prediction on the reference's grid; found shape {_text(prediction.shape)} against "
            f"{_text(reference.shape)}. Predict again on the image that the reference was drawn on"
        )
    if prediction.ndim not in (2, 3) or len(spacing) != prediction.ndim:
        raise GeometryError(
            f"expected 2 or 3 spatial axes and as many spacings; found {prediction.ndim} axes, {len(spacing)} spacings"
        )
    foreground = (prediction != 0) | (reference != 0)
    box = box_around(foreground) or tuple(slice(0, 1) for _ in range(prediction.ndim))
    predicted, referred = prediction[box], reference[box]
    counted = None if ignore_label is None else referred != ignore_label
    return [
        _score_label(
            _mask(predicted, value, counted), _mask(referred, value, counted), value, name, spacing, nsd_tolerance_mm
        )
        for value, name in labels.items()
    ]


def _mask(label_map: LabelMap, value: int, counted: Mask | None) -> Mask:
    mask: Mask = label_map == value
    return mask if counted is None else mask & counted


def _score_label(
    prediction: Mask, reference: Mask, value: int, name: str, spacing: Spacing, tolerances: Sequence[float]
) -> LabelScores:
    box = box_around(prediction | reference) or tuple(slice(0, 1) for _ in range(prediction.ndim))
    prediction, reference = prediction[box], reference[box]
    voxels = overlap(prediction, reference)
    surface = surface_distances(prediction, reference, spacing=spacing)
    lesions = lesion_scores(prediction, reference)
    millilitres = float(np.prod(spacing)) / 1000.0 if prediction.ndim == 3 else float("nan")
    return LabelScores(
        label=value,
        name=name,
        dice=voxels.dice,
        iou=voxels.iou,
        precision=voxels.precision,
        recall=voxels.recall,
        hd95_mm=surface.hd95,
        assd_mm=surface.assd,
        nsd={float(t): surface.nsd(t) for t in tolerances},
        volume_ml=voxels.predicted * millilitres,
        reference_volume_ml=voxels.reference * millilitres,
        volume_error=voxels.volume_error,
        lesion_f1=lesions.f1,
        lesion_dice=lesions.dice,
        lesions=lesions.lesions,
        lesions_detected=lesions.detected,
        lesions_predicted=lesions.predicted,
        lesions_true=lesions.true,
        voxels=voxels.predicted,
        reference_voxels=voxels.reference,
    )


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)
