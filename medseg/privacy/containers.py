"""Layers: everything that one file holds, opened down to plain bytes: archives, databases, documents, encodings.

Nothing is executed and no pickle is loaded. What cannot be opened (an encrypted archive, a damaged one, one that
unfolds without end, a 7z or RAR) is a layer too, marked as unreadable, since nobody can say what it holds. Not opened:
columns and blocks that a format compresses inside (Parquet, HDF5 filters), and text drawn in pixels.
"""

from __future__ import annotations

import bz2
import io
import lzma
import pickletools
import re
import sqlite3
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from medseg.privacy.codings import decoded_runs, readings
from medseg.privacy.dicom_layers import dicom_layers, looks_like_dicom
from medseg.privacy.patterns import Content, content_of
from medseg.privacy.pdf_layers import pdf_layers
from medseg.privacy.rasters import packed_body, voxel_spans
from medseg.privacy.zip_members import stored_members

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["DECODINGS", "Layer", "layers"]

DECODINGS = ("base64", "percent", "quoted", "escapes", "markup")
"""Last parts of the places that are another reading of the layer they stand in."""

_DEEPEST = 6
_LARGEST = 1 << 30
_LARGEST_CODED = 1 << 24
_PRINTABLE = re.compile(rb"[\x20-\x7e]{6,}")


@dataclass(frozen=True)
class Layer:
    """Bytes that lie open.

    Attributes:
        place: Where, from the outside in, joined by ``!``.
        data: The bytes; empty where they can't be had.
        parts: Places and texts that `data` was put together from; empty where it is one piece.
        unreadable: Why the bytes can't be had, or an empty text.
        flags: Facts about the whole, which are finds by themselves.
        content: What the bytes are, where the format says so; None where they have to be looked at.
    """

    place: str
    data: bytes
    parts: tuple[tuple[str, bytes], ...] = ()
    unreadable: str = ""
    flags: tuple[str, ...] = ()
    content: Content | None = None


def layers(data: bytes, place: str) -> Iterator[Layer]:
    """The bytes themselves, then all that can be opened in them.

    Args:
        data: A whole file.
        place: Its name, from which the places inside are built.
    """
    yield from _layers(data, place, 0)


def _layers(data: bytes, place: str, depth: int) -> Iterator[Layer]:
    if depth >= _DEEPEST:
        yield Layer(place, data, unreadable="nested too deep" if _is_container(data) else "")
        return
    whole, (data, voxels) = data, _apart(data)
    yield Layer(place, data)
    if voxels:
        yield Layer(f"{place}!voxels", voxels, content=Content.VOXELS)
    for matches, opened in _OPENERS:
        if matches(whole):
            try:
                for name, inner in opened(whole):
                    if isinstance(inner, Layer):
                        yield _below(inner, place, name)
                    else:
                        yield from _layers(inner, f"{place}!{name}" if name else place, depth + 1)
            except _TooLarge:
                yield Layer(place, b"", unreadable="unfolds to more than 1 GiB")
            except Exception:
                # Hostile files raise anything; what the opener could not read counts as not searched.
                yield Layer(place, b"", unreadable="damaged or encrypted")
    yield from _decoded(data, place, depth)


def _below(layer: Layer, place: str, name: str) -> Layer:
    return replace(layer, place=f"{place}!{name}")


class _TooLarge(Exception):
    pass


def _inflate(data: bytes, window: int) -> tuple[bytes, bytes, bool]:
    """What can be inflated of a stream, the bytes behind it, and whether it was whole."""
    machine = zlib.decompressobj(window)
    out = io.BytesIO()
    at = 0
    with suppress(zlib.error):
        # Piece by piece: an error in one piece leaves what the pieces before it gave.
        while at < len(data) and not machine.eof:
            out.write(machine.decompress(machine.unconsumed_tail + data[at : at + 65536], _LARGEST + 1 - out.tell()))
            at += 65536
            if out.tell() > _LARGEST:
                raise _TooLarge
    # The value of a BytesIO is its buffer, not a copy.
    return out.getvalue(), machine.unused_data + data[at:] if machine.eof else b"", machine.eof


def _open_gzip(data: bytes) -> Iterator[tuple[str, bytes]]:
    rest, member = data, 0
    while _is_gzip(rest):
        out, rest, whole = _inflate(rest, 31)
        yield f"gzip{member or ''}", out
        if not whole:
            raise ValueError("torn")
        rest, member = rest.lstrip(b"\0"), member + 1


def _open_zlib(data: bytes) -> Iterator[tuple[str, bytes]]:
    out, _, _ = _inflate(data, 15)
    if out:
        yield "zlib", out


def _open_bz2(data: bytes) -> Iterator[tuple[str, bytes]]:
    yield from _open_streams(data, bz2.BZ2Decompressor, _is_bz2, "bz2")


def _open_xz(data: bytes) -> Iterator[tuple[str, bytes]]:
    yield from _open_streams(data, lzma.LZMADecompressor, _is_xz, "xz")


