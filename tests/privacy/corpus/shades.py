"""An identity in each of the encodings that a program may have written it in, and the search that finds them all."""

from __future__ import annotations

import base64
import bz2
import io
import lzma
import re
import urllib.parse
import zipfile
import zlib
from collections.abc import Iterator

from tests.privacy.corpus.slices import Who

_HAN = "龘靐齉齾麤鱻爨癵驫鸞麢纞虋讟鑾貛韊攮囔戆矗蠹醾霶馫鬱龤龗"
_WIDE = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "gb18030", "big5", "shift_jis", "euc_kr")
_NARROW = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "latin-1", "cp037")
_MOST = 4_000_000


def han(who: Who) -> str:
    """A name of three characters that no text of ours holds."""
    text = "".join(who.draw.choice(_HAN) for _ in range(3))
    who.all.append(text)
    return text


def shades(who: Who) -> list[bytes]:
    """Names of their own in twelve encodings, each as the bytes that a file would hold."""
    return [
        who.person().encode(),
        who.name().encode("utf-16-le"),
        who.name().encode("utf-16-be"),
        who.name().encode("utf-32-le"),
        han(who).encode(),
        han(who).encode("gb18030"),
        who.name()[::-1].encode(),
        base64.b64encode(b"for " + who.name().encode() + b" of ward 3"),
        who.name().encode().hex().encode(),
        who.number().encode(),
        who.date().encode(),
        urllib.parse.quote(han(who)).encode(),
    ]


def shade(who: Who) -> bytes:
    """All twelve, one after the other."""
    return b" ".join(shades(who))


def forms(identity: str) -> set[bytes]:
    """The bytes (in lower case) that give `identity` away, in any encoding that `shades` knows and a few more."""
    found: set[bytes] = set()
    for text in {identity, identity[::-1], identity.swapcase()}:
        for encoding in _NARROW if text.isascii() else _WIDE:
            try:
                raw = text.encode(encoding)
            except UnicodeEncodeError:
                continue
            if len(raw) > 3:
                found |= {raw.lower(), raw.hex().encode()}
    for text in {identity, identity.upper(), identity.lower()}:
        raw = text.encode()
        for lead in range(3):
            code = base64.b64encode(b"\0" * lead + raw)
            found.add(code[(0, 2, 3)[lead] : len(code) - (0, 3, 2)[(lead + len(raw)) % 3]].lower())
        found |= {urllib.parse.quote(text).lower().encode()}
        found |= {"".join(f"\\u{ord(c):04x}" for c in text).encode(), "".join(f"&#{ord(c)};" for c in text).encode()}
    return found


def layers(data: bytes, depth: int = 0) -> Iterator[bytes]:
    """`data`, and whatever is compressed at any place of it."""
    yield data
    if depth > 4 or len(data) > _MOST:
        return
    for match in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]|BZh[1-9]|\xfd7zXZ\0", data):
        rest = data[match.start() :]
        makers = {
            31: lambda: zlib.decompressobj(31),
            120: zlib.decompressobj,
            66: bz2.BZ2Decompressor,
            253: lzma.LZMADecompressor,
        }
        try:
            made = makers[rest[0]]().decompress(rest)
        except (zlib.error, OSError, lzma.LZMAError):
            continue
        if len(made) > 3:
            yield from layers(made, depth + 1)
    if b"PK\x05\x06" in data:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as opened:
                for info in opened.infolist():
                    yield info.filename.encode("utf-8", "surrogateescape")
                    if not info.flag_bits & 1 and info.file_size < _MOST:
                        yield from layers(opened.read(info), depth + 1)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, zlib.error):
            return


def leaks(data: bytes, identities: list[str]) -> list[str]:
    """Those of `identities` that `data` gives away at any depth."""
    everything = b"\n".join(layers(data)).lower()
    return [identity for identity in dict.fromkeys(identities) if any(form in everything for form in forms(identity))]
