"""DICOM series: files of one SeriesInstanceUID as one volume.

Slice order, spacing and orientation come from ImagePositionPatient and ImageOrientationPatient of every slice (or
frame of an enhanced multi-frame image), never from file names or InstanceNumber. A series that is no stack of parallel,
evenly spaced, complete slices is refused with the reason. DICOM segmentations and structure sets are no images and are
refused here.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from medseg.data.dicom_geometry import Stack, plane_affine, stack_slices
from medseg.data.dicom_header import VARIATIONS, Frame, Header, read_dataset, read_header
from medseg.data.dicom_labels import LABEL_MODALITIES
from medseg.data.dicom_pixels import is_colour, is_inverted, value_dtype, value_frames
from medseg.data.limits import MAX_VOXELS
from medseg.data.refusal import Refusal
from medseg.data.suv import suv_factor
from medseg.data.volume import Geometry, Volume
from medseg.errors import DataError, GeometryError, ReadError
from medseg.types import Affine, Array

__all__ = [
    "SeriesFiles",
    "find_series",
    "read_series",
    "read_series_geometry",
    "read_sorted_series",
    "series_geometry",
    "sort_files",
    "sort_series",
]

_MODALITIES: Final = {
    "CT": "CT", "MR": "MR", "PT": "PT", "XC": "DERMOSCOPY", "DMS": "DERMOSCOPY", "GM": "DERMOSCOPY", "ES": "DERMOSCOPY",
}  # fmt: skip
_SECTIONS: Final = ("CT", "MR", "PT")


@dataclass(frozen=True, eq=False)
class SeriesFiles:
    """The files of one series.

    Attributes:
        series_uid: SeriesInstanceUID; grouping only, never shown.
        files: In the order of the slices' positions, where they have any.
        modality: DICOM's term: ``CT``, ``MR``, ``PT``, ``US`` and so on.
        patient: PatientID; grouping only, never shown.
        study_uid: StudyInstanceUID; grouping only, never shown.
        headers: What was read of each file, in the order of `files`.
    """

    series_uid: str
    files: tuple[Path, ...]
    modality: str
    patient: str = field(default="", repr=False)
    study_uid: str = field(default="", repr=False)
    headers: tuple[Header, ...] = field(default=(), repr=False)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Which frame lies where: for each z index the index of the file and of the frame in it."""

    places: tuple[tuple[int, int], ...]
    geometry: Geometry
    notes: tuple[str, ...]


def find_series(folder: Path, *, progress: Callable[[], None] | None = None) -> tuple[list[SeriesFiles], list[Refusal]]:
    """Sort every file below a folder into series. Only headers are read; links are not followed.

    Args:
        folder: Any mixture of files, nested or not.
        progress: Called once a file.

    Returns:
        The series with images, in the order of their first file's path; and the files that hold no image, with the
        reason.

    Raises:
        ReadError: The folder doesn't exist.
    """
    if not folder.is_dir():
        raise ReadError("expected a folder of DICOM files; found none")
    paths = []
    for root, folders, names in os.walk(folder):
        folders.sort()
        paths += [Path(root) / name for name in sorted(names) if not name.startswith(".")]
    return sort_series([path for path in paths if path.is_file() and not path.is_symlink()], progress=progress)


def sort_series(
    paths: Sequence[Path], *, progress: Callable[[], None] | None = None
) -> tuple[list[SeriesFiles], list[Refusal]]:
    """Sort files into series; as `find_series`."""
    series, _, refusals = sort_files(paths, progress=progress)
    return series, refusals


def sort_files(
    paths: Sequence[Path], *, progress: Callable[[], None] | None = None
) -> tuple[list[SeriesFiles], list[Path], list[Refusal]]:
    """Sort files into series with images and files that outline structures (SEG, RTSTRUCT).

    Returns:
        The series; the files that outline structures; and all files that hold no image, those included, with the
        reason.
    """
    groups: defaultdict[str, list[Header]] = defaultdict(list)
    refusals = []
    outlines = []
    for number, header in enumerate(_parallel(_header_or_reason, paths), start=1):
        if progress is not None:
            progress()
        if isinstance(header, str):
            refusals.append(Refusal(f"file {number} of {len(paths)}", header))
        elif not header.is_image:
            refusals.append(Refusal(f"file {number} of {len(paths)}", f"not an image: {header.kind}"))
            outlines += [header.path] if header.modality in LABEL_MODALITIES else []
        else:
            groups[header.series_uid or f"without UID {number}"].append(header)
    return [_series_of(headers) for headers in groups.values()], outlines, refusals


