"""Curve: out-of-fold Dice against the number of labelled training cases."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from medseg.config import FewShotConfig, StudyConfig
from medseg.data.files import atomic_write
from medseg.errors import RequestError
from medseg.privacy.identities import IdentityIndex
from medseg.studies.crossval import cross_validate
from medseg.studies.reporting import StudyProgress

__all__ = ["CurvePoint", "label_curve"]


@dataclass(frozen=True)
class CurvePoint:
    """One point of the curve.

    Attributes:
        cases: Labelled cases that each fold was trained on.
        dice: Mean out-of-fold Dice over cases and labels.
        low: Lower end of its interval.
        high: Upper end of its interval.
    """

    cases: int
    dice: float
    low: float
    high: float


def label_curve(
    study: StudyConfig,
    *,
    cases: Sequence[int],
    out: Path,
    progress: StudyProgress | None = None,
    identities: IdentityIndex | None = None,
) -> list[CurvePoint]:
    """Cross-validate with more and more labelled cases; each point is a run folder of its own, below `out`.

    Args:
        study: The study; its ``train.few_shot.cases`` is set to each number in turn.
        cases: Numbers of labelled cases.
        out: Gets ``cases_k/`` and curve.csv.
        progress: Told how far it is.
        identities: As `cross_validate`.

    Raises:
        RequestError: A number is below 1.
    """
    if not cases or min(cases) < 1:
        raise RequestError("--cases: expected numbers of at least 1")
    points = []
    for count in sorted(set(cases)):
        few = (study.train.few_shot or FewShotConfig(cases=count)).model_copy(update={"cases": count})
        train = study.train.model_copy(update={"few_shot": few})
        outcome = cross_validate(
            study.model_copy(update={"train": train}),
            out=out / f"cases_{count}",
            progress=progress,
            identities=identities,
        )
        dice = outcome.summary["mean_over_labels"]["metrics"]["dice"]
        points.append(CurvePoint(count, dice["mean"], dice["low"], dice["high"]))
        _write(points, out / "curve.csv")
    return points


def _write(points: Sequence[CurvePoint], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(CurvePoint)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(point) for point in points)
    with atomic_write(path, mode="w") as stream:
        stream.write(text.getvalue())
