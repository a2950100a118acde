"""Label stack: the label map of a volume as indexed PNGs, one a slice, and the JSON that places them in the patient.

A folder ``NAME.slices`` holds ``slice_0001.png``, ... (the slices along the array's last axis; x is the column, y the
row counted from the top; the palette's indices are the label values) and ``geometry.json`` with the shape, the affine
and the labels' names. Nothing is resampled or turned: each voxel is a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from medseg.data.json_files import read_json
from medseg.data.pictures import picture_size, read_indices
from medseg.data.volume import Geometry
from medseg.errors import GeometryError, LabelError, ReadError
from medseg.privacy.limits import MAX_VOXELS, require_plausible
from medseg.types import LabelMap

__all__ = [
    "STACK_CONVENTION",
    "STACK_ENDING",
    "STACK_FILE",
    "STACK_VERSION",
    "StackHeader",
    "geometry_json",
    "is_stack",
    "parse_geometry",
    "read_stack",
    "read_stack_header",
    "slice_name",
    "stack_files",
]

STACK_ENDING: Final = ".slices"
"""End of the folder's name."""
STACK_FILE: Final = "geometry.json"
"""Its file that says where the slices lie."""
STACK_CONVENTION: Final = "world = affine @ [column, row, slice, 1], counted from 0; RAS+, millimetres"
"""How the affine is meant, as the file says it."""
STACK_VERSION: Final = 1
"""Of the form of the JSON."""
_MOST_SLICES: Final = 1 << 16


@dataclass(frozen=True, eq=False)
class StackHeader:
    """What a stack says of itself.

    Attributes:
        geometry: The voxel grid, axes x (column), y (row), z (slice).
        labels: Label value to name.
        files: The slices in the order of the last axis.
    """

    geometry: Geometry
    labels: dict[int, str]
    files: tuple[Path, ...]


def is_stack(path: Path) -> bool:
    """Whether a path is the folder of a label stack."""
    return path.name.lower().endswith(STACK_ENDING) and (path / STACK_FILE).is_file()


def read_stack_header(folder: Path) -> StackHeader:
    """Grid, labels and files of a stack, from its JSON and the names of its slices.

    Raises:
        ReadError: The JSON is damaged or claims too much, or slices are missing or too many.
        GeometryError: The affine places no voxel.
    """
    wrong = ReadError(f"{STACK_FILE}: expected the geometry and labels of a label stack; found something else")
    try:
        content = read_json(folder / STACK_FILE)
        version, labels = content["label_stack"], {int(value): str(name) for value, name in content["labels"].items()}
    except (ReadError, ValueError, TypeError, KeyError, AttributeError):
        raise wrong from None
    if version != STACK_VERSION:
        raise wrong
    geometry = parse_geometry(content, place=STACK_FILE)
    shape = geometry.shape
    files = tuple(folder / slice_name(number) for number in range(1, shape[2] + 1))
    present = {path.name for path in folder.glob("slice_*.png") if path.is_file() and not path.is_symlink()}
    if present != {path.name for path in files}:
        raise ReadError(
            f"expected the slices {files[0].name} to {files[-1].name}; found {len(present)}, or others. Copy the whole "
            "folder again"
        )
    return StackHeader(geometry, labels, files)


def parse_geometry(content: object, *, place: str) -> Geometry:
    """The grid that a JSON describes by ``shape``, ``affine`` and ``convention``.

    Args:
        content: The JSON's object.
        place: How an error calls it.

    Raises:
        ReadError: Something is missing, damaged or of another convention, or too large.
        GeometryError: The affine places no voxel.
    """
    wrong = ReadError(f"{place}: expected shape, affine and convention as medseg writes them; found others")
    if not isinstance(content, dict) or content.get("convention") != STACK_CONVENTION:
        raise wrong
    shape = content.get("shape")
    if not isinstance(shape, list) or len(shape) != 3 or not all(type(n) is int and n > 0 for n in shape):
        raise wrong
    try:
        affine = np.array([[float(value) for value in row] for row in content["affine"]])
    except (ValueError, TypeError, KeyError, OverflowError):
        raise wrong from None
    if shape[0] * shape[1] * shape[2] > MAX_VOXELS or shape[2] > _MOST_SLICES:
        raise ReadError(f"{place} claims more than {MAX_VOXELS:,} voxels or {_MOST_SLICES:,} slices")
    return Geometry((shape[0], shape[1], shape[2]), affine)


def geometry_json(geometry: Geometry) -> dict[str, Any]:
    """What `parse_geometry` reads."""
    return {"shape": list(geometry.shape), "affine": geometry.affine.tolist(), "convention": STACK_CONVENTION}


def read_stack(folder: Path) -> tuple[LabelMap, Geometry]:
    """The label map of a stack, and its grid.

    Returns:
        uint8, axes (x, y, z).

    Raises:
        ReadError: As `read_stack_header`; also for a slice that is damaged.
        GeometryError: A slice has another size than the stack.
        LabelError: A slice holds values above 255.
    """
    header = read_stack_header(folder)
    columns, rows, count = header.geometry.shape
    require_plausible(columns * rows * count, sum(path.stat().st_size for path in header.files))
    for number, path in enumerate(header.files, start=1):
        if picture_size(path) != (columns, rows):
            raise GeometryError(f"slice {number} of {count}: expected {columns} x {rows} pixels; found another size")
    label: LabelMap = np.empty((columns, rows, count), dtype=np.uint8, order="F")
    for number, path in enumerate(header.files):
        plane = read_indices(path)
        if plane.size and (plane.min() < 0 or plane.max() > 255):
            raise LabelError(f"slice {number + 1} of {count}: expected label values from 0 to 255; found others")
        label[..., number] = plane
    return label, header.geometry


def stack_files(folder: Path) -> tuple[Path, ...]:
    """Every file of a stack's folder, in the order of their names."""
    return tuple(sorted(path for path in folder.iterdir() if path.is_file()))


def slice_name(number: int) -> str:
    """Name of a slice's file, counted from 1."""
    return f"slice_{number:04d}.png"
