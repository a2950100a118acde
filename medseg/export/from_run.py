"""Model package of a run: gather what a run folder holds, strip what is nobody else's business, pass the gate."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medseg
from medseg.config import StudyConfig, load_study
from medseg.data.card import Card, LabelInfo
from medseg.data.files import atomic_write
from medseg.data.manifest import Manifest, read_manifest
from medseg.errors import ConfigError, ManifestError, RunError
from medseg.export.model_privacy import describe_privacy
from medseg.export.package import digest_of, package_bytes
from medseg.metrics.table import labels_of, mean_of_defined, metric_names, per_case_values, read_cases
from medseg.planning import Plan
from medseg.privacy.audit import gate
from medseg.privacy.disclosure import Cell, Limits, protect_count, protect_summary
from medseg.privacy.releases import Behind, earlier_releases, guard_figures, record_release
from medseg.privacy.told import MEAN, MeanScore, told_means

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = ["describe_run", "package_run"]

_THRESHOLD = 10
_FIGURES = ("mean", "sd", "low", "high")
_COUNTS = ("n", "patients")
_RESEARCH_ONLY = "Research use only; not a medical device. A clinician must look at every result before it is used."


def package_run(
    run: Path,
    path: Path,
    *,
    intended_use: str | None = None,
    threshold: int = _THRESHOLD,
    identities: IdentityIndex | None = None,
) -> str:
    """Write the model package of a finished run.

    Args:
        run: Run folder of a cross-validation, whose folds become an ensemble, or of one training.
        path: Where to write, ``NAME.medseg``.
        intended_use: What the model is for; without it a sentence made from labels and modality.
        threshold: Counts of patients or cases below it are withheld, and so are figures that rest on fewer patients.
        identities: Identities of this project that the gate looks for, beside its patterns.

    Returns:
        The package's digest, as in `ModelPackage.digest`.

    Raises:
        RunError: The folder is no run, or a fold isn't finished.
        PrivacyError: The gate found an identity; nothing was written.
    """
    from medseg.training.checkpoint import load_weights

    folds = _fold_folders(run)
    model, told = describe_run(run, intended_use=intended_use, threshold=threshold)
    content = package_bytes(states=[load_weights(fold / "weights.safetensors") for fold in folds], model=model)
    gate(content, name="model.medseg", tier="shareable", identities=identities)
    if told:
        record_release(run / "ledger.jsonl", told, what="model package")
    with atomic_write(path) as file:
        file.write(content)
    return digest_of(content)


def describe_run(
    run: Path, *, intended_use: str | None = None, threshold: int = _THRESHOLD
) -> tuple[dict[str, Any], dict[str, Behind]]:
    """What ``model.json`` says of a run, JSON values only; and the patients behind each figure in it, by its name.

    Args:
        run: Run folder.
        intended_use: As in `package_run`.
        threshold: As in `package_run`.

    Raises:
        RunError: The folder is no run.
    """
    study = _read_study(run)
    plan = Plan.read(run / "plan.json")
    manifest = _read_manifest_of(study, run)
    card = manifest.card if manifest is not None else None
    labels = _labels(plan, card)
    names = ", ".join(info.name for info in labels.values())
    metrics, told = _metrics(run, threshold=threshold)
    model = {
        "name": study.name,
        "medseg": medseg.__version__,
        "study": _without_paths(study),
        "plan": plan.to_dict(),
        "labels": {str(value): info.model_dump(mode="json", exclude_none=True) for value, info in labels.items()},
        "channels": list(plan.channels),
        "modality": plan.modality,
        "intended_use": intended_use or f"Outlines {names} in {plan.modality} images. {_RESEARCH_ONLY}",
        "metrics": metrics,
        "training_data": _training_data(manifest, threshold=threshold),
        "privacy": describe_privacy(run, threshold=threshold),
        "licences": _licences(study, card),
    }
    return model, told


def _fold_folders(run: Path) -> list[Path]:
    folds = sorted((p for p in run.glob("fold_*") if p.is_dir()), key=lambda p: (len(p.name), p.name))
    if not folds:
        raise RunError("expected a run folder with fold_0, fold_1, ... or fold_all; found none, train the study first")
    missing = sum(not (fold / "weights.safetensors").is_file() for fold in folds)
    if missing:
        raise RunError(f"{missing} of {len(folds)} folds are not finished; give the crossval command again to go on")
    return folds


def _read_study(run: Path) -> StudyConfig:
    try:
        return load_study(run / "study.yaml")
    except ConfigError:
        raise RunError(
            "study.yaml of the run is missing or of another version of medseg; run the study again"
        ) from None


def _read_manifest_of(study: StudyConfig, run: Path) -> Manifest | None:
    """The manifest where it still is, seen from the run folder; a run can be packaged after its images are gone."""
    try:
        return read_manifest(run / study.data.manifest, files_must_exist=False)
    except ManifestError:
        return None


def _labels(plan: Plan, card: Card | None) -> dict[int, LabelInfo]:
    known = card.labels if card is not None else {}
    return {value: known.get(value) or LabelInfo(name=name) for value, name in sorted(plan.labels.items())}


def _without_paths(study: StudyConfig) -> dict[str, Any]:
    content = study.model_dump(mode="json")
    content["data"].update(manifest="removed", folds=None, cache=None)
    content["train"]["init"] = None
    return content


@dataclass(frozen=True, eq=False)
class _Figures:
    """The means that a package may tell, and what decides on them.

    Attributes:
        behind: The patients behind each, by its name in releases.
        few: Those that would tell of a few patients: these dominate it, or they alone differ.
        told: Those that no combination of means makes a figure of few patients.
        earlier: What left earlier.
        threshold: Smallest number of patients that a figure may rest on.
    """

    behind: Mapping[str, Behind]
    few: frozenset[str]
    told: frozenset[str]
    earlier: Sequence[Mapping[str, Behind]]
    threshold: int

    @classmethod
    def of(cls, run: Path, summary: Mapping[str, Any], *, threshold: int) -> _Figures:
        rows = read_cases(run)
        metrics, limits = metric_names(rows), Limits(threshold=threshold)
        if [str(value) for value in labels_of(rows)] != list(summary["labels"]) or not all(
            set(part["metrics"]) <= set(metrics) for part in (*summary["labels"].values(), summary["mean_over_labels"])
        ):
            raise RunError(
                "expected cases.csv and summary.json of one study, found other labels or metrics in one; give the "
                "crossval command again"
            )
        cases, patients, table = per_case_values(rows, metrics, empty_reference=summary["empty_reference"])
        earlier, repeats = earlier_releases(run / "ledger.jsonl"), sorted({row["repeat"] for row in rows})
        patient_of = dict(zip(cases, patients, strict=True))
        behind: dict[str, Behind] = {}
        few: set[str] = set()
        told: set[str] = set()
        for place, name in enumerate(metrics):
            means = {key: table[:, number, place].tolist() for number, key in enumerate(summary["labels"])}
            means[MEAN] = mean_of_defined(table[:, :, place], axis=1).tolist()
            for key, values in means.items():
                behind[f"{name} of {key}"] = Behind.of_values(values, patients, cases=cases)
                if protect_summary(values, patients, limits=limits)["mean"].reason == "dominance":
                    few |= {f"{name} of {key}", f"{name} of {MEAN}"}  # The mean over labels leads to each label's.
            scores = [MeanScore.of(f"{name} of {key}", key, means, patient_of, repeats=repeats) for key in means]
            told |= told_means(scores, earlier=earlier, threshold=threshold)
        return cls(behind, frozenset(few), frozenset(told), earlier, threshold)


def _metrics(run: Path, *, threshold: int) -> tuple[dict[str, Any], dict[str, Behind]]:
    """The figures of a run, and the patients behind each that is told, by its name."""
    if not (run / "summary.json").exists():
        reason = "trained on all cases; cross-validate the same study for its figures"
        return {"evaluated": False, "reason": reason}, {}
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RunError("summary.json of the run is unreadable; give the crossval command again") from None
    figures = _Figures.of(run, summary, threshold=threshold)
    labels = {key: _facts(label["metrics"], key, figures) for key, label in summary["labels"].items()}
    mean = _facts(summary["mean_over_labels"]["metrics"], MEAN, figures)
    told = {
        f"{name} of {key}": figures.behind[f"{name} of {key}"]
        for key, of_key in {**labels, MEAN: mean}.items()
        for name, facts in of_key.items()
        if "withheld" not in facts
    }
    metrics = {
        "evaluated": True,
        "how": "out of fold: each case predicted by models that have not seen its patient",
        "interval": summary.get("interval"),
        "confidence": summary.get("confidence"),
        "labels": {key: {"name": label["name"], "metrics": labels[key]} for key, label in summary["labels"].items()},
        "mean_over_labels": mean,
    }
    return metrics, told


def _facts(metrics: Mapping[str, Mapping[str, Any]], key: str, figures: _Figures) -> dict[str, dict[str, Any]]:
    """Each metric's aggregate; withheld where it rests on few patients, alone or beside an earlier release."""
    result: dict[str, dict[str, Any]] = {}
    limits = Limits(threshold=figures.threshold)
    for name, facts in metrics.items():
        figure = f"{name} of {key}"
        if int(facts.get("patients") or 0) < figures.threshold:
            result[name] = {"withheld": f"fewer than {figures.threshold} patients"}
            continue
        if figure in figures.few:
            result[name] = {"withheld": "a few patients make up nearly all of it, or alone differ from all others"}
            continue
        cell = guard_figures({figure: Cell(0.0)}, figures.behind, earlier=figures.earlier, limits=limits)[figure]
        if cell.withheld:
            result[name] = {"withheld": cell.words().removeprefix("withheld: ")}
            continue
        if figure not in figures.told:
            result[name] = {"withheld": f"beside other means it would tell of fewer than {figures.threshold} patients"}
            continue
        counts = {count: _count(facts[count], figures.threshold) for count in _COUNTS}
        result[name] = {**{number: _number(facts[number]) for number in _FIGURES}, **counts}
    return result


