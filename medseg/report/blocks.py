"""Block: a piece of a report that is known before anyone decides whether it becomes HTML or PDF."""

from __future__ import annotations

from dataclasses import dataclass, field

from medseg.types import Tier

__all__ = ["Block", "Cell", "Columns", "Document", "Figure", "Figures", "Number", "Numbers", "Section", "Table", "Text"]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What stands there.
        detail: A second, smaller line, for example an interval.
        suppressed: The value was withheld by disclosure control.
    """

    text: str
    detail: str = ""
    suppressed: bool = False


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        columns: Headings; the first column names the row.
        rows: Cells, as many in each row as columns.
        caption: A sentence that stands above.
        numeric: Whether the columns after the first hold numbers.
        folded: Whether a long table is folded away until it is asked for (HTML only).
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    numeric: bool = True
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure or a picture.

    Attributes:
        png: The figure as PNG or JPEG, for the PDF, and for HTML without `svg`.
        svg: The figure as an ``<svg>`` element, or empty.
        caption: What is to be seen.
        alternative: The same for someone who cannot see it.
    """

    png: bytes
    caption: str
    alternative: str
    svg: str = ""


@dataclass(frozen=True)
class Figures:
    """Figures side by side.

    Attributes:
        figures: In reading order.
        columns: How many stand side by side where there is room.
    """

    figures: tuple[Figure, ...]
    columns: int = 2


@dataclass(frozen=True)
class Number:
    """A number to be read first.

    Attributes:
        value: The number.
        label: What it is.
        detail: Its interval or what belongs to it.
    """

    value: str
    label: str
    detail: str = ""


@dataclass(frozen=True)
class Numbers:
    """The numbers to be read first, side by side."""

    numbers: tuple[Number, ...]


@dataclass(frozen=True)
class Text:
    """Paragraphs, or the items of a list.

    Attributes:
        paragraphs: Plain sentences.
        listed: Whether they are items of a list.
    """

    paragraphs: tuple[str, ...]
    listed: bool = False


@dataclass(frozen=True)
class Columns:
    """Blocks in two columns where there is room; else, and in print, one after the other.

    Attributes:
        left: What comes first.
        right: What comes second.
    """

    left: tuple[Table | Figures | Text, ...]
    right: tuple[Table | Figures | Text, ...]


Block = Table | Figures | Numbers | Text | Columns


@dataclass(frozen=True)
class Section:
    """A headed part of a report.

    Attributes:
        anchor: Its name in a link.
        title: Its heading.
        blocks: What it holds.
    """

    anchor: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report.

    Attributes:
        title: Name of the study.
        subtitle: What kind of study it is.
        tier: Who may see it.
        notice: What this tier means for the reader, in a sentence.
        numbers: The numbers to be read first.
        sections: In reading order.
        language: BCP 47 tag.
    """

    title: str
    subtitle: str
    tier: Tier
    notice: str
    numbers: Numbers
    sections: tuple[Section, ...]
    language: str = field(default="en")
