"""A prediction as files: NIfTI, PNG, DICOM SEG, RTSTRUCT or structured report, named by case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from medseg.data.card import LabelInfo
from medseg.data.source import Input
from medseg.data.volume import Volume
from medseg.errors import ReadError
from medseg.export.dicom_seg import write_dicom_seg
from medseg.export.dicom_source import Algorithm
from medseg.export.nifti import write_nifti
from medseg.export.png import write_overlay_png, write_png
from medseg.export.rtstruct import write_rtstruct
from medseg.export.sr import write_report
from medseg.inference.predict import Prediction

__all__ = ["PredictionFormat", "output_paths", "write_prediction"]

PredictionFormat = Literal["nifti", "png", "dicom-seg", "rtstruct", "sr"]
_ENDINGS: Mapping[PredictionFormat, str] = {
    "nifti": ".nii.gz",
    "png": ".png",
    "dicom-seg": ".dcm",
    "rtstruct": ".rtstruct.dcm",
    "sr": ".sr.dcm",
}


def output_paths(folder: Path, name: str, output_format: PredictionFormat, *, report: bool = False) -> tuple[Path, ...]:
    """Where the prediction of an input is written, and the report beside it where one is wanted."""
    kinds: tuple[PredictionFormat, ...] = (output_format, "sr") if report else (output_format,)
    return tuple(folder / f"{name}{_ENDINGS[kind]}" for kind in kinds)


def write_prediction(
    prediction: Prediction,
    volume: Volume,
    source: Input,
    folder: Path,
    *,
    output_format: PredictionFormat,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    report: bool = False,
) -> Path:
    """Write one prediction.

    Args:
        prediction: On the image's own grid.
        volume: The image.
        source: Names the output, and the DICOM instances for DICOM objects.
        folder: Where to write.
        output_format: ``png`` is the label map of a picture, and an overlay of the fullest slice of a volume.
        labels: Label value to name, code and colour.
        algorithm: What predicted, for DICOM objects.
        report: Whether a SEG gets a structured report beside it that refers to it; for no other format.

    Raises:
        ReadError: A DICOM object of an image that is no DICOM series.
        PrivacyError: A DICOM object of a series that isn't de-identified.
    """
    path, *beside = output_paths(folder, source.name, output_format, report=report)
    if output_format == "nifti":
        write_nifti(prediction.label_map, prediction.geometry.affine, path)
    elif output_format == "png":
        if prediction.label_map.ndim == 2:
            write_png(prediction.label_map, path, label_count=len(labels))
        else:
            colours = {value: info.colour for value, info in labels.items() if info.colour is not None}
            write_overlay_png(volume, prediction.label_map, path, colours=colours)
    else:
        _write_dicom(prediction, volume, source, path, output_format=output_format, labels=labels, algorithm=algorithm)
        for place in beside:
            write_report(
                prediction.label_map,
                volume,
                source.series,
                place,
                labels=labels,
                algorithm=algorithm,
                segmentation=path,
            )
    return path


def _write_dicom(
    prediction: Prediction,
    volume: Volume,
    source: Input,
    path: Path,
    *,
    output_format: PredictionFormat,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
) -> None:
    if not source.series:
        raise ReadError(f"--format {output_format} needs a DICOM series as its source; choose --format nifti or png")
    label_map, affine = prediction.label_map, prediction.geometry.affine
    if output_format == "sr":
        write_report(label_map, volume, source.series, path, labels=labels, algorithm=algorithm)
    else:
        write = write_rtstruct if output_format == "rtstruct" else write_dicom_seg
        write(label_map, affine, source.series, path, labels=labels, algorithm=algorithm)
