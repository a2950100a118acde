"""Results: the section of a report that says how well the study did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medseg.report.blocks import Block, Cell, Columns, Figure, Figures, Number, Numbers, Section, Table, Text
from medseg.report.figures import Estimate, draw, plot_estimates, plot_points, plot_scatter
from medseg.report.scores import MEAN, Part, Scores
from medseg.report.screen import WITHHELD
from medseg.report.words import MetricWords, text_of, words_of

__all__ = ["headline", "results_section"]

_MANY_LABELS = 3
_SHORT_LIST = ("dice", "recall", "precision", "hd95_mm", "lesion_f1")


def headline(scores: Scores) -> Numbers:
    """The numbers to be read first: Dice with its interval, each label's where there are few, patients, cases."""
    keys = list(scores.labels)
    if len(keys) > 1:
        keys = [MEAN, *keys[:-1]] if len(keys) <= _MANY_LABELS + 1 else [MEAN]
    words = words_of("dice", pixels=scores.facts.pixels)
    numbers = []
    for key in keys:
        name = f"Dice, {scores.labels[key].lower() if key == MEAN else scores.labels[key]}"
        if scores.tells(key, "dice"):
            metric = scores.summary(key, "dice")
            percent = f"{scores.facts.summary['confidence'] * 100:g} % interval "
            interval = _interval(metric, words, scores)
            detail = percent + interval if not math.isnan(metric["low"]) else interval
            numbers.append(Number(_text(metric["mean"], words, scores), name, detail))
        else:
            numbers.append(Number(WITHHELD.text, name, "would tell of too few patients"))
    count = scores.facts.summary["patients"]
    patients = scores.screen.count(count).text
    cases = scores.screen.cases(scores.facts.summary["cases"], patients=count).text
    times = len({part.repeat for part in scores.parts})
    held_out = "held out once" if times == 1 else f"held out {times} times"
    numbers.append(Number(patients, "Patients", f"{cases} cases, each {held_out}"))
    return Numbers(tuple(numbers))


def results_section(scores: Scores) -> Section:
    """Per-label table, distribution of Dice, Dice by fold, size against Dice."""
    figures = [_distribution(scores)]
    if len(scores.parts) > 1:
        figures.append(_by_fold(scores))
    if scores.screen.open:
        figures.append(_size_figure(scores))
    shown = tuple(figure for figure in figures if figure is not None)
    narrow = len(scores.labels) <= _MANY_LABELS + 1
    table, note = _table(scores), _undefined_note(scores)
    blocks: list[Block] = [table, note]
    if shown:
        blocks = [Columns((table, note), (Figures(shown),))] if narrow else [table, note, Figures(shown)]
    if len(scores.parts) > 1:
        blocks.append(_fold_table(scores))
    return Section("results", "Results", tuple(blocks))


def _table(scores: Scores) -> Table:
    """Metrics down and labels across; the other way round where there are many labels."""
    labels = scores.labels
    percent = f"{scores.facts.summary['confidence'] * 100:g} %"
    caption = f"Mean over cases, with the {percent} interval over patients."
    if len(labels) <= _MANY_LABELS + 1:
        rows = []
        for metric in scores.metrics:
            words = words_of(metric, pixels=scores.facts.pixels)
            cells = (_estimate(scores, key, metric, words) for key in labels)
            rows.append((Cell(_headed(words)), *cells))
        return Table(("Metric", *labels.values()), tuple(rows), caption=caption)
    short = [m for m in scores.metrics if m in _SHORT_LIST or m.startswith("nsd_")]
    heads = [words_of(m, pixels=scores.facts.pixels) for m in short]
    body = tuple(
        (Cell(name), *(_estimate(scores, key, m, words) for m, words in zip(short, heads, strict=True)))
        for key, name in labels.items()
    )
    return Table(("Label", *(_headed(words) for words in heads)), body, caption=caption)


def _headed(words: MetricWords) -> str:
    return f"{words.label} ({words.unit})" if words.unit else words.label


def _estimate(scores: Scores, key: str, metric: str, words: MetricWords) -> Cell:
    found = scores.summary(key, metric)
    if found["n"] == 0:
        return Cell("–", "never defined")
    if not scores.tells(key, metric):
        return WITHHELD
    return Cell(_text(found["mean"], words, scores), _interval(found, words, scores))


def _interval(metric: Mapping[str, Any], words: MetricWords, scores: Scores) -> str:
    if math.isnan(metric["low"]):
        return "no interval from one patient"
    return f"{_text(metric['low'], words, scores)} to {_text(metric['high'], words, scores)}"


def _text(value: float, words: MetricWords, scores: Scores) -> str:
    return text_of(value, words, decimals=scores.screen.decimals(value * words.factor, words.decimals))


