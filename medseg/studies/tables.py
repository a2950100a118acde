"""summary.json: what the scores of a study add up to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.data.files import atomic_write
from medseg.errors import RunError

__all__ = ["read_summary", "write_summary"]


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """Write summary.json, or facts like it under another name, atomically; nan becomes null."""
    with atomic_write(path, mode="w") as stream:
        json.dump(_without_nan(summary), stream, indent=2, allow_nan=False)
        stream.write("\n")


def read_summary(path: Path) -> dict[str, Any]:
    """Read summary.json; null becomes nan.

    Args:
        path: summary.json, or the run folder that holds it.

    Raises:
        RunError: The file is missing or no JSON object.
    """
    path = Path(path) / "summary.json" if Path(path).is_dir() else Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise RunError("summary.json is missing or unreadable; score the study again") from None
    if not isinstance(content, dict):
        raise RunError("summary.json: expected an object; score the study again")
    restored: dict[str, Any] = _with_nan(content)
    return restored


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _with_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return math.nan if value is None else value
