"""Picture: a 2D image of a camera in JPEG, PNG, TIFF or BMP, without a place in the world.

Its affine is the identity: one pixel is one unit. Pixels are taken as they are stored; an EXIF orientation doesn't turn
them, because a label map is drawn on either the stored or the turned picture and only its shape can tell which.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from medseg.errors import GeometryError, ReadError
from medseg.privacy.limits import MAX_PIXELS
from medseg.types import Array, Shape

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "exif_orientation",
    "orientation_of",
    "picture_size",
    "read_colours",
    "read_indices",
    "read_picture",
    "require_same_size",
    "save_png",
]

_ORIENTATION_TAG: Final = 0x0112
_FEWEST_BETWEEN: Final = 3
"""Values between 0 and 255 that make a mask suspect."""
_FORMATS: Final = ("JPEG", "PNG", "TIFF", "BMP", "MPO")


def read_picture(path: Path) -> tuple[Array, tuple[str, ...]]:
    """Read a picture.

    Returns:
        The array with axes (channel, x, y), x the column and y the row: 3 channels uint8 for colour, 1 channel uint8,
        uint16 or float32 for grey; and notes.

    Raises:
        ReadError: The file is missing, truncated, has several pages, is too large or of another format.
    """
    notes = []
    with _open(path) as image:
        mode = image.mode
        if exif_orientation(image) != 1:
            notes.append("EXIF orientation not applied: pixels as stored")
        with _decoding():
            image.load()
            if mode in ("L", "1"):
                array: Array = np.asarray(image.convert("L"))
            elif mode.startswith("I;16") or mode == "I":
                array = _grey(np.asarray(image))
            elif mode == "F":
                array = np.asarray(image, dtype=np.float32)
            else:
                if "A" in image.getbands():
                    notes.append("transparency dropped")
                array = np.asarray(image.convert("RGB"))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ReadError("the image holds NaN or infinity; expected numbers everywhere")
    planes = array[np.newaxis] if array.ndim == 2 else np.moveaxis(array, -1, 0)
    return planes.transpose(0, 2, 1), tuple(notes)


def read_indices(path: Path) -> Array:
    """Read a picture that holds labels: grey values, palette indices, or equal red, green and blue.

    Returns:
        Integers, axes (x, y).

    Raises:
        ReadError: As `read_picture`; also where transparency or smeared edges leave open what the labels are.
    """
    with _open(path) as image:
        _require_exact(image)
        with _decoding():
            image.load()
        if image.mode == "1":
            return np.asarray(image).astype(np.uint8).T
        if image.mode == "P":
            return np.asarray(image).T
        _require_opaque(image)
        colours = np.asarray(image if len(image.getbands()) == 1 else image.convert("RGB"))
    values = colours if colours.ndim == 2 else colours[..., 0]
    if not (values[..., np.newaxis] == np.atleast_3d(colours)).all():
        raise ReadError("expected one value a pixel in a label map; found colours. Export it as a grey or indexed PNG")
    _require_sharp(values)
    return values.T


def read_colours(path: Path) -> Array:
    """Read a picture that holds labels as colours; a palette is looked up.

    Returns:
        uint8, axes (red green blue, x, y).

    Raises:
        ReadError: As `read_picture`; also for JPEG, which smears colours.
    """
    with _open(path) as image:
        _require_exact(image)
        with _decoding():
            image.load()
        _require_opaque(image)
        colours = np.asarray(image.convert("RGB"))
    return colours.transpose(2, 1, 0)


def picture_size(path: Path) -> tuple[int, int]:
    """Columns and rows, from the header alone.

    Raises:
        ReadError: As `read_picture`.
    """
    with _open(path) as image:
        return int(image.width), int(image.height)


def require_same_size(picture: Shape, label: Shape) -> None:
    """Refuse a label map of another size than its picture.

    Raises:
        GeometryError: Names both.
    """
    if picture != label:
        first, second = (" x ".join(str(n) for n in shape) for shape in (picture, label))
        raise GeometryError(
            f"image and label map differ in size: {first} and {second} pixels; export the label map in the image's size"
        )


def exif_orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 (as stored) when there is none or it is damaged."""
    try:
        value = int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        # A damaged EXIF block can raise anything; it is dropped on import anyway.
        return 1
    return value if 1 <= value <= 8 else 1


