"""JSON files are read within bounds of memory."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pytest

from medseg.data.json_files import JsonTooLargeError, read_json
from medseg.errors import ReadError

_SHAPES = {
    "numbers": json.dumps([[n / 7 for n in range(300)] for _ in range(100)]),
    "short numbers": json.dumps([[n % 10 for n in range(300)] for _ in range(100)]),
    "empty lists": f"[{'[],' * 30_000}[]]",
    "empty objects": f"[{'{},' * 30_000}{{}}]",
    "objects": json.dumps([{"a": n} for n in range(10_000)]),
    "text": json.dumps(["\u00e9" * 50_000]),
}


@pytest.mark.parametrize("shape", _SHAPES)
def test_what_a_file_takes_is_never_more_than_it_was_taken_for(
    shape: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    path.write_text(_SHAPES[shape])
    tracemalloc.start()
    read_json(path)
    _, taken = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    monkeypatch.setattr("medseg.data.json_files._MOST_MEMORY", taken - 2 * path.stat().st_size)
    with pytest.raises(JsonTooLargeError, match="Export it in parts"):
        read_json(path)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\0"])
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ReadError, match="expected JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ReadError, match="missing"):
        read_json(tmp_path / "b.json")
