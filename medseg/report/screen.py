"""Screen: what of the numbers a tier may see; whatever it withholds is marked, never left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medseg.report.blocks import Cell
from medseg.types import Tier

__all__ = ["WITHHELD", "Screen"]

WITHHELD = Cell("withheld", suppressed=True)
"""The mark of a number that disclosure control kept back."""


@dataclass(frozen=True)
class Screen:
    """Lets numbers through, or withholds them.

    Attributes:
        tier: ``internal`` lets everything through.
        threshold: Smallest number of patients that a shareable number may rest on.
    """

    tier: Tier
    threshold: int = 10

    @property
    def open(self) -> bool:
        """Whether everything may be seen."""
        return self.tier == "internal"

    def rests_on(self, patients: int) -> bool:
        """Whether a mean, a median or an interval over so many patients may be seen."""
        return self.open or patients >= self.threshold

    def cell(self, text: str, *, patients: int, detail: str = "") -> Cell:
        """A number that rests on so many patients, or the mark that it is withheld."""
        return Cell(text, detail) if self.rests_on(patients) else WITHHELD

    def count(self, number: int) -> Cell:
        """A count; a small one, zero apart, is withheld."""
        return (
            Cell(str(number)) if number == 0 or self.rests_on(number) else Cell(f"< {self.threshold}", suppressed=True)
        )

    def visible_parts(self, counts: Sequence[int]) -> tuple[bool, ...]:
        """Which parts of a whole whose total is known may be seen.

        Small parts are withheld; so are further ones, the smallest first, until what is withheld adds up to the
        threshold and no single part can be had by subtraction.

        Args:
            counts: Patients or cases of each part.
        """
        shown = [number == 0 or self.rests_on(number) for number in counts]
        while not all(shown):
            hidden = [number for number, seen in zip(counts, shown, strict=True) if not seen]
            rest = [i for i, seen in enumerate(shown) if seen and counts[i] > 0]
            if not rest or (len(hidden) > 1 and sum(hidden) >= self.threshold):
                break
            shown[min(rest, key=lambda i: counts[i])] = False
        return tuple(shown)

    def parts(self, counts: Sequence[int]) -> tuple[Cell, ...]:
        """The parts of a whole as cells."""
        visible = self.visible_parts(counts)
        return tuple(
            Cell(str(number)) if seen else (WITHHELD if number >= self.threshold else self.count(number))
            for number, seen in zip(counts, visible, strict=True)
        )
