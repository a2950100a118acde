"""Scores: the values behind each figure of a report, and which of them a tier may see."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from medseg.data.files import sha256_of
from medseg.metrics.table import mean_of_defined, per_case_values
from medseg.privacy.releases import Behind
from medseg.privacy.told import MEAN, MeanScore, told_means
from medseg.report.facts import RunFacts
from medseg.report.screen import Screen, count_patients
from medseg.report.words import shown_metrics
from medseg.types import FloatArray

__all__ = ["MEAN", "Part", "Scores"]

_MARK = 16


@dataclass(frozen=True)
class Part:
    """One fold, or one fold of a repeat.

    Attributes:
        repeat: From 0.
        fold: From 0.
        name: As a reader counts.
        patients: Number of patients.
        cases: Number of cases.
        dice: Cases' Dice by label key, `MEAN` included.
        case_names: Pseudonym of each case.
        patient_of: Patient of each case.
    """

    repeat: int
    fold: int
    name: str
    patients: int
    cases: int
    dice: Mapping[str, list[float]]
    case_names: tuple[str, ...]
    patient_of: tuple[str, ...]

    def mean(self, key: str) -> float:
        """Mean Dice of a label over the cases where it is defined."""
        defined = [value for value in self.dice[key] if not math.isnan(value)]
        return float(np.mean(defined)) if defined else math.nan

    def figure(self, key: str) -> str:
        """Name of the mean Dice of a label, the same in every release of the run."""
        return f"dice of {key} in fold {self.repeat}-{self.fold}"

    def behind(self, key: str) -> Behind:
        """The patients with a defined Dice of a label."""
        return Behind.of_values(self.dice[key], self.patient_of, cases=self.case_names)

    @property
    def patient_of_case(self) -> dict[str, str]:
        """Patient of each case, by its pseudonym."""
        return dict(zip(self.case_names, self.patient_of, strict=True))

    def patients_with(self, key: str) -> int:
        """Patients with a defined Dice of a label."""
        return count_patients(self.dice[key], self.patient_of)


@dataclass(frozen=True)
class Scores:
    """The values behind each figure.

    Attributes:
        facts: The run.
        screen: What may be seen.
    """

    facts: RunFacts
    screen: Screen

    @property
    def labels(self) -> dict[str, str]:
        """Label key to name, and the mean over labels where there are several."""
        names = {key: str(label["name"]) for key, label in self.facts.summary["labels"].items()}
        return {**names, MEAN: "Mean over labels"} if len(names) > 1 else names

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics that are shown."""
        return shown_metrics(list(self.facts.summary["mean_over_labels"]["metrics"]))

    @cached_property
    def _table(self) -> tuple[list[str], list[str], FloatArray]:
        policy = self.facts.summary["empty_reference"]
        return per_case_values(self.facts.rows, self.metrics, empty_reference=policy)

    @property
    def cases(self) -> list[str]:
        """Case ids."""
        return self._table[0]

    @property
    def patients(self) -> list[str]:
        """Patient of each case."""
        return self._table[1]

    def values(self, key: str, metric: str) -> list[float]:
        """A metric of a label in each case; nan where it is undefined."""
        table = self._table[2][:, :, self.metrics.index(metric)]
        if key == MEAN:
            return [float(value) for value in mean_of_defined(table, axis=1)]
        return [float(value) for value in table[:, list(self.facts.summary["labels"]).index(key)]]

    def summary(self, key: str, metric: str) -> Mapping[str, Any]:
        """mean, median, low, high, n, undefined, patients of a metric of a label."""
        place = self.facts.summary["mean_over_labels"] if key == MEAN else self.facts.summary["labels"][key]
        found: Mapping[str, Any] = place["metrics"][metric]
        return found

    def tells(self, key: str, metric: str) -> bool:
        """Whether the mean of a metric of a label may be seen."""
        return self.screen.open or f"{metric} of {key}" in self._seen

    def behind(self) -> dict[str, Behind]:
        """The patients behind each figure that is told, by its name."""
        keys = self.labels
        parts = {
            part.figure(key): part.behind(key)
            for key in keys
            for part, told in zip(self.parts, self.told_parts(key), strict=True)
            if told
        }
        return parts | {
            f"{metric} of {key}": Behind.of_values(self.values(key, metric), self.patients, cases=self.cases)
            for key in keys
            for metric in self.metrics
            if self.tells(key, metric)
        }

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The folds, in order of repeat and fold; the place in this order is the number of the fold's folder."""
        rows, policy = self.facts.rows, self.facts.summary["empty_reference"]
        places = sorted({(row["repeat"], row["fold"]) for row in rows})
        several = len({repeat for repeat, _ in places}) > 1
        parts = []
        for repeat, fold in places:
            held = [row for row in rows if (row["repeat"], row["fold"]) == (repeat, fold)]
            cases, patients, table = per_case_values(held, ("dice",), empty_reference=policy)
            columns = {str(value): table[:, i, 0] for i, value in enumerate(sorted({row["label"] for row in held}))}
            empty = np.full(len(cases), math.nan)
            dice = {key: columns.get(key, empty).tolist() for key in self.facts.summary["labels"]}
            dice[MEAN] = mean_of_defined(table[:, :, 0], axis=1).tolist()
            name = f"Repeat {repeat + 1}, fold {fold + 1}" if several else f"Fold {fold + 1}"
            parts.append(Part(repeat, fold, name, len(set(patients)), len(cases), dice, tuple(cases), tuple(patients)))
        return tuple(parts)

    def models(self) -> dict[str, str]:
        """By the figure's name, what the models are known by that it is of: a digest of their weights."""
        files = [self.facts.run / f"fold_{number}" / "weights.safetensors" for number in range(len(self.parts))]
        if not all(file.is_file() for file in files):
            return {}
        marks = [sha256_of(file)[:_MARK] for file in files]
        together = hashlib.sha256("".join(marks).encode("ascii")).hexdigest()[:_MARK]
        of_parts = {p.figure(key): mark for key in self.labels for p, mark in zip(self.parts, marks, strict=True)}
        return of_parts | {f"{metric} of {key}": together for key in self.labels for metric in self.metrics}

    def told_parts(self, key: str) -> Sequence[bool]:
        """Of which folds the mean Dice of a label may be seen."""
        patients = [part.patients_with(key) for part in self.parts]
        return [
            self.screen.open or (not cell.suppressed and part.figure(key) in self._told)
            for cell, part in zip(self.screen.parts(patients), self.parts, strict=True)
        ]

    @cached_property
    def _seen(self) -> frozenset[str]:
        """Names of the means over all cases that may be seen; found once, as each is held against earlier releases."""
        means = ((f"{metric} of {key}", self.values(key, metric)) for key in self.labels for metric in self.metrics)
        return frozenset(
            name
            for name, values in means
            if name in self._told and self.screen.tells(name, values, self.patients, cases=self.cases)
        )

    @cached_property
    def _told(self) -> frozenset[str]:
        """Names of the means that no combination of means makes a figure of few patients."""
        patient_of = dict(zip(self.cases, self.patients, strict=True))
        repeats = sorted({part.repeat for part in self.parts})
        told: frozenset[str] = frozenset()
        for metric in self.metrics:
            table = {key: self.values(key, metric) for key in self.labels}
            means = [MeanScore.of(f"{metric} of {key}", key, table, patient_of, repeats=repeats) for key in table]
            if metric == "dice":
                means += [
                    MeanScore.of(part.figure(key), key, part.dice, part.patient_of_case, repeats=(part.repeat,))
                    for part in self.parts
                    for key in self.labels
                ]
            told |= told_means(means, earlier=self.screen.earlier, threshold=self.screen.limits.threshold)
        return told
