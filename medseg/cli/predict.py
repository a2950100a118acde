"""The command that predicts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from medseg.cli.common import EXIT_PARTLY_REFUSED, command, emit, note
from medseg.cli.keys import KeyOption, identities_beside
from medseg.errors import ReadError, RequestError
from medseg.wording import counted

if TYPE_CHECKING:
    from medseg.data.made_from import MadeFrom
    from medseg.data.reading import Reading
    from medseg.data.refusal import Refusal
    from medseg.data.source import Input
    from medseg.data.volume import Volume
    from medseg.export.coco import CocoFile
    from medseg.export.dicom_match import SeriesFinder
    from medseg.export.load import LoadedModel
    from medseg.export.prediction import PredictionFormat
    from medseg.privacy.identities import IdentityIndex

__all__ = ["register"]


class _Format(StrEnum):
    """Formats of a prediction."""

    NIFTI = "nifti"
    NRRD = "nrrd"
    PNG = "png"
    OVERLAY = "overlay"
    COCO = "coco"
    DICOM_SEG = "dicom-seg"
    DICOM_SEG_LABELMAP = "dicom-seg-labelmap"
    DICOM_SEG_FRACTIONAL = "dicom-seg-fractional"
    DICOM_UNCERTAINTY = "dicom-uncertainty"
    DICOM_OVERLAY = "dicom-overlay"
    RTSTRUCT = "rtstruct"
    SR = "sr"

    @property
    def is_dicom(self) -> bool:
        """Whether it is a DICOM object, which refers to the instances of a series."""
        return self not in (_Format.NIFTI, _Format.NRRD, _Format.PNG, _Format.OVERLAY, _Format.COCO)


@dataclass(frozen=True, eq=False)
class _Files:
    """A file, or two, for each image.

    Attributes:
        out: The folder.
        output_format: What to write.
        made: What made each prediction that is there.
        identities: What the privacy gate looks for, beside its patterns.
        report: Whether a SEG gets a report beside it.
        internal: Whether DICOM objects may carry their patients.
        finder: Finds the series that images which are no DICOM were converted from; None where they are DICOM.
    """

    out: Path
    output_format: PredictionFormat
    made: MadeFrom
    identities: IdentityIndex | None
    report: bool = False
    internal: bool = False
    finder: SeriesFinder | None = None

    def holds(self, entry: Input) -> bool:
        """Whether the prediction of an input is there."""
        from medseg.export.prediction import is_written

        return is_written(self.out, entry.name, self.output_format, report=self.report)

    def require_same(self, entry: Input, volume: Volume) -> None:
        """Refuse a prediction that is there and isn't this image's, or refers to another series."""
        series = ("",) if self.finder is None else self.finder.names
        self.made.require_same(self.record_name(entry), volume, series=series)

    def record_name(self, entry: Input) -> str:
        """What the record calls the prediction of an input."""
        return f"{self.output_format} {entry.name}"

    def write(self, loaded: LoadedModel, entry: Input, volume: Volume) -> None:
        """Predict an image and write what was found."""
        from medseg.export.dicom_match import lay_on_series
        from medseg.export.prediction import NEED_PROBABILITIES, require_instances, write_prediction

        # Before the time for a prediction is spent.
        if _Format(self.output_format).is_dicom and self.finder is None:
            require_instances(entry, self.output_format)
        match = None if self.finder is None else self.finder.find(volume)
        self.made.begin(self.record_name(entry), volume, series="" if match is None else match.series.name)
        prediction = loaded.predictor.predict(volume, probabilities=self.output_format in NEED_PROBABILITIES)
        if match is not None:
            found = lay_on_series(prediction, entry, match)
            prediction, volume, entry = found.prediction, found.volume, found.source
            if found.note:
                note(f"{entry.name}: {found.note}")
        write_prediction(
            prediction,
            volume,
            entry,
            self.out,
            output_format=self.output_format,
            labels=loaded.labels,
            algorithm=loaded.algorithm,
            report=self.report,
            tier="internal" if self.internal else "shareable",
            identities=self.identities,
        )


@dataclass(eq=False)
class _OneFile:
    """The one file of COCO for pictures; others get a file each.

    Attributes:
        coco: The file.
        others: The files of images that are no pictures.
    """

    coco: CocoFile
    others: _Files

    def holds(self, entry: Input) -> bool:
        """Whether the picture is listed, or another image has its file."""
        return self.coco.holds(entry) if entry.picture else self.others.holds(entry)

    def require_same(self, entry: Input, volume: Volume) -> None:
        """Refuse a prediction that is there and isn't this image's."""
        self.others.require_same(entry, volume)

    def write(self, loaded: LoadedModel, entry: Input, volume: Volume) -> None:
        """Predict a picture and list what was found, or write the file of another image."""
        if not entry.picture:
            self.others.write(loaded, entry, volume)
            return
        self.others.made.begin(self.others.record_name(entry), volume)
        found = loaded.predictor.predict(volume, probabilities=True)
        self.coco.add(found, entry, identities=self.others.identities)


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
    dicom_source: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="For DICOM formats of NIfTI, NRRD or MHA: the series that they were converted from."
        ),
    ] = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one line of JSON.")] = False,
) -> int:
    """Label images with a trained model, each on its own grid.

    Outputs are named by the manifest's cases; those of files and folders are numbered, since file names may identify.
    Predictions that are there already are left: the same command goes on where it stopped; those of other images or of
    another model are refused. nrrd is a segmentation of 3D Slicer; png of a volume is a folder NAME.slices with a
    picture of each slice, whose indices are the label values, and their place in the patient; overlay shows the labels
    of the fullest slice to the eye alone; coco is one instances.json of all pictures, or NAME.coco.json of a volume's
    slices. DICOM formats refer to a series, which is the input itself or is found among those of --dicom-source by its
    voxels: dicom-seg (binary), -labelmap (the new storage class) and -fractional (probabilities), dicom-uncertainty
    (parametric map of the entropy), dicom-overlay (colour capture for viewers that know nothing else), rtstruct, sr.

    Example: medseg predict model.medseg data/manifest.csv predictions
    """
    from medseg.data.reading import reading_for

    identities = identities_beside(key)
    if report and output_format is not _Format.DICOM_SEG:
        raise RequestError("--report goes with --format dicom-seg; --format sr writes a report alone")
    from medseg.data.source import find_inputs
    from medseg.export.load import load_model

    _refuse_folder_of_inputs(source, out)
    try:
        loaded = load_model(model, mirror=not fast, scratch=out)
        reading = reading_for(loaded.predictor.plan.channels)
        inputs, refusals = find_inputs(
            source, keep_names=keep_names, reading=reading, modality=loaded.predictor.plan.modality
        )
    except ReadError as error:  # Nothing is predicted: not "partly refused", but a wrong request.
        raise RequestError(str(error)) from None
    _say_other_modality(inputs, loaded.predictor.plan.modality)
    finder = _finder(dicom_source, inputs, output_format, reading)
    _make_folder(out, output_format, internal=internal)
    made = _made_from(out, loaded, fast=fast, internal=internal, support=support)
    if support is not None:
        loaded = _taught(loaded, support)
    if output_format is _Format.COCO:
        written, refused = _predict_coco(loaded, inputs, out, made, identities)
    else:
        kind = cast("PredictionFormat", output_format.value)
        files = _Files(out, kind, made, identities, report=report, internal=internal, finder=finder)
        written, refused = _predict_each(loaded, inputs, files)
    refusals += refused
    for refusal in refusals:
        note(f"refused: {refusal.input}: {refusal.reason}")
    if any(entry.name.startswith("image_0") for entry in inputs):
        note("image_0001 is the first image in the order of the paths, and so on; --keep-names keeps the files' names")
    if internal:
        note("these files may name their patients; keep them to yourself, and push them home with `medseg pacs push`")
    result = {"written": written, "refused": [{"input": r.input, "reason": r.reason} for r in refusals]}
    emit(
        result, as_json=as_json, text=f"{written} of {counted(len(inputs), 'image')} predicted as {output_format.value}"
    )
    return EXIT_PARTLY_REFUSED if refusals else 0


def _say_other_modality(inputs: list[Input], trained: str) -> None:
    """Warn of images of another modality than the model's: its figures don't hold there."""
    others = {entry.modality for entry in inputs} - {trained, "OTHER"}
    if others and trained != "OTHER":
        note(f"warning: the model was trained on {trained}, the images are {', '.join(sorted(others))}")


def _refuse_folder_of_inputs(source: Path, out: Path) -> None:
    """Refuse to write among the images or the label maps, of which one may bear the name of a prediction.

    Raises:
        RequestError: The output folder is one that inputs lie in.
    """
    folders = {source.resolve() if source.is_dir() else source.resolve().parent}
    if source.suffix == ".csv" and source.is_file():
        from medseg.data.manifest import read_manifest

        for case in read_manifest(source).cases:
            files = (*case.images.values(), *([case.label] if case.label is not None else []))
            folders |= {path.resolve().parent for path in files}
    if out.resolve() in folders:
        raise RequestError("expected a folder of its own for the predictions; found the one that the inputs lie in")


def _make_folder(out: Path, output_format: _Format, *, internal: bool) -> None:
    """Make the output folder; one of results that carry their patients is for nobody else to read.

    Raises:
        RequestError: ``--internal`` with a format without patients, or into a folder that others can read.
    """
    if internal and not output_format.is_dicom:
        raise RequestError(f"--internal goes with the DICOM formats; {output_format.value} carries no patient anyway")
    out.mkdir(parents=True, exist_ok=True, mode=0o700 if internal else 0o777)
    if internal and os.name == "posix" and out.stat().st_mode & 0o077:
        raise RequestError("--internal: expected a new folder or one that only you can read, found one for others too")


def _made_from(out: Path, loaded: LoadedModel, *, fast: bool, internal: bool, support: Path | None) -> MadeFrom:
    """The record of what made the predictions of the folder.

    Raises:
        RequestError: Something else made those that are there.
    """
    from medseg.data.files import sha256_of
    from medseg.data.made_from import MadeFrom

    taught = sha256_of(support) if support is not None and support.is_file() else ""
    return MadeFrom(out, maker=f"{loaded.algorithm.model_id} fast={fast} internal={internal} support={taught}")


def _taught(loaded: LoadedModel, support: Path) -> LoadedModel:
    """The model's encoder, taught the labels of a support set by prototypes."""
    from dataclasses import replace

    from medseg.data.manifest import read_manifest
    from medseg.inference.support import learn_from_support

    manifest = read_manifest(support)
    return replace(loaded, predictor=learn_from_support(loaded.predictor, manifest), labels=manifest.card.labels)


