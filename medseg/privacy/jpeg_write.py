"""JPEG writing: coefficients as a baseline file, with the Huffman tables of ITU T.81 annex K.

Nothing is computed anew: each coefficient that is given is in the file, so that no generation is lost.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from medseg.errors import ReadError
from medseg.privacy.jpeg_blocks import Coefficients
from medseg.types import Array

__all__ = ["standard_symbols", "write_coefficients"]

_DC_COUNTS = "00010501010101010100000000000000", "00030101010101010101010000000000"
_DC_SYMBOLS = bytes(range(12))
_AC_COUNTS = "0002010303020403050504040000017d", "00020102040403040705040400010277"
_AC_SYMBOLS = (
    "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a343536373839"
    "3a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7"
    "a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa",
    "000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718191a262728292a35363738"
    "393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5"
    "a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa",
)
_LARGEST_DC, _LARGEST_AC = 11, 10
"""Bits of a difference and of a coefficient, for which the tables have codes."""
_CHUNK = 1 << 18
_STEPS = 1024
"""More than the symbols that one block can have in order."""


def write_coefficients(picture: Coefficients) -> bytes:
    """A baseline JPEG file of these coefficients.

    Raises:
        ReadError: A coefficient is larger than 8 bits a sample can give, or an MCU has more than 10 blocks.
    """
    parts = picture.components
    if len(parts) > 1 and sum(part.across * part.down for part in parts) > 10:
        raise ReadError("expected at most 10 blocks in an MCU, found more")
    blocks, colours = _in_order(picture)
    frame = bytes((8,)) + picture.rows.to_bytes(2, "big") + picture.columns.to_bytes(2, "big") + bytes((len(parts),))
    scan = bytes((len(parts),))
    for number, part in enumerate(parts):
        frame += bytes((part.identifier, part.across << 4 | part.down, part.table))
        scan += bytes((part.identifier, 0x11 if number else 0))
    tables = b"".join(_segment(0xC4, _table(kind, which)) for which in range(min(2, len(parts))) for kind in (0, 1))
    marker = 0xC1 if b"\xff\xdb\x00\x83" in picture.kept else 0xC0
    head = b"\xff\xd8" + picture.kept + _segment(marker, frame) + tables + _segment(0xDA, scan + b"\x00\x3f\x00")
    return head + _entropy_coded(blocks, colours) + b"\xff\xd9"


def _in_order(picture: Coefficients) -> tuple[Array, Array]:
    """All blocks as a scan has them, (block, coefficient), their first coefficient as a difference; whose each is."""
    ordered, colours = [], []
    for number, part in enumerate(picture.components):
        high, wide = part.blocks.shape[:2]
        if len(picture.components) == 1:
            high, wide = -(-picture.rows // 8), -(-picture.columns // 8)
        units = part.blocks[:high, :wide].reshape(high // part.down, part.down, wide // part.across, part.across, 64)
        own = units.transpose(0, 2, 1, 3, 4).reshape(-1, 64).astype(np.int32)
        own[1:, 0] = np.diff(own[:, 0])
        each = part.down * part.across
        ordered.append(own.reshape(-1, each, 64))
        colours.append(np.full((len(own) // each, each), min(number, 1), np.uint8))
    return np.concatenate(ordered, axis=1).reshape(-1, 64), np.concatenate(colours, axis=1).reshape(-1)


def _entropy_coded(blocks: Array, colours: Array) -> bytes:
    """The blocks in Huffman codes, with a zero byte after each 0xFF."""
    values, lengths = _codes(blocks, colours)
    bits = []
    for start in range(0, len(values), _CHUNK):
        value, length = values[start : start + _CHUNK], lengths[start : start + _CHUNK]
        ends = np.cumsum(length)
        back = np.repeat(ends, length) - 1 - np.arange(ends[-1])
        bits.append((np.repeat(value, length) >> back & 1).astype(np.uint8))
    bits.append(np.ones(-int(lengths.sum()) % 8, np.uint8))
    return np.packbits(np.concatenate(bits)).tobytes().replace(b"\xff", b"\xff\x00")


def _codes(blocks: Array, colours: Array) -> tuple[Array, Array]:
    """Each code with its further bits, as number and length, in their order."""
    every = np.arange(len(blocks))
    size = _size(blocks[:, 0], _LARGEST_DC)
    made = [(every * _STEPS, *_with_bits(0, colours, size, blocks[:, 0], size))]
    block, place = np.nonzero(blocks[:, 1:])
    place = place + 1
    value = blocks[block, place]
    before = np.where(np.diff(block, prepend=-1) == 0, np.roll(place, 1), 0)
    run = place - before - 1
    size = _size(value, _LARGEST_AC)
    key = block * _STEPS + place * 8
    made.append((key + 7, *_with_bits(1, colours[block], run % 16 << 4 | size, value, size)))
    long = np.repeat(np.arange(len(run)), run // 16)
    nothing = np.zeros(len(long), np.int64)
    made.append((key[long], *_with_bits(1, colours[block[long]], nothing + 0xF0, nothing, nothing)))
    ended = every[blocks[:, 63] == 0]
    nothing = np.zeros(len(ended), np.int64)
    made.append((ended * _STEPS + _STEPS - 1, *_with_bits(1, colours[ended], nothing, nothing, nothing)))
    keys, values, lengths = (np.concatenate(parts) for parts in zip(*made, strict=True))
    order = np.argsort(keys, kind="stable")
    return values[order], lengths[order]


def _size(values: Array, largest: int) -> Array:
    """How many bits each value has."""
    sizes = np.frexp(np.abs(values).astype(np.float64))[1].astype(np.int64)
    if sizes.max(initial=0) > largest:
        raise ReadError("expected coefficients of 8 bits a sample, found larger ones")
    return sizes


def _with_bits(kind: int, colours: Array, symbols: Array, values: Array, sizes: Array) -> tuple[Array, Array]:
    """Symbols as Huffman codes with the bits of their values behind (T.81 F.1.2)."""
    codes, lengths = _code_table(kind)
    bits = np.where(values < 0, values + (1 << sizes) - 1, values)
    return codes[colours, symbols] << sizes | bits, lengths[colours, symbols] + sizes


@lru_cache(maxsize=2)
def _code_table(kind: int) -> tuple[Array, Array]:
    """Code and its length of each symbol, (luminance or chrominance, symbol)."""
    codes, lengths = np.zeros((2, 256), np.int64), np.zeros((2, 256), np.int64)
    for which in (0, 1):
        table = _table(kind, which)
        code, place = 0, 17
        for length in range(1, 17):
            for symbol in table[place : place + table[length]]:
                codes[which, symbol], lengths[which, symbol] = code, length
                code += 1
            place += table[length]
            code <<= 1
    return codes, lengths


def _table(kind: int, which: int) -> bytes:
    """A Huffman table as a segment holds it."""
    counts = bytes.fromhex((_AC_COUNTS if kind else _DC_COUNTS)[which])
    symbols = bytes.fromhex(_AC_SYMBOLS[which]) if kind else _DC_SYMBOLS
    return bytes((kind << 4 | which,)) + counts + symbols


@lru_cache(maxsize=1)
def standard_symbols() -> frozenset[bytes]:
    """Symbols of each Huffman table that most programs write (T.81 K.3)."""
    return frozenset(_table(kind, which)[17:] for kind in (0, 1) for which in (0, 1))


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body
