"""What every command shares: exit statuses, progress on stderr, the result on stdout."""

from __future__ import annotations

import errno
import functools
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec

from medseg.errors import MedsegError, PrivacyError, StorageError
from medseg.privacy import known, witness

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["EXIT_PARTLY_REFUSED", "command", "emit", "note", "progress_bars", "text_table"]

EXIT_PARTLY_REFUSED = 3
_P = ParamSpec("_P")
_WITHHELD = "(a line is withheld: it held an identity of this project)"


def command(function: Callable[_P, int | None]) -> Callable[_P, None]:
    """Turn a function into a command: its exceptions become one message on stderr and the right exit status.

    The function returns its exit status, or None for 0. A full or read-only disk reads as `StorageError`; Ctrl-C as
    130. A bug prints its type and place, never its values, and exits 1.
    """

    @functools.wraps(function)
    def run(*args: _P.args, **kwargs: _P.kwargs) -> None:
        import typer

        signal.signal(signal.SIGTERM, _interrupt)
        known.forget()
        witness.dismiss_witnesses()
        logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_searched_record)
        try:
            status = function(*args, **kwargs) or 0
        except MedsegError as error:
            _complain(str(error))
            status = error.exit_status
        except KeyboardInterrupt:
            _complain("stopped; nothing is half-written, the same command goes on where it stopped")
            status = 130
        except BrokenPipeError:  # `2>&1 | head`: who read the messages is gone.
            _write_no_more()
            status = 141  # As a shell says SIGPIPE.
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EPERM):
                _complain(_bug(error))
                status = 1
            else:
                _complain(_storage_message(error))
                status = StorageError.exit_status
        except Exception as error:
            # Whatever is left is our own bug: one line, no traceback that may hold a path.
            if os.environ.get("MEDSEG_DEBUG"):
                raise
            _complain(_bug(error))
            status = 1
        raise typer.Exit(status)

    return run


def note(message: str) -> None:
    """One line for the person, on stderr."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(_searched(message), markup=False)


def emit(result: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    """The command's result on stdout: `text` for a person, or `result` as one line of JSON for a machine.

    Raises:
        PrivacyError: The JSON holds an identity that the command knows of; of the text only that line is withheld.
    """
    if sys.stdout is None:  # Closed by whoever started the command; the work is done all the same.
        return
    told = known.let_out(json.dumps(result, default=str), name="message") if as_json else _searched(text)
    try:
        sys.stdout.write(told.rstrip("\n") + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _write_no_more()


def _searched(message: str) -> str:
    """The message, its lines with an identity withheld; other lines, the person's own paths included, may pass."""
    lines = []
    for line in message.split("\n"):
        try:
            lines.append(known.let_out(line, name="message"))
        except PrivacyError:
            lines.append(_WITHHELD)
    return "\n".join(lines)


def _searched_record(record: logging.LogRecord) -> bool:
    """Whether a log line is ours, with what it must not hold withheld: those of libraries quote paths and values."""
    if known.something_known():
        record.msg, record.args = _searched(record.getMessage()), None
    return record.name.startswith("medseg.") or bool(os.environ.get("MEDSEG_DEBUG"))


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under a header, in columns as wide as their longest text.

    Example:
        >>> print(text_table(["case", "Dice"], [["C0001", "0.9"]]))
        case   Dice
        C0001  0.9
    """
    lines = [header, *rows]
    widths = [max(len(row[column]) for row in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in lines
    )


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """A rich progress display on stderr: description, bar, count, elapsed and remaining time."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns = (
        TextColumn("{task.description:<27}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=13)),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        yield progress


def _write_no_more() -> None:
    """Let what is left unwritten vanish: the interpreter would complain of a closed pipe as it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _complain(message: str) -> None:
    sys.stderr.write(f"medseg: {_searched(message)}\n")


def _storage_message(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; nothing is half-written. Make room and give the same command again"
    return "the output folder cannot be written; choose another one, or change its permissions"


def _bug(error: BaseException) -> str:
    import traceback

    frames = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}medseg{os.sep}" in f.filename]
    place = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "outside medseg"
    return (
        f"this is a bug in medseg ({type(error).__name__} at {place}). MEDSEG_DEBUG=1 prints the whole traceback; "
        "it may hold paths, read it before you send it to anyone"
    )
