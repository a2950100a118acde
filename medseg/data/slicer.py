"""Slicer segmentation: the ``.seg.nrrd`` of 3D Slicer, with the names of its segments.

Format: https://slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html. Segments that overlap lie in
several layers (the file's first, list axis). The grid may be a part of the image's, with axes in another order or
direction; each voxel is put where it lies, and a grid that isn't made of the image's voxels is refused. A file of a
single voxel means that nothing was drawn.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from medseg.data.card import CodedConcept
from medseg.data.dicom_codes import public_concept
from medseg.data.dicom_labels import Canvas, Structure
from medseg.data.itk import read_itk, read_itk_fields
from medseg.data.label_source import LabelSource, content_digest
from medseg.data.volume import Geometry
from medseg.errors import GeometryError, LabelError, ReadError
from medseg.types import Array, LabelMap

__all__ = ["SLICER_ENDING", "Segment", "read_segments", "slicer_source"]

SLICER_ENDING: Final = ".seg.nrrd"
_FIELD: Final = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer|Color|Tags)")
_TOLERANCE: Final = 0.1
"""Most that a voxel of the segmentation may lie beside one of the image, in voxels."""


@dataclass(frozen=True, eq=False)
class Segment:
    """One segment of a file.

    Attributes:
        structure: Its number in the file, its name, code, category and colour.
        value: Value of its voxels in its layer.
        layer: Index along the list axis.
    """

    structure: Structure = field(repr=False)
    value: int
    layer: int


def read_segments(path: Path) -> list[Segment]:
    """The segments that a file describes, from its header.

    Raises:
        ReadError: The file is damaged, or describes no segment as Slicer does.
    """
    fields: defaultdict[int, dict[str, str]] = defaultdict(dict)
    stated, layers = read_itk_fields(path)
    for name, text in stated.items():
        match = _FIELD.fullmatch(name)
        if match is not None:
            fields[int(match[1])][match[2]] = text
    if not fields and "Segmentation_ContainedRepresentationNames" not in stated:
        raise ReadError("expected a segmentation of 3D Slicer; found no segment in its header. Save it again")
    return [_segment(number, facts, layers) for number, facts in sorted(fields.items())]


def slicer_source(
    path: Path, segments: Sequence[Segment], values: Mapping[str, int], order: Sequence[int]
) -> LabelSource:
    """What makes the label map of a file.

    Args:
        path: The file.
        segments: As `read_segments`.
        values: `Structure.key` to label value; segments of other names are left out.
        order: Label values in order of priority where segments overlap; empty to refuse that.
    """

    def read(geometry: Geometry) -> tuple[LabelMap, tuple[str, ...]]:
        return _paint(path, segments, geometry, values, order)

    chosen = sorted((s.structure.key, values[s.structure.key]) for s in segments if s.structure.key in values)
    return LabelSource(read=read, paths=(path,), content=content_digest(repr(chosen), repr(tuple(order))))


def _segment(number: int, facts: Mapping[str, str], layers: int) -> Segment:
    try:
        value = int(facts.get("LabelValue", "1"))
        # Files of Slicer before 4.11 have a layer a segment and say neither layer nor value.
        layer = int(facts.get("Layer", str(number) if layers > 1 else "0"))
        colour = tuple(round(255 * float(part)) for part in facts.get("Color", "").split())
    except (ValueError, OverflowError):
        raise ReadError(f"segment {number}: its value, layer or colour is no number; save it again") from None
    if not 0 <= layer < layers or value < 1:
        raise ReadError(f"segment {number}: expected a layer of {layers} and a value above 0; found others")
    category, code = _codes(facts.get("Tags", ""))
    is_colour = len(colour) == 3 and min(colour) >= 0 and max(colour) <= 255
    red_green_blue = (colour[0], colour[1], colour[2]) if is_colour else None
    name = facts.get("Name", "").strip()
    return Segment(Structure(number, name, code=code, category=category, colour=red_green_blue), value, layer)


def _codes(tags: str) -> tuple[CodedConcept | None, CodedConcept | None]:
    """Category and type of a terminology entry: ``context~scheme^value^meaning~scheme^value^meaning~...``."""
    entry = next((tag.partition(":")[2] for tag in tags.split("|") if tag.startswith("TerminologyEntry:")), "")
    parts = entry.split("~")
    return (_code(parts[1]), _code(parts[2])) if len(parts) > 2 else (None, None)


def _code(text: str) -> CodedConcept | None:
    scheme, _, rest = text.partition("^")
    value, _, meaning = rest.partition("^")
    return public_concept(value, scheme, meaning)


def _paint(
    path: Path, segments: Sequence[Segment], geometry: Geometry, values: Mapping[str, int], order: Sequence[int]
) -> tuple[LabelMap, tuple[str, ...]]:
    layers, affine, _ = read_itk(path)
    canvas = Canvas(geometry.shape, order=order)
    if layers[0].size == 1:
        return canvas.label, ()
    if layers.dtype.kind not in "ui":
        raise LabelError("expected whole numbers in a segmentation; found fractions. Save it as a binary label map")
    to_image = np.linalg.inv(geometry.affine) @ affine
    _require_same_voxels(to_image, layers.shape[1:])
    described = {(segment.layer, segment.value) for segment in segments}
    for layer in range(layers.shape[0]):
        strange = [int(v) for v in np.unique(layers[layer]) if v and (layer, int(v)) not in described]
        if strange:
            raise LabelError(f"layer {layer} holds the value {strange[0]}, which no segment has; save it again")
    for segment in segments:
        value = values.get(segment.structure.key)
        if value is not None:
            canvas.paint(_places(layers[segment.layer] == segment.value, to_image, geometry), value)
    canvas.require_settled()
    return canvas.label, tuple(canvas.notes)


def _require_same_voxels(to_image: Array, shape: tuple[int, ...]) -> None:
    """Refuse a grid whose voxels aren't the image's: other size, turned, or between them."""
    linear = to_image[:3, :3]
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in (*shape, 1, 1)[:3]], indexing="ij")).reshape(3, -1)
    exact = np.rint(linear)
    placed = linear @ corners + to_image[:3, 3:4]
    lattice = exact @ corners + np.rint(to_image[:3, 3:4])
    if not np.array_equal(exact @ exact.T, np.eye(3)) or np.abs(placed - lattice).max() > _TOLERANCE:
        raise GeometryError(
            "the segmentation's voxels are not the image's; in Slicer set the image as source geometry (Segmentations, "
            "'Specify geometry') and save again"
        )


def _places(mask: Array, to_image: Array, geometry: Geometry) -> tuple[Array, ...]:
    """Indices in the image of a mask's voxels."""
    own = np.argwhere(mask)
    own = np.pad(own, ((0, 0), (0, 3 - own.shape[1]))) if own.shape[1] < 3 else own
    places = own @ np.rint(to_image[:3, :3]).astype(np.int64).T + np.rint(to_image[:3, 3]).astype(np.int64)
    shape = np.array((*geometry.shape, 1)[:3])
    if ((places < 0) | (places >= shape)).any():
        raise GeometryError("a segment lies partly outside the image; it was drawn on another image")
    return tuple(places[:, axis] for axis in range(len(geometry.shape)))