def _training_data(manifest: Manifest | None, *, threshold: int) -> dict[str, Any]:
    if manifest is None:
        return {"known": False, "reason": "the manifest was not there when the package was made"}
    card = manifest.card
    labelled = [case for case in manifest.cases if case.label is not None]
    patients = len({case.patient for case in labelled})
    return {
        "known": True,
        "title": card.title,
        "source": card.source,
        "citation": card.citation,
        "cases": _count(len(labelled), threshold) if patients >= threshold else "withheld",
        "patients": _count(patients, threshold),
        "sites": len({case.site for case in labelled if case.site}) or None,
        "deidentification": None if card.deidentification is None else card.deidentification.profile,
        "digest": manifest.digest(),
    }


def _licences(study: StudyConfig, card: Card | None) -> dict[str, str]:
    licences = {"medseg": "Apache-2.0", "training data": (card.licence if card is not None else "") or "not stated"}
    if study.model.name == "efficient_unet" and study.model.pretrained:
        licences["EfficientNet-Lite0 ImageNet weights"] = "Apache-2.0"
    return licences


def _count(value: Any, threshold: int) -> int | str:
    """A count as it may be told: rounded, or the words that withhold it."""
    cell = protect_count(int(value), limits=Limits(threshold=threshold))
    return cell.text() if cell.withheld else int(cell.value)


def _number(value: Any) -> float | None:
    """As many digits as may be told; nan, which JSON doesn't have, becomes null."""
    number = math.nan if value is None else float(value)
    if number == 0 or not math.isfinite(number):
        return number if number == 0 else None
    return round(number, Limits().digits - 1 - math.floor(math.log10(abs(number))))
