"""PNG, WebP, BMP and GIF files with identities in chunks, spare bits, hidden colours, frames and behind the end."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.privacy.corpus.shades import han, shade
from tests.privacy.corpus.slices import Who, noise

_SIGN = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(rows: bytes, width: int, height: int, depth: int, colour: int, *before: bytes, after: bytes = b"") -> bytes:
    """A PNG of rows that already begin with their filter's number."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return _SIGN + head + b"".join(before) + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")


def _rows(array: np.ndarray) -> bytes:
    return b"".join(b"\0" + row.tobytes() for row in array)


def _packed(who: Who, width: int, height: int, bits: int, text: bytes) -> bytes:
    """Rows of few bits whose last byte has spare bits: the bits of `text`, spread over the rows."""
    values = noise(who, height, width) % (1 << bits)
    spare = np.unpackbits(np.frombuffer(text, np.uint8))
    each = -width * bits % 8
    made = b""
    for n, row in enumerate(values):
        plain = ((row[:, None] >> np.arange(bits - 1, -1, -1)) & 1).reshape(-1)
        tail = np.resize(spare[n * each : (n + 1) * each], each) if n * each < len(spare) else np.zeros(each, np.uint8)
        made += b"\0" + np.packbits(np.concatenate([plain, tail]).astype(np.uint8)).tobytes()
    return made


def png_texts(who: Who) -> bytes:
    packed = zlib.compress(shade(who))
    kinds = (
        (b"tEXt", b"Author\0" + shade(who)),
        (b"tEXt", who.name().encode() + b"\0x"),
        (b"zTXt", b"Comment\0\0" + packed),
        (b"iTXt", b"Title\0\0\0cs\0" + who.name().encode() + b"\0" + shade(who)),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        (b"tEXt", b"Raw profile type exif\0\nexif\n 40\n" + shade(who).hex().encode()),
        (b"eXIf", b"MM\0*" + shade(who)),
        (b"tIME", struct.pack(">HBBBBB", 1948, 2, 11, 10, 9, 8)),
        (b"iCCP", who.name().encode() + b"\0\0" + zlib.compress(shade(who))),
        (b"sCAL", b"\1" + shade(who)),
        (b"pCAL", who.name().encode() + b"\0" + bytes(9) + shade(who)),
        (b"sPLT", who.name().encode() + b"\0\x08"),
        (b"gIFx", shade(who)),
        (b"vpAg", shade(who)),
        (b"dSIG", shade(who)),
        (b"cHRM", who.person().encode()[:32].ljust(32)),
        (b"caNv", shade(who)),
        (b"iDOT", shade(who)),
    )
    return png(
        _rows(noise(who, 16, 24 * 3)),
        24,
        16,
        8,
        2,
        *(chunk(*kind) for kind in kinds),
        after=chunk(b"tEXt", b"a\0" + shade(who)),
    )


def png_frames(who: Who) -> bytes:
    """An animation whose second frame isn't the picture."""
    first, second = (_rows(noise(who, 8, 8)) for _ in range(2))
    control = struct.pack(">5I2H2B", 0, 8, 8, 0, 0, 1, 10, 0, 0)
    later = (
        chunk(b"fcTL", control)
        + chunk(b"fdAT", struct.pack(">I", 1) + zlib.compress(second[:-60] + shade(who)[:60]))
        + chunk(b"fdAT", struct.pack(">I", 2) + shade(who))
    )
    return png(first, 8, 8, 8, 0, chunk(b"acTL", struct.pack(">2I", 1, 0)), after=later)


def png_behind(who: Who) -> bytes:
    """Rows that the picture doesn't have, bytes behind the stream in IDAT, chunks and bytes behind IEND."""
    rows = _rows(noise(who, 16, 24))
    data = zlib.compress(rows + shade(who)) + shade(who)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 24, 16, 8, 0, 0, 0, 0))
    return (
        _SIGN
        + head
        + chunk(b"IDAT", data[:50])
        + chunk(b"IDAT", b"")
        + chunk(b"IDAT", data[50:])
        + chunk(b"IEND", b"")
        + chunk(b"tEXt", b"a\0" + shade(who))
        + shade(who)
    )


