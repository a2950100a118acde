"""Disclosure control: what a small table may say of a few patients without saying it of one.

Pure functions on counts and values. Defaults follow ACRO 1.0 (threshold 10, rounding to 5, dominance 2 and 90 %, zeros
disclose as well). Whatever is withheld stays in its place and says so; nothing is left out silently.

Method: cells below the threshold are withheld (primary); more cells are withheld (secondary) until an attacker who
knows all that is told, the totals, and which cells are below the threshold cannot narrow down any of those by linear
programming; what remains is rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medseg.types import FloatArray

__all__ = [
    "Cell",
    "Limits",
    "ProtectedTable",
    "protect_count",
    "protect_counts",
    "protect_summary",
    "protect_table",
    "withhold_small_differences",
]

_Counts = npt.NDArray[np.int64]
_Place = tuple[np.intp, ...]
_Mask = npt.NDArray[np.bool_]
Reason = Literal["", "few", "subtraction", "dominance", "extreme", "difference"]
_WORDS = {
    "": "",
    "few": "withheld: fewer than {threshold} patients",
    "subtraction": "withheld: another withheld count could be had by subtraction",
    "dominance": "withheld: a few patients make up nearly all of it, or alone differ from all others",
    "extreme": "withheld: it is the value of single patients",
    "difference": "withheld: the difference to an earlier release would tell of fewer than {threshold} patients",
}


@dataclass(frozen=True)
class Limits:
    """How careful to be.

    Attributes:
        threshold: Smallest number of patients that anything may be told of.
        base: Counts are rounded to a multiple of it; 1 rounds nothing.
        dominant: A sum or mean is withheld when this many patients ...
        dominance: ... make up more than this share of the sum.
        digits: Significant digits of figures that are no counts.
    """

    threshold: int = 10
    base: int = 5
    dominant: int = 2
    dominance: float = 0.9
    digits: int = 3


@dataclass(frozen=True)
class Cell:
    """One figure, or the reason why it isn't told.

    Attributes:
        value: The figure as it may be told; nan where it is withheld or undefined.
        reason: Why it is withheld; empty where it isn't.
        threshold: The threshold that the words name.
    """

    value: float
    reason: Reason = ""
    threshold: int = 10

    @property
    def withheld(self) -> bool:
        """Whether the figure is not told."""
        return bool(self.reason)

    def text(self) -> str:
        """The figure; ``<10`` for a small count; ``withheld`` for any other reason; ``-`` where it is undefined."""
        if self.reason == "few":
            return f"<{self.threshold}"
        if self.reason:
            return "withheld"
        if math.isnan(self.value):
            return "-"
        return str(int(self.value)) if float(self.value).is_integer() else str(self.value)

    def words(self) -> str:
        """Why the figure is withheld, for a footnote; empty where it isn't."""
        return _WORDS[self.reason].format(threshold=self.threshold)


