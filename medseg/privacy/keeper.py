"""Keeper: writes what was removed to the index beside the key while a de-identification runs, as often as it pays."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from medseg.privacy.identities import IdentityIndex

__all__ = ["IdentityKeeper"]

_PAUSE_S: Final = 10.0
_PAUSE_BY_COST: Final = 20.0
"""Writing takes at most a twentieth of the time."""


class IdentityKeeper:
    """The identities of a run on their way to the index.

    Args:
        path: The index, made or extended; None keeps nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._index = IdentityIndex.load(path) if path is not None and path.is_file() else IdentityIndex()
        self._waiting: set[str] = set()
        self._saved = time.monotonic()
        self._pause = _PAUSE_S

    def add(self, texts: Iterable[str]) -> None:
        """Take up identities."""
        self._waiting.update(texts)

    def save(self, *, now: bool) -> bool:
        """Write the index, if it is time to or must be now.

        Returns:
            Whether all that was taken up is in it, so that a run that is killed may go on behind it.
        """
        if self._path is None:
            return True
        started = time.monotonic()
        if not now and started - self._saved < self._pause:
            return False
        self._index.add(sorted(self._waiting))
        self._index.save(self._path)
        self._waiting.clear()
        self._saved = time.monotonic()
        self._pause = max(_PAUSE_S, _PAUSE_BY_COST * (self._saved - started))
        return True
