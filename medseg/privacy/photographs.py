"""Photographs: looked at for faces, for tattoos and for text, which is painted over.

Text is looked for in the upright picture, in every direction, and again after it was painted over, until nothing can be
read. What is over the lesion, or too much, is for a person to decide.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from medseg.errors import ReadError
from medseg.privacy.faces import faces_are_here, shows_a_face
from medseg.privacy.guards import QuarantineError
from medseg.privacy.images import clean_image, clean_jpeg, paint_jpeg, stated_orientation
from medseg.privacy.ocr import find_lines, ocr_is_here, read_any_way
from medseg.privacy.pixels import grey_view, grey_views
from medseg.privacy.tattoos import MAYBE_A_TATTOO, shows_a_tattoo
from medseg.privacy.text_boxes import in_one_line
from medseg.types import Array

__all__ = ["MOST_PAINTED", "Photograph", "clean_photograph", "photographs_can_be_looked_at", "preview_pair"]

MOST_PAINTED = 0.10
"""The largest share of a picture that is painted over without a person."""
_SIDE, _LARGEST = 960, 1920
"""Pixels of the longer side that the detector sees; larger pictures are seen at both."""
_SMALLEST = 736
"""Pixels of the shorter side; smaller pictures are seen larger."""
_SURE = 0.75
_LETTERS = 4
"""A line with so many letters or digits, of which the reader is sure, is text; a ruler's ticks and units aren't."""
_FEW_LETTERS, _LESS_SURE = 2, 0.4
"""Beside text, a line that reads like this is painted over too."""
_GAP = 2.0
"""Heights of a line: what is as high and stands no farther beside it is painted over with it, unread."""
_PADDING = 0.4
_ROUNDS = 4
_REACH = 4
"""Pixels around painted blocks of a JPEG whose colours a decoder blends with theirs."""
_PREVIEW_SIDE = 768
_JPEG = (".jpg", ".jpeg")
_DEEP = ("I", "F", "I;16", "I;16B", "I;16L")
_READABLE = "something can be read in this picture; a person has to look at it"


@dataclass(frozen=True, slots=True)
class Photograph:
    """A photograph that has been looked at.

    Attributes:
        data: Its file, clean.
        painted: Share of the picture that was painted over, 0 where nothing was.
    """

    data: bytes
    painted: float


def photographs_can_be_looked_at() -> bool:
    """Whether the optional detectors, of text and of faces, are installed."""
    return ocr_is_here() and faces_are_here()


def clean_photograph(data: bytes, suffix: str, *, paint: bool, decided: bool = False) -> Photograph:
    """Look at a photograph, paint over the text in it, and take away everything but the pixels.

    Args:
        data: A JPEG, PNG, TIFF, BMP or WebP file.
        suffix: What its name ends in.
        paint: Paint text over; without it, a picture with text waits for a person.
        decided: A person has seen the picture and wants its text painted over: faces and tattoos pass, and so does
            much text.

    Raises:
        MissingExtraError: A detector isn't installed.
        QuarantineError: A person has to look at it.
        ReadError: The file can't be decoded.
    """
    picture = _upright(data)
    if not decided and shows_a_face(picture.pixels):
        raise QuarantineError("a face may show in this picture; a person has to look at it")
    painted, is_text = _text(picture.pixels)
    if not is_text:
        _refuse_faint_text(data)
        if not decided:
            _refuse_tattoos(picture.pixels, None)
        return Photograph(_clean(data, suffix), 0.0)
    if not paint:
        raise QuarantineError(_READABLE)
    for _ in range(_ROUNDS):
        if not decided:
            _check(painted)
        clean, grown = _paint(data, suffix, picture.stored(painted))
        painted = painted | picture.as_seen(grown)
        again = _upright(clean, orientation=picture.orientation)
        _compare(picture, again, painted)
        more, is_text = _text(again.pixels)
        if not is_text:
            _refuse_faint_text(clean)
            if not decided:
                _check(painted)
                _refuse_tattoos(again.pixels, painted)
            return Photograph(clean, float(painted.mean()))
        painted = painted | more
    raise QuarantineError("text may still be legible after painting over it; a person has to look at it")


def preview_pair(before: bytes, after: bytes) -> bytes:
    """A PNG of a photograph as it came and as it goes, side by side, for a person to look at.

    Raises:
        ReadError: A file can't be decoded.
    """
    from PIL import Image

    one = _upright(before)
    other = _upright(after, orientation=one.orientation)
    sheet = Image.fromarray(np.concatenate([one.pixels, other.pixels], axis=1))
    sheet.thumbnail((2 * _PREVIEW_SIDE, _PREVIEW_SIDE))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


@dataclass(frozen=True, slots=True)
class _Upright:
    """A picture as a person sees it: uint8, (rows, columns, 3), RGB; and the EXIF orientation (1 to 8) of its file."""

    pixels: Array
    orientation: int

    def stored(self, mask: Array) -> Array:
        """A mask (rows, columns) of the upright picture, as the file has its rows and columns."""
        return _turned(mask, {6: 8, 8: 6}.get(self.orientation, self.orientation))

    def as_seen(self, mask: Array) -> Array:
        """A mask of the file's rows and columns, upright."""
        return _turned(mask, self.orientation)


