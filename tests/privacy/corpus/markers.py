"""JPEG files with identities in and between their marker segments, in spare bits of the scans, and behind the end."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from tests.privacy.corpus.shades import han, shade, shades
from tests.privacy.corpus.slices import Who, noise, segment

_EOI = b"\xff\xd9"


def photo(who: Who, *, mode: str = "RGB", **options: object) -> bytes:
    channels = {"L": (), "RGB": (3,), "CMYK": (4,)}[mode]
    rows = np.linspace(0, 200, 40)[:, None] + np.linspace(0, 50, 48)
    array = rows.reshape(40, 48, *(1 for _ in channels)) + noise(who, 40, 48, *channels) / 16
    stream = io.BytesIO()
    Image.fromarray(array.astype(np.uint8), mode).save(stream, "JPEG", **options)
    return stream.getvalue()


def _after_start(data: bytes, *pieces: bytes) -> bytes:
    return data[:2] + b"".join(pieces) + data[2:]


def _scans(data: bytes) -> list[int]:
    """Where each SOS marker begins."""
    return [i for i in range(2, len(data) - 1) if data[i] == 0xFF and data[i + 1] == 0xDA]


def exif_everywhere(who: Who) -> bytes:
    small = _after_start(photo(who, quality=20), segment(b"\xff\xfe", shade(who)))
    exif = Image.Exif()
    for tag in (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x013C, 0x8298, 0xC62F):
        exif[tag] = who.name()
    for tag in (0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F):
        exif[tag] = who.name().encode("utf-16-le") + b"\0\0"
    exif[0x8769] = {
        0x9003: f"{who.date()} 10:11:12",
        0x927C: b"MAKER\0" + shade(who),
        0x9286: b"UNICODE\0" + han(who).encode("utf-16-le"),
        0xA420: who.number(),
        0xA430: who.name(),
        0xA431: who.number(),
        0xA435: who.number(),
        0xA004: who.name(),
    }
    exif[0x8825] = {
        0x1B: b"ASCII\0\0\0" + who.name().encode(),
        0x1C: b"UNICODE\0" + han(who).encode("utf-16-be"),
        0x1D: who.date(),
    }
    return photo(who, exif=exif.tobytes() + small)


def extended_xmp(who: Who) -> bytes:
    name = who.person().encode()
    first = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:xmpNote='n' xmpNote:HasExtendedXMP='" + shade(who) + b"'/>"
    head = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    pieces = [
        head + struct.pack(">II", 90, at) + part
        for at, part in ((0, name[:9] + shade(who)), (45, name[9:] + shade(who)))
    ]
    return _after_start(photo(who), *(segment(b"\xff\xe1", body) for body in (first, *pieces)))


def photoshop(who: Who) -> bytes:
    def resource(number: int, body: bytes) -> bytes:
        name = who.name().encode()
        return (
            b"8BIM"
            + struct.pack(">HB", number, len(name))
            + name
            + b"\0"
            + struct.pack(">I", len(body))
            + body
            + b"\0" * (len(body) % 2)
        )

    iptc = b"".join(
        b"\x1c\x02" + bytes((n,)) + struct.pack(">H", len(t)) + t
        for n, t in zip((5, 25, 80, 90, 120), shades(who), strict=False)
    )
    thumb = struct.pack(">6I2H", 1, 48, 40, 144, 5760, 9, 24, 1) + photo(who, comment=who.name())
    body = b"".join(
        resource(n, b) for n, b in ((0x0404, iptc), (0x040C, thumb), (0x03F0, shade(who)), (0x0422, shade(who)))
    )
    half = len(body) // 2
    return _after_start(
        photo(who), *(segment(b"\xff\xed", b"Photoshop 3.0\0" + part) for part in (body[:half], body[half:]))
    )


def every_application_segment(who: Who) -> bytes:
    return _after_start(photo(who), *(segment(bytes((0xFF, 0xE0 + n)), shade(who)) for n in range(16) if n != 14))


def jfif_thumbnails(who: Who) -> bytes:
    data = photo(who)
    text = who.person().encode().ljust(48)[:48]
    plain = segment(b"\xff\xe0", b"JFIF\0\1\2\1" + struct.pack(">HHBB", 72, 72, 4, 4) + text)
    jfxx = segment(b"\xff\xe0", b"JFXX\0\x10" + photo(who, comment=who.name()))
    palette = segment(b"\xff\xe0", b"JFXX\0\x11\2\2" + shade(who)[:140].ljust(772))
    return data[:2] + plain + jfxx + palette + data[2 + 2 + int.from_bytes(data[4:6], "big") :]


def comments(who: Who) -> bytes:
    long = shade(who).ljust(65533, b"x")
    return (
        _after_start(photo(who), *(segment(b"\xff\xfe", b) for b in (*shades(who), b"", long)))[:-2]
        + segment(b"\xff\xfe", shade(who))
        + _EOI
    )


def second_picture(who: Who) -> bytes:
    gain = _after_start(photo(who), segment(b"\xff\xe1", b"http://ns.adobe.com/xap/1.0/\0" + shade(who)))
    index = (
        b"MPF\0MM\0*\0\0\0\x08"
        + struct.pack(">H", 1)
        + struct.pack(">HHII", 0xB003, 4, 33, 0)
        + struct.pack(">I", 0)
        + shade(who)
    )
    return _after_start(photo(who), segment(b"\xff\xe2", index)) + gain + shade(who)


def motion_photo(who: Who) -> bytes:
    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body) + 8) + kind + body

    words = (
        box(b"\xa9nam", shade(who))
        + box(b"\xa9xyz", b"+48.1+11.5/" + shade(who))
        + box(b"\xa9day", who.date().encode())
    )
    return photo(who) + box(b"ftyp", b"mp42isom") + box(b"moov", box(b"udta", words)) + box(b"mdat", shade(who))


def colour_profile(who: Who) -> bytes:
    from PIL import ImageCms

    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = struct.unpack_from(">I", made, 128)[0]
    body = bytes(made[132 + 12 * count :])
    texts = [
        (kind, b"text\0\0\0\0" + shade(who) + b"\0") for kind in (b"targ", b"dmnd", b"dmdd", b"vndr", b"meta", b"vued")
    ]
    shift, at, table = 12 * len(texts), len(made), bytearray(made[132 : 132 + 12 * count])
    for n in range(count):
        struct.pack_into(">I", table, 12 * n + 4, struct.unpack_from(">I", table, 12 * n + 4)[0] + shift)
    extra = b""
    for kind, text in texts:
        table += kind + struct.pack(">II", at + shift + len(extra), len(text))
        extra += text.ljust(-len(text) % 4 + len(text), b"\0")
    made[48:56], made[84:100], made[100:128] = (
        who.number().encode()[:8],
        who.name().encode().ljust(16),
        who.person().encode()[:28].ljust(28),
    )
    profile = bytes(made[:128]) + struct.pack(">I", count + len(texts)) + bytes(table) + body + extra
    return photo(who, icc_profile=struct.pack(">I", len(profile)) + profile[4:])


def between_markers(who: Who) -> bytes:
    """Fill bytes and stray text between the segments, before each scan and before the end."""
    data = photo(who, progressive=True)
    for place in reversed(_scans(data)):
        data = data[:place] + shade(who) + b"\xff\xff\xff" + data[place:]
    first = 4 + int.from_bytes(data[4:6], "big")
    return data[:first] + shade(who) + data[first:-2] + b"\xff" * 5 + _EOI


def behind_last_block(who: Who) -> bytes:
    """Bytes of the scan behind the last block that the frame has."""
    return photo(who)[:-2] + shade(who) + _EOI


def behind_each_interval(who: Who) -> bytes:
    """Bytes of the scan before each restart marker, behind the last block of its interval."""
    data = photo(who, mode="L", restart_marker_rows=1)
    start = _scans(data)[0] + 10
    made = data[:start]
    for at in range(start, len(data)):
        if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7:
            made += who.name().encode()
        made += data[at : at + 1]
    return made


def behind_progressive_scans(who: Who) -> bytes:
    """Bytes behind the last block of each scan of a progressive picture."""
    data = photo(who, progressive=True)
    places = [
        i for i in range(_scans(data)[0] + 2, len(data) - 1) if data[i] == 0xFF and data[i + 1] in (0xC4, 0xDA, 0xD9)
    ]
    for place in reversed(places):
        if data[place - 2 : place] != b"\xff\xda":
            data = data[:place] + who.name().encode() + data[place:]
    return data


def words_in_used_table(who: Who) -> bytes:
    """Symbols that no block uses at the end of a Huffman table that the scan uses."""
    data = photo(who, mode="L", optimize=True)
    at, tables = 2, b""
    made = data[:2]
    while data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xC4:
            body = data[at + 4 : at + 2 + size]
            while body:
                many = sum(body[1:17])
                kind, counts, symbols, body = body[0], list(body[1:17]), body[17 : 17 + many], body[17 + many :]
                used = {*symbols}
                text = bytes(c for c in who.person().encode() if kind & 0x10)
                spare = text if not used & {*text} else bytes(c for c in text)
                counts[15] += len(spare)
                tables += segment(b"\xff\xc4", bytes((kind, *counts)) + symbols + spare)
        else:
            made += data[at : at + 2 + size]
        at += 2 + size
    return made + tables + data[at:]


def spent_tables(who: Who) -> bytes:
    """Tables defined again behind the last scan, and quantisation tables of 16 bits that nothing uses."""
    wide = segment(b"\xff\xdb", b"\x12" + shade(who)[:128].ljust(128))
    late = segment(b"\xff\xdb", b"\x00" + who.person().encode().ljust(64)) + segment(
        b"\xff\xc4", b"\x00" + bytes((0,) * 7 + (8,) + (0,) * 8) + who.name().encode()
    )
    return _after_start(photo(who), wide)[:-2] + late + _EOI


def odd_markers(who: Who) -> bytes:
    """Segments of markers that are reserved, or belong to other processes: JPG, DHP, EXP, RES, JPGn, TEM."""
    kinds = (0xC8, 0xDE, 0xDF, 0x02, 0xBF, *range(0xF0, 0xFE))
    return _after_start(photo(who), *(segment(bytes((0xFF, kind)), shade(who)) for kind in kinds))


def four_inks(who: Who) -> bytes:
    data = photo(who, mode="CMYK")
    adobe = data.index(b"Adobe") + 12
    return data[:adobe] + data[adobe:] + shade(who)


def adobe_with_words(who: Who) -> bytes:
    data = photo(who)
    return _after_start(data, segment(b"\xff\xee", b"Adobe\0\x64\0\0\0\0\x01" + shade(who)))


def _hand_made(frame: int, depth: int, scan: bytes, tables: bytes) -> bytes:
    sof = segment(bytes((0xFF, frame)), struct.pack(">BHHB", depth, 16, 16, 1) + b"\x01\x11\0")
    quantised = segment(b"\xff\xdb", b"\0" + b"\x01" * 64)
    return b"\xff\xd8" + quantised + sof + tables + segment(b"\xff\xda", b"\1\1\0\0\x3f\0") + scan + _EOI


def arithmetic(who: Who) -> bytes:
    data = _hand_made(0xC9, 8, bytes(who.draw.randrange(255) for _ in range(60)), b"")
    return _after_start(data, segment(b"\xff\xfe", shade(who)), segment(b"\xff\xcc", b"\x01\x10\x13\x07"))


def twelve_bits(who: Who) -> bytes:
    codes = segment(b"\xff\xc4", b"\0\x01" + bytes(15) + b"\0") + segment(b"\xff\xc4", b"\x10\x01" + bytes(15) + b"\0")
    return _after_start(_hand_made(0xC1, 12, b"\x00" + b"\x00", codes), segment(b"\xff\xfe", shade(who)))


def turned(who: Who) -> bytes:
    """A photograph that its EXIF says to turn by a quarter."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, who.name()
    return photo(who, exif=exif) + shade(who)