def _finder(folder: Path | None, inputs: list[Input], output_format: _Format, reading: Reading) -> SeriesFinder | None:
    """What finds the images' series in the folder of ``--dicom-source``; None without one.

    Raises:
        RequestError: The option doesn't go with the format or the inputs, or the folder holds no series.
    """
    from medseg.export.dicom_match import SeriesFinder, find_source_series

    is_dicom = [bool(entry.series or entry.find_series) for entry in inputs]
    if folder is None:
        if output_format.is_dicom and inputs and not any(is_dicom):
            raise RequestError(
                f"--format {output_format.value} refers to a DICOM series, and no image here is one; name the folder "
                "of the series that they were converted from with --dicom-source, or choose --format nifti, nrrd or png"
            )
        return None
    if not output_format.is_dicom:
        raise RequestError(f"--dicom-source goes with the DICOM formats; {output_format.value} refers to no series")
    if any(is_dicom):
        raise RequestError("--dicom-source goes with images that are no DICOM; these are, and results refer to them")
    return SeriesFinder(find_source_series(folder, reading=reading))


def _predict_coco(
    loaded: LoadedModel, inputs: list[Input], out: Path, made: MadeFrom, identities: IdentityIndex | None
) -> tuple[int, list[Refusal]]:
    """As `_predict_each`; what was found is written also when the person stops the command."""
    from medseg.export.coco import COCO_FILE, CocoFile

    others = _Files(out, "coco", made, identities)
    coco = CocoFile(out / COCO_FILE, labels=loaded.labels, algorithm=loaded.algorithm)
    try:
        return _predict_each(loaded, inputs, _OneFile(coco, others))
    finally:
        coco.save(identities=identities)


def _predict_each(loaded: LoadedModel, inputs: list[Input], outputs: _Files | _OneFile) -> tuple[int, list[Refusal]]:
    from medseg.cli.bars import StudyBars
    from medseg.data.refusal import Refusal
    from medseg.errors import DataError

    refusals = []
    written = 0
    with StudyBars() as bars:
        bars.begin("predict", len(inputs))
        for number, entry in enumerate(inputs):
            try:
                volume = entry.read()
                if outputs.holds(entry):
                    outputs.require_same(entry, volume)
                else:
                    if doubt := loaded.predictor.doubt(volume):
                        note(f"warning: {entry.name}: {doubt}")
                    outputs.write(loaded, entry, volume)
            except DataError as error:
                refusals.append(Refusal(input=entry.name, reason=str(error)))
                continue
            written += 1
            bars.update(number + 1)
        bars.end()
    return written, refusals
