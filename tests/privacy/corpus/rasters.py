"""TIFF files, written byte by byte, with identities in tags, pages, spare bytes and spare bits."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.privacy.corpus.markers import photo
from tests.privacy.corpus.shades import shade, shades
from tests.privacy.corpus.slices import Who, noise, segment

Entry = tuple[int, int, bytes]
_ASCII, _SHORT, _LONG, _BYTES = 2, 3, 4, 7
_WIDTH = {1: 1, 2: 1, 3: 2, 4: 4, 7: 1, 12: 8, 13: 4, 16: 8}


def text(tag: int, words: bytes) -> Entry:
    return tag, _ASCII, words + b"\0"


class Tiff:
    """A TIFF in the making: `put` lays bytes down and tells where, `page` adds a page."""

    def __init__(self, *, big: bool = False, order: str = "<") -> None:
        self.big, self.order = big, order
        magic = struct.pack(order + "HHHQ", 43, 8, 0, 0) if big else struct.pack(order + "HI", 42, 0)
        self.data = bytearray((b"II" if order == "<" else b"MM") + magic)
        self.link = len(self.data) - (8 if big else 4)

    def numbers(self, kind: int, *values: int) -> bytes:
        return struct.pack(self.order + f"{len(values)}" + {_SHORT: "H", _LONG: "I", 13: "I", 16: "Q"}[kind], *values)

    def put(self, data: bytes) -> int:
        self.data += b"\0" * (len(self.data) % 2)
        self.data += data
        return len(self.data) - len(data)

    def directory(self, entries: list[Entry]) -> tuple[int, int]:
        """Lay down a directory; where it begins, and where its link to the next one stands."""
        word, count = ("Q", "Q") if self.big else ("I", "H")
        room = 8 if self.big else 4
        packed = b""
        for tag, kind, value in sorted(entries):
            number = len(value) // _WIDTH[kind]
            place = value.ljust(room, b"\0") if len(value) <= room else struct.pack(self.order + word, self.put(value))
            packed += struct.pack(self.order + "HH" + word, tag, kind, number) + place
        start = self.put(struct.pack(self.order + count, len(entries)) + packed + bytes(room))
        return start, len(self.data) - room

    def page(
        self,
        pixels: np.ndarray | None,
        *more: Entry,
        strips: list[bytes] | None = None,
        size: tuple[int, int] = (0, 0),
        bits: tuple[int, ...] = (8,),
        photometric: int = 1,
        method: int = 1,
        linked: bool = True,
        rows: int = 0,
    ) -> int:
        if pixels is not None:
            size = (pixels.shape[1], pixels.shape[0])
            strips = strips or [pixels.tobytes()]
            bits = (pixels.dtype.itemsize * 8,) * (1 if pixels.ndim == 2 else pixels.shape[2])
        places = [self.put(strip) for strip in strips or []]
        entries = [
            (256, _LONG, self.numbers(_LONG, size[0])),
            (257, _LONG, self.numbers(_LONG, size[1])),
            (258, _SHORT, self.numbers(_SHORT, *bits)),
            (259, _SHORT, self.numbers(_SHORT, method)),
            (262, _SHORT, self.numbers(_SHORT, photometric)),
            (277, _SHORT, self.numbers(_SHORT, len(bits))),
        ]
        given = {entry[0] for entry in more}
        if 324 not in given:
            entries += [
                (273, _LONG, self.numbers(_LONG, *places)),
                (278, _LONG, self.numbers(_LONG, rows or size[1])),
                (279, _LONG, self.numbers(_LONG, *(len(s) for s in strips or []))),
            ]
        start, link = self.directory([*(entry for entry in entries if entry[0] not in given), *more])
        if linked:
            struct.pack_into(self.order + ("Q" if self.big else "I"), self.data, self.link, start)
            self.link = link
        return start


def tags(who: Who) -> bytes:
    made = Tiff(order=">")
    exif, _ = made.directory(
        [
            text(36867, who.date().encode()),
            (37500, _BYTES, shade(who)),
            (37510, _BYTES, b"ASCII\0\0\0" + shade(who)),
            text(42032, who.name().encode()),
        ]
    )
    gps, _ = made.directory([text(29, who.date().encode()), (27, _BYTES, shade(who))])
    words = [
        text(tag, shade(who))
        for tag in (
            269,
            270,
            271,
            272,
            285,
            305,
            306,
            315,
            316,
            333,
            337,
            33432,
            34737,
            42112,
            42113,
            50708,
            50838,
            65001,
        )
    ]
    raw = [(tag, _BYTES, shade(who)) for tag in (700, 33723, 34377, 34675, 37724, 50839, 65000, 65535)]
    made.page(
        noise(who, 16, 24, 3),
        *words,
        *raw,
        (34665, _LONG, made.numbers(_LONG, exif)),
        (34853, _LONG, made.numbers(_LONG, gps)),
        photometric=2,
    )
    return bytes(made.data) + shade(who)


def label_page(who: Who) -> bytes:
    """A slide as scanners write it: a page, a smaller one, a label and an overview, each with words."""
    made = Tiff()
    for size, words in ((32, b"Aperio Image Library|Filename = "), (16, b"thumb "), (8, b"label "), (8, b"macro ")):
        pixels = noise(who, size, size, 3)
        if size == 8:
            pixels.reshape(-1)[:150] = np.frombuffer(shade(who)[:150].ljust(150), np.uint8)
        made.page(pixels, text(270, words + shade(who)), photometric=2)
    return bytes(made.data)


def below_pages(who: Who) -> bytes:
    """Pictures in sub-directories and in a directory that nothing links to."""
    made = Tiff()
    subs = [
        made.page(np.frombuffer(shade(who)[:64].ljust(64), np.uint8).reshape(8, 8), text(270, shade(who)), linked=False)
        for _ in range(3)
    ]
    made.page(noise(who, 16, 24), (330, 13, made.numbers(13, *subs[:2])))
    return bytes(made.data)


def slack(who: Who) -> bytes:
    """Words between the strips, and strips that are longer than their rows."""
    pixels, made = noise(who, 16, 24), Tiff()
    strips = []
    for n in range(4):
        strips.append(pixels[4 * n : 4 * n + 4].tobytes() + shade(who))
        made.put(shade(who))
    made.page(pixels, strips=strips, rows=4)
    return bytes(made.data)


def slack_packed(who: Who) -> bytes:
    pixels, made = noise(who, 16, 24), Tiff()
    strips = [zlib.compress(pixels[8 * n : 8 * n + 8].tobytes() + shade(who)) + shade(who) for n in range(2)]
    made.page(pixels, strips=strips, rows=8, method=8)
    return bytes(made.data)


def tiles(who: Who) -> bytes:
    """Tiles that reach past the picture, with words there."""
    made = Tiff(big=True)
    places = []
    for n in range(4):
        tile = noise(who, 16, 16)
        if n % 2:
            tile[:, 8:] = np.frombuffer(shade(who)[:128].ljust(128), np.uint8).reshape(16, 8)
        if n > 1:
            tile[8:] = np.frombuffer(shade(who)[:128].ljust(128), np.uint8).reshape(8, 16)
        places.append(made.put(tile.tobytes()))
    more = [
        (322, _LONG, made.numbers(_LONG, 16)),
        (323, _LONG, made.numbers(_LONG, 16)),
        (324, 16, made.numbers(16, *places)),
        (325, _LONG, made.numbers(_LONG, *(256,) * 4)),
    ]
    made.page(None, *more, text(270, shade(who)), size=(24, 24))
    return bytes(made.data)


def spare_bits(who: Who) -> bytes:
    """One bit a pixel, rows of 9 pixels: 7 spare bits a row."""
    words = np.resize(np.unpackbits(np.frombuffer(who.person().encode(), np.uint8)), (64, 7))
    bits = np.concatenate([noise(who, 64, 9) % 2, words], axis=1)
    made = Tiff()
    made.page(None, strips=[np.packbits(bits, axis=1).tobytes()], size=(9, 64), bits=(1,))
    return bytes(made.data)


def hidden_colour(who: Who) -> bytes:
    pixels = noise(who, 16, 24, 4)
    pixels[0, :, :3], pixels[0, :, 3] = np.frombuffer(shade(who)[:72], np.uint8).reshape(24, 3), 0
    made = Tiff()
    made.page(pixels, (338, _SHORT, made.numbers(_SHORT, 2)), photometric=2)
    return bytes(made.data)


def colour_map(who: Who) -> bytes:
    """A palette of 256 colours of which two are used."""
    made = Tiff()
    colours = np.zeros((3, 256), np.uint16)
    colours[:, 1] = 65535
    words = np.frombuffer(shade(who)[:150].ljust(150), np.uint16)
    colours[0, 2 : 2 + len(words)] = words
    colours[1, 2 : 2 + len(words)] = words & 0xFF00
    made.page(noise(who, 16, 24) % 2, (320, _SHORT, colours.tobytes()), photometric=3)
    return bytes(made.data)


def deep(who: Who) -> bytes:
    made = Tiff(order=">")
    pixels = (noise(who, 16, 24).astype(">u2") * 257).astype(">u2")
    made.page(pixels, text(270, b'<?xml version="1.0"?><OME><Experimenter LastName="' + shade(who) + b'"/></OME>'))
    return bytes(made.data) + shade(who)


def geography(who: Who) -> bytes:
    made = Tiff()
    pixels = np.frombuffer(noise(who, 16, 24).tobytes(), np.uint8).reshape(16, 24).astype(np.float32)
    more = [
        (33550, 12, struct.pack("<3d", 1, 1, 0)),
        (33922, 12, struct.pack("<6d", 0, 0, 0, 11.57, 48.13, 0)),
        text(34737, shade(who)),
        text(42112, shade(who)),
    ]
    made.page(pixels, (339, _SHORT, made.numbers(_SHORT, 3)), *more)
    return bytes(made.data)


def jpeg_inside(who: Who) -> bytes:
    """JPEG strips with comments of their own."""
    inner = photo(who, mode="L")
    inner = inner[:2] + segment(b"\xff\xfe", shade(who)) + inner[2:] + shade(who)
    made = Tiff()
    made.page(None, strips=[inner], size=(48, 40), method=7)
    return bytes(made.data)


def many_ways(who: Who) -> bytes:
    """LZW with a predictor, words in every text tag that Pillow writes."""
    stream = io.BytesIO()
    words = {
        tag: words.decode("latin-1") for tag, words in zip((269, 270, 285, 315, 316, 33432), shades(who), strict=False)
    }
    Image.fromarray(noise(who, 16, 24, 3)).save(stream, "TIFF", compression="tiff_lzw", tiffinfo=words)
    return stream.getvalue()


def ring(who: Who) -> bytes:
    """A page whose link leads back to itself."""
    made = Tiff()
    start = made.page(noise(who, 16, 24), text(270, shade(who)))
    struct.pack_into("<I", made.data, made.link, start)
    return bytes(made.data)


TIFFS = (
    (tags, ".tif"),
    (label_page, ".svs"),
    (label_page, ".tif"),
    (below_pages, ".tif"),
    (slack, ".TIF"),
    (slack_packed, ".tiff"),
    (tiles, ".tif"),
    (spare_bits, ".tif"),
    (hidden_colour, ".tif"),
    (colour_map, ".tif"),
    (deep, ".ome.tif"),
    (geography, ".tif"),
    (jpeg_inside, ".tif"),
    (many_ways, ".png"),
    (ring, ".tif"),
)
