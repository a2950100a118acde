"""Tables: CSV and TSV files of facts about images, of the columns that are known to say nothing about who."""

from __future__ import annotations

import csv
import io

from medseg.errors import ReadError
from medseg.privacy.fields import FieldRules, decoded, kept_name

__all__ = ["clean_table"]

_MOST_BYTES = 1 << 28


def clean_table(data: bytes, *, rules: FieldRules, separator: str = ",") -> tuple[bytes, int]:
    """A CSV file of the columns that may stay.

    Args:
        data: The file, UTF-8 or marked as UTF-16, with a line of column names.
        rules: What may stay of which column.
        separator: What stands between the columns of the copy.

    Returns:
        The file, and how many columns were left out.

    Raises:
        ReadError: It is no table, or no column of it may stay.
    """
    rows = _rows(data)
    kept = {place: rule for place, name in enumerate(rows[0]) if (rule := rules.rule(name)) is not None}
    if not kept:
        raise ReadError("expected a table with columns that medseg knows, found none that may stay")
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=separator, lineterminator="\n")
    writer.writerow([kept_name(rows[0][place]) for place in kept])
    for row in rows[1:]:
        writer.writerow([rule(row[place].strip()) if place < len(row) else "" for place, rule in kept.items()])
    return stream.getvalue().encode("ascii"), len(rows[0]) - len(kept)


def _rows(data: bytes) -> list[list[str]]:
    try:
        text = decoded(data)
        dialect = csv.Sniffer().sniff(text[:65536].split("\n")[0], delimiters=",;\t|")
        rows = [row for row in csv.reader(io.StringIO(text), dialect) if row]
    except (UnicodeDecodeError, csv.Error):
        raise ReadError("expected a table in UTF-8 with a line of column names, found another file") from None
    if len(rows) < 2 or len(data) > _MOST_BYTES:
        raise ReadError("expected a table with a line of column names and at least one row, found none")
    return rows
