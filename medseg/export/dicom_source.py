"""DICOM source: the series that a prediction was made on, as the object written beside it needs it.

A SEG, a structure set and a report refer to the instances of their source, share its frame of reference and carry its
patient and study. What they have in common is here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.data.card import CodedConcept, LabelInfo
from medseg.data.volume import Geometry
from medseg.errors import GeometryError, LabelError, PrivacyError, ReadError
from medseg.types import Affine, Array, LabelMap, Shape

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "ABNORMAL",
    "ARTIFICIAL_INTELLIGENCE",
    "DEIDENTIFICATION",
    "LESION",
    "Algorithm",
    "Plane",
    "SourceTimes",
    "add_missing",
    "check_values",
    "code_item",
    "frames_of",
    "make_timeless",
    "planes_of",
    "read_sources",
    "require_deidentified",
    "slices_of",
    "times_of",
    "uid_maker",
]

DEIDENTIFICATION = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)
"""Attributes by which a source says that it was de-identified; what is written on it says so too."""
LESION = CodedConcept(value="52988006", scheme="SCT", meaning="Lesion")
ABNORMAL = CodedConcept(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure")
ARTIFICIAL_INTELLIGENCE = CodedConcept(value="123109", scheme="DCM", meaning="Artificial Intelligence")
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TOLERANCE_VOXELS = 0.1
_NEUTRAL_DATE, _NEUTRAL_TIME = "19000101", "000000"


@dataclass(frozen=True)
class Algorithm:
    """What drew the segments.

    Attributes:
        name: Name of the model, at most 64 characters.
        version: Version of medseg that predicted.
        model_id: Digest of the model package.
    """

    name: str
    version: str
    model_id: str


@dataclass(frozen=True, eq=False)
class Plane:
    """One frame of the source.

    Attributes:
        affine: 4 x 4, index (column, row, 0) of its pixels to world, RAS+, mm.
        rows: Number of rows.
        columns: Number of columns.
    """

    affine: Affine
    rows: int
    columns: int


@dataclass(frozen=True)
class SourceTimes:
    """The study date and time of the source, which everything written on it bears: no clock is read."""

    date: str
    time: str


def read_sources(files: Sequence[Path]) -> list[Dataset]:
    """The source instances without their pixels, in the order of the files.

    Raises:
        ReadError: A file cannot be read as DICOM, or the files are not of one series.
    """
    import pydicom

    if not files:
        raise ReadError("expected the DICOM files of the source series; got none")
    sources: list[Dataset] = []
    for number, file in enumerate(files, start=1):
        try:
            sources.append(pydicom.dcmread(file, stop_before_pixels=True, force=False))
        except (pydicom.errors.InvalidDicomError, OSError, ValueError, EOFError):
            raise ReadError(f"source file {number} of {len(files)} cannot be read as DICOM") from None
    if len({source.get("SeriesInstanceUID") for source in sources}) != 1:
        raise ReadError("expected the files of one series; these belong to several")
    return sources


def planes_of(sources: Sequence[Dataset]) -> list[Plane]:
    """The pixel grid of every frame, in the order of the files or of the multi-frame image."""
    if len(sources) == 1 and "PerFrameFunctionalGroupsSequence" in sources[0]:
        image = sources[0]
        shared = image.SharedFunctionalGroupsSequence[0] if image.get("SharedFunctionalGroupsSequence") else None
        return [_plane_of_groups(image, frame, shared) for frame in image.PerFrameFunctionalGroupsSequence]
    if len(sources) == 1 and "ImagePositionPatient" not in sources[0]:
        image = sources[0]
        if int(image.get("NumberOfFrames") or 1) > 1:
            raise GeometryError(
                "the source is a film or a set of views, frames without a place of their own, and nothing can refer "
                "to one of them by its position; choose --format nifti or png"
            )
        row_spacing, column_spacing = (float(v) for v in image.get("PixelSpacing", (1.0, 1.0)))
        return [Plane(np.diag([column_spacing, row_spacing, 1.0, 1.0]), int(image.Rows), int(image.Columns))]
    try:
        return [_plane(s, s.ImagePositionPatient, s.ImageOrientationPatient, s.PixelSpacing) for s in sources]
    except (AttributeError, TypeError, ValueError):
        raise GeometryError("a source instance lacks position, orientation or pixel spacing") from None


def _plane_of_groups(image: Dataset, frame: Dataset, shared: Dataset | None) -> Plane:
    def find(group: str, attribute: str) -> Any:
        for item in (frame, shared):
            if item is not None and item.get(group):
                return item[group].value[0].get(attribute)
        return None

    position = find("PlanePositionSequence", "ImagePositionPatient")
    orientation = find("PlaneOrientationSequence", "ImageOrientationPatient")
    spacing = find("PixelMeasuresSequence", "PixelSpacing")
    if position is None or orientation is None or spacing is None:
        raise GeometryError("a frame of the source lacks position, orientation or pixel spacing")
    return _plane(image, position, orientation, spacing)


def _plane(image: Dataset, position: Any, orientation: Any, spacing: Any) -> Plane:
    """Pixel (column, row) to world by PS3.3 C.7.6.2.1.1, turned from LPS to RAS."""
    along_row, along_column = np.asarray(orientation, dtype=float).reshape(2, 3)
    row_spacing, column_spacing = (float(v) for v in spacing)
    affine = np.eye(4)
    affine[:3, 0] = along_row * column_spacing
    affine[:3, 1] = along_column * row_spacing
    affine[:3, 2] = np.cross(along_row, along_column)
    affine[:3, 3] = np.asarray(position, dtype=float)
    return Plane(_LPS_TO_RAS @ affine, int(image.Rows), int(image.Columns))


def slices_of(shape: Shape, affine: Affine, planes: Sequence[Plane]) -> list[int]:
    """Which of the source's frames lie on the slices of a grid, one a slice.

    A file may hold several stacks, and several phases of one: frames of another stack are left out, and of frames at
    one place the first counts.

    Args:
        shape: Voxels of the grid, (x, y[, z]).
        affine: 4 x 4, its index to world, RAS+, mm.
        planes: The source's frames.

    Raises:
        GeometryError: No frame lies on the grid.
    """
    geometry = Geometry(shape=(*shape, 1)[:3], affine=affine)
    if len(shape) == 2 and len(planes) == 1:
        return [0]
    places: dict[bytes, int] = {}
    for number, plane in enumerate(planes):
        step = _step_of(geometry, plane)
        if step is not None:
            places.setdefault((np.sort(step[:3] @ _corners(plane), axis=1) + 0.0).tobytes(), number)
    if not places:
        raise GeometryError(
            "the label map does not lie on the voxels of the source series; predict on this very series. "
            f"Label map: {geometry.describe()}"
        )
    return sorted(places.values())


def frames_of(values: Array, affine: Affine, planes: Sequence[Plane]) -> Array:
    """The values of a label map, or of another array on its grid, at each source frame's pixels.

    Args:
        values: Axes (x, y[, z]), on the grid that `medseg.data.dicom.read_series` gave for the source.
        affine: 4 x 4, its index to world, RAS+, mm.
        planes: The source's frames, one a slice (`slices_of`).

    Returns:
        Of the same type, axes (frame, row, column).

    Raises:
        GeometryError: The array isn't on the grid of the source, or values above 0 lie outside its frames.
    """
    volume = values if values.ndim == 3 else values[..., np.newaxis]
    if values.ndim == 2 and len(planes) == 1:
        if values.T.shape != (planes[0].rows, planes[0].columns):
            raise GeometryError(
                f"expected a label map of {planes[0].columns} x {planes[0].rows} pixels; found {values.shape}"
            )
        return np.ascontiguousarray(values.T[np.newaxis])
    geometry = Geometry(shape=volume.shape, affine=affine)
    frames: Array = np.stack([_frame_of(volume, geometry, plane) for plane in planes])
    if int((frames > 0).sum()) != int((values > 0).sum()):
        raise GeometryError("labelled voxels lie outside the source's frames; predict on this very series")
    return frames


def _corners(plane: Plane) -> Array:
    far = [[0, 0], [plane.columns - 1, 0], [0, plane.rows - 1], [plane.columns - 1, plane.rows - 1]]
    return np.column_stack([far, np.zeros(4), np.ones(4)]).T


def _step_of(geometry: Geometry, plane: Plane) -> Array | None:
    """Pixel (column, row, 0, 1) to voxel index, whole numbers; None where the pixels aren't voxels of the grid."""
    step = np.linalg.inv(geometry.affine) @ plane.affine
    whole = np.rint(step)
    exact, rounded = step[:3] @ _corners(plane), whole[:3] @ _corners(plane)
    last = np.array(geometry.shape)[:, np.newaxis] - 1
    inside = bool((rounded >= 0).all() and (rounded <= last).all())
    return whole if inside and np.abs(exact - rounded).max() <= _TOLERANCE_VOXELS else None


