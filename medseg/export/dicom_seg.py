"""DICOM Segmentation: a label map as a binary SEG object on the series that it was predicted from (PS3.3 A.51)."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.data.card import CodedConcept, LabelInfo
from medseg.data.files import atomic_write
from medseg.data.volume import Geometry
from medseg.errors import DataError, GeometryError, LabelError, PrivacyError, ReadError
from medseg.types import Affine, Array, LabelMap

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Algorithm", "write_dicom_seg"]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_TOLERANCE_VOXELS = 0.1
_NEUTRAL_DATE, _NEUTRAL_TIME = "19000101", "000000"
_LESION = CodedConcept(value="52988006", scheme="SCT", meaning="Lesion")
_ABNORMAL = CodedConcept(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure")
_ARTIFICIAL_INTELLIGENCE = CodedConcept(value="123109", scheme="DCM", meaning="Artificial Intelligence")
_DEIDENTIFICATION = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)


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
class _Plane:
    """One frame of the source: its pixel grid, index (column, row, 0) to world RAS+ mm, and its size."""

    affine: Affine
    rows: int
    columns: int


def write_dicom_seg(
    label_map: LabelMap,
    affine: Affine,
    source_files: Sequence[Path],
    path: Path,
    *,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    identified_source: Literal["refuse", "keep"] = "refuse",
) -> str:
    """Write a label map as a binary SEG that refers to its source instances and shares their frame of reference.

    Segment numbers count 1, 2, ... in ascending order of the label values, as PS3.3 C.8.20.4 demands of binary SEGs. A
    label map without any labelled voxel gives a SEG whose frames are all empty, so that "nothing found" is recorded.
    The instance's UIDs are derived from its content (source UIDs, voxels, labels, algorithm): the same prediction
    written twice is the same instance. No clock is read; content date and time are the source's study date and time.

    Args:
        label_map: Axes (x, y[, z]), on the grid that `medseg.data.dicom.read_series` gave for `source_files`.
        affine: 4 x 4, index of `label_map` to world, RAS+, millimetres.
        source_files: The single-frame instances of one series, in any order, or one multi-frame instance.
        path: Where to write.
        labels: Label value to name, code, category and colour, as in the card. Without a code: lesion (SCT 52988006).
        algorithm: What predicted.
        identified_source: A SEG carries its source's patient and study attributes. ``refuse`` writes it only on a
            source that says it was de-identified (Patient Identity Removed is YES); ``keep`` writes it regardless.

    Returns:
        The SOP instance UID.

    Raises:
        GeometryError: The label map isn't on the grid of the source, or labelled voxels lie outside its frames.
        LabelError: The label map has a value that `labels` doesn't know.
        PrivacyError: The source isn't de-identified and `identified_source` is ``refuse``.
        ReadError: A source file cannot be read as DICOM, or the files are not of one series.
    """
    _check_values(label_map, labels)
    sources = _read_sources(source_files)
    if identified_source == "refuse" and any(s.get("PatientIdentityRemoved") != "YES" for s in sources):
        raise PrivacyError(
            "the source series does not say that it was de-identified, and a SEG would carry its patient; "
            "run `medseg deidentify` first and predict on its output"
        )
    frames = _frames_of(label_map, affine, _planes(sources))
    if int((frames > 0).sum()) != int((label_map > 0).sum()):
        raise GeometryError("labelled voxels lie outside the source's frames; predict on this very series")
    content = _encode(frames, sources, labels=labels, algorithm=algorithm)
    buffer = io.BytesIO()
    content.save_as(buffer, enforce_file_format=True)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return str(content.SOPInstanceUID)


def _check_values(label_map: LabelMap, labels: Mapping[int, LabelInfo]) -> None:
    if not labels:
        raise LabelError("expected at least one label to describe; the card has none")
    unknown = sorted(set(np.unique(label_map).tolist()) - {0} - set(labels))
    if unknown:
        known = ", ".join(str(value) for value in sorted(labels))
        raise LabelError(f"expected label values 0, {known}; found {unknown[0]} too, add it to the card")


def _read_sources(files: Sequence[Path]) -> list[Dataset]:
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


def _planes(sources: Sequence[Dataset]) -> list[_Plane]:
    """The pixel grid of every frame, in the order of the files or of the multi-frame image."""
    if len(sources) == 1 and "PerFrameFunctionalGroupsSequence" in sources[0]:
        image = sources[0]
        shared = image.SharedFunctionalGroupsSequence[0] if image.get("SharedFunctionalGroupsSequence") else None
        return [_plane_of_groups(image, frame, shared) for frame in image.PerFrameFunctionalGroupsSequence]
    if len(sources) == 1 and "ImagePositionPatient" not in sources[0]:
        image = sources[0]
        row_spacing, column_spacing = (float(v) for v in image.get("PixelSpacing", (1.0, 1.0)))
        return [_Plane(np.diag([column_spacing, row_spacing, 1.0, 1.0]), int(image.Rows), int(image.Columns))]
    try:
        return [_plane(s, s.ImagePositionPatient, s.ImageOrientationPatient, s.PixelSpacing) for s in sources]
    except (AttributeError, TypeError, ValueError):
        raise GeometryError("a source instance lacks position, orientation or pixel spacing") from None


def _plane_of_groups(image: Dataset, frame: Dataset, shared: Dataset | None) -> _Plane:
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


def _plane(image: Dataset, position: Any, orientation: Any, spacing: Any) -> _Plane:
    """Pixel (column, row) to world by PS3.3 C.7.6.2.1.1, turned from LPS to RAS."""
    along_row, along_column = np.asarray(orientation, dtype=float).reshape(2, 3)
    row_spacing, column_spacing = (float(v) for v in spacing)
    affine = np.eye(4)
    affine[:3, 0] = along_row * column_spacing
    affine[:3, 1] = along_column * row_spacing
    affine[:3, 2] = np.cross(along_row, along_column)
    affine[:3, 3] = np.asarray(position, dtype=float)
    return _Plane(_LPS_TO_RAS @ affine, int(image.Rows), int(image.Columns))


def _frames_of(label_map: LabelMap, affine: Affine, planes: Sequence[_Plane]) -> Array:
    """The label map's values at each source frame's pixels, uint16, axes (frame, row, column)."""
    volume = label_map if label_map.ndim == 3 else label_map[..., np.newaxis]
    if label_map.ndim == 2 and len(planes) == 1:
        if label_map.T.shape != (planes[0].rows, planes[0].columns):
            raise GeometryError(
                f"expected a label map of {planes[0].columns} x {planes[0].rows} pixels; found {label_map.shape}"
            )
        return np.ascontiguousarray(label_map.T.astype(np.uint16)[np.newaxis])
    geometry = Geometry(shape=volume.shape, affine=affine)
    return np.stack([_frame_of(volume, geometry, plane) for plane in planes])


def _frame_of(volume: LabelMap, geometry: Geometry, plane: _Plane) -> Array:
    """One frame: the pixel grid must run through voxel centres, along the volume's own axes."""
    step = np.linalg.inv(geometry.affine) @ plane.affine
    whole = np.rint(step)
    far = np.array([[0, 0], [plane.columns - 1, 0], [0, plane.rows - 1], [plane.columns - 1, plane.rows - 1]])
    corners = np.column_stack([far, np.zeros(4), np.ones(4)]).T
    exact, rounded = step[:3] @ corners, whole[:3] @ corners
    last = np.array(volume.shape)[:, np.newaxis] - 1
    inside = (rounded >= 0).all() and (rounded <= last).all()
    if not inside or np.abs(exact - rounded).max() > _TOLERANCE_VOXELS:
        raise GeometryError(
            "the label map does not lie on the voxels of the source series; predict on this very series. "
            f"Label map: {geometry.describe()}"
        )
    whole = whole.astype(int)
    columns, rows = np.arange(plane.columns)[np.newaxis, :], np.arange(plane.rows)[:, np.newaxis]
    index = tuple(whole[a, 0] * columns + whole[a, 1] * rows + whole[a, 3] for a in range(3))
    frame: Array = volume[index].astype(np.uint16)
    return frame


