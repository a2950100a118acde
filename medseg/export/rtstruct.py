"""RTSTRUCT: a label map as the contours of a structure set on the series that it was predicted from (PS3.3 A.19)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from medseg.data.card import LabelInfo
from medseg.errors import DataError, GeometryError
from medseg.export.dicom_frames import SourceFrames, read_source_frames, save_dicom
from medseg.export.dicom_planes import Plane
from medseg.export.dicom_source import (
    LESION,
    Algorithm,
    check_values,
    code_item,
    make_timeless,
    needing,
    times_of,
    uid_maker,
    without_warnings,
)
from medseg.export.outlines import outlines_of
from medseg.types import Affine, Array, FloatArray, LabelMap

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["write_rtstruct"]

_DETACHED_STUDY: Final = "1.2.840.10008.3.1.2.3.1"
_CONTOUR_DATA: Final = 0x30060050
_RAS_TO_LPS: Final = np.array([-1.0, -1.0, 1.0])
_COLOURS: Final = ((230, 60, 60), (60, 140, 230), (60, 190, 90), (240, 170, 40), (160, 90, 200), (40, 190, 190))
_COPIED: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
    "AccessionNumber", "StudyID", "ReferringPhysicianName",
)  # fmt: skip


@without_warnings()
def write_rtstruct(
    label_map: LabelMap,
    affine: Affine,
    source_files: Sequence[Path],
    path: Path,
    *,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    identified_source: Literal["refuse", "keep"] = "refuse",
) -> str:
    """Write a label map as closed contours on the slices of its source series.

    Contours run half-way between voxels that are in and voxels that are out, holes are keyholes (see
    `medseg.export.outlines`), and each refers to its slice. A reader that takes the voxels whose centres lie inside
    gets the label map back voxel for voxel. Every label is a structure, numbered in ascending order of its value; one
    that was not found has no contour. As for a SEG, UIDs follow from the content and no clock is read.

    Args:
        label_map: Axes (x, y[, z]), on the grid that `medseg.data.dicom.read_series` gave for `source_files`.
        affine: 4 x 4, index of `label_map` to world, RAS+, millimetres.
        source_files: The single-frame instances of one series, in any order, or one multi-frame instance.
        path: Where to write.
        labels: Label value to name, code and colour, as in the card. Without a code: lesion (SCT 52988006).
        algorithm: What predicted.
        identified_source: As for `medseg.export.write_dicom_seg`.

    Returns:
        The SOP instance UID.

    Raises:
        DataError: The source has no frame of reference, so that coordinates mean nothing, or lacks what it refers to.
        GeometryError: The source has no position, the label map isn't on its grid, or labelled voxels lie outside.
        LabelError: The label map has a value that `labels` doesn't know.
        PrivacyError: The source isn't de-identified and `identified_source` is ``refuse``.
        ReadError: A source file cannot be read as DICOM, or the files are not of one series.
    """
    check_values(label_map, labels)
    source = read_source_frames(
        source_files, label_map.shape, affine, what="a structure set", identified=identified_source
    )
    first = source.datasets[0]
    if not source.is_placed:
        raise GeometryError("the source image has no position in the patient; choose --format nifti or png")
    if not first.get("FrameOfReferenceUID") or not first.get("StudyInstanceUID"):
        raise DataError(
            "the source series has no frame of reference or study that contours could refer to; choose --format nifti"
        )
    frames = source.sample(label_map)
    with needing("a structure set has to refer to (study, series or instances); choose --format nifti"):
        content = _encode(frames, source, labels=labels, algorithm=algorithm)
    return save_dicom(content, path)


def _encode(frames: Array, source: SourceFrames, *, labels: Mapping[int, LabelInfo], algorithm: Algorithm) -> Dataset:
    """The structure set, complete but unwritten."""
    uid = uid_maker(frames, source.datasets, labels=labels, algorithm=algorithm)
    first = source.datasets[0]
    content = _begin(first, uid, algorithm)
    references = [_reference(*source.instance_of(number)) for number in source.chosen]
    frame_of_reference = str(first.FrameOfReferenceUID)
    content.FrameOfReferenceUID = frame_of_reference
    content.PositionReferenceIndicator = ""
    content.ReferencedFrameOfReferenceSequence = [_referenced_series(first, references)]
    planes = [source.planes[number] for number in source.chosen]
    numbered = list(enumerate(sorted(labels), start=1))
    content.StructureSetROISequence = [
        _item(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=frame_of_reference,
            ROIName=labels[value].name,
            ROIGenerationAlgorithm="AUTOMATIC",
            ROIGenerationDescription=f"{algorithm.name} {algorithm.version}"[:64],
        )
        for number, value in numbered
    ]
    content.ROIContourSequence = [
        _contours(number, labels[value], frames == value, planes, references) for number, value in numbered
    ]
    content.RTROIObservationsSequence = [
        _item(
            ObservationNumber=number,
            ReferencedROINumber=number,
            RTROIIdentificationCodeSequence=[code_item(labels[value].code or LESION)],
            RTROIInterpretedType="",
            ROIInterpreter="",
        )
        for number, value in numbered
    ]
    return content


def _begin(source: Dataset, uid: Callable[[str], str], algorithm: Algorithm) -> Dataset:
    """Patient, study, series and equipment."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ImplicitVRLittleEndian, RTStructureSetStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = RTStructureSetStorage
    meta.MediaStorageSOPInstanceUID = UID(uid("structure set"))
    # Implicit, as structure sets usually are: an explicit length of 16 bits ends at 65,534 bytes of contour data.
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    content = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    content.SpecificCharacterSet = source.get("SpecificCharacterSet") or "ISO_IR 192"
    content.SOPClassUID, content.SOPInstanceUID = RTStructureSetStorage, meta.MediaStorageSOPInstanceUID
    for keyword in _COPIED:
        setattr(content, keyword, source.get(keyword, ""))
    content.Modality = "RTSTRUCT"
    content.SeriesInstanceUID = uid("structure set series")
    content.SeriesNumber, content.InstanceNumber = 1, 1
    content.SeriesDescription = "medseg segmentation"
    content.OperatorsName = ""
    content.Manufacturer = content.ManufacturerModelName = "medseg"
    content.SoftwareVersions = algorithm.version
    content.DeviceSerialNumber = algorithm.serial_number
    content.StructureSetLabel = "SEGMENTATION"
    content.StructureSetDescription = "Automatic segmentation"
    times = times_of(source)
    content.StructureSetDate, content.StructureSetTime = times.date, times.time
    content.ApprovalStatus = "UNAPPROVED"
    make_timeless(content, source)
    del content.ContentDate, content.ContentTime  # Not of this kind of object.
    return content


