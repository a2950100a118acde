"""DICOM Segmentation, read: binary, fractional and label map SEGs as labels on an image's grid (PS3.3 section A.51).

A frame is placed by its own position, orientation and pixel spacing, where the SEG shares the image's frame of
reference; else by the one image frame that it refers to. What lies on the image's voxels is painted as it is; another
grid in the same frame of reference is resampled by the nearest voxel, and that is said; everything else is refused.
Pixels are decoded by pydicom frame by frame; highdicom's reader, which stops at the gaps, overlaps and missing
positions that are allowed, is what the tests compare with.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset

from medseg.data.dicom_codes import colour_of, concept_of
from medseg.data.dicom_geometry import plane_affine
from medseg.data.dicom_header import Frame, enhanced_frames, read_dataset
from medseg.data.dicom_labels import Canvas, LabelObject, Structure, Target
from medseg.data.dicom_pixels import decode_frames
from medseg.data.volume import Geometry
from medseg.errors import GeometryError, LabelError, ReadError
from medseg.types import Affine, Array, FloatArray, LabelMap

__all__ = ["describe_seg", "paint_seg", "read_seg"]

_ON_VOXELS: Final = 0.1
"""Largest distance of a SEG's pixel from the image's voxel centre, in voxels, that counts as the same grid."""
_EVEN: Final = 0.2
"""Largest distance of a plane from its place on the SEG's own even grid, as a share of the slice distance."""


@dataclass(frozen=True, eq=False)
class _Plane:
    """One frame of a SEG: where it lies, its segment (0 in a label map) and the image frames it refers to."""

    place: Frame
    segment: int
    sources: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class _Seg:
    """A SEG's facts; `spacing_between` is nan where the header has none."""

    dataset: Dataset
    planes: tuple[_Plane, ...]
    kind: str
    spacing_between: float
    frame_of_reference: str


def describe_seg(dataset: Dataset, path: Path) -> LabelObject:
    """What a SEG outlines.

    Args:
        dataset: The SEG, without pixels.
        path: Its file.

    Raises:
        ReadError: It is a segmentation of a slide's tiles, or has no segments.
    """
    if "TotalPixelMatrixRows" in dataset:
        raise ReadError("a segmentation of the tiles of a microscopy slide; expected one of slices or of a picture")
    segments = tuple(_structure(item) for item in dataset.get("SegmentSequence") or [])
    segments = tuple(segment for segment in segments if segment.number > 0)
    if not segments:
        raise ReadError("the SEG describes no segment; export it again")
    series, instances = _references(dataset)
    return LabelObject(
        path=path,
        kind="SEG",
        patient=str(dataset.get("PatientID", "") or ""),
        study_uid=str(dataset.get("StudyInstanceUID", "") or ""),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "") or ""),
        series_uids=series,
        instance_uids=instances,
        structures=segments,
    )


def paint_seg(entry: LabelObject, chosen: Mapping[int, int], target: Target, canvas: Canvas) -> None:
    """Paint segments onto an image's grid.

    Args:
        entry: The SEG.
        chosen: Segment number to label value.
        target: The image.
        canvas: Of the image's shape.

    Raises:
        ReadError: The pixels are damaged or can't be decoded.
        GeometryError: The SEG doesn't lie in the image, or on no grid.
        LabelError: A pixel has a value that stands for no segment.
    """
    seg = _open(entry.path)
    steps = [_step(seg, plane, target) for plane in seg.planes]
    if all(step is not None for step in steps) and not _is_coarser(seg, target):
        _paint_planes(seg, [step for step in steps if step is not None], chosen, canvas)
        return
    grid = _own_grid(seg)
    if not _shares_world(seg, target):
        raise GeometryError(
            "the SEG has another frame of reference than the image, and its frames don't lie on the image's frames "
            f"that it refers to: the image has {target.geometry.describe()}; the SEG has {grid.describe()}. "
            "Resample the segmentation onto the image"
        )
    own = canvas.on_grid(grid.shape)
    inverse = np.linalg.inv(grid.affine)
    _paint_planes(seg, [inverse @ _plane_affine(plane.place) for plane in seg.planes], chosen, own)
    _resample(own.label, grid, target.geometry, canvas)
    canvas.notes.append(
        f"SEG on another grid resampled onto the image's by the nearest voxel: from {grid.describe()} to "
        f"{target.geometry.describe()}"
    )


