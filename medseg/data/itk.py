"""NRRD and MetaImage: volumes read through SimpleITK, turned from LPS+ to RAS+."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from medseg.data.limits import MAX_VOXELS
from medseg.data.volume import Geometry
from medseg.errors import GeometryError, ReadError
from medseg.types import Affine, Array

__all__ = ["read_itk", "read_itk_fields", "read_itk_geometry"]

_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_itk(path: Path) -> tuple[Array, Affine]:
    """Read a NRRD (``.nrrd``, ``.nhdr``) or MetaImage (``.mha``, ``.mhd``) file.

    Returns:
        The array with axes (channel, x, y[, z]), and its affine (RAS+, mm).

    Raises:
        ReadError: The file is missing, damaged, truncated, not numeric, or holds NaN or infinity.
        GeometryError: It has another number of spatial axes than 2 or 3, or no usable affine.
    """
    import SimpleITK as sitk

    reader = _reader(path)
    geometry = _geometry(reader)
    try:
        image = reader.Execute()
    except Exception as error:
        # ITK's readers raise RuntimeError and whatever their libraries raise.
        raise ReadError(f"the file is truncated or damaged ({type(error).__name__}); copy it again") from None
    stored: Array = sitk.GetArrayFromImage(image)
    if stored.dtype.kind not in "uif":
        raise ReadError("expected one number a voxel; found complex values. Convert the file first")
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise ReadError("the image holds NaN or infinity; expected numbers everywhere")
    channels_last = reader.GetNumberOfComponents() > 1
    if stored.dtype == np.float64:
        stored = stored.astype(np.float32)
    array = np.moveaxis(stored, -1, 0) if channels_last else stored[np.newaxis]
    if array.ndim - 1 > len(geometry.shape):  # a fourth axis of ITK is slowest, so it comes first
        array = array[0]
    axes = (0, *range(array.ndim - 1, 0, -1))
    return array.transpose(axes), geometry.affine


def read_itk_geometry(path: Path) -> Geometry:
    """The voxel grid, from the header alone.

    Raises:
        ReadError: As `read_itk`.
        GeometryError: As `read_itk`.
    """
    return _geometry(_reader(path))


def read_itk_fields(path: Path) -> tuple[dict[str, str], int]:
    """The named texts of a header, and the number of values a voxel has.

    Raises:
        ReadError: As `read_itk`.
    """
    reader = _reader(path)
    texts = {key: str(reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()}
    return texts, int(reader.GetNumberOfComponents())


def _reader(path: Path) -> Any:
    import SimpleITK as sitk

    if not path.is_file():
        raise ReadError("expected an image file; found none")
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except Exception as error:
        # ITK's readers raise RuntimeError and whatever their libraries raise.
        raise ReadError(
            f"the file is damaged or of another format than its ending says ({type(error).__name__})"
        ) from None
    if np.prod(reader.GetSize(), dtype=np.float64) * reader.GetNumberOfComponents() > MAX_VOXELS:
        raise ReadError(f"the header claims more than {MAX_VOXELS:,} voxels; nothing that large is read")
    return reader


def _geometry(reader: Any) -> Geometry:
    dims = reader.GetDimension()
    size = tuple(int(n) for n in reader.GetSize())
    if not 2 <= dims <= 4 or (dims == 4 and reader.GetNumberOfComponents() > 1):
        raise GeometryError(f"expected 2 or 3 spatial axes and at most one of channels; found {dims} axes")
    spatial = min(dims, 3)
    direction = np.array(reader.GetDirection(), dtype=np.float64).reshape(dims, dims)[:spatial, :spatial]
    affine = np.eye(4)
    affine[:spatial, :spatial] = direction * np.array(reader.GetSpacing()[:spatial])
    affine[:spatial, 3] = reader.GetOrigin()[:spatial]
    return Geometry(shape=size[:spatial], affine=_LPS_TO_RAS @ affine)
