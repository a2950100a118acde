"""Images: photographs and drawn masks with nothing but their pixels.

A JPEG's entropy-coded data are copied, so that no generation is lost. PNG, TIFF, BMP and WebP are decoded and encoded
again without loss; colour that a zero alpha hides, unused palette entries, further pages and every text are gone.
What is painted over becomes a neutral grey: of a JPEG the whole blocks, whose neighbours keep their coefficients.
"""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

import numpy as np

from medseg.errors import ReadError
from medseg.privacy.jpeg import strip_jpeg
from medseg.privacy.jpeg_blocks import read_coefficients
from medseg.privacy.jpeg_slack import without_slack
from medseg.privacy.jpeg_write import write_coefficients
from medseg.privacy.png_deep import deep_png
from medseg.types import Array

__all__ = ["clean_image", "clean_jpeg", "paint_jpeg", "stated_orientation"]

_SAVE: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 6}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".bmp": ("BMP", {}),
    ".webp": ("WEBP", {"lossless": True, "exact": True, "quality": 100}),
}
_FORMATS = {"PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp"}
_MODES = frozenset(("1", "L", "P", "RGB", "RGBA", "LA", "I;16", "I;16B", "I", "F", "CMYK"))
_MOST_PIXELS = 1 << 28
_GREY = 128


def clean_jpeg(data: bytes) -> bytes:
    """A JPEG file of the same pixels without EXIF, GPS, XMP, IPTC, ICC, comments, thumbnails and trailing bytes.

    Only the EXIF orientation stays, where there is one other than upright: without it the picture would turn.

    Raises:
        ReadError: The file is damaged or cut off.
    """
    clean = strip_jpeg(data)
    if clean.components not in (1, 3, 4) or not clean.rows or not clean.columns:
        raise ReadError("expected a JPEG photograph with 1, 3 or 4 components, found another")
    head, rest = clean.data[:2], clean.data[2:]
    if rest[:2] == b"\xff\xe0":
        length = 2 + int.from_bytes(rest[2:4], "big")
        head, rest = head + rest[:length], rest[length:]
    return without_slack(head + _orientation_segment(_orientation(data)) + rest)


