"""Training: the section of a report that shows how the runs went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from medseg.report.blocks import Figures, Section, Text
from medseg.report.facts import EpochRow, RunFacts
from medseg.report.figures import draw, plot_curves
from medseg.report.screen import Screen

__all__ = ["training_section"]

_CURVES = (("train_loss", "training loss", False), ("val_dice", "validation Dice", True))


def training_section(facts: RunFacts, screen: Screen) -> Section | None:
    """Training loss and validation Dice over minutes; the shareable tier sees the mean over the runs.

    Args:
        facts: The run folder.
        screen: What may be seen.

    Returns:
        The section, or None when there is nothing to show or it would rest on too few patients.
    """
    if not facts.epochs or not screen.rests_on(facts.summary["patients"]):
        return None
    averaged = len(facts.epochs) > 1 and not screen.open
    epochs = {"mean": _mean_epochs(facts.epochs)} if averaged else facts.epochs
    figures = []
    told = [curve for curve in _CURVES if curve[0] != "val_dice" or screen.rests_on(_monitored_patients(facts))]
    for column, label, unit in told:
        curves = {name: _curve(rows, column) for name, rows in epochs.items()}
        curves = {name: curve for name, curve in curves.items() if curve[0]}
        if curves:
            which = ", mean over the runs" if averaged else ""
            caption = f"{label[0].upper()}{label[1:]} against minutes of training{which}."
            plot = plot_curves(curves, xlabel="minutes", ylabel=label, unit=unit)
            figures.append(draw(plot, caption=caption, alternative=caption, height=2.7))
    texts = [_description(facts)]
    if len(told) < len(_CURVES):
        texts.append(
            f"Validation Dice is withheld: it rests on too few patients, fewer than {screen.limits.threshold}."
        )
    return Section("training", "Training", (Text(tuple(texts)), Figures(tuple(figures))))


def _description(facts: RunFacts) -> str:
    last = [rows[-1] for rows in facts.epochs.values()]
    steps = sorted(int(row["iteration"]) for row in last)
    span = str(steps[0]) if steps[0] == steps[-1] else f"{steps[0]} to {steps[-1]}"
    minutes = float(np.mean([row["minutes"] for row in last]))
    runs = f"{len(last)} runs of {span}" if len(last) > 1 else f"One run of {span}"
    each = " each" if len(last) > 1 else ""
    measured = (
        "on a part of the training patients that was held back to guide the run"
        if facts.study.train.guided
        else "on held-out cases to show the progress; nothing was chosen by it"
    )
    return (
        f"{runs} optimiser steps, {minutes:.1f} minutes{each}. Validation Dice is measured while training goes on, "
        f"{measured}. It is not the result: that is scored on whole images at the end."
    )


def _monitored_patients(facts: RunFacts) -> int:
    """How many patients at least the curve of the validation Dice rests on; the runs are taken together.

    Each run looks at some cases of its own held-out ones, drawn by chance. An inner part of the training patients is
    another matter: the folds may share it, so that it counts as the smallest that it can be.
    """
    from medseg.studies.fold import MONITORED

    of_parts: dict[tuple[int, int], tuple[set[str], set[str]]] = {}
    for row in facts.rows:
        cases, patients = of_parts.setdefault((row["repeat"], row["fold"]), (set(), set()))
        cases.add(row["case"])
        patients.add(row["patient"])
    most = MONITORED[facts.plan.spatial_dims]
    least = [max(1, len(patients) - max(0, len(cases) - most)) for cases, patients in of_parts.values()]
    several = {repeat for repeat, _ in of_parts}
    return 1 if facts.study.train.guided else sum(least) // len(several)


def _curve(rows: Sequence[EpochRow], column: str) -> tuple[list[float], list[float]]:
    points = [(row["minutes"], row[column]) for row in rows if not math.isnan(row.get(column, math.nan))]
    return [x for x, _ in points], [y for _, y in points]


def _mean_epochs(epochs: Mapping[str, Sequence[EpochRow]]) -> list[EpochRow]:
    """Epoch by epoch the mean over the runs, as far as all of them go."""
    rows: list[EpochRow] = []
    for parts in zip(*epochs.values(), strict=False):
        names = ("minutes", "train_loss", "val_dice")
        rows.append({name: float(np.mean([part.get(name, math.nan) for part in parts])) for name in names})
    return rows
