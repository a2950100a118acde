"""Ledger: the append-only account of what was read, changed, refused and written.

Each line is a JSON object that holds the SHA-256 of the line before it, so that a line changed, removed or put in later
breaks the chain. Lines cut off at the end don't break it: the report prints `Ledger.head`, and where the project's key
was given, it is noted beside that (`medseg.privacy.witness`).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath
from typing import IO, Any

from filelock import FileLock

from medseg.errors import PrivacyError, RequestError
from medseg.privacy.known import let_out
from medseg.privacy.witness import note_append

__all__ = ["Ledger", "looks_like_path", "verify"]

_START = "0" * 64
_ACTION = re.compile(r"[a-z][a-z0-9 _-]{0,63}")
_ABSOLUTE = re.compile(
    r"""(?:^|[\s"'=(<\[,;:])(?:/[^\s/]|~[\w.-]{0,64}/|\.\.?/|[A-Za-z]:[\\/]|\\\\[^\s\\]|file:)""", re.IGNORECASE
)
_EXTENSION = re.compile(r"\.(?=[0-9]*[A-Za-z])[A-Za-z0-9]{1,8}$")
_TAIL_BYTES = 1 << 16


def looks_like_path(text: str) -> bool:
    """Whether a text holds an absolute path, a home folder, or a relative path of a file.

    Units and media types (``kg/m2``, ``image/png``) are none.
    """
    if "/" not in text and "\\" not in text and ":" not in text:
        return False
    return bool(_ABSOLUTE.search(text)) or any(map(_is_relative_path, text.split()))


def _is_relative_path(word: str) -> bool:
    parts = [part for part in word.replace("\\", "/").split("/") if part]
    return len(parts) > 2 or (len(parts) == 2 and bool(_EXTENSION.search(parts[1])))


class Ledger:
    """The ledger in one file; several processes may append to it at once.

    Args:
        path: The file, usually ``ledger.jsonl``; it and its folder are made by the first `append`.

    Example:
        >>> import tempfile
        >>> ledger = Ledger(Path(tempfile.mkdtemp()) / "ledger.jsonl")
        >>> ledger.append("written", {"files": 3})
        >>> verify(ledger.path)
        []
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def append(self, action: str, facts: Mapping[str, object]) -> None:
        """Add one line and wait until the disk has it.

        Args:
            action: What was done, in lower-case words: ``written``, ``refused``, ``quarantined``, ``exception``.
            facts: JSON values that describe it; never a source path, a name or the value of an attribute. nan becomes
                null.

        Raises:
            PrivacyError: A fact looks like a path, or one holds an identity that this process knows.
            RequestError: The action isn't in lower-case words, or a fact is no JSON value.
        """
        self.append_many([(action, facts)])

    def append_many(self, entries: Iterable[tuple[str, Mapping[str, object]]]) -> None:
        """Add several lines with one wait for the disk; all or, after a refusal, none.

        Raises:
            PrivacyError: As `append`.
            RequestError: As `append`.
        """
        checked = [(_check_action(action), _check_facts(facts, "facts")) for action, facts in entries]
        if not checked:
            return
        let_out(json.dumps(checked), name=self.path.name)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self._lock_path), open(self.path, "a+b") as file:
            number, before, torn = _last_line(file)
            previous = before
            if torn:
                # A process was killed while it wrote: that line was never whole, so nothing that counts is removed.
                file.truncate(file.seek(0, os.SEEK_END) - torn)
                checked.insert(0, ("repaired", {"torn_bytes": torn}))
            lines = []
            for action, facts in checked:
                number += 1
                line = _line(number, previous, action, facts)
                previous = hashlib.sha256(line).hexdigest()
                lines.append(line + b"\n")
            file.seek(0, os.SEEK_END)
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
            note_append(before, previous)

    def head(self) -> str:
        """SHA-256 of the last whole line, in hexadecimal; 64 zeros while the ledger is empty."""
        if not self.path.exists():
            return _START
        with FileLock(self._lock_path), open(self.path, "rb") as file:
            return _last_line(file)[1]

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(f".{self.path.name}.lock")


def verify(path: str | Path) -> list[str]:
    """Check the chain of a ledger.

    Returns:
        One sentence for each problem; empty where the chain is whole. Values of facts are never quoted.
    """
    try:
        content = Path(path).read_bytes()
    except OSError:
        return ["the ledger cannot be read"]
    problems: list[str] = []
    lines = content.split(b"\n")
    if lines.pop():
        problems.append(f"line {len(lines) + 1} is torn: its writer was stopped; the next append removes it")
    previous = _START
    for number, line in enumerate(lines, start=1):
        problems.extend(_problems_of(line, number, previous))
        previous = hashlib.sha256(line).hexdigest()
    return problems


def _problems_of(line: bytes, number: int, previous: str) -> list[str]:
    try:
        entry = json.loads(line)
    except ValueError:
        return [f"line {number} is not JSON"]
    if not isinstance(entry, dict) or set(entry) != {"number", "time", "action", "facts", "previous"}:
        return [f"line {number} has other keys than a ledger line"]
    problems = []
    if entry["number"] != number:
        problems.append(f"line {number} carries another number: lines were removed, put in or moved")
    if entry["previous"] != previous:
        problems.append(f"line {number} does not continue line {number - 1}: one of the two was changed")
    if any(looks_like_path(text) for text in _texts(entry["facts"])):
        problems.append(f"line {number} holds a path")
    return problems


def _line(number: int, previous: str, action: str, facts: Mapping[str, object]) -> bytes:
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    entry = {"number": number, "time": time, "action": action, "facts": facts, "previous": previous}
    return json.dumps(entry, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def _last_line(file: IO[bytes]) -> tuple[int, str, int]:
    """Number and hash of the last whole line, and the bytes of a torn one after it."""
    size = file.seek(0, os.SEEK_END)
    span = min(size, _TAIL_BYTES)
    while True:
        file.seek(size - span)
        tail = file.read(span)
        whole, _, torn = tail.rpartition(b"\n")
        start = whole.rfind(b"\n")
        if start >= 0 or span == size:
            break
        span = min(size, span * 4)
    line = whole[start + 1 :]
    if not line:
        return 0, _START, len(torn)
    try:
        number = int(json.loads(line)["number"])
    except (ValueError, KeyError, TypeError):
        message = "the ledger's last line is not a ledger line; `medseg audit --ledger FILE` says more"
        raise RequestError(message) from None
    return number, hashlib.sha256(line).hexdigest(), len(torn)


def _check_action(action: str) -> str:
    if not _ACTION.fullmatch(action):
        raise RequestError("a ledger action: expected at most 64 lower-case letters, digits, spaces, - and _")
    return action


def _check_facts(value: Any, place: str) -> Any:
    """The value as plain JSON; places are named by key, values never."""
    if isinstance(value, PurePath) or (isinstance(value, str) and looks_like_path(value)):
        raise PrivacyError(f"the ledger refuses {place}: it looks like a path; write a pseudonym or a count instead")
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        if any(looks_like_path(str(key)) for key in value):
            raise PrivacyError(f"the ledger refuses {place}: a key looks like a path")
        return {str(key): _check_facts(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [_check_facts(item, f"{place}[{index}]") for index, item in enumerate(items)]
    raise RequestError(f"the ledger refuses {place}: expected a JSON value, found {type(value).__name__}")


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [text for key, item in value.items() for text in (str(key), *_texts(item))]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return []
