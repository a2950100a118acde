"""Shareable description: the first table of a paper with disclosure control; patients are counted, not cases.

Counts below ten patients are withheld, and so are those from which a withheld one could be had by subtraction; the rest
is rounded to five. Medians, quartiles, means and standard deviations are told where enough patients stand behind them
(`medseg.privacy.disclosure`), and not where a figure of an earlier release would tell of single patients by difference
(`medseg.privacy.releases`). Smallest and largest values, texts, sites' names and cases are never told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from medseg.data.describe import MOST_LEVELS, Row, numbers_of
from medseg.data.manifest import Case, Manifest
from medseg.data.quality import QualityReport
from medseg.privacy.disclosure import Cell, Limits, protect_count, protect_counts, protect_summary
from medseg.privacy.releases import Behind, guard_figures

__all__ = ["SharedDescription", "describe_shareable"]

_UNKNOWN = "not known"


@dataclass(frozen=True)
class SharedDescription:
    """What may be told of a data set.

    Attributes:
        rows: What is counted or measured, and its value as text.
        withheld: Number of figures that are withheld.
        behind: The patients behind each figure that is told, for the ledger.
    """

    rows: tuple[Row, ...]
    withheld: int
    behind: Mapping[str, Behind]


@dataclass
class _Table:
    """The figures in the making of some cases, and the rows that show them."""

    cases: Sequence[Case]
    limits: Limits
    cells: dict[str, Cell] = field(default_factory=dict)
    behind: dict[str, Behind] = field(default_factory=dict)
    rows: list[tuple[str, tuple[str, ...], str]] = field(default_factory=list)

    def count(self, title: str, patients: Iterable[str], *, cell: Cell | None = None) -> None:
        """A row with a number of patients."""
        members = set(patients)
        self.cells[title] = protect_count(len(members), limits=self.limits) if cell is None else cell
        self.behind[title] = Behind.of(members)
        self.rows.append((title, (title,), "{}"))

    def parts(self, title: str, levels: Mapping[str, set[str]]) -> None:
        """Rows with the parts of a whole; a patient stands in one of them."""
        cells = protect_counts({name: len(members) for name, members in levels.items()}, limits=self.limits)
        for name, members in levels.items():
            self.count(f"{title}: {name}, patients", members, cell=cells[name])

    def values(self, title: str, values: Sequence[float]) -> None:
        """Rows with median and quartiles, and with mean and standard deviation, of one value a case."""
        patients = [case.patient for case in self.cases]
        cells = protect_summary(values, patients, limits=self.limits, quantiles=(0.25, 0.5, 0.75))
        behind = Behind.of_values(values, patients, cases=[case.case for case in self.cases])
        for name in ("q50", "q25", "q75", "mean", "sd"):
            self.cells[f"{title}: {name}"], self.behind[f"{title}: {name}"] = cells[name], behind
        self.rows.append(
            (f"{title}, median (quartiles)", tuple(f"{title}: {q}" for q in ("q50", "q25", "q75")), "{} ({} to {})")
        )
        self.rows.append((f"{title}, mean (SD)", (f"{title}: mean", f"{title}: sd"), "{} ({})"))


def describe_shareable(
    manifest: Manifest,
    report: QualityReport,
    *,
    earlier: Iterable[Mapping[str, Behind]] = (),
    limits: Limits | None = None,
) -> SharedDescription:
    """Describe a data set for sharing.

    Args:
        manifest: The cases.
        report: What `check_manifest` saw of them.
        earlier: Releases of the same data set, from `medseg.privacy.releases.earlier_releases`.
        limits: How careful to be.
    """
    limits = limits or Limits()
    table = _Table(manifest.cases, limits)
    patients = [case.patient for case in manifest.cases]
    table.count("patients", patients)
    table.parts("modality", _levels([case.modality for case in manifest.cases], patients))
    labelled = {c.patient for c, seen in zip(manifest.cases, report.cases, strict=True) if seen.labels is not None}
    for value, name in manifest.card.label_names().items():
        having = {
            c.patient for c, seen in zip(manifest.cases, report.cases, strict=True) if value in (seen.labels or ())
        }
        table.parts(f"with {name}", {"yes": having, "no": labelled - having})
    lesion = [bool(seen.labels) for seen in report.cases]
    nan = float("nan")
    volumes = [s.foreground_ml if shown else nan for s, shown in zip(report.cases, lesion, strict=True)]
    shares = [100 * s.foreground_fraction if shown else nan for s, shown in zip(report.cases, lesion, strict=True)]
    is_3d = any(value == value for value in volumes)
    if is_3d:
        table.values("labelled volume, mL", volumes)
    else:
        table.values("labelled share of the image, %", shares)
    table.values("components a case", [float(s.components or nan) for s in report.cases])
    for axis, name in enumerate("xyz" if is_3d else ""):
        spacings = [s.spacing[axis] if s.spacing and len(s.spacing) > axis else nan for s in report.cases]
        table.values(f"spacing {name}, mm", spacings)
    for column in dict.fromkeys(name for case in manifest.cases for name in case.covariates):
        _covariate(table, column)
    return _finished(table, earlier)


def _covariate(table: _Table, column: str) -> None:
    texts = [case.covariates.get(column, "") for case in table.cases]
    known = [text for text in texts if text]
    numbers = numbers_of(known)
    if numbers is not None and len(set(known)) > 2:
        table.values(column, [float(text) if text else float("nan") for text in texts])
    elif len(set(known)) <= MOST_LEVELS:
        table.parts(column, _levels([text or _UNKNOWN for text in texts], [case.patient for case in table.cases]))


def _levels(texts: Sequence[str], patients: Sequence[str]) -> dict[str, set[str]]:
    """Level to patients; one whose cases differ counts as ``several``."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for text, patient in zip(texts, patients, strict=True):
        found[patient].add(text)
    levels: defaultdict[str, set[str]] = defaultdict(set)
    for patient, own in found.items():
        levels[next(iter(own)) if len(own) == 1 else "several"].add(patient)
    return dict(sorted(levels.items()))


def _finished(table: _Table, earlier: Iterable[Mapping[str, Behind]]) -> SharedDescription:
    cells = guard_figures(table.cells, table.behind, earlier=earlier, limits=table.limits)
    rows = []
    for title, names, form in table.rows:
        texts = [cells[name].text() for name in names]
        # Three times the same mark says no more than once.
        rows.append((title, texts[0] if len(set(texts)) == 1 and cells[names[0]].withheld else form.format(*texts)))
    told = {name: behind for name, behind in table.behind.items() if not cells[name].withheld}
    return SharedDescription(tuple(rows), sum(cell.withheld for cell in cells.values()), told)
