"""Heads in volumes: NIfTI, NRRD and MetaImage files of a head's size in fine voxels, refused or defaced."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from medseg.errors import ReadError
from medseg.types import Array

__all__ = ["faceless_nifti", "refuse_head"]

_HEAD_MM = (140.0, 300.0)
_FACE_MM = 2.5
_MOST_LABELS = 64
_LEVELS = 500_000
_MILLIMETRES = {1: 1000.0, 3: 0.001}
"""Of NIfTI's code of the unit of length: metres and microns."""
_KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
_HEAD = "a volume of a head's size in voxels below 2.5 mm: a face can be rendered from it. "
_NO_AFFINE = (
    _HEAD + "Which way it looks can't be told, as the file has no affine; deface it by a tool of your own first"
)


def refuse_head(sizes: Sequence[float], shape: Sequence[int], voxels: bytes, width: int) -> None:
    """Refuse a volume that may show a face and that isn't defaced here.

    Args:
        sizes: Voxel size along each axis in mm.
        shape: Voxels along each axis.
        voxels: The voxels' bytes, in any order.
        width: Bytes a voxel.

    Raises:
        ReadError: It has fine voxels and a head's extent, and isn't a label map.
    """
    if len(sizes) != 3 or len(shape) != 3 or width not in (1, 2, 4, 8):
        return
    if _may_show_face(sizes, shape, np.frombuffer(voxels[: len(voxels) // width * width], f"u{width}")):
        raise ReadError(
            _HEAD + "Save it as NIfTI, which --deface can deface, or say --acknowledge-faces if the study allows it"
        )


def faceless_nifti(header: bytes, voxels: bytes, order: str, *, deface: bool) -> bytes:
    """The voxels of a NIfTI file, with the face taken off if they show one.

    Args:
        header: NIfTI-1 or NIfTI-2 header, 348 or 540 bytes.
        voxels: The voxels' bytes.
        order: ``<`` or ``>``.
        deface: Take the face off instead of refusing the file.

    Raises:
        ReadError: It may show a face that isn't to be, or can't be, taken off.
    """
    if len(header) == 348:
        dim, size = struct.unpack_from(order + "8h", header, 40), struct.unpack_from(order + "8f", header, 76)
        (datatype,) = struct.unpack_from(order + "h", header, 70)
        slope, intercept = struct.unpack_from(order + "2f", header, 112)
        unit = header[123]
    else:
        dim, size = struct.unpack_from(order + "8q", header, 16), struct.unpack_from(order + "8d", header, 104)
        (datatype,) = struct.unpack_from(order + "h", header, 12)
        slope, intercept = struct.unpack_from(order + "2d", header, 176)
        (unit,) = struct.unpack_from(order + "i", header, 500)
    millimetres = _MILLIMETRES.get(unit & 7, 1.0)
    if dim[0] < 3 or datatype not in _KINDS:
        return voxels
    values = np.frombuffer(voxels, order + _KINDS[datatype])
    if not _may_show_face([abs(float(s)) * millimetres for s in size[1:4]], dim[1:4], values):
        return voxels
    import nibabel as nib

    from medseg.privacy.deface import find_face

    geometry = (nib.Nifti1Header if len(header) == 348 else nib.Nifti2Header)(header, endianness=order)
    if not (int(geometry["sform_code"]) or int(geometry["qform_code"])):
        raise ReadError(_NO_AFFINE)
    affine = np.diag([*[millimetres] * 3, 1.0]) @ geometry.get_best_affine()
    slope, intercept = (slope, intercept) if np.isfinite(slope) and slope and np.isfinite(intercept) else (1.0, 0.0)
    pixels = values.reshape(dim[1 : dim[0] + 1], order="F").reshape(*dim[1:4], -1, order="F")
    first = pixels[..., 0].astype(np.float32) * slope + intercept
    try:
        face = find_face(first, affine)
    except ReadError:
        if deface:
            raise
        raise ReadError(_refusal()) from None
    if np.isinf(face.limit):
        return voxels
    if not deface:
        raise ReadError(_refusal())
    made = pixels.copy(order="F")
    background = (face.background - intercept) / slope
    if made.dtype.kind != "f":
        background = min(max(round(background), int(made.min())), int(made.max()))
    made[face.mask(dim[1:4], affine)] = background
    return made.tobytes(order="F")


def _refusal() -> str:
    return _HEAD + "Take it off with --deface, or say --acknowledge-faces if the study allows it"


def _may_show_face(sizes: Sequence[float], shape: Sequence[int], values: Array) -> bool:
    """Whether a volume has fine voxels, a head's extent along all three axes, and isn't a label map."""
    extents = [size * length for size, length in zip(sizes, shape, strict=True)]
    if max(sizes) >= _FACE_MM or not all(_HEAD_MM[0] <= extent <= _HEAD_MM[1] for extent in extents):
        return False
    return len(np.unique(values[:: max(1, values.size // _LEVELS)])) > _MOST_LABELS
