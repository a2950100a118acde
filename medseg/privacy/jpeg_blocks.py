"""Coefficients: what the blocks of a JPEG hold, read from its entropy-coded data without any loss (ITU T.81).

Baseline, extended and progressive Huffman coding of 8 bits a sample. Progressive scans refine the same coefficients
one after the other, so all of them are read before one can be changed.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from medseg.errors import ReadError
from medseg.types import Array

__all__ = ["Component", "Coefficients", "read_coefficients"]

_SOS, _DQT, _DHT, _DRI = 0xDA, 0xDB, 0xC4, 0xDD
_READ = frozenset((0xC0, 0xC1, 0xC2))
_FRAMES = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_PROGRESSIVE = 0xC2
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_MOST_BLOCKS = 1 << 21
_MOST_SCANS = 100
_DAMAGED = "expected a complete JPEG code stream, found a damaged or cut off one"
_OTHER = "expected a JPEG of 8 bits with Huffman coding, found another"


@dataclass(frozen=True, slots=True)
class Component:
    """One colour of a JPEG.

    Attributes:
        identifier: Its number in the file.
        across: Horizontal sampling factor.
        down: Vertical sampling factor.
        table: Number of its quantisation table.
        blocks: (block row, block column, coefficient), int16, coefficients in zigzag order; whole MCUs.
    """

    identifier: int
    across: int
    down: int
    table: int
    blocks: Array


@dataclass(frozen=True, slots=True)
class Coefficients:
    """A JPEG as its coefficients.

    Attributes:
        rows: Height in pixels.
        columns: Width in pixels.
        components: Its colours.
        kept: Segments to write in front of the frame, with their markers: colour transform, orientation, quantisation.
    """

    rows: int
    columns: int
    components: tuple[Component, ...]
    kept: bytes

    @property
    def unit(self) -> tuple[int, int]:
        """Rows and columns of pixels of an MCU, the smallest part that can be changed by itself."""
        if len(self.components) == 1:
            return 8, 8
        return 8 * max(part.down for part in self.components), 8 * max(part.across for part in self.components)


@dataclass(slots=True)
class _Part:
    """A component while it is read: its place in the buffer, in blocks, and its size in blocks."""

    identifier: int
    across: int
    down: int
    table: int
    start: int
    wide: int
    high: int
    own_wide: int
    own_high: int
    last: int = 0


@dataclass(slots=True)
class _Frame:
    progressive: bool
    rows: int
    columns: int
    parts: dict[int, _Part]
    values: array[int]
    restart: int = 0
    tables: dict[int, list[int]] = field(default_factory=dict)


def read_coefficients(data: bytes) -> Coefficients:
    """Read the coefficients of a clean JPEG, one that `medseg.privacy.images.clean_jpeg` made.

    Raises:
        ReadError: It is damaged, or coded otherwise than 8 bits with Huffman coding.
    """
    frame: _Frame | None = None
    tables: dict[int, list[int]] = {}
    quantisation: dict[int, bytes] = {}
    kept, restart, scans = [], 0, 0
    for marker, body, coded in _segments(data):
        if marker == _SOS:
            scans += 1
            if frame is None or scans > _MOST_SCANS:
                raise ReadError(_DAMAGED)
            frame.restart, frame.tables = restart, tables
            _read_scan(frame, body, coded)
        elif marker == _DHT:
            tables[body[0]] = _lookup(body)
        elif marker == _DQT:
            if quantisation.setdefault(body[0] & 0x0F, body) != body:
                raise ReadError(_OTHER)
        elif marker == _DRI:
            restart = int.from_bytes(body[:2], "big")
        elif marker in _FRAMES:
            frame = _frame(marker, body)
        else:
            kept.append(_segment(marker, body))
    if frame is None or not scans:
        raise ReadError(_DAMAGED)
    kept += [_segment(_DQT, quantisation[number]) for number in sorted(quantisation)]
    return Coefficients(frame.rows, frame.columns, _components(frame), b"".join(kept))


def _components(frame: _Frame) -> tuple[Component, ...]:
    values = np.frombuffer(frame.values, np.int16).reshape(-1, 64)
    made = []
    for part in frame.parts.values():
        own = values[part.start : part.start + part.wide * part.high].reshape(part.high, part.wide, 64)
        made.append(Component(part.identifier, part.across, part.down, part.table, own))
    return tuple(made)


def _segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, body and, after the head of a scan, the entropy-coded data."""
    place = 2
    while data[place : place + 1] == b"\xff" and data[place + 1] != 0xD9:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        body, place = data[place + 4 : place + 2 + length], place + 2 + length
        start = place
        while marker == _SOS:
            place = data.find(b"\xff", place)
            if place < 0 or place + 1 >= len(data):
                raise ReadError(_DAMAGED)
            if data[place + 1] != 0 and not 0xD0 <= data[place + 1] <= 0xD7:
                break
            place += 2
        yield marker, body, data[start:place]


