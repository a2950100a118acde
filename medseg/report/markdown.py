"""Markdown: a document as text that a person can go on writing in; pictures are left to the page."""

from __future__ import annotations

import re
from collections.abc import Iterator

from medseg.report.blocks import Block, Cell, Columns, Document, Table, Text

__all__ = ["markdown_of"]


def markdown_of(document: Document) -> str:
    """The words and tables of a document.

    Args:
        document: What it says.
    """
    parts = [f"# {_plain(document.title)}", _plain(document.subtitle), f"**{_plain(document.notice)}**"]
    for section in document.sections:
        parts.append(f"## {_plain(section.title)}")
        parts += [text for block in section.blocks for text in _texts(block)]
    return "\n\n".join(parts) + "\n"


def _texts(block: Block) -> Iterator[str]:
    if isinstance(block, Text):
        sign = "- " if block.listed else ""
        yield ("\n" if block.listed else "\n\n").join(f"{sign}{_plain(p)}" for p in block.paragraphs)
    elif isinstance(block, Table):
        if block.caption:
            yield _plain(block.caption)
        rows = [tuple(_plain(name) for name in block.columns), ("---",) * len(block.columns)]
        rows += [tuple(map(_cell, row)) for row in block.rows]
        yield "\n".join(f"| {' | '.join(row)} |" for row in rows)
    elif isinstance(block, Columns):
        for inner in (*block.left, *block.right):
            yield from _texts(inner)


def _cell(cell: Cell) -> str:
    return _plain(f"{cell.text} ({cell.detail})" if cell.detail else cell.text).replace("|", "\\|")


def _plain(text: str) -> str:
    """Text without what Markdown or HTML would read as a sign."""
    return re.sub(r"([<>`*\[\]])", r"\\\1", " ".join(text.split()))
