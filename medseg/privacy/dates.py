"""Dates: moved by whole days so that intervals stay exact; what is no date is dropped."""

from __future__ import annotations

import datetime
import re

__all__ = ["clean_time", "shift_date", "shift_datetime", "utc_offset_minutes"]

_DATE = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})\Z")
_TIME = re.compile(r"([01]\d|2[0-3])(?::?([0-5]\d)(?::?([0-5]\d|60)(\.\d{1,6})?)?)?\Z")
_DATETIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\.\d{1,6})?([+-]\d{4})?\Z")
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})\Z")


def shift_date(text: str, days: int) -> str | None:
    """A DA value moved by `days`, as YYYYMMDD; also reads the older ``YYYY.MM.DD``.

    Returns:
        None when `text` is no date.

    Example:
        >>> shift_date("20200301", -1)
        '20200229'
    """
    match = _DATE.match(text.strip(" \0"))
    if match is None:
        return None
    try:
        moved = datetime.date(int(match[1]), int(match[3]), int(match[4])) + datetime.timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}"


def clean_time(text: str) -> str | None:
    """A TM value as HHMMSS.FFFFFF, as precise as it was; None when `text` is no time of day."""
    match = _TIME.match(text.strip(" \0"))
    if match is None:
        return None
    return match[1] + (match[2] or "") + (match[3] or "") + (match[4] or "")


def utc_offset_minutes(text: str) -> int | None:
    """Minutes east of Greenwich of a ``+HHMM`` value, or None."""
    match = _OFFSET.match(text.strip(" \0"))
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    return -minutes if match[1] == "-" else minutes


def shift_datetime(text: str, days: int, *, zone_minutes: int | None = None) -> str | None:
    """A DT value moved by `days`, in local time without its UTC offset.

    Args:
        text: A DT value. One without a day can't be moved exactly and is dropped.
        days: Whole days.
        zone_minutes: The UTC offset of the file's own local time. A value with another offset is converted to it first,
            so that intervals between the file's times stay exact.

    Returns:
        None when `text` is no date and time with a day.
    """
    match = _DATETIME.match(text.strip(" \0"))
    if match is None or match[2] is None or match[3] is None:
        return None
    year, month, day, hour, minute, second = (int(match[n] or 0) for n in range(1, 7))
    leap = second == 60
    try:
        moved = datetime.datetime(year, month, day, hour, minute, 59 if leap else second)
        moved += datetime.timedelta(days=days)
        own = utc_offset_minutes(match[8]) if match[8] else None
        if own is not None and zone_minutes is not None:
            moved += datetime.timedelta(minutes=zone_minutes - own)
    except (ValueError, OverflowError):
        return None
    moved_text = f"{moved.year:04d}{moved.month:02d}{moved.day:02d}{moved.hour:02d}{moved.minute:02d}{moved.second:02d}"
    digits = 8 + 2 * sum(match[n] is not None for n in (4, 5, 6))
    if leap:
        moved_text = moved_text[:-2] + "60"
    return moved_text[:digits] + (match[7] or "" if digits == 14 else "")
