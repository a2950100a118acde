"""DICOM labels: the structures that SEG and RTSTRUCT files outline, painted as one label map onto an image's grid.

The way of a file: `read_label_object` says what it outlines, from its header; `number_structures` gives every name of a
whole data set one label value; `paint_labels` paints the chosen structures of one image's files onto that image's grid.
A kind of file joins with a function that describes it and one that paints it on a `Canvas`.

Two structures may claim one voxel. Structures of one label are united. Otherwise the label that comes first in the
order of priority that the researcher gave wins, and it is said how many voxels that settled; without an order the case
is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from medseg.data.card import CodedConcept
from medseg.data.volume import Geometry
from medseg.errors import LabelError, ReadError
from medseg.types import Array, LabelMap, Shape

if TYPE_CHECKING:
    from medseg.data.dicom_header import Header

__all__ = [
    "LABEL_MODALITIES",
    "Canvas",
    "LabelObject",
    "Structure",
    "Target",
    "name_key",
    "paint_labels",
    "read_label_object",
]

LABEL_MODALITIES: Final = ("SEG", "RTSTRUCT")
"""Modalities of the files that outline structures."""
_UNRANKED: Final = 256


def name_key(name: str) -> str:
    """What is equal for structures and labels of one name: lower case, single blanks."""
    return " ".join(name.split()).casefold()


@dataclass(frozen=True, eq=False)
class Structure:
    """One segment of a SEG, or one region of an RTSTRUCT.

    Attributes:
        number: Its number in the file (Segment Number, ROI Number).
        name: As the file has it, without blanks at the ends. Free text of a hospital: for matching, never shown as is.
        code: Segmented property type, where the file states one of a standard scheme.
        category: Segmented property category, likewise.
        colour: Red, green, blue, 0 to 255 each.
    """

    number: int
    name: str = field(repr=False)
    code: CodedConcept | None = None
    category: CodedConcept | None = None
    colour: tuple[int, int, int] | None = None

    @property
    def key(self) -> str:
        """`name_key` of its name."""
        return name_key(self.name)


@dataclass(frozen=True, eq=False)
class LabelObject:
    """What a file outlines and which images it was drawn on. UIDs serve matching only and are never shown.

    Attributes:
        path: The file.
        kind: ``SEG`` or ``RTSTRUCT``.
        patient: PatientID.
        study_uid: StudyInstanceUID.
        frame_of_reference: FrameOfReferenceUID of its coordinates; empty when it states none.
        series_uids: Series that it refers to.
        instance_uids: Image instances that it refers to.
        structures: What it outlines, in the order of the file.
        frames: Of those instances the frames that it refers to, numbered from 1, where it names any.
        label: Structure Set Label or Content Label. Free text, as a structure's name.
        made: Date and time of the structure set or of the content, ``YYYYMMDDhhmmss``; empty when it states none.
    """

    path: Path = field(repr=False)
    kind: Literal["SEG", "RTSTRUCT"]
    patient: str = field(repr=False)
    study_uid: str = field(repr=False)
    frame_of_reference: str = field(repr=False)
    series_uids: frozenset[str] = field(repr=False)
    instance_uids: frozenset[str] = field(repr=False)
    structures: tuple[Structure, ...]
    frames: frozenset[tuple[str, int]] = field(default=frozenset(), repr=False)
    label: str = field(default="", repr=False)
    made: str = field(default="", repr=False)


@dataclass(frozen=True, eq=False)
class Target:
    """The image that labels are painted on.

    Attributes:
        geometry: Its grid.
        headers: Of its files, to follow references to instances and frames.
    """

    geometry: Geometry
    headers: tuple[Header, ...] = field(default=(), repr=False)


class Canvas:
    """A label map in the making, and what was settled on the way.

    Args:
        shape: Voxels along x, y[, z].
        order: Label values in order of priority, the first wins; an overlap with a value that isn't in it is not
            settled.

    Attributes:
        label: uint8, axes (x, y[, z]).
        notes: What the painters had to say, one sentence each, without names.

    Example:
        >>> canvas = Canvas((3, 1), order=(2, 1))
        >>> canvas.paint(np.array([[True], [True], [False]]), 1)
        >>> canvas.paint(np.array([[False], [True], [True]]), 2)
        >>> canvas.label[:, 0].tolist(), canvas.overlaps
        ([1, 2, 2], 1)
    """

    def __init__(self, shape: Shape, *, order: Sequence[int] = ()) -> None:
        # Slice after slice in memory, as images are read and label maps are written; pictures as run lengths go.
        self.label: LabelMap = np.zeros(shape, dtype=np.uint8, order="F" if len(shape) > 2 else "C")
        self.notes: list[str] = []
        self._rank = np.full(256, _UNRANKED, dtype=np.int32)
        self._rank[list(order)] = np.arange(len(order))
        self._overlaps: Counter[tuple[int, int]] = Counter()

    def on_grid(self, shape: Shape) -> Canvas:
        """An empty canvas of another shape with the same order; what overlaps there counts here too."""
        other = Canvas(shape)
        other.notes, other._rank, other._overlaps = self.notes, self._rank, self._overlaps
        return other

    @property
    def overlaps(self) -> int:
        """Number of times that two labels met in a voxel."""
        return sum(self._overlaps.values())

    def paint(self, voxels: Array | tuple[Array, ...], value: int) -> None:
        """Give voxels a label.

        Args:
            voxels: A boolean array of the canvas' shape, or the integer indices along each axis, each voxel once.
            value: Label value, 1 to 255.
        """
        if isinstance(voxels, np.ndarray) and not (voxels & (self.label != 0) & (self.label != value)).any():
            # Ten times as fast as by the voxels' places, where no two labels meet.
            np.copyto(self.label, np.uint8(value), where=voxels)
            return
        before = self.label[voxels]
        taken = (before != 0) & (before != value)
        if not taken.any():
            self.label[voxels] = value
            return
        for other, count in zip(*np.unique(before[taken], return_counts=True), strict=True):
            pair = (min(value, int(other)), max(value, int(other)))
            self._overlaps[pair] += int(count)
        stays = taken & (self._rank[before] <= self._rank[value])
        self.label[voxels] = np.where(stays, before, np.uint8(value))

    def paint_box(self, box: Array, start: tuple[int, int, int], value: int) -> None:
        """Give the voxels of a box a label; as `paint`, without the indices of every voxel.

        Args:
            box: bool, axes (x, y, z), also on a canvas of two axes.
            start: Index of the box's first voxel.
            value: Label value, 1 to 255.
        """
        label = self.label if self.label.ndim == 3 else self.label[..., np.newaxis]
        x, y, z = (slice(a, a + n) for a, n in zip(start, box.shape, strict=True))
        for number, plane in enumerate(np.moveaxis(box, 2, 0), start=z.start):
            region = label[x, y, number]
            if not (plane & (region != 0) & (region != value)).any():
                np.copyto(region, np.uint8(value), where=plane)
                continue
            own_x, own_y = np.nonzero(plane)
            index = (own_x + x.start, own_y + y.start, np.full(len(own_x), number))
            self.paint(index[: self.label.ndim], value)

    def require_settled(self) -> None:
        """Refuse overlaps that no order of priority settles, and note those that one did.

        Raises:
            LabelError: Two labels claim a voxel, and no order was given.
        """
        unsettled = {pair: count for pair, count in self._overlaps.items() if self._rank[list(pair)].max() == _UNRANKED}
        told = ", ".join(f"{a} and {b} in {count:,} voxels" for (a, b), count in sorted(unsettled.items())[:5])
        if unsettled:
            raise LabelError(
                f"structures overlap (labels {told}); a label map holds one label a voxel. Name the structures with "
                "--structure in order of priority: the first wins"
            )
        if self._overlaps:
            told = ", ".join(f"{a} and {b} in {count:,} voxels" for (a, b), count in sorted(self._overlaps.items()))
            self.notes.append(f"overlapping structures: the first in the order of --structure won (labels {told})")


def read_label_object(path: Path) -> LabelObject:
    """What a SEG or RTSTRUCT outlines, from its header.

    Raises:
        ReadError: The file is damaged, is neither of them, or is of a kind that is not read (tiles of a slide).
    """
    from medseg.data.dicom_header import read_dataset

    dataset = read_dataset(path, tags=None, pixels=False)
    modality = str(dataset.get("Modality", ""))
    if modality == "SEG":
        from medseg.data.dicom_seg import describe_seg

        return describe_seg(dataset, path)
    if modality == "RTSTRUCT":
        from medseg.data.rtstruct import describe_rtstruct

        return describe_rtstruct(dataset, path)
    raise ReadError("expected a DICOM segmentation (SEG) or structure set (RTSTRUCT); found another kind of object")


def paint_labels(
    objects: Sequence[LabelObject], target: Target, values: Mapping[str, int], *, order: Sequence[int] = ()
) -> tuple[LabelMap, tuple[str, ...]]:
    """Paint structures onto an image's grid.

    Args:
        objects: Files that outline structures of this image.
        target: The image.
        values: Structure key (`Structure.key`) to label value, 1 to 255; other structures are left out.
        order: Label values in order of priority, the first wins where two claim a voxel; empty to refuse that.

    Returns:
        The label map, uint8, axes (x, y[, z]) of the target; and what was done, in sentences without names.

    Raises:
        ReadError: A file is damaged or can't be decoded.
        GeometryError: A file's coordinates can't be brought onto the image's grid.
        LabelError: Structures overlap and no order is given.
    """
    canvas = Canvas(target.geometry.shape, order=order)
    for entry in objects:
        chosen = {s.number: values[s.key] for s in entry.structures if s.key in values}
        if chosen and entry.kind == "SEG":
            from medseg.data.dicom_seg import paint_seg

            paint_seg(entry, chosen, target, canvas)
        elif chosen:
            from medseg.data.rtstruct import paint_rtstruct

            paint_rtstruct(entry, chosen, target, canvas)
    canvas.require_settled()
    return canvas.label, tuple(dict.fromkeys(canvas.notes))