def read_seg(path: Path) -> tuple[LabelMap, Geometry]:
    """Read a SEG on its own grid: the planes it has, with empty ones between them where it left some out.

    Returns:
        Segment numbers, uint8, axes (x, y, z), or (x, y) where the SEG has a single plane (as `read_series` reads a
        single slice); and the grid.

    Raises:
        ReadError: The file is damaged or can't be decoded.
        GeometryError: Its planes lie on no grid.
        LabelError: Segments overlap, or there are more than 255.
    """
    seg = _open(path)
    entry = describe_seg(seg.dataset, path)
    if max(segment.number for segment in entry.structures) > 255:
        raise LabelError("expected segment numbers up to 255; found larger ones. `medseg import` numbers them anew")
    if len(seg.planes) == 1 and seg.planes[0].place.position is None:
        spacing = seg.planes[0].place.spacing or (1.0, 1.0)
        size = (int(seg.dataset.Columns), int(seg.dataset.Rows))
        grid = Geometry(size, np.diag([spacing[1], spacing[0], 1.0, 1.0]))
        steps = [np.eye(4)]
    else:
        grid = _own_grid(seg)
        inverse = np.linalg.inv(grid.affine)
        steps = [inverse @ _plane_affine(plane.place) for plane in seg.planes]
    canvas = Canvas(grid.shape)
    _paint_planes(seg, steps, {s.number: s.number for s in entry.structures}, canvas)
    canvas.require_settled()
    if len(grid.shape) == 3 and grid.shape[2] == 1:
        return canvas.label[..., 0], Geometry(grid.shape[:2], grid.affine)
    return canvas.label, grid


def _structure(item: Dataset) -> Structure:
    return Structure(
        number=int(item.SegmentNumber),
        name=str(item.get("SegmentLabel", "") or "").strip() or f"segment {int(item.SegmentNumber)}",
        code=concept_of(item, "SegmentedPropertyTypeCodeSequence"),
        category=concept_of(item, "SegmentedPropertyCategoryCodeSequence"),
        colour=colour_of(item),
    )


def _references(dataset: Dataset) -> tuple[frozenset[str], frozenset[str]]:
    """Series and instances that a SEG refers to, as a whole and frame by frame."""
    series: set[str] = set()
    instances: set[str] = set()
    for entry in dataset.get("ReferencedSeriesSequence") or []:
        series.add(str(entry.get("SeriesInstanceUID", "")))
        instances.update(str(i.get("ReferencedSOPInstanceUID", "")) for i in entry.get("ReferencedInstanceSequence", []))
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    for group in (*shared, *(dataset.get("PerFrameFunctionalGroupsSequence") or [])):
        instances.update(uid for uid, _ in _sources(group))
    return frozenset(series - {""}), frozenset(instances - {""})


def _sources(group: Dataset) -> tuple[tuple[str, int], ...]:
    """Instance and frame number (0 where it names none) of every image that a frame was derived from."""
    found = []
    for derivation in group.get("DerivationImageSequence") or []:
        for source in derivation.get("SourceImageSequence") or []:
            frames = source.get("ReferencedFrameNumber")
            numbers = [0] if frames is None else [int(n) for n in np.atleast_1d(frames)]
            found += [(str(source.get("ReferencedSOPInstanceUID", "")), number) for number in numbers]
    return tuple(found)


def _open(path: Path) -> _Seg:
    dataset = read_dataset(path, tags=None, pixels=True)
    try:
        return _facts(dataset)
    except (GeometryError, LabelError, ReadError):
        raise
    except Exception as error:
        # pydicom converts values when they are asked for, and raises whatever a damaged one makes it raise.
        raise ReadError(f"the SEG's header is damaged ({type(error).__name__}); export it again") from None