def read_series(files: Sequence[Path]) -> Volume:
    """Read the files of one series, in any order.

    Returns:
        A volume with axes (channel, x, y, z), or (channel, x, y) when there is one slice only. Modality LUT or rescale
        is applied slice by slice; PET becomes SUVbw where the header allows. `notes` says what was done.

    Raises:
        ReadError: A file is missing, truncated, holds no image or can't be decoded.
        GeometryError: The slices are no stack; the message says why.
    """
    return read_sorted_series(_series_of(_headers(files)))


def read_series_geometry(files: Sequence[Path]) -> Geometry:
    """The voxel grid of a series, from headers alone.

    Raises:
        ReadError: As `read_series`.
        GeometryError: As `read_series`.
    """
    return _grid(_headers(files)).geometry


def series_geometry(series: SeriesFiles) -> Geometry:
    """The voxel grid of a series that `find_series` found; as `read_series_geometry`."""
    return _grid(series.headers).geometry


def read_sorted_series(series: SeriesFiles) -> Volume:
    """Read a series that `find_series` found, without reading its headers again; as `read_series`."""
    headers = series.headers
    grid = _grid(headers)
    dtype = value_dtype(headers)
    colour = is_colour(headers[0])
    notes = list(grid.notes)
    array = _read_pixels(headers, grid, dtype=np.dtype(np.uint8) if colour and _max_bits(headers) <= 8 else dtype)
    if any(is_inverted(header) for header in headers):
        notes.append("MONOCHROME1 inverted: bright is bright")
    if headers[0].modality == "PT" and not colour:
        array, note = _to_suv(array, headers)
        notes.append(note)
    return Volume(
        array=array,
        affine=grid.geometry.affine,
        channels=("red", "green", "blue") if colour else (headers[0].modality,),
        modality=_MODALITIES.get(headers[0].modality, "OTHER"),
        notes=tuple(notes),
    )


def _max_bits(headers: Sequence[Header]) -> int:
    palette = any(header.photometric == "PALETTE COLOR" for header in headers)
    return 8 if palette else max(header.bits_stored for header in headers)


def _header_or_reason(path: Path) -> Header | str:
    try:
        return read_header(path)
    except DataError as error:
        return str(error)


def _headers(files: Sequence[Path]) -> list[Header]:
    if not files:
        raise ReadError("expected the files of a DICOM series; found no file")
    headers = []
    for number, header in enumerate(_parallel(_header_or_reason, files), start=1):
        if isinstance(header, str):
            raise ReadError(f"file {number} of {len(files)}: {header}")
        if not header.is_image:
            raise ReadError(f"file {number} of {len(files)} is not an image: {header.kind}")
        headers.append(header)
    kinds = len({header.series_uid for header in headers})
    if kinds > 1:
        raise GeometryError(f"expected the files of one series; found {kinds} series. Read each on its own")
    return headers


def _series_of(headers: Sequence[Header]) -> SeriesFiles:
    ordered = sorted(headers, key=lambda header: header.instance_uid)
    first = ordered[0].frames[0]
    if first.orientation is not None:
        normal = np.cross(first.orientation[:3], first.orientation[3:])
        ordered.sort(key=lambda header: _height(header, normal))
    return SeriesFiles(
        series_uid=ordered[0].series_uid,
        files=tuple(header.path for header in ordered),
        modality=ordered[0].modality,
        patient=ordered[0].patient,
        study_uid=ordered[0].study_uid,
        headers=tuple(ordered),
    )


def _height(header: Header, normal: Array) -> float:
    position = header.frames[0].position
    return 0.0 if position is None else float(position @ normal)


def _grid(headers: Sequence[Header]) -> _Grid:
    _require_alike(headers)
    frames = [(f, i, frame) for f, header in enumerate(headers) for i, frame in enumerate(header.frames)]
    first = headers[0]
    if len(frames) * first.rows * first.columns * first.samples > MAX_VOXELS:
        raise ReadError(f"the series claims more than {MAX_VOXELS:,} voxels; nothing that large is read")
    if all(header.localiser for header in headers):
        raise GeometryError("a localiser (scout) series, not a volume; leave it out")
    if len(frames) == 1:
        return _plane_grid(first, frames[0][2])
    known = [_is_placed(frame) for _, _, frame in frames]
    if not all(known):
        raise GeometryError(_unplaced(headers, missing=known.count(False), count=len(known)))
    try:
        stack = _stack([frame for _, _, frame in frames])
    except GeometryError as error:
        raise GeometryError(f"{error}{_why_duplicate(headers) if 'duplicate' in str(error) else ''}") from None
    shape = (first.columns, first.rows, len(frames))
    places = tuple(frames[index][:2] for index in stack.order)
    return _Grid(places, Geometry(shape, stack.affine), stack.notes)


def _is_placed(frame: Frame) -> bool:
    return frame.position is not None and frame.orientation is not None and frame.spacing is not None


