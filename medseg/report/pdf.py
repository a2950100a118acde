"""PDF: a document on A4 pages, with real text, tables and figures."""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_never

import medseg
from medseg.report.blocks import Block, Cell, Columns, Document, Figure, Figures, Numbers, Table, Text

if TYPE_CHECKING:
    from fpdf import FPDF

__all__ = ["pdf_of"]

_INK, _MUTED, _RULE, _SOFT = (28, 39, 51), (95, 107, 120), (205, 212, 218), (243, 246, 248)
_TIER = {"internal": (138, 59, 12), "shareable": (15, 110, 110)}
_MARGIN_MM = 17.0
_ONE_LINE_COLUMNS = 4
"""Up to so many columns an interval stands behind its value, not beneath."""
_EPOCH = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
"""A PDF needs a creation date to be the same file each time; this one tells nothing."""


def pdf_of(document: Document) -> bytes:
    """The document as PDF; the same document gives the same bytes.

    Args:
        document: What it says.
    """
    pdf = _new(document)
    _head(pdf, document)
    for section in document.sections:
        _room(pdf, 85 if any(isinstance(block, Figures) for block in section.blocks[:2]) else 34)
        pdf.ln(5)
        _rule(pdf)
        pdf.start_section(section.title)
        _write(pdf, section.title, size=13, bold=True, after=2)
        for block in section.blocks:
            _block(pdf, block)
    return bytes(pdf.output())


def _block(pdf: FPDF, block: Block) -> None:
    match block:
        case Text():
            _text(pdf, block)
        case Table():
            _table(pdf, block)
        case Figures():
            _figures(pdf, block)
        case Numbers():
            _numbers(pdf, block)
        case Columns():
            for inner in (*block.left, *block.right):
                _block(pdf, inner)
        case _:
            assert_never(block)


def _new(document: Document) -> FPDF:
    import matplotlib as mpl
    from fpdf import FPDF

    class Pages(FPDF):  # type: ignore[misc]  # fpdf2 has no types: FPDF is Any
        def footer(self) -> None:
            self.set_y(-12)
            self.set_font("text", size=7.5)
            self.set_text_color(*_MUTED)
            self.cell(0, 5, f"{document.title} · {document.tier} report · medseg {medseg.__version__}")
            self.set_x(_MARGIN_MM)
            self.cell(0, 5, f"{self.page_no()}", align="R")

    pdf = Pages(format="A4")
    fonts = Path(mpl.get_data_path()) / "fonts" / "ttf"
    pdf.add_font("text", "", fonts / "DejaVuSans.ttf")
    pdf.add_font("text", "B", fonts / "DejaVuSans-Bold.ttf")
    pdf.add_font("text", "I", fonts / "DejaVuSans-Oblique.ttf")
    pdf.c_margin = 0
    pdf.set_margins(_MARGIN_MM, _MARGIN_MM, _MARGIN_MM)
    pdf.set_auto_page_break(auto=True, margin=18)
    pdf.set_creation_date(_EPOCH)
    pdf.set_title(f"{document.title}, {document.tier} report")
    pdf.set_lang(document.language)
    pdf.add_page()
    return pdf


def _head(pdf: FPDF, document: Document) -> None:
    pdf.set_fill_color(*_TIER[document.tier])
    pdf.set_text_color(255, 255, 255)
    pdf.set_font("text", size=7.5)
    pdf.multi_cell(
        0,
        4.6,
        f"{document.tier.upper()}   {document.notice}",
        fill=True,
        padding=(1.2, 3),
        new_x="LMARGIN",
        new_y="NEXT",
    )
    pdf.ln(6)
    _write(pdf, document.title, size=20, bold=True, after=1)
    _write(pdf, document.subtitle, size=10, colour=_MUTED, after=4)
    _numbers(pdf, document.numbers)


def _numbers(pdf: FPDF, block: Numbers) -> None:
    count = len(block.numbers)
    width, top = pdf.epw / count, pdf.get_y()
    height = 24.0
    for i, number in enumerate(block.numbers):
        left = _MARGIN_MM + i * width
        pdf.set_draw_color(*_RULE)
        pdf.set_fill_color(*(_SOFT if i == 0 else (255, 255, 255)))
        pdf.rect(left, top, width, height, style="DF")
        lines = (
            (number.label, 7.5, "", _MUTED, 2.5),
            (number.value, 17, "B", _INK, 7.5),
            (number.detail, 6.8, "", _MUTED, 16.0),
        )
        for text, size, style, colour, offset in lines:
            pdf.set_xy(left + 2, top + offset)
            pdf.set_font("text", style, size)
            pdf.set_text_color(*colour)
            pdf.multi_cell(width - 3, size * 0.46, text, align="L")
    pdf.set_xy(_MARGIN_MM, top + height + 2)


def _text(pdf: FPDF, block: Text) -> None:
    for paragraph in block.paragraphs:
        if block.listed:
            pdf.set_x(_MARGIN_MM)
            pdf.set_font("text", size=8.8)
            pdf.set_text_color(*_INK)
            pdf.cell(4, 4.6, "•")
            pdf.multi_cell(pdf.epw - 4, 4.6, paragraph, align="L", new_x="LMARGIN", new_y="NEXT")
            pdf.ln(1)
        else:
            _write(pdf, paragraph, size=8.8, after=2)


