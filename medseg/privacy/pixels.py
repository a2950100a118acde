"""Text in pixels: found on every frame and painted over in the stored pixels.

The detector looks at each frame in up to two grey scales. Boxes found on one frame are painted on all of them, since
text stays where it is while the picture moves; then the detector looks again, until it finds nothing.
"""

from __future__ import annotations

import io

import numpy as np
from pydicom.dataset import Dataset

from medseg.errors import MissingExtraError, ReadError
from medseg.privacy.faces import shows_a_face
from medseg.privacy.frames import CleanPixels, Decoded, clean_pixel_data, decode_frames, native_bytes, pixel_facts
from medseg.privacy.guards import QuarantineError
from medseg.privacy.ocr import find_lines, ocr_is_here, read_any_way, require_ocr
from medseg.privacy.person import raw_bytes
from medseg.privacy.sheet import contact_sheet
from medseg.privacy.tattoos import MAYBE_A_TATTOO, shows_a_tattoo
from medseg.privacy.text_boxes import find_text
from medseg.types import Array

__all__ = [
    "can_be_read",
    "clean_text",
    "grey_view",
    "grey_views",
    "is_label_picture",
    "ocr_is_here",
    "picture_file",
    "preview",
    "preview_image",
]

_ROUNDS = 4
_PHOTOGRAPHS = frozenset(("7", "7.4", "77.1.4", "77.1.7"))
"""SOP classes, by their end, that may hold a photograph of a person: secondary capture, visible light, dermoscopy."""
_CAPTURE, _TOMOGRAPHY = "7", frozenset((b"CT", b"MR", b"PT", b"NM"))
"""The secondary capture, and modalities whose captures in false colours aren't looked at for tattoos."""
_PREVIEW_SIDE = 768
_SURE = 0.75
_MOST_VALUES, _NEARLY_ALL_VALUES = (1.0, 99.0), (0.05, 99.95)
"""Percentiles between which a second grey scale lies."""
_NARROW = 0.6
"""Of the whole range; a second grey scale that is wider shows nothing new."""
_READ_SIDE = 736
"""Pixels; the detector sees smaller pictures larger."""


def clean_text(source: Dataset, tag: int, transfer_syntax: str) -> CleanPixels:
    """Paint over text in the pixels of a data set.

    Args:
        source: The data set as read.
        tag: Its pixel data's tag.
        transfer_syntax: Its transfer syntax UID.

    Returns:
        The pixel data as they were, if no text was found; else uncompressed, with text painted over on all frames.

    Raises:
        MissingExtraError: The text detector isn't installed.
        QuarantineError: Text stays legible, or the pixels can't be looked at.
        ReadError: The pixel data are damaged.
    """
    require_ocr()
    facts = pixel_facts(source)
    if facts.allocated not in (8, 16) or tag != 0x7FE00010:
        raise QuarantineError("pixels of another kind than 8 or 16 bits; a person has to look at them for text")
    decoded = decode_frames(source, tag, transfer_syntax)
    frames = decoded.array
    photographs = _photographs(source, decoded)
    _refuse_faces(photographs)
    painted = np.zeros(frames.shape[1:3], bool)
    for attempt in range(_ROUNDS):
        boxes = sorted(
            {
                box
                for frame in frames
                for box in find_text(_views(frame, decoded.photometric, source), quick=attempt > 0)
            },
            key=lambda box: (box.top, box.left),
        )
        if not boxes:
            break
        if not painted.any():
            frames = frames.copy()
        for box in boxes:
            painted[box.top : box.bottom, box.left : box.right] = True
            frames[:, box.top : box.bottom, box.left : box.right] = _blank(frames, decoded.photometric, source)
    else:
        raise QuarantineError("text may still be legible after painting over it; a person has to look at it")
    _refuse_tattoos(source, photographs, painted)
    if not painted.any():
        return clean_pixel_data(source, tag, transfer_syntax)
    return native_bytes(frames, decoded.photometric)


def _refuse_tattoos(source: Dataset, photographs: list[Array], painted: Array) -> None:
    """Raise where a photograph may show a tattoo beside what was painted over, bool, (rows, columns)."""
    if _class_end(source) == _CAPTURE and raw_bytes(source, 0x00080060).strip(b" \0") in _TOMOGRAPHY:
        return
    if any(shows_a_tattoo(view, painted=painted) for view in photographs):
        raise QuarantineError(MAYBE_A_TATTOO)


