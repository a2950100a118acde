from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.data.files import atomic_write, sha256_of
from medseg.privacy.unfinished import clear_unfinished, is_unfinished


def test_a_file_appears_whole(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "new" / "a.bin") as stream:
        stream.write(b"abc")
        assert not (tmp_path / "new" / "a.bin").exists()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.bin"]
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"abc"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_exception_the_old_file_stays_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_halfway() -> None:
        with atomic_write(path, mode="w") as stream:
            stream.write("new")
            raise error

    with pytest.raises(error):
        fail_halfway()
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


KILLED = """
import os, signal, sys
from pathlib import Path
from medseg.data.files import atomic_write
with atomic_write(Path(sys.argv[1])) as stream:
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_taken_away_by_the_next_one_that_writes_there(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.txt")], check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert is_unfinished(left.name)
    (tmp_path / ".own.tmp").write_text("somebody else's")
    with atomic_write(tmp_path / "b.txt", mode="w") as stream:
        stream.write("whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".own.tmp", "b.txt"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a.txt", mode="w") as stream:
        clear_unfinished(tmp_path)
        stream.write("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_digest_is_that_of_hashlib_and_a_folders_does_not_depend_on_names(tmp_path: Path) -> None:
    for folder, names in (("one", "ab"), ("two", "yx")):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"1", b"2"), strict=True):
            (tmp_path / folder / name).write_bytes(content)
    assert sha256_of(tmp_path / "one" / "a") == hashlib.sha256(b"1").hexdigest()
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two")
