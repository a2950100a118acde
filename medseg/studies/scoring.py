"""Scoring: predictions in a folder against the label maps of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.data.dicom_structures import StructureRule
from medseg.data.drawing import Drawing
from medseg.data.manifest import Case, Manifest
from medseg.data.readers import read_label
from medseg.data.refusal import Refusal
from medseg.data.volume import Geometry
from medseg.errors import DataError, LabelError, RequestError
from medseg.metrics import CaseRow, case_rows, score_case
from medseg.studies.predicted import find_prediction, read_drawings, read_predicted
from medseg.types import LabelMap, Spacing

__all__ = ["Scored", "score_prediction", "score_predictions"]


@dataclass(frozen=True)
class Scored:
    """What scoring a folder of predictions gave.

    Attributes:
        rows: Rows of cases.csv, in the manifest's order.
        missing: Labelled cases without a prediction.
        refusals: Cases whose prediction or label could not be scored, with the reason.
        unlabelled: Cases of the manifest without a label.
    """

    rows: list[CaseRow]
    missing: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    unlabelled: int


def score_predictions(
    folder: Path,
    manifest: Manifest,
    *,
    nsd_tolerance_mm: Sequence[float],
    ignore_label: int | None = None,
    folds: Mapping[str, int] | None = None,
    values: Mapping[int, int] | None = None,
    rules: Sequence[StructureRule] = (),
    progress: Callable[[], None] | None = None,
) -> Scored:
    """Score every labelled case of a manifest for which there is a prediction.

    Args:
        folder: Holds a file named by case, of any format of `medseg.studies.predicted`, or the ``instances.json`` of
            COCO; or that JSON itself; or the results of an nnU-Net trainer, whose ``fold_K/validation`` hold the files.
        manifest: Names the cases, their labels and the label values.
        nsd_tolerance_mm: Tolerances of the normalised surface distance in millimetres (pixels where the manifest states
            no spacing of a picture).
        ignore_label: Reference value whose voxels don't count.
        folds: Fold of each case, when known; else 0.
        values: The predictions' label values to the manifest's, where another tool numbered them anew.
        rules: Which structures of SEG, RTSTRUCT, COCO or 3D Slicer are which labels; empty for their own names.
        progress: Called after each labelled case.

    Raises:
        RequestError: The folder is not there, or the manifest has no label to score against.
    """
    if not folder.exists():
        raise RequestError(
            "expected a folder of predictions named by case (CASE.nii.gz, CASE.png, CASE.dcm, ...), or a COCO JSON; "
            "found none"
        )
    labels = manifest.card.label_names()
    labelled = [case for case in manifest.cases if case.label is not None]
    if not labels or not labelled:
        raise RequestError("the manifest has no labelled case or its card names no label; there is nothing to score")
    drawn = read_drawings(listing, labelled) if (listing := _coco_of(folder)) is not None else {}
    validated = _validation_folders(folder)
    rows: list[CaseRow] = []
    missing: list[str] = []
    refusals: list[Refusal] = []
    for case in labelled:
        try:
            prediction = (
                find_prediction(folder, case.case)
                or drawn.get(case.case)
                or _find_in_folds(validated, case.case, folds)
            )
            if prediction is None:
                missing.append(case.case)
            else:
                rows += score_prediction(
                    prediction,
                    case,
                    labels=labels,
                    nsd_tolerance_mm=nsd_tolerance_mm,
                    ignore_label=ignore_label,
                    fold=(folds or {}).get(case.case, 0),
                    values=values,
                    rules=rules,
                )
        except DataError as error:
            refusals.append(Refusal(input=case.case, reason=str(error)))
        if progress is not None:
            progress()
    return Scored(rows, tuple(missing), tuple(refusals), unlabelled=len(manifest.cases) - len(labelled))


def score_prediction(
    prediction: Path | Drawing,
    case: Case,
    *,
    labels: Mapping[int, str],
    nsd_tolerance_mm: Sequence[float],
    ignore_label: int | None = None,
    fold: int = 0,
    repeat: int = 0,
    values: Mapping[int, int] | None = None,
    rules: Sequence[StructureRule] = (),
) -> list[CaseRow]:
    """Score a prediction against the case's label.

    Args:
        prediction: As `medseg.studies.predicted.read_predicted` takes it.
        case: A case with a label.
        labels: Value and name of each label, without the background.
        nsd_tolerance_mm: Tolerances of the normalised surface distance in millimetres (pixels for photographs).
        ignore_label: Reference value whose voxels don't count.
        fold: Fold in which the case was held out.
        repeat: Repeat of the drawing of folds.
        values: The prediction's label values to those of `labels`, where another tool numbered them anew.
        rules: As for `score_predictions`.

    Raises:
        LabelError: The case has no label, or the prediction holds a value that isn't in `labels`.
        GeometryError: The prediction lies on another grid.
        ReadError: A file cannot be read.
    """
    if case.label is None:
        raise LabelError("expected a case with a label to score against; found none")
    reference, grid = read_label(case.label)
    predicted = read_predicted(prediction, grid, labels=labels, rules=rules)
    if values is not None:
        predicted = _renumbered(predicted, values)
    unknown = sorted(set(np.unique(predicted).tolist()) - {0, *labels})
    if unknown:
        known = ", ".join(str(value) for value in (0, *labels))
        raise LabelError(f"the prediction holds the value {unknown[0]}; expected the card's labels {known}")
    scores = score_case(
        predicted,
        reference,
        labels=labels,
        spacing=_spacing(case, grid),
        nsd_tolerance_mm=nsd_tolerance_mm,
        ignore_label=ignore_label,
    )
    return case_rows(scores, case=case.case, patient=case.patient, fold=fold, repeat=repeat)


def _spacing(case: Case, grid: Geometry) -> Spacing:
    """Of a PNG, which holds none, what the manifest says; without that pixels."""
    stated = case.spacing if len(grid.shape) == 2 else None
    return stated if stated is not None and len(stated) == 2 else grid.spacing


def _coco_of(folder: Path) -> Path | None:
    """The COCO file that was given, or that `medseg predict` wrote into the folder."""
    if folder.is_file():
        return folder
    return next((path for path in (folder / "instances.json",) if path.is_file()), None)


def _validation_folders(results: Path) -> dict[int, Path]:
    """``fold_K/validation`` of an nnU-Net trainer by K; not ``fold_all``, which predicts what it was trained on."""
    numbers = {path: path.parent.name.removeprefix("fold_") for path in results.glob("fold_*/validation")}
    return {int(number): path for path, number in numbers.items() if number.isdecimal() and path.is_dir()}


def _find_in_folds(validated: Mapping[int, Path], case: str, folds: Mapping[str, int] | None) -> Path | None:
    """The prediction of the fold that holds the case out."""
    found = {fold: path for fold, place in sorted(validated.items()) if (path := find_prediction(place, case))}
    if not found:
        return None
    told = ", ".join(str(fold) for fold in found)
    if len(found) > 1:
        raise LabelError(f"several folds ({told}) predicted this case; expected the one that holds it out")
    if folds is not None and case in folds and folds[case] not in found:
        raise LabelError(
            f"fold {told} predicted this case, but the manifest holds it out in fold {folds[case]}: other folds were "
            "used. Convert the manifest with its folds, and train on that splits_final.json"
        )
    return next(iter(found.values()))


def _renumbered(label: LabelMap, values: Mapping[int, int]) -> LabelMap:
    unknown = sorted(set(np.unique(label).tolist()) - {0, *values})
    if unknown:
        known = ", ".join(str(value) for value in (0, *values))
        raise LabelError(f"the prediction holds the value {unknown[0]}; expected the other tool's labels {known}")
    table = np.zeros(max((0, *values)) + 1, dtype=np.uint8)
    table[list(values)] = list(values.values())
    renumbered: LabelMap = table[label]
    return renumbered