def _frame_of(volume: Array, geometry: Geometry, plane: Plane) -> Array:
    """One frame: the pixel grid must run through voxel centres, along the volume's own axes."""
    whole = _step_of(geometry, plane)
    if whole is None:
        raise GeometryError(
            "the label map does not lie on the voxels of the source series; predict on this very series. "
            f"Label map: {geometry.describe()}"
        )
    whole = whole.astype(int)
    columns, rows = np.arange(plane.columns)[np.newaxis, :], np.arange(plane.rows)[:, np.newaxis]
    frame: Array = volume[tuple(whole[a, 0] * columns + whole[a, 1] * rows + whole[a, 3] for a in range(3))]
    return frame


def check_values(label_map: LabelMap, labels: Mapping[int, LabelInfo]) -> None:
    """Refuse values that nobody described.

    Raises:
        LabelError: The label map has a value that `labels` doesn't know, or there is none to know.
    """
    if not labels:
        raise LabelError("expected at least one label to describe; the card has none")
    unknown = sorted(set(np.unique(label_map).tolist()) - {0} - set(labels))
    if unknown:
        known = ", ".join(str(value) for value in sorted(labels))
        raise LabelError(f"expected label values 0, {known}; found {unknown[0]} too, add it to the card")


def require_deidentified(
    sources: Sequence[Dataset], what: str, *, identified_source: Literal["refuse", "keep"]
) -> None:
    """Refuse to carry a patient's attributes into a new file.

    Args:
        sources: The source instances.
        what: What would carry them, with its article.
        identified_source: ``refuse`` wants a source that says it was de-identified; ``keep`` takes any.

    Raises:
        PrivacyError: The source does not say that it was de-identified.
    """
    if identified_source == "refuse" and any(s.get("PatientIdentityRemoved") != "YES" for s in sources):
        raise PrivacyError(
            f"the source series does not say that it was de-identified, and {what} would carry its patient; "
            "run `medseg deidentify` first and predict on its output"
        )