def _open_streams(
    data: bytes,
    machine: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor],
    begins: Callable[[bytes], bool],
    name: str,
) -> Iterator[tuple[str, bytes]]:
    """Streams that follow each other, as `cat a.bz2 b.bz2` makes them."""
    rest, number = data, 0
    while begins(rest):
        stream = machine()
        yield f"{name}{number or ''}", _bounded(stream.decompress(rest, _LARGEST + 1))
        if not stream.eof:
            raise ValueError("torn")
        rest, number = stream.unused_data.lstrip(b"\0"), number + 1


def _closed(_data: bytes) -> Iterator[tuple[str, Layer]]:
    yield "archive", Layer("", b"", unreadable="of a kind that cannot be opened here")


def _bounded(out: bytes) -> bytes:
    if len(out) > _LARGEST:
        raise _TooLarge
    return out


def _apart(data: bytes) -> tuple[bytes, bytes]:
    """What lies outside of voxels and of the members of a zip archive that are stored in clear, and the voxels.

    The members are searched one by one. Checkpoints and model packages are such archives: without this each byte of
    them would be searched twice.
    """
    spans = voxel_spans(data)
    gaps, at = [], 0
    for span in spans or stored_members(data, most=_LARGEST):
        gaps.append(data[at : max(at, span.start)])
        at = max(at, span.stop)
    outside = b"".join((*gaps, data[at:])) if gaps else data
    return outside, b"".join(data[span] for span in spans)


