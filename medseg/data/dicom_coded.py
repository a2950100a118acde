"""Coded pixels: those of DICOM files whose form pydicom doesn't decode (`medseg.privacy.codecs`), films among them.

Every frame of a film becomes an image of its own, and those are read one after the other: each thread keeps the film
that it read last open, so that the next frame doesn't begin at the first one again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import UID

from medseg.data.dicom_header import Header, read_dataset, refusing_damage
from medseg.data.dicom_syntax import transfer_syntax, undecodable
from medseg.errors import MissingExtraError, ReadError
from medseg.privacy.codecs import Layout, brings_colours, coded_frames
from medseg.privacy.film import FILMS, Film
from medseg.types import Array

__all__ = ["PIXELS", "coded_values", "film_frames", "is_film", "require_pixels"]

PIXELS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
"""Keywords under which a file may have its pixels."""
_last = threading.local()


def require_pixels(dataset: Dataset) -> None:
    """Refuse a file without pixels.

    Raises:
        ReadError: It has none.
    """
    if not any(keyword in dataset for keyword in PIXELS):
        raise ReadError("expected pixels; the DICOM file has none. Export the series again")


def coded_values(dataset: Dataset, places: Sequence[int] | None = None) -> Iterator[Array]:
    """Stored values of frames, (rows, columns) or (rows, columns, 3) red, green and blue.

    Args:
        dataset: A data set in a transfer syntax that `medseg.privacy.codecs.is_coded`.
        places: Numbers of the frames that are wanted, from 0 and increasing; None for all.

    Raises:
        ReadError: They are missing or damaged, or the extra for them isn't installed.
    """
    require_pixels(dataset)
    syntax = transfer_syntax(dataset)
    with refusing_damage("the DICOM header", remedy="export the file again"):
        colours = str(dataset.get("PhotometricInterpretation", "") or "")
        layout = Layout(
            frames=max(1, int(dataset.get("NumberOfFrames") or 1)),
            rows=int(dataset.Rows),
            columns=int(dataset.Columns),
            samples=int(dataset.get("SamplesPerPixel", 1) or 1),
            allocated=int(dataset.BitsAllocated),
            signed=int(dataset.get("PixelRepresentation", 0) or 0) == 1,
            by_plane=int(dataset.get("PlanarConfiguration", 0) or 0) == 1,
            is_rgb=colours == "RGB",
        )
        raw = bytes(dataset.PixelData or b"")
    if layout.samples == 3 and not brings_colours(str(syntax)) and colours not in ("RGB", "YBR_FULL"):
        raise ReadError(
            "expected RGB or YBR_FULL in this transfer syntax; found other colours. Export the image as RGB"
        )
    is_ybr = layout.samples == 3 and colours == "YBR_FULL" and not brings_colours(str(syntax))
    try:
        for stored in coded_frames(raw, str(syntax), layout, places=places):
            yield np.asarray(convert_color_space(stored, "YBR_FULL", "RGB")) if is_ybr else stored
    except MissingExtraError:
        raise ReadError(undecodable(syntax)) from None


def is_film(header: Header) -> bool:
    """Whether the pixels of a file are a film."""
    return header.transfer_syntax in FILMS


def film_frames(header: Header) -> Iterator[Array]:
    """The wanted frames of a film, red, green and blue, uint8, axes (row, column, colour).

    Raises:
        ReadError: It is damaged or isn't what the header states, or the extra ``video`` isn't installed.
    """
    if header.samples != 3:
        raise ReadError(f"expected a film in colours; found {header.samples} samples a pixel. Export single frames")
    try:
        yield from _film(header).read(sorted(header.frame_numbers))
    except MissingExtraError:
        raise ReadError(undecodable(UID(header.transfer_syntax))) from None


def _film(header: Header) -> Film:
    try:
        facts = header.path.stat()
    except OSError:
        raise ReadError("the DICOM file is missing or cannot be read") from None
    key = (header.path, facts.st_size, facts.st_mtime_ns)
    if getattr(_last, "key", None) != key:
        dataset = read_dataset(header.path, tags=[tag_for_keyword("PixelData")], pixels=True)
        with refusing_damage("the DICOM film", remedy="export it again"):
            raw = bytes(dataset.PixelData)
        _last.film = Film(raw, rows=header.rows, columns=header.columns, frames=header.frame_count)
        _last.key = key
    film: Film = _last.film
    return film