@dataclass(frozen=True)
class ProtectedTable:
    """A table of counts that may be told.

    Attributes:
        rows: Names of the rows.
        columns: Names of the columns.
        cells: Cell by row and column name.
        row_totals: Cell by row name.
        column_totals: Cell by column name.
        total: The grand total.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: Mapping[str, Mapping[str, Cell]]
    row_totals: Mapping[str, Cell]
    column_totals: Mapping[str, Cell]
    total: Cell


def protect_count(count: int, *, limits: Limits | None = None) -> Cell:
    """One count of patients or cases that stands alone.

    Example:
        >>> protect_count(7).text(), protect_count(213).text()
        ('<10', '215')
    """
    limits = limits or Limits()
    if count < limits.threshold:
        return Cell(math.nan, "few", limits.threshold)
    return Cell(_rounded(count, limits), "", limits.threshold)


def protect_counts(counts: Mapping[str, int], *, limits: Limits | None = None) -> dict[str, Cell]:
    """Counts whose total is told as well: sexes, sites, folds.

    Example:
        >>> {name: cell.text() for name, cell in protect_counts({"F": 40, "M": 31, "other": 2}).items()}
        {'F': '40', 'M': 'withheld', 'other': '<10'}
    """
    table = protect_table({"all": counts}, limits=limits)
    return {name: table.cells["all"][name] for name in table.columns}


def protect_table(counts: Mapping[str, Mapping[str, int]], *, limits: Limits | None = None) -> ProtectedTable:
    """A table of counts with its totals; a cell that a row lacks counts 0.

    Args:
        counts: Count of patients by row and column name.
        limits: How careful to be.
    """
    limits = limits or Limits()
    rows = tuple(counts)
    columns = tuple(dict.fromkeys(name for row in counts.values() for name in row))
    inner = np.array([[counts[row].get(column, 0) for column in columns] for row in rows], dtype=np.int64)
    # Totals are cells as well: the last row and the last column.
    full = np.zeros((len(rows) + 1, len(columns) + 1), dtype=np.int64)
    full[:-1, :-1] = inner.reshape(len(rows), len(columns))
    full[:-1, -1] = full[:-1, :-1].sum(axis=1)
    full[-1] = full[:-1].sum(axis=0)
    few = full < limits.threshold
    hidden = _spread(full, few, limits)
    made = [
        [_cell(int(full[i, j]), bool(few[i, j]), bool(hidden[i, j]), limits) for j in range(full.shape[1])]
        for i in range(full.shape[0])
    ]
    return ProtectedTable(
        rows=rows,
        columns=columns,
        cells={row: dict(zip(columns, made[i][:-1], strict=True)) for i, row in enumerate(rows)},
        row_totals={row: made[i][-1] for i, row in enumerate(rows)},
        column_totals=dict(zip(columns, made[-1][:-1], strict=True)),
        total=made[-1][-1],
    )


def protect_summary(
    values: Sequence[float],
    patients: Sequence[str],
    *,
    limits: Limits | None = None,
    quantiles: Sequence[float] = (0.5,),
) -> dict[str, Cell]:
    """Figures that sum up one value a case; a patient with several cases counts once.

    Mean and standard deviation are withheld where a few patients make up nearly all of the sum, or are the only ones
    whose value isn't that of all others: of 150 patients, 149 with a score of 1, the mean tells the score of the one.

    Smallest and largest are always withheld, since each is one patient's own value; a quantile needs half the threshold
    of patients beyond it on either side (the median 10 patients, the quartiles 20).

    Args:
        values: One value a case; nan is left out.
        patients: Patient of each value.
        limits: How careful to be.
        quantiles: Shares between 0 and 1.

    Returns:
        Cells named ``n``, ``mean``, ``sd``, ``min``, ``max`` and ``q50`` for the quantile 0.5.
    """
    limits = limits or Limits()
    pairs = [(float(v), p) for v, p in zip(values, patients, strict=True) if not math.isnan(v)]
    numbers = np.array([value for value, _ in pairs], dtype=np.float64)
    count = len({patient for _, patient in pairs})
    few = Cell(math.nan, "few", limits.threshold)
    names = [f"q{100 * share:g}" for share in quantiles]
    if count < limits.threshold:
        return dict.fromkeys(["n", "mean", "sd", "min", "max", *names], few)
    extreme = Cell(math.nan, "extreme", limits.threshold)
    cells = {"n": protect_count(count, limits=limits), "min": extreme, "max": extreme}
    own = [patient for _, patient in pairs]
    if _is_dominated(numbers, own, limits) or _few_differ(numbers, own, limits):
        cells["mean"] = cells["sd"] = Cell(math.nan, "dominance", limits.threshold)
    else:
        cells["mean"] = _figure(float(numbers.mean()), limits)
        cells["sd"] = _figure(float(numbers.std(ddof=1)) if len(numbers) > 1 else math.nan, limits)
    for name, share in zip(names, quantiles, strict=True):
        enough = 2 * count * min(share, 1 - share) >= limits.threshold
        cells[name] = _figure(float(np.quantile(numbers, share)), limits) if enough else extreme
    return cells


def withhold_small_differences(
    cells: Mapping[str, Cell], differences: Mapping[str, int], *, limits: Limits | None = None
) -> dict[str, Cell]:
    """Withhold what, beside an earlier release, would tell of fewer patients than the threshold.

    A mean over 80 patients and the mean over 79 of them give the value of one.

    Args:
        cells: Figures about to be told, by name.
        differences: By name of the figures that were told earlier, how many patients stand behind one of the two
            figures and not behind the other (`medseg.privacy.releases`).
        limits: How careful to be.
    """
    limits = limits or Limits()
    difference = Cell(math.nan, "difference", limits.threshold)
    return {
        name: difference if not cell.withheld and 0 < differences.get(name, 0) < limits.threshold else cell
        for name, cell in cells.items()
    }


def _cell(count: int, few: bool, hidden: bool, limits: Limits) -> Cell:
    if few:
        return Cell(math.nan, "few", limits.threshold)
    if hidden:
        return Cell(math.nan, "subtraction", limits.threshold)
    return Cell(_rounded(count, limits), "", limits.threshold)


def _spread(full: _Counts, few: _Mask, limits: Limits) -> _Mask:
    """Withhold more cells until no small one can be narrowed down.

    Args:
        full: Counts, totals in the last row and the last column.
        few: Cells below the threshold.
        limits: How careful to be.

    Returns:
        Cells to withhold.
    """
    hidden = few.copy()
    for i, j in zip(*np.nonzero(few), strict=True):
        for line, mask in ((full[i], hidden[i]), (full[:, j], hidden[:, j])):
            if mask.sum() == 1 and len(mask) > 1:
                mask[_cheapest(line, mask)] = True
    for place in zip(*np.nonzero(few), strict=True):
        while not hidden.all() and _width(full, few, hidden, place, limits) < limits.threshold / 2:
            _hide_one_more(full, few, hidden, place, limits)
    return hidden


def _cheapest(line: _Counts, mask: _Mask) -> int:
    """The smallest told cell of a line; its total only after all others, since it would draw further cells after it."""
    costs = np.where(mask, np.inf, line)
    costs[-1] = 1e12 if not mask[-1] else np.inf
    return int(np.argmin(costs))


def _hide_one_more(full: _Counts, few: _Mask, hidden: _Mask, place: _Place, limits: Limits) -> None:
    """Withhold the smallest told cell that protects the one at `place`; where no single one does, the smallest told."""
    costs = full.astype(np.float64)
    costs[-1] += 1e12
    costs[:-1, -1] += 1e12
    order = [np.unravel_index(int(k), full.shape) for k in np.argsort(costs, axis=None) if not hidden.flat[int(k)]]
    for candidate in order:
        hidden[candidate] = True
        if _width(full, few, hidden, place, limits) >= limits.threshold / 2:
            return
        hidden[candidate] = False
    hidden[order[0]] = True


def _width(full: _Counts, few: _Mask, hidden: _Mask, place: _Place, limits: Limits) -> float:
    """How far an attacker can narrow down a small cell: largest minus smallest count that fits all that is told."""
    from scipy.optimize import linprog

    height, width = full.shape
    lines = np.zeros((height + width, height, width))
    for i in range(height):
        lines[i, i, :-1], lines[i, i, -1] = 1, -1
    for j in range(width):
        lines[height + j, :-1, j], lines[height + j, -1, j] = 1, -1
    low = np.where(few, 0, np.where(hidden, limits.threshold, full)).ravel()
    high = np.where(few, limits.threshold - 1, np.where(hidden, full.max() + 10 * limits.threshold, full)).ravel()
    goal = np.zeros(full.shape)
    goal[place] = 1
    ends = [
        sign
        * linprog(
            sign * goal.ravel(),
            A_eq=lines.reshape(height + width, -1),
            b_eq=np.zeros(height + width),
            bounds=np.stack([low, high], axis=1),
        ).fun
        for sign in (1, -1)
    ]
    return float(ends[1] - ends[0])


def _rounded(count: int, limits: Limits) -> float:
    return float(limits.base * math.floor(count / limits.base + 0.5))


def _figure(value: float, limits: Limits) -> Cell:
    if value == 0 or not math.isfinite(value):
        return Cell(value if math.isfinite(value) else math.nan, "", limits.threshold)
    digits = limits.digits - 1 - math.floor(math.log10(abs(value)))
    return Cell(round(value, digits), "", limits.threshold)


def _is_dominated(values: FloatArray, patients: Sequence[str], limits: Limits) -> bool:
    sums: dict[str, float] = {}
    for value, patient in zip(values, patients, strict=True):
        sums[patient] = sums.get(patient, 0.0) + abs(float(value))
    ordered = sorted(sums.values(), reverse=True)
    total = sum(ordered)
    return total > 0 and sum(ordered[: limits.dominant]) > limits.dominance * total


def _few_differ(values: FloatArray, patients: Sequence[str], limits: Limits) -> bool:
    """Whether all but a few patients, at least one, have the same value."""
    found, counts = np.unique(values, return_counts=True)
    usual = found[int(np.argmax(counts))]
    return (
        0 < len({patient for value, patient in zip(values, patients, strict=True) if value != usual}) < limits.threshold
    )
