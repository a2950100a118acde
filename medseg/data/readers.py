"""Reader: any file or series of a hospital, or of research, as a `Volume` or a label map."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from medseg.data.coco_volume import COCO_VOLUME_ENDING, read_coco_geometry, read_coco_volume
from medseg.data.dicom_header import looks_like_dicom
from medseg.data.label_stack import STACK_ENDING, is_stack, read_stack, read_stack_header
from medseg.data.volume import Geometry, Volume
from medseg.errors import LabelError, ReadError
from medseg.types import Array, LabelMap

if TYPE_CHECKING:
    from medseg.data.dicom_sort import SeriesFiles

__all__ = [
    "LABEL_ENDINGS",
    "PICTURE_ENDINGS",
    "VOLUME_ENDINGS",
    "read_geometry",
    "read_label",
    "read_volume",
    "series_files",
]

NIFTI_ENDINGS: Final = (".nii", ".nii.gz")
ITK_ENDINGS: Final = (".nrrd", ".nhdr", ".mha", ".mhd")
VOLUME_ENDINGS: Final = (*NIFTI_ENDINGS, *ITK_ENDINGS)
"""Endings of files with voxels in the world."""
LABEL_ENDINGS: Final = (STACK_ENDING, COCO_VOLUME_ENDING)
"""Endings of what holds a label map and never an image: the folder of a label stack, COCO of a volume."""
PICTURE_ENDINGS: Final = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
"""Endings of camera pictures."""


def read_volume(path: str | Path) -> Volume:
    """Read an image.

    Args:
        path: A NIfTI, NRRD, MetaImage, JPEG, PNG, TIFF, BMP or DICOM file, or a folder that holds one DICOM series or
            a label stack.

    Returns:
        Axes (channel, x, y, z) or (channel, x, y); `notes` says what the reader did to the values.

    Raises:
        ReadError: Missing, truncated, damaged, of an unknown format, or with NaN.
        GeometryError: The slices, axes or frames are no grid.

    Example:
        >>> read_volume("nowhere.nii.gz")
        Traceback (most recent call last):
        ...
        medseg.errors.ReadError: expected an image file, or a folder of one DICOM series; found none
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "dicom":
        from medseg.data.dicom import read_sorted_series

        return read_sorted_series(_one_series(path))
    if kind == "nifti":
        from medseg.data.nifti import read_nifti

        array, affine, notes = read_nifti(path)
    elif kind == "itk":
        from medseg.data.itk import read_itk

        array, affine, notes = read_itk(path)
    elif kind in ("stack", "coco"):
        label, grid = read_stack(path) if kind == "stack" else read_coco_volume(path)
        array, affine, notes = label[np.newaxis], grid.affine, ()
    else:
        from medseg.data.pictures import read_picture

        array, notes = read_picture(path)
        affine = np.eye(4)
    rgb = kind == "picture" and array.shape[0] == 3
    return Volume(
        array=array,
        affine=affine,
        channels=("red", "green", "blue") if rgb else _numbered(array.shape[0]),
        modality="DERMOSCOPY" if rgb else "OTHER",
        notes=notes,
    )


def read_label(path: str | Path, *, image: str | Path | None = None) -> tuple[LabelMap, Geometry]:
    """Read a label map.

    A map of only 0 and 255 (or 65535 in 16 bits) counts as 0 and 1, whatever the format: that is how drawing programs
    save a mask. Other values stay as they are; those of a DICOM SEG are its segment numbers, on the SEG's own grid
    (see `medseg.data.dicom_seg.read_seg`). An RTSTRUCT has no grid and needs the image that it was drawn on.

    Args:
        path: A NIfTI, NRRD, MetaImage, PNG, TIFF, BMP, DICOM SEG or RTSTRUCT file, the folder of a label stack, or COCO
            of a volume.
        image: For SEG and RTSTRUCT: the series (its folder, or a file of it) or volume to draw the label map on, whose
            grid it then has. The values are the numbers of the segments or regions.

    Returns:
        Label values, uint8 or uint16, axes (x, y[, z]), and the grid.

    Raises:
        ReadError: As `read_volume`; also for JPEG, which can't hold a label map, for other DICOM files, and for an
            RTSTRUCT without an image.
        GeometryError: The planes of a SEG lie on no grid, or structures don't lie on the image.
        LabelError: Values that are negative, no integers, or above 65535; structures that overlap.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "dicom":
        from medseg.data.dicom_seg import read_seg

        if path.is_dir():
            raise ReadError("expected the file of a label map; found a folder")
        return read_seg(path) if image is None else _read_on(path, Path(image))
    if image is not None:
        raise ReadError("expected a DICOM SEG or RTSTRUCT to draw on an image; other label maps have their own grid")
    if kind == "picture":
        from medseg.data.pictures import read_indices

        values = read_indices(path)
        return _as_labels(values), Geometry(shape=values.shape, affine=np.eye(4))
    volume = read_volume(path)
    if len(volume.channels) != 1:
        raise LabelError(f"expected one value a voxel in a label map; found {len(volume.channels)} channels")
    return _as_labels(volume.array[0]), volume.geometry


def _read_on(path: Path, image: Path) -> tuple[LabelMap, Geometry]:
    """The structures of a DICOM label file on an image's grid, each by its number."""
    from medseg.data.dicom import series_geometry
    from medseg.data.dicom_labels import Target, paint_labels, read_label_object

    entry = read_label_object(path)
    numbered = tuple(replace(structure, name=str(structure.number)) for structure in entry.structures)
    if not all(1 <= structure.number <= 255 for structure in numbered):
        raise LabelError("expected structure numbers from 1 to 255; found others. `medseg import` numbers them anew")
    if _kind(image) == "dicom":
        series = _one_series(image)
        target = Target(series_geometry(series), series.headers)
    else:
        target = Target(read_geometry(image))
    values = {structure.key: structure.number for structure in numbered}
    label, _ = paint_labels([replace(entry, structures=numbered)], target, values)
    return label, target.geometry


