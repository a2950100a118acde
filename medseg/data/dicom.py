"""DICOM series: files of one SeriesInstanceUID as one volume.

Slice order, spacing and orientation come from ImagePositionPatient and ImageOrientationPatient of every slice (or
frame of an enhanced multi-frame image), never from file names or InstanceNumber. A series that is no stack of parallel,
evenly spaced, complete slices is refused with the reason. Several images of each place (echoes, b-values, time points)
become channels, by the rule of `dicom_phases`. DICOM segmentations and structure sets are no images and are refused
here.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from medseg.data.dicom_frames import VARIATIONS, Frame
from medseg.data.dicom_geometry import Stack, plane_affine, stack_slices
from medseg.data.dicom_header import Header
from medseg.data.dicom_phases import find_phases
from medseg.data.dicom_pixels import is_colour, is_inverted, padding_places, value_dtype, value_frames
from medseg.data.dicom_resample import RegularGrid, regular_grid, resample_stack
from medseg.data.dicom_sort import (
    SeriesFiles,
    count_copies,
    find_series,
    header_or_reason,
    in_parallel,
    sort_series,
    volumes_of,
)
from medseg.data.reading import DEFAULT_READING, NO_SPACING, RESAMPLED, Reading
from medseg.data.suv_series import to_suv
from medseg.data.volume import Geometry, Volume
from medseg.errors import GeometryError, ReadError
from medseg.privacy.limits import MAX_VOXELS, SUSPECT_BYTES, require_plausible
from medseg.types import Affine, Array

__all__ = [
    "SeriesFiles",
    "find_series",
    "only_series",
    "read_series",
    "read_sorted_series",
    "series_geometry",
    "sort_series",
]

_MODALITIES: Final = {
    "CT": "CT", "MR": "MR", "PT": "PT", "XC": "DERMOSCOPY", "DMS": "DERMOSCOPY", "GM": "DERMOSCOPY", "ES": "DERMOSCOPY",
}  # fmt: skip
_SECTIONS: Final = ("CT", "MR", "PT")
_SAME_GRID_MM: Final = 1e-2


@dataclass(frozen=True, eq=False)
class _Grid:
    """Which frame lies where.

    Attributes:
        places: For each channel and each z the index of the file and of the frame among its frames.
        geometry: The voxel grid.
        notes: What isn't exact.
        names: Names of the channels; one empty name where there is one phase only.
        irregular: How slices that form no regular grid come onto one; None where they do.
    """

    places: tuple[tuple[tuple[int, int], ...], ...]
    geometry: Geometry
    notes: tuple[str, ...]
    names: tuple[str, ...] = ("",)
    irregular: RegularGrid | None = None


def read_series(files: Sequence[Path], *, reading: Reading = DEFAULT_READING) -> Volume:
    """Read the files of one series, in any order.

    Args:
        files: The files.
        reading: Which SUV, and what becomes of an irregular stack.

    Returns:
        A volume with axes (channel, x, y, z), or (channel, x, y) when there is one slice only. Modality LUT or rescale
        is applied slice by slice; PET becomes SUV where the header allows. VOI LUTs and windows are matters of display
        and change nothing. `notes` says what was done.

    Raises:
        ReadError: A file is missing, truncated, holds no image or can't be decoded.
        GeometryError: The slices are no stack, or several; the message says why.
    """
    return read_sorted_series(replace(only_series(files), reading=reading))


def series_geometry(series: SeriesFiles) -> Geometry:
    """The voxel grid of a series, from headers alone.

    Raises:
        ReadError: As `read_series`.
        GeometryError: As `read_series`.
    """
    return _grid(series.headers, reading=series.reading).geometry


def read_sorted_series(series: SeriesFiles) -> Volume:
    """Read a series that `find_series` found, without reading its headers again; as `read_series`."""
    headers, reading = series.headers, series.reading
    grid = _grid(headers, reading=reading)
    stored, notes = _read_pixels(headers, grid)
    if grid.irregular is not None:
        stored = resample_stack(stored, grid.irregular)
        notes.append(f"{RESAMPLED}{grid.irregular.reason}")
    if any(is_inverted(header) for header in headers):
        notes.append("MONOCHROME1 inverted: bright is bright")
    array = stored.transpose(0, 3, 2, 1)
    array = array if len(grid.geometry.shape) == 3 else array[..., 0]
    channels = ("red", "green", "blue") if is_colour(headers[0]) else _channel_names(grid, headers[0].modality)
    unit = "HU" if headers[0].modality == "CT" and all(header.rescale_is_unit for header in headers) else ""
    if headers[0].modality == "PT" and not is_colour(headers[0]):
        array, note, kind, unit = to_suv(array, headers, reading)
        notes.append(note)
        channels = tuple(name if kind == "PT" else kind if name == "PT" else f"{kind}_{name}" for name in channels)
    return Volume(
        array=array,
        affine=grid.geometry.affine,
        channels=channels,
        modality=_MODALITIES.get(headers[0].modality, "OTHER"),
        notes=(*grid.notes, *notes),
        unit=unit,
    )


def _channel_names(grid: _Grid, modality: str) -> tuple[str, ...]:
    return tuple(name or modality for name in grid.names)


def _max_bits(headers: Sequence[Header]) -> int:
    palette = any(header.photometric == "PALETTE COLOR" for header in headers)
    return 8 if palette else max(header.bits_stored for header in headers)


def only_series(files: Sequence[Path]) -> SeriesFiles:
    """The one volume that the files of a series hold, in any order.

    Raises:
        ReadError: A file is missing, damaged, or holds no image.
        GeometryError: The files belong to several series, or hold several volumes.
    """
    volumes = volumes_of(_headers(files))
    if len(volumes) > 1:
        raise GeometryError(
            f"expected one image in the series; found {len(volumes)} ({volumes[0].part}, {volumes[1].part}, ...). "
            "`medseg import` takes each as a case"
        )
    return volumes[0]


def _headers(files: Sequence[Path]) -> list[Header]:
    if not files:
        raise ReadError("expected the files of a DICOM series; found no file")
    headers = []
    for number, header in enumerate(in_parallel(header_or_reason, files), start=1):
        if isinstance(header, str):
            raise ReadError(f"file {number} of {len(files)}: {header}")
        if not header.is_image:
            raise ReadError(f"file {number} of {len(files)} is not an image: {header.kind}")
        headers.append(header)
    kinds = len({header.series_uid for header in headers})
    if kinds > 1:
        raise GeometryError(f"expected the files of one series; found {kinds} series. Read each on its own")
    return headers


def _grid(headers: Sequence[Header], *, reading: Reading) -> _Grid:
    _require_alike(headers)
    frames = [(f, i, frame) for f, header in enumerate(headers) for i, frame in enumerate(header.frames)]
    first = headers[0]
    values = len(frames) * first.rows * first.columns * first.samples
    if values > MAX_VOXELS:
        raise ReadError(f"the series claims more than {MAX_VOXELS:,} voxels; nothing that large is read")
    if values * first.bits_allocated > 8 * SUSPECT_BYTES:
        require_plausible(values * first.bits_allocated // 8, sum(os.path.getsize(header.path) for header in headers))
    if all(header.localiser for header in headers):
        raise GeometryError("a localiser (scout) series, not a volume; leave it out")
    if any("MOSAIC" in frame.variations.get("ImageType", "").split("\\") for _, _, frame in frames):
        raise GeometryError("a mosaic: the slices of a volume tiled into one image. Export the series unpacked")
    if len(frames) == 1:
        return _plane_grid(first, frames[0][2])
    known = [frame.is_placed for _, _, frame in frames]
    if not all(known):
        raise GeometryError(_unplaced(headers, missing=known.count(False), count=len(known)))
    return _stack_grid(headers, frames, reading)


def _stack_grid(headers: Sequence[Header], frames: Sequence[tuple[int, int, Frame]], reading: Reading) -> _Grid:
    phases = find_phases([frame for _, _, frame in frames])
    stacks = []
    for phase in phases:
        try:
            stacks.append(_stack([frames[index][2] for index in phase.frames], reading))
        except GeometryError as error:
            why = _why_duplicate([frame for _, _, frame in frames]) if "duplicate" in str(error) else ""
            raise GeometryError(f"{error}{why}") from None
    shape = (headers[0].columns, headers[0].rows, len(phases[0].frames))
    geometries = [Geometry(shape, stack.affine) for stack in stacks]
    if any(geometries[0].corner_distance(other) > _SAME_GRID_MM for other in geometries[1:]):
        raise GeometryError(f"the {len(phases)} phases of the series lie on different grids; expected one. Split it")
    places = tuple(
        tuple(frames[phase.frames[index]][:2] for index in stack.order)
        for phase, stack in zip(phases, stacks, strict=True)
    )
    names = tuple(phase.name for phase in phases)
    notes = (
        stacks[0].notes if len(phases) == 1 else (*stacks[0].notes, f"{len(phases)} images of each place, as channels")
    )
    if not any(stack.irregular for stack in stacks):
        return _Grid(places, geometries[0], notes, names)
    regular = _regular_grid([headers[h].frames[f] for h, f in places[0]], shape[:2], stacks[0].irregular)
    return _Grid(places, regular.geometry, notes, names, regular)


def _stack(frames: Sequence[Frame], reading: Reading) -> Stack:
    if len(frames) == 1:
        raise GeometryError("phases of a single slice: expected at least two places in a series of several images each")
    return stack_slices(
        np.array([frame.position for frame in frames], dtype=np.float64),
        np.array([frame.orientation for frame in frames], dtype=np.float64),
        np.array([frame.spacing for frame in frames], dtype=np.float64),
        allow_irregular=reading.resample_irregular,
    )


def _require_alike(headers: Sequence[Header]) -> None:
    copies = count_copies(headers)
    if copies:
        raise GeometryError(
            f"duplicate slices: {copies} of {len(headers)} files are copies of another; remove the copies"
        )
    if len({header.patient for header in headers}) > 1:
        raise GeometryError(
            "expected slices of one patient in a series; found several PatientIDs. The series' UIDs are broken: export "
            "the original series"
        )
    sizes = {(header.rows, header.columns) for header in headers}
    if len(sizes) > 1:
        raise GeometryError(f"expected slices of one size in a series; found {len(sizes)} sizes. Split the series")
    if len({(is_colour(header), header.modality) for header in headers}) > 1:
        raise GeometryError("expected slices of one kind in a series; found colour and grey, or several modalities")
    if len({header.frame_of_reference for header in headers}) > 1:
        raise GeometryError(
            "expected one frame of reference in a series; found several. The slices share no coordinates"
        )
    if len({header.units for header in headers}) > 1:
        raise GeometryError("expected one unit of the values in a series; found several (Units). Split the series")
    frames = [frame for header in headers for frame in header.frames]
    by_table = len({header.has_modality_lut for header in headers}) > 1
    by_rescale = len({frame.is_rescaled for frame in frames}) > 1
    if by_table or (by_rescale and any((frame.slope, frame.intercept) != (1.0, 0.0) for frame in frames)):
        raise GeometryError(
            "some slices state how their stored values become values (RescaleSlope and RescaleIntercept) and some "
            "don't; expected it in every slice. Export the original series"
        )


def _unplaced(headers: Sequence[Header], *, missing: int, count: int) -> str:
    if headers[0].modality == "SM":
        return f"{count} tiles of a microscopy slide; expected a volume, or a picture in one piece"
    if len(headers) == 1:
        return (
            f"a multi-frame image of {count} frames without position, orientation and pixel spacing for each (a film, "
            "tiles or views); expected one stack of slices"
        )
    return (
        f"{missing} of {count} slices have no ImagePositionPatient, ImageOrientationPatient or PixelSpacing; expected "
        "them in every slice. Export the original series"
    )


def _why_duplicate(frames: Sequence[Frame]) -> str:
    """Which attributes differ between images at one position, in words."""
    places: defaultdict[tuple[float, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        if frame.position is not None:
            places[tuple(np.round(frame.position, 2))].append(frame)
    shared = next((group for group in places.values() if len(group) > 1), [])
    kinds = [word for key, word in VARIATIONS.items() if len({frame.variations.get(key) for frame in shared}) > 1]
    if kinds:
        return f". They differ in {', '.join(kinds)}: split the series by that"
    return "" if shared else ". Split the series by echo, time point or b-value"


def _plane_grid(header: Header, frame: Frame) -> _Grid:
    """One slice: placed in the patient where the header says so, else one pixel is one spacing from the origin."""
    spacing = frame.spacing or (1.0, 1.0)
    notes = [] if frame.spacing else [NO_SPACING]
    if frame.is_on_detector:
        notes.append("pixel spacing of the detector: lengths in the patient are smaller by the magnification")
    shape = (header.columns, header.rows)
    if frame.position is None or frame.orientation is None:
        affine: Affine = np.diag([spacing[1], spacing[0], 1.0, 1.0])
    else:
        normal = np.cross(frame.orientation[:3], frame.orientation[3:])
        thickness = frame.thickness if frame.thickness > 0 else 1.0
        affine = plane_affine(frame.position, frame.orientation, spacing, normal * thickness)
    if header.modality in _SECTIONS:
        notes.append("a single slice: read as a 2D image")
    return _Grid((((0, 0),),), Geometry(shape, affine), tuple(notes))


def _read_pixels(headers: Sequence[Header], grid: _Grid) -> tuple[Array, list[str]]:
    """Decode every file in threads, each frame straight into its place.

    Memory: the result, and one decoded file a thread.

    Returns:
        Values, axes (channel, slice, row, column), and notes.
    """
    rows, columns, slices = headers[0].rows, headers[0].columns, len(grid.places[0])
    colour = is_colour(headers[0])
    dtype = np.dtype(np.uint8) if colour and _max_bits(headers) <= 8 else value_dtype(headers)
    stored = np.empty((3 if colour else len(grid.places), slices, rows, columns), dtype=dtype)
    place_of = {place: (c, z) for c, places in enumerate(grid.places) for z, place in enumerate(places)}
    filled = np.zeros(stored.shape, dtype=bool) if any(h.padding and not colour for h in headers) else None

    def fill(number: int) -> None:
        header = headers[number]
        for index, frame in enumerate(value_frames(header, dtype)):
            if frame.shape[:2] != (rows, columns):
                raise ReadError(f"file {number + 1}: expected frames of the size in the header; found another")
            channel, z = place_of[number, index]
            if colour:
                stored[:, z] = np.moveaxis(frame, -1, 0)
                continue
            stored[channel, z] = frame
            _require_mapped(frame, header, header.frames[index])
            if filled is not None and header.padding is not None:
                filled[channel, z] = padding_places(frame, header, header.frames[index])

    for _ in in_parallel(fill, range(len(headers))):
        pass
    return stored, _settle_padding(stored, filled)


def _require_mapped(values: Array, header: Header, frame: Frame) -> None:
    if frame.mapped is None:
        return
    low, high = frame.mapped
    outside = (values < low) | (values > high)
    if outside.any() and (header.padding is None or (outside & ~padding_places(values, header, frame)).any()):
        raise ReadError(
            "pixels lie outside of the range that RealWorldValueMappingSequence holds for, so that nobody can tell "
            "their values. Export the series again"
        )


def _settle_padding(stored: Array, filled: Array | None) -> list[str]:
    """Give filling around the image, which is darker or brighter than anything in it, the lowest value of the image."""
    if filled is None or not filled.any() or filled.all():
        return []
    padding = stored[filled]
    inside = ~filled
    low = stored.min(where=inside, initial=stored.max())
    high = stored.max(where=inside, initial=stored.min())
    if padding.min() >= low and padding.max() <= high:
        return []  # The value occurs within the image's range as well: background, which stays as it is.
    stored[filled] = low
    return ["padding around the image set to the image's lowest value"]


def _regular_grid(frames: Sequence[Frame], size: tuple[int, int], reason: str) -> RegularGrid:
    first = frames[0]
    if first.orientation is None or first.spacing is None:
        raise GeometryError("expected position, orientation and pixel spacing in every slice")
    positions = np.array([frame.position for frame in frames], dtype=np.float64)
    return regular_grid(positions, orientation=first.orientation, spacing=first.spacing, size=size, reason=reason)
