"""NIfTI: volumes with a scanner affine, read through nibabel (already RAS+)."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from medseg.data.files import atomic_write
from medseg.data.volume import Geometry
from medseg.errors import GeometryError, ReadError
from medseg.privacy.limits import MAX_VOXELS, require_plausible
from medseg.types import Affine, Array

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Image

__all__ = ["read_nifti", "read_nifti_geometry", "save_nifti"]

_GZIP_LARGEST_RATIO: Final = 1032
_MILLIMETRES: Final = {"meter": 1000.0, "micron": 0.001}
_CHUNK: Final = 1 << 24
_MOST_CHUNKS_BEHIND: Final = 16
_T = TypeVar("_T")


def read_nifti(path: Path) -> tuple[Array, Affine, tuple[str, ...]]:
    """Read a NIfTI-1 or NIfTI-2 file, the intensity scaling of its header applied.

    Returns:
        The array with axes (channel, x, y, z), its affine (RAS+, mm), and notes. A fourth axis becomes the channels.

    Raises:
        ReadError: The file is missing, damaged, truncated, not numeric, or holds NaN or infinity.
        GeometryError: It has fewer than 2 or more than 4 axes, or no usable affine.
    """
    image = _open(path)
    shape, affine, notes = _guarded(lambda: _describe(image, path))
    array = _guarded(lambda: _values(image, path))
    array = array.reshape((*shape, array.size // max(1, int(np.prod(shape)))), order="F")
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ReadError(
            f"the image holds NaN or infinity in {bad:,} of {array.size:,} voxels; expected numbers everywhere"
        )
    return np.moveaxis(array, -1, 0), affine, notes


def read_nifti_geometry(path: Path) -> Geometry:
    """The voxel grid, from the header alone.

    Raises:
        ReadError: As `read_nifti`.
        GeometryError: As `read_nifti`.
    """
    image = _open(path)
    shape, affine, _ = _guarded(lambda: _describe(image, path))
    return Geometry(shape=shape, affine=affine)


def save_nifti(array: Array, affine: Affine, path: Path) -> None:
    """Write a volume with a fresh header: nothing but the grid and the values.

    Integers of 8 to 32 bits and float32 are stored as they are, everything else as float32. The same array gives the
    same bytes.

    Args:
        array: Axes (x, y, z).
        affine: 4 x 4, voxel index to world, RAS+, mm.
        path: Ends in ``.nii.gz``.
    """
    import nibabel as nib

    kept = (np.uint8, np.int16, np.int32, np.uint16, np.float32)
    image = nib.Nifti1Image(array if array.dtype in kept else array.astype(np.float32), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1, strip_shears=True)
    if not np.allclose(image.get_qform(), affine, atol=1e-3):
        image.set_qform(None, code=0)
    content = image.to_bytes()
    with atomic_write(path) as stream:
        stream.write(gzip.compress(content, compresslevel=3, mtime=0))


def _open(path: Path) -> Nifti1Image:
    import nibabel as nib

    if not path.is_file():
        raise ReadError("expected a NIfTI file; found none")
    image = _guarded(lambda: nib.load(path))
    if not isinstance(image, nib.Nifti1Image):
        raise ReadError("expected a NIfTI file; found another format under its name")
    return image


def _guarded(action: Callable[[], _T]) -> _T:
    try:
        return action()
    except (ReadError, GeometryError, MemoryError):
        raise
    except Exception as error:
        # nibabel, gzip and zlib each raise their own kind on damaged files.
        raise ReadError(f"the NIfTI file is truncated or damaged ({type(error).__name__}); copy it again") from None


def _describe(image: Nifti1Image, path: Path) -> tuple[tuple[int, ...], Affine, tuple[str, ...]]:
    """Spatial shape, affine in mm, notes; and the guards against headers that lie."""
    full = tuple(int(n) for n in image.shape)
    while len(full) > 3 and full[-1] == 1:
        full = full[:-1]
    if not 2 <= len(full) <= 4:
        raise GeometryError(f"expected 3 spatial axes and at most one of channels; found {len(full)} axes")
    if min(full) < 1:
        raise GeometryError("expected at least one voxel along each axis; found an empty image")
    dtype = image.get_data_dtype()
    if dtype.kind not in "uif" or dtype.names is not None:
        raise ReadError("expected one number a voxel; found complex or colour values. Convert the file first")
    count = int(np.prod(full, dtype=np.float64))
    stored = count * dtype.itemsize
    largest = path.stat().st_size * (_GZIP_LARGEST_RATIO if path.name.lower().endswith(".gz") else 1)
    if count > MAX_VOXELS:
        raise ReadError(f"the header claims more than {MAX_VOXELS:,} voxels; nothing that large is read")
    if stored > largest:
        raise ReadError(
            "the NIfTI file is truncated: the header states more voxels than the file can hold; copy it again"
        )
    require_plausible(stored, path.stat().st_size)
    spatial = (*full, 1)[:3]
    affine = np.array(image.affine, dtype=np.float64)
    notes = []
    header = image.header
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform == 0 and qform == 0:
        notes.append("the header states no orientation: axes taken as they are stored")
    elif sform > 0 and qform > 0:
        other = Geometry(spatial, np.asarray(header.get_qform(), dtype=np.float64))
        if Geometry(spatial, affine).corner_distance(other) > 0.5 * min(Geometry(spatial, affine).spacing):
            notes.append("sform and qform disagree: sform taken")
    affine[:3] *= _MILLIMETRES.get(header.get_xyzt_units()[0], 1.0)
    return spatial, Geometry(spatial, affine).affine, tuple(notes)


def _values(image: Nifti1Image, path: Path) -> Array:
    """Values in the file's order, one axis: as stored where the header doesn't scale them, else float32."""
    proxy: Any = image.dataobj
    dtype = np.dtype(proxy.dtype)
    stored = np.frombuffer(
        _voxel_bytes(path, offset=int(proxy.offset), count=int(np.prod(image.shape)) * dtype.itemsize), dtype=dtype
    )
    slope, intercept = float(proxy.slope), float(proxy.inter)
    if slope != 1 or intercept != 0:
        scaled = np.empty(stored.shape, dtype=np.float32)
        for start in range(0, stored.size, _CHUNK):  # In float64, which must never hold the whole volume.
            scaled[start : start + _CHUNK] = stored[start : start + _CHUNK] * np.float64(slope) + intercept
        return scaled
    if dtype.kind == "f":
        return stored.astype(np.float32, copy=False)
    return stored.astype(dtype.newbyteorder("="), copy=False)


def _voxel_bytes(path: Path, *, offset: int, count: int) -> bytearray:
    """The bytes of the voxels, writable; a compressed file is read to its end, where its checksum is."""
    content = bytearray(count)
    with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as stream:
        stream.seek(offset)
        view = memoryview(content)
        done = 0
        while done < count:
            size = stream.readinto(view[done : done + _CHUNK])
            if not size:
                raise EOFError
            done += size
        for _ in range(_MOST_CHUNKS_BEHIND):
            if not stream.read(_CHUNK):
                break
    return content