def _photographs(source: Dataset, decoded: Decoded) -> list[Array]:
    """The first and the middle frame of what may be a photograph, uint8, (rows, columns, 3); none of anything else."""
    if decoded.array.shape[3] < 3 or _class_end(source) not in _PHOTOGRAPHS:
        return []
    chosen = decoded.array[sorted({0, len(decoded.array) // 2})]
    return [_views(frame, decoded.photometric, source)[0] for frame in chosen]


def _class_end(source: Dataset) -> str:
    """The SOP class without what those of all images begin with."""
    return raw_bytes(source, 0x00080016).strip(b" \0").decode("latin-1").removeprefix("1.2.840.10008.5.1.4.1.1.")


def _refuse_faces(photographs: list[Array]) -> None:
    """Raise where a photograph shows a face, or where nothing here can look for one."""
    try:
        if any(map(shows_a_face, photographs)):
            raise QuarantineError("a face may show in this picture; a person has to look at it")
    except MissingExtraError as error:
        message = f"a photograph; a person has to look at it for faces and tattoos first ({error})"
        raise QuarantineError(message) from None


def can_be_read(picture: Array) -> bool:
    """Whether at least four letters or digits in a row can be read in a picture (rows, columns, 3), uint8.

    Raises:
        MissingExtraError: The text detector isn't installed.
    """
    lines = find_lines(picture, scale=max(1.0, _READ_SIDE / min(picture.shape[:2])), sure=0.5)
    words = (word for line in lines for word in read_any_way(picture, line))
    return any(sum(sign.isalnum() for sign in text) >= 4 and score >= _SURE for text, score in words)


def grey_view(frame: Array) -> Array:
    """A grey frame (rows, columns) as a picture of 8 bits and 3 colours, from its lowest to its highest value."""
    return _scaled(frame.astype(np.float32), float(frame.min()), float(frame.max()))


def grey_views(frame: Array) -> list[Array]:
    """A grey frame (rows, columns) as pictures of 8 bits and 3 colours, one a grey scale.

    The first is from its lowest to its highest value. Where few pixels lie far from all others there is a second, of
    those others: on the first, text that differs little from what is around would not show.
    """
    grey = frame.astype(np.float32)
    lowest, highest = float(grey.min()), float(grey.max())
    views = [_scaled(grey, lowest, highest)]
    low, high = (float(edge) for edge in np.percentile(grey, _MOST_VALUES))
    if low == high:  # On an even ground, letters are the few.
        low, high = (float(edge) for edge in np.percentile(grey, _NEARLY_ALL_VALUES))
    if 0 < high - low < _NARROW * (highest - lowest):
        views.append(_scaled(grey, low, high))
    return views


def _scaled(grey: Array, low: float, high: float) -> Array:
    """A grey picture, float32, (rows, columns), as one of 8 bits and 3 colours, between two values."""
    scaled = np.clip((grey - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.repeat(scaled.astype(np.uint8)[..., None], 3, axis=2)


def is_label_picture(data: bytes) -> bool:
    """Whether a picture has one channel of at most 16 values, as a drawn mask has."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.mode == "1" or (image.mode in ("L", "P") and len(image.getcolors() or ()) in range(1, 17))
    except (OSError, SyntaxError, ValueError):
        return False


def preview(source: Dataset, tag: int, transfer_syntax: str) -> bytes:
    """A PNG of the frames, for a person to look at: on it shows what stands on any one of them.

    Raises:
        ReadError: The pixel data are damaged.
    """
    decoded = decode_frames(source, tag, transfer_syntax)
    frames = decoded.array
    return picture_file(
        contact_sheet(len(frames), lambda number: _views(frames[number], decoded.photometric, source)[0])
    )


def preview_image(data: bytes) -> bytes:
    """A PNG of a photograph, for a person to look at.

    Raises:
        ReadError: The file can't be decoded.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            return picture_file(np.asarray(image.convert("RGB")))
    except (OSError, SyntaxError, ValueError):
        raise ReadError("expected a complete image, found a damaged or cut off one") from None


def picture_file(pixels: Array) -> bytes:
    """A PNG of a picture (rows, columns, 3), uint8, of a size that fits a screen."""
    from PIL import Image

    picture = Image.fromarray(pixels)
    picture.thumbnail((2 * _PREVIEW_SIDE, 2 * _PREVIEW_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _views(frame: Array, photometric: str, source: Dataset) -> list[Array]:
    """A frame (rows, columns, samples) as pictures of 8 bits and 3 colours, one a grey scale."""
    if photometric == "PALETTE COLOR":
        return [_palette(source)[np.minimum(frame[..., 0], len(_palette(source)) - 1)]]
    if frame.shape[2] >= 3:
        from pydicom.pixels.processing import convert_color_space

        colour = frame[..., :3].astype(np.uint8)
        if photometric.startswith("YBR"):
            colour = convert_color_space(colour, "YBR_FULL", "RGB")
        return [np.ascontiguousarray(colour)]
    return grey_views(frame[..., 0])


def _palette(source: Dataset) -> Array:
    """The colour look-up table, uint8, (entries, 3)."""
    channels = []
    for number in (1, 2, 3):
        descriptor = np.frombuffer(raw_bytes(source, 0x00281100 + number)[:6], "<u2")
        table = raw_bytes(source, 0x00281200 + number)
        if len(descriptor) != 3 or not table:
            raise QuarantineError("a palette that can't be read; a person has to look at the pixels for text")
        entries = int(descriptor[0]) or 65536
        wide = len(table) >= 2 * entries
        values = np.frombuffer(table, "<u2" if wide else np.uint8)[:entries].astype(np.float32)
        channels.append(values / max(float(values.max()), 1.0) * 255)
    length = min(map(len, channels))
    return np.stack([channel[:length] for channel in channels], axis=1).astype(np.uint8)


def _blank(frames: Array, photometric: str, source: Dataset) -> Array:
    """The stored value, one a sample, of an empty background."""
    if photometric == "PALETTE COLOR":
        used = _palette(source).astype(np.int32).sum(axis=1)
        return np.array([int(used.argmin())], frames.dtype)
    if photometric.startswith("YBR"):
        return np.array([0, 128, 128], frames.dtype)
    if frames.shape[-1] >= 3:
        return np.zeros(frames.shape[-1], frames.dtype)
    return np.array([frames.max() if photometric == "MONOCHROME1" else frames.min()], frames.dtype)