def orientation_of(path: Path) -> int:
    """EXIF orientation of a file, 1 to 8.

    Raises:
        ReadError: As `read_picture`.
    """
    with _open(path) as image:
        return exif_orientation(image)


def save_png(array: Array, path: Path) -> None:
    """Write axes (channel, x, y) or (x, y), uint8 or uint16, as PNG without any metadata."""
    from PIL import Image

    from medseg.data.files import atomic_write

    rows = np.ascontiguousarray(np.moveaxis(array, 0, -1).swapaxes(0, 1) if array.ndim == 3 else array.T)
    rows = rows[..., 0] if rows.ndim == 3 and rows.shape[-1] == 1 else rows
    with atomic_write(path) as stream:
        Image.fromarray(rows).save(stream, format="PNG", compress_level=4)


def _open(path: Path) -> Image.Image:
    from PIL import Image

    if not path.is_file():
        raise ReadError("expected a picture; found no file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of large pictures; the limit below is ours.
            image = Image.open(path)
            pages = getattr(image, "n_frames", 1)  # Of a TIFF, walks through the file.
    except MemoryError:
        raise
    except Exception:
        # Pillow raises whatever a damaged file makes it raise.
        raise ReadError("the picture is damaged, too large, or of another format than its ending says") from None
    if image.format not in _FORMATS:
        image.close()
        raise ReadError("expected a JPEG, PNG, TIFF or BMP picture; found another format")
    if image.width * image.height > MAX_PIXELS:
        image.close()
        raise ReadError(f"the header claims more than {MAX_PIXELS:,} pixels; nothing that large is read")
    if pages > 1 and image.format != "MPO":
        image.close()
        raise ReadError("expected one picture in the file; found several pages. Save each page as a file of its own")
    return image


@contextmanager
def _decoding() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        # Pillow raises whatever a damaged file makes it raise.
        raise ReadError(f"the picture is truncated or damaged ({type(error).__name__}); copy it again") from None


def _require_exact(image: Image.Image) -> None:
    if image.format in ("JPEG", "MPO"):
        raise ReadError("a label map in JPEG is not exact, its edges are smeared; export it as PNG")


def _require_opaque(image: Image.Image) -> None:
    """Refuse labels that are drawn as transparency, which may contradict the colours that are there."""
    if "A" not in image.getbands():
        return
    pixels = np.asarray(image.convert("RGBA"))
    if pixels[pixels[..., 3] < 255][:, :3].any():
        raise ReadError(
            "the label map is transparent where it isn't black, and nothing says whether its colours or its "
            "transparency are the label; export it without transparency"
        )


def _require_sharp(values: Array) -> None:
    """Refuse a mask of 0 and 255 with a seam of values between them, which would all be labels."""
    if values.dtype != np.uint8:
        return
    counts = np.bincount(values.ravel(), minlength=256)
    between = counts[1:255]
    if np.count_nonzero(between) < _FEWEST_BETWEEN or between.sum() >= counts[255]:
        return
    rows, columns = values.shape
    core = values[1:-1, 1:-1]
    even = (core > 0) & (core < 255)
    for down, right in np.ndindex(3, 3):
        even &= core == values[down : rows - 2 + down, right : columns - 2 + right]
    if not even.any():  # An area has an inside, a seam has none.
        raise ReadError(
            f"the mask holds 0, 255 and {np.count_nonzero(between)} values between them along its edges: it was "
            "resized or smoothed. Export it without, or set a threshold first"
        )


def _grey(values: Array) -> Array:
    if values.dtype == np.uint16:
        return values
    if values.size and (values.min() < 0 or values.max() > 65535):
        return values.astype(np.float32)
    return values.astype(np.uint16)
