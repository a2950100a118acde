"""Cases: the best, the median and the worst of a study, as pictures; internal tier only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from medseg.data.cases import read_case_image
from medseg.data.manifest import Case
from medseg.data.readers import read_label
from medseg.errors import MedsegError
from medseg.report.blocks import Block, Cell, Figure, Figures, Section, Table, Text
from medseg.report.facts import RunFacts
from medseg.report.overlays import case_picture
from medseg.report.scores import MEAN, Scores
from medseg.report.words import text_of, words_of
from medseg.studies.predicted import find_prediction

__all__ = ["case_table", "cases_section", "choose_cases"]


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


def cases_section(scores: Scores) -> Section:
    """Pictures of the worst, median and best cases, and the table of all."""
    dice = scores.values(MEAN, "dice")
    blocks: list[Block] = []
    figures, missing = _pictures(scores, choose_cases(scores.cases, dice))
    if figures:
        text = "Yellow: the reference. Turquoise: the prediction."
        if scores.facts.plan.spatial_dims == 3:
            text += " Each slice is the one that shows most of the last label."
        blocks += [Text((text,)), Figures(tuple(figures), columns=3)]
    if missing:
        text = (
            f"{missing} of the chosen cases could not be drawn: the manifest, the image or the prediction is no longer "
            "where the run left it."
        )
        blocks.append(Text((text,)))
    return Section("cases", "Worst, median and best cases", (*blocks, case_table(scores)))


def case_table(scores: Scores, *, limit: int = 300) -> Table:
    """Every case with its Dice, the lowest first.

    Args:
        scores: The values.
        limit: Most rows that are shown.
    """
    fold_of = {row["case"]: row["fold"] for row in scores.facts.rows}
    words = words_of("dice", pixels=scores.facts.pixels)
    columns = {key: scores.values(key, "dice") for key in scores.labels}
    rank = scores.values(MEAN, "dice")
    order = sorted(range(len(rank)), key=lambda i: (math.isnan(rank[i]), rank[i]))[:limit]
    rows = tuple(
        (
            Cell(scores.cases[i]),
            Cell(scores.patients[i]),
            Cell(str(fold_of[scores.cases[i]] + 1)),
            *(Cell(text_of(values[i], words)) for values in columns.values()),
        )
        for i in order
    )
    heads = (name if key == MEAN else f"Dice, {name}" for key, name in scores.labels.items())
    shown = f"the {limit} lowest of {len(rank)}" if len(rank) > limit else f"all {len(rank)}"
    caption = f"Dice of each case, lowest first ({shown})."
    return Table(("Case", "Patient", "Fold", *heads), rows, caption=caption, folded=True)


def _pictures(scores: Scores, chosen: Sequence[tuple[str, str, float]]) -> tuple[list[Figure], int]:
    facts = scores.facts
    known = {case.case: case for case in facts.manifest.cases} if facts.manifest is not None else {}
    folders = {(part.repeat, part.fold): number for number, part in enumerate(scores.parts)}
    place = {row["case"]: folders[row["repeat"], row["fold"]] for row in reversed(facts.rows)}
    figures = []
    for kind, name, value in chosen:
        folder = facts.run / f"fold_{place[name]}" / "predictions"
        picture = _picture(facts, known[name], folder) if name in known else None
        if picture is None:
            continue
        dice = text_of(value, words_of("dice", pixels=facts.pixels))
        caption = f"{kind.capitalize()}: {name}, Dice {dice}"
        alternative = f"Outlines of reference and prediction of case {name}, Dice {dice}"
        figures.append(Figure(png=picture, caption=caption, alternative=alternative))
    return figures, len(chosen) - len(figures)


def _picture(facts: RunFacts, case: Case, folder: Path) -> bytes | None:
    """The case's picture, or None when one of its files is gone."""
    prediction = find_prediction(folder, case.case)
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
