"""Wording: a number with its noun, as the commands and reports write them."""

from __future__ import annotations

__all__ = ["counted"]


def counted(count: int, one: str, many: str = "") -> str:
    """A count with what it counts: ``1 case``, ``2 cases``, ``1,024 studies``.

    Args:
        count: How many.
        one: What a single one is called, with its verb where that changes too.
        many: What several are called; empty for the regular plural of `one`.

    Example:
        >>> counted(1, "image has", "images have"), counted(3, "study"), counted(2, "series")
        ('1 image has', '3 studies', '2 series')
    """
    return f"{count:,} {one if count == 1 else many or _plural(one)}"


def _plural(one: str) -> str:
    if one.endswith("series"):
        return one
    if one.endswith("y") and not one.endswith(("ay", "ey", "oy")):
        return f"{one[:-1]}ies"
    return f"{one}s"
