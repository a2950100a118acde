"""Codec: pixels in a form that pydicom's decoders leave out, frame by frame.

Two of these forms need nothing: frames deflated one by one (PS3.5 section A.4.13) and plain ones in fragments (section
A.4.11). The extra ``codecs`` brings imagecodecs, which decodes JPEG XL and the JPEG processes that the standard retired
(progressive, spectral selection, arithmetic coding); the extra ``video`` brings PyAV for films (`medseg.privacy.film`).
"""

from __future__ import annotations

import importlib.util
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Final

import numpy as np
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from medseg.errors import MissingExtraError, ReadError
from medseg.privacy.film import FILMS, Film
from medseg.privacy.fragments import each_coded_frame
from medseg.privacy.limits import require_plausible
from medseg.types import Array

__all__ = [
    "DEFLATED_FRAMES",
    "NATIVE",
    "Layout",
    "brings_colours",
    "coded_frames",
    "extra_of",
    "has_extra",
    "is_coded",
    "name_of",
    "unpacked",
]

NATIVE: Final = frozenset(
    map(str, (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian))
)
"""Transfer syntaxes whose pixels lie bit by bit as the header says; they need no decoder."""
_STEM: Final = "1.2.840.10008.1.2."
DEFLATED_FRAMES: Final = f"{_STEM}8.1"
_PLAIN_FRAMES: Final = f"{_STEM}1.98"
_JPEG_XL: Final = {
    f"{_STEM}4.110": "JPEG XL Lossless",
    f"{_STEM}4.111": "JPEG XL JPEG Recompression",
    f"{_STEM}4.112": "JPEG XL",
}
_OLDER_JPEG: Final = frozenset(f"{_STEM}4.{number}" for number in range(52, 57))
_PACKAGES: Final = {"codecs": "imagecodecs", "video": "av"}
_NAMES: Final = {**_JPEG_XL, DEFLATED_FRAMES: "Deflated Image Frame Compression"}


_COLOUR_MARKS: Final = re.compile(rb"\xff\xe0..JFIF\0|\xff\xee..Adobe", re.DOTALL)
"""Segments of a JPEG that say in what colours it is coded."""
_AS_CODED: Final = {"colorspace": "YCBCR", "outcolorspace": "YCBCR"}
"""No conversion; of what, doesn't matter."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the header says that the pixels lie: counts, bits allocated, sign, and whether colours lie plane by plane.

    `is_rgb` says whether it states red, green and blue.
    """

    frames: int
    rows: int
    columns: int
    samples: int
    allocated: int
    signed: bool
    by_plane: bool = False
    is_rgb: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one frame: (rows, columns), or (rows, columns, samples)."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)


def is_coded(syntax: str) -> bool:
    """Whether a transfer syntax is one that is decoded here."""
    return syntax in (DEFLATED_FRAMES, _PLAIN_FRAMES) or bool(extra_of(syntax))


def extra_of(syntax: str) -> str:
    """The extra that decodes a transfer syntax; empty where none does or none is needed."""
    if syntax in FILMS:
        return "video"
    return "codecs" if syntax in _JPEG_XL or syntax in _OLDER_JPEG else ""


def has_extra(extra: str) -> bool:
    """Whether the extra ``codecs`` or ``video`` is installed."""
    return importlib.util.find_spec(_PACKAGES[extra]) is not None


def brings_colours(syntax: str) -> bool:
    """Whether colours come out as red, green and blue, whatever colour space the header names."""
    return bool(extra_of(syntax))


def name_of(syntax: str) -> str:
    """The standard's name of a transfer syntax that pydicom doesn't know; else empty."""
    return _NAMES.get(syntax, "")


