from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.ledger import Ledger
from medseg.privacy.witness import call_witness, dismiss_witnesses, ends_as_noted


@pytest.fixture
def key(tmp_path: Path) -> Path:
    (tmp_path / "steward").mkdir()
    IdentityIndex().save(tmp_path / "steward" / "project.key.identities")
    call_witness(tmp_path / "steward" / "project.key")
    return tmp_path / "steward" / "project.key"


@pytest.fixture
def ledger(key: Path, tmp_path: Path) -> Path:
    path = tmp_path / "run" / "ledger.jsonl"
    Ledger(path).append_many([("read", {"cases": 3}), ("written", {"files": 3})])
    Ledger(path).append("refused", {"files": 1})
    assert ends_as_noted(path, key) == (3, True)
    return path


def _audit(ledger: Path, key: Path) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["audit", "--ledger", str(ledger), "--key", str(key)])
    return done.exit_code, done.stdout


def test_a_ledger_that_nobody_touched_ends_as_noted(ledger: Path, key: Path) -> None:
    status, told = _audit(ledger, key)
    assert status == 0
    assert "up to line 3 it is as noted beside the key" in told
    assert "in 1 file" in told
    assert CliRunner().invoke(app, ["audit", "--key", str(key)]).exit_code == 2


@pytest.mark.parametrize("kept", [1, 2])
def test_lines_cut_off_the_end_are_missed(ledger: Path, key: Path, kept: int) -> None:
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:kept]))
    if kept == 2:
        status, told = _audit(ledger, key)
        assert (status, "more stood behind line 2" in told) == (4, True)
    else:
        assert ends_as_noted(ledger, key) == (0, True)


def test_one_line_that_was_noted_is_missed_though_those_before_it_were_not(key: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "run" / "ledger.jsonl"
    dismiss_witnesses()
    Ledger(ledger).append("read", {"cases": 3})
    before = ledger.read_bytes()
    call_witness(key)
    Ledger(ledger).append("refused", {"files": 1})
    assert _audit(ledger, key)[0] == 0
    ledger.write_bytes(before)
    assert _audit(ledger, key)[0] == 4


def test_a_changed_last_line_is_found_though_the_chain_is_whole(ledger: Path, key: Path) -> None:
    ledger.write_bytes(ledger.read_bytes().replace(b'"files":1', b'"files":0'))
    assert _audit(ledger, key)[0] == 4


def test_lines_appended_without_the_key_are_told_apart(ledger: Path, key: Path) -> None:
    dismiss_witnesses()
    Ledger(ledger).append("read", {"cases": 4})
    status, told = _audit(ledger, key)
    assert status == 0
    assert "up to line 3" in told


def test_two_copies_that_went_on_by_themselves_both_end_as_noted(ledger: Path, key: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(ledger.read_bytes())
    Ledger(copy).append("read", {"cases": 5})
    Ledger(ledger).append("read", {"cases": 6})
    assert ends_as_noted(copy, key) == ends_as_noted(ledger, key) == (4, True)


def test_a_key_beside_which_nothing_can_be_written_stops_nobody(ledger: Path, key: Path) -> None:
    notes = key.with_name("project.key.ledgers")
    notes.unlink()
    notes.mkdir()
    Ledger(ledger).append("read", {"cases": 7})
    notes.rmdir()
    assert ends_as_noted(ledger, key) == (0, True)
    assert "which nobody noted beside the key" in _audit(ledger, key)[1]


def test_the_notes_are_for_the_keys_owner_alone(ledger: Path, key: Path) -> None:
    assert key.with_name("project.key.ledgers").stat().st_mode & 0o777 == 0o600
    assert str(ledger.parent.name) not in key.with_name("project.key.ledgers").read_text()
