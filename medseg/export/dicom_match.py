"""DICOM match: the series that an image was converted from, so that results of a NIfTI file can refer to it.

A NIfTI, NRRD or MetaImage file names no DICOM instance. Its series is known again by two things: it lies on the same
voxels (the axes may run in another order or the other way, as dcm2niix writes them; no corner is more than a tenth of a
voxel off), and its voxels hold the same image (equal up to scale and offset; where the grid leaves a single series,
values that were changed afterwards may correlate less, while their fine detail is still the series' own: that of a
mirrored image, or of another patient with the same outline, isn't). The grid alone says little: scanners give every
patient of a protocol the same one. Where that leaves no single series, nothing is written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from medseg.data.dicom import find_series, read_sorted_series, series_geometry
from medseg.data.dicom_planes import ON_VOXELS
from medseg.data.dicom_sort import SeriesFiles
from medseg.data.reading import DEFAULT_READING, Reading
from medseg.data.source import Input
from medseg.data.volume import Geometry, Volume
from medseg.errors import DataError, GeometryError, ReadError, RequestError
from medseg.inference.predict import Prediction
from medseg.types import Array

__all__ = [
    "Match",
    "Referred",
    "SeriesFinder",
    "SourceSeries",
    "find_source_series",
    "lay_on_series",
]

_EQUAL: Final = 0.9999
"""Correlation from which two images are one, up to scale and offset."""
_RELATED: Final = 0.9
"""Correlation from which an image may be a changed copy: cleaned of a bias field, without skull, rounded."""
_SAME_DETAIL: Final = 0.5
"""Least correlation of the differences between neighbours in a changed copy: smoothing by a voxel, or noise, leaves
0.57 and more of real CT, MR and PET; their mirrored images have 0.2 at most."""
_CLEARLY_OTHER: Final = 0.8
"""Correlation of the remembered voxels below which a series isn't read again: far enough from `_RELATED`."""
_REMEMBERED: Final = 1 << 16
_REMEMBERED_IN_ALL: Final = 1 << 26
_LEAST_REMEMBERED: Final = 1 << 10
"""Voxels that are remembered: of a series, of all together, and of a channel of one among thousands. The correlation of
so few is that of all within 0.03, the closer the more alike they are."""
_LOOKED_AT: Final = 1 << 20
"""Voxels that are compared, at even distances."""


@dataclass(frozen=True, eq=False)
class SourceSeries:
    """A series that images may have been converted from.

    Attributes:
        series: Its files.
        grid: Its voxel grid; a single slice has two axes.
    """

    series: SeriesFiles = field(repr=False)
    grid: Geometry

    @property
    def name(self) -> str:
        """What tells it from others: UID and part. It identifies; never shown."""
        return f"{self.series.series_uid} {self.series.part}"


@dataclass(frozen=True, eq=False)
class Referred:
    """A prediction that was laid onto the series it belongs to.

    Attributes:
        prediction: On the series' own grid, voxel for voxel.
        volume: The series' own voxels, in whose unit lesions are measured.
        source: The input with the series' files.
        note: What isn't exact, a sentence; empty where nothing.
    """

    prediction: Prediction
    volume: Volume
    source: Input
    note: str = ""


@dataclass(frozen=True, eq=False)
class Match:
    """The series that an image was converted from.

    Attributes:
        series: Its files and grid.
        volume: Its own voxels.
        turn: How the image's axes come onto its axes.
        note: What isn't exact, a sentence; empty where nothing.
    """

    series: SourceSeries
    volume: Volume
    turn: _Turn
    note: str = ""


@dataclass(frozen=True, eq=False)
class _Turn:
    """How an array comes onto a series' axes: each of its axes there, and which of them run the other way."""

    axes: tuple[int, ...]
    flipped: tuple[int, ...]

    def array(self, values: Array) -> Array:
        """Turn the last axes of an array (..., x, y, z); a view."""
        lead = values.ndim - len(self.axes)
        turned = np.transpose(values, (*range(lead), *(lead + axis for axis in self.axes)))
        return np.flip(turned, tuple(lead + axis for axis in self.flipped))


def find_source_series(folder: Path, *, reading: Reading = DEFAULT_READING) -> tuple[SourceSeries, ...]:
    """The series below a folder that form a regular grid; only headers are read.

    Args:
        folder: Any mixture of DICOM files.
        reading: Which SUV a PET series is measured in.

    Raises:
        RequestError: There is no such folder, or no series in it.
    """
    try:
        found = find_series(folder)[0]
    except ReadError:
        raise RequestError("--dicom-source: expected a folder of DICOM files; found none") from None
    grids = []
    for one in found:
        try:
            grids.append(SourceSeries(replace(one, reading=reading), series_geometry(one)))
        except DataError:
            continue  # What forms no regular grid was not converted to one either.
    if not grids:
        raise RequestError(
            "--dicom-source: expected a folder with the series that the images were converted from; found "
            f"{len(found)} series, none of which is a regular grid of slices"
        )
    return tuple(grids)