def _frame(marker: int, body: bytes) -> _Frame:
    if marker not in _READ or body[0] != 8:
        raise ReadError(_OTHER)
    rows, columns = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    facts = [(body[6 + 3 * n], body[7 + 3 * n] >> 4, body[7 + 3 * n] & 15, body[8 + 3 * n]) for n in range(body[5])]
    if any(not 1 <= across <= 4 or not 1 <= down <= 4 for _, across, down, _ in facts):
        raise ReadError(_DAMAGED)
    if len(facts) == 1:
        facts = [(facts[0][0], 1, 1, facts[0][3])]
    most_across, most_down = max(fact[1] for fact in facts), max(fact[2] for fact in facts)
    units_wide, units_high = _up(columns, 8 * most_across), _up(rows, 8 * most_down)
    parts, start = {}, 0
    for identifier, across, down, table in facts:
        own_wide, own_high = (
            _up(_up(length * factor, most), 8)
            for length, factor, most in ((columns, across, most_across), (rows, down, most_down))
        )
        wide, high = units_wide * across, units_high * down
        parts[identifier] = _Part(identifier, across, down, table, start, wide, high, own_wide, own_high)
        start += wide * high
    if start > _MOST_BLOCKS or len(parts) != len(facts):
        raise ReadError(_OTHER)
    return _Frame(marker == _PROGRESSIVE, rows, columns, parts, array("h", bytes(128 * start)))


