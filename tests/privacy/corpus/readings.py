"""Readings: the ways in which a program or a person could read a name out of bytes, and a search through them all."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
import urllib.parse
import zlib
from collections.abc import Iterator

import numpy as np

_CP037 = bytes(ord(bytes([byte]).decode("cp037")) & 0xFF for byte in range(256))
_LETTERS = re.compile(rb"[a-z]{8,}")
_TOLD = re.compile(rb"[a-z]?\d{6,}(?:\.\d+)*|\d+(?:\.\d+){3,}")
_RUN = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){6,}")
_PACKED = re.compile(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]")


def readings(data: bytes) -> Iterator[bytes]:
    """`data` as it is, in wide letters, backwards, turned by 13, in EBCDIC, without signs, decoded, unpacked."""
    yield data
    narrow = data.replace(b"\0", b"")
    yield narrow
    yield narrow[::-1]
    yield np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
    yield codecs.encode(data.decode("latin-1"), "rot13").encode("latin-1")
    yield data.translate(_CP037)
    yield re.sub(rb"[^A-Za-z0-9]", b"", data)
    yield urllib.parse.unquote_to_bytes(data)
    for run in _RUN.findall(data):
        plain = run.translate(bytes.maketrans(b"-_", b"+/"))
        for start in range(4):
            whole = plain[start : start + (len(plain) - start) // 4 * 4]
            yield base64.b64decode(whole)
    for run in _HEX.findall(data):
        yield binascii.unhexlify(run)
    for match in _PACKED.finditer(data):
        try:
            yield zlib.decompressobj(47).decompress(data[match.start() :], 100_000)
        except zlib.error:
            continue
    if not data.isascii():
        for encoding in ("utf-8", "gb18030", "iso2022_jp", "euc_kr", "shift_jis", "latin-1", "utf-16-le"):
            text = data.decode(encoding, "ignore")
            yield text.encode("utf-8", "ignore")
            plain = unicodedata.normalize("NFKD", text)
            yield "".join(c for c in plain if not unicodedata.combining(c)).encode("utf-8", "ignore")


def found(data: bytes, identities: list[str]) -> set[str]:
    """Those of `identities` (names of eight letters, numbers, dates and UIDs) that a reading of `data` gives away."""
    names = {each.lower().encode() for each in identities}
    given: set[bytes] = set()
    for reading in readings(data):
        low = reading.lower()
        for run in _LETTERS.findall(low):
            given |= {run[place : place + 8] for place in range(len(run) - 7)} & names
        given |= set(_TOLD.findall(low)) & names
    others = [name for name in names if not name.isascii()]
    return {name.decode() for name in (*given, *(other for other in others if other in data))}
