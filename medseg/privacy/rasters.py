"""Rasters: where files keep voxels as they are: their grey levels may read as text, all around them is searched.

Run lengths count as such: what doesn't repeat stands in them as it is.

Sources: NIfTI-1 and -2, NRRD and MetaImage headers (`nifti`, `volumes`), the array header of `numpy.lib.format`, bitmap
headers, TIFF 6.0 strips and tiles, DICOM PS3.5 section 7.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import pydicom
from pydicom.uid import RLELossless

from medseg.privacy.deflated import is_deflated
from medseg.privacy.dicom_layers import looks_like_dicom
from medseg.privacy.nifti import nifti_body
from medseg.privacy.volumes import meta_image_body, nrrd_body
from medseg.privacy.voxels import Body

__all__ = ["packed_body", "voxel_spans"]

_Found = TypeVar("_Found")
_UNDEFINED = 0xFFFFFFFF
_PIXEL_SIZES = {"Rows": 0, "Columns": 0, "BitsAllocated": 0, "SamplesPerPixel": 1, "NumberOfFrames": 1}
_BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_TIFF_OFFSETS_AND_LENGTHS = ((273, 279), (324, 325))


def packed_body(data: bytes) -> Body | None:
    """Where the packed voxels of an NRRD or MetaImage file begin; None of other files, of other voxels, of damage."""
    body = _first(data, _TEXT_HEADS)
    return body if body is not None and body.packing != "raw" else None


def voxel_spans(data: bytes) -> list[slice]:
    """Where voxels that nothing packs lie, in order; none in a file of another kind, or behind a damaged header."""
    spans = _first(data, _SPANS) or ()
    bounded = sorted((max(0, span.start), min(len(data), span.stop)) for span in spans)
    return [slice(start, stop) for start, stop in bounded if start < stop]


def _first(data: bytes, kinds: Sequence[tuple[Callable[[bytes], bool], Callable[[bytes], _Found]]]) -> _Found | None:
    for matches, read in kinds:
        if matches(data):
            try:
                return read(data)
            except Exception:
                # Hostile headers raise anything; without a header nothing is known to be voxels, so all is searched.
                return None
    return None


def _raw(body: Callable[[bytes], Body | None]) -> Callable[[bytes], list[slice]]:
    def span(data: bytes) -> list[slice]:
        found = body(data)
        return [slice(found.start, found.start + found.length)] if found and found.packing == "raw" else []

    return span


def _array(data: bytes) -> list[slice]:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return [slice(stream.tell(), stream.tell() + math.prod(shape) * dtype.itemsize)] if dtype.kind in "biufc" else []


def _bitmap(data: bytes) -> list[slice]:
    size, start = (int.from_bytes(data[at : at + 4], "little") for at in (2, 10))
    return [slice(start, size)]


def _strips(data: bytes) -> list[slice]:
    from PIL import Image, TiffImagePlugin

    found: list[slice] = []
    with Image.open(io.BytesIO(data)) as picture:
        for page in range(picture.n_frames if isinstance(picture, TiffImagePlugin.TiffImageFile) else 0):
            picture.seek(page)
            for offsets, lengths in _TIFF_OFFSETS_AND_LENGTHS:
                starts, sizes = (_numbers(picture.tag_v2.get(tag, ())) for tag in (offsets, lengths))
                found += [slice(start, start + size) for start, size in zip(starts, sizes, strict=False)]
    return found


def _numbers(value: object) -> tuple[int, ...]:
    return tuple(int(number) for number in value) if isinstance(value, Iterable) else (int(str(value)),)


def _pixels(data: bytes) -> list[slice]:
    stream = io.BytesIO(data)
    if is_deflated(stream):
        return []
    stream.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(stream, force=True, stop_before_pixels=True)
    start = stream.tell()
    head = data[start : start + 12]
    at = 8 if head[4:6].isalpha() else 4
    length = int.from_bytes(head[at : at + 4], "big" if head[:1] == b"\x7f" else "little")
    start += at + 4
    if len(head) < 12 or (length == _UNDEFINED and header.file_meta.get("TransferSyntaxUID") != RLELossless):
        return []
    if length == _UNDEFINED:
        return [slice(start, _end_of_fragments(data, start))]
    sizes = (header.get(name, least) or least for name, least in _PIXEL_SIZES.items())
    # What follows the last frame inside the element is none of its voxels.
    stated = -(-math.prod(map(int, sizes)) // 8)
    return [slice(start, start + min(length, stated))]


def _end_of_fragments(data: bytes, at: int) -> int:
    """Where the items of encapsulated pixel data end (PS3.5 annex A.4)."""
    while data[at : at + 4] == b"\xfe\xff\x00\xe0":
        at += 8 + int.from_bytes(data[at + 4 : at + 8], "little")
    return at


def _is_bitmap(data: bytes) -> bool:
    return data.startswith(b"BM") and int.from_bytes(data[14:18], "little") in _BITMAP_HEADERS


def _is_nifti(data: bytes) -> bool:
    return data[344:348] == b"n+1\0" or data[4:8] == b"n+2\0"


def _is_nrrd(data: bytes) -> bool:
    return data.startswith(b"NRRD000")


def _is_meta_image(data: bytes) -> bool:
    return data.startswith((b"ObjectType", b"NDims"))


_TEXT_HEADS = ((_is_nrrd, nrrd_body), (_is_meta_image, meta_image_body))
_SPANS = (
    *((matches, _raw(body)) for matches, body in _TEXT_HEADS),
    (_is_nifti, _raw(nifti_body)),
    (lambda data: data.startswith(b"\x93NUMPY"), _array),
    (_is_bitmap, _bitmap),
    (lambda data: data.startswith((b"II*\0", b"MM\0*")), _strips),
    (looks_like_dicom, _pixels),
)