def _facts(dataset: Dataset) -> _Seg:
    kind = str(dataset.get("SegmentationType", "BINARY"))
    shared = (list(dataset.get("SharedFunctionalGroupsSequence") or []) or [Dataset()])[0]
    groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    planes = []
    for place, group in zip(enhanced_frames(dataset), groups, strict=True):
        identified = group.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
        if not identified and kind != "LABELMAP":
            raise ReadError("a frame of the SEG says no segment that it belongs to; export it again")
        number = int(identified[0].ReferencedSegmentNumber) if kind != "LABELMAP" else 0
        planes.append(_Plane(place, number, _sources(group) or _sources(shared)))
    measures = (groups[0].get("PixelMeasuresSequence") or shared.get("PixelMeasuresSequence") or [Dataset()])[0]
    between = float(measures.get("SpacingBetweenSlices") or np.nan)
    return _Seg(dataset, tuple(planes), kind, abs(between), str(dataset.get("FrameOfReferenceUID", "") or ""))


def _plane_affine(place: Frame) -> Affine:
    """Pixel (column, row, 0, 1) to world, RAS+, mm."""
    if place.position is None or place.orientation is None or place.spacing is None:
        raise GeometryError(
            "a frame of the SEG has no position, orientation or pixel spacing, and refers to no frame of the image; "
            "export the segmentation again"
        )
    normal = np.cross(place.orientation[:3], place.orientation[3:])
    return plane_affine(place.position, place.orientation, place.spacing, normal)


def _shares_world(seg: _Seg, target: Target) -> bool:
    return bool(seg.frame_of_reference) and any(
        header.frame_of_reference == seg.frame_of_reference for header in target.headers
    )


def _is_coarser(seg: _Seg, target: Target) -> bool:
    """Whether the SEG's slices are stated to lie further apart, or closer, than the image's."""
    if np.isnan(seg.spacing_between) or len(target.geometry.shape) == 2 or len(seg.planes) < 2:
        return False
    own = [_height(plane.place) for plane in seg.planes]
    step = target.geometry.spacing[2]
    return len(set(own)) > 1 and abs(seg.spacing_between - step) > _EVEN * step


def _height(place: Frame) -> float:
    if place.position is None or place.orientation is None:
        return 0.0
    return round(float(place.position @ np.cross(place.orientation[:3], place.orientation[3:])), 3)


def _step(seg: _Seg, plane: _Plane, target: Target) -> Affine | None:
    """Pixel (column, row, 0, 1) to the image's voxel index, or None where the pixels aren't its voxels."""
    own = None if plane.place.position is None or plane.place.spacing is None else plane.place
    size = (int(seg.dataset.Columns), int(seg.dataset.Rows))
    if own is not None and _shares_world(seg, target):
        step = np.linalg.inv(target.geometry.affine) @ _plane_affine(own)
        return step if _is_on_voxels(step, size) else None
    source = _source_step(plane, target, size)
    if source is None:
        return None
    if own is not None and _is_known(plane, target):
        # Another frame of reference, or none: position and reference have to say the same.
        step = np.linalg.inv(target.geometry.affine) @ _plane_affine(own)
        corners = _corners(size)
        if np.abs((step - source)[:3] @ corners).max() > _ON_VOXELS:
            return None
    return source


def _is_known(plane: _Plane, target: Target) -> bool:
    """Whether the image frame that a plane refers to has a position of its own."""
    frames = {header.instance_uid: header.frames for header in target.headers}
    return any(uid in frames and frames[uid][max(0, number - 1)].position is not None for uid, number in plane.sources)


def _source_step(plane: _Plane, target: Target, size: tuple[int, int]) -> Affine | None:
    """As `_step`, by the one image frame that the plane refers to."""
    headers = {header.instance_uid: header for header in target.headers}
    known = [(headers[uid], number) for uid, number in plane.sources if uid in headers]
    if len(known) != 1:
        return None
    header, number = known[0]
    if (header.columns, header.rows) != size or not 0 <= max(0, number - 1) < len(header.frames):
        return None
    place = header.frames[max(0, number - 1)]
    if place.position is None or place.orientation is None or place.spacing is None:
        return np.eye(4) if len(target.geometry.shape) == 2 else None
    step: Affine = np.linalg.inv(target.geometry.affine) @ _plane_affine(place)
    return step if _is_on_voxels(step, size) else None


