"""DICOM overlay: a prediction drawn over its series, as a colour picture for viewers that show nothing else.

A multi-frame true colour secondary capture (PS3.3 A.8.5), one frame for every slice in the order of the source's files
or frames, which refers to the instances it was drawn from. It is a picture and no label map: nothing can be measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.data.card import LabelInfo
from medseg.data.volume import Volume
from medseg.errors import GeometryError
from medseg.export.dicom_frames import SourceFrames, read_source_frames, save_dicom
from medseg.export.dicom_source import (
    Algorithm,
    check_values,
    equipment_of,
    make_timeless,
    needing,
    uid_maker,
    without_warnings,
)
from medseg.export.png import draw_labels
from medseg.types import Array, LabelMap

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["draw_frames", "write_dicom_overlay"]

_TRUE_COLOUR = "1.2.840.10008.5.1.4.1.1.7.4"
_PAGE_NUMBERS = 0x00182001
_PERCENTILES = (1, 99)


@without_warnings()
def write_dicom_overlay(
    volume: Volume,
    label_map: LabelMap,
    source_files: Sequence[Path],
    path: Path,
    *,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    identified_source: Literal["refuse", "keep"] = "refuse",
) -> str:
    """Draw a label map over its series and write the slices as one colour secondary capture, RLE compressed.

    UIDs and times as for `medseg.export.write_dicom_seg`.

    Args:
        volume: The image; its first channel is shown in grey, red, green and blue in colour.
        label_map: Axes (x, y[, z]), on the image's grid.
        source_files: The single-frame instances of one series, in any order, or one multi-frame instance.
        path: Where to write.
        labels: Label value to name and colour.
        algorithm: What predicted.
        identified_source: As for `medseg.export.write_dicom_seg`.

    Returns:
        The SOP instance UID.

    Raises:
        DataError: The source lacks study or patient attributes to carry on.
        GeometryError: The label map isn't on the grid of the source.
        LabelError: The label map has a value that `labels` doesn't know.
        PrivacyError: The source isn't de-identified and `identified_source` is ``refuse``.
        ReadError: A source file cannot be read as DICOM, or the files are not of one series.
    """
    check_values(label_map, labels)
    if label_map.shape != volume.shape:
        raise GeometryError(f"expected a label map of shape {volume.shape}; found {label_map.shape}")
    source = read_source_frames(
        source_files, volume.shape, volume.affine, what="an overlay", identified=identified_source
    )
    colours = {value: info.colour for value, info in labels.items() if info.colour is not None}
    frames = draw_frames(volume, label_map, source, colours=colours)
    return save_dicom(_encode(frames, source, labels=labels, algorithm=algorithm), path)


def draw_frames(
    volume: Volume, label_map: LabelMap, source: SourceFrames, *, colours: Mapping[int, tuple[int, int, int]]
) -> Array:
    """The pictures of all slices, at the source frames' own pixels.

    Returns:
        uint8, axes (frame, row, column, 3). Grey values from the image's 1st to its 99th percentile.
    """
    rows = source.sample(label_map)
    if volume.channels == ("red", "green", "blue"):
        pictures = np.stack([source.sample(channel) for channel in volume.array], axis=-1)
        pictures = (pictures if pictures.dtype == np.uint8 else pictures / 257).astype(np.uint8)
    else:
        values = volume.array[0].astype(np.float32)
        low, high = np.percentile(values, _PERCENTILES)
        grey = ((values - low) / max(float(high - low), 1e-6) * 255).clip(0, 255).round().astype(np.uint8)
        pictures = np.repeat(source.sample(grey)[..., np.newaxis], 3, axis=-1)
    drawn = [draw_labels(picture, label, colours) for picture, label in zip(pictures, rows, strict=True)]
    return np.stack(drawn)


def _encode(frames: Array, source: SourceFrames, *, labels: Mapping[int, LabelInfo], algorithm: Algorithm) -> Dataset:
    from pydicom.uid import RLELossless

    uid = uid_maker(frames, source.datasets, labels=labels, algorithm=algorithm)
    with needing("an overlay has to carry on (study or patient); choose --format png"):
        content: Dataset = _begin(source.datasets[0], uid, algorithm)
        _describe(content, source, frames)
    make_timeless(content, source.datasets[0])
    content.compress(RLELossless, frames if len(frames) > 1 else frames[0], generate_instance_uid=False)
    return content


def _begin(source: Dataset, uid: Any, algorithm: Algorithm) -> Any:
    """Patient, study, series and equipment."""
    from highdicom.base import SOPClass
    from pydicom.uid import ExplicitVRLittleEndian

    content = SOPClass(
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=uid("overlay series"),
        sop_instance_uid=uid("overlay instance"),
        sop_class_uid=_TRUE_COLOUR,
        modality="OT",
        **equipment_of(algorithm),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        patient_id=source.PatientID,
        patient_name=source.PatientName,
        patient_birth_date=source.PatientBirthDate,
        patient_sex=source.PatientSex,
        accession_number=source.AccessionNumber,
        study_id=source.StudyID,
        study_date=source.StudyDate,
        study_time=source.StudyTime,
        referring_physician_name=source.get("ReferringPhysicianName"),
        specific_character_set=source.get("SpecificCharacterSet"),
        series_description="medseg overlay",
    )
    content.copy_patient_and_study_information(source)
    return content


def _describe(content: Any, source: SourceFrames, frames: Array) -> None:
    """The secondary capture, its pixels, and what it was drawn from."""
    from pydicom import Dataset

    content.ConversionType = "WSD"
    content.ImageType = ["DERIVED", "SECONDARY"]
    content.DerivationDescription = "Automatic segmentation drawn over its source; not for measurement"
    # The capture shows the source's own pixels: what is burned into them is burned into it.
    clean = "NO" if source.datasets[0].get("PatientIdentityRemoved") == "YES" else "YES"
    content.BurnedInAnnotation = str(source.datasets[0].get("BurnedInAnnotation") or clean)
    content.Laterality = content.PatientOrientation = None
    content.SamplesPerPixel, content.PhotometricInterpretation, content.PlanarConfiguration = 3, "RGB", 0
    content.NumberOfFrames, content.Rows, content.Columns = frames.shape[:3]
    content.BitsAllocated = content.BitsStored = 8
    content.HighBit, content.PixelRepresentation = 7, 0
    content.LossyImageCompression = "00"
    if len(frames) > 1:
        content.FrameIncrementPointer = _PAGE_NUMBERS
        content.PageNumberVector = list(range(1, len(frames) + 1))
    content.SourceImageSequence = []
    for dataset in source.datasets[:1] if source.is_multiframe else [source.datasets[n] for n in source.chosen]:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
        content.SourceImageSequence.append(item)
