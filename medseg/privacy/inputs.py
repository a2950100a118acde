"""Inputs: the files below a folder, and the members of zip archives among them, each under one name.

A member's name is the archive's path, a NUL (which no path can hold), a slash and the member's own path. Nothing is
unpacked to disk; a member's name never becomes a path.
"""

from __future__ import annotations

import os
import re
import stat
import zipfile
import zlib
from functools import lru_cache
from itertools import pairwise
from pathlib import Path, PurePosixPath

from medseg.errors import ReadError, RequestError

__all__ = ["as_folder", "head_of", "input_files", "problem_of", "read_input", "shown", "stamp_of"]

_MARK = "\0/"
"""Stands between an archive's path and a member's."""
_MOST_BYTES = 8 << 30
_MOST_MEMBER_BYTES = 2 << 30
_MOST_MEMBERS = 200_000
_BOMB_BYTES = 4 << 30
_BOMB_RATIO = 100
_DAMAGED = "a damaged zip archive, or one of a kind that isn't read; unpack it first"


def input_files(source: Path) -> list[str]:
    """Names of all inputs below a folder, relative to it, sorted; links to folders are not followed.

    A zip archive stands for its members; one that can't be opened safely stands for itself, as does a folder that can't
    be read.

    Raises:
        RequestError: `source` is no folder.
    """
    if not source.is_dir():
        raise RequestError("expected a folder of files to de-identify, found none of that name")
    found: list[str] = []

    def unread(error: OSError) -> None:
        if error.filename is not None:
            found.append(os.path.relpath(error.filename, source).replace(os.sep, "/"))

    for folder, folders, files in os.walk(source, onerror=unread):
        linked = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in files + linked:
            path = os.path.join(folder, name)
            relative = os.path.relpath(path, source).replace(os.sep, "/")
            if name.lower().endswith(".zip") and not os.path.islink(path) and os.path.isfile(path):
                found += _expanded(Path(path), relative)
            else:
                found.append(relative)
    return sorted(found)


def as_folder(name: str) -> str:
    """The name as if the archive had been unpacked into a folder of its own stem."""
    return re.sub(r"\.zip\0/", "/", name, flags=re.IGNORECASE)


def shown(name: str) -> str:
    """The name as a person reads it."""
    return name.replace("\0", "!")


def problem_of(source: Path, name: str) -> str:
    """Why an input can't be taken as it is, without a look into it; empty where it can."""
    path, _, member = _parts(source, name)
    if path.is_symlink():
        return "a link, not a file; what it points to is de-identified where it lies"
    if path.is_dir():
        return "a folder that cannot be read"
    if not path.is_file():
        return "expected a file, found something else"
    if not member:
        if path.suffix.lower() == ".zip":
            try:
                return "" if _members(path) else "an empty zip archive"
            except ReadError as error:
                return str(error)
        return "a file above 8 GiB; split it first" if path.stat().st_size > _MOST_BYTES else ""
    return _member_problem(_members(path)[member])


def head_of(source: Path, name: str, count: int) -> bytes:
    """The first bytes of an input.

    Raises:
        OSError: It can't be read.
        ReadError: It is a damaged member of an archive.
    """
    return _read(source, name, count)


def read_input(source: Path, name: str) -> bytes:
    """All bytes of an input.

    Raises:
        OSError: It can't be read.
        ReadError: It is a damaged member of an archive.
    """
    return _read(source, name, -1)


def stamp_of(source: Path, name: str) -> str:
    """Size and time of an input's file, to see whether it changed; empty where it can't be asked."""
    try:
        facts = _parts(source, name)[0].lstat()
    except OSError:
        return ""
    return f"{facts.st_size}|{facts.st_mtime_ns}"


def _parts(source: Path, name: str) -> tuple[Path, str, str]:
    outer, mark, member = name.partition(_MARK)
    return source / outer, mark, member


def _read(source: Path, name: str, count: int) -> bytes:
    path, _, member = _parts(source, name)
    if not member:
        with path.open("rb") as file:
            return file.read(count)
    try:
        with _archive(str(path), os.getpid()).open(_members(path)[member]) as stream:
            return stream.read(count)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError, KeyError):
        raise ReadError("a damaged or encrypted member of a zip archive") from None


def _expanded(path: Path, relative: str) -> list[str]:
    try:
        return [f"{relative}{_MARK}{member}" for member in _members(path)] or [relative]
    except ReadError:
        return [relative]


@lru_cache(maxsize=4)
def _archive(path: str, _process: int) -> zipfile.ZipFile:
    """An open archive; each process has its own, since a place in a file is shared with a forked one."""
    return zipfile.ZipFile(path)


def _members(path: Path) -> dict[str, zipfile.ZipInfo]:
    return _listed(str(path), os.getpid())


@lru_cache(maxsize=64)
def _listed(path: str, process: int) -> dict[str, zipfile.ZipInfo]:
    """An archive's files by name.

    Raises:
        ReadError: It is damaged, would unfold without end, or has two members of one name.
    """
    try:
        members = [member for member in _archive(path, process).infolist() if not member.filename.endswith("/")]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, UnicodeDecodeError):
        raise ReadError(_DAMAGED) from None
    total, packed = sum(m.file_size for m in members), sum(m.compress_size for m in members)
    if len(members) > _MOST_MEMBERS or (total > _BOMB_BYTES and total > _BOMB_RATIO * max(packed, 1)):
        raise ReadError("a zip archive that unfolds to a great many bytes; unpack it yourself if you trust it")
    places = sorted((member.header_offset, member.compress_size) for member in members)
    if any(start + size > following for (start, size), (following, _) in pairwise(places)):
        raise ReadError("a zip archive whose members overlap; it was made to do harm")
    found = {member.filename: member for member in members}
    if len(found) != len(members):
        raise ReadError("a zip archive with two members of one name; unpack it first")
    return found


def _member_problem(member: zipfile.ZipInfo) -> str:
    name = member.filename
    if name.startswith(("/", "\\")) or ".." in PurePosixPath(name.replace("\\", "/")).parts or ":" in name[:3]:
        return "a member of a zip archive whose name leads out of it"
    if stat.S_ISLNK(member.external_attr >> 16):
        return "a link in a zip archive, not a file"
    if member.flag_bits & 1:
        return "an encrypted member of a zip archive; unpack it first"
    if name.lower().endswith(".zip"):
        return "an archive within an archive; unpack it first"
    if member.file_size > _MOST_MEMBER_BYTES:
        return "a member above 2 GiB of a zip archive; unpack it first"
    return ""
