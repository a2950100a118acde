"""RTSTRUCT, read: the contours of a structure set as labels on an image's grid (PS3.3 section A.19).

Contours are filled by the rule of `medseg.data.contours`. A point marks the voxel that holds it. Open contours enclose
nothing and are left out, which is said; a structure that has no others is refused. Points are coordinates in the
structure's frame of reference, so that must be the image's, or the contours must refer to the image's own instances.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from medseg.data.contours import Mask, fill_contours, mark_points
from medseg.data.dicom_codes import concept_of
from medseg.data.dicom_frames import text_of
from medseg.data.dicom_header import read_dataset, refusing_damage
from medseg.data.dicom_labels import Canvas, LabelObject, Structure, Target
from medseg.errors import GeometryError, LabelError, ReadError
from medseg.types import FloatArray

__all__ = ["describe_rtstruct", "paint_rtstruct", "structure_masks"]

_CLOSED: Final = frozenset(("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", ""))
"""Contour Geometric Types that enclose an area; a missing one counts as closed, the only sense that an area makes."""
_LPS: Final = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class _Region:
    """The contours of one structure, and what they refer to; coordinates are RAS+, mm."""

    closed: tuple[FloatArray, ...]
    points: FloatArray
    left_out: int
    frame_of_reference: str
    instances: frozenset[str]


def describe_rtstruct(dataset: Dataset, path: Path) -> LabelObject:
    """What a structure set outlines. Structures without a contour outline nothing and are left out.

    Where none has a contour, those that an algorithm generated stay: it looked and found nothing.

    Args:
        dataset: The structure set.
        path: Its file.

    Raises:
        ReadError: No structure has a contour and none is an algorithm's, or the file is damaged.
    """
    with _reading():
        return _described(dataset, path)


def _described(dataset: Dataset, path: Path) -> LabelObject:
    drawn = {_number(item, "ReferencedROINumber"): item for item in _items(dataset, "ROIContourSequence")}
    observed = {_number(item, "ReferencedROINumber"): item for item in _items(dataset, "RTROIObservationsSequence")}
    regions = _items(dataset, "StructureSetROISequence")
    outlined = [one for one in regions if _items(drawn.get(_number(one, "ROINumber")), "ContourSequence")]
    found_none = [one for one in regions if text_of(one, "ROIGenerationAlgorithm").upper() == "AUTOMATIC"]
    structures = tuple(
        Structure(
            number=number,
            name=text_of(item, "ROIName"),
            code=concept_of(observed[number], "RTROIIdentificationCodeSequence") if number in observed else None,
            colour=_colour(drawn[number]) if number in drawn else None,
        )
        for item, number in ((one, _number(one, "ROINumber")) for one in outlined or found_none)
    )
    if not structures:
        raise ReadError("the structure set has no structure with a contour; export it again")
    frames = _items(dataset, "ReferencedFrameOfReferenceSequence")
    series = [one for frame in frames for study in _items(frame, "RTReferencedStudySequence")
              for one in _items(study, "RTReferencedSeriesSequence")]  # fmt: skip
    images = [image for one in series for image in _items(one, "ContourImageSequence")]
    images += [image for item in drawn.values() for image in _contour_images(item)]
    return LabelObject(
        path=path,
        kind="RTSTRUCT",
        patient=text_of(dataset, "PatientID"),
        study_uid=text_of(dataset, "StudyInstanceUID"),
        frame_of_reference=text_of(frames[0] if frames else dataset, "FrameOfReferenceUID"),
        series_uids=frozenset(text_of(one, "SeriesInstanceUID") for one in series) - {""},
        instance_uids=frozenset(text_of(image, "ReferencedSOPInstanceUID") for image in images) - {""},
        structures=structures,
        label=text_of(dataset, "StructureSetLabel"),
        made=text_of(dataset, "StructureSetDate") + text_of(dataset, "StructureSetTime"),
    )


def paint_rtstruct(entry: LabelObject, chosen: Mapping[int, int], target: Target, canvas: Canvas) -> None:
    """Paint structures onto an image's grid.

    Args:
        entry: The structure set.
        chosen: ROI number to label value.
        target: The image.
        canvas: Of the image's shape.

    Raises:
        ReadError: Contour data are damaged.
        GeometryError: A structure has another frame of reference, or doesn't lie in planes of the image.
        LabelError: A structure has only open contours.
    """
    notes: Counter[str] = Counter()
    for number, mask in structure_masks(entry, target, numbers=frozenset(chosen)):
        notes.update(mask.notes)
        canvas.paint_box(mask.box, mask.start, chosen[number])
    canvas.notes += [f"RTSTRUCT: {note}" for note in notes]


def structure_masks(entry: LabelObject, target: Target, *, numbers: frozenset[int]) -> Iterator[tuple[int, Mask]]:
    """Every structure on an image's grid by itself, whatever it shares with others.

    Args:
        entry: The structure set.
        target: The image.
        numbers: ROI numbers of the wanted structures.

    Yields:
        ROI number and mask; a structure of areas and points gives two.

    Raises:
        ReadError: As `paint_rtstruct`.
        GeometryError: As `paint_rtstruct`.
        LabelError: As `paint_rtstruct`.
    """
    for number, region in _regions(entry, numbers):
        _require_world(region, target)
        for mask in _masks(region, target):
            yield number, mask


def _regions(entry: LabelObject, chosen: frozenset[int]) -> Iterator[tuple[int, _Region]]:
    """The chosen structures that have contours, by their numbers, one after the other."""
    dataset = read_dataset(entry.path, tags=None, pixels=False)
    with _reading():
        frames = {_number(item, "ROINumber"): text_of(item, "ReferencedFrameOfReferenceUID")
                  for item in _items(dataset, "StructureSetROISequence")}  # fmt: skip
        drawn = [(_number(item, "ReferencedROINumber"), item) for item in _items(dataset, "ROIContourSequence")]
    for number, item in drawn:
        if number in chosen and _items(item, "ContourSequence"):
            with _reading():
                region = _region(item, frames.get(number, "") or entry.frame_of_reference)
            yield number, region


def _reading() -> AbstractContextManager[None]:
    return refusing_damage("the structure set", remedy="export it again")


def _masks(region: _Region, target: Target) -> Iterator[Mask]:
    if not region.closed and not len(region.points):
        raise LabelError(
            f"a chosen structure has {region.left_out:,} open contours and no closed one; expected outlines of an area"
        )
    open_ones = region.left_out
    told = (f"{open_ones:,} open or unfinished contours enclose nothing and are left out",) if open_ones else ()
    if region.closed:
        mask = fill_contours(region.closed, target.geometry)
        empty = () if mask.box.any() else ("a structure encloses no voxel centre: nothing is labelled",)
        yield replace(mask, notes=(*mask.notes, *empty, *told))
        told = ()
    if len(region.points):
        mask = mark_points(region.points, target.geometry)
        yield replace(mask, notes=(*mask.notes, *told))


def _region(item: Dataset, frame_of_reference: str) -> _Region:
    closed: list[FloatArray] = []
    points: list[FloatArray] = []
    left_out = 0
    contours = _items(item, "ContourSequence")
    for number, contour in enumerate(contours, start=1):
        data = _coordinates(contour, f"contour {number} of {len(contours)}")
        kind = text_of(contour, "ContourGeometricType").upper()
        if kind == "POINT" or (kind in _CLOSED and len(data) == 1):
            points.append(data)
        elif kind in _CLOSED and len(data) > 2:
            closed.append(data)
        else:
            left_out += 1
    images = frozenset(text_of(image, "ReferencedSOPInstanceUID") for image in _contour_images(item)) - {""}
    marks = np.concatenate(points) if points else np.zeros((0, 3))
    return _Region(tuple(closed), marks, left_out, frame_of_reference, images)


def _coordinates(contour: Dataset, what: str) -> FloatArray:
    """Points of a contour, shape (points, 3), RAS+, mm; parsed at once, hundreds of times as fast as by pydicom."""
    element: Any = contour.get_item("ContourData")
    value = b"" if element is None or element.value is None else element.value
    try:
        if not isinstance(value, bytes):
            value = "\\".join(str(part) for part in np.atleast_1d(value)).encode("ascii")
        numbers = np.fromstring(value.decode("ascii").strip(" \0"), sep="\\")
    except ValueError:
        raise ReadError(f"{what}: expected numbers as coordinates; found something else, export it again") from None
    stated = _number(contour, "NumberOfContourPoints", default=len(numbers) // 3)
    if len(numbers) % 3 or len(numbers) != 3 * stated or not np.isfinite(numbers).all():
        raise ReadError(
            f"{what}: expected {stated:,} points of three finite coordinates; found {len(numbers):,} numbers. "
            "The file is broken, export it again"
        )
    points: FloatArray = numbers.reshape(-1, 3) * _LPS
    return points


def _require_world(region: _Region, target: Target) -> None:
    """Without headers (a bare grid), the caller answers for the frame of reference."""
    if not target.headers or any(h.frame_of_reference == region.frame_of_reference != "" for h in target.headers):
        return
    if region.instances & {header.instance_uid for header in target.headers}:
        return
    raise GeometryError(
        "the structure set has another frame of reference than the image, and its contours don't refer to the image's "
        "slices: its coordinates mean nothing there. Choose the series that it was drawn on, or register the two first"
    )


def _contour_images(item: Dataset) -> list[Dataset]:
    return [image for contour in _items(item, "ContourSequence") for image in _items(contour, "ContourImageSequence")]


def _items(dataset: Dataset | None, keyword: str) -> list[Dataset]:
    value = None if dataset is None else dataset.get(keyword)
    return [item for item in value if isinstance(item, Dataset)] if isinstance(value, Sequence) else []


def _number(item: Dataset, keyword: str, *, default: int = -1) -> int:
    try:
        return int(str(item.get(keyword, default)).strip() or default)
    except ValueError:
        return default


def _colour(item: Dataset) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (int(part) for part in item.get("ROIDisplayColor") or ())
    except ValueError:
        return None
    return (red, green, blue) if all(0 <= part <= 255 for part in (red, green, blue)) else None
