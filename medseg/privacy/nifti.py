"""NIfTI: files with a header made anew of geometry and data type; voxels bit for bit."""

from __future__ import annotations

import gzip
import struct

import numpy as np

from medseg.errors import ReadError
from medseg.privacy.unfold import DAMAGED, gunzip, gunzip_start
from medseg.privacy.volume_heads import faceless_nifti
from medseg.privacy.voxels import Body, without_payload
from medseg.types import Array

__all__ = ["clean_nifti", "deface_nifti", "nifti_array", "nifti_body"]

_NO_TRANSFORM = "expected a transform in millimetres, found numbers that no body has"
_HEADER_BYTES = 540
_LARGEST_MM = 1e6
_LARGEST_SCALE = 1e15
_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
_FLOATS = {16: "f4", 32: "c8", 64: "f8"}
_INTEGERS = {2: "u1", 4: "i2", 8: "i4", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_COLOUR = 128


def clean_nifti(data: bytes, *, acknowledge_faces: bool = False) -> bytes:
    """A NIfTI-1 or NIfTI-2 file with the same voxels, scale and affine and an otherwise empty header.

    Args:
        data: The file, gzipped or not; the result is as the input was.
        acknowledge_faces: Let volumes of a head's size and with voxels below 2.5 mm pass.

    Raises:
        ReadError: The file is damaged, a header without its image, or may show a face.
    """
    header, voxels, order = _nifti(data)
    if not acknowledge_faces:
        faceless_nifti(header, voxels, order, deface=False)
    return _nifti_file(header, voxels, packed=_is_packed(data))


def deface_nifti(data: bytes) -> tuple[bytes, bool]:
    """As `clean_nifti`, with the face taken off a volume of a head; and whether there was one to take off.

    Raises:
        ReadError: As `clean_nifti`, or the face can't be taken off.
    """
    header, voxels, order = _nifti(data)
    faceless = faceless_nifti(header, voxels, order, deface=True)
    return _nifti_file(header, faceless, packed=_is_packed(data)), faceless != voxels


def nifti_array(data: bytes) -> Array:
    """The stored voxels of a NIfTI file, (x, y, z ...), of complex ones the real part; colours are an axis before x.

    Raises:
        ReadError: The file is damaged, or a header without its image.
    """
    header, voxels, order = _nifti(data)
    is_first = len(header) == 348
    dim = struct.unpack_from(order + ("8h" if is_first else "8q"), header, 40 if is_first else 16)
    (datatype,) = struct.unpack_from(order + "h", header, 70 if is_first else 12)
    kind = "u1" if datatype == _COLOUR else order + (_FLOATS | _INTEGERS)[datatype]
    shape = (*([3] if datatype == _COLOUR else []), *dim[1 : dim[0] + 1])
    return np.frombuffer(voxels, kind).reshape(shape, order="F").real


def nifti_body(data: bytes) -> Body:
    """Where an unpacked NIfTI file keeps its voxels.

    Raises:
        ReadError: The header is damaged, or one without its image.
    """
    _, place, _, _ = _nifti_head(data[:_HEADER_BYTES])
    return Body(place.start, place.stop - place.start, "raw")


def _is_packed(data: bytes) -> bool:
    return data[:2] == b"\x1f\x8b"


def _nifti_file(header: bytes, voxels: bytes, *, packed: bool) -> bytes:
    clean = header + b"\0\0\0\0" + voxels
    return gzip.compress(clean, 6, mtime=0) if packed else clean


def _nifti(data: bytes) -> tuple[bytes, bytes, str]:
    """The new header, the voxels and the byte order of a file; no more of it is unpacked than its header claims."""
    packed = _is_packed(data)
    header, place, kind, order = _nifti_head(gunzip_start(data, _HEADER_BYTES) if packed else data[:_HEADER_BYTES])
    raw = gunzip(data, most=place.stop) if packed else data
    if place.stop > len(raw):
        raise ReadError(DAMAGED)
    return header, without_payload(raw[place], order + kind), order


def _nifti_head(start: bytes) -> tuple[bytes, slice, str, str]:
    """The new header, where the voxels lie, their type and their byte order."""
    order = next((o for o in "<>" if struct.unpack_from(o + "i", start.ljust(4, b"\0"))[0] in (348, 540)), "")
    if not order:
        raise ReadError(DAMAGED)
    try:
        header, place, kind = (_nifti1 if struct.unpack_from(order + "i", start)[0] == 348 else _nifti2)(start, order)
    except struct.error:
        raise ReadError(DAMAGED) from None
    return header, place, kind, order


def _nifti1(raw: bytes, order: str) -> tuple[bytes, slice, str]:
    if raw[344:348] != b"n+1\0":
        raise ReadError("expected header and voxels in one file, found a pair or an Analyze header; save it as .nii.gz")
    dim = struct.unpack_from(order + "8h", raw, 40)
    datatype, bits = struct.unpack_from(order + "2h", raw, 70)
    pixdim = struct.unpack_from(order + "8f", raw, 76)
    offset, slope, inter = struct.unpack_from(order + "3f", raw, 108)
    qform, sform = struct.unpack_from(order + "2h", raw, 252)
    geometry = struct.unpack_from(order + "18f", raw, 256)
    place = _place(dim, datatype, bits, int(offset))
    made = bytearray(348)
    struct.pack_into(order + "i", made, 0, 348)
    struct.pack_into(order + "8h", made, 40, *_dimensions(dim))
    struct.pack_into(order + "2h", made, 70, datatype, bits)
    struct.pack_into(order + "8f", made, 76, *_sizes(pixdim, dim[0]))
    struct.pack_into(order + "3f", made, 108, 352.0, *_scale(slope, inter))
    made[123] = raw[123] & 0x1F
    struct.pack_into(order + "2h", made, 252, _form(qform), _form(sform))
    struct.pack_into(order + "18f", made, 256, *_geometry(geometry, qform, sform))
    made[344:348] = b"n+1\0"
    return bytes(made), place, _FLOATS.get(datatype, "u1")


def _nifti2(raw: bytes, order: str) -> tuple[bytes, slice, str]:
    if raw[4:8] != b"n+2\0":
        raise ReadError("expected header and voxels in one file, found a pair; save it as .nii.gz")
    datatype, bits = struct.unpack_from(order + "2h", raw, 12)
    dim = struct.unpack_from(order + "8q", raw, 16)
    pixdim = struct.unpack_from(order + "8d", raw, 104)
    offset, slope, inter = struct.unpack_from(order + "q2d", raw, 168)
    qform, sform = struct.unpack_from(order + "2i", raw, 344)
    geometry = struct.unpack_from(order + "18d", raw, 352)
    (units,) = struct.unpack_from(order + "i", raw, 500)
    place = _place(dim, datatype, bits, offset)
    made = bytearray(540)
    struct.pack_into(order + "i", made, 0, 540)
    made[4:12] = b"n+2\0\r\n\x1a\n"
    struct.pack_into(order + "2h", made, 12, datatype, bits)
    struct.pack_into(order + "8q", made, 16, *_dimensions(dim))
    struct.pack_into(order + "8d", made, 104, *_sizes(pixdim, dim[0]))
    struct.pack_into(order + "q2d", made, 168, 544, *_scale(slope, inter))
    struct.pack_into(order + "2i", made, 344, _form(qform), _form(sform))
    struct.pack_into(order + "18d", made, 352, *_geometry(geometry, qform, sform))
    struct.pack_into(order + "i", made, 500, units & 0x1F)
    return bytes(made), place, _FLOATS.get(datatype, "u1")


def _place(dim: tuple[int, ...], datatype: int, bits: int, offset: int) -> slice:
    """Where the voxels lie in the file."""
    if not 1 <= dim[0] <= 7 or _BITS.get(datatype) != bits or any(d < 1 for d in dim[1 : dim[0] + 1]):
        raise ReadError("expected a NIfTI header with a known data type and positive sizes, found another")
    if offset < 348:
        raise ReadError(DAMAGED)
    count = int(np.prod([int(d) for d in dim[1 : dim[0] + 1]], dtype=object))
    return slice(offset, offset + count * bits // 8)


def _dimensions(dim: tuple[int, ...]) -> tuple[int, ...]:
    return (dim[0], *(d if n < dim[0] else 1 for n, d in enumerate(dim[1:])))


def _sizes(pixdim: tuple[float, ...], axes: int) -> tuple[float, ...]:
    """Sizes of the axes that there are; text read as a number is far too large, and goes from the axes behind space."""
    if not all(abs(size) < _LARGEST_MM for size in pixdim[1 : 1 + min(axes, 3)]):
        raise ReadError(_NO_TRANSFORM)
    handed = -1.0 if pixdim[0] < 0 else 1.0
    usable = (size if n < axes and abs(size) < _LARGEST_MM else 1.0 for n, size in enumerate(pixdim[1:]))
    return (handed, *usable)


def _geometry(numbers: tuple[float, ...], qform: int, sform: int) -> tuple[float, ...]:
    """Quaternion, offset and affine rows; those that their code says are not used become 0, as text may hide there."""
    used = [*([_form(qform) > 0] * 6), *([_form(sform) > 0] * 12)]
    if not all(abs(number) < _LARGEST_MM for number, is_used in zip(numbers, used, strict=True) if is_used):
        raise ReadError(_NO_TRANSFORM)
    return tuple(number if is_used else 0.0 for number, is_used in zip(numbers, used, strict=True))


def _scale(slope: float, inter: float) -> tuple[float, float]:
    """Slope and intercept; both as "not scaled" where a number is none that voxels are scaled by."""
    return (slope, inter) if abs(slope) < _LARGEST_SCALE and abs(inter) < _LARGEST_SCALE else (0.0, 0.0)


def _form(code: int) -> int:
    return code if 0 <= code <= 5 else 1
