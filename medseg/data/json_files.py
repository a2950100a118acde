"""JSON file: read whole, after a look at how much memory its content would take.

Python's objects take more room than their text: 3 to 7 times for numbers, up to 25 times for empty lists, of which an
attack would be made.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from medseg.errors import ReadError

__all__ = ["JsonTooLargeError", "read_json", "read_object"]

_MOST_BYTES: Final = 1 << 29
_MOST_MEMORY: Final = 1 << 31
_OF_A_VALUE, _OF_A_LIST, _OF_AN_OBJECT = 40, 100, 250
"""Bytes of memory, at most, that a value, a list and an object take beside what they hold (measured on CPython)."""


class JsonTooLargeError(ReadError):
    """A JSON file is larger than any that is read."""


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        JsonTooLargeError: It has more than 512 MiB, or could take more than 2 GiB of memory.
        ReadError: It is missing, nested too deeply, or no JSON.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise JsonTooLargeError(
                f"the JSON file has more than {_MOST_BYTES >> 20} MiB; nothing that large is read. Export it in parts"
            )
        text = path.read_bytes()
    except OSError:
        raise ReadError("the JSON file is missing or cannot be read") from None
    values, lists, objects = (text.count(sign) for sign in (b",", b"[", b"{"))
    memory = 2 * len(text) + _OF_A_VALUE * values + _OF_A_LIST * lists + _OF_AN_OBJECT * objects
    if memory > _MOST_MEMORY:
        raise JsonTooLargeError(
            f"the JSON file could take {memory / 1e9:.1f} GB of memory; at most {_MOST_MEMORY / 1e9:.1f} are given to "
            "one. Export it in parts"
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ReadError("expected JSON; the file is damaged, or something else") from None


def read_object(path: Path) -> dict[str, Any] | None:
    """The object that a JSON file holds; None where there is none, or something else or a damaged one."""
    try:
        content = read_json(path)
    except ReadError:
        return None
    return content if isinstance(content, dict) else None
