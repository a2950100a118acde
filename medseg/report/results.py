"""Results: the sections of a report that say how well the study did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medseg.report.blocks import Block, Cell, Figure, Figures, Number, Numbers, Section, Table, Text
from medseg.report.facts import EpochRow, RunFacts
from medseg.report.figures import Estimate, draw, plot_curves, plot_estimates, plot_points, plot_scatter
from medseg.report.screen import WITHHELD, Screen
from medseg.report.words import MetricWords, shown_metrics, text_of, words_of
from medseg.studies.summary import per_case_values

__all__ = ["case_table", "headline", "results_section", "training_section"]

_MANY_LABELS = 3
_SHORT_LIST = ("dice", "recall", "precision", "hd95_mm", "lesion_f1")


def headline(facts: RunFacts, screen: Screen) -> Numbers:
    """The numbers to be read first: Dice with its interval, each label's where there are few, patients, cases."""
    summary = facts.summary
    labels = list(summary["labels"].values())
    parts = [("Dice", summary["mean_over_labels"]["metrics"]["dice"])]
    if 1 < len(labels) <= _MANY_LABELS:
        parts = [
            ("Dice, mean over labels", parts[0][1]),
            *((f"Dice, {v['name']}", v["metrics"]["dice"]) for v in labels),
        ]
    elif len(labels) == 1:
        parts = [(f"Dice, {labels[0]['name']}", labels[0]["metrics"]["dice"])]
    words = words_of("dice", pixels=facts.pixels)
    numbers = []
    for name, metric in parts:
        if screen.rests_on(metric["patients"]):
            numbers.append(Number(text_of(metric["mean"], words), name, _interval(metric, words, summary)))
        else:
            numbers.append(Number("withheld", name, f"rests on fewer than {screen.threshold} patients"))
    patients, cases = (screen.count(summary[name]).text for name in ("patients", "cases"))
    folds = len(summary["folds"])
    each = "held out once" if folds > 1 else "held out"
    numbers.append(Number(patients, "patients", f"{cases} cases, each {each}" if cases != patients else f"each {each}"))
    return Numbers(tuple(numbers))


def results_section(facts: RunFacts, screen: Screen) -> Section:
    """Per-label table, distribution of Dice, Dice by fold, size against Dice."""
    figures = [_distribution(facts, screen)]
    if len(facts.summary["folds"]) > 1:
        figures.append(_by_fold(facts, screen))
    if screen.open:
        figures += _size_figure(facts)
    shown = tuple(figure for figure in figures if figure is not None)
    blocks: list[Block] = [_table(facts, screen), _undefined_note(facts, screen)]
    if shown:
        blocks.append(Figures(shown))
    if len(facts.summary["folds"]) > 1:
        blocks.append(_fold_table(facts, screen))
    return Section("results", "Results", tuple(blocks))


def training_section(facts: RunFacts, screen: Screen) -> Section | None:
    """Training loss and validation Dice over minutes; the shareable tier sees the mean over folds."""
    if not facts.epochs:
        return None
    epochs = facts.epochs if screen.open or len(facts.epochs) == 1 else {"mean over folds": _mean_epochs(facts.epochs)}
    if not screen.rests_on(facts.summary["patients"]):
        return None
    figures = []
    for column, label, unit in (("train_loss", "training loss", False), ("val_dice", "validation Dice", True)):
        curves = {name: _curve(rows, column) for name, rows in epochs.items()}
        curves = {name: curve for name, curve in curves.items() if curve[0]}
        if not curves:
            continue
        which = (
            "of each fold" if len(curves) > 1 else "over the run" if len(facts.epochs) == 1 else "as mean over folds"
        )
        caption = f"{label.capitalize()} against minutes of training, {which}."
        figures.append(
            draw(plot_curves(curves, xlabel="minutes", ylabel=label, unit=unit), caption=caption, alternative=caption)
        )
    last = [rows[-1] for rows in facts.epochs.values()]
    iterations = sorted(int(row["iteration"]) for row in last)
    span = str(iterations[0]) if iterations[0] == iterations[-1] else f"{iterations[0]} to {iterations[-1]}"
    minutes = [row["minutes"] for row in last]
    text = (
        f"{len(last)} {'runs' if len(last) > 1 else 'run'} of {span} optimiser steps, {_about(minutes)} minutes each."
    )
    monitored = (
        "Validation Dice follows the training; it is not the result: the table above is scored on whole images, each "
        "by a model that saw nothing of its patient."
    )
    return Section("training", "Training", (Text((text + " " + monitored,)), Figures(tuple(figures))))


