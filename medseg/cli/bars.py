"""Bars: a study's progress drawn with rich on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import Self

__all__ = ["StudyBars"]


class StudyBars:
    """Draws one bar a stage, with elapsed and remaining time; a finished stage stays as a line."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Column

        self._progress = Progress(
            TextColumn("{task.description:<20}", table_column=Column(no_wrap=True, min_width=20)),
            BarColumn(bar_width=10, table_column=Column(no_wrap=True, min_width=10)),
            TaskProgressColumn(table_column=Column(no_wrap=True, min_width=4)),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
            TextColumn("left", table_column=Column(no_wrap=True, min_width=4)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True, min_width=5)),
            TextColumn("{task.fields[word]}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("", total=1.0, word="", visible=False)

    def __enter__(self) -> Self:
        """Start drawing."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._progress.stop()

    def begin(self, stage: str, total: float) -> None:
        """A stage begins."""
        self._task = self._progress.add_task(stage, total=max(total, 1e-9), word="")

    def update(self, done: float, word: str = "") -> None:
        """The stage stands at `done`."""
        self._progress.update(self._task, completed=done, word=word)

    def end(self) -> None:
        """The stage is over."""
        task = self._progress.tasks[self._progress.task_ids.index(self._task)]
        self._progress.update(self._task, completed=task.total)
