"""Pixel letters: names and numbers of the patient that stand among pixels as letter codes, one a pixel or one a byte.

Old consoles write who was imaged into the first or last rows. Nobody sees it, and no text detector reads it; a search
of the file does. Only what the header names is found: 75 is a K, and also a grey.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from medseg.types import Array

__all__ = ["without_letters"]

_SHORTEST = 6
_FEWEST_SIGNS = 3
"""Of 111111 flat grey is made, too."""
_EDGE_ROWS = 4
_FIRST, _SIGNS = 0x20, 95
_LONGEST_LINE = 80
"""Letters to each side of an identity that go with it: what else the line says."""
_BY_CHANCE = 0.01
"""Times that an identity may be expected among the pixels as chance mixes them; if more, it alone goes: in dark noise
all greys are digits, and there is no line."""


def without_letters(
    data: bytes, shape: tuple[int, int, int], *, bits: int, identities: Iterable[str], everywhere: bool
) -> bytes | None:
    """Uncompressed pixel data in which letters of the patient's are made 0.

    Args:
        data: Little endian, of at least `shape` values.
        shape: Frames, rows, values of a row (columns times samples).
        bits: Of a value, 8 or 16; others hold no letters that are looked for.
        identities: Texts of the file that identify; those shorter than six letters are passed over.
        everywhere: Search all rows, else the first and the last four of each frame.

    Returns:
        The new data without the identities and, where chance can't have written these, without their lines; None when
        there are none.
    """
    frames, rows, width = shape
    if bits not in (8, 16) or len(data) < frames * rows * width * bits // 8:
        return None
    values = np.frombuffer(data, "u1" if bits == 8 else "<u2", frames * rows * width).reshape(shape)
    needles: list[bytes] | None = None
    clean: Array | None = None
    for place, part in _parts(values, everywhere=everywhere):
        plain = (part - part.dtype.type(_FIRST)) < _SIGNS
        if not _has_run(plain):
            continue
        needles = _needles(identities) if needles is None else needles
        letters = np.where(plain, part, 0).astype(np.uint8).tobytes().lower()
        for first, last in _found(letters, needles, plain):
            clean = values.copy().reshape(-1) if clean is None else clean
            clean[place + first : place + last] = 0
    return None if clean is None else clean.tobytes() + data[clean.nbytes :]


def _parts(values: Array, *, everywhere: bool) -> Iterator[tuple[int, Array]]:
    """The parts that are searched: number of their first value, and their values."""
    _, rows, width = values.shape
    tops = (0,) if everywhere or rows <= 2 * _EDGE_ROWS else (0, rows - _EDGE_ROWS)
    for number, frame in enumerate(values):
        for top in tops:
            part = frame if len(tops) == 1 else frame[top : top + _EDGE_ROWS]
            yield (number * rows + top) * width, part.reshape(-1)


def _has_run(plain: Array) -> bool:
    """Whether as many letters stand side by side as the shortest identity has."""
    run = plain[: 1 - _SHORTEST]
    for shift in range(1, _SHORTEST):
        run = run & plain[shift : len(plain) - _SHORTEST + 1 + shift]
        if not run.any():
            return False
    return True


def _needles(identities: Iterable[str]) -> list[bytes]:
    found = {text.strip().lower().encode("utf-8", "ignore") for text in identities}
    return [text for text in found if len(text) >= _SHORTEST and len(set(text)) >= _FEWEST_SIGNS]


def _found(letters: bytes, needles: list[bytes], plain: Array) -> Iterator[tuple[int, int]]:
    """Where lines of letters with an identity in them begin and end."""
    for needle in needles:
        place = letters.find(needle)
        room = 0 if place < 0 or _expected(needle, letters) > _BY_CHANCE else _LONGEST_LINE
        while place >= 0:
            first, last = place, place + len(needle)
            while first > max(0, place - room) and plain[first - 1]:
                first -= 1
            while last < min(len(plain), place + len(needle) + room) and plain[last]:
                last += 1
            yield first, last
            place = letters.find(needle, last)


def _expected(needle: bytes, letters: bytes) -> float:
    """How often a text stands among letters, on average, when these are mixed at random."""
    shares = np.bincount(np.frombuffer(letters, np.uint8), minlength=256) / len(letters)
    return float(len(letters) * np.prod(shares[np.frombuffer(needle, np.uint8)]))