def _table(pdf: FPDF, block: Table) -> None:
    from fpdf.enums import TableBordersLayout
    from fpdf.fonts import FontFace

    _room(pdf, 26)
    if block.caption:
        pdf.ln(1)
        _write(pdf, block.caption, size=8, colour=_MUTED, after=1)
    pdf.set_font("text", size=7.8)
    pdf.set_text_color(*_INK)
    pdf.set_draw_color(*_RULE)
    widths, total = _widths(pdf, block)
    headed = any(block.columns)
    with pdf.table(
        borders_layout=TableBordersLayout.HORIZONTAL_LINES,
        width=total,
        col_widths=widths,
        align="LEFT",
        text_align=("LEFT", *("RIGHT" if block.numeric else "LEFT" for _ in block.columns[1:])),
        line_height=4.1,
        padding=(0.9, 1.6, 0.9, 0),
        first_row_as_headings=headed,
        headings_style=FontFace(color=_MUTED, size_pt=7.2),
    ) as table:
        if headed:
            heading = table.row()
            for column in block.columns:
                heading.cell(column)
        for cells in block.rows:
            row = table.row()
            for i, cell in enumerate(cells):
                style = FontFace(color=_INK) if i else FontFace(emphasis="BOLD")
                if cell.suppressed:
                    style = FontFace(emphasis="ITALICS", color=_MUTED)
                row.cell(_cell_text(cell, block), style=style)
    pdf.ln(3)


def _widths(pdf: FPDF, block: Table) -> tuple[tuple[float, ...], float]:
    """Widths in mm: each column as wide as its longest line, the last of a table of words takes what is left."""
    needed = []
    for i, column in enumerate(block.columns):
        texts = [column, *(line for row in block.rows for line in _cell_text(row[i], block).split("\n"))]
        pdf.set_font("text", "B" if i == 0 else "", 7.8)
        needed.append(max(pdf.get_string_width(text) for text in texts) + 4.5)
    pdf.set_font("text", "", 7.8)
    if not block.numeric:
        fixed = [min(width, pdf.epw * 0.3) for width in needed[:-1]]
        return (*fixed, pdf.epw - sum(fixed)), pdf.epw
    total = sum(needed)
    if total > pdf.epw:
        return tuple(width * pdf.epw / total for width in needed), pdf.epw
    return tuple(needed), total


def _cell_text(cell: Cell, block: Table) -> str:
    if not cell.detail:
        return cell.text
    return f"{cell.text}  ({cell.detail})" if len(block.columns) <= _ONE_LINE_COLUMNS else f"{cell.text}\n{cell.detail}"


def _figures(pdf: FPDF, block: Figures) -> None:
    gap = 6.0
    width = (pdf.epw - gap * (block.columns - 1)) / block.columns
    for start in range(0, len(block.figures), block.columns):
        row = block.figures[start : start + block.columns]
        heights = [width * _ratio(figure) for figure in row]
        _room(pdf, max(heights) + 14)
        top = pdf.get_y() + 1
        bottom = top
        for i, (figure, height) in enumerate(zip(row, heights, strict=True)):
            left = _MARGIN_MM + i * (width + gap)
            pdf.image(io.BytesIO(figure.png), x=left, y=top, w=width, alt_text=figure.alternative)
            pdf.set_xy(left, top + height + 1)
            pdf.set_font("text", size=7)
            pdf.set_text_color(*_MUTED)
            pdf.multi_cell(width, 3.6, figure.caption, align="L")
            bottom = max(bottom, pdf.get_y())
        pdf.set_xy(_MARGIN_MM, bottom + 3)


def _ratio(figure: Figure) -> float:
    from PIL import Image

    with Image.open(io.BytesIO(figure.png)) as image:
        return float(image.height / image.width)


def _write(
    pdf: FPDF,
    text: str,
    *,
    size: float,
    bold: bool = False,
    colour: Sequence[int] = _INK,
    after: float = 0.0,
) -> None:
    pdf.set_x(_MARGIN_MM)
    pdf.set_font("text", "B" if bold else "", size)
    red, green, blue = colour
    pdf.set_text_color(red, green, blue)
    options: dict[str, Any] = {"align": "L", "new_x": "LMARGIN", "new_y": "NEXT"}
    pdf.multi_cell(min(pdf.epw, 165.0), size * 0.52, text, **options)
    pdf.ln(after)


def _rule(pdf: FPDF) -> None:
    pdf.set_draw_color(*_RULE)
    pdf.line(_MARGIN_MM, pdf.get_y(), _MARGIN_MM + pdf.epw, pdf.get_y())
    pdf.ln(4)


def _room(pdf: FPDF, height: float) -> None:
    """Begin a new page when less than `height` mm are left on this one."""
    if pdf.get_y() + height > pdf.h - 18:
        pdf.add_page()
