"""Method: the sections of a report that say on whom and how the study was done, and what it does not show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from medseg.config import StudyConfig
from medseg.report.blocks import Block, Cell, Columns, Section, Table, Text
from medseg.report.facts import RunFacts
from medseg.report.screen import WITHHELD, Screen
from medseg.report.words import shown_metrics, words_of

__all__ = ["cohort_section", "environment_section", "limits_section", "method_section", "refusals_section"]

_NETWORKS = {"unet": "U-Net", "efficient_unet": "U-Net on an EfficientNet-Lite0 encoder"}
_LOSSES = {
    "dice": "Dice", "dice_ce": "Dice + cross-entropy", "dice_focal": "Dice + focal",
    "generalised_dice": "generalised Dice", "tversky": "Tversky", "focal_tversky": "focal Tversky",
    "dice_boundary": "Dice + boundary", "cldice": "Dice + clDice",
}  # fmt: skip
_OPTIMISERS = {"sgd": "SGD with Nesterov momentum", "adam": "Adam", "adamw": "AdamW"}
_NO_CHANGES = ("flip_axes", "rotate_degrees", "zoom_range")


def cohort_section(facts: RunFacts, screen: Screen) -> Section:
    """Patients, cases, sites, modality, grid, and how often each label occurs."""
    summary = facts.summary
    rows = [
        (Cell("Patients"), screen.count(summary["patients"])),
        (Cell("Cases scored"), screen.cases(summary["cases"], patients=summary["patients"])),
        (Cell("Modality"), Cell(facts.plan.modality)),
        (Cell("Channels"), Cell(", ".join(facts.plan.channels))),
    ]
    if facts.manifest is not None:
        card = facts.manifest.card
        rows.insert(0, (Cell("Data set"), Cell(card.title)))
        rows += _sites(facts, screen)
        if card.licence:
            rows.append((Cell("Licence"), Cell(card.licence)))
        if card.deidentification is not None:
            rows.append((Cell("De-identification"), Cell(card.deidentification.profile)))
    rows += _grid(facts, screen)
    table = Table(("", ""), tuple(rows), numeric=False)
    presence = _presence(facts, screen)
    block = table if presence is None else Columns((table,), (presence,))
    return Section("cohort", "Cohort", (block,))


def method_section(facts: RunFacts) -> Section:
    """What the plan decided and why, what the study fixed, and how the scores were taken."""
    plan, study = facts.plan, facts.study
    reasons = plan.reasons
    patch = " x ".join(str(n) for n in plan.patch_size)
    choices = [
        ("Axes", str(plan.spatial_dims), reasons.get("spatial_dims", "")),
        ("Spacing", _spacing(facts), reasons.get("spacing", "")),
        ("Intensities", _normalisation(facts), reasons.get("normalisation", "")),
        ("Crop", "to nonzero voxels" if plan.crop_nonzero else "none", reasons.get("crop", "")),
        ("Patch", f"{patch} {'pixels' if plan.spatial_dims == 2 else 'voxels'}", reasons.get("patch_size", "")),
        ("Levels", str(len(plan.features)), reasons.get("levels", "")),
        ("Features", ", ".join(str(n) for n in plan.features), reasons.get("features", "")),
        ("Batch", str(plan.batch_size), reasons.get("batch_size", "")),
        ("Steps", str(plan.iterations), reasons.get("iterations", "")),
        ("Precision", plan.precision, reasons.get("precision", "")),
    ]
    if "privacy" in reasons:
        choices.append(("Privacy", "by the patient", reasons["privacy"]))
    planned = Table(
        ("Choice", "Value", "Reason"),
        tuple((Cell(name), Cell(value), Cell(reason)) for name, value, reason in choices),
        caption="The plan, made from the data, the device and the time.",
        numeric=False,
    )
    fixed = Table(
        ("Choice", "Value"),
        tuple((Cell(name), Cell(value)) for name, value in _study_choices(study)),
        caption="What the study's file fixed.",
        numeric=False,
    )
    return Section("method", "Method", (Text((_design(facts),)), planned, fixed, _definitions(facts)))


def refusals_section(facts: RunFacts, screen: Screen) -> Section:
    """What was refused, by reason; the internal tier lists each input."""
    refusals = facts.refusals
    if not refusals:
        return Section("refused", "What was refused", (Text(("No input was refused.",)),))
    counts = Counter(_kind(refusal.reason) for refusal in refusals)
    cells = screen.parts([number for _, number in counts.most_common()])
    rows = tuple((Cell(kind), cell) for (kind, _), cell in zip(counts.most_common(), cells, strict=True))
    blocks: list[Block] = [
        Text((f"{screen.count(len(refusals)).text} inputs were refused and are in no number of this report.",)),
        Table(("Reason", "Inputs"), rows),
    ]
    if screen.open:
        listed = tuple((Cell(refusal.input), Cell(refusal.reason)) for refusal in refusals)
        blocks.append(Table(("Input", "Reason"), listed, caption="Each refused input.", numeric=False, folded=True))
    return Section("refused", "What was refused", tuple(blocks))


def environment_section(facts: RunFacts) -> Section:
    """Versions, hardware, seed, and what the account of the run ends with."""
    found = facts.environment
    rows = [(Cell(name), Cell(str(found[key]))) for key, name in _ENVIRONMENT.items() if key in found]
    packages = found.get("packages", {})
    if packages:
        rows.append((Cell("Packages"), Cell(", ".join(f"{name} {version}" for name, version in packages.items()))))
    rows.append((Cell("Seed"), Cell(str(facts.study.seed))))
    if facts.ledger_head:
        rows.append((Cell("Ledger ends with"), Cell(facts.ledger_head)))
    return Section("environment", "Environment", (Table(("", ""), tuple(rows), numeric=False),))


def limits_section(facts: RunFacts, screen: Screen) -> Section:
    """What the numbers do not show, in plain words."""
    summary = facts.summary
    patients = screen.count(summary["patients"]).text
    limits = [
        "Research use only. This is no medical device; a clinician must look at every outline before it is used.",
        "The numbers hold for patients like these, imaged and outlined as these were. They say nothing about another "
        "hospital, scanner or protocol; only images from there can.",
        f"The intervals say how the mean could vary with other patients of the same kind, {patients} of them. They do "
        "not cover a change of scanner, of annotator, or of the training's random seed, and they are a little too "
        "narrow with few patients.",
        "The reference was drawn by people. Where two of them would differ, no method can be right against both.",
    ]
    if len(summary["folds"]) > 1:
        limits.append(
            "Each fold trained a model of its own. A model that is later trained on all cases, or the folds' ensemble, "
            "is not what was scored here."
        )
    if facts.study.train.select == "best":
        limits.append(
            "The weights were chosen on an inner validation part of the training patients, never on held-out ones."
        )
    if facts.refusals:
        limits.append("Refused inputs are not scored: how the method does on such images is unknown.")
    if screen.open:
        limits.append(
            "The cases carry pseudonyms and their pictures are shown: these are personal data. Keep this report inside."
        )
    else:
        limits.append(
            f"Numbers that rest on fewer than {screen.limits.threshold} patients are withheld and marked, and so are "
            f"those from which they could be had by subtraction; counts are rounded to {screen.limits.base}. That "
            "lowers the risk of disclosure; it is no proof."
        )
    return Section("limits", "What this does not show", (Text(tuple(limits), listed=True),))


_ENVIRONMENT = {
    "device": "Device",
    "processor": "Processor",
    "cores": "Processor cores",
    "memory_gb": "Memory (GB)",
    "os": "Operating system",
    "python": "Python",
}


def _sites(facts: RunFacts, screen: Screen) -> list[tuple[Cell, Cell]]:
    """Patients of each site, where there are several."""
    if facts.manifest is None:
        return []
    scored = {row["case"] for row in facts.rows}
    of_site: dict[str, set[str]] = {}
    for case in facts.manifest.cases:
        if case.case in scored and case.site:
            of_site.setdefault(case.site, set()).add(case.patient)
    if len(of_site) < 2:
        return []
    if not screen.open:
        return [(Cell("Sites"), Cell(str(len(of_site))))]
    text = ", ".join(f"{site}: {len(patients)}" for site, patients in sorted(of_site.items()))
    return [(Cell("Patients by site"), Cell(text))]


def _grid(facts: RunFacts, screen: Screen) -> list[tuple[Cell, Cell]]:
    """Median spacing, shape, foreground and number of components; the internal tier sees the range as well."""
    found = facts.fingerprint
    if found is None:
        return []
    unit = "pixels" if found.spatial_dims == 2 else "voxels"
    rows: list[tuple[str, str]] = []
    if not facts.pixels:
        rows.append(("Spacing (mm)", _medians(found.spacings, screen, "{:.3g}")))
    rows.append((f"Shape ({unit})", _medians(found.shapes, screen, "{:.0f}")))
    if found.foreground_fraction:
        percent = [(100 * fraction,) for fraction in found.foreground_fraction]
        rows.append(("Labelled part of the image (%)", _medians(percent, screen, "{:.2g}")))
    if found.components:
        rows.append(("Components in a case", _medians([(n,) for n in found.components], screen, "{:.0f}")))
    visible = screen.rests_on(facts.summary["patients"])
    return [(Cell(name), Cell(text) if visible else WITHHELD) for name, text in rows]


def _medians(values: Sequence[Sequence[float]], screen: Screen, pattern: str) -> str:
    array = np.asarray(values, dtype=float)
    text = " x ".join(pattern.format(v) for v in np.median(array, axis=0))
    if not screen.open or np.ptp(array, axis=0).max() == 0:
        return f"median {text}" if np.ptp(array, axis=0).max() > 0 else text
    low, high = (" x ".join(pattern.format(v) for v in edge) for edge in (array.min(axis=0), array.max(axis=0)))
    return f"median {text}; {low} to {high}"


def _presence(facts: RunFacts, screen: Screen) -> Table | None:
    """In how many cases (shared: of how many patients) the reference holds each label."""
    if "reference_voxels" not in facts.rows[0]:
        return None
    # One patient may have many cases, so what is shared counts patients.
    unit, of = ("Cases", "case") if screen.open else ("Patients", "patient")
    rows = []
    for value, label in facts.summary["labels"].items():
        own = [row for row in facts.rows if str(row["label"]) == value]
        present = {row[of] for row in own if row["reference_voxels"] > 0}
        absent = {row[of] for row in own} - present
        rows.append((Cell(label["name"]), *screen.parts((len(present), len(absent)))))
    caption = "How often the reference holds each label."
    return Table(("Label", f"{unit} with it", f"{unit} without it"), tuple(rows), caption=caption)


def _design(facts: RunFacts) -> str:
    folds = facts.summary["folds"]
    if len(folds) < 2:
        return "One part of the patients was held out and scored by a model that saw nothing of them."
    repeats = len({fold["repeat"] for fold in folds})
    count = len({fold["fold"] for fold in folds})
    times = f", repeated {repeats} times" if repeats > 1 else ""
    return (
        f"Cross-validation with {count} folds{times}. Folds hold whole patients: each case was predicted by a model "
        "that saw no image of its patient. Every number in this report is of these out-of-fold predictions, scored on "
        "the image's own grid."
    )


def _spacing(facts: RunFacts) -> str:
    if facts.plan.fit == "image":
        return "whole image, resized"
    return " x ".join(f"{v:.3g}" for v in facts.plan.spacing) + " mm"


def _normalisation(facts: RunFacts) -> str:
    names = {"ct_window": "CT window", "zscore": "z-score", "suv": "SUV", "rgb": "RGB"}
    texts = []
    for channel in facts.plan.normalisation:
        window = f" {channel.low:.0f} to {channel.high:.0f}" if channel.method == "ct_window" else ""
        texts.append(names[channel.method] + window)
    return ", ".join(dict.fromkeys(texts))


def _study_choices(study: StudyConfig) -> list[tuple[str, str]]:
    train, model, inference = study.train, study.model, study.inference
    residual = "residual " if getattr(model, "residual", False) else ""
    ends = [f"{study.plan.iterations} steps"] if study.plan.iterations else []
    ends += [f"{train.budget_minutes:g} minutes a run"] if train.budget_minutes else []
    budget = " or ".join(ends) or "by steps"
    augment = study.augment.model_dump(exclude=set(_NO_CHANGES))
    changes = [f"{name.replace('_', ' ')} {value:g}" for name, value in augment.items() if value]
    start = "earlier weights" if train.init else "ImageNet weights" if getattr(model, "pretrained", False) else "random"
    windows = f"windows overlapping by {inference.overlap:.0%}"
    return [
        ("Network", f"{residual}{_NETWORKS[model.name]}"),
        ("Start", start + (f", {train.few_shot.cases} labelled cases" if train.few_shot else "")),
        ("Loss", _LOSSES[study.loss.name]),
        (
            "Optimiser",
            f"{_OPTIMISERS[train.optimizer.name]}, learning rate {train.optimizer.lr:g}, {train.schedule.name}",
        ),
        ("Budget", budget),
        ("Random changes (probability)", ", ".join(changes) or "none"),
        ("Weights that predict", f"{train.select} of the schedule" + (", averaged" if train.ema_decay else "")),
        ("Prediction", windows + (", averaged over mirrored copies" if inference.mirror else "")),
        ("Clean-up", _clean_up(study)),
    ]


def _clean_up(study: StudyConfig) -> str:
    parts = ["largest component of each label"] if study.inference.largest_component else []
    if study.inference.smallest_mm3:
        parts.append(f"components below {study.inference.smallest_mm3:g} mm³ removed")
    return ", ".join(parts) or "none"


def _definitions(facts: RunFacts) -> Table:
    summary: dict[str, Any] = facts.summary
    names = shown_metrics(list(summary["mean_over_labels"]["metrics"]))
    rows = [(Cell(words.label), Cell(words.meaning)) for words in (words_of(n, pixels=facts.pixels) for n in names)]
    percent = f"{summary['confidence'] * 100:g} %"
    how = f"{percent}, bias-corrected and accelerated bootstrap, {summary['bootstrap']} resamples of whole patients."
    rows.append((Cell("Interval"), Cell(how)))
    return Table(("Metric", "Meaning"), tuple(rows), caption="How the scores are defined.", numeric=False)


def _kind(reason: str) -> str:
    """The first clause of a reason, without a case's pseudonym, so that alike reasons count together."""
    head, separator, rest = reason.partition(": ")
    clause = rest if separator and head.startswith("case ") else reason
    for mark in (":", ";", "."):
        clause = clause.split(mark, 1)[0]
    return clause.strip()[:120]
