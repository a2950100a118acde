"""Audit: the search of files for identity, and the gate through which everything leaves.

A file is opened down to its last layer (`medseg.privacy.containers`), and every layer, every file name and every folder
name is searched for the identities that the project knows (`IdentityIndex`) and for text that identifies by its shape
(`medseg.privacy.patterns`). A find says where and by which rule, never what was found.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from medseg.errors import PrivacyError, RequestError
from medseg.privacy.containers import DECODINGS, Layer, layers
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.patterns import Content, content_of, find_patterns
from medseg.privacy.unfinished import is_unfinished
from medseg.types import Tier
from medseg.wording import counted

__all__ = ["AuditReport", "Find", "audit_bytes", "audit_paths", "gate"]

_HIDDEN = "[hidden]"
_LEFT = "a command was killed while it wrote this; give the command again, or delete it"
_FEW = 64
_INTERNAL_KINDS = frozenset({"identity"})
"""Kinds of finds that even an internal file may not hold."""
_Data = TypeVar("_Data", str, bytes)
_shared: IdentityIndex | None = None
_clean: set[bytes] = set()
"""Digests of what passed in this process: a report is let out by its writer and again by the tracker."""


@dataclass(frozen=True)
class Find:
    """Something that identifies.

    Attributes:
        place: File and place in it; parts of the name that identify are hidden.
        kind: ``identity`` (of the project), ``machine``, ``person``, ``date``, ``metadata``, ``unsearched`` or
            ``unfinished``.
        rule: Which rule found it, for example ``name`` or ``home folder``.
        identity: Number of the identity in the list or index, from 1; None for patterns.
    """

    place: str
    kind: str
    rule: str
    identity: int | None = None


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        files: Number of files searched.
        identities: Number of identities searched for.
        finds: What was found, in order of place.
    """

    files: int
    identities: int
    finds: tuple[Find, ...]

    @property
    def identities_found(self) -> int:
        """Number of different identities found."""
        return len({find.identity for find in self.finds if find.identity is not None})

    def summary(self) -> str:
        """``0 of 12 planted identities found in 340 files``, and how much else was found."""
        text = f"{self.identities_found} of {self.identities} planted identities found in {counted(self.files, 'file')}"
        others = sum(find.identity is None for find in self.finds)
        return f"{text}; {counted(others, 'other find')}" if others else text


def audit_bytes(data: bytes, name: str, *, identities: IdentityIndex | None) -> list[Find]:
    """Search one file's bytes, all that they hold, and its name.

    Args:
        data: The whole file.
        name: Its name or relative path, searched as well.
        identities: The project's identities; None searches by patterns only.

    Returns:
        The finds; empty where there are none.
    """
    shown = _shown(name, identities)
    finds = _name_finds(name, shown, identities) | _content_finds(data, shown, identities)
    return sorted(finds, key=lambda find: (find.place, find.kind, find.rule, find.identity or 0))


def _name_finds(name: str, shown: str, identities: IdentityIndex | None) -> set[Find]:
    return {Find(f"{shown} (name)", *found) for found in _search(name.encode("utf-8", "surrogateescape"), identities)}


def _content_finds(data: bytes, shown: str, identities: IdentityIndex | None) -> set[Find]:
    finds: set[Find] = set()
    for layer in layers(data, shown):
        outer, _, last = layer.place.rpartition("!")
        found = set(_search_layer(layer, identities))
        if last in DECODINGS:
            # A text that can be read as it stands is found again behind each of its decodings; once is enough.
            found = {find for find in found if replace(find, place=_shown(outer, identities)) not in finds}
        finds |= found
    return finds


