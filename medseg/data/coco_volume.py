"""COCO of a volume: the outlines on its slices in one JSON, and where they lie in the patient.

A file ``NAME.coco.json`` is COCO (https://cocodataset.org/#format-data) whose images are the slices along the array's
last axis, in their order; a category's id is the label value. ``geometry`` says the shape and the affine, as in a label
stack (`medseg.data.label_stack`); without it the file is of one 2D image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from medseg.data.dicom_labels import name_key
from medseg.data.drawing import paint_drawing
from medseg.data.drawing_coco import is_coco, parse_coco
from medseg.data.json_files import JsonTooLargeError, read_json
from medseg.data.label_stack import parse_geometry
from medseg.data.volume import Geometry
from medseg.errors import LabelError, ReadError
from medseg.privacy.limits import MAX_PIXELS, require_plausible
from medseg.types import LabelMap

__all__ = ["COCO_VOLUME_ENDING", "coco_volume_labels", "read_coco_geometry", "read_coco_volume"]

COCO_VOLUME_ENDING: Final = ".coco.json"
"""End of the file's name."""


def read_coco_geometry(path: Path) -> Geometry:
    """The grid of a file, two axes of a 2D image.

    Raises:
        ReadError: The file is damaged, or no COCO of one volume.
        GeometryError: The affine places no voxel.
    """
    return _geometry(_content(path))


def coco_volume_labels(path: Path) -> dict[int, str]:
    """Label value to name.

    Raises:
        ReadError: As `read_coco_geometry`.
    """
    _, ids = parse_coco(_content(path))
    return {value: name for name, value in ids.items()}


def read_coco_volume(path: Path) -> tuple[LabelMap, Geometry]:
    """The label map of a file, and its grid.

    Returns:
        uint8, axes (x, y[, z]).

    Raises:
        ReadError: As `read_coco_geometry`.
        GeometryError: As `read_coco_geometry`; also when a slice has another size.
        LabelError: Outlines are damaged, lie outside or overlap, or an id doesn't fit a byte.
    """
    content = _content(path)
    geometry = _geometry(content)
    drawings, ids = parse_coco(content)
    shape = (*geometry.shape, 1)[:3]
    if not all(1 <= value <= 255 for value in ids.values()):
        raise LabelError("expected category ids from 1 to 255, which are the label values; found others")
    values = {name_key(name): value for name, value in ids.items()}
    if len(values) != len(ids) or len(drawings) != shape[2]:
        raise ReadError(f"expected {shape[2]} slices and categories of different names; found others")
    require_plausible(shape[0] * shape[1] * shape[2], path.stat().st_size)
    label: LabelMap = np.zeros(shape, dtype=np.uint8, order="F")
    plane = Geometry(shape[:2], np.eye(4))
    for number, drawing in enumerate(drawings):
        if drawing.problem:
            raise LabelError(f"slice {number + 1} of {shape[2]}: {drawing.problem}")
        label[..., number] = paint_drawing(drawing, plane, values)[0]
    return label if len(geometry.shape) == 3 else label[..., 0], geometry


def _content(path: Path) -> dict[str, Any]:
    wrong = ReadError("expected COCO's images, annotations and categories of one volume; found something else")
    try:
        content = read_json(path)
    except JsonTooLargeError:
        raise
    except ReadError:
        raise wrong from None
    if not is_coco(content) or not content["images"]:
        raise wrong
    found: dict[str, Any] = content
    return found


def _geometry(content: dict[str, Any]) -> Geometry:
    if "geometry" in content:
        return parse_geometry(content["geometry"], place="geometry")
    first = content["images"][0]
    stated = [first.get("width"), first.get("height")] if isinstance(first, dict) else []
    size = tuple(n for n in stated if type(n) is int and n > 0)
    if len(content["images"]) != 1 or len(size) != 2:
        raise ReadError("expected the geometry of the slices, or one image with its width and height; found neither")
    if size[0] * size[1] > MAX_PIXELS:
        raise ReadError(f"the file claims more than {MAX_PIXELS:,} pixels; nothing that large is read")
    return Geometry(size, np.eye(4))