class SeriesFinder:
    """Finds the series that images were converted from; some voxels of each series that it has read are remembered.

    Memory: 64 million voxels at most of up to 65,536 series of one channel, fewer of each the more series there are.

    Args:
        candidates: Among them are the series of the images.
    """

    def __init__(self, candidates: Sequence[SourceSeries]) -> None:
        self._candidates = tuple(candidates)
        self._known: dict[int, Array] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """What tells the candidates apart (`SourceSeries.name`)."""
        return tuple(one.name for one in self._candidates)

    def find(self, volume: Volume) -> Match:
        """The series that an image was converted from: by their headers, then by voxels of those on its grid.

        Args:
            volume: The image, with a place in the patient. Of several channels the first that a series holds counts.

        Raises:
            DataError: The image is a picture, or no series shows it, or several do.
            GeometryError: No series lies on its grid.
            ReadError: The voxels of a series that lies there cannot be read.
        """
        turns = self._turns(volume)
        likeness = {}
        read: dict[int, Volume] = {}
        for number, turn in turns.items():
            rough = _rough_likeness(volume, self._known[number], turn) if number in self._known else (1.0,)
            if max(rough) < _CLEARLY_OTHER and len(turns) > 1:
                likeness[number] = rough
                continue
            read.clear()  # One in memory at a time: all patients of a protocol may lie on one grid.
            read[number] = self._read(number)
            likeness[number] = _likeness(volume, read[number], turn)
        number, note = _settle(likeness)
        if number not in read:
            read.clear()
            read[number] = self._read(number)
        return Match(self._candidates[number], read[number], turns[number], note)

    def _turns(self, volume: Volume) -> dict[int, _Turn]:
        if len(volume.shape) != 3:
            raise DataError(
                "--dicom-source: a picture has no place in the patient by which its DICOM file could be told; predict "
                "the DICOM file itself, or choose --format png or coco"
            )
        found = [(number, _turn_of(volume.geometry, one.grid)) for number, one in enumerate(self._candidates)]
        turns = {number: turn for number, turn in found if turn is not None}
        if not turns:
            raise GeometryError(
                f"--dicom-source: no series of {len(self._candidates)} lies on this image's voxels; expected the one "
                "that it was converted from. An image that was resampled or cropped afterwards belongs to none: "
                f"predict the DICOM files, or choose --format nifti. Image: {volume.geometry.describe()}"
            )
        return turns

    def _read(self, number: int) -> Volume:
        own = read_sorted_series(self._candidates[number].series)
        shape = (*own.shape, 1)[:3]
        count = _remembered(series=len(self._candidates), channels=len(own.array))
        self._known[number] = np.stack([channel.reshape(shape)[_places(shape, count)] for channel in own.array])
        return own


def lay_on_series(prediction: Prediction, source: Input, match: Match) -> Referred:
    """Lay a prediction onto the series that was found for its image.

    Args:
        prediction: On the image's grid.
        source: The input.
        match: What `SeriesFinder.find` found for the image.
    """
    return Referred(
        prediction=_laid_on(prediction, match.volume.geometry, match.turn),
        volume=match.volume,
        source=replace(source, series=match.series.series.files),
        note=match.note,
    )