def _undefined_note(scores: Scores) -> Text:
    """Says which means rest on fewer cases (shared: in how many patients) than others, and why."""
    # One patient may have many cases, so what is shared counts patients.
    unit, of = ("cases", scores.cases) if scores.screen.open else ("patients", scores.patients)
    total = len(set(of))
    sentences = []
    for key, name in scores.labels.items():
        undefined: dict[int, list[str]] = {}
        for metric in scores.metrics:
            count = len({one for one, value in zip(of, scores.values(key, metric), strict=True) if math.isnan(value)})
            if count and key != MEAN:
                undefined.setdefault(count, []).append(words_of(metric, pixels=scores.facts.pixels).label)
        for count, metrics in undefined.items():
            cell, _ = scores.screen.parts((count, total - count))
            number = f"in {cell.text} of {total} {unit}" if scores.screen.open else f"in {cell.text} {unit}"
            sentences.append(f"Of {name}, undefined {number}: {', '.join(metrics)}.")
    if not sentences:
        return Text(("Every metric is defined in every case.",))
    policy = (
        "A case without the label in reference and prediction is left out of the mean Dice."
        if scores.facts.summary["empty_reference"] == "skip"
        else "A case without the label in reference and prediction counts as Dice 1."
    )
    distance = "Distances are undefined where either outline is missing, so their means do not show missed lesions."
    return Text((*sentences, f"{policy} {distance}"))


def _distribution(scores: Scores) -> Figure | None:
    """Points of all cases for the internal tier; means with intervals for the shareable one."""
    labels = {key: name for key, name in scores.labels.items() if key != MEAN}
    estimates = {key: _as_estimate(name, scores.summary(key, "dice")) for key, name in labels.items()}
    if scores.screen.open:
        groups = {name: scores.values(key, "dice") for key, name in labels.items()}
        caption = "Dice of every case (dots), the median (dark bar), and the mean with its interval (orange)."
        plot, height = plot_points(groups, list(estimates.values()), label="Dice"), 1.1 + 0.72 * len(labels)
        return draw(plot, caption=caption, alternative=caption, height=height)
    told = [estimate for key, estimate in estimates.items() if scores.tells(key, "dice")]
    if not told:
        return None
    caption = "Mean Dice of each label with its interval."
    plot, height = plot_estimates(told, label="Dice"), 0.9 + 0.4 * len(told)
    return draw(plot, caption=caption, alternative=caption, height=height)


def _by_fold(scores: Scores) -> Figure | None:
    height = 0.9 + 0.45 * len(scores.parts)
    if scores.screen.open:
        groups: dict[str, Sequence[float]] = {part.name: part.dice[MEAN] for part in scores.parts}
        means = [Estimate(part.name, part.mean(MEAN)) for part in scores.parts]
        which = " (mean over labels)" if len(scores.labels) > 1 else ""
        caption = f"Dice of the cases held out in each fold{which}, its median, and the fold's mean (orange)."
        return draw(plot_points(groups, means, label="Dice"), caption=caption, alternative=caption, height=height)
    told = [part for part, seen in zip(scores.parts, scores.told_parts(MEAN), strict=True) if seen]
    if not told:
        return None
    caption = "Mean Dice of each fold."
    plot = plot_estimates([Estimate(part.name, part.mean(MEAN)) for part in told], label="Dice")
    return draw(plot, caption=caption, alternative=caption, height=height)


def _size_figure(scores: Scores) -> Figure | None:
    """Dice against the reference's size, where the sizes are known."""
    rows = scores.facts.rows
    if "reference_voxels" not in rows[0]:
        return None
    volume = any(row.get("reference_volume_ml", math.nan) > 0 for row in rows)
    column, unit = ("reference_volume_ml", "ml") if volume else ("reference_voxels", "pixels")
    groups: dict[str, tuple[list[float], list[float]]] = {}
    for row in rows:
        if row[column] > 0 and not math.isnan(row["dice"]):
            x, y = groups.setdefault(row["label_name"], ([], []))
            x.append(row[column])
            y.append(row["dice"])
    if not groups:
        return None
    caption = f"Dice against the size of the reference ({unit}, logarithmic), one dot a case and label."
    plot = plot_scatter(groups, xlabel=f"reference size ({unit})", ylabel="Dice")
    return draw(plot, caption=caption, alternative=caption, height=2.5)


def _fold_table(scores: Scores) -> Table:
    labels = scores.labels
    words = words_of("dice", pixels=scores.facts.pixels)
    patients = scores.screen.parts([part.patients for part in scores.parts])
    cases = scores.screen.parts([part.cases for part in scores.parts])
    told = {key: scores.told_parts(key) for key in labels}
    rows = []
    for i, part in enumerate(scores.parts):
        dice = (_fold_cell(part, key, words, scores) if told[key][i] else WITHHELD for key in labels)
        rows.append((Cell(part.name), patients[i], WITHHELD if patients[i].suppressed else cases[i], *dice))
    heads = (name if key == MEAN else f"Dice, {name}" for key, name in labels.items())
    caption = "Held-out patients and cases, and mean Dice, of each fold."
    return Table(("Fold", "Patients", "Cases", *heads), tuple(rows), caption=caption)


def _fold_cell(part: Part, key: str, words: MetricWords, scores: Scores) -> Cell:
    return Cell(_text(part.mean(key), words, scores))


def _as_estimate(name: str, metric: Mapping[str, Any]) -> Estimate:
    return Estimate(name, metric["mean"], metric["low"], metric["high"])
