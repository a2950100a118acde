"""Told: which mean scores of a run a report or a model card tells, so that no combination gives few patients away.

The mean over all cases and those of the folds, the labels' means and the mean over labels, this release and earlier
ones: all are sums over the same values, and are held against each other by `medseg.privacy.combinations`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.privacy.combinations import Value, isolates_few
from medseg.privacy.releases import Behind

__all__ = ["MEAN", "MeanScore", "told_means"]

MEAN = "mean"
"""Key of the mean over labels, beside the label values."""
_NAME = re.compile(r"\S+ of (?P<key>\S+?)(?: in fold (?P<repeat>\d+)-\d+)?\Z")


@dataclass(frozen=True)
class MeanScore:
    """A mean of one metric over cases.

    Attributes:
        name: Name of the figure, the same in every release of the run.
        key: Key of the label, or `MEAN`.
        cases: Labels with a defined value of each case that counts; of a label's own mean that label alone.
        patient_of: Patient of each case.
        repeats: The repeats that it is a mean over.
    """

    name: str
    key: str
    cases: Mapping[str, frozenset[str]]
    patient_of: Mapping[str, str]
    repeats: tuple[int, ...] = (0,)

    @classmethod
    def of(
        cls,
        name: str,
        key: str,
        table: Mapping[str, Sequence[float]],
        patient_of: Mapping[str, str],
        *,
        repeats: Sequence[int],
    ) -> MeanScore:
        """A mean of values.

        Args:
            name: As above.
            key: As above.
            table: Key of each label to one value a case, nan where undefined; `MEAN` is passed over.
            patient_of: Patient of each case, the cases in the order of the values.
            repeats: As above.
        """
        having: dict[str, frozenset[str]] = {}
        for number, case in enumerate(patient_of):
            of_case = {label for label, values in table.items() if label != MEAN and not math.isnan(values[number])}
            if key == MEAN and of_case:
                having[case] = frozenset(of_case)
            elif key in of_case:
                having[case] = frozenset((key,))
        return cls(name, key, having, patient_of, tuple(repeats))

    @property
    def behind(self) -> Behind:
        """The patients behind it."""
        return Behind.of_cases({case: self.patient_of[case] for case in self.cases})


def told_means(
    means: Sequence[MeanScore], *, earlier: Sequence[Mapping[str, Behind]], threshold: int
) -> frozenset[str]:
    """Names of the means that may be told, the first ones first.

    Args:
        means: Means of one metric, the most wanted first.
        earlier: Patients behind each figure of earlier releases of this run, by the figure's name.
        threshold: Smallest number of patients that a combination of means may rest on.
    """
    shares = _shares(means)
    repeats = max((mean.repeats for mean in means), key=len, default=(0,))
    metrics = {mean.name.partition(" of ")[0] for mean in means}
    known = [
        _values_of(name, behind, shares, repeats)
        for release in earlier
        for name, behind in release.items()
        if behind.members and name.partition(" of ")[0] in metrics
    ]
    sums = list({tuple(sorted(values.items())): values for values in known}.values())
    wanted = {mean.name: _values(mean.behind, mean.key, shares, mean.repeats) for mean in means}
    if not isolates_few([*sums, *wanted.values()], threshold=threshold):
        return frozenset(wanted)
    told = []
    for name, values in wanted.items():
        if values in sums or not isolates_few([*sums, values], threshold=threshold):
            sums.append(values)
            told.append(name)
    return frozenset(told)


def _shares(means: Sequence[MeanScore]) -> dict[str, frozenset[str]]:
    """Labels of a patient by its hash with cases, where all of its cases have the same ones."""
    shares: dict[str, set[frozenset[str]]] = {}
    for mean in means:
        if mean.key == MEAN:
            of_patient: dict[str, dict[str, str]] = {}
            for case in mean.cases:
                of_patient.setdefault(mean.patient_of[case], {})[case] = mean.patient_of[case]
            for own in of_patient.values():
                (member,) = Behind.of_cases(own).members or ("",)
                shares.setdefault(member, set()).update(mean.cases[case] for case in own)
    return {member: next(iter(labels)) for member, labels in shares.items() if len(labels) == 1}


def _values_of(
    name: str, behind: Behind, shares: Mapping[str, frozenset[str]], repeats: tuple[int, ...]
) -> dict[Value, float]:
    """The values behind a figure of an earlier release."""
    match = _NAME.match(name)
    if match is None:
        return behind.values(name)
    own = repeats if match["repeat"] is None else (int(match["repeat"]),)
    return _values(behind, match["key"], shares, own)


def _values(
    behind: Behind, key: str, shares: Mapping[str, frozenset[str]], repeats: tuple[int, ...]
) -> dict[Value, float]:
    """The values behind a mean; the mean over labels is one of the labels' values where all cases have the same."""
    made: dict[Value, float] = {}
    for repeat in repeats:
        for value in behind.values(key, str(repeat)):
            labels = shares.get(value[1], frozenset()) if key == MEAN else frozenset()
            parts = [(*value[:2], label, str(repeat)) for label in labels] or [value]
            made.update(dict.fromkeys(parts, 1.0 / len(parts)))
    return made