def _encode(
    frames: Array, sources: Sequence[Dataset], *, labels: Mapping[int, LabelInfo], algorithm: Algorithm
) -> Dataset:
    """The SEG object, complete but unwritten."""
    import highdicom as hd

    values = sorted(labels)
    numbered = np.zeros_like(frames)
    for number, value in enumerate(values, start=1):
        numbered[frames == value] = number
    uid = _uid_maker(numbered, sources, labels=labels, algorithm=algorithm)
    described = [
        _describe(hd, number, labels[value], algorithm=algorithm) for number, value in enumerate(values, start=1)
    ]
    for source in sources:
        _add_missing(source)
    with warnings.catch_warnings():
        # highdicom's and pydicom's warnings repeat attribute values.
        warnings.simplefilter("ignore")
        try:
            content: Dataset = hd.seg.Segmentation(
                source_images=list(sources),
                pixel_array=numbered,
                segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=described,
                series_instance_uid=uid("series"),
                series_number=1,
                sop_instance_uid=uid("instance"),
                instance_number=1,
                manufacturer="medseg",
                manufacturer_model_name="medseg",
                software_versions=algorithm.version,
                device_serial_number=algorithm.model_id[:16] or "unknown",
                content_label="SEGMENTATION",
                content_description="Automatic segmentation",
                content_creator_name=None,
                series_description="medseg segmentation",
                omit_empty_frames=bool(numbered.any()),
            )
        except (AttributeError, KeyError, TypeError, ValueError):
            raise DataError(
                "the source series lacks what a SEG has to refer to (study, series or frame of reference); "
                "write NIfTI instead"
            ) from None
    _make_timeless(content, sources[0], dimension_uid=uid("dimensions"))
    # highdicom 0.28 pads an odd number of bytes with the character "0"; PS3.5 8.1.1 wants a zero byte.
    used = -(-int(content.NumberOfFrames) * int(content.Rows) * int(content.Columns) // 8)
    content.PixelData = content.PixelData[:used] + b"\0" * (used % 2)
    return content


def _describe(hd: Any, number: int, info: LabelInfo, *, algorithm: Algorithm) -> Any:
    identification = hd.AlgorithmIdentificationSequence(
        name=algorithm.name[:64],
        family=_code(hd, _ARTIFICIAL_INTELLIGENCE),
        version=algorithm.version,
        parameters={"model": algorithm.model_id},
    )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=info.name,
        segmented_property_category=_code(hd, info.category or _ABNORMAL),
        segmented_property_type=_code(hd, info.code or _LESION),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=identification,
        display_color=None if info.colour is None else hd.color.CIELabColor.from_rgb(*info.colour),
    )