def _corners(size: tuple[int, int]) -> Array:
    columns, rows = size[0] - 1, size[1] - 1
    return np.array([[0, columns, 0, columns], [0, 0, rows, rows], [0, 0, 0, 0], [1, 1, 1, 1]], dtype=np.float64)


def _is_on_voxels(step: Affine, size: tuple[int, int]) -> bool:
    """Whether neighbouring pixels are neighbouring voxels, and all of them lie on voxel centres."""
    directions = np.rint(step[:3, :2])
    if not (np.abs(directions).sum(axis=0) == 1).all():
        return False
    # A plane beside the image's grid may lie on its continuation, so that only the distance counts.
    whole = np.rint(step)
    return bool(np.abs((step - whole)[:3] @ _corners(size)).max() <= _ON_VOXELS)


def _paint_planes(seg: _Seg, steps: Sequence[Affine], chosen: Mapping[int, int], canvas: Canvas) -> None:
    """Paint every frame's pixels at their voxels.

    Raises:
        GeometryError: All of them lie outside.
    """
    inside = outside = 0
    for number, value, mask in _masks(seg, chosen, canvas):
        rows, columns = np.nonzero(mask)
        if not len(rows):
            continue
        pixels = np.stack([columns, rows, np.zeros_like(rows), np.ones_like(rows)])
        index = np.rint(steps[number][:3] @ pixels).astype(np.int64)
        shape = np.array((*canvas.label.shape, 1)[:3])[:, np.newaxis]
        fits = ((index >= 0) & (index < shape)).all(axis=0)
        outside += int((~fits).sum())
        inside += int(fits.sum())
        canvas.paint(tuple(index[axis][fits] for axis in range(canvas.label.ndim)), value)
    if outside and not inside:
        raise GeometryError(
            f"all {outside:,} labelled voxels of the SEG lie outside the image; is it the segmentation of this series?"
        )
    if outside:
        canvas.notes.append(f"{outside:,} labelled voxels of a SEG lie outside the image and are left out")


def _masks(seg: _Seg, chosen: Mapping[int, int], canvas: Canvas) -> Iterator[tuple[int, int, Array]]:
    """Frame number, label value and the pixels (rows, columns) that have it."""
    if seg.kind == "FRACTIONAL":
        yield from _fractional_masks(seg, chosen, canvas)
        return
    described = {int(item.SegmentNumber) for item in seg.dataset.SegmentSequence}
    padding = int(seg.dataset.get("PixelPaddingValue", 0) or 0)
    for number, frame in enumerate(_decoded(seg)):
        plane = seg.planes[number]
        if seg.kind != "LABELMAP":
            if plane.segment in chosen:
                yield number, chosen[plane.segment], frame > 0
            continue
        for segment in np.unique(frame).tolist():
            if segment in chosen:
                yield number, chosen[segment], frame == segment
            elif segment not in (0, padding) and segment not in described:
                raise LabelError("the SEG has pixel values that stand for no segment; export it again")


def _decoded(seg: _Seg) -> Iterator[Array]:
    count = 0
    for frame in decode_frames(seg.dataset):
        yield frame
        count += 1
    if count != len(seg.planes):
        raise ReadError(f"expected {len(seg.planes)} frames; found {count}. The SEG is truncated, copy it again")


def _fractional_masks(seg: _Seg, chosen: Mapping[int, int], canvas: Canvas) -> Iterator[tuple[int, int, Array]]:
    """The label with the largest fraction where fractions add up to one, else every label with half or more."""
    most = int(seg.dataset.get("MaximumFractionalValue", 255) or 255)
    frames = list(_decoded(seg))
    groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number, plane in enumerate(seg.planes):
        place = () if plane.place.position is None else tuple(np.round(plane.place.position, 3))
        groups[place or plane.sources].append(number)
    slack = len(chosen) / 2 + 1  # every fraction was rounded
    exclusive = all(np.sum([frames[n] for n in group], axis=0, dtype=np.int64).max() <= most + slack
                    for group in groups.values())  # fmt: skip
    for group in groups.values():
        stack = np.stack([frames[n] for n in group]).astype(np.int64)
        best = stack.argmax(axis=0)
        rest = most - stack.sum(axis=0)
        for place, number in enumerate(group):
            segment = seg.planes[number].segment
            if segment in chosen:
                wins = (best == place) & (stack[place] >= np.maximum(rest, 1)) if exclusive else 2 * stack[place] >= most
                yield number, chosen[segment], wins
    canvas.notes.append(
        "fractional SEG: a voxel has the label of the largest fraction, and none where the rest is larger"
        if exclusive
        else "fractional SEG whose fractions overlap: a voxel has a label where its fraction is one half or more"
    )


