"""Metric words: how each metric is called, written and explained in a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MetricWords", "shown_metrics", "text_of", "words_of"]


@dataclass(frozen=True)
class MetricWords:
    """How a metric is written.

    Attributes:
        label: Its name.
        unit: Its unit, or empty.
        decimals: Decimal places.
        factor: Multiplied before writing, 100 for per cent.
        signed: Whether a plus sign is written.
        meaning: One sentence for the reader.
    """

    label: str
    unit: str = ""
    decimals: int = 3
    factor: float = 1.0
    signed: bool = False
    meaning: str = ""


_WORDS = {
    "dice": MetricWords("Dice", meaning="Overlap of prediction and reference: 2 x shared / (predicted + reference)."),
    "iou": MetricWords("IoU", meaning="Overlap: shared / (predicted or reference)."),
    "precision": MetricWords("Precision", meaning="Share of the predicted voxels that are right."),
    "recall": MetricWords("Recall", meaning="Share of the reference's voxels that were found."),
    "hd95_mm": MetricWords(
        "HD95",
        "mm",
        1,
        meaning="The larger of the two directed 95th percentiles of the distances between the outlines.",
    ),
    "assd_mm": MetricWords("ASSD", "mm", 2, meaning="Mean distance between the outlines, both directions."),
    "volume_error": MetricWords(
        "Volume error", "%", 1, 100.0, True, "(Predicted - reference) / reference volume; negative: too small."
    ),
    "lesion_f1": MetricWords(
        "Lesion F1", meaning="Detection lesion by lesion; a lesion is found when a tenth of it is."
    ),
    "lesion_dice": MetricWords(
        "Lesion Dice", meaning="Mean Dice lesion by lesion, small ones counting as much as large ones; strays count 0."
    ),
}
_ORDER = ("dice", "iou", "precision", "recall", "nsd", "hd95_mm", "assd_mm", "volume_error", "lesion_f1", "lesion_dice")


def shown_metrics(names: Sequence[str]) -> tuple[str, ...]:
    """The metrics that a report's table shows, in its order.

    Args:
        names: Metrics of the summary.
    """
    place = {name: i for i, name in enumerate(_ORDER)}
    known = [name for name in names if name in _WORDS or name.startswith("nsd_")]
    return tuple(sorted(known, key=lambda name: place["nsd" if name.startswith("nsd_") else name]))


def words_of(metric: str, *, pixels: bool) -> MetricWords:
    """How a metric is written.

    Args:
        metric: Column of cases.csv.
        pixels: Whether distances are in pixels.
    """
    unit = "px" if pixels else "mm"
    if metric.startswith("nsd_"):
        tolerance = metric.removeprefix("nsd_").removesuffix("mm")
        return MetricWords(
            f"NSD at {tolerance} {unit}",
            meaning=f"Share of both outlines that lies within {tolerance} {unit} of the other.",
        )
    words = _WORDS[metric]
    if words.unit == "mm":
        return MetricWords(words.label, unit, words.decimals, meaning=words.meaning)
    return words


def text_of(value: float, words: MetricWords, *, decimals: int | None = None) -> str:
    """A value as text with a true minus sign; a dash when it is undefined.

    Args:
        value: The metric's value.
        words: How it is written.
        decimals: Decimal places instead of the metric's own.
    """
    if math.isnan(value):
        return "–"
    places = words.decimals if decimals is None else decimals
    # The sum with 0.0 turns a negative zero into a positive one.
    text = f"{round(value * words.factor, places) + 0.0:{'+' if words.signed else ''}.{places}f}"
    return text.replace("-", "−")