def png_hidden_colour(who: Who) -> bytes:
    pixels = noise(who, 16, 96).reshape(16, 24, 4)
    text = np.frombuffer(who.person().encode()[:17], np.uint8)
    pixels[0, : len(text)] = 0
    pixels[0, : len(text), 1] = text
    pixels[1, :24, :3], pixels[1, :24, 3] = np.frombuffer(shade(who)[:72], np.uint8).reshape(24, 3), 0
    return png(_rows(pixels.reshape(16, 96)), 24, 16, 8, 6)


def png_hidden_grey(who: Who) -> bytes:
    pixels = noise(who, 16, 200).reshape(16, 100, 2)
    pixels[0, :, 0], pixels[0, :, 1] = np.frombuffer(shade(who)[:100], np.uint8), 0
    return png(_rows(pixels.reshape(16, 200)), 100, 16, 8, 4)


def png_hidden_deep(who: Who) -> bytes:
    """16 bits a channel, alpha zero over words."""
    pixels = noise(who, 8, 20 * 8).reshape(8, 20, 8)
    pixels[0, :, :6], pixels[0, :, 6:] = np.frombuffer(shade(who)[:120], np.uint8).reshape(20, 6), 0
    return png(_rows(pixels.reshape(8, 160)), 20, 8, 16, 6)


def png_palette(who: Who) -> bytes:
    """A palette of 60 unused colours, and clear ones that are used."""
    words = shade(who)[:174]
    colours = chunk(b"PLTE", b"\0\0\0\xff\xff\xff" + words)
    clear = chunk(b"tRNS", b"\xff\xff" + b"\0" * 29 + who.name().encode())
    index = noise(who, 16, 20) % 2
    index[3] = np.arange(2, 22)
    return png(_rows(index), 20, 16, 8, 3, colours, clear)


def png_spare_bits(who: Who) -> bytes:
    return png(_packed(who, 33, 64, 1, who.person().encode() * 3), 33, 64, 1, 0)


def png_spare_bits_palette(who: Who) -> bytes:
    colours = chunk(b"PLTE", b"\0\0\0\xff\0\0\0\xff\0" + who.name().encode() + b"!")
    return png(
        _packed(who, 33, 64, 2, who.person().encode() * 3),
        33,
        64,
        2,
        3,
        colours,
        chunk(b"hIST", who.name().encode()[:8]),
    )


def png_key_colour(who: Who) -> bytes:
    """A colour that counts as clear, given in 16 bits where 8 are used; a background that says a word."""
    extra = (
        chunk(b"tRNS", who.name().encode()[:6]),
        chunk(b"bKGD", who.name().encode()[:6]),
        chunk(b"sBIT", b"\x05\x06\x05"),
    )
    return png(_rows(noise(who, 16, 72)), 24, 16, 8, 2, *extra, chunk(b"oFFs", who.name().encode() + b"\0"))


def png_interlaced(who: Who) -> bytes:
    data = bytearray(png(_rows(noise(who, 1, 1)), 1, 1, 8, 0, chunk(b"iTXt", b"a\0\0\0\0\0" + han(who).encode())))
    data[28] = 1
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


def png_bad_sums(who: Who) -> bytes:
    """Ancillary chunks whose check sums are wrong, as broken exporters write them."""
    bad = struct.pack(">I", 300) + b"teSt" + shade(who).ljust(300)[:300] + b"\0\0\0\0"
    return png(_rows(noise(who, 16, 24)), 24, 16, 8, 0, bad)


