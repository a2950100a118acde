"""Voxels: the numbers of a volume as its file holds them, unpacked, and nothing beside them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from medseg.errors import ReadError
from medseg.privacy.limits import longest_plausible, require_plausible
from medseg.privacy.unfold import DAMAGED, bunzip, gunzip

__all__ = ["NRRD_TEXTS", "Body", "nrrd_type", "nrrd_voxels", "numbers_of_text", "without_payload"]

NRRD_TEXTS = ("ascii", "text", "txt", "hex")
"""Encodings of NRRD that write voxels as text."""
_NRRD_TYPES = {
    "signed char": "i1", "int8": "i1", "int8_t": "i1", "char": "i1", "uchar": "u1", "unsigned char": "u1",
    "uint8": "u1", "uint8_t": "u1", "short": "i2", "short int": "i2", "signed short": "i2", "signed short int": "i2",
    "int16": "i2", "int16_t": "i2", "ushort": "u2", "unsigned short": "u2", "unsigned short int": "u2", "uint16": "u2",
    "uint16_t": "u2", "int": "i4", "signed int": "i4", "int32": "i4", "int32_t": "i4", "uint": "u4",
    "unsigned int": "u4", "uint32": "u4", "uint32_t": "u4", "longlong": "i8", "long long": "i8", "long long int": "i8",
    "signed long long": "i8", "signed long long int": "i8", "int64": "i8", "int64_t": "i8", "ulonglong": "u8",
    "unsigned long long": "u8", "unsigned long long int": "u8", "uint64": "u8", "uint64_t": "u8", "float": "f4",
    "double": "f8",
}  # fmt: skip


@dataclass(frozen=True)
class Body:
    """Where a file keeps its voxels.

    Attributes:
        start: The byte at which they, or the stream that packs them, begin.
        length: Bytes that they have unpacked.
        packing: ``raw``, ``gzip``, ``bzip2`` or ``zlib``.
    """

    start: int
    length: int
    packing: str


def nrrd_type(name: str) -> np.dtype[np.generic]:
    """The type of one sample, by the name that NRRD gives it.

    Raises:
        ReadError: It is no number's.
    """
    kind = _NRRD_TYPES.get(" ".join(name.split()))
    if kind is None:
        raise ReadError("expected a numeric NRRD type, found another")
    return np.dtype(kind)


def nrrd_voxels(body: bytes, encoding: str, kind: DTypeLike, count: int, skipped: Mapping[str, int]) -> bytes:
    """The voxels of an NRRD file, unpacked; numbers written as text as little-endian ones, hex in the file's order.

    Args:
        body: What follows the header.
        encoding: ``raw``, ``gzip``, ``bzip2``, ``ascii``, ``hex`` or another name of one of them.
        kind: Type of one sample.
        count: How many samples there are.
        skipped: How much to leave out in front: ``line``, lines of the body; ``byte``, bytes of the unpacked voxels, -1
            for all but the last that are needed.

    Raises:
        ReadError: They can't be unpacked.
    """
    body = _without_lines(body, skipped.get("line", 0))
    if encoding == "hex":
        digits = re.sub(rb"\s+", b"", body)[: 2 * count * np.dtype(kind).itemsize]
        if not re.fullmatch(rb"(?:[0-9a-fA-F]{2})*", digits):
            raise ReadError(DAMAGED)
        return bytes.fromhex(digits.decode("ascii"))
    if encoding in NRRD_TEXTS:
        return numbers_of_text(body[max(0, skipped.get("byte", 0)) :], kind, count)
    skip, length = skipped.get("byte", 0), count * np.dtype(kind).itemsize
    most = skip + length if skip >= 0 else longest_plausible(len(body))
    voxels = _unpacked(body, encoding, most=most)
    if skip >= 0:
        return voxels[skip:]
    require_plausible(len(voxels) + 1, len(body))
    return voxels[max(0, len(voxels) - length) :]


def _unpacked(body: bytes, encoding: str, *, most: int) -> bytes:
    """The first bytes of a body's voxels."""
    if encoding in ("gzip", "gz"):
        return gunzip(body, most=most)
    return bunzip(body, most=most) if encoding in ("bzip2", "bz2") else body


def _without_lines(body: bytes, count: int) -> bytes:
    """The body behind so many lines; nothing where it has fewer."""
    place = 0
    for _ in range(count):
        place = body.find(b"\n", place) + 1
        if not place:
            return b""
    return body[place:]


def numbers_of_text(text: bytes, kind: DTypeLike, count: int) -> bytes:
    """The first numbers of a text, as little-endian binary ones.

    Args:
        text: Numbers with white space or commas between them.
        kind: Their type.
        count: How many are wanted.

    Raises:
        ReadError: There are fewer, or something else is among them.
    """
    words = text.replace(b",", b" ").split(None, count)[:count]
    dtype = np.dtype(kind)
    try:
        made = (
            np.array([float(word) for word in words]) if dtype.kind == "f" else np.array([int(w) for w in words], "O")
        )
        numbers = made.astype(dtype.newbyteorder("<"))
    except (ValueError, OverflowError):
        raise ReadError(DAMAGED) from None
    if len(words) != count:
        raise ReadError(DAMAGED)
    return numbers.tobytes()


def without_payload(voxels: bytes, kind: DTypeLike) -> bytes:
    """The same voxels, each that is no number written in one way: the spare bits of such a float may hold a text.

    Args:
        voxels: The voxels' bytes.
        kind: Their type, with its byte order.
    """
    dtype = np.dtype(kind)
    if dtype.kind not in "fc":
        return voxels
    part = np.dtype(f"{dtype.byteorder}f{dtype.itemsize // (2 if dtype.kind == 'c' else 1)}")
    values = np.frombuffer(voxels[: len(voxels) // part.itemsize * part.itemsize], part)
    odd = np.isnan(values)
    if not odd.any():
        return voxels
    made = values.copy()
    made[odd] = np.nan
    return made.tobytes() + voxels[len(made) * part.itemsize :]
