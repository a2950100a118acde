"""Photographs with identities in their metadata, palettes, thumbnails, unused tables and trailing bytes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, PngImagePlugin, TiffImagePlugin

from tests.privacy.corpus.slices import Who, noise, segment


def jpeg_photo(who: Who) -> bytes:
    picture = Image.fromarray(noise(who, 24, 32, 3))
    exif = picture.getexif()
    exif[0x010E], exif[0x013B], exif[0x8298] = who.name(), who.name(), who.name()
    exif.get_ifd(0x8825)[0x001D] = who.date()
    stream = io.BytesIO()
    xmp = f"<x:xmpmeta>{who.name()}</x:xmpmeta>".encode()
    picture.save(stream, "JPEG", exif=exif, comment=who.name(), xmp=xmp, icc_profile=who.name().encode() * 30)
    data = stream.getvalue()
    iptc = segment(b"\xff\xed", b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x20" + who.person().encode())
    thumb = io.BytesIO()
    picture.resize((8, 8)).save(thumb, "JPEG", comment=who.name())
    return data[:2] + iptc + data[2:] + thumb.getvalue() + who.person().encode()


def png_photo(who: Who) -> bytes:
    pixels = noise(who, 16, 24, 4)
    hidden = who.name().encode()
    pixels[0, :8, 0], pixels[0, :8, 3] = np.frombuffer(hidden[:8], np.uint8), 0
    info = PngImagePlugin.PngInfo()
    info.add_text("Author", who.name())
    info.add_text("Comment", who.name() * 20, zip=True)
    info.add_itxt("Title", who.name(), lang="cs")
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", pnginfo=info)
    return stream.getvalue() + who.person().encode()


def png_palette(who: Who) -> bytes:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 2, (16, 16), dtype=np.uint8)).convert("P")
    name = who.person().encode()
    picture.putpalette(b"\0\0\0\xff\xff\xff" + name.ljust(60, b" "))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def tiff_photo(who: Who) -> bytes:
    pixels = noise(who, 16, 24, 3)
    label = Image.fromarray(np.frombuffer(who.person().encode().ljust(64, b"\0")[:64], np.uint8).reshape(8, 8))
    stream = io.BytesIO()
    tags = {270: who.name(), 305: who.name(), 315: who.name(), 306: f"{who.date()} 10:11:12"}
    Image.fromarray(pixels).save(stream, "TIFF", save_all=True, append_images=[label], tiffinfo=tags)
    return stream.getvalue() + who.name().encode()


def bmp_photo(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(stream, "BMP")
    return stream.getvalue() + who.person().encode()


def webp_photo(who: Who) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 255, (16, 16, 3), dtype=np.uint8))
    exif = picture.getexif()
    exif[0x010E] = who.name()
    picture.save(stream, "WEBP", lossless=True, exif=exif, xmp=who.name().encode())
    return stream.getvalue()


def spare_tables(who: Who) -> bytes:
    """A grey JPEG whose unused quantisation, Huffman and arithmetic tables hold text, and restart intervals as well."""
    stream = io.BytesIO()
    Image.fromarray(noise(who, 24, 32)).save(stream, "JPEG", quality=90)
    data = stream.getvalue()
    spare = segment(b"\xff\xdb", b"\x03" + who.person().encode().ljust(64, b" "))
    text = who.person().encode()
    spare += segment(b"\xff\xc4", b"\x13" + bytes([0] * 7 + [len(text)] + [0] * 8) + text)
    spare += segment(b"\xff\xcc", who.name().encode()[:16].ljust(16, b" "))
    return data[:2] + spare + data[2:]


def thumbnail_with_exif(who: Who) -> bytes:
    small, stream = io.BytesIO(), io.BytesIO()
    Image.fromarray(noise(who, 8, 8, 3)).save(small, "JPEG", comment=who.name())
    picture = Image.fromarray(noise(who, 24, 32, 3))
    exif = picture.getexif()
    exif[0x010F], exif[0x8769] = who.name(), {0x9286: b"ASCII\0\0\0" + who.person().encode(), 0xA420: who.number()}
    picture.save(stream, "JPEG", exif=exif.tobytes() + small.getvalue(), progressive=True)
    data = stream.getvalue()
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    return data[:second] + segment(b"\xff\xfe", who.person().encode()) + data[second:]


def two_pictures(who: Who) -> bytes:
    stream = io.BytesIO()
    pages = [Image.fromarray(noise(who, 24, 32, 3)) for _ in range(2)]
    pages[1].info["comment"] = who.name().encode()
    pages[0].save(stream, "MPO", save_all=True, append_images=pages[1:])
    return stream.getvalue() + who.person().encode()


def application_segments(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(who, 24, 32, 4), "CMYK").save(stream, "JPEG")
    data = stream.getvalue()
    extra = b"".join(segment(bytes((0xFF, 0xE0 + n)), b"X" * n + who.person().encode()) for n in (0, 2, 3, 12, 13, 15))
    return data[:2] + extra + data[2:]


def png_with(who: Who, mode: str, *chunks: tuple[bytes, bytes]) -> bytes:
    stream = io.BytesIO()
    array = noise(who, 16, 24) if mode == "L" else noise(who, 16, 24, 3)
    Image.fromarray(array).save(stream, "PNG")
    data = stream.getvalue()
    made = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + made + data[33:]


def png_chunks(who: Who) -> bytes:
    profile = who.name().encode() + b"\0\0" + zlib.compress(who.person().encode() * 9)
    chunks = ((b"tIME", b"\x07\x9c\x02\x11\x0a\x0b\x0c"), (b"eXIf", b"MM\0*" + who.person().encode()),
              (b"sPLT", who.name().encode() + b"\0\x08"), (b"prVt", who.person().encode()), (b"iCCP", profile),
              (b"caBX", who.person().encode()))  # fmt: skip
    return png_with(who, "RGB", *chunks)


def png_deep(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(who, 16, 24).astype(np.uint16) * 257).save(stream, "PNG")
    return stream.getvalue() + who.person().encode()


def tiff_tags(who: Who) -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[700], info[33723], info[50839], info[65000] = (who.person().encode() for _ in range(4))
    info[269], info[285], info[316], info[33432], info[42112] = (who.name() for _ in range(5))
    info[34665] = {0x9286: who.name()}
    stream = io.BytesIO()
    Image.fromarray(noise(who, 16, 24)).save(stream, "TIFF", tiffinfo=info, icc_profile=who.name().encode() * 20)
    return stream.getvalue()


def tiff_big(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(who, 16, 24, 3)).save(stream, "TIFF", big_tiff=True, description=who.name())
    return stream.getvalue() + who.person().encode()


def bmp_palette(who: Who) -> bytes:
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 2, (8, 8), dtype=np.uint8)).convert("P")
    picture.putpalette(b"\0\0\0\xff\xff\xff" + who.person().encode().ljust(90, b" "))
    stream = io.BytesIO()
    picture.save(stream, "BMP")
    return stream.getvalue()


def webp_chunks(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(who, 16, 16, 3)).save(stream, "WEBP", lossless=True, icc_profile=who.name().encode() * 20)
    text = who.person().encode()
    data = stream.getvalue() + b"PRVT" + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]
