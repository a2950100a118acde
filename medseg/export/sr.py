"""Structured Report: measurements of every lesion of a prediction (PS3.16 TID 1500, PS3.3 A.35.3).

A lesion is a connected component of a label (26-connected). Each has a group of measurements (TID 1411): its volume,
its largest diameter through space and on one slice, and mean, standard deviation and maximum of the image where the
image's unit is known (HU, SUV). The group shows the lesion as polygons on the source's slices. Each label has a group
of its own before them, with the volume of all its lesions and, where a SEG is written beside the report, its segment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from medseg.data.card import CodedConcept, LabelInfo
from medseg.data.volume import Volume
from medseg.errors import DataError, ReadError
from medseg.export.dicom_frames import SourceFrames, read_source_frames, save_dicom
from medseg.export.dicom_source import (
    LESION,
    Algorithm,
    check_values,
    code_item,
    equipment_of,
    make_timeless,
    needing,
    uid_maker,
    without_warnings,
)
from medseg.export.measure import Lesion, measure_lesions
from medseg.export.outlines import outlines_of
from medseg.types import Array, LabelMap

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["write_report"]

_IMAGING: Final = CodedConcept(value="363679005", scheme="SCT", meaning="Imaging procedure")
_MEASUREMENT_REPORT: Final = CodedConcept(value="126000", scheme="DCM", meaning="Imaging Measurement Report")
_DEVICE: Final = CodedConcept(value="121007", scheme="DCM", meaning="Device")
_VOLUME: Final = CodedConcept(value="118565006", scheme="SCT", meaning="Volume")
_DIAMETER: Final = CodedConcept(value="L0JK", scheme="IBSI", meaning="Maximum 3D Diameter of a Mesh")
_LONG_AXIS: Final = CodedConcept(value="103339001", scheme="SCT", meaning="Long axis")
_MEAN: Final = CodedConcept(value="373098007", scheme="SCT", meaning="Mean")
_DEVIATION: Final = CodedConcept(value="386136009", scheme="SCT", meaning="Standard Deviation")
_MAXIMUM: Final = CodedConcept(value="56851009", scheme="SCT", meaning="Maximum")
_MM3: Final = CodedConcept(value="mm3", scheme="UCUM", meaning="cubic millimeter")
_MM: Final = CodedConcept(value="mm", scheme="UCUM", meaning="millimeter")
_QUANTITIES: Final[Mapping[str, tuple[CodedConcept, CodedConcept]]] = {
    "HU": (
        CodedConcept(value="112031", scheme="DCM", meaning="Attenuation Coefficient"),
        CodedConcept(value="[hnsf'U]", scheme="UCUM", meaning="Hounsfield unit"),
    ),
    "SUVbw": (
        CodedConcept(value="126401", scheme="DCM", meaning="SUVbw"),
        CodedConcept(value="g/ml{SUVbw}", scheme="UCUM", meaning="Standardized Uptake Value body weight"),
    ),
    "SUVlbm": (
        CodedConcept(value="126406", scheme="DCM", meaning="SUVlbm(James128)"),
        CodedConcept(
            value="g/ml{SUVlbm(James128)}",
            scheme="UCUM",
            meaning="Standardized Uptake Value lean body mass (James 128 multiplier)",
        ),
    ),
    "SUVbsa": (
        CodedConcept(value="126403", scheme="DCM", meaning="SUVbsa"),
        CodedConcept(value="cm2/ml{SUVbsa}", scheme="UCUM", meaning="Standardized Uptake Value body surface area"),
    ),
}
"""What is measured and its unit (PS3.16 CID 83 to 85, 7469), by `Volume.unit`."""


@without_warnings()
def write_report(
    label_map: LabelMap,
    volume: Volume,
    source_files: Sequence[Path],
    path: Path,
    *,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    segmentation: Path | None = None,
    identified_source: Literal["refuse", "keep"] = "refuse",
) -> str:
    """Measure the lesions of a label map and write them as a Comprehensive SR.

    A label that was not found has volume 0. As for a SEG, UIDs follow from the content and no
    clock is read.

    Args:
        label_map: Axes (x, y, z), on the volume's grid.
        volume: The image that `medseg.data.dicom.read_series` gave for `source_files`.
        source_files: The single-frame instances of one series, in any order, or one multi-frame instance.
        path: Where to write.
        labels: Label value to name and code, as in the card. Without a code: lesion (SCT 52988006).
        algorithm: What predicted.
        segmentation: The SEG that `write_dicom_seg` wrote of the same label map, to refer to.
        identified_source: As for `medseg.export.write_dicom_seg`.

    Returns:
        The SOP instance UID.

    Raises:
        DataError: The image is 2D, or the source lacks what a report has to refer to.
        GeometryError: The label map isn't on the grid of the source.
        LabelError: The label map has a value that `labels` doesn't know.
        PrivacyError: The source isn't de-identified and `identified_source` is ``refuse``.
        ReadError: A source file or the SEG cannot be read as DICOM.
    """
    if label_map.ndim != 3:
        raise DataError("a report measures volumes; expected an image of several slices, found a picture or one slice")
    check_values(label_map, labels)
    source = read_source_frames(
        source_files, label_map.shape, volume.affine, what="a report", identified=identified_source
    )
    lesions = measure_lesions(label_map, volume)
    numbered = np.zeros(label_map.shape, dtype=np.uint32)
    for number, lesion in enumerate(lesions, start=1):
        box = tuple(slice(a, a + n) for a, n in zip(lesion.start, lesion.mask.shape, strict=True))
        numbered[box][lesion.mask] = number
    frames = source.sample(numbered)
    uid = uid_maker(source.sample(label_map), source.datasets, labels=labels, algorithm=algorithm)
    seg = None if segmentation is None else _read_seg(segmentation)
    with needing("a report has to refer to (study, series or instances); leave it out"):
        groups = [
            *_label_groups(seg, lesions, labels=labels, algorithm=algorithm, uid=uid),
            *_lesion_groups(frames, lesions, source, volume, labels=labels, algorithm=algorithm, uid=uid),
        ]
        content = _encode(groups, source.datasets, seg, algorithm=algorithm, uid=uid)
    make_timeless(content, source.datasets[0])
    return save_dicom(content, path)


def _read_seg(path: Path) -> Dataset:
    import pydicom

    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (pydicom.errors.InvalidDicomError, OSError, ValueError, EOFError):
        raise ReadError("the SEG that the report should refer to cannot be read; write it again") from None


def _encode(
    groups: Sequence[Any], sources: Sequence[Dataset], seg: Dataset | None, *, algorithm: Algorithm,
    uid: Callable[[str], str],
) -> Dataset:  # fmt: skip
    """The report, complete but unwritten."""
    import highdicom as hd

    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=uid("device"), name="medseg", manufacturer_name="medseg", model_name="medseg",
        serial_number=algorithm.serial_number,
    )  # fmt: skip
    observer = hd.sr.ObserverContext(observer_type=code_item(_DEVICE), observer_identifying_attributes=device)
    report = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=code_item(_IMAGING),
        imaging_measurements=list(groups),
        title=code_item(_MEASUREMENT_REPORT),
    )
    content: Dataset = hd.sr.ComprehensiveSR(
        evidence=[*sources, *([seg] if seg is not None else [])],
        content=report[0],
        series_instance_uid=uid("report series"),
        sop_instance_uid=uid(f"report {seg.SOPInstanceUID}" if seg is not None else "report"),
        is_complete=True,
        is_final=False,
        series_description="medseg measurements",
        **equipment_of(algorithm),
    )
    return content


def _label_groups(
    seg: Dataset | None,
    lesions: Sequence[Lesion],
    *,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    uid: Callable[[str], str],
) -> list[Any]:
    """For each label the volume of all its lesions, 0 where none was found, and its segment where there is a SEG."""
    import highdicom as hd

    groups = []
    for number, value in enumerate(sorted(labels), start=1):
        total = sum(lesion.volume_mm3 for lesion in lesions if lesion.value == value)
        tracking = hd.sr.TrackingIdentifier(uid(f"label {number}"), f"{labels[value].name[:50]}, all")
        finding = code_item(labels[value].code or LESION)
        measured = [_measurement(_VOLUME, total, _MM3)]
        if seg is None:
            groups.append(
                hd.sr.MeasurementsAndQualitativeEvaluations(tracking, finding_type=finding, measurements=measured)
            )
            continue
        series = hd.sr.SourceSeriesForSegmentation(seg.ReferencedSeriesSequence[0].SeriesInstanceUID)
        segment = hd.sr.ReferencedSegment(seg.SOPClassUID, seg.SOPInstanceUID, number, source_series=series)
        groups.append(
            hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                tracking,
                referenced_segment=segment,
                finding_type=finding,
                algorithm_id=_algorithm(algorithm),
                measurements=measured,
            )
        )
    return groups


def _lesion_groups(
    frames: Array,
    lesions: Sequence[Lesion],
    source: SourceFrames,
    volume: Volume,
    *,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    uid: Callable[[str], str],
) -> list[Any]:
    """For each lesion its outlines and measurements."""
    import highdicom as hd

    regions: list[list[Any]] = [[] for _ in lesions]
    for index, frame in enumerate(frames):
        for number in np.unique(frame[frame > 0]).tolist():
            regions[number - 1] += _regions(frame == number, source, source.chosen[index])
    return [
        hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(
                uid(f"lesion {lesion.value} {lesion.number}"), f"{labels[lesion.value].name[:50]} {lesion.number}"
            ),
            referenced_regions=drawn,
            finding_type=code_item(labels[lesion.value].code or LESION),
            algorithm_id=_algorithm(algorithm),
            measurements=_measurements(lesion, volume.unit),
        )
        for lesion, drawn in zip(lesions, regions, strict=True)
    ]


def _regions(mask: Array, source: SourceFrames, chosen: int) -> list[Any]:
    """The outlines of a lesion on one frame, as closed polylines; pixel centres lie at halves (PS3.3 C.18.6.1)."""
    import highdicom as hd

    dataset, frame = source.instance_of(chosen)
    image = hd.sr.SourceImageForRegion(dataset.SOPClassUID, dataset.SOPInstanceUID, None if frame is None else [frame])
    return [
        hd.sr.ImageRegion(hd.sr.GraphicTypeValues.POLYLINE, np.vstack([points, points[:1]]) + 0.5, image)
        for points in outlines_of(mask)
    ]


def _measurements(lesion: Lesion, unit: str) -> list[Any]:
    found = [
        _measurement(_VOLUME, lesion.volume_mm3, _MM3),
        _measurement(_DIAMETER, lesion.diameter_mm, _MM),
        _measurement(_LONG_AXIS, lesion.long_axis_mm, _MM),
    ]
    if np.isfinite(lesion.mean):
        name, of = _QUANTITIES[unit]
        values = ((_MEAN, lesion.mean), (_DEVIATION, lesion.deviation), (_MAXIMUM, lesion.maximum))
        found += [_measurement(name, value, of, derivation=derivation) for derivation, value in values]
    return found


def _measurement(
    name: CodedConcept, value: float, unit: CodedConcept, *, derivation: CodedConcept | None = None
) -> Any:
    import highdicom as hd

    return hd.sr.Measurement(
        name=code_item(name),
        value=float(f"{value:.6g}"),
        unit=code_item(unit),
        derivation=None if derivation is None else code_item(derivation),
    )


def _algorithm(algorithm: Algorithm) -> Any:
    import highdicom as hd

    return hd.sr.AlgorithmIdentification(
        name=algorithm.name, version=algorithm.version, parameters=[f"model {algorithm.model_id}"]
    )
