"""NIfTI: a label map or a probability map as a NIfTI-1 file with a fresh header."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import numpy as np

from medseg.data.files import atomic_write
from medseg.data.volume import Geometry
from medseg.errors import GeometryError, LabelError
from medseg.types import Affine, Array

__all__ = ["write_nifti"]

_SCANNER = 1
_UNKNOWN = 0
_PLACE_MM = 5e-4


def write_nifti(array: Array, affine: Affine, path: Path) -> None:
    """Write one array on its grid; nothing of any source's header is carried over.

    Integer arrays are stored in the smallest unsigned type that holds them, floating ones as float32. sform and qform
    both hold `affine`; where no qform holds every voxel's place within 0.0005 mm, only the sform is set: when the
    affine is sheared, and at some turns near 180 degrees, which the header's float32 quaternion can't tell exactly.
    The same array gives the same bytes (the gzip header has neither time nor name).

    Args:
        array: Axes (x, y[, z]); a 2D array is stored with one slice.
        affine: 4 x 4, voxel index to world, RAS+, millimetres.
        path: Ends in ``.nii`` or ``.nii.gz``.

    Raises:
        GeometryError: The array isn't 2D or 3D, or the affine isn't invertible.
        LabelError: An integer array has negative values or values above 65535.
    """
    import nibabel as nib

    if array.ndim not in (2, 3):
        raise GeometryError(f"expected an array of 2 or 3 axes to write as NIfTI; found {array.ndim}")
    if not path.name.endswith((".nii", ".nii.gz")):
        raise ValueError("expected a file name that ends in .nii or .nii.gz")
    affine = Geometry(shape=array.shape, affine=affine).affine
    stored = _stored(array)
    image = nib.Nifti1Image(stored[..., np.newaxis] if stored.ndim == 2 else stored, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=_SCANNER)
    image.set_qform(affine, code=_SCANNER, strip_shears=True)
    if _largest_distance(image.get_qform(), affine, image.shape) > _PLACE_MM:
        image.set_qform(None, code=_UNKNOWN)
    content = image.to_bytes()
    with atomic_write(path) as file:
        file.write(gzip.compress(content, compresslevel=3, mtime=0) if path.name.endswith(".gz") else content)


def _largest_distance(first: Affine, second: Affine, shape: tuple[int, ...]) -> float:
    """Largest distance, in millimetres, between the places that two affines give a voxel of a volume."""
    corners = np.array(list(itertools.product(*((0, n - 1) for n in shape))), dtype=float)
    offset = corners @ (first - second)[:3, :3].T + (first - second)[:3, 3]
    return float(np.linalg.norm(offset, axis=1).max())


def _stored(array: Array) -> Array:
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        return array.astype(np.float32)
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise LabelError(f"expected label values from 0 to 65535; found {low} to {high}")
    return array.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16)