def case_table(facts: RunFacts, *, limit: int = 300) -> Table:
    """Every case with its Dice, the lowest first; internal tier only.

    Args:
        facts: The run.
        limit: Most rows that are shown.
    """
    cases, patients, table = per_case_values(facts.rows, ("dice",), empty_reference=facts.summary["empty_reference"])
    fold_of = {row["case"]: row["fold"] for row in facts.rows}
    names = [label["name"] for label in facts.summary["labels"].values()]
    words = words_of("dice", pixels=facts.pixels)
    mean = _mean_over_labels(table[:, :, 0])
    order = np.argsort(np.where(np.isnan(mean), np.inf, mean), kind="stable")[:limit]
    rows = []
    for i in order.tolist():
        cells = [Cell(cases[i]), Cell(patients[i]), Cell(str(fold_of[cases[i]] + 1))]
        cells += [Cell(text_of(float(v), words)) for v in table[i, :, 0]]
        rows.append(tuple([*cells, Cell(text_of(float(mean[i]), words))] if len(names) > 1 else cells))
    columns = ["Case", "Patient", "Fold", *(f"Dice, {name}" for name in names)]
    shown = f"the {limit} lowest of {len(cases)}" if len(cases) > limit else f"all {len(cases)}"
    return Table(
        tuple([*columns, "Mean"] if len(names) > 1 else columns),
        tuple(rows),
        caption=f"Dice of each case, lowest first ({shown}).",
        folded=True,
    )


def _table(facts: RunFacts, screen: Screen) -> Table:
    """Metrics down and labels across; the other way round where there are many labels."""
    summary = facts.summary
    parts = [(label["name"], label["metrics"]) for label in summary["labels"].values()]
    if len(parts) > 1:
        parts.append(("Mean over labels", summary["mean_over_labels"]["metrics"]))
    metrics = shown_metrics(list(parts[0][1]))
    percent = f"{summary['confidence'] * 100:g} %"
    caption = f"Mean over cases, with the {percent} interval over patients beneath."
    if len(parts) <= _MANY_LABELS + 1:
        rows = []
        for metric in metrics:
            words = words_of(metric, pixels=facts.pixels)
            name = Cell(f"{words.label} ({words.unit})" if words.unit else words.label)
            rows.append((name, *(_estimate(values[metric], words, facts, screen) for _, values in parts)))
        return Table(("Metric", *(name for name, _ in parts)), tuple(rows), caption=caption)
    short = [m for m in metrics if m in _SHORT_LIST or m.startswith("nsd_")]
    heads = [words_of(m, pixels=facts.pixels) for m in short]
    body = tuple(
        (Cell(name), *(_estimate(values[m], words, facts, screen) for m, words in zip(short, heads, strict=True)))
        for name, values in parts
    )
    return Table(("Label", *(f"{w.label} ({w.unit})" if w.unit else w.label for w in heads)), body, caption=caption)


def _estimate(metric: Mapping[str, Any], words: MetricWords, facts: RunFacts, screen: Screen) -> Cell:
    if metric["n"] == 0:
        return Cell("–", "never defined")
    return screen.cell(
        text_of(metric["mean"], words),
        patients=metric["patients"],
        detail=_interval(metric, words, facts.summary, word=False),
    )


def _interval(metric: Mapping[str, Any], words: MetricWords, summary: Mapping[str, Any], *, word: bool = True) -> str:
    if math.isnan(metric["low"]):
        return "no interval from one patient"
    text = f"{text_of(metric['low'], words)} to {text_of(metric['high'], words)}"
    return f"{summary['confidence'] * 100:g} % interval {text}" if word else text


def _undefined_note(facts: RunFacts, screen: Screen) -> Text:
    """Says which means rest on fewer cases than others, and why."""
    sentences = []
    for label in facts.summary["labels"].values():
        undefined: dict[int, list[str]] = {}
        for metric in shown_metrics(list(label["metrics"])):
            count = label["metrics"][metric]["undefined"]
            if count:
                undefined.setdefault(count, []).append(words_of(metric, pixels=facts.pixels).label)
        for count, names in undefined.items():
            visible = all(screen.visible_parts((count, facts.summary["cases"] - count)))
            number = str(count) if visible else f"fewer than {screen.threshold}" if count < screen.threshold else "some"
            sentences.append(f"{label['name']}: undefined in {number} of the cases: {', '.join(names)}.")
    if not sentences:
        return Text(("Every metric is defined in every case.",))
    policy = (
        "A case without the label in reference and prediction is left out of the mean Dice."
        if facts.summary["empty_reference"] == "skip"
        else "A case without the label in reference and prediction counts as Dice 1."
    )
    distance = "Distances are undefined where either outline is missing, so their means do not show missed lesions."
    return Text((" ".join(sentences), f"{policy} {distance}"))


def _distribution(facts: RunFacts, screen: Screen) -> Figure | None:
    """Points of all cases for the internal tier; means with intervals for the shareable one."""
    labels = list(facts.summary["labels"].values())
    metrics = [label["metrics"]["dice"] for label in labels]
    height = 1.35 + 0.62 * len(labels)
    if screen.open:
        _, _, table = per_case_values(facts.rows, ("dice",), empty_reference=facts.summary["empty_reference"])
        groups = {label["name"]: table[:, i, 0].tolist() for i, label in enumerate(labels)}
        estimates = [_as_estimate(label["name"], label["metrics"]["dice"]) for label in labels]
        caption = "Dice of every case (dots), the median (dark bar), and the mean with its interval (orange)."
        return draw(plot_points(groups, estimates, label="Dice"), caption=caption, alternative=caption, height=height)
    estimates = [
        _as_estimate(v["name"], m) for v, m in zip(labels, metrics, strict=True) if screen.rests_on(m["patients"])
    ]
    if not estimates:
        return None
    caption = "Mean Dice of each label with its interval."
    return draw(plot_estimates(estimates, label="Dice"), caption=caption, alternative=caption, height=height)