def _stack(frames: Sequence[Frame]) -> Stack:
    return stack_slices(
        np.array([frame.position for frame in frames], dtype=np.float64),
        np.array([frame.orientation for frame in frames], dtype=np.float64),
        np.array([frame.spacing for frame in frames], dtype=np.float64),
    )


def _require_alike(headers: Sequence[Header]) -> None:
    sizes = {(header.rows, header.columns) for header in headers}
    if len(sizes) > 1:
        raise GeometryError(f"expected slices of one size in a series; found {len(sizes)} sizes. Split the series")
    if len({(is_colour(header), header.modality) for header in headers}) > 1:
        raise GeometryError("expected slices of one kind in a series; found colour and grey, or several modalities")
    if len({header.frame_of_reference for header in headers}) > 1:
        raise GeometryError(
            "expected one frame of reference in a series; found several. The slices share no coordinates"
        )
    instances = Counter(header.instance_uid for header in headers if header.instance_uid)
    copies = sum(count - 1 for count in instances.values())
    if copies:
        raise GeometryError(
            f"duplicate slices: {copies} of {len(headers)} files are copies of another; remove the copies"
        )


def _unplaced(headers: Sequence[Header], *, missing: int, count: int) -> str:
    if len(headers) == 1:
        return (
            f"a multi-frame image of {count} frames without position, orientation and pixel spacing for each (a film, "
            "tiles or views); expected one stack of slices"
        )
    return (
        f"{missing} of {count} slices have no ImagePositionPatient, ImageOrientationPatient or PixelSpacing; expected "
        "them in every slice. Export the original series"
    )


def _why_duplicate(headers: Sequence[Header]) -> str:
    """Which attributes differ between images at one position, in words."""
    places: defaultdict[tuple[float, ...], list[Header]] = defaultdict(list)
    for header in headers:
        if len(header.frames) == 1 and header.frames[0].position is not None:
            places[tuple(np.round(header.frames[0].position, 2))].append(header)
    shared = next((group for group in places.values() if len(group) > 1), [])
    kinds = [word for key, word in VARIATIONS.items() if len({header.variations.get(key) for header in shared}) > 1]
    if kinds:
        return f". They differ in {', '.join(kinds)}: split the series by that"
    return "" if shared else ". Split the series by echo, time point or b-value"


def _plane_grid(header: Header, frame: Frame) -> _Grid:
    """One slice: placed in the patient where the header says so, else one pixel is one spacing from the origin."""
    spacing = frame.spacing or (1.0, 1.0)
    notes = [] if frame.spacing else ["no pixel spacing in the header: one pixel counts as 1 mm"]
    shape = (header.columns, header.rows)
    if frame.position is None or frame.orientation is None:
        affine: Affine = np.diag([spacing[1], spacing[0], 1.0, 1.0])
    else:
        normal = np.cross(frame.orientation[:3], frame.orientation[3:])
        thickness = frame.thickness if frame.thickness > 0 else 1.0
        affine = plane_affine(frame.position, frame.orientation, spacing, normal * thickness)
    if header.modality in _SECTIONS:
        notes.append("a single slice: read as a 2D image")
    return _Grid(((0, 0),), Geometry(shape, affine), tuple(notes))


def _read_pixels(headers: Sequence[Header], grid: _Grid, *, dtype: np.dtype[Any]) -> Array:
    """Decode every file in threads, each frame straight into its place.

    Memory: the result, and one decoded file a thread.
    """
    rows, columns, slices = headers[0].rows, headers[0].columns, len(grid.places)
    colour = is_colour(headers[0])
    stored = np.empty((3 if colour else 1, slices, rows, columns), dtype=dtype)
    place_of = {place: z for z, place in enumerate(grid.places)}

    def fill(number: int) -> None:
        for index, frame in enumerate(value_frames(headers[number], dtype)):
            if frame.shape[:2] != (rows, columns):
                raise ReadError(f"file {number + 1}: expected frames of the size in the header; found another")
            stored[:, place_of[number, index]] = np.moveaxis(frame, -1, 0) if colour else frame

    for _ in _parallel(fill, range(len(headers))):
        pass
    array = stored.transpose(0, 3, 2, 1)
    return array if len(grid.geometry.shape) == 3 else array[..., 0]


def _to_suv(array: Array, headers: Sequence[Header]) -> tuple[Array, str]:
    dataset = read_dataset(headers[0].path, tags=None, pixels=False)
    factor, note = suv_factor(dataset, acquired=[header.acquired for header in headers])
    if np.isnan(factor) or factor == 1.0:
        return array, note
    scaled = array.astype(np.float32, copy=False)
    scaled *= np.float32(factor)
    return scaled, note


def _parallel(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
    """The results in order, computed in threads; on an error the items not yet begun are left."""
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
