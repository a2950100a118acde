"""Unfinished: what a command that is killed while it writes leaves behind, hidden, under names of ours.

Nothing but the operating system ends a command that is killed, so what it was writing stays. It is taken away by the
next command that writes in the same folder, and an audit tells it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows, which doesn't delete open files anyway.
    fcntl = None

__all__ = [
    "HALF",
    "UNPACKED",
    "clear_unfinished",
    "held_folder",
    "hidden_name",
    "hold",
    "is_unfinished",
    "waiting_room",
]

HALF: Final = re.compile(r"\.[0-9a-f]{16}\.tmp")
"""The name of a copy that `medseg deidentify` hasn't written whole yet; it takes away those of its output folder."""
_HELD: Final = re.compile(r"\..+\.[0-9a-f]{12}\.tmp", re.DOTALL)
"""The name of any other file or folder that isn't whole yet, which is held as long as it is written."""
UNPACKED: Final = ".medseg-unpacked-"
"""How folders begin in which an import has a zip file unpacked; the next import of one takes them away."""
_WAITING: Final = "medseg-waiting-"
"""How folders begin, among the system's temporary ones, in which files wait for the gate."""


def is_unfinished(name: str) -> bool:
    """Whether a file or folder has a name that only unfinished ones have.

    Example:
        >>> is_unfinished(".report.html.0123456789ab.tmp"), is_unfinished("report.html")
        (True, False)
    """
    return bool(HALF.fullmatch(name) or _HELD.fullmatch(name)) or name.startswith(UNPACKED)


def hold(descriptor: int) -> bool:
    """Say of an open file or folder that somebody writes it; the operating system forgets it when the process ends.

    Where a file system knows no locks, nothing is said, and `clear_unfinished` takes nothing away.

    Returns:
        Whether it may be written; not where another process has just taken it for left behind.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return os.fstat(descriptor).st_nlink > 0


def hidden_name(path: Path) -> Path:
    """A new name beside `path` for what isn't whole yet and shall be there; `is_unfinished` knows it."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")


@contextmanager
def held_folder(path: Path) -> Iterator[Path]:
    """A new hidden folder beside `path` that is held while the block lasts; what wasn't moved away by then is gone.

    Args:
        path: What the folder shall become; missing parents are made.
    """

    def make() -> Path:
        made = hidden_name(path.absolute())
        made.mkdir(parents=True)
        return made

    with _held(make) as folder:
        yield folder


@contextmanager
def _held(make: Callable[[], Path]) -> Iterator[Path]:
    """Hold the folder that `make` makes; it is called again where another process takes the folder away before."""
    folder, descriptor = make(), -1
    while fcntl is not None:
        with suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            if hold(descriptor):
                break
            os.close(descriptor)
        folder = make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor >= 0:
            os.close(descriptor)


def clear_unfinished(folder: Path) -> None:
    """Take away what is unfinished right in a folder, and that nobody writes any more."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _HELD.fullmatch(entry.name) or entry.name.startswith(_WAITING):
                _take_away(Path(entry.path))


@contextmanager
def waiting_room() -> Iterator[Path]:
    """A new folder for files that may not be seen yet, among the system's temporary ones and for this user alone.

    It is gone when the block ends. Those of processes that were killed are taken away first.
    """
    clear_unfinished(Path(tempfile.gettempdir()))
    with _held(lambda: Path(tempfile.mkdtemp(prefix=_WAITING))) as folder:
        yield folder


def _take_away(path: Path) -> None:
    """Remove a file or folder, unless it is held, is a link or belongs to another user."""
    with suppress(OSError):
        if path.is_symlink() or (hasattr(os, "getuid") and path.stat().st_uid != os.getuid()):
            return
        with _unheld(path):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


@contextmanager
def _unheld(path: Path) -> Iterator[None]:
    """Hold a file or folder for as long as the block lasts.

    Raises:
        OSError: Somebody else holds it.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
