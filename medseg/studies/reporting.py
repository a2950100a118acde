"""StudyProgress: how a study tells how far it is; the command line draws bars from it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SilentProgress", "StudyProgress"]


class StudyProgress(Protocol):
    """Told of every stage of a study."""

    def begin(self, stage: str, total: float) -> None:
        """A stage begins; `total` is 1 for a stage that tells shares."""

    def update(self, done: float, word: str = "") -> None:
        """The stage stands at `done` of its total; `word` says how it goes."""

    def end(self) -> None:
        """The stage is over."""


class SilentProgress:
    """Tells nobody."""

    def begin(self, stage: str, total: float) -> None:
        """Nothing."""

    def update(self, done: float, word: str = "") -> None:
        """Nothing."""

    def end(self) -> None:
        """Nothing."""
