"""Unfolding: gzip, zlib and bzip2 streams of voxels, unpacked step by step and no further than an image can be long."""

from __future__ import annotations

import bz2
import zlib
from typing import Final

from medseg.errors import ReadError
from medseg.privacy.limits import require_plausible

__all__ = ["DAMAGED", "bunzip", "gunzip", "gunzip_start", "inflated"]

_STEP: Final = 1 << 16
"""Packed bytes that are fed at once."""
_LARGEST_STEP: Final = 1 << 24
"""Bytes that are unpacked at once."""
DAMAGED: Final = "expected a complete volume, found a damaged or cut off one"


def gunzip(data: bytes, *, most: int) -> bytes:
    """The members of a gzip file; their names and comments, and what follows the last whole one of them, are gone.

    Args:
        data: The file.
        most: Bytes that are wanted; what follows them is unpacked, as the checksums ask for, and not kept.

    Raises:
        ReadError: The first member is damaged or cut off, or the file grows as no image does.
    """
    require_plausible(most, len(data))
    made: list[bytes] = []
    place = count = total = 0
    while data[place : place + 2] == b"\x1f\x8b":
        member, size, end = _member(data, place, most=most - count, before=total)
        if not end:
            break
        made.append(member)
        count, total, place = count + len(member), total + size, end
    if not made:
        raise ReadError(DAMAGED)
    return made[0] if len(made) == 1 else b"".join(made)


def _member(data: bytes, place: int, *, most: int, before: int) -> tuple[bytes, int, int]:
    """The first bytes of a gzip member, how many it holds, and where it ends; 0 where it isn't whole.

    It is fed in steps, as a file may have many members, and what stands before it counts where it grows too long.
    """
    unpacker = zlib.decompressobj(wbits=31)
    kept: list[bytes] = []
    size, packed, part = 0, b"", b""
    try:
        # A full step may have left more inside, though all that was fed is consumed.
        while not unpacker.eof and (packed or place < len(data) or len(part) == _LARGEST_STEP):
            if not packed:
                packed = data[place : place + _STEP]
                place += len(packed)
            part = unpacker.decompress(packed, _LARGEST_STEP)
            packed = unpacker.unconsumed_tail
            if size < most:
                kept.append(part[: most - size])
            size += len(part)
            require_plausible(before + size, len(data))
    except zlib.error:
        return b"", size, 0
    return b"".join(kept), size, place - len(unpacker.unused_data) if unpacker.eof else 0


def gunzip_start(data: bytes, count: int) -> bytes:
    """The first bytes of what a gzip file holds; fewer where it is shorter, or damaged in front of them."""
    try:
        return zlib.decompressobj(wbits=31).decompress(data, count)
    except zlib.error:
        return b""


def inflated(data: bytes, *, most: int) -> bytes:
    """The first bytes of what a zlib stream holds; what follows it is gone.

    Args:
        data: The stream.
        most: Bytes that are wanted.

    Raises:
        ReadError: It is damaged, or grows as no image does.
    """
    require_plausible(most, len(data))
    try:
        return zlib.decompressobj().decompress(data, max(most, 1))
    except zlib.error:
        raise ReadError(DAMAGED) from None


def bunzip(data: bytes, *, most: int) -> bytes:
    """As `inflated`, of a bzip2 stream."""
    require_plausible(most, len(data))
    try:
        return bz2.BZ2Decompressor().decompress(data, max(most, 1))
    except (OSError, ValueError):
        raise ReadError(DAMAGED) from None