def read_geometry(path: str | Path) -> Geometry:
    """The voxel grid of an image or label map, from its header alone.

    Raises:
        ReadError: As `read_volume`.
        GeometryError: As `read_volume`.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "dicom":
        from medseg.data.dicom import series_geometry

        return series_geometry(_one_series(path))
    if kind == "nifti":
        from medseg.data.nifti import read_nifti_geometry

        return read_nifti_geometry(path)
    if kind == "itk":
        from medseg.data.itk import read_itk_geometry

        return read_itk_geometry(path)
    if kind == "stack":
        return read_stack_header(path).geometry
    if kind == "coco":
        return read_coco_geometry(path)
    from medseg.data.pictures import picture_size

    return Geometry(shape=picture_size(path), affine=np.eye(4))


def series_files(path: Path) -> tuple[Path, ...]:
    """The files of the one DICOM series that `read_volume` reads from a folder, or from a file of it.

    Raises:
        ReadError: There is none, or several.
    """
    return _one_series(path).files


def _kind(path: Path) -> str:
    """``dicom``, ``nifti``, ``itk``, ``stack``, ``coco`` or ``picture``."""
    name = path.name.lower()
    if path.is_dir():
        return "stack" if is_stack(path) else "dicom"
    if not path.is_file():
        raise ReadError("expected an image file, or a folder of one DICOM series; found none")
    if name.endswith(NIFTI_ENDINGS):
        return "nifti"
    if name.endswith(ITK_ENDINGS):
        return "itk"
    if name.endswith(PICTURE_ENDINGS):
        return "picture"
    if name.endswith(COCO_VOLUME_ENDING):
        return "coco"
    if looks_like_dicom(path):
        return "dicom"
    raise ReadError(
        "unknown format: expected NIfTI, NRRD, MetaImage, JPEG, PNG, TIFF, BMP or DICOM, by the file's ending or marks"
    )


def _one_series(path: Path) -> SeriesFiles:
    """The series of a folder, or of a file of it; its headers are read here and not again."""
    from medseg.data.dicom import find_series, only_series

    if path.is_file():
        return only_series([path])
    series, refusals = find_series(path)
    if not series:
        why = f"; the first of {len(refusals)} files: {refusals[0].reason}" if refusals else "; it is empty"
        raise ReadError(f"expected a folder with one DICOM series; found none{why}")
    if len(series) > 1:
        raise ReadError(
            f"expected a folder with one DICOM series; found {len(series)}. Name the folder of one of them, or use "
            "`medseg import`, which takes them all"
        )
    return series[0]


def _numbered(count: int) -> tuple[str, ...]:
    return ("image",) if count == 1 else tuple(f"image{number}" for number in range(1, count + 1))


def _as_labels(values: Array) -> LabelMap:
    if values.dtype.kind == "f":
        whole = np.rint(values)
        if not np.array_equal(whole, values):
            raise LabelError(
                "expected whole numbers in a label map; found fractions (resampled without nearest neighbour?)"
            )
        values = whole
    low, high = (values.min(), values.max()) if values.size else (0, 0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise LabelError("expected label values from 0 to 65535; found others")
    if high in (255, 65535) and low in (0, high) and not ((values != 0) & (values != high)).any():
        binary: LabelMap = (values != 0).astype(np.uint8)
        return binary
    labels: LabelMap = values.astype(np.uint8 if high <= 255 else np.uint16, copy=False)
    return labels
