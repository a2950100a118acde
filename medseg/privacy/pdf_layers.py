"""Layers of a PDF: every stream inflated, and the text that its pages draw.

The pixels of pictures are not searched where the file says that they are encoded as in a PNG and their number is right
to the byte: their values are differences of grey values, and as in a PNG nothing that is drawn in them is read.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["pdf_layers"]

_STREAM = re.compile(rb">>\s*stream\r?\n")
_NUMBERS = re.compile(rb"/(Width|Height|Columns|Colors|BitsPerComponent|Predictor) (\d{1,9})\b")
_LONGEST_HEADER = 4000
_STRING = re.compile(rb"\((?:[^()\\]|\\.)*\)|<([0-9A-Fa-f\s]+)>|\b(Td|TD|T\*|Tm|ET)\b", re.DOTALL)
_CHARS = re.compile(rb"beginbfchar(.*?)endbfchar", re.DOTALL)
_CHAR = re.compile(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>")
_RANGES = re.compile(rb"beginbfrange(.*?)endbfrange", re.DOTALL)
_RANGE = re.compile(rb"<([0-9A-Fa-f]+)>\s*<([0-9A-Fa-f]+)>\s*(?:<([0-9A-Fa-f]+)>|\[([^\]]*)\])")
_ESCAPED = re.compile(rb"\\([0-7]{1,3}|.)", re.DOTALL)
_PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def pdf_layers(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Inflated streams as ``stream``, then the drawn text as ``text``, once for each of the file's character maps.

    Raises:
        ValueError: The file is encrypted.
    """
    if re.search(rb"/Encrypt\s+\d+\s+\d+\s+R", data):
        raise ValueError("encrypted")
    pages: list[bytes] = []
    maps: list[_Codes] = []
    for header, body in _streams(data):
        content = _decoded(header, body)
        if content is None or _is_picture(header, content):
            continue
        yield "stream", content
        if b"beginbfchar" in content or b"beginbfrange" in content:
            maps.append(_character_map(content))
        elif b"BT" in content:
            pages.append(content)
    for text in _drawn(pages, maps):
        if text:
            yield "text", text


def _streams(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Header and body of each stream."""
    at = 0
    for match in _STREAM.finditer(data):
        end = data.find(b"endstream", match.end())
        if match.start() < at or end < 0:
            continue
        begin = max(at, match.start() - _LONGEST_HEADER)
        begin = data.find(b"<<", max(begin, data.rfind(b"endobj", begin, match.start())), match.start())
        if begin >= 0:
            yield data[begin : match.start() + 2], data[match.end() : end].removesuffix(b"\n").removesuffix(b"\r")
            at = end


def _decoded(header: bytes, body: bytes) -> bytes | None:
    """A stream without its filters; None where nothing was filtered or the filter isn't one of text."""
    if b"ASCII85Decode" in header:
        with suppress(ValueError):
            body = base64.a85decode(body.strip().removesuffix(b"~>"))
    if b"FlateDecode" in header:
        with suppress(zlib.error):
            return zlib.decompressobj().decompress(body, 1 << 28)
        return None
    return None if re.search(rb"DCTDecode|JPXDecode|CCITTFax|JBIG2", header) else body


def _is_picture(header: bytes, content: bytes) -> bool:
    """Whether a stream is, to the byte, rows of pixels as a PNG has them."""
    told: dict[bytes, set[int]] = {}
    for name, number in _NUMBERS.findall(header):
        told.setdefault(name, set()).add(int(number))
    if b"/Subtype /Image" not in header or len(told) != 6 or any(len(values) > 1 for values in told.values()):
        return False
    width, height, columns, colours, bits, predictor = (
        next(iter(told[name]))
        for name in (b"Width", b"Height", b"Columns", b"Colors", b"BitsPerComponent", b"Predictor")
    )
    row = 1 + (columns * colours * bits + 7) // 8
    as_png = width == columns and predictor >= 10 and len(content) == height * row
    return as_png and max(content[::row], default=255) <= 4


def _character_map(content: bytes) -> _Codes:
    """The ToUnicode map of a font: code to text."""
    found = _Codes()
    for section in _CHARS.findall(content):
        found.update((int(code, 16), _utf16(target)) for code, target in _CHAR.findall(section))
    for section in _RANGES.findall(content):
        for low, high, target, several in _RANGE.findall(section):
            first = int(low, 16)
            codes = range(first, min(int(high, 16), first + 0xFFFF) + 1)
            if several:
                found.update(zip(codes, map(_utf16, re.findall(rb"<([0-9A-Fa-f]+)>", several)), strict=False))
            elif text := _utf16(target):
                found.update((c, text[:-1] + chr(min(ord(text[-1]) + c - first, 0x10FFFF))) for c in codes)
    return found


def _utf16(digits: bytes) -> str:
    return bytes.fromhex(digits.decode().zfill(4)).decode("utf-16-be", "ignore") if len(digits) % 2 == 0 else ""


def _drawn(pages: list[bytes], maps: list[_Codes]) -> Iterator[bytes]:
    """Text of the pages: as bytes, and with each font's map; runs broken up for kerning are put together."""
    runs = [_runs(page) for page in pages]
    yield b"\n".join(b"".join(run) for run in runs)
    for table in maps:
        texts = ["".join(_mapped(part, table) for part in run) for run in runs]
        yield "\n".join(texts).encode("utf-8", "surrogatepass")


def _runs(page: bytes) -> list[bytes]:
    parts = []
    for match in _STRING.finditer(page):
        if match.group(2):
            parts.append(b"\n")
        elif match.group(1):
            digits = re.sub(rb"\s", b"", match.group(1))
            parts.append(bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode()))
        else:
            parts.append(_ESCAPED.sub(_unescaped, match.group()[1:-1]))
    return parts


def _unescaped(match: re.Match[bytes]) -> bytes:
    code = match.group(1)
    return bytes([int(code, 8) & 255]) if code[:1].isdigit() else _PLAIN.get(code, code)


def _mapped(part: bytes, table: _Codes) -> str:
    if part == b"\n":
        return "\n"
    return "".join(map(table.__getitem__, struct.unpack(f">{len(part) // 2}H", part[: len(part) // 2 * 2])))


class _Codes(dict[int, str]):
    """The text of each code of a font; a code without one reads as nothing."""

    def __missing__(self, code: int) -> str:
        return ""
