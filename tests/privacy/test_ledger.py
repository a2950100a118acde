from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from medseg.errors import PrivacyError, RequestError
from medseg.privacy.ledger import Ledger, looks_like_path, verify


def _append_fifty(path: str) -> None:
    for index in range(50):
        Ledger(path).append("written", {"file": index})


def test_a_ledger_that_was_only_appended_to_has_no_problems(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("read", {"files": 20, "bytes": 1.5, "nothing": None, "undefined": float("nan")})
    ledger.append_many([("refused", {"file": "3 of 20", "reason": "gantry tilt"}), ("written", {"cases": ["C1"]})])
    lines = [json.loads(line) for line in ledger.path.read_text().splitlines()]
    assert verify(ledger.path) == []
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert lines[0]["facts"]["undefined"] is None


@pytest.mark.parametrize("change", ["edit", "remove", "swap", "insert"])
def test_a_line_changed_afterwards_is_found(tmp_path: Path, change: str) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for index in range(5):
        ledger.append("written", {"file": index})
    lines = ledger.path.read_text().splitlines()
    if change == "edit":
        lines[2] = lines[2].replace('"file":2', '"file":7')
    elif change == "remove":
        del lines[2]
    elif change == "swap":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        lines.insert(2, lines[1])
    ledger.path.write_text("\n".join(lines) + "\n")
    assert verify(ledger.path)


def test_two_processes_append_to_one_chain(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append_fifty, args=(str(path),)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert verify(path) == []
    assert len(path.read_text().splitlines()) == 100


def test_a_line_torn_by_a_killed_writer_is_named_and_then_repaired(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("written", {"file": 1})
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole + b'{"number":2,"time')
    assert "torn" in verify(ledger.path)[0]
    ledger.append("written", {"file": 2})
    assert verify(ledger.path) == []
    assert ledger.path.read_bytes().startswith(whole)
    actions = [json.loads(line)["action"] for line in ledger.path.read_text().splitlines()]
    assert actions == ["written", "repaired", "written"]


@pytest.mark.parametrize(
    "fact",
    [
        "/data/NOVAKOVA/IM1",
        "C:\\pacs\\IM1",
        "~/scans",
        "see ../scans",
        "\\\\pacs\\share",
        "Novak_Jana/IM0001.dcm",
        "a/b/c",
        "file:///x",
    ],
)
def test_a_fact_that_looks_like_a_path_is_refused_and_nothing_is_written(tmp_path: Path, fact: str) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for facts in ({"source": fact}, {"list": [{"deep": fact}]}, {fact: 1}):
        with pytest.raises(PrivacyError) as caught:
            ledger.append("read", facts)
        assert fact not in str(caught.value)
    with pytest.raises(PrivacyError):
        ledger.append("read", {"source": Path("x")})
    assert not ledger.path.exists()


@pytest.mark.parametrize(
    "text", ["kg/m2", "image/png", "3 of 20", "MR or CT", "fold_0/predictions", "1.2.840.10008.1.2", "12:30", "1.5/2.5"]
)
def test_units_types_and_uids_are_no_paths(text: str) -> None:
    assert not looks_like_path(text)


def test_an_unreadable_action_or_value_is_a_request_error(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    with pytest.raises(RequestError):
        ledger.append("Written!", {})
    with pytest.raises(RequestError):
        ledger.append("written", {"value": object()})


def test_the_head_changes_with_every_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    heads = [ledger.head()]
    for index in range(3):
        ledger.append("written", {"note": "x" * 70_000, "file": index})
        heads.append(ledger.head())
    assert len(set(heads)) == 4
    assert verify(ledger.path) == []
