"""DICOM Segmentation, read: binary, fractional and label map SEGs as labels on an image's grid (PS3.3 section A.51).

A frame is placed by its own position, orientation and pixel spacing, where the SEG shares the image's frame of
reference; else by the one image frame that it refers to. An image that is no DICOM series has no frame of reference:
there every frame has to lie on its voxels. What lies on the image's voxels is painted as it is; another grid in the
same frame of reference is resampled by the nearest voxel, and that is said; everything else is refused. Frames are
decoded by pydicom one by one and have to be those that highdicom reads, where it reads the file (decision 0011).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from medseg.data.dicom_codes import colour_of, concept_of
from medseg.data.dicom_frames import Frame, enhanced_frames, text_of
from medseg.data.dicom_header import Header, read_dataset, refusing_damage
from medseg.data.dicom_labels import Canvas, LabelObject, Structure, Target
from medseg.data.dicom_planes import (
    ON_VOXELS,
    corners,
    differ_in_step,
    even_grid,
    is_on_voxels,
    nearest,
    pixel_to_world,
)
from medseg.data.dicom_seg_frames import seg_frames
from medseg.data.volume import Geometry
from medseg.errors import GeometryError, LabelError, ReadError
from medseg.types import Affine, Array, LabelMap

__all__ = ["describe_seg", "paint_seg", "read_seg"]


@dataclass(frozen=True, eq=False)
class _Plane:
    """One frame of a SEG: where it lies, its segment (0 in a label map) and the image frames it refers to."""

    place: Frame
    segment: int
    sources: tuple[tuple[str, int], ...]


@dataclass(frozen=True, eq=False)
class _Seg:
    """A SEG's facts; `spacing_between` is nan where the header has none, `most` the value that stands for 1."""

    dataset: Dataset
    planes: tuple[_Plane, ...]
    kind: str
    spacing_between: float
    frame_of_reference: str
    described: frozenset[int]
    padding: int
    most: int

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        return int(self.dataset.Columns), int(self.dataset.Rows)


@dataclass(frozen=True, eq=False)
class _Image:
    """The image's grid, its world-to-index matrix, its files by instance, and whether the SEG shares its world."""

    geometry: Geometry
    to_index: Affine
    headers: Mapping[str, Header]
    shares_world: bool


def describe_seg(dataset: Dataset, path: Path) -> LabelObject:
    """What a SEG outlines.

    Args:
        dataset: The SEG, without pixels.
        path: Its file.

    Raises:
        ReadError: It is a segmentation of a slide's tiles, has no segments, or a damaged header.
    """
    with refusing_damage("the SEG's header", remedy="export it again"):
        return _described(dataset, path)


def _described(dataset: Dataset, path: Path) -> LabelObject:
    _refuse_tiles(dataset)
    segments = tuple(_structure(item) for item in dataset.get("SegmentSequence") or [])
    segments = tuple(segment for segment in segments if segment.number > 0)
    if not segments:
        raise ReadError("the SEG describes no segment; export it again")
    series, instances, frames = _references(dataset)
    return LabelObject(
        path=path,
        kind="SEG",
        patient=text_of(dataset, "PatientID"),
        study_uid=text_of(dataset, "StudyInstanceUID"),
        frame_of_reference=text_of(dataset, "FrameOfReferenceUID"),
        series_uids=series,
        instance_uids=instances,
        structures=segments,
        frames=frames,
        label=text_of(dataset, "ContentLabel"),
        made=text_of(dataset, "ContentDate") + text_of(dataset, "ContentTime"),
    )


