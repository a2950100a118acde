"""COCO: one JSON of images, categories and annotations, each annotation polygons or a mask in run lengths.

Format: https://cocodataset.org/#format-data (object detection). Polygons of one annotation are united; run lengths may
be compressed or not. An annotation that is only a box has no outline, and its image is refused.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from medseg.data.drawing import Area, Drawing, Pixels, Polygon, Region
from medseg.data.rle import expand_runs
from medseg.errors import LabelError, ReadError

__all__ = ["is_coco", "parse_coco"]


def is_coco(content: object) -> bool:
    """Whether a JSON is a COCO annotation file."""
    return isinstance(content, dict) and all(isinstance(content.get(k), list) for k in ("images", "annotations"))


def parse_coco(content: Mapping[str, Any]) -> tuple[list[Drawing], dict[str, int]]:
    """Drawings of a COCO file and its categories.

    Returns:
        A drawing for each image, in the file's order; and category name to id, in the file's order.

    Raises:
        ReadError: Categories or images are broken beyond telling which picture is meant.
    """
    names = _categories(content.get("categories"))
    by_image: defaultdict[Any, list[Any]] = defaultdict(list)
    for number, annotation in enumerate(content["annotations"], start=1):
        if not isinstance(annotation, dict) or not isinstance(annotation.get("image_id"), (int, str)):
            raise ReadError(f"COCO: annotation {number} names no image; repair the file")
        by_image[annotation["image_id"]].append(annotation)
    drawings = []
    seen = set()
    for number, image in enumerate(content["images"], start=1):
        if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
            raise ReadError(f"COCO: image {number} has no file_name; repair the file")
        if not isinstance(image.get("id"), (int, str)) or image["id"] in seen:
            raise ReadError(f"COCO: image {number} has no id of its own; repair the file")
        seen.add(image["id"])
        drawings.append(_drawing(image, by_image.get(image["id"], []), names))
    lost = len(set(by_image) - seen)
    if lost:
        raise ReadError(f"COCO: annotations of {lost} images that the file doesn't list; repair the file")
    return drawings, {name: number for number, name in names.items()}


def _categories(stated: object) -> dict[int, str]:
    if not isinstance(stated, list) or not stated:
        raise ReadError("COCO: expected a list of categories; found none")
    names: dict[int, str] = {}
    for entry in stated:
        if not isinstance(entry, dict) or type(entry.get("id")) is not int or not isinstance(entry.get("name"), str):
            raise ReadError("COCO: expected an id and a name for each category")
        if entry["id"] in names:
            raise ReadError(f"COCO: two categories have the id {entry['id']}; repair the file")
        names[entry["id"]] = entry["name"]
    return names


def _drawing(image: Mapping[str, Any], annotations: list[dict[str, Any]], names: Mapping[int, str]) -> Drawing:
    columns, rows = image.get("width"), image.get("height")
    size = (columns, rows) if type(columns) is int and type(rows) is int else None
    areas = []
    for number, annotation in enumerate(annotations, start=1):
        place = f"annotation {number} of {len(annotations)}"
        name = names.get(annotation.get("category_id", -1)) if type(annotation.get("category_id")) is int else None
        if name is None:
            listed = ", ".join(str(known) for known in sorted(names)[:10])
            problem = f"{place}: its category isn't listed; expected a category_id of {listed}. Repair the file"
            return Drawing(image["file_name"], size, problem=problem)
        try:
            areas.append(Area(name, _regions(annotation.get("segmentation"))))
        except (LabelError, TypeError, ValueError, KeyError, OverflowError) as error:
            why = str(error) if isinstance(error, LabelError) else "the segmentation is damaged"
            return Drawing(image["file_name"], size, problem=f"{place}: {why}")
    return Drawing(image["file_name"], size, tuple(areas))


def _regions(segmentation: object) -> tuple[Region, ...]:
    if isinstance(segmentation, dict):
        rows, columns = (int(n) for n in segmentation["size"])
        counts = segmentation["counts"]
        runs = expand_runs(counts) if isinstance(counts, str) else [int(n) for n in counts]
        return (Pixels((0, 0), (columns, rows), tuple(runs)),)
    if not isinstance(segmentation, list) or not segmentation:
        raise LabelError("it has no segmentation (only a box?); expected polygons or a mask in run lengths")
    return tuple(Polygon(np.array(polygon, dtype=np.float64).reshape(-1, 2)) for polygon in segmentation)