def grey_with_factor(who: Who) -> bytes:
    """A grey picture whose one component says 2x2, as scanners write it."""
    data = bytearray(photo(who, mode="L"))
    at = bytes(data).index(b"\xff\xc0")
    data[at + 11] = 0x22
    return bytes(data[:2]) + segment(b"\xff\xfe", shade(who)) + bytes(data[2:])


def cut_off(who: Who) -> bytes:
    data = photo(who, comment=who.name())
    return data[: len(data) * 2 // 3]


def no_end(who: Who) -> bytes:
    return photo(who, comment=who.name())[:-2]


JPEGS = (
    (exif_everywhere, ".jpg"),
    (extended_xmp, ".jpeg"),
    (photoshop, ".JPG"),
    (every_application_segment, ".jpg"),
    (jfif_thumbnails, ".jpg"),
    (comments, ".jpe"),
    (second_picture, ".jpg"),
    (motion_photo, ".jpg"),
    (colour_profile, ".jpg"),
    (between_markers, ".jpg"),
    (behind_last_block, ".jpg"),
    (behind_each_interval, ".jpg"),
    (behind_progressive_scans, ".jpg"),
    (words_in_used_table, ".jpg"),
    (spent_tables, ".jpg"),
    (odd_markers, ".jpg"),
    (four_inks, ".jpg"),
    (adobe_with_words, ".png"),
    (arithmetic, ".jpg"),
    (twelve_bits, ".jpg"),
    (turned, ""),
    (grey_with_factor, ".dcm"),
    (cut_off, ".jpg"),
    (no_end, ".jpg"),
)
