"""CVAT: one XML of images, each with polygons, boxes, ellipses and masks ("CVAT for images 1.1").

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-cvat. A larger ``z_order`` lies on top. Boxes and
ellipses may be turned. Masks are run lengths along the rows of a box, background first. Polylines, points, cuboids,
skeletons and tags cover no area and are counted. The form for videos (tracks) is refused.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np

from medseg.data.drawing import Area, Drawing, Ellipse, Pixels, Polygon, Region, rectangle
from medseg.errors import LabelError, ReadError

__all__ = ["is_cvat", "parse_cvat"]

_AREAS: Final = ("polygon", "box", "ellipse", "mask")
_MOST_PARTS: Final = 4_000_000
"""Elements and attributes, each of which takes up to 350 bytes of memory."""
_NO_AREA: Final = ("polyline", "points", "cuboid", "skeleton", "tag")


def is_cvat(path: Path) -> bool:
    """Whether an XML file's root is CVAT's ``annotations``."""
    found: list[str] = []

    def first(name: str, _attributes: object) -> None:
        found.append(name)

    parser = expat.ParserCreate()
    parser.StartElementHandler = first
    try:
        with path.open("rb") as stream:
            while not found and (part := stream.read(4096)):
                parser.Parse(part)
    except OSError:
        return False
    except expat.ExpatError:
        pass  # Damaged or hostile behind its root: `parse_cvat` says so.
    return found[:1] == ["annotations"]


def parse_cvat(path: Path) -> tuple[list[Drawing], list[str]]:
    """Drawings of a CVAT file, and the labels that it declares, in its order.

    Raises:
        ReadError: It is no XML, declares entities, or is the form for videos.
    """
    drawings = []
    labels: list[str] = []
    root = _parse(path)
    for name in root.iterfind("./meta//labels/label/name"):
        labels.append((name.text or "").strip())
    if root.find("track") is not None:
        raise ReadError('CVAT: found tracks of a video; expected "CVAT for images 1.1". Export it in that form')
    for image in root.iterfind("image"):
        drawings.append(_drawing(image))
    return drawings, labels


def _parse(path: Path) -> ElementTree.Element:
    """The XML without any entity of its own: those can blow up memory or name other files."""

    def refuse(*_declaration: object) -> None:
        raise ReadError("CVAT: the XML declares a document type or entities; expected plain XML, as CVAT exports it")

    builder = ElementTree.TreeBuilder()
    count = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1 + len(attributes)
        if count > _MOST_PARTS:
            raise ReadError(
                f"CVAT: the XML has more than {_MOST_PARTS:,} parts; nothing that large is read. Export less"
            )
        builder.start(name, attributes)

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: (builder.end(name), None)[1]
    parser.CharacterDataHandler = builder.data
    try:
        with path.open("rb") as stream:
            parser.ParseFile(stream)
        return builder.close()
    except (OSError, ValueError, AssertionError, expat.ExpatError):
        raise ReadError("CVAT: the XML is cut off or damaged; export it again") from None


def _drawing(image: ElementTree.Element) -> Drawing:
    name, columns, rows = (image.get(key, "") for key in ("name", "width", "height"))
    if not name:
        raise ReadError("CVAT: an image has no name; export the file again")
    size = (int(columns), int(rows)) if columns.isdecimal() and rows.isdecimal() else None
    areas: list[tuple[int, Area]] = []
    other: Counter[str] = Counter()
    shapes = [shape for shape in image if shape.tag in (*_AREAS, *_NO_AREA)]
    for number, shape in enumerate(shapes, start=1):
        if shape.tag in _NO_AREA:
            other[shape.tag] += shape.tag != "tag"
            continue
        try:
            areas.append((int(shape.get("z_order", "0")), Area(shape.attrib["label"], (_region(shape),))))
        except (ValueError, KeyError, OverflowError):
            return Drawing(name, size, problem=f"shape {number} of {len(shapes)}: it is damaged")
        except LabelError as error:
            return Drawing(name, size, problem=f"shape {number} of {len(shapes)}: {error}")
    ordered = tuple(area for _, area in sorted(areas, key=lambda pair: pair[0]))
    return Drawing(name, size, ordered, +other)


def _region(shape: ElementTree.Element) -> Region:
    def number(key: str) -> float:
        return float(shape.attrib[key])

    turned = float(shape.get("rotation", "0"))
    if shape.tag == "polygon":
        points = [[float(part) for part in pair.split(",")] for pair in shape.attrib["points"].split(";")]
        return Polygon(np.array(points, dtype=np.float64))
    if shape.tag == "box":
        return rectangle((number("xtl"), number("ytl")), (number("xbr"), number("ybr")), turned=turned)
    if shape.tag == "ellipse":
        return Ellipse((number("cx"), number("cy")), (number("rx"), number("ry")), turned)
    start, size = (int(number("left")), int(number("top"))), (int(number("width")), int(number("height")))
    return Pixels(start, size, tuple(int(part) for part in shape.attrib["rle"].split(",")), along_rows=True)
