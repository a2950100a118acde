from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from medseg.data.files import atomic_write, sha256_of


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


def test_digest_is_that_of_hashlib_and_a_folders_does_not_depend_on_names(tmp_path: Path) -> None:
    for folder, names in (("one", "ab"), ("two", "yx")):
        (tmp_path / folder).mkdir()
        for name, content in zip(names, (b"1", b"2"), strict=True):
            (tmp_path / folder / name).write_bytes(content)
    assert sha256_of(tmp_path / "one" / "a") == hashlib.sha256(b"1").hexdigest()
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two")