def _up(length: int, by: int) -> int:
    """`length` divided and rounded up."""
    return -(-length // by)


def _lookup(body: bytes) -> list[int]:
    """For each 16 bits that may come: length of the code times 256 plus its symbol; -1 where there is no such code."""
    table = np.full(1 << 16, -1, np.int32)
    code, place = 0, 17
    for length in range(1, 17):
        for symbol in body[place : place + body[length]]:
            if code >> length:
                raise ReadError(_DAMAGED)
            table[code << (16 - length) : (code + 1) << (16 - length)] = length << 8 | symbol
            code += 1
        place += body[length]
        code <<= 1
    entries: list[int] = table.tolist()
    return entries


class _Bits:
    """Reads bits, the first one first; behind the end come a few zeros, then an error."""

    __slots__ = ("_end", "data", "place")

    def __init__(self, coded: bytes) -> None:
        self.data = coded.replace(b"\xff\x00", b"\xff") + bytes(8)
        self._end = 8 * (len(self.data) - 4)
        self.place = 0

    def go_to(self, place: int) -> None:
        """Go on from a bit further on."""
        if place > self._end:
            raise ReadError(_DAMAGED)
        self.place = place

    def symbol(self, table: list[int]) -> int:
        place = self.place
        window = int.from_bytes(self.data[place >> 3 : (place >> 3) + 3], "big")
        entry = table[window >> (8 - (place & 7)) & 0xFFFF]
        self.place = place + (entry >> 8)
        if entry < 0 or self.place > self._end:
            raise ReadError(_DAMAGED)
        return entry & 0xFF

    def bits(self, count: int) -> int:
        place = self.place
        window = int.from_bytes(self.data[place >> 3 : (place >> 3) + 4], "big")
        self.place = place + count
        if self.place > self._end:
            raise ReadError(_DAMAGED)
        return window >> (32 - (place & 7) - count) & ((1 << count) - 1)

    def signed(self, size: int) -> int:
        """A number of `size` bits (T.81 F.2.2.1)."""
        value = self.bits(size)
        return value if value >> (size - 1) else value - (1 << size) + 1


@dataclass(slots=True)
class _Scan:
    """What a scan says: spectral selection, successive approximation, and how many end-of-band blocks are left."""

    first: int
    last: int
    high: int
    low: int
    ended: int = 0


def _read_scan(frame: _Frame, head: bytes, coded: bytes) -> None:
    names = [head[1 + 2 * n] for n in range(head[0])]
    if not names or any(name not in frame.parts for name in names):
        raise ReadError(_DAMAGED)
    scan = _Scan(head[-3], head[-2], head[-1] >> 4, head[-1] & 15)
    if not frame.progressive:
        scan = _Scan(0, 63, 0, 0)
    if scan.first > scan.last or scan.last > 63 or scan.low > 13 or (scan.first and len(names) > 1):
        raise ReadError(_DAMAGED)
    parts = [(frame.parts[name], head[2 + 2 * n] >> 4, 0x10 | head[2 + 2 * n] & 15) for n, name in enumerate(names)]
    pieces = iter(_RESTART.split(coded))
    bits = _Bits(next(pieces))
    for count, unit in enumerate(_units(parts)):
        if frame.restart and count and count % frame.restart == 0:
            bits, scan.ended = _Bits(next(pieces, b"")), 0
            for part in frame.parts.values():
                part.last = 0
        for part, offset, dc, ac in unit:
            _read_block(frame, part, offset, (dc, ac), scan, bits)
    for part in frame.parts.values():
        part.last = 0


def _units(parts: list[tuple[_Part, int, int]]) -> Iterator[list[tuple[_Part, int, int, int]]]:
    """The blocks of each MCU of a scan, by their first coefficient's place in the buffer."""
    if len(parts) == 1:
        part, dc, ac = parts[0]
        for row in range(part.own_high):
            for column in range(part.own_wide):
                yield [(part, 64 * (part.start + row * part.wide + column), dc, ac)]
        return
    first = parts[0][0]
    for row in range(first.high // first.down):
        for column in range(first.wide // first.across):
            yield [
                (part, 64 * (part.start + (row * part.down + y) * part.wide + column * part.across + x), dc, ac)
                for part, dc, ac in parts
                for y in range(part.down)
                for x in range(part.across)
            ]


def _read_block(frame: _Frame, part: _Part, offset: int, tables: tuple[int, int], scan: _Scan, bits: _Bits) -> None:
    try:
        if scan.first == 0:
            if scan.high:
                frame.values[offset] |= bits.bits(1) << scan.low
            else:
                size = bits.symbol(frame.tables[tables[0]])
                part.last += bits.signed(size) if size else 0
                frame.values[offset] = part.last << scan.low
        if not frame.progressive:
            _sequential(frame.values, offset, frame.tables[tables[1]], bits)
        elif scan.first and scan.high:
            _refine(frame.values, offset, frame.tables[tables[1]], scan, bits)
        elif scan.first:
            _first_pass(frame.values, offset, frame.tables[tables[1]], scan, bits)
    except (KeyError, IndexError, OverflowError):
        raise ReadError(_DAMAGED) from None


def _sequential(values: array[int], offset: int, table: list[int], bits: _Bits) -> None:
    """The coefficients after the first one of a block (T.81 F.2.2.2); written out, as most of the time goes here."""
    data, at, place = bits.data, bits.place, 1
    while place < 64:
        window = int.from_bytes(data[at >> 3 : (at >> 3) + 5], "big")
        left = 40 - (at & 7)
        entry = table[window >> (left - 16) & 0xFFFF]
        at += entry >> 8
        if size := entry & 15:
            place += entry >> 4 & 15
            value = window >> (left - (entry >> 8) - size) & ((1 << size) - 1)
            at += size
            if place > 63 or entry < 0:
                raise ReadError(_DAMAGED)
            values[offset + place] = value if value >> (size - 1) else value - (1 << size) + 1
            place += 1
        elif entry & 0xFF == 0xF0:
            place += 16
        else:
            break
    bits.go_to(at)


def _first_pass(values: array[int], offset: int, table: list[int], scan: _Scan, bits: _Bits) -> None:
    """The first bits of some coefficients of a block (T.81 G.1.2.2)."""
    if scan.ended:
        scan.ended -= 1
        return
    place = scan.first
    while place <= scan.last:
        symbol = bits.symbol(table)
        run, size = symbol >> 4, symbol & 15
        if size:
            place += run
            if place > 63:
                raise ReadError(_DAMAGED)
            values[offset + place] = bits.signed(size) << scan.low
            place += 1
        elif run == 15:
            place += 16
        else:
            scan.ended = (1 << run) + (bits.bits(run) if run else 0) - 1
            return


def _refine(values: array[int], offset: int, table: list[int], scan: _Scan, bits: _Bits) -> None:
    """One more bit of some coefficients of a block (T.81 G.1.2.3)."""
    place = scan.first
    while place <= scan.last and not scan.ended:
        symbol = bits.symbol(table)
        run, new = symbol >> 4, 0
        if symbol & 15:
            new = 1 << scan.low if bits.bits(1) else -(1 << scan.low)
        elif run < 15:
            scan.ended = (1 << run) + (bits.bits(run) if run else 0)
            break
        place = _correct(values, offset, place, run, scan, bits)
        if new and place <= scan.last:
            values[offset + place] = new
        place += 1
    if scan.ended:
        _correct(values, offset, place, 64, scan, bits)
        scan.ended -= 1


def _correct(values: array[int], offset: int, place: int, run: int, scan: _Scan, bits: _Bits) -> int:
    """Refine the coefficients that have bits already until `run` others were passed; where the next other one is."""
    step = 1 << scan.low
    while place <= scan.last:
        value = values[offset + place]
        if value == 0:
            if run == 0:
                break
            run -= 1
        elif bits.bits(1) and not abs(value) & step:
            values[offset + place] = value + (step if value > 0 else -step)
        place += 1
    return place
