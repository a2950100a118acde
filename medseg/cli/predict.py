"""The command that predicts."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.common import EXIT_PARTLY_REFUSED, command, emit, note
from medseg.errors import ReadError, RequestError

if TYPE_CHECKING:
    from medseg.data.refusal import Refusal
    from medseg.data.source import Input
    from medseg.export.load import LoadedModel

__all__ = ["register"]


class _Format(StrEnum):
    """Formats of a prediction."""

    NIFTI = "nifti"
    NRRD = "nrrd"
    PNG = "png"
    DICOM_SEG = "dicom-seg"
    DICOM_SEG_LABELMAP = "dicom-seg-labelmap"
    DICOM_SEG_FRACTIONAL = "dicom-seg-fractional"
    DICOM_UNCERTAINTY = "dicom-uncertainty"
    DICOM_OVERLAY = "dicom-overlay"
    RTSTRUCT = "rtstruct"
    SR = "sr"


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("predict")(command(_predict))


def _predict(
    model: Annotated[Path, typer.Argument(help="Model package, NAME.medseg.")],
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A manifest, an image, a folder, or a DICOM tree.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of the predictions.")],
    output_format: Annotated[_Format, typer.Option("--format", help="What to write.")] = _Format.NIFTI,
    report: Annotated[
        bool, typer.Option("--report", help="Beside a SEG, a structured report of its lesions (TID 1500).")
    ] = False,
    keep_names: Annotated[bool, typer.Option("--keep-names", help="Name outputs by the files' stems.")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="No mirrored copies: up to 8 times faster in 3D.")] = False,
    support: Annotated[
        Path | None,
        typer.Option("--support", help="Manifest of some labelled cases whose labels to predict, untrained."),
    ] = None,
    internal: Annotated[
        bool,
        typer.Option(
            "--internal", help="Let DICOM objects carry their patients: results for the hospital's own archive."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one line of JSON.")] = False,
) -> int:
    """Label images with a trained model, each on its own grid.

    Outputs are named by the manifest's cases; those of files and folders are numbered, since file names may identify.
    Predictions that are there already are left: the same command goes on where it stopped. nrrd is a segmentation of 3D
    Slicer. DICOM formats need a DICOM series as input: dicom-seg (binary), -labelmap (the new storage class) and
    -fractional (probabilities), dicom-uncertainty (parametric map of the entropy), dicom-overlay (colour capture for
    viewers that know nothing else), rtstruct, sr.

    Example: medseg predict model.medseg data/manifest.csv predictions
    """
    from medseg.data.reading import reading_for

    if report and output_format is not _Format.DICOM_SEG:
        raise RequestError("--report goes with --format dicom-seg; --format sr writes a report alone")
    from medseg.data.source import find_inputs
    from medseg.export.load import load_model

    try:
        loaded = load_model(model, mirror=not fast, scratch=out)
        reading = reading_for(loaded.predictor.plan.channels)
        inputs, refusals = find_inputs(
            source, keep_names=keep_names, reading=reading, modality=loaded.predictor.plan.modality
        )
    except ReadError as error:  # Nothing is predicted: not "partly refused", but a wrong request.
        raise RequestError(str(error)) from None
    _say_other_modality(source, loaded.predictor.plan.modality)
    _make_folder(out, output_format, internal=internal)
    if support is not None:
        loaded = _taught(loaded, support)
    written, refused = _predict_each(loaded, inputs, out, output_format, report=report, internal=internal)
    refusals += refused
    for refusal in refusals:
        note(f"refused: {refusal.input}: {refusal.reason}")
    if any(entry.name.startswith("image_0") for entry in inputs):
        note("image_0001 is the first image in the order of the paths, and so on; --keep-names keeps the files' names")
    if internal:
        note("these files may name their patients; keep them to yourself, and push them home with `medseg pacs push`")
    result = {"written": written, "refused": [{"input": r.input, "reason": r.reason} for r in refusals]}
    emit(result, as_json=as_json, text=f"{written} of {len(inputs)} images predicted as {output_format.value}")
    return EXIT_PARTLY_REFUSED if refusals else 0


def _say_other_modality(source: Path, trained: str) -> None:
    """Warn of a manifest of another modality than the model's: its figures don't hold there."""
    if source.suffix != ".csv" or trained == "OTHER":
        return
    from medseg.data.manifest import read_manifest

    others = {case.modality for case in read_manifest(source).cases} - {trained, "OTHER"}
    if others:
        note(f"warning: the model was trained on {trained}, the manifest holds {', '.join(sorted(others))}")


def _make_folder(out: Path, output_format: _Format, *, internal: bool) -> None:
    """Make the output folder; one of results that carry their patients is for nobody else to read.

    Raises:
        RequestError: ``--internal`` with a format without patients, or into a folder that others can read.
    """
    if internal and output_format in (_Format.NIFTI, _Format.NRRD, _Format.PNG):
        raise RequestError(f"--internal goes with the DICOM formats; {output_format.value} carries no patient anyway")
    out.mkdir(parents=True, exist_ok=True, mode=0o700 if internal else 0o777)
    if internal and os.name == "posix" and out.stat().st_mode & 0o077:
        raise RequestError("--internal: expected a new folder or one that only you can read, found one for others too")


def _taught(loaded: LoadedModel, support: Path) -> LoadedModel:
    """The model's encoder, taught the labels of a support set by prototypes."""
    from dataclasses import replace

    from medseg.data.manifest import read_manifest
    from medseg.inference.support import learn_from_support

    manifest = read_manifest(support)
    return replace(loaded, predictor=learn_from_support(loaded.predictor, manifest), labels=manifest.card.labels)


def _predict_each(
    loaded: LoadedModel, inputs: list[Input], out: Path, output_format: _Format, *, report: bool, internal: bool
) -> tuple[int, list[Refusal]]:
    from medseg.cli.bars import StudyBars
    from medseg.data.refusal import Refusal
    from medseg.errors import DataError
    from medseg.export.prediction import NEED_PROBABILITIES, output_paths, write_prediction

    refusals = []
    written = 0
    with StudyBars() as bars:
        bars.begin("predict", len(inputs))
        for number, entry in enumerate(inputs):
            if not all(path.exists() for path in output_paths(out, entry.name, output_format.value, report=report)):
                try:
                    volume = entry.read()
                    write_prediction(
                        loaded.predictor.predict(volume, probabilities=output_format.value in NEED_PROBABILITIES),
                        volume,
                        entry,
                        out,
                        output_format=output_format.value,
                        labels=loaded.labels,
                        algorithm=loaded.algorithm,
                        report=report,
                        tier="internal" if internal else "shareable",
                    )
                except DataError as error:
                    refusals.append(Refusal(input=entry.name, reason=str(error)))
                    continue
            written += 1
            bars.update(number + 1)
        bars.end()
    return written, refusals