def _own_grid(seg: _Seg) -> Geometry:
    """The grid of a SEG's own planes; planes that it left out are part of it.

    Raises:
        GeometryError: The planes aren't parallel, evenly spaced and above each other.
    """
    first = seg.planes[0].place
    _plane_affine(first)
    positions, normal = _parallel_positions(seg)
    heights = positions @ normal
    levels = np.unique(np.round(heights, 3))
    gaps = np.diff(levels)
    unit = seg.spacing_between if not np.isnan(seg.spacing_between) else float(gaps.min(initial=np.inf))
    if not np.isfinite(unit) or unit <= 0:
        unit = first.thickness if first.thickness > 0 else 1.0
    count = int(np.rint((levels[-1] - levels[0]) / unit)) + 1
    unit = float(levels[-1] - levels[0]) / (count - 1) if count > 1 else unit
    start = positions[int(heights.argmin())]
    steps = np.rint((heights - heights.min()) / unit)
    off = positions - start - np.outer(steps * unit, normal)
    along = np.abs(off @ normal).max()
    sideways = np.linalg.norm(off - np.outer(off @ normal, normal), axis=1).max()
    assert first.orientation is not None and first.spacing is not None
    if along > _EVEN * unit or sideways > _EVEN * min(first.spacing):
        raise GeometryError(
            f"the SEG's planes lie on no even grid: up to {along:.3g} mm off along and {sideways:.3g} mm across the "
            f"slices, {unit:.4g} mm apart. Export the segmentation on the image's grid"
        )
    shape = (int(seg.dataset.Columns), int(seg.dataset.Rows), count)
    return Geometry(shape, plane_affine(start, first.orientation, first.spacing, normal * unit))


def _parallel_positions(seg: _Seg) -> tuple[FloatArray, FloatArray]:
    """Position of every plane, (n, 3) mm LPS+, and their common normal."""
    first = seg.planes[0].place
    assert first.orientation is not None and first.spacing is not None
    positions = []
    for plane in seg.planes:
        place = plane.place
        if place.position is None or place.orientation is None or place.spacing is None:
            raise GeometryError("some frames of the SEG have no position; export the segmentation again")
        if np.abs(place.orientation - first.orientation).max() > 1e-3 or not np.allclose(place.spacing, first.spacing):
            raise GeometryError("the SEG's frames have several orientations or pixel spacings; export it in one")
        positions.append(place.position)
    return np.stack(positions), np.cross(first.orientation[:3], first.orientation[3:])


def _resample(label: LabelMap, grid: Geometry, onto: Geometry, canvas: Canvas) -> None:
    """Paint the nearest voxel's label, plane by plane of the image.

    Raises:
        GeometryError: A label has no voxel left.
    """
    shape = (*onto.shape, 1)[:3]
    to_own = np.linalg.inv(grid.affine) @ onto.affine
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    sampled = np.zeros(shape, dtype=np.uint8)
    last = np.array(label.shape)[:, np.newaxis, np.newaxis]
    for k in range(shape[2]):
        index = np.rint(np.einsum("ab,bxy->axy", to_own[:3], np.stack([i, j, np.full_like(i, k), np.ones_like(i)])))
        inside = ((index >= 0) & (index < last)).all(axis=0)
        found = index[:, inside].astype(np.int64)
        sampled[:, :, k][inside] = label[tuple(found)]
    before, after = np.unique(label[label > 0]), np.unique(sampled[sampled > 0])
    if len(before) > len(after):
        raise GeometryError(
            f"{len(before) - len(after)} of {len(before)} labels have no voxel left on the image's grid: the SEG has "
            f"{grid.describe()}; the image has {onto.describe()}. Resample the segmentation onto the image"
        )
    for value in after.tolist():
        canvas.paint(sampled.reshape(onto.shape) == value, value)