def times_of(source: Dataset) -> SourceTimes:
    """Which date and time that is; neutral ones where the source has none."""
    return SourceTimes(
        date=str(source.get("StudyDate") or _NEUTRAL_DATE), time=str(source.get("StudyTime") or _NEUTRAL_TIME)
    )


def code_item(concept: CodedConcept) -> Any:
    """The concept as highdicom's sequence item."""
    import highdicom as hd

    return hd.sr.CodedConcept(value=concept.value, scheme_designator=concept.scheme, meaning=concept.meaning)


def add_missing(source: Dataset) -> None:
    """Make good what highdicom reads without asking: absent type 2 attributes become empty."""
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        if keyword not in source:
            setattr(source, keyword, "")
    for keyword in ("StudyDate", "StudyTime"):
        if keyword not in source:
            setattr(source, keyword, None)
    if "SpecificCharacterSet" in source and not source.SpecificCharacterSet:
        del source.SpecificCharacterSet  # empty means the default, which highdicom takes for an error


def make_timeless(content: Dataset, source: Dataset) -> None:
    """Replace the dates that highdicom took from the clock, and keep the source's statement of de-identification."""
    times = times_of(source)
    for prefix in ("InstanceCreation", "Content", "Series"):
        setattr(content, f"{prefix}Date", times.date)
        setattr(content, f"{prefix}Time", times.time)
    for keyword in DEIDENTIFICATION:
        if keyword in source:
            content[keyword] = source[keyword]
    for equipment in content.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = f"{times.date}{times.time}"


def uid_maker(
    frames: Array, sources: Sequence[Dataset], *, labels: Mapping[int, LabelInfo], algorithm: Algorithm
) -> Callable[[str], str]:
    """A function from a role to a ``2.25.`` UID (PS3.5 B.2) that depends on everything the object says."""
    content = hashlib.sha256(np.ascontiguousarray(frames).tobytes())
    for source in sources:
        content.update(str(source.get("SOPInstanceUID", "")).encode())
    content.update("\n".join(f"{value} {labels[value].model_dump_json()}" for value in sorted(labels)).encode())
    content.update(f"{algorithm}".encode())
    base = content.digest()

    def uid(role: str) -> str:
        return f"2.25.{int.from_bytes(hashlib.sha256(base + role.encode()).digest()[:16], 'big')}"

    return uid
