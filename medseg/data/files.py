"""File: bytes on a disk, written whole or not at all, and known by their SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

from medseg.privacy.known import let_out, something_known
from medseg.privacy.unfinished import clear_unfinished, hidden_name, hold

__all__ = ["append_line", "atomic_write", "sha256_of"]

_CHUNK_BYTES = 1 << 20
_cleared: set[str] = set()
"""Folders that this process has freed of what killed ones left there."""


@contextmanager
def atomic_write(path: Path, *, mode: Literal["w", "wb"] = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears under `path` only when the block ends without an exception.

    The bytes go to a temporary file in the same folder, are flushed to the disk and then moved over `path` in one step,
    so a reader sees the old file or the new one, never half of either. Missing parent folders are created. After an
    exception, Ctrl-C included, the temporary file is gone and `path` is as it was; what a process that was killed left
    in the folder is taken away by the next one that writes there.

    A text passes the gate first, its name as well, where this process knows identities (`medseg.privacy.known`). Bytes
    don't: what leaves in them passes it where they are made, and files that carry their patients home hold identities.

    Args:
        path: Where the file shall be.
        mode: ``wb`` for bytes, ``w`` for UTF-8 text with line feeds.

    Yields:
        The open temporary file.

    Raises:
        OSError: The disk is full, or the folder cannot be written.
        PrivacyError: The text or its name holds a known identity; nothing was written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _clear_once(path.parent)
    descriptor, temporary = _opened_temporary(path)
    try:
        text = {} if mode == "wb" else {"encoding": "utf-8", "newline": "\n"}
        with os.fdopen(descriptor, mode, **text) as stream:  # type: ignore[call-overload]
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        if mode == "w" and something_known():
            let_out(temporary.read_text(encoding="utf-8"), name=path.name)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def append_line(path: Path, line: str) -> None:
    """Append a line to a UTF-8 text and wait for the disk; one that a kill tore stays a line of its own.

    Missing parent folders are created. Only a line that the next one follows ends with a line feed.

    Raises:
        OSError: As `atomic_write`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="\n") as stream:
        stream.write("\n" * (stream.tell() > 0) + line)
        stream.flush()
        os.fsync(stream.fileno())


def _clear_once(folder: Path) -> None:
    place = os.path.abspath(folder)
    if place not in _cleared:
        _cleared.add(place)
        clear_unfinished(folder)


def _opened_temporary(path: Path) -> tuple[int, Path]:
    """A new file beside `path`, open, and known as being written."""
    while True:
        temporary = hidden_name(path)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        if hold(descriptor):
            return descriptor, temporary
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's files (their names left out, their digests sorted), in hexadecimal.

    Raises:
        OSError: The file cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256", _bufsize=_CHUNK_BYTES).hexdigest()
    digests = sorted(sha256_of(entry) for entry in path.rglob("*") if entry.is_file())
    return hashlib.sha256("\n".join(digests).encode("ascii")).hexdigest()