def _open_zip(data: bytes) -> Iterator[tuple[str, bytes | Layer]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        yield "names", "\n".join(archive.namelist()).encode("utf-8", "surrogatepass")
        for member in archive.infolist():
            if member.is_dir():
                continue
            if member.file_size > _LARGEST:
                raise _TooLarge
            try:
                content = archive.read(member)
            except Exception:
                # The members behind a damaged or encrypted one are searched nevertheless.
                yield member.filename, Layer("", b"", unreadable="damaged or encrypted")
                continue
            yield member.filename, content


def _open_tar(data: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for member in archive:
            texts = [member.name, member.linkname, member.uname, member.gname, *map(str, member.pax_headers.values())]
            yield f"{member.name} (name)", "\n".join(texts).encode("utf-8", "surrogateescape")
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()


def _open_sqlite(data: bytes) -> Iterator[tuple[str, bytes | Layer]]:
    # Bytes 18 and 19 say that a write-ahead log belongs to the file; without it the file reads by itself.
    plain = data[:18] + b"\x01\x01" + data[20:]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.text_factory = bytes
        connection.deserialize(plain)
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (raw,) in tables:
            table = raw.decode("utf-8", "replace")
            texts: list[bytes] = []
            quoted = table.replace('"', '""')
            for row in connection.execute(f'SELECT * FROM "{quoted}"'):
                for cell in row:
                    if not isinstance(cell, bytes):
                        continue
                    texts.append(cell)
                    if _is_container(cell):
                        yield f"table {table}", cell
            if texts:
                yield f"table {table}", Layer("", b"\n".join(texts))


def _open_png(data: bytes) -> Iterator[tuple[str, bytes | Layer]]:
    at = 8
    while at + 12 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + length]
        if kind in (b"zTXt", b"iCCP"):
            yield kind.decode(), _inflate(body.partition(b"\0")[2][1:], 15)[0]
        elif kind == b"tEXt":
            yield "tEXt", body
        elif kind == b"iTXt" and body.partition(b"\0")[2][:1] == b"\0":
            yield "iTXt", body
        elif kind == b"iTXt" and body.partition(b"\0")[2][:1] == b"\x01":
            yield "iTXt", _inflate(body.partition(b"\0")[2][2:].split(b"\0", 2)[-1], 15)[0]
        elif kind == b"eXIf":
            yield from _open_exif(body)
        elif kind != b"IDAT" and kind != b"fdAT" and _is_container(body):
            yield "chunk", body
        at += 12 + length


def _open_picture(data: bytes) -> Iterator[tuple[str, bytes | Layer]]:
    """The readable runs before the picture itself, and whether EXIF says where it was taken."""
    from PIL import Image

    outside, _ = _apart(data)
    head = outside[: max(outside.find(b"\xff\xda"), 0) or 65536]
    yield "head", Layer("", b"\n".join(_PRINTABLE.findall(head.replace(b"\0", b""))))
    with Image.open(io.BytesIO(data)) as picture:
        yield from _position(picture.getexif())


def _open_exif(data: bytes) -> Iterator[tuple[str, Layer]]:
    from PIL import Image

    yield "eXIf", Layer("", b"\n".join(_PRINTABLE.findall(data.replace(b"\0", b""))))
    exif = Image.Exif()
    exif.load(data)
    yield from _position(exif)


def _position(exif: Image.Exif) -> Iterator[tuple[str, Layer]]:
    if exif.get_ifd(0x8825):
        yield "EXIF", Layer("", b"", flags=("a position in EXIF",))


def _open_texts(data: bytes) -> Iterator[tuple[str, bytes]]:
    texts = np.load(io.BytesIO(data), allow_pickle=False)
    yield "texts", "\n".join(texts.astype(str).ravel()).encode("utf-8", "surrogatepass")


def _is_array_of_texts(data: bytes) -> bool:
    return re.match(rb"\x93NUMPY.{4,6}\{'descr': '[<>|]?[SU]\d", data[:64], re.DOTALL) is not None


def _open_pickle(data: bytes) -> Iterator[tuple[str, bytes]]:
    with suppress(ValueError, IndexError, UnicodeDecodeError, AttributeError):
        for _, argument, _ in pickletools.genops(data):
            if isinstance(argument, bytes | bytearray) and _is_container(bytes(argument)):
                yield "pickle", bytes(argument)


def _is_pickle(data: bytes) -> bool:
    return data[:1] == b"\x80" and 2 <= data[1] <= 5 and len(data) < _LARGEST_CODED if len(data) > 2 else False


def _starts(*magic: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.startswith(magic)


def _is_gzip(data: bytes) -> bool:
    """Method and flags too (RFC 1952): of the run ids of a store, read as base64, two bytes agree now and then."""
    return len(data) >= 10 and data.startswith(b"\x1f\x8b\x08") and data[3] < 0x20


def _is_bz2(data: bytes) -> bool:
    return data.startswith(b"BZh") and data[3:4].isdigit()


def _is_xz(data: bytes) -> bool:
    return data.startswith(b"\xfd7zXZ\0")


def _is_picture(data: bytes) -> bool:
    return data.startswith((b"II*\0", b"MM\0*")) or (data.startswith(b"\xff\xd8\xff") and data[3:4] >= b"\xc0")


def _is_tar(data: bytes) -> bool:
    return data[257:262] == b"ustar"


def _is_zlib(data: bytes) -> bool:
    return len(data) > 8 and data[0] == 0x78 and data[1] in (0x01, 0x5E, 0x9C, 0xDA)


_Opener = Callable[[bytes], Iterator[tuple[str, "bytes | Layer"]]]


def _open_body(data: bytes) -> Iterator[tuple[str, bytes | Layer]]:
    """The packed voxels behind a text header, NRRD's or MetaImage's, and what is packed behind them."""
    body = packed_body(data)
    if body is None:
        return
    left = body.length
    for name, inner in _UNPACKERS[body.packing](data[body.start :]):
        yield name, Layer("", inner[:left], content=Content.VOXELS)
        if inner[left:]:
            yield name, inner[left:]
        left = max(0, left - len(inner))


def _dicom(data: bytes) -> Iterator[tuple[str, bytes | Layer]]:
    for found in dicom_layers(data):
        inner = b"\n".join(text for _, text in found.parts)
        yield found.name, found.data if found.data else Layer("", inner, found.parts, "", found.flags)


_UNPACKERS: dict[str, Callable[[bytes], Iterator[tuple[str, bytes]]]] = {
    "gzip": _open_gzip, "bzip2": _open_bz2, "zlib": _open_zlib,
}  # fmt: skip
_OPENERS: tuple[tuple[Callable[[bytes], bool], _Opener], ...] = (
    (_starts(b"PK\x03\x04", b"PK\x05\x06"), _open_zip),
    (_is_gzip, _open_gzip),
    (_is_zlib, _open_zlib),
    (_is_bz2, _open_bz2),
    (_is_xz, _open_xz),
    (_starts(b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"), _closed),
    (_is_tar, _open_tar),
    (_starts(b"SQLite format 3\0"), _open_sqlite),
    (_starts(b"%PDF"), pdf_layers),
    (_starts(b"\x89PNG\r\n\x1a\n"), _open_png),
    (_is_picture, _open_picture),
    (_is_pickle, _open_pickle),
    (_is_array_of_texts, _open_texts),
    (lambda data: packed_body(data) is not None, _open_body),
    (looks_like_dicom, _dicom),
)


_FIRST = frozenset(b"P\x1fxB\xfd7R(\x04S%\x89IM\xff\x80\x93NO\x08\x02")
"""First bytes of what an opener opens, tar and DICOM with a preamble apart: of 100,000 words few begin so."""


def _is_container(data: bytes) -> bool:
    may_be = len(data) > 16 and (data[0] in _FIRST or _is_tar(data) or data[128:132] == b"DICM")
    return may_be and any(matches(data) for matches, _ in _OPENERS)


def _decoded(data: bytes, place: str, depth: int) -> Iterator[Layer]:
    """What the data hold in a code, and the other ways to read a text."""
    data = data[:_LARGEST_CODED]
    small: list[bytes] = []
    for blob in decoded_runs(data):
        if _is_container(blob):
            yield from _layers(blob, f"{place}!base64", depth + 1)
        else:
            small.append(blob)
    if small:
        yield Layer(f"{place}!base64", b"\n".join(small))
    if content_of(data) is Content.TEXT:
        for name, text in readings(data):
            yield Layer(f"{place}!{name}", text)
