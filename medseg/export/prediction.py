"""A prediction as files: NIfTI, PNG or DICOM SEG, named by case."""

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
from medseg.inference.predict import Prediction

__all__ = ["PredictionFormat", "output_path", "write_prediction"]

PredictionFormat = Literal["nifti", "png", "dicom-seg"]
_ENDINGS: Mapping[PredictionFormat, str] = {"nifti": ".nii.gz", "png": ".png", "dicom-seg": ".dcm"}


def output_path(folder: Path, name: str, output_format: PredictionFormat) -> Path:
    """Where the prediction of an input is written."""
    return folder / f"{name}{_ENDINGS[output_format]}"


def write_prediction(
    prediction: Prediction,
    volume: Volume,
    source: Input,
    folder: Path,
    *,
    output_format: PredictionFormat,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
) -> Path:
    """Write one prediction.

    Args:
        prediction: On the image's own grid.
        volume: The image.
        source: Names the output, and the DICOM instances for a SEG.
        folder: Where to write.
        output_format: ``png`` is the label map of a picture, and an overlay of the fullest slice of a volume.
        labels: Label value to name, code and colour.
        algorithm: What predicted, for a SEG.

    Raises:
        ReadError: A SEG of an image that is no DICOM series.
        PrivacyError: A SEG of a series that isn't de-identified.
    """
    path = output_path(folder, source.name, output_format)
    if output_format == "nifti":
        write_nifti(prediction.label_map, prediction.geometry.affine, path)
    elif output_format == "png":
        if prediction.label_map.ndim == 2:
            write_png(prediction.label_map, path, label_count=len(labels))
        else:
            colours = {value: info.colour for value, info in labels.items() if info.colour is not None}
            write_overlay_png(volume, prediction.label_map, path, colours=colours)
    else:
        if not source.series:
            raise ReadError("a DICOM SEG needs a DICOM series as its source; choose --format nifti or png")
        write_dicom_seg(
            prediction.label_map,
            prediction.geometry.affine,
            source.series,
            path,
            labels=labels,
            algorithm=algorithm,
        )
    return path