def _refuse_tiles(dataset: Dataset) -> None:
    if "TotalPixelMatrixRows" in dataset:
        raise ReadError("a segmentation of the tiles of a microscopy slide; expected one of slices or of a picture")


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
    image = _image(seg, target)
    steps = [_step(plane, image, seg.size) for plane in seg.planes]
    known = [step for step in steps if step is not None]
    if len(known) == len(steps) and not _is_coarser(seg, image):
        _paint_planes(seg, known, chosen, canvas)
        return
    grid = even_grid([plane.place for plane in seg.planes], seg.size, unit=seg.spacing_between)
    if not image.shares_world or not target.headers:
        raise GeometryError(
            "the SEG has another frame of reference than the image, or the image has none, and its frames don't lie on "
            f"the image's: the image has {target.geometry.describe()}; the SEG has {grid.describe()}. "
            "Resample the segmentation onto the image"
        )
    own = canvas.on_grid(grid.shape)
    inverse = np.linalg.inv(grid.affine)
    _paint_planes(seg, [inverse @ pixel_to_world(plane.place) for plane in seg.planes], chosen, own)
    sampled = nearest(own.label, grid, target.geometry)
    for value in np.unique(sampled[sampled > 0]).tolist():
        canvas.paint(sampled == value, value)
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
    if _is_of_one_picture(seg):
        spacing = seg.planes[0].place.spacing or (1.0, 1.0)
        grid = Geometry(seg.size, np.diag([spacing[1], spacing[0], 1.0, 1.0]))
        steps = [np.eye(4)] * len(seg.planes)
    else:
        grid = even_grid([plane.place for plane in seg.planes], seg.size, unit=seg.spacing_between)
        inverse = np.linalg.inv(grid.affine)
        steps = [inverse @ pixel_to_world(plane.place) for plane in seg.planes]
    canvas = Canvas(grid.shape)
    _paint_planes(seg, steps, {s.number: s.number for s in entry.structures}, canvas)
    canvas.require_settled()
    if len(grid.shape) == 3 and grid.shape[2] == 1:
        return canvas.label[..., 0], Geometry(grid.shape[:2], grid.affine)
    return canvas.label, grid


def _is_of_one_picture(seg: _Seg) -> bool:
    """Whether its frames have no position and all lie on one image frame: segments of a photograph."""
    unplaced = all(plane.place.position is None for plane in seg.planes)
    return unplaced and len({plane.sources for plane in seg.planes}) == 1


def _structure(item: Dataset) -> Structure:
    return Structure(
        number=int(item.SegmentNumber),
        name=text_of(item, "SegmentLabel") or f"segment {int(item.SegmentNumber)}",
        code=concept_of(item, "SegmentedPropertyTypeCodeSequence"),
        category=concept_of(item, "SegmentedPropertyCategoryCodeSequence"),
        colour=colour_of(item),
    )


def _references(dataset: Dataset) -> tuple[frozenset[str], frozenset[str], frozenset[tuple[str, int]]]:
    """Series, instances and frames that a SEG refers to, as a whole and frame by frame."""
    series: set[str] = set()
    instances: set[str] = set()
    frames: set[tuple[str, int]] = set()
    for entry in dataset.get("ReferencedSeriesSequence") or []:
        series.add(text_of(entry, "SeriesInstanceUID"))
        referenced = entry.get("ReferencedInstanceSequence") or []
        instances.update(text_of(item, "ReferencedSOPInstanceUID") for item in referenced)
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    for group in (*shared, *(dataset.get("PerFrameFunctionalGroupsSequence") or [])):
        found = _sources(group)
        instances.update(uid for uid, _ in found)
        frames.update(pair for pair in found if pair[1])
    return frozenset(series - {""}), frozenset(instances - {""}), frozenset(frames)


def _sources(group: Dataset) -> tuple[tuple[str, int], ...]:
    """Instance and frame number (0 where it names none) of every image that a frame was derived from."""
    found = []
    for derivation in group.get("DerivationImageSequence") or []:
        for source in derivation.get("SourceImageSequence") or []:
            frames = source.get("ReferencedFrameNumber")
            numbers = [0] if frames is None else [int(n) for n in np.atleast_1d(frames)]
            found += [(text_of(source, "ReferencedSOPInstanceUID"), number) for number in numbers]
    return tuple(found)


def _open(path: Path) -> _Seg:
    dataset = read_dataset(path, tags=None, pixels=True)
    with refusing_damage("the SEG's header", remedy="export it again"):
        return _facts(dataset)


def _facts(dataset: Dataset) -> _Seg:
    if text_of(dataset, "Modality") != "SEG":
        raise ReadError("expected a DICOM SEG; found another kind of object. `medseg import` reads structure sets")
    _refuse_tiles(dataset)
    if "Rows" not in dataset or "Columns" not in dataset or min(int(dataset.Rows), int(dataset.Columns)) < 1:
        raise ReadError("the SEG states no size of its frames; export it again")
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
    return _Seg(
        dataset,
        tuple(planes),
        kind,
        abs(between),
        text_of(dataset, "FrameOfReferenceUID"),
        described=frozenset(int(item.SegmentNumber) for item in dataset.get("SegmentSequence") or []),
        padding=int(dataset.get("PixelPaddingValue", 0) or 0),
        most=int(dataset.get("MaximumFractionalValue", 255) or 255),
    )


