"""Files wait for the gate where nobody looks, also when the process that writes them is killed."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from medseg.errors import DataError, PrivacyError
from medseg.export.outgoing import outgoing
from medseg.privacy.audit import audit_paths
from medseg.privacy.identities import IdentityIndex

KILLED = """
import os, signal, sys
from pathlib import Path
from medseg.export.outgoing import outgoing
with outgoing(Path(sys.argv[1]), tier="shareable") as aside:
    (aside / "case.txt").write_text("Novakova^Jana")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def _index() -> IdentityIndex:
    index = IdentityIndex()
    index.add(["Novakova^Jana"])
    return index


def test_what_has_not_passed_the_gate_is_not_in_the_folder_when_the_process_is_killed(tmp_path, monkeypatch):
    waiting, out = tmp_path / "temporary", tmp_path / "out"
    waiting.mkdir()
    for name in ("earlier.txt", "stack/0.txt"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("computed before")
    before = sorted(out.rglob("*"))
    environment = {**os.environ, "TMPDIR": str(waiting)}
    assert subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False, env=environment).returncode == -9
    assert sorted(out.rglob("*")) == before
    (left,) = waiting.iterdir()
    assert stat.S_IMODE(left.stat().st_mode) == 0o700
    monkeypatch.setattr("tempfile.tempdir", str(waiting))
    with outgoing(out, tier="shareable", identities=_index()) as aside:
        assert list(waiting.iterdir()) == [aside]
        (aside / "case.txt").write_text("nobody")
    assert not list(waiting.iterdir())
    assert sorted(out.rglob("*")) == sorted([*before, out / "case.txt"])


def test_a_folder_is_let_out_or_refused_as_a_whole_and_takes_no_other_s_place(tmp_path):
    def write(content: str) -> None:
        with outgoing(tmp_path / "out", tier="shareable", identities=_index()) as aside:
            for number in range(2):
                (aside / "stack").mkdir(exist_ok=True)
                (aside / "stack" / f"{number}.txt").write_text(f"{content} {number}")

    with pytest.raises(PrivacyError, match=r"stack/0\.txt"):
        write("Jana Novakova")
    assert not (tmp_path / "out").exists()
    (tmp_path / "out" / "stack").mkdir(parents=True)
    write("first")
    write("second")
    assert sorted(path.read_text() for path in (tmp_path / "out" / "stack").iterdir()) == ["second 0", "second 1"]
    (tmp_path / "out" / "stack" / "notes.txt").write_text("somebody's")
    with pytest.raises(DataError, match="holds other files"):
        write("third")
    (tmp_path / "out" / "stack" / "notes.txt").unlink()
    found = {path.relative_to(tmp_path / "out").as_posix(): path for path in (tmp_path / "out").rglob("*")}
    assert sorted(found) == ["stack", "stack/0.txt", "stack/1.txt"]
    assert found["stack/1.txt"].read_text() == "second 1"


def test_an_audit_tells_what_is_unfinished(tmp_path):
    for name in (".medseg-unpacked-ab12", ".case.slices.0123456789ab.tmp"):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "case.txt").write_text("nobody")
    (tmp_path / "out" / ".report.html.0123456789ab.tmp").write_text("half")
    finds = audit_paths([tmp_path / "out"], identities=None).finds
    assert [find.kind for find in finds] == ["unfinished"] * 3
    assert "give the command again" in finds[0].rule