def _remembered(*, series: int, channels: int) -> int:
    """How many voxels of each channel are remembered."""
    return max(_LEAST_REMEMBERED, min(_REMEMBERED, _REMEMBERED_IN_ALL // series) // channels)


def _places(shape: tuple[int, ...], count: int) -> tuple[Array, ...]:
    """Indices of the voxels that are remembered, the same for every series of a shape."""
    flat = np.random.default_rng(0).integers(0, math.prod(shape), size=count)
    return tuple(np.asarray(axis) for axis in np.unravel_index(flat, shape))


def _rough_likeness(volume: Volume, known: Array, turn: _Turn) -> tuple[float, ...]:
    """As `_likeness`, of the voxels of a series that are remembered."""
    images = [turn.array(channel) for channel in volume.array]
    count = known.shape[1]
    return tuple(max(_correlation(image[_places(image.shape, count)], other) for other in known) for image in images)


def _turn_of(image: Geometry, grid: Geometry) -> _Turn | None:
    """How the image comes onto a series' axes; None where it doesn't lie on its voxels."""
    from nibabel.orientations import io_orientation

    target = Geometry((*grid.shape, 1)[:3], grid.affine)
    if sorted(image.shape) != sorted(target.shape):
        return None
    ways = io_orientation(np.linalg.inv(target.affine) @ image.affine)
    if np.isnan(ways).any():
        return None
    # Of each axis of the series: the image's axis, and whether it runs the other way.
    axes = tuple(int(np.flatnonzero(ways[:, 0] == axis)[0]) for axis in range(3))
    flipped = tuple(axis for axis in range(3) if ways[axes[axis], 1] < 0)
    turned = np.eye(4)
    turned[:, 3] = image.affine[:, 3]
    for axis, own in enumerate(axes):
        turned[:3, axis] = image.affine[:3, own] * (-1 if axis in flipped else 1)
        turned[:3, 3] -= turned[:3, axis] * (image.shape[own] - 1) * (axis in flipped)
    found = Geometry(tuple(image.shape[own] for own in axes), turned)
    # The third axis of a single slice is as long as its thickness, which places no voxel.
    lengths = [length for length, count in zip(target.spacing, target.shape, strict=True) if count > 1]
    near = found.corner_distance(target) <= ON_VOXELS * min(lengths, default=1.0)
    return _Turn(axes, flipped) if near else None


def _likeness(volume: Volume, own: Volume, turn: _Turn) -> tuple[float, ...]:
    """For each channel of the image its likeness with the channel of the series that is most like it."""
    theirs = own.array.reshape(*own.array.shape[:1], *(*own.shape, 1)[:3])
    return tuple(max((_alike(turn.array(channel), other) for other in theirs), default=0.0) for channel in volume.array)


def _alike(first: Array, second: Array) -> float:
    """Correlation of two images (x, y, z); that of their fine detail where they are like each other only in outline."""
    found = _correlation(first, second)
    if _RELATED <= found < _EQUAL and (detail := _detail(first, second)) < _SAME_DETAIL:
        return detail
    return found


def _detail(first: Array, second: Array) -> float:
    """Correlation of the differences between neighbours, of the axis that has the least; the first's filling apart."""
    inside = first != _filling(_some(first))
    found = []
    for axis in (axis for axis, count in enumerate(first.shape) if count > 1):
        ahead, behind = ((slice(None),) * axis + (part,) for part in (slice(1, None), slice(None, -1)))
        both = inside[ahead] & inside[behind]
        a, b = ((values[ahead][both].astype(np.float64) - values[behind][both]) for values in (first, second))
        found.append(_correlation(a, b))
    return min(found, default=0.0)


def _correlation(first: Array, second: Array) -> float:
    """Of the voxels where the first isn't its most frequent value, the filling; 0 where one of them is even."""
    a, b = (_some(values).astype(np.float64) for values in (first, second))
    if a.size == 0:
        return 0.0
    inside = a != _filling(a)
    if inside.sum() < 2 or np.ptp(a[inside]) == 0 or np.ptp(b[inside]) == 0:
        inside = np.ones_like(inside)
    if np.ptp(a[inside]) == 0 or np.ptp(b[inside]) == 0:
        return 0.0
    return float(np.corrcoef(a[inside], b[inside])[0, 1])


def _some(values: Array) -> Array:
    """The voxels that are compared. A step that divided an axis would take them all from a few slices."""
    step = max(1, values.size // _LOOKED_AT)
    while math.gcd(step, values.size) > 1:
        step += 1
    return values.ravel()[::step]


def _filling(values: Array) -> float:
    found, counts = np.unique(values, return_counts=True)
    return float(found[counts.argmax()])


def _settle(likeness: Mapping[int, tuple[float, ...]]) -> tuple[int, str]:
    """Which series it is, and what to say of it.

    Raises:
        DataError: None, or several.
    """
    for channel in range(len(next(iter(likeness.values())))):
        equal = [number for number, found in likeness.items() if found[channel] >= _EQUAL]
        if len(equal) == 1:
            return equal[0], ""
        if equal:
            raise DataError(
                f"--dicom-source: {len(equal)} series hold this very image; expected one. Take the copies out"
            )
    best = {number: max(found) for number, found in likeness.items()}
    related = [number for number, found in best.items() if found >= _RELATED]
    if len(related) == 1:
        told = f"the voxels were changed since they left the series (correlation {best[related[0]]:.2f})"
        return related[0], f"{told}; the result refers to it, and is measured on its values"
    if related:
        raise DataError(
            f"--dicom-source: {len(related)} series on this image's grid are like it, and none has its very voxels; "
            "expected one. Give a folder with the series that it was converted from"
        )
    raise DataError(
        f"--dicom-source: of the series on this image's grid ({len(likeness)}) none shows this image (correlation at "
        f"most {max(best.values()):.2f}; expected {_RELATED}). Are they another patient's, or another scan of the same?"
    )


def _laid_on(prediction: Prediction, grid: Geometry, turn: _Turn) -> Prediction:
    def laid(values: Array) -> Array:
        turned = np.ascontiguousarray(turn.array(values))
        return turned if len(grid.shape) == 3 else turned[..., 0]

    kept = prediction.probabilities
    return Prediction(laid(prediction.label_map), grid, None if kept is None else laid(kept))