def _turned(pixels: Array, orientation: int) -> Array:
    """Rows and columns as an EXIF orientation asks for."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def _upright(data: bytes, *, orientation: int | None = None) -> _Upright:
    """A file's picture, turned as its EXIF says or as is asked for."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                image.load()
                orientation = stated_orientation(image) if orientation is None else orientation
                pixels = _seen(image)
    except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError):
        raise ReadError("expected a complete image, found a damaged or cut off one") from None
    return _Upright(np.ascontiguousarray(_turned(pixels, orientation)), orientation)


def _seen(image: Any) -> Array:
    """The pixels as 8 bits a colour; deep ones from the lowest to the highest value, where alpha is 0 black."""
    from PIL import Image

    if image.mode in _DEEP:
        return grey_view(np.asarray(image))
    if image.mode in ("RGBA", "LA", "PA") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
        pixels = np.array(image)
        pixels[pixels[..., 3] == 0] = 0
        image = Image.fromarray(pixels[..., :3])
    pixels = np.array(image.convert("RGB"), np.uint8)
    return pixels


def _text(pixels: Array) -> tuple[Array, bool]:
    """What to paint over, bool, (rows, columns), and whether anything in the picture is text."""
    from PIL import Image, ImageDraw

    is_text = False
    lines: list[Array] = []
    others: list[Array] = []
    for line, letters, sure in _lines(pixels):
        is_text = is_text or (letters >= _LETTERS and sure >= _SURE)
        (lines if letters >= _FEW_LETTERS and sure >= _LESS_SURE else others).append(line)
    while beside := [line for line in others if any(in_one_line(line, word, gap=_GAP) for word in lines)]:
        lines += beside
        others = [line for line in others if not any(line is one for one in beside)]
    drawing = Image.new("1", (pixels.shape[1], pixels.shape[0]))
    pen = ImageDraw.Draw(drawing)
    for polygon in lines:
        pen.polygon([(float(x), float(y)) for x, y in _grown(polygon)], fill=1)
    return np.array(drawing), is_text


def _refuse_faint_text(data: bytes) -> None:
    """Raise where text in deep pixels differs so little from what is around that only a narrow grey scale shows it."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        views = grey_views(np.asarray(image)) if image.mode in _DEEP else []
    if any(_text(view)[1] for view in views[1:]):
        raise QuarantineError(_READABLE)


def _lines(pixels: Array) -> Iterator[tuple[Array, int, float]]:
    """Lines that the detector sees: corners (4, 2) of x and y in pixels, letters or digits read, how sure."""
    picture = np.ascontiguousarray(pixels[..., ::-1])
    longer, shorter = max(pixels.shape[:2]), min(pixels.shape[:2])
    scales = [max(min(1.0, _SIDE / longer), min(_SMALLEST / shorter, _LARGEST / longer))]
    if longer * 2 >= _SIDE + _LARGEST:
        scales.append(min(1.0, _LARGEST / longer))
    for scale in scales:
        for polygon in find_lines(picture, scale=scale, sure=0.3):
            best = max(
                ((sum(sign.isalnum() for sign in text), sure) for text, sure in read_any_way(picture, polygon)),
                key=lambda read: (read[0] >= _LETTERS and read[1] >= _SURE, read[1] * (read[0] >= _FEW_LETTERS)),
                default=(0, 0.0),
            )
            yield polygon, *best


def _grown(polygon: Array) -> Array:
    """A rectangle with some room around it, in proportion to its shorter side; corners clockwise."""
    along, across = polygon[1] - polygon[0], polygon[3] - polygon[0]
    wide, high = max(float(np.linalg.norm(along)), 1e-6), max(float(np.linalg.norm(across)), 1e-6)
    room = 2.0 + _PADDING * min(wide, high)
    along, across = along * (room / wide), across * (room / high)
    corners = (-along - across, along - across, along + across, across - along)
    return np.stack([corner + away for corner, away in zip(polygon, corners, strict=True)])


def _check(painted: Array) -> None:
    """Raise where what is to be painted over is too much, or reaches into the middle, where the lesion is."""
    rows, columns = painted.shape
    if painted[rows // 3 : rows - rows // 3, columns // 3 : columns - columns // 3].any():
        raise QuarantineError("something can be read in the middle of this picture, where the lesion may be")
    if painted.mean() > MOST_PAINTED:
        raise QuarantineError(f"something can be read on more than {MOST_PAINTED:.0%} of this picture")


def _refuse_tattoos(pixels: Array, painted: Array | None) -> None:
    """Raise where a tattoo may show beside what was painted over."""
    if shows_a_tattoo(pixels, painted=painted):
        raise QuarantineError(MAYBE_A_TATTOO)


def _paint(data: bytes, suffix: str, painted: Array) -> tuple[bytes, Array]:
    """The clean file with some of it painted over, and what was painted, as the file has its rows and columns."""
    if suffix not in _JPEG:
        return clean_image(data, suffix, painted=painted), painted
    try:
        return paint_jpeg(clean_jpeg(data), painted)
    except ReadError:
        raise QuarantineError(_READABLE) from None


def _clean(data: bytes, suffix: str) -> bytes:
    return clean_jpeg(data) if suffix in _JPEG else clean_image(data, suffix)


def _compare(before: _Upright, after: _Upright, painted: Array) -> None:
    """Raise where anything else than what was painted has changed; colours of a JPEG reach a little further."""
    near = painted
    for axis in (0, 1):
        near = np.logical_or.reduce([np.roll(near, step, axis) for step in range(-_REACH, _REACH + 1)])
    if before.pixels.shape != after.pixels.shape or (before.pixels != after.pixels)[~near].any():
        raise QuarantineError(_READABLE)