def unpacked(frame: bytes, size: int) -> bytes:
    """The bytes of a deflated frame (RFC 1951), at most `size` of them.

    Raises:
        ReadError: It is damaged, or holds fewer.
    """
    try:
        data = zlib.decompressobj(-15).decompress(frame, size)
    except zlib.error:
        raise ReadError("a deflated frame is damaged; copy the file again") from None
    if len(data) < size:
        raise ReadError("a deflated frame holds fewer pixels than the header states; copy the file again")
    return data


def coded_frames(raw: bytes, syntax: str, layout: Layout, *, places: Sequence[int] | None = None) -> Iterator[Array]:
    """Decode frames one by one.

    Args:
        raw: The value of the pixel data: fragments.
        syntax: A transfer syntax that `is_coded`.
        layout: What the header says.
        places: Numbers of the frames that are wanted, from 0 and increasing; None for all.

    Yields:
        Stored values of the allocated type, in the layout's shape.

    Raises:
        MissingExtraError: The extra that decodes it isn't installed.
        ReadError: The pixels are damaged, or not those that the header states.
    """
    wanted = range(layout.frames) if places is None else places
    count = int(np.prod(layout.shape))
    if layout.allocated not in (8, 16, 32):
        raise ReadError(
            f"expected 8, 16 or 32 bits allocated a pixel in this transfer syntax; found {layout.allocated}"
        )
    require_plausible(layout.frames * count * layout.allocated // 8, len(raw))
    if syntax in FILMS:
        yield from Film(raw, rows=layout.rows, columns=layout.columns, frames=layout.frames).read(wanted)
        return
    library = _imagecodecs() if extra_of(syntax) else None
    chosen = frozenset(wanted)
    for number, frame in enumerate(each_coded_frame(raw, layout.frames)):
        if number not in chosen:
            continue
        if library is None:
            yield _plain(unpacked(frame, count * layout.allocated // 8) if syntax == DEFLATED_FRAMES else frame, layout)
        else:
            yield _decoded(library, frame, syntax, layout)


def _plain(data: bytes, layout: Layout) -> Array:
    kind = np.dtype(f"<{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    count = int(np.prod(layout.shape))
    if len(data) < count * kind.itemsize:
        raise ReadError("a frame holds fewer pixels than the header states; copy the file again")
    values: Array = np.frombuffer(data, kind, count)
    if layout.by_plane and layout.samples > 1:
        return np.moveaxis(values.reshape(layout.samples, layout.rows, layout.columns), 0, -1).copy()
    return values.reshape(layout.shape).copy()


def _decoded(library: ModuleType, frame: bytes, syntax: str, layout: Layout) -> Array:
    """A frame of JPEG XL or JPEG; memory for it is of the header's size, so that the frame's own can't ask for more.

    Of a JPEG that doesn't say in what colours it is coded the DICOM header says it, as pydicom and DCMTK have it.
    """
    decode, options = library.jpegxl_decode, {}
    if syntax not in _JPEG_XL:
        is_told = _COLOUR_MARKS.search(frame, 0, max(0, frame.find(b"\xff\xda"))) is not None
        decode, options = library.jpeg8_decode, _AS_CODED if layout.is_rgb and not is_told else {}
    problem = ""
    for kind in (np.uint8, np.uint16) if layout.allocated == 8 else (np.uint16, np.uint8):
        try:
            values = decode(frame, out=np.empty(layout.shape, kind), **options)
        except Exception as error:
            # Decoders raise whatever they like on damaged or exotic data.
            problem = problem or type(error).__name__
            continue
        stored: Array = np.asarray(values).astype(f"u{layout.allocated // 8}")
        return stored.view(f"i{layout.allocated // 8}") if layout.signed else stored
    raise ReadError(
        f"a frame is damaged ({problem}), or has not the {layout.columns} x {layout.rows} pixels that the header states"
    )


def _imagecodecs() -> ModuleType:
    try:
        import imagecodecs
    except ImportError:
        raise MissingExtraError("decoding JPEG XL and retired JPEG processes", "codecs") from None
    library: ModuleType = imagecodecs
    return library
