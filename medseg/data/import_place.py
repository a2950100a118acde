"""Import place: the folder that an import writes into, held by one at a time, and the note of what it has done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from medseg.data.case_copy import Done
from medseg.errors import RequestError, RunError

__all__ = ["STATE_FILE", "locked", "read_state", "require_places"]

STATE_FILE: Final = ".medseg-import.jsonl"
"""What earlier runs did, a line a case."""
_LOCK: Final = ".medseg-import.lock"


def require_places(source: Path, out: Path) -> None:
    """Refuse places that nothing can be imported from or into.

    Raises:
        RequestError: Says which.
    """
    if not source.exists():
        raise RequestError("expected a folder (or a file) to import; found none")
    if out.is_file():
        raise RequestError("expected a folder to write into; found a file")
    inner, outer = out.resolve(), source.resolve()
    if inner == outer or outer in inner.parents:
        raise RequestError(
            "the output folder lies inside the source; choose one outside, so that no copy is imported again"
        )


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold a folder, which is made where it is missing, and is gone again where nothing was written.

    Raises:
        RunError: Another import holds it.
    """
    from filelock import FileLock, Timeout

    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(
            "another import is writing into this folder; wait for its end, or choose another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
        if [path.name for path in out.iterdir()] == [_LOCK]:  # Nothing was written, so nothing is left.
            (out / _LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                out.rmdir()


def read_state(out: Path) -> dict[str, Done]:
    """Case id to what an earlier run did; a line torn by a kill is passed over."""
    path = out / STATE_FILE
    state: dict[str, Done] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                done = Done.from_json(json.loads(line))
            except (ValueError, KeyError, TypeError):
                continue
            state[done.case] = done
    return state
