"""Archive: a zip file or a DICOMDIR as the source of an import, opened without trusting what it says.

A zip file is unpacked into a folder that is gone afterwards. Refused before anything is written: names that lead out of
the folder (absolute, ``..``, drive letters), links, encrypted members, two members of one name, more members or more
bytes than an import of medical images has, and archives that would grow as no images do (zip bombs). What a member
really holds is counted while it is unpacked; its header may lie.
"""

from __future__ import annotations

import errno
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Final

from medseg.data.dicom_header import looks_like_dicom, read_dataset, refusing_damage
from medseg.data.refusal import Refusal
from medseg.errors import DataError, ReadError, StorageError
from medseg.privacy.limits import SUSPECT_BYTES, SUSPECT_RATIO
from medseg.privacy.unfinished import UNPACKED

__all__ = ["is_dicomdir", "missing_from_dicomdir", "opened"]

_MOST_MEMBERS: Final = 1_000_000
_MOST_BYTES: Final = 1 << 40
_MOST_RATIO: Final = 1100
"""Deflate can't compress more than 1032 times; anything above is a lie."""
_CHUNK: Final = 1 << 20
_DICOMDIR_CLASS: Final = "1.2.840.10008.1.3.10"


@contextmanager
def opened(source: Path, scratch: Path, *, progress: Callable[[int, int], None] | None = None) -> Iterator[Path]:
    """The folder or file to import: the source itself, the folder of a DICOMDIR, or an unpacked zip file.

    Args:
        source: Folder, image, zip file or DICOMDIR.
        scratch: Folder in which a zip file is unpacked for as long as the block lasts.
        progress: Called with the number of members unpacked and of all.

    Raises:
        ReadError: The zip file is damaged, or asks for something that no archive of images needs.
        StorageError: There isn't room to unpack it.
    """
    if source.is_file() and zipfile.is_zipfile(source):
        for left in scratch.glob(f"{UNPACKED}*"):  # Of a run that was killed.
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=UNPACKED, dir=scratch) as folder:
            _unpack(source, Path(folder), progress)
            yield Path(folder)
    elif source.is_file() and is_dicomdir(source):
        yield source.parent
    else:
        yield source


def is_dicomdir(path: Path) -> bool:
    """Whether a file is the directory of a DICOM medium (PS3.10 section 8.6)."""
    if path.name.upper() != "DICOMDIR" or not looks_like_dicom(path):
        return False
    try:
        dataset = read_dataset(path, tags=[], pixels=False)
        with refusing_damage("the DICOMDIR", remedy="copy the medium again"):
            return str(getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID", "")) == _DICOMDIR_CLASS
    except DataError:
        return False


def missing_from_dicomdir(path: Path) -> list[Refusal]:
    """Images that a DICOMDIR lists and that aren't there, or that it places outside its own folder.

    Raises:
        ReadError: The DICOMDIR is damaged.
    """
    dataset = read_dataset(path, tags=None, pixels=False)
    with refusing_damage("the DICOMDIR", remedy="copy the medium again"):
        records = list(dataset.get("DirectoryRecordSequence") or [])
        named = [_parts(record.get("ReferencedFileID")) for record in records]
    listed = [parts for parts in named if parts]
    refusals = []
    for number, parts in enumerate(listed, start=1):
        entry = f"DICOMDIR entry {number} of {len(listed)}"
        if any(part in ("..", ".", "") or "/" in part or "\\" in part or ":" in part for part in parts):
            refusals.append(Refusal(entry, "it leads out of the folder of the DICOMDIR; it is not followed"))
        elif not _is_there(path.parent, parts):
            refusals.append(Refusal(entry, "the file is listed but missing; copy the medium again"))
    return refusals


def _parts(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else [str(part) for part in value]


def _is_there(folder: Path, parts: list[str]) -> bool:
    """Whether the file exists; media copied to a disk often change to small letters."""
    return any(folder.joinpath(*form).is_file() for form in (parts, [part.lower() for part in parts]))


def _unpack(source: Path, folder: Path, progress: Callable[[int, int], None] | None) -> None:
    try:
        with zipfile.ZipFile(source) as archive:
            members = [one for one in archive.infolist() if not one.filename.endswith("/")]
            _require_honest(members, folder)
            for number, member in enumerate(members, start=1):
                _unpack_member(archive, member, folder)
                if progress is not None:
                    progress(number, len(members))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ReadError(
            f"the zip file is damaged or of an unknown kind ({type(error).__name__}); pack it again"
        ) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # A member that begins before the file does; anything else is the disk.
            raise
        raise ReadError("the zip file is damaged: a member lies outside of it; pack it again") from None


def _require_honest(members: list[zipfile.ZipInfo], folder: Path) -> None:
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if len(members) > _MOST_MEMBERS or size > _MOST_BYTES:
        raise ReadError(
            f"the zip file claims more than {_MOST_MEMBERS:,} files or {_MOST_BYTES >> 30:,} GiB; nothing that large "
            "is unpacked. Unpack it yourself and import the folder"
        )
    if size > max(packed, 1) * _MOST_RATIO or (size > SUSPECT_BYTES and size > packed * SUSPECT_RATIO):
        raise ReadError("the zip file would grow as no archive of images does (a zip bomb); nothing was unpacked")
    names = set()
    for number, member in enumerate(members, start=1):
        what = f"member {number} of {len(members)} of the zip file"
        if member.flag_bits & 1:
            raise ReadError(f"{what} is encrypted; unpack it yourself and import the folder")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ReadError(f"{what} is a link; expected files only. Pack it again without links")
        if not _is_inside(member.filename):
            raise ReadError(f"{what} leads out of the archive's own folder; nothing was unpacked")
        names.add(member.filename.lower())
    if len(names) < len(members):
        raise ReadError("two members of the zip file have the same name; pack it again")
    if size > shutil.disk_usage(folder).free:
        raise StorageError(f"unpacking the zip file takes {size / 1e9:.1f} GB, more than the disk has; make room")


def _is_inside(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return (
        bool(parts) and not name.startswith(("/", "\\")) and ".." not in parts and ":" not in name and "\0" not in name
    )


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    path = folder.joinpath(*PurePosixPath(member.filename.replace("\\", "/")).parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    left = member.file_size
    with archive.open(member) as packed, path.open("xb") as stream:
        while chunk := packed.read(min(_CHUNK, left + 1)):
            left -= len(chunk)
            if left < 0:
                raise ReadError("a member of the zip file is larger than it claims (a zip bomb); nothing was imported")
            stream.write(chunk)