def audit_paths(
    paths: Sequence[Path],
    *,
    identities: IdentityIndex | None,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Search files and whole folders.

    Args:
        paths: Files or folders. Names are searched from each path's own last part downwards; links are searched as
            names and targets, and not followed.
        identities: As `audit_bytes`.
        jobs: Processes.
        progress: Called after each file with the number of files done and of all.

    Raises:
        RequestError: A path doesn't exist.
    """
    missing = [number for number, path in enumerate(paths, start=1) if not os.path.lexists(path)]
    if missing:
        raise RequestError(f"path {missing[0]} of {len(paths)} does not exist; expected files or folders to search")
    files = [(file, relative) for path in paths for file, relative in _walk(path)]
    finds: list[Find] = []
    for done, found in enumerate(_mapped(files, identities, jobs), start=1):
        finds += found
        if progress is not None:
            progress(done, len(files))
    count = sum(file is not None for file, _ in files)
    return AuditReport(count, 0 if identities is None else len(identities), tuple(finds))


def gate(data: _Data, *, name: str, tier: Tier, identities: IdentityIndex | None = None) -> _Data:
    """Let something out, or refuse to: reports, figures, tracked values, checkpoints, packages, answers of a server.

    Args:
        data: A text or the bytes of a file.
        name: What it is, as the refusal shall call it.
        tier: ``shareable`` refuses every find; ``internal`` refuses the project's identities only.
        identities: As `audit_bytes`.

    Returns:
        The data, unchanged.

    Raises:
        PrivacyError: Something was found; the message says where and by which rule, never what.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    state = hashlib.sha256(b"" if identities is None else identities.state)
    state.update(raw)
    digest = state.digest()
    if digest in _clean and not _name_finds(name, name, identities):
        return data
    finds = audit_bytes(raw, name, identities=identities)
    if not finds:
        _clean.add(digest)
    if tier == "internal":
        finds = [find for find in finds if find.kind in _INTERNAL_KINDS]
    if finds:
        shown = "; ".join(f"{find.rule} in {find.place}" for find in finds[:5])
        more = f" and {len(finds) - 5} more" if len(finds) > 5 else ""
        raise PrivacyError(
            f"the privacy gate refused to let {_shown(name, identities)} out as {tier}: {shown}{more}. Nothing was "
            "written; remove what identifies and try again"
        )
    return data


def _search_layer(layer: Layer, identities: IdentityIndex | None) -> Iterator[Find]:
    found = list(_search(layer.data, identities, layer.content))
    if not (found or layer.unreadable or layer.flags):
        return
    place = _shown(layer.place, identities)
    if layer.unreadable:
        yield Find(place, "unsearched", layer.unreadable)
    for flag in layer.flags:
        yield Find(place, "metadata", flag)
    inside = [Find(f"{place} {part}", *item) for part, text in layer.parts for item in _search(text, identities)]
    # What stands across two attributes, as a family name in one and a given name in the next, belongs to the whole.
    missed = set(found) - {(find.kind, find.rule, find.identity) for find in inside}
    yield from inside
    yield from (Find(place, *item) for item in found if item in missed)


def _search(
    data: bytes, identities: IdentityIndex | None, content: Content | None = None
) -> Iterator[tuple[str, str, int | None]]:
    content = content or content_of(data)
    if identities is not None:
        for hit in identities.find(data, binary=content is not Content.TEXT):
            yield "identity", hit.kind, hit.identity
    for pattern in find_patterns(data, content=content):
        yield pattern.kind, pattern.rule, None


def _shown(place: str, identities: IdentityIndex | None) -> str:
    """A place without the parts of it that identify."""
    if not any(_search(place.encode("utf-8", "surrogateescape"), identities)):
        return place
    parts = []
    for part in place.replace("!", "/!").split("/"):
        identifies = any(_search(part.encode("utf-8", "surrogateescape"), identities))
        parts.append(f"{'!' if part.startswith('!') else ''}{_HIDDEN}" if identifies else part)
    shown = "/".join(parts).replace("/!", "!")
    return shown if not any(_search(shown.encode("utf-8", "surrogateescape"), identities)) else _HIDDEN


def _walk(path: Path) -> Iterator[tuple[Path | None, str]]:
    """Files with their names from the path's own last part on; folders and links as names only."""
    name = path.name or path.resolve().name
    if path.is_symlink() or not path.is_dir():
        yield (path if path.is_file() and not path.is_symlink() else None), _with_target(path, name)
        return
    yield None, name
    for folder, folders, files in os.walk(path):
        folders.sort()
        relative = Path(name) / Path(folder).relative_to(path)
        for child in sorted([*folders, *files]):
            full = Path(folder) / child
            if child in files or full.is_symlink():
                regular = full.is_file() and not full.is_symlink()
                yield (full if regular else None), _with_target(full, str(relative / child))
            else:
                yield None, str(relative / child)


def _with_target(path: Path, name: str) -> str:
    return f"{name} -> {os.readlink(path)}" if path.is_symlink() else name


def _mapped(
    files: Sequence[tuple[Path | None, str]], identities: IdentityIndex | None, jobs: int
) -> Iterable[list[Find]]:
    if jobs <= 1 or len(files) < _FEW:
        return (_audit_file(file, name, identities) for file, name in files)
    return _mapped_in_processes(files, identities, jobs)


def _mapped_in_processes(
    files: Sequence[tuple[Path | None, str]], identities: IdentityIndex | None, jobs: int
) -> Iterator[list[Find]]:
    with ProcessPoolExecutor(jobs, initializer=_share, initargs=(identities,)) as pool:
        yield from pool.map(_audit_shared, files, chunksize=8)


def _share(identities: IdentityIndex | None) -> None:
    global _shared
    _shared = identities


def _audit_shared(item: tuple[Path | None, str]) -> list[Find]:
    return _audit_file(*item, _shared)


def _audit_file(file: Path | None, name: str, identities: IdentityIndex | None) -> list[Find]:
    unfinished = [Find(_shown(name, identities), "unfinished", _LEFT)] if is_unfinished(Path(name).name) else []
    if file is None:
        return [*unfinished, *_name_finds(name, _shown(name, identities), identities)]
    try:
        data = file.read_bytes()
    except OSError:
        return [*unfinished, Find(_shown(name, identities), "unsearched", "the file cannot be read")]
    return [*unfinished, *audit_bytes(data, name, identities=identities)]
