"""Cases: the best, the median and the worst of a study, as pictures; internal tier only."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from medseg.data.cases import read_case_image
from medseg.data.manifest import Case
from medseg.data.readers import read_label
from medseg.errors import MedsegError
from medseg.report.blocks import Block, Figure, Figures, Section, Text
from medseg.report.facts import RunFacts
from medseg.report.overlays import case_picture
from medseg.report.results import case_table
from medseg.report.words import text_of, words_of
from medseg.studies.scoring import find_prediction
from medseg.studies.summary import per_case_values

__all__ = ["cases_section", "choose_cases"]


def choose_cases(names: Sequence[str], dice: Sequence[float], *, each: int = 2) -> list[tuple[str, str, float]]:
    """The worst, the median and the best cases, each case at most once.

    Args:
        names: Case ids.
        dice: Their Dice; nan is never chosen.
        each: Cases of each kind.

    Returns:
        ``worst``, ``median`` or ``best``, the case and its Dice; the worst first.
    """
    ranked = sorted((d, n) for n, d in zip(names, dice, strict=True) if not math.isnan(d))
    each = min(each, len(ranked) // 3) or min(1, len(ranked))
    middle = max(each, (len(ranked) - each) // 2)
    parts = (("worst", ranked[:each]), ("median", ranked[middle : middle + each]), ("best", ranked[-each:]))
    chosen: dict[str, tuple[str, str, float]] = {}
    for kind, part in parts:
        for value, name in part:
            chosen.setdefault(name, (kind, name, value))
    return list(chosen.values())


def cases_section(facts: RunFacts) -> Section:
    """Pictures of the worst, median and best cases, and the table of all."""
    cases, _, table = per_case_values(facts.rows, ("dice",), empty_reference=facts.summary["empty_reference"])
    defined = ~np.isnan(table[:, :, 0])
    count = defined.sum(axis=1)
    total = np.where(defined, table[:, :, 0], 0.0).sum(axis=1)
    dice = np.divide(total, count, out=np.full(len(cases), math.nan), where=count > 0).tolist()
    blocks: list[Block] = []
    figures, missing = _pictures(facts, choose_cases(cases, dice))
    if figures:
        text = (
            "Yellow: the reference. Turquoise: the prediction. The slice that shows most of the reference's last label."
        )
        blocks += [Text((text,)), Figures(tuple(figures), columns=3)]
    if missing:
        text = (
            f"{missing} of the chosen cases could not be drawn: the manifest, the image or the prediction is no longer "
            "where the run left it."
        )
        blocks.append(Text((text,)))
    return Section("cases", "Worst, median and best cases", (*blocks, case_table(facts)))


def _pictures(facts: RunFacts, chosen: Sequence[tuple[str, str, float]]) -> tuple[list[Figure], int]:
    known = {case.case: case for case in facts.manifest.cases} if facts.manifest is not None else {}
    several = len(facts.summary["labels"]) > 1
    figures = []
    for kind, name, value in chosen:
        picture = _picture(facts, known[name]) if name in known else None
        if picture is None:
            continue
        dice = text_of(value, words_of("dice", pixels=facts.pixels))
        caption = f"{kind.capitalize()}: {name}, Dice {dice}{' (mean over labels)' if several else ''}"
        alternative = f"Outlines of reference and prediction of case {name}, Dice {dice}"
        figures.append(Figure(png=picture, caption=caption, alternative=alternative))
    return figures, len(chosen) - len(figures)


def _picture(facts: RunFacts, case: Case) -> bytes | None:
    """The case's picture, or None when one of its files is gone."""
    fold = next((row["fold"] for row in facts.rows if row["case"] == case.case), 0)
    prediction = find_prediction(facts.run / f"fold_{fold}" / "predictions", case.case)
    if prediction is None or case.label is None or facts.manifest is None:
        return None
    try:
        volume = read_case_image(case, channels=facts.manifest.card.channels)
        return case_picture(volume, read_label(prediction)[0], read_label(case.label)[0], window=_window(facts))
    except (MedsegError, OSError):
        return None


def _window(facts: RunFacts) -> tuple[float, float] | None:
    """The intensities that the plan scales; percentiles of the slice where there is no common scale."""
    first = facts.plan.normalisation[0]
    if first.method == "ct_window":
        # The plan's window is taken from the foreground; what lies around it is shown too.
        margin = 0.5 * (first.high - first.low)
        return first.low - margin, first.high + margin
    return (0.0, first.high) if first.method == "suv" else None