def _by_fold(facts: RunFacts, screen: Screen) -> Figure | None:
    folds = facts.summary["folds"]
    visible = screen.visible_parts([fold["patients"] for fold in folds])
    names = [_fold_name(fold, folds) for fold in folds]
    height = 1.35 + 0.36 * len(folds)
    if screen.open:
        groups: dict[str, Sequence[float]] = {}
        for fold, name in zip(folds, names, strict=True):
            part = [r for r in facts.rows if (r["repeat"], r["fold"]) == (fold["repeat"], fold["fold"])]
            _, _, table = per_case_values(part, ("dice",), empty_reference=facts.summary["empty_reference"])
            groups[name] = _mean_over_labels(table[:, :, 0]).tolist()
        means = [Estimate(name, fold["dice"]) for name, fold in zip(names, folds, strict=True)]
        caption = "Dice of the cases held out in each fold, and the fold's mean (orange)."
        return draw(plot_points(groups, means, label="Dice"), caption=caption, alternative=caption, height=height)
    means = [Estimate(n, f["dice"]) for n, f, seen in zip(names, folds, visible, strict=True) if seen]
    if not means:
        return None
    caption = "Mean Dice of each fold."
    return draw(plot_estimates(means, label="Dice"), caption=caption, alternative=caption, height=height)


def _size_figure(facts: RunFacts) -> list[Figure]:
    """Dice against the reference's size, where the sizes are known and differ."""
    if "reference_voxels" not in facts.rows[0]:
        return []
    volume = any(row.get("reference_volume_ml", math.nan) > 0 for row in facts.rows)
    column, unit = ("reference_volume_ml", "ml") if volume else ("reference_voxels", "pixels")
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for row in facts.rows:
        if row[column] > 0 and not math.isnan(row["dice"]):
            x, y = groups.setdefault(row["label_name"], ([], []))
            x.append(row[column])
            y.append(row["dice"])
    if not groups:
        return []
    caption = f"Dice against the size of the reference ({unit}, logarithmic), one dot a case and label."
    plot = plot_scatter(groups, xlabel=f"reference size ({unit})", ylabel="Dice")
    return [draw(plot, caption=caption, alternative=caption)]


def _fold_table(facts: RunFacts, screen: Screen) -> Table:
    folds = facts.summary["folds"]
    labels = {value: label["name"] for value, label in facts.summary["labels"].items()}
    visible = screen.visible_parts([fold["patients"] for fold in folds])
    patients = screen.parts([fold["patients"] for fold in folds])
    words = words_of("dice", pixels=facts.pixels)
    rows = []
    for fold, seen, count in zip(folds, visible, patients, strict=True):
        values = [fold["dice_by_label"][value] for value in labels]
        values += [fold["dice"]] if len(labels) > 1 else []
        dice = [Cell(text_of(value, words)) if seen else WITHHELD for value in values]
        cases = Cell(str(fold["cases"])) if seen else WITHHELD
        rows.append((Cell(_fold_name(fold, folds)), count, cases, *dice))
    columns = ["Fold", "Patients", "Cases", *(f"Dice, {name}" for name in labels.values())]
    return Table(
        tuple([*columns, "Mean over labels"] if len(labels) > 1 else columns),
        tuple(rows),
        caption="Held-out cases and mean Dice of each fold.",
    )


def _fold_name(fold: Mapping[str, Any], folds: Sequence[Mapping[str, Any]]) -> str:
    repeated = len({f["repeat"] for f in folds}) > 1
    return f"Repeat {fold['repeat'] + 1}, fold {fold['fold'] + 1}" if repeated else f"Fold {fold['fold'] + 1}"


def _as_estimate(name: str, metric: Mapping[str, Any]) -> Estimate:
    return Estimate(name, metric["mean"], metric["low"], metric["high"])


def _mean_over_labels(dice: Any) -> Any:
    defined = ~np.isnan(dice)
    count = defined.sum(axis=1)
    total = np.where(defined, dice, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(len(dice), math.nan), where=count > 0)


def _curve(rows: Sequence[EpochRow], column: str) -> tuple[list[float], list[float]]:
    points = [(row["minutes"], row[column]) for row in rows if not math.isnan(row.get(column, math.nan))]
    return [x for x, _ in points], [y for _, y in points]


def _mean_epochs(epochs: Mapping[str, Sequence[EpochRow]]) -> list[EpochRow]:
    """Epoch by epoch the mean over the folds, as far as all of them go."""
    rows: list[EpochRow] = []
    for parts in zip(*epochs.values(), strict=False):
        names = ("minutes", "train_loss", "val_dice")
        rows.append({name: float(np.mean([part.get(name, math.nan) for part in parts])) for name in names})
    return rows


def _about(values: Sequence[float]) -> str:
    return f"{float(np.mean(values)):.1f}" if values else "–"
