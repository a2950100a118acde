"""Codings: the other ways to read a text: base64, hexadecimal, percent signs, escapes of texts, mails and markup."""

from __future__ import annotations

import base64
import binascii
import html
import quopri
import re
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress

from medseg.privacy.windows import Runs

__all__ = ["decoded_runs", "readings"]

_RUNS = Runs(rb"A-Za-z0-9+/_\-")
_HEX = re.compile(rb"(?:0x)?((?:[0-9A-Fa-f]{2}){8,})")
_PERCENT = re.compile(rb"%[0-9A-Fa-f]{2}")
_QUOTED = re.compile(rb"=(?:[C-F][0-9A-F]=[89AB][0-9A-F]|\r?\n)")
"""A letter of UTF-8, or a broken line: single codes stand by chance in the run lengths of COCO."""
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")
_TAG = re.compile(rb"<[^<>]{0,4000}>")
_ESCAPE = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|([0-7]{3}))")


def readings(data: bytes) -> Iterator[tuple[str, bytes]]:
    """A text with its percent signs, escapes, entities or codes of a mail resolved, or its markup taken away."""
    text = data.translate(None, _wide(data))
    if _PERCENT.search(text):
        yield "percent", urllib.parse.unquote_to_bytes(text)
    if _QUOTED.search(text):
        yield "quoted", quopri.decodestring(text)
    if b"\\" in text and _ESCAPE.search(text):
        yield "escapes", _ESCAPE.sub(_unescaped, text)
    if b"&" in text or b"<" in text:
        plain = html.unescape(_TAG.sub(b"", text).decode("utf-8", "replace"))
        spaced = html.unescape(_TAG.sub(b" ", text).decode("utf-8", "replace"))
        yield "markup", f"{plain}\n{spaced}".encode("utf-8", "surrogatepass")


def decoded_runs(data: bytes) -> Iterator[bytes]:
    """What runs of base64 (also in lines, also for URLs) and of hexadecimal digits stand for."""
    lines = b""
    end = -9
    for match in _RUNS.find(data.translate(None, _wide(data))):
        run = match.group()
        if lines and match.string[end : match.start()] in (b"\n", b"\r\n"):
            lines += run
        else:
            yield from _base64(lines)
            lines = run
        end = match.end()
        if digits := _HEX.fullmatch(run):
            yield binascii.unhexlify(digits.group(1))
        if len(run) < 40 or len(lines) > len(run):
            yield from _base64(run)
    yield from _base64(lines)


def _wide(data: bytes) -> bytes:
    """The bytes to leave out: NUL, where the data look like text of 16 or 32 bits a letter."""
    return b"\0" if b"\0" in data[:4096] else b""


def _base64(coded: bytes) -> Iterator[bytes]:
    if len(coded) >= 22:
        plain = coded.translate(_TO_BASE64)
        with suppress(binascii.Error, ValueError):
            yield base64.b64decode(plain[:-1] if len(plain) % 4 == 1 else plain + b"==")


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match.group(3):
        return bytes([int(match.group(3), 8) & 255])
    return chr(int(match.group(1) or match.group(2), 16)).encode("utf-8", "surrogatepass")
