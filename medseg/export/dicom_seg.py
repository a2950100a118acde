"""DICOM Segmentation: a label map as a binary SEG object on the series that it was predicted from (PS3.3 A.51)."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.data.card import LabelInfo
from medseg.data.files import atomic_write
from medseg.errors import DataError
from medseg.export.dicom_source import (
    ABNORMAL,
    ARTIFICIAL_INTELLIGENCE,
    LESION,
    Algorithm,
    add_missing,
    check_values,
    code_item,
    frames_of,
    make_timeless,
    planes_of,
    read_sources,
    require_deidentified,
    uid_maker,
)
from medseg.types import Affine, Array, LabelMap

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Algorithm", "write_dicom_seg"]


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
    check_values(label_map, labels)
    sources = read_sources(source_files)
    require_deidentified(sources, "a SEG", identified_source=identified_source)
    frames = frames_of(label_map, affine, planes_of(sources))
    content = _encode(frames, sources, labels=labels, algorithm=algorithm)
    buffer = io.BytesIO()
    content.save_as(buffer, enforce_file_format=True)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())
    return str(content.SOPInstanceUID)


def _encode(
    frames: Array, sources: Sequence[Dataset], *, labels: Mapping[int, LabelInfo], algorithm: Algorithm
) -> Dataset:
    """The SEG object, complete but unwritten."""
    import highdicom as hd

    values = sorted(labels)
    numbered = np.zeros_like(frames)
    for number, value in enumerate(values, start=1):
        numbered[frames == value] = number
    uid = uid_maker(numbered, sources, labels=labels, algorithm=algorithm)
    described = [
        _describe(hd, number, labels[value], algorithm=algorithm) for number, value in enumerate(values, start=1)
    ]
    for source in sources:
        add_missing(source)
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
    make_timeless(content, sources[0])
    for item in [*content.DimensionOrganizationSequence, *content.get("DimensionIndexSequence", [])]:
        item.DimensionOrganizationUID = uid("dimensions")
    content.BurnedInAnnotation = "NO"
    # highdicom 0.28 pads an odd number of bytes with the character "0"; PS3.5 8.1.1 wants a zero byte.
    used = -(-int(content.NumberOfFrames) * int(content.Rows) * int(content.Columns) // 8)
    content.PixelData = content.PixelData[:used] + b"\0" * (used % 2)
    return content


def _describe(hd: Any, number: int, info: LabelInfo, *, algorithm: Algorithm) -> Any:
    identification = hd.AlgorithmIdentificationSequence(
        name=algorithm.name[:64],
        family=code_item(ARTIFICIAL_INTELLIGENCE),
        version=algorithm.version,
        parameters={"model": algorithm.model_id},
    )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=info.name,
        segmented_property_category=code_item(info.category or ABNORMAL),
        segmented_property_type=code_item(info.code or LESION),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=identification,
        display_color=None if info.colour is None else hd.color.CIELabColor.from_rgb(*info.colour),
    )
