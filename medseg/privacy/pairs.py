"""Pairs: volumes whose voxels lie in other files than their header (.hdr and .img, .nhdr, .mhd), made one file."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Sequence
from typing import Final

from medseg.errors import ReadError

__all__ = ["JOINED", "MOST_HEADER_BYTES", "data_files", "joined"]

JOINED: Final = {".hdr": ".nii", ".nhdr": ".nrrd", ".mhd": ".mha"}
"""Suffix of the one file that a header and its voxels become, by the header's."""
MOST_HEADER_BYTES: Final = 1 << 20
_MOST_FILES = 4096
_NO_PAIR = "a header whose voxels are in another file that isn't beside it"
_ANALYZE = "an Analyze header: it doesn't say which way the image lies; save it as .nii.gz"
_NRRD_FILE = re.compile(rb"(?im)^data ?file:[ \t]*([^\r\n]+)\r?\n?")
_META_FILE = re.compile(rb"(?m)^ElementDataFile[ \t]*=[ \t]*([^\r\n]+)\r?\n?")
_META_SKIP = re.compile(rb"(?m)^HeaderSize[ \t]*=[ \t]*(-?\d{1,9})[ \t]*\r?\n?")


def data_files(name: str, header: bytes, names: Collection[str]) -> tuple[str, ...]:
    """Names of the files that hold a header's voxels, in their order.

    Args:
        name: The header's name in the source.
        header: Its bytes.
        names: All names of the source.

    Raises:
        ReadError: One of them isn't beside the header.
    """
    folder = name[: name.rfind("/") + 1]
    suffix = name[name.rfind(".") :].lower()
    if suffix == ".hdr":
        given = [name[: -len(suffix)].rsplit("/", 1)[-1] + other for other in (".img", ".IMG")]
        found = [folder + other for other in given if folder + other in names][:1]
    else:
        match = (_NRRD_FILE if suffix == ".nhdr" else _META_FILE).search(header)
        given = [match.group(1).decode("utf-8", "surrogateescape").strip()] if match else []
        if match and re.fullmatch(r"LIST(?: \d+)?", given[0]):
            given = [line.strip() for line in header[match.end() :].decode("utf-8", "surrogateescape").splitlines()]
            given = [line for line in given if line]
        found = [folder + other.replace("\\", "/").rsplit("/", 1)[-1] for other in given]
    if not found or len(found) > _MOST_FILES or not all(other in names and other != name for other in found):
        raise ReadError(_NO_PAIR)
    return tuple(found)


def joined(name: str, header: bytes, parts: Sequence[bytes]) -> bytes:
    """Header and voxels as one file of the same format.

    Args:
        name: The header's name.
        header: Its bytes.
        parts: Bytes of the files of its voxels.

    Raises:
        ReadError: They don't fit together.
    """
    suffix = name[name.rfind(".") :].lower()
    if suffix == ".hdr":
        return _nifti(header, b"".join(parts))
    if suffix == ".nhdr":
        if len(parts) > 1 and not re.search(rb"(?im)^encoding:[ \t]*raw[ \t]*\r?$", header):
            raise ReadError("expected raw voxels in the files of a list, found others")
        match = _NRRD_FILE.search(header)
        end = match.start() if match else len(header)
        rest = header[match.end() :] if match and not match.group(1).startswith(b"LIST") else b""
        lines = [line for line in (header[:end] + b"\n" + rest).splitlines() if line.strip()]
        return b"\n".join(lines) + b"\n\n" + b"".join(parts)
    match = _META_FILE.search(header)
    head = header[: match.start()] if match else header
    skip = _META_SKIP.search(head)
    size = int(skip.group(1)) if skip else 0
    if size < 0 or (size and len(parts) > 1):
        raise ReadError("expected a MetaImage header that says where its voxels begin, found another")
    return _META_SKIP.sub(b"", head).rstrip() + b"\nElementDataFile = LOCAL\n" + b"".join(parts)[size:]


def _nifti(header: bytes, voxels: bytes) -> bytes:
    """A .nii file; the offset of a pair counts in the file of its voxels."""
    order = next((o for o in "<>" if struct.unpack_from(o + "i", header.ljust(4, b"\0"))[0] in (348, 540)), "")
    first = len(header) >= 348 and header[344:348] == b"ni1\0"
    if not order or not (first or (len(header) >= 540 and header[4:8] == b"ni2\0")):
        raise ReadError(_ANALYZE)
    made = bytearray(header[:348] if first else header[:540])
    place, kind, start = (108, "f", 352) if first else (168, "q", 544)
    offset = int(struct.unpack_from(order + kind, made, place)[0])
    if not 0 <= offset <= len(voxels):
        raise ReadError("expected a complete volume, found a damaged or cut off one")
    struct.pack_into(order + kind, made, place, start)
    made[(344 if first else 4) : (348 if first else 8)] = b"n+1\0" if first else b"n+2\0"
    return bytes(made) + b"\0\0\0\0" + voxels[offset:]