def _image(seg: _Seg, target: Target) -> _Image:
    return _Image(
        geometry=target.geometry,
        to_index=np.asarray(np.linalg.inv(target.geometry.affine), dtype=np.float64),
        headers={header.instance_uid: header for header in target.headers},
        shares_world=not target.headers
        or (
            bool(seg.frame_of_reference)
            and any(header.frame_of_reference == seg.frame_of_reference for header in target.headers)
        ),
    )


def _is_coarser(seg: _Seg, image: _Image) -> bool:
    """Whether the SEG's slices stand for more, or less, than one of the image's each."""
    if len(image.geometry.shape) == 2:
        return False
    places = [plane.place for plane in seg.planes if plane.place.is_placed]
    step = image.geometry.spacing[2]
    thickness = next((header.frames[0].thickness for header in image.headers.values()), step)
    is_drawn_on_it = any(uid in image.headers for plane in seg.planes for uid, _ in plane.sources)
    return differ_in_step(places, step, stated=seg.spacing_between, own=thickness, alone=not is_drawn_on_it)


def _step(plane: _Plane, image: _Image, size: tuple[int, int]) -> Affine | None:
    """Pixel (column, row, 0, 1) to the image's voxel index, or None where the pixels aren't its voxels."""
    own = image.to_index @ pixel_to_world(plane.place) if plane.place.is_placed else None
    if own is not None and image.shares_world:
        return own if is_on_voxels(own, size) else None
    header, frame = _source(plane, image)
    if header is None or frame is None or (header.columns, header.rows) != size:
        return None
    if not frame.is_placed:
        return np.eye(4) if len(image.geometry.shape) == 2 else None
    step: Affine = image.to_index @ pixel_to_world(frame)
    # Another frame of reference, or none: the SEG's own position has to say the same as the reference.
    if own is not None and np.abs((own - step)[:3] @ corners(size)).max() > ON_VOXELS:
        return None
    return step if is_on_voxels(step, size) else None


def _source(plane: _Plane, image: _Image) -> tuple[Header | None, Frame | None]:
    """The one image frame that a plane refers to, where it is one and it is here."""
    known = [(image.headers[uid], number) for uid, number in plane.sources if uid in image.headers]
    if len(known) != 1:
        return None, None
    header, number = known[0]
    wanted = max(0, number - 1)
    if wanted not in header.frame_numbers:
        return None, None
    return header, header.frames[header.frame_numbers.index(wanted)]


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
    for number, frame in enumerate(_decoded(seg, canvas)):
        plane = seg.planes[number]
        if seg.kind != "LABELMAP":
            if plane.segment in chosen:
                yield number, chosen[plane.segment], frame > 0
            continue
        for segment in np.unique(frame).tolist():
            if segment in chosen:
                yield number, chosen[segment], frame == segment
            elif segment not in (0, seg.padding) and segment not in seg.described:
                raise LabelError("the SEG has pixel values that stand for no segment; export it again")


def _decoded(seg: _Seg, canvas: Canvas) -> Iterator[Array]:
    places, segments = [plane.place for plane in seg.planes], [plane.segment for plane in seg.planes]
    return seg_frames(seg.dataset, places, segments, kind=seg.kind, notes=canvas.notes)


def _fractional_masks(seg: _Seg, chosen: Mapping[int, int], canvas: Canvas) -> Iterator[tuple[int, int, Array]]:
    """The label with the largest fraction where fractions add up to one, else every label with half or more."""
    frames = list(_decoded(seg, canvas))
    groups: defaultdict[tuple[Any, ...], list[int]] = defaultdict(list)
    for number, plane in enumerate(seg.planes):
        position = plane.place.position
        groups[plane.sources if position is None else tuple(np.round(position, 3))].append(number)
    slack = len(seg.described) / 2 + 1  # every fraction was rounded
    sums = {place: np.sum([frames[n] for n in group], axis=0, dtype=np.int64) for place, group in groups.items()}
    exclusive = all(total.max() <= seg.most + slack for total in sums.values())
    for place, group in groups.items():
        stack = np.stack([frames[n] for n in group]).astype(np.int64)
        best = stack.argmax(axis=0)
        least = np.maximum(seg.most - sums[place], 1)
        for layer, number in enumerate(group):
            if seg.planes[number].segment in chosen:
                wins = (best == layer) & (stack[layer] >= least) if exclusive else 2 * stack[layer] >= seg.most
                yield number, chosen[seg.planes[number].segment], wins
    canvas.notes.append(
        "fractional SEG: a voxel has the label of the largest fraction, and none where the rest is larger"
        if exclusive
        else "fractional SEG whose fractions overlap: a voxel has a label where its fraction is one half or more"
    )