def _code(hd: Any, concept: CodedConcept) -> Any:
    return hd.sr.CodedConcept(value=concept.value, scheme_designator=concept.scheme, meaning=concept.meaning)


def _add_missing(source: Dataset) -> None:
    """Type 2 attributes that highdicom reads without asking; absent ones become empty."""
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        if keyword not in source:
            setattr(source, keyword, "")
    for keyword in ("StudyDate", "StudyTime"):
        if keyword not in source:
            setattr(source, keyword, None)


def _make_timeless(content: Dataset, source: Dataset, *, dimension_uid: str) -> None:
    """Replace what highdicom took from the clock and from chance, and keep the statement of de-identification."""
    date = str(source.get("StudyDate") or _NEUTRAL_DATE)
    time = str(source.get("StudyTime") or _NEUTRAL_TIME)
    for prefix in ("InstanceCreation", "Content", "Series"):
        setattr(content, f"{prefix}Date", date)
        setattr(content, f"{prefix}Time", time)
    for organisation in content.DimensionOrganizationSequence:
        organisation.DimensionOrganizationUID = dimension_uid
    for pointer in content.get("DimensionIndexSequence", []):
        pointer.DimensionOrganizationUID = dimension_uid
    for keyword in _DEIDENTIFICATION:
        if keyword in source:
            content[keyword] = source[keyword]
    content.BurnedInAnnotation = "NO"
    for equipment in content.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = f"{date}{time}"


def _uid_maker(
    frames: Array, sources: Sequence[Dataset], *, labels: Mapping[int, LabelInfo], algorithm: Algorithm
) -> Any:
    """A function from a role to a ``2.25.`` UID (PS3.5 B.2) that depends on everything the SEG says."""
    content = hashlib.sha256(np.ascontiguousarray(frames).tobytes())
    for source in sources:
        content.update(str(source.get("SOPInstanceUID", "")).encode())
    content.update("\n".join(f"{value} {labels[value].model_dump_json()}" for value in sorted(labels)).encode())
    content.update(f"{algorithm}".encode())
    base = content.digest()

    def uid(role: str) -> str:
        return f"2.25.{int.from_bytes(hashlib.sha256(base + role.encode()).digest()[:16], 'big')}"

    return uid
