"""Screen: what of the numbers a tier may see; whatever it withholds is marked, never left out.

The rules are those of `medseg.privacy.disclosure`: small counts and means over few patients are withheld, and so is
what would give them away by subtraction, within a table or beside an earlier release of the same run. Counts are
rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medseg.privacy.disclosure import Limits, protect_count, protect_counts, protect_summary
from medseg.privacy.releases import Behind, guard_figures
from medseg.report.blocks import Cell
from medseg.types import Tier

__all__ = ["WITHHELD", "Screen", "count_patients"]

WITHHELD = Cell("withheld", suppressed=True)
"""The mark of a number that disclosure control kept back."""


@dataclass(frozen=True)
class Screen:
    """Lets numbers through, or withholds them.

    Attributes:
        tier: ``internal`` lets everything through.
        limits: How careful the shareable tier is.
        earlier: Patients behind each figure of earlier releases of this run, by the figure's name.
    """

    tier: Tier
    limits: Limits = field(default_factory=Limits)
    earlier: tuple[Mapping[str, Behind], ...] = ()

    @property
    def open(self) -> bool:
        """Whether everything may be seen."""
        return self.tier == "internal"

    def tells(self, figure: str, values: Sequence[float], patients: Sequence[str], *, cases: Sequence[str]) -> bool:
        """Whether the mean, its interval and what else sums up these values may be seen.

        Args:
            figure: Name of the figure, the same in every report of the run.
            values: One value a case; nan is left out.
            patients: Patient of each value.
            cases: Case of each value.
        """
        if self.open:
            return True
        cells = {figure: protect_summary(values, patients, limits=self.limits)["mean"]}
        behind = {figure: Behind.of_values(values, patients, cases=cases)}
        return not guard_figures(cells, behind, earlier=self.earlier, limits=self.limits)[figure].withheld

    def rests_on(self, patients: int) -> bool:
        """Whether something that rests on so many patients may be seen."""
        return self.open or patients >= self.limits.threshold

    def count(self, number: int) -> Cell:
        """A count that stands alone."""
        if self.open:
            return Cell(str(number))
        protected = protect_count(number, limits=self.limits)
        return Cell(protected.text(), suppressed=protected.withheld)

    def cases(self, number: int, *, patients: int) -> Cell:
        """A count of cases, which is told where enough patients have them."""
        return self.count(number) if self.rests_on(patients) else WITHHELD

    def parts(self, counts: Sequence[int]) -> tuple[Cell, ...]:
        """The parts of a whole whose total is told: folds, sites, reasons, with and without.

        Args:
            counts: Patients, cases or inputs of each part.
        """
        if self.open:
            return tuple(Cell(str(number)) for number in counts)
        protected = protect_counts({str(i): number for i, number in enumerate(counts)}, limits=self.limits)
        return tuple(Cell(cell.text(), suppressed=cell.withheld) for cell in protected.values())

    def decimals(self, value: float, places: int) -> int:
        """Decimal places of a figure: as asked for, or fewer where that would be more digits than may be told."""
        if self.open or value == 0 or not math.isfinite(value):
            return places
        return max(0, min(places, self.limits.digits - 1 - math.floor(math.log10(abs(value)))))


def count_patients(values: Sequence[float], patients: Sequence[str]) -> int:
    """Number of patients with at least one defined value."""
    return len({patient for value, patient in zip(values, patients, strict=True) if not math.isnan(value)})