def _riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(k + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for k, b in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp(who: Who, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(who, 16, 24, 4 if options.pop("alpha", False) else 3)).save(stream, "WEBP", **options)
    return stream.getvalue()


def webp_lossy(who: Who) -> bytes:
    simple = _webp(who, quality=80)
    frame = simple[20 : 20 + struct.unpack_from("<I", simple, 16)[0]]
    head = b"\x2c\0\0\0" + (23).to_bytes(3, "little") + (15).to_bytes(3, "little")
    kinds = (
        (b"VP8X", head),
        (b"ICCP", shade(who)),
        (b"VP8 ", frame),
        (b"EXIF", shade(who)),
        (b"XMP ", shade(who)),
        (b"JUNK", shade(who)),
    )
    return _riff(*kinds) + shade(who)


def webp_hidden_colour(who: Who) -> bytes:
    pixels = noise(who, 16, 24, 4)
    pixels[0, :, :3], pixels[0, :, 3] = np.frombuffer(shade(who)[:72], np.uint8).reshape(24, 3), 0
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", lossless=True, exact=True)
    return stream.getvalue()


def webp_frames(who: Who) -> bytes:
    stream = io.BytesIO()
    first, second = (Image.fromarray(noise(who, 16, 24, 3)) for _ in range(2))
    second.putdata([tuple(shade(who)[:3])] * 384)
    first.save(stream, "WEBP", save_all=True, append_images=[second], lossless=True, xmp=shade(who))
    return stream.getvalue() + shade(who)


def bmp(
    who: Who,
    depth: int,
    width: int,
    rows: bytes,
    *,
    gap: bytes = b"",
    palette: bytes = b"",
    extra: bytes = b"",
    size: int = 40,
    height: int = 16,
    method: int = 0,
    tail: bytes = b"",
) -> bytes:
    head = (
        struct.pack("<IiiHHIIiiII", size, width, height, 1, depth, method, len(rows), 2835, 2835, len(palette) // 4, 0)
        + extra
    )
    start = 14 + len(head) + len(palette) + len(gap)
    reserved = who.name().encode()[:4]
    return (
        b"BM"
        + struct.pack("<I", start + len(rows))
        + reserved
        + struct.pack("<I", start)
        + head
        + palette
        + gap
        + rows
        + tail
    )


def bmp_gap_and_padding(who: Who) -> bytes:
    """Words between header and pixels, in the padding of the rows, and behind the pixels."""
    text = iter(shade(who) * 2)
    rows = b"".join(noise(who, 9).tobytes() * 3 + bytes(next(text) for _ in range(1)) for _ in range(16))
    return bmp(who, 24, 9, rows, gap=shade(who), tail=shade(who))


def bmp_fourth_byte(who: Who) -> bytes:
    """32 bits a pixel of which 24 count."""
    pixels = noise(who, 16, 9, 4)
    pixels[..., 3] = np.frombuffer(shade(who)[:144].ljust(144), np.uint8).reshape(16, 9)
    return bmp(who, 32, 9, pixels.tobytes())


def bmp_spare_bits(who: Who) -> bytes:
    text = shade(who)
    rows = b"".join(noise(who, 1).tobytes() + text[3 * n : 3 * n + 3] for n in range(16))
    return bmp(who, 1, 8, rows, palette=b"\0\0\0\0\xff\xff\xff\0")


def bmp_palette(who: Who) -> bytes:
    palette = b"\0\0\0\0\xff\xff\xff\0" + shade(who)[:160].ljust(160)
    return bmp(who, 8, 8, (noise(who, 16, 8) % 2).tobytes(), palette=palette)


def bmp_profile(who: Who) -> bytes:
    """The newest header with a linked profile: the path of a file."""
    path = f"C:\\{who.name()}\\{who.name()}.icc".encode("cp1252") + b"\0"
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0)
    rows = noise(who, 16, 8, 3).tobytes()
    extra = masks + b"KNIL" + bytes(48) + struct.pack("<4I", 4, 124 + len(rows), len(path), 0)
    return bmp(who, 24, 8, rows, size=124, extra=extra, tail=path)


def gif(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(who, 16, 24)).save(stream, "GIF", comment=shade(who)[:200])
    return stream.getvalue() + shade(who)


CHUNKED = (
    (png_texts, ".png"),
    (png_frames, ".png"),
    (png_behind, ".PNG"),
    (png_hidden_colour, ".png"),
    (png_hidden_grey, ".png"),
    (png_hidden_deep, ".png"),
    (png_palette, ".png"),
    (png_spare_bits, ".png"),
    (png_spare_bits_palette, ".png"),
    (png_key_colour, ".png"),
    (png_interlaced, ".apng"),
    (png_bad_sums, ".jpg"),
    (webp_lossy, ".webp"),
    (webp_hidden_colour, ".webp"),
    (webp_frames, ".webp"),
    (bmp_gap_and_padding, ".bmp"),
    (bmp_fourth_byte, ".bmp"),
    (bmp_spare_bits, ".bmp"),
    (bmp_palette, ".dib"),
    (bmp_profile, ".bmp"),
)