def _reference(source: Dataset, frame: int | None) -> Dataset:
    item = _item(ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID)
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return _written_as_it_is(item)


def _written_as_it_is(item: Dataset) -> Dataset:
    """An item whose bytes pydicom writes as they are; else it makes numbers of them, and looks through each element."""
    from pydicom.charset import default_encoding

    item.set_original_encoding(True, True, default_encoding)
    return item


def _referenced_series(source: Dataset, references: Sequence[Dataset]) -> Dataset:
    series = _item(SeriesInstanceUID=source.SeriesInstanceUID, ContourImageSequence=list(references))
    study = _item(
        ReferencedSOPClassUID=_DETACHED_STUDY,
        ReferencedSOPInstanceUID=source.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=source.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _contours(
    number: int, info: LabelInfo, masks: Array, planes: Sequence[Plane], references: Sequence[Dataset]
) -> Dataset:
    colour = info.colour or _COLOURS[(number - 1) % len(_COLOURS)]
    item = _item(ROIDisplayColor=list(colour), ReferencedROINumber=number)
    contours = [
        _contour(points, plane, reference)
        for mask, plane, reference in zip(masks, planes, references, strict=True)
        for points in outlines_of(mask)
    ]
    if contours:
        item.ContourSequence = contours
    return item


def _contour(points: FloatArray, plane: Plane, reference: Dataset) -> Dataset:
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    world = points @ plane.affine[:3, :2].T + plane.affine[:3, 3]
    text = "\\".join(f"{value:.5f}" for value in (world * _RAS_TO_LPS).ravel().tolist()).encode("ascii")
    text += b" " * (len(text) % 2)
    item = _item(
        ContourImageSequence=[reference], ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=len(points)
    )
    # As bytes: a number object for every coordinate would take a hundred times as long.
    item[_CONTOUR_DATA] = RawDataElement(Tag(_CONTOUR_DATA), "DS", len(text), text, 0, True, True)
    return _written_as_it_is(item)


def _item(**values: Any) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
