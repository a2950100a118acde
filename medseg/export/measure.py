"""Measurement: what a report says of a lesion; a lesion is a connected component of a label (26-connected)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from medseg.data.volume import Volume
from medseg.errors import LabelError
from medseg.metrics.extent import largest_distance, surface_points
from medseg.metrics.lesions import components
from medseg.types import Array, LabelMap

__all__ = ["MAX_LESIONS", "Lesion", "measure_lesions"]

MAX_LESIONS: Final = 1000
"""Of one label in a report; each is outlined on every slice, and an archive reads them all when it lists a study."""


@dataclass(frozen=True, eq=False)
class Lesion:
    """A connected component of a label, measured.

    Attributes:
        value: Its label value.
        number: From 1, the largest of its label first.
        start: Index of the first voxel of the box around it.
        mask: The box, bool, axes (x, y, z).
        volume_mm3: Number of voxels times the volume of one.
        diameter_mm: Largest distance between two points of its surface.
        long_axis_mm: The same within one slice, the largest over all slices.
        mean: Of the image over its voxels; nan where the image has no unit, or several channels.
        deviation: Standard deviation, likewise.
        maximum: Likewise.
    """

    value: int
    number: int
    start: tuple[int, int, int]
    mask: Array
    volume_mm3: float
    diameter_mm: float
    long_axis_mm: float
    mean: float
    deviation: float
    maximum: float


def measure_lesions(label_map: LabelMap, volume: Volume) -> list[Lesion]:
    """Measure every lesion of a label map.

    Args:
        label_map: Axes (x, y, z), on the volume's grid.
        volume: The image; its last axis runs across the slices, as of a DICOM series.

    Returns:
        By label value, the largest first.

    Raises:
        LabelError: There are more lesions of a label than anybody reads a report of.
    """
    from scipy.ndimage import find_objects

    lesions = []
    for value in sorted(set(np.unique(label_map).tolist()) - {0}):
        numbered, count = components(label_map == value)
        if count > MAX_LESIONS:
            raise LabelError(
                f"expected at most {MAX_LESIONS} lesions of a label for a report; found {count}, which is noise rather "
                "than lesions. --format dicom-seg takes it as it is"
            )
        sizes = np.bincount(numbered.ravel(), minlength=count + 1)[1:]
        boxes = find_objects(numbered)
        for number, component in enumerate(np.argsort(-sizes, kind="stable").tolist(), start=1):
            box = boxes[component]
            lesions.append(_measured(int(value), number, box, numbered[box] == component + 1, volume))
    return lesions


def _measured(value: int, number: int, box: tuple[slice, ...], mask: Array, volume: Volume) -> Lesion:
    axes = volume.affine[:3, :3]
    slices = [mask[..., z] for z in range(mask.shape[2]) if mask[..., z].any()]
    known = bool(volume.unit) and volume.array.shape[0] == 1
    inside = volume.array[0][box][mask].astype(np.float64) if known else np.full(1, np.nan)
    return Lesion(
        value=value,
        number=number,
        start=(box[0].start, box[1].start, box[2].start),
        mask=mask,
        volume_mm3=float(mask.sum() * abs(np.linalg.det(axes))),
        diameter_mm=largest_distance(surface_points(mask) @ axes.T),
        long_axis_mm=max(largest_distance(surface_points(one) @ axes[:, :2].T) for one in slices),
        mean=float(inside.mean()),
        deviation=float(inside.std()),
        maximum=float(inside.max()),
    )
