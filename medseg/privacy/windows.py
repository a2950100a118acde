"""Windows: the last bytes of what is searched for, looked up at every position of a stream at once.

A search for thousands of byte strings is a search for their last 4 or 8 bytes: each window of that width is multiplied
by an odd number, the upper bits of the product are looked up in a bitmap, and only where the bitmap says so is anything
looked at more closely. The bitmap never says no where something stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "OVERLAP", "PIECE", "PLAIN_TEXT", "PRINTABLE", "SHORTEST_PLAIN", "Part", "Runs", "Stretches", "Windows", "pieces",
    "tail_hash",
]  # fmt: skip

PIECE = 1 << 19
"""Bytes that are searched at once: few enough for a processor's cache, through which each piece goes ten times."""
OVERLAP = 4096
"""Bytes that a piece shares with the one before; nothing that is searched for is longer."""
PRINTABLE = bytes(range(32, 127))
_LEAD = 64
_TAIL = 512
_STEP = 1 << 15
_DENSE = 8
"""Where a stretch goes on at one byte of so many, or more, all is searched: picking them out would cost as much."""
_ALL_INSIDE = np.uint64(0x0101010101010101)
_HASH_BITS = 32
_FEWEST_BITS = 12
_MOST_BITS = 24


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what is searched.

    Attributes:
        data: Its bytes.
        lead: How many of its first bytes are only there for what stands behind them.
        tail: How many of its last ones are only there for what stands before them.
    """

    data: bytes
    lead: int
    tail: int

    def starts(self, read: Callable[[bytes], bytes]) -> tuple[bytes, range]:
        """The stream that the part is read as, and where in it may begin what isn't seen in another piece."""
        stream = read(self.data)
        behind = self.data[len(self.data) - self.tail :]
        return stream, range(len(read(self.data[: self.lead])), len(stream) - len(read(behind)))


def pieces(data: bytes) -> Iterator[Part]:
    """The data in pieces of `PIECE` bytes, each but the first begun `OVERLAP` bytes earlier; one piece at least.

    The first piece has no lead, the last one no tail. What begins in there is seen in the piece before or behind,
    together with what stands around it.
    """
    for start in range(0, max(1, len(data)), PIECE):
        piece = data[max(0, start - OVERLAP) : start + PIECE]
        yield Part(
            piece, min(_LEAD, len(piece)) if start else 0, min(_TAIL, len(piece)) if start + PIECE < len(data) else 0
        )


def tail_hash(data: bytes, *, width: int, multiplier: int) -> int:
    """32 bits of hash of the last bytes.

    Args:
        data: At least `width` bytes.
        width: 4 or 8.
        multiplier: An odd number of 64 bits.
    """
    tail = int.from_bytes(data[-width:], "little")
    return (tail * multiplier & (1 << 64) - 1) >> (64 - _HASH_BITS)


class Windows:
    """A set of tails of one width.

    Args:
        hashes: What `tail_hash` says of each.
        width: 4 or 8 bytes.
        multiplier: As for `tail_hash`.
    """

    def __init__(self, hashes: Iterable[int], *, width: int, multiplier: int) -> None:
        self._hashes = frozenset(hashes)
        self._width = width
        self._multiplier = np.uint64(multiplier)
        bits = max(_FEWEST_BITS, min(_MOST_BITS, (128 * len(self._hashes)).bit_length()))
        self._shift = np.uint64(64 - bits)
        self._bitmap = np.zeros(1 << bits, dtype=np.bool_)
        for number in self._hashes:
            self._bitmap[number >> (_HASH_BITS - bits)] = True

    def hits(self, stream: bytes) -> Iterator[tuple[int, int]]:
        """End and hash of every window whose hash is one of the set, in order of position."""
        count = len(stream) - self._width + 1
        if count <= 0 or not self._hashes:
            return
        products = np.empty(min(_STEP, count), np.uint64)
        taken = np.empty(len(products), np.bool_)
        for start in range(0, count, _STEP):
            size = min(_STEP, count - start)
            windows: npt.NDArray[Any] = np.ndarray(
                (size,), dtype=f"<u{self._width}", buffer=stream, offset=start, strides=(1,)
            )
            places = products[:size]
            np.multiply(windows, self._multiplier, out=places)
            places >>= self._shift
            # No index is out of range; "clip" only spares numpy a copy.
            self._bitmap.take(places.view(np.intp), mode="clip", out=taken[:size])
            found = taken[:size].nonzero()[0]
            hashes = windows[found].astype(np.uint64) * self._multiplier >> np.uint64(64 - _HASH_BITS)
            for index, number in zip(found.tolist(), hashes.tolist(), strict=True):
                if number in self._hashes:
                    yield start + index + self._width, number


class Stretches:
    """All of some bytes where a text of one alphabet could stand: in weights and voxels that is little.

    Args:
        alphabet: The bytes that such a text, and what is left out when it is read, consists of.
        shortest: The fewest bytes of a text.
    """

    def __init__(self, alphabet: bytes, *, shortest: int) -> None:
        self._inside = bytes(byte in alphabet for byte in range(256))
        self._shortest = shortest

    def of(self, part: Part) -> Part:
        """Each stretch with one byte on either side, which is of another alphabet, one behind the other."""
        piece = part.data
        full = np.frombuffer(piece.translate(self._inside), np.bool_)
        length = 1
        while length < self._shortest:
            step = min(length, self._shortest - length)
            full = full[:-step] & full[step:]
            length += step
        places = np.flatnonzero(full)
        if len(places) > len(piece) // _DENSE:
            return part
        if not len(places):
            return Part(b"", 0, 0)
        cuts = np.flatnonzero(np.diff(places) >= length + 2)
        start = np.maximum(places[np.append(0, cuts + 1)] - 1, 0)
        stop = np.minimum(places[np.append(cuts, -1)] + length + 1, len(piece))
        before, until = (
            int(np.clip(edge - start, 0, stop - start).sum()) for edge in (part.lead, len(piece) - part.tail)
        )
        data = b"".join(piece[low:high] for low, high in zip(start.tolist(), stop.tolist(), strict=True))
        return Part(data, before, len(data) - until)


SHORTEST_PLAIN = 6
"""Bytes; shorter texts count in binary data only beside more text."""
PLAIN_TEXT = Stretches(b"\0" + PRINTABLE, shortest=SHORTEST_PLAIN)
"""Where printable ASCII can stand, also with zeros between its letters."""


class Runs:
    """Runs of 16 bytes and more of one alphabet: in weights and voxels they are few.

    Args:
        alphabet: The bytes of a class of a regular expression, as ``a-z``.
    """

    def __init__(self, alphabet: bytes) -> None:
        self._run = re.compile(b"[" + alphabet + b"]{16,}")
        self._inside = bytes(bool(self._run.fullmatch(bytes([byte] * 16))) for byte in range(256))

    def find(self, stream: bytes) -> Iterator[re.Match[bytes]]:
        """All runs in order; looked for only around aligned 8 bytes that are all of one, as every run holds such."""
        inside = stream.translate(self._inside)
        full = np.flatnonzero(np.frombuffer(inside, dtype="<u8", count=len(inside) // 8) == _ALL_INSIDE)
        if not len(full):
            return
        last = np.append(np.flatnonzero(np.diff(full) > 8), len(full) - 1)
        first = np.append(0, last[:-1] + 1)
        for low, high in zip(full[first].tolist(), full[last].tolist(), strict=True):
            # A run goes on for less than 8 bytes on either side; a torn run that this cuts off is too short to match.
            yield from self._run.finditer(stream, max(0, 8 * low - 8), 8 * high + 16)
