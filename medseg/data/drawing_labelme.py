"""Labelme: a JSON beside each picture, with shapes of a label.

Format: https://github.com/wkentaro/labelme. Polygons, rectangles (two corners, or four when turned), circles (centre
and a point of the rim) and masks (a PNG in a box) cover an area; points, lines and line strips don't and are counted.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from PIL import Image

from medseg.data.drawing import Area, Drawing, Ellipse, Pixels, Polygon, Region, rectangle
from medseg.data.rle import runs_of_mask
from medseg.errors import LabelError, ReadError
from medseg.privacy.limits import MAX_PIXELS

__all__ = ["is_labelme", "parse_labelme"]

_NO_AREA: Final = ("point", "points", "line", "linestrip")


def is_labelme(content: object) -> bool:
    """Whether a JSON is one of Labelme's."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def parse_labelme(content: Mapping[str, Any]) -> Drawing:
    """The drawing of a Labelme file.

    Raises:
        ReadError: It doesn't say which picture it belongs to.
    """
    if not isinstance(content["imagePath"], str) or not content["imagePath"].strip():
        raise ReadError("Labelme: expected the picture's name in imagePath; found none")
    columns, rows = content.get("imageWidth"), content.get("imageHeight")
    size = (columns, rows) if type(columns) is int and type(rows) is int else None
    areas = []
    other: Counter[str] = Counter()
    shapes = content["shapes"]
    for number, shape in enumerate(shapes, start=1):
        try:
            kind = str(shape.get("shape_type") or "polygon")
            if kind in _NO_AREA:
                other[kind] += 1
                continue
            areas.append(Area(str(shape["label"]), (_region(shape, kind),)))
        except (LabelError, TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
            why = str(error) if isinstance(error, LabelError) else "it is damaged"
            return Drawing(content["imagePath"], size, problem=f"shape {number} of {len(shapes)}: {why}")
    return Drawing(content["imagePath"], size, tuple(areas), other)


def _region(shape: Mapping[str, Any], kind: str) -> Region:
    points = np.array(shape["points"], dtype=np.float64).reshape(-1, 2)
    if kind == "polygon" or (kind in ("rectangle", "oriented_rectangle") and len(points) == 4):
        return Polygon(points)
    if len(points) != 2:
        raise LabelError(f"expected two points; found {len(points)}")
    (x0, y0), (x1, y1) = points.tolist()
    if kind == "rectangle":
        return rectangle((x0, y0), (x1, y1))
    if kind == "circle":
        radius = float(np.hypot(x1 - x0, y1 - y0))
        return Ellipse((x0, y0), (radius, radius))
    if kind == "mask":
        return _mask(shape["mask"], (round(x0), round(y0)))
    raise LabelError("expected a polygon, rectangle, circle or mask; found a shape of another kind")


def _mask(packed: object, start: tuple[int, int]) -> Pixels:
    """A mask's PNG; Labelme stores it in grey or black and white, anything but 0 is in."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(str(packed), validate=True)), formats=("PNG",)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise LabelError(f"its mask claims more than {MAX_PIXELS:,} pixels; nothing that large is read")
            mask = np.asarray(image.convert("L")) != 0
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise LabelError("its mask is damaged; expected a PNG in base64") from None
    rows, columns = mask.shape
    return Pixels(start, (columns, rows), tuple(runs_of_mask(mask)), along_rows=True)