def paint_jpeg(data: bytes, painted: Array) -> tuple[bytes, Array]:
    """A clean JPEG file with some of it painted over in grey, and all other coefficients as they were.

    Args:
        data: What `clean_jpeg` made.
        painted: What to paint over, bool, (rows, columns), as the file has them.

    Returns:
        The file, and what was really painted over: every MCU (8 or 16 pixels a side, mostly) that was touched.

    Raises:
        ReadError: The file is damaged, or its blocks can't be read (arithmetic coding, more than 8 bits).
    """
    picture = read_coefficients(data)
    high, wide = picture.unit
    if painted.shape != (picture.rows, picture.columns):
        raise ReadError("expected what to paint over in the size of the picture, found another")
    padded = np.pad(painted, ((0, -picture.rows % high), (0, -picture.columns % wide)))
    units = padded.reshape(padded.shape[0] // high, high, padded.shape[1] // wide, wide).any(axis=(1, 3))
    for part in picture.components:
        rows, columns = part.blocks.shape[:2]
        down, across = rows // units.shape[0], columns // units.shape[1]
        part.blocks[units.repeat(down, axis=0).repeat(across, axis=1)] = 0
    grown = units.repeat(high, axis=0).repeat(wide, axis=1)[: picture.rows, : picture.columns]
    return write_coefficients(picture), grown


def clean_image(data: bytes, suffix: str, *, painted: Array | None = None) -> bytes:
    """A PNG, TIFF, BMP or WebP file of the same pixels, in the same format and nothing else.

    Of a WebP's EXIF the orientation stays, where there is one other than upright; a TIFF is turned instead, as Pillow
    reads it. A PNG's goes, which most programs don't heed.

    Args:
        data: The file.
        suffix: ``.png``, ``.tif``, ``.tiff``, ``.bmp`` or ``.webp``.
        painted: What to paint over, bool, (rows, columns), as the file has them.

    Raises:
        ReadError: The file is damaged, of another format than its suffix says, or a stack of pages.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(data))
            if image.format not in _FORMATS or _SAVE[suffix][0] != image.format:
                raise ReadError("expected an image of the format that its name says, found another")
            if image.width * image.height > _MOST_PIXELS:
                raise ReadError(f"expected at most {_MOST_PIXELS} pixels, found more")
            _refuse_stack(image)
            if image.format == "PNG" and data[24] == 16 and data[25] in (2, 6) and painted is None:
                return deep_png(data)
            _refuse_deep_colour(data, image)
            image.seek(0)
            image.load()
            exif = _orientation_exif(stated_orientation(image)) if image.format == "WEBP" else b""
            bare = _bare(image)
            if painted is not None:
                bare = _painted(bare, painted)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, struct.error):
        raise ReadError("expected a complete image, found a damaged or cut off one") from None
    kind, options = _SAVE[suffix]
    stream = io.BytesIO()
    bare.save(stream, kind, **options, **({"exif": exif} if exif else {}))
    return stream.getvalue()


def _refuse_stack(image: Any) -> None:
    """Pages of another size (labels, thumbnails) are left out; pages of one size are a stack, which isn't one image.

    Of an animation (PNG, WebP) the first picture stays: it is what every program shows.
    """
    pages = int(getattr(image, "n_frames", 1))
    if pages == 1 or image.format != "TIFF":
        return
    sizes = set()
    for page in range(pages):
        image.seek(page)
        sizes.add(image.size)
    if len(sizes) == 1:
        raise ReadError(f"expected one image in the file, found {pages} pages of one size; save them one by one")


def _refuse_deep_colour(data: bytes, image: Any) -> None:
    """Pillow would read colour of 16 bits a sample with 8."""
    if image.format == "PNG" and data[24] == 16 and data[25] != 0:
        raise ReadError("expected a PNG of 8 bits a colour, 16 bits grey or 16 bits colour; found another")


def _bare(image: Any) -> Any:
    """A new image of the same pixels with nothing attached."""
    from PIL import Image

    if image.mode == "PA" or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    mode, size = image.mode, image.size
    if mode not in _MODES:
        raise ReadError("expected a grey, palette or colour image, found another kind of pixels")
    pixels = image.tobytes()
    if mode in ("RGBA", "LA"):
        values = np.frombuffer(pixels, np.uint8).reshape(-1, len(mode)).copy()
        values[values[:, -1] == 0] = 0
        pixels = values.tobytes()
    bare = Image.frombytes(mode, size, pixels)
    if mode == "P":
        palette = np.zeros((256, 3), np.uint8)
        given = np.frombuffer(bytes(image.getpalette("RGB")), np.uint8).reshape(-1, 3)
        palette[: len(given)] = given
        used = np.unique(np.frombuffer(pixels, np.uint8))
        palette[np.setdiff1d(np.arange(256), used)] = 0
        # Readers take a BMP of two colours for one of a bit a pixel.
        most = 256 if image.format == "BMP" else int(used.max()) + 1
        bare.putpalette(palette[:most].tobytes(), "RGB")
    return bare


def _painted(image: Any, painted: Array) -> Any:
    """A copy with some of its pixels in grey; of a palette in the used colour next to it, of deep pixels the lowest."""
    from PIL import Image

    pixels = np.array(image)
    if painted.shape != pixels.shape[:2]:
        raise ReadError("expected what to paint over in the size of the picture, found another")
    if image.mode == "P":
        palette = np.frombuffer(bytes(image.getpalette("RGB")), np.uint8).reshape(-1, 3).astype(np.int64)
        used = np.unique(pixels)
        pixels[painted] = used[np.abs(palette[used] - _GREY).sum(axis=1).argmin()]
        copy = Image.frombytes("P", image.size, pixels.tobytes())
        copy.putpalette(image.getpalette("RGB"), "RGB")
        return copy
    pixels[painted] = _GREY if pixels.dtype == np.uint8 else pixels.min()
    if image.mode in ("RGBA", "LA"):
        pixels[painted, -1] = 255
    if image.mode == "1":
        return Image.fromarray(pixels)
    return Image.frombytes(image.mode, image.size, pixels.tobytes())


def _orientation(data: bytes) -> int:
    """EXIF orientation (1 to 8) of a JPEG file, 1 where there is none."""
    place = data.find(b"Exif\0\0", 0, 1 << 16)
    body = data[place + 6 : place + 6 + (1 << 16)] if place > 0 else b""
    if body[:2] not in (b"II", b"MM"):
        return 1
    order = "<" if body[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", body, 4)
        (count,) = struct.unpack_from(order + "H", body, start)
        for entry in range(min(count, 64)):
            tag, kind, number, value = struct.unpack_from(order + "HHIH", body, start + 2 + 12 * entry)
            if tag == 0x0112 and kind == 3 and number == 1 and 1 <= value <= 8:
                return int(value)
    except struct.error:
        return 1
    return 1


def stated_orientation(image: Any) -> int:
    """EXIF orientation (1 to 8) of an image that Pillow opened; upright where there is none or it is damaged."""
    try:
        orientation = int(image.getexif().get(0x0112, 1))
    except (SyntaxError, ValueError, TypeError, OSError, struct.error):
        return 1
    return orientation if 1 <= orientation <= 8 else 1


def _orientation_exif(orientation: int) -> bytes:
    """EXIF, as a TIFF of one entry, that says nothing but the orientation; empty for upright."""
    if orientation == 1:
        return b""
    return b"MM\0\x2a\0\0\0\x08\0\x01" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + b"\0\0\0\0"


def _orientation_segment(orientation: int) -> bytes:
    exif = _orientation_exif(orientation)
    return b"\xff\xe1" + (len(exif) + 8).to_bytes(2, "big") + b"Exif\0\0" + exif if exif else b""
