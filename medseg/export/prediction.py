"""A prediction as files: NIfTI, NRRD, PNG, COCO, an overlay, and DICOM objects of many kinds, named by case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medseg.data.card import LabelInfo
from medseg.data.coco_volume import COCO_VOLUME_ENDING
from medseg.data.label_stack import STACK_ENDING, is_stack
from medseg.data.source import Input
from medseg.data.volume import Volume
from medseg.errors import DataError, ReadError, RequestError
from medseg.export.coco import write_coco_volume
from medseg.export.dicom_map import write_uncertainty_map
from medseg.export.dicom_overlay import write_dicom_overlay
from medseg.export.dicom_seg import write_dicom_fractions, write_dicom_seg
from medseg.export.dicom_source import Algorithm
from medseg.export.nifti import write_nifti
from medseg.export.nrrd import write_seg_nrrd
from medseg.export.outgoing import outgoing
from medseg.export.png import write_label_stack, write_overlay_png, write_png
from medseg.export.rtstruct import write_rtstruct
from medseg.export.sr import write_report
from medseg.inference.predict import Prediction
from medseg.inference.uncertainty import normalised_entropy
from medseg.types import FloatArray, Tier

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = [
    "NEED_PROBABILITIES",
    "PredictionFormat",
    "is_written",
    "output_paths",
    "require_instances",
    "write_prediction",
]

PredictionFormat = Literal[
    "nifti",
    "nrrd",
    "png",
    "coco",
    "overlay",
    "dicom-seg",
    "dicom-seg-labelmap",
    "dicom-seg-fractional",
    "dicom-uncertainty",
    "dicom-overlay",
    "rtstruct",
    "sr",
]
NEED_PROBABILITIES: frozenset[PredictionFormat] = frozenset(("coco", "dicom-seg-fractional", "dicom-uncertainty"))
"""Formats that say how probable a label is, not only which it is."""
_ENDINGS: Mapping[PredictionFormat, str] = {
    "nifti": ".nii.gz",
    "nrrd": ".seg.nrrd",
    "png": ".png",
    "coco": COCO_VOLUME_ENDING,
    "overlay": ".overlay.png",
    "dicom-seg": ".dcm",
    "dicom-seg-labelmap": ".labelmap.dcm",
    "dicom-seg-fractional": ".fractional.dcm",
    "dicom-uncertainty": ".uncertainty.dcm",
    "dicom-overlay": ".overlay.dcm",
    "rtstruct": ".rtstruct.dcm",
    "sr": ".sr.dcm",
}
_Kept = Literal["refuse", "keep"]


def output_paths(folder: Path, name: str, output_format: PredictionFormat, *, report: bool = False) -> tuple[Path, ...]:
    """Where the prediction of an input is written, and the report beside it where one is wanted.

    PNG of a volume is a folder beside that, ``NAME.slices`` (`is_written` knows both).

    Raises:
        RequestError: A report beside something else than a binary SEG, whose segments it refers to.
    """
    if report and output_format != "dicom-seg":
        raise RequestError("--report goes with --format dicom-seg; --format sr writes a report alone")
    kinds: tuple[PredictionFormat, ...] = (output_format, "sr") if report else (output_format,)
    return tuple(folder / f"{name}{_ENDINGS[kind]}" for kind in kinds)


def is_written(folder: Path, name: str, output_format: PredictionFormat, *, report: bool = False) -> bool:
    """Whether the prediction of an input is there, with the report where one is wanted.

    Raises:
        RequestError: As `output_paths`.
    """
    if output_format == "png" and is_stack(folder / f"{name}{STACK_ENDING}"):
        return True
    return all(path.exists() for path in output_paths(folder, name, output_format, report=report))


def require_instances(source: Input, output_format: PredictionFormat) -> tuple[Path, ...]:
    """The DICOM instances that an object of an input refers to.

    Raises:
        ReadError: The input is no DICOM series.
    """
    files = source.instances()
    if not files:
        raise ReadError(
            f"--format {output_format} refers to the instances of a DICOM series, and this image is none; name the "
            "folder of the series that it was converted from with --dicom-source, or choose --format nifti, nrrd or png"
        )
    return files


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
    tier: Tier = "shareable",
    identities: IdentityIndex | None = None,
) -> Path:
    """Write one prediction, once it has passed the privacy gate.

    Args:
        prediction: On the image's own grid; with probabilities for the formats of `NEED_PROBABILITIES`.
        volume: The image.
        source: Names the output, and the DICOM instances for DICOM objects; of an image that is no DICOM series,
            `medseg.export.dicom_match` finds them.
        folder: Where to write.
        output_format: ``png`` is the label map, of a volume a folder with a picture of each slice
            (`medseg.data.label_stack`); ``coco`` outlines each slice (`medseg.export.coco` lists many pictures);
            ``overlay`` draws the fullest slice for the eye.
        labels: Label value to name, code and colour.
        algorithm: What predicted, for DICOM objects.
        report: Whether a SEG gets a structured report beside it that refers to it; for no other format.
        tier: ``internal`` lets DICOM objects carry the patient of a series that isn't de-identified.
        identities: Identities of this project that the gate looks for, beside its patterns.

    Raises:
        DataError: The format needs probabilities and the prediction has none, or the series lacks what it refers to.
        ReadError: A DICOM object of an image that is no DICOM series.
        PrivacyError: A shareable DICOM object of a series that isn't de-identified, or the gate found something.
        RequestError: A report beside another format.
    """
    with outgoing(folder, tier=tier, identities=identities) as aside:
        path = _write(
            prediction,
            volume,
            source,
            aside,
            output_format=output_format,
            labels=labels,
            algorithm=algorithm,
            report=report,
            tier=tier,
        )
    return folder / path.name


def _write(
    prediction: Prediction,
    volume: Volume,
    source: Input,
    folder: Path,
    *,
    output_format: PredictionFormat,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    report: bool,
    tier: Tier,
) -> Path:
    kept: _Kept = "keep" if tier == "internal" else "refuse"
    path, *beside = output_paths(folder, source.name, output_format, report=report)
    if output_format == "nifti":
        write_nifti(prediction.label_map, prediction.geometry.affine, path)
    elif output_format == "nrrd":
        write_seg_nrrd(prediction.label_map, prediction.geometry.affine, path, labels=labels)
    elif output_format == "png" and prediction.label_map.ndim == 2:
        write_png(prediction.label_map, path, label_count=len(labels))
    elif output_format == "png":
        path = folder / f"{source.name}{STACK_ENDING}"
        write_label_stack(prediction.label_map, prediction.geometry.affine, path, labels=labels)
    elif output_format == "coco":
        write_coco_volume(prediction, path, labels=labels, algorithm=algorithm)
    elif output_format == "overlay":
        colours = {value: info.colour for value, info in labels.items() if info.colour is not None}
        write_overlay_png(volume, prediction.label_map, path, colours=colours)
    else:
        files = require_instances(source, output_format)
        _write_dicom(
            prediction,
            volume,
            files,
            path,
            output_format=output_format,
            labels=labels,
            algorithm=algorithm,
            kept=kept,
        )
        for place in beside:
            write_report(
                prediction.label_map,
                volume,
                files,
                place,
                labels=labels,
                algorithm=algorithm,
                segmentation=path,
                identified_source=kept,
            )
    return path


def _write_dicom(
    prediction: Prediction,
    volume: Volume,
    files: Sequence[Path],
    path: Path,
    *,
    output_format: PredictionFormat,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    kept: _Kept,
) -> None:
    label_map, affine = prediction.label_map, prediction.geometry.affine
    match output_format:
        case "sr":
            write_report(label_map, volume, files, path, labels=labels, algorithm=algorithm, identified_source=kept)
        case "rtstruct":
            write_rtstruct(label_map, affine, files, path, labels=labels, algorithm=algorithm, identified_source=kept)
        case "dicom-overlay":
            write_dicom_overlay(
                volume, label_map, files, path, labels=labels, algorithm=algorithm, identified_source=kept
            )
        case "dicom-seg-fractional":
            classes = _probabilities(prediction, labels)
            fractions = {value: classes[number] for number, value in enumerate(sorted(labels), start=1)}
            write_dicom_fractions(
                fractions, affine, files, path, labels=labels, algorithm=algorithm, label_map=label_map,
                identified_source=kept,
            )  # fmt: skip
        case "dicom-uncertainty":
            values = normalised_entropy(_probabilities(prediction, labels))
            write_uncertainty_map(
                values, affine, files, path, labels=labels, algorithm=algorithm, identified_source=kept
            )
        case _:
            kind: Literal["binary", "labelmap"] = "labelmap" if output_format == "dicom-seg-labelmap" else "binary"
            write_dicom_seg(
                label_map, affine, files, path, labels=labels, algorithm=algorithm, kind=kind, identified_source=kept
            )


def _probabilities(prediction: Prediction, labels: Mapping[int, LabelInfo]) -> FloatArray:
    """(class, x, y[, z]); class 0 is the background, the others the labels in ascending order of their values."""
    found = prediction.probabilities
    if found is None or len(found) != len(labels) + 1:
        raise DataError(f"expected the probabilities of {len(labels)} labels and the background; predict with them")
    return found
