"""`medseg import`: files of any layout become a manifest and clean copies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.common import EXIT_PARTLY_REFUSED, command, emit, note, progress_bars
from medseg.cli.keys import KeyOption, identities_beside
from medseg.errors import RequestError
from medseg.wording import counted

if TYPE_CHECKING:
    from medseg.data.reading import PetKind

__all__ = ["register"]

_MODALITIES = {
    "PET": "PT",
    "PT": "PT",
    "CT": "CT",
    "MR": "MR",
    "MRI": "MR",
    "DERMOSCOPY": "DERMOSCOPY",
    "OTHER": "OTHER",
}


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("import")(_import)


@command
def _import(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder of images, of any of the layouts below.")],
    out: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="Folder to write manifest.csv, manifest.yaml and copies to.")
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="CT, MR, PET, DERMOSCOPY: take these images of each patient.")
    ] = None,
    image_pattern: Annotated[
        str | None, typer.Option(help="Take images whose file name matches, e.g. 'flair*'.")
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=PATTERN]",
            help="Of a folder per patient: the image whose name has this word, or matches, is this channel; repeat.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Name of a label value, e.g. 1=lesion; repeat for several.")
    ] = None,
    structure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN[=LABEL]",
            help="Take segments and regions (SEG, RTSTRUCT) of such names, as this label; repeat for several. Where "
            "two overlap, the first wins.",
        ),
    ] = None,
    structure_set: Annotated[
        str,
        typer.Option(
            metavar="PATTERN|newest",
            help="Of several files that outline an image, those of such a label, or the newest.",
        ),
    ] = "",
    list_structures: Annotated[
        bool, typer.Option(help="Print the names of all segments and regions instead; they may identify.")
    ] = False,
    suv: Annotated[
        str,
        typer.Option(
            metavar="bw|lbm|bsa|stored",
            help="SUV of DICOM PET: by body weight, lean body mass or surface; or the stored values.",
        ),
    ] = "bw",
    resample_irregular: Annotated[
        bool, typer.Option(help="Resample tilted or unevenly spaced DICOM slices, which are refused otherwise.")
    ] = False,
    colour_map: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Masks in colours: YAML with value, name and colour of labels, or a card."),
    ] = None,
    with_unlabelled: Annotated[
        bool, typer.Option(help="Take images without a label map beside labelled ones.")
    ] = False,
    keep_names: Annotated[
        bool, typer.Option(help="Keep file and folder names as ids; only if they identify nobody.")
    ] = False,
    title: Annotated[str, typer.Option(help="Title of the data set, for its card.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the data set, for its card.")] = "",
    jobs: Annotated[int, typer.Option(min=1, help="Cases copied at once.")] = min(4, os.cpu_count() or 1),
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Turn images and labels of any layout into a manifest.

    Copies are named by pseudonym.

    SRC is a folder, an image, a zip file or a DICOMDIR. Recognised by itself: Medical Segmentation Decathlon, nnU-Net
    and BIDS folders with their folds, images/ beside masks/ or labels/ (masks_NAME/ for each of several annotators),
    pictures outlined in COCO, Labelme or CVAT, Pascal VOC, a folder per patient, DICOM trees with label maps, SEG or
    RTSTRUCT files, and flat folders; label maps may be .seg.nrrd of 3D Slicer, or folders of PNG slices. Says what it
    took each file for; what is refused is listed in DIR/refused.csv. The same command again goes on where it stopped.

    Example: medseg import PATIENTS data --modality PET
    """
    from medseg.data.dicom_structures import StructureRule
    from medseg.data.importer import ImportOptions, import_tree
    from medseg.data.reading import Reading
    from medseg.data.recognise import Choice

    identities_beside(key)
    if list_structures:
        return _list_structures(source, out, as_json=as_json)
    if out is None:
        raise RequestError("expected the folder to write to: medseg import SRC DIR")
    if channel and (image_pattern or modality):
        raise RequestError("--channel says which images are taken; leave out --image-pattern and --modality")
    options = ImportOptions(
        choice=Choice(
            modality=_modality(modality),
            image_pattern=image_pattern,
            with_unlabelled=with_unlabelled,
            colours=colour_map,
            reading=Reading(suv=_suv(suv), resample_irregular=resample_irregular),
            structures=tuple(StructureRule.of(text) for text in structure or []),
            structure_set=structure_set,
            channels=tuple(channel or ()),
        ),
        labels=_labels(label or []),
        keep_names=keep_names,
        title=title,
        licence=licence,
        jobs=jobs,
    )
    with progress_bars() as bars:
        task = bars.add_task("Recognising files", total=None)
        report = import_tree(
            source,
            out,
            options=options,
            progress=lambda done, total: bars.update(task, description="Copying cases", completed=done, total=total),
            looking=lambda done, total: bars.update(task, completed=done, total=total),
        )
    note(f"Took the source for {report.layout}.")
    for sentence in report.notes:
        note(f"  {sentence}")
    facts = {
        "layout": report.layout, "cases": report.cases, "patients": report.patients, "labelled": report.labelled,
        "empty_labels": report.empty, "repaired_labels": report.repaired, "reused": report.reused,
        "refused": len(report.refusals), "manifest": str(out / "manifest.csv"),
    }  # fmt: skip
    emit(facts, as_json=as_json, text=_summary(facts))
    return EXIT_PARTLY_REFUSED if report.refusals else 0


def _list_structures(source: Path, out: Path | None, *, as_json: bool) -> int:
    """Print every name with the number of files that have it. Only here do names of the source leave the program."""
    from medseg.data.dicom_structures import structure_names

    if out is not None:
        raise RequestError("--list-structures writes nothing: leave out the folder to write to")
    names, refusals = structure_names(source)
    for refusal in refusals:
        note(f"refused: {refusal.input}: {refusal.reason}")
    text = "\n".join(f"{count:>6} x {name}" for name, count in names.items()) or "no DICOM file names a structure"
    emit({"structures": names}, as_json=as_json, text=text)
    return EXIT_PARTLY_REFUSED if refusals else 0


def _summary(facts: dict[str, Any]) -> str:
    text = f"{counted(facts['cases'], 'case')} of {counted(facts['patients'], 'patient')}"
    text += f", {facts['labelled']} with a label map"
    if facts["empty_labels"]:
        text += f" ({facts['empty_labels']} of them empty)"
    if facts["repaired_labels"]:
        text += f", {counted(facts['repaired_labels'], 'label grid')} repaired"
    if facts["reused"]:
        text += f", {facts['reused']} copied before"
    if facts["refused"]:
        text += f"\n{facts['refused']} refused, each with its reason in refused.csv beside the manifest"
    return f"{text}\n{facts['manifest']}"


def _modality(text: str | None) -> str | None:
    if text is None:
        return None
    if text.upper() not in _MODALITIES:
        raise RequestError(f"--modality: expected one of {', '.join(_MODALITIES)}")
    return _MODALITIES[text.upper()]


def _suv(text: str) -> PetKind:
    kinds: dict[str, PetKind] = {"bw": "bw", "lbm": "lbm", "bsa": "bsa", "stored": "stored"}
    if text.lower() not in kinds:
        raise RequestError(
            "--suv: expected bw (body weight), lbm (lean body mass), bsa (body surface area) or stored (no SUV)"
        )
    return kinds[text.lower()]


def _labels(pairs: list[str]) -> dict[int, str]:
    labels = {}
    for pair in pairs:
        value, _, name = pair.partition("=")
        if not value.strip().isdigit() or not 1 <= int(value) <= 255 or not name.strip():
            raise RequestError("--label: expected VALUE=NAME with a value from 1 to 255, for example --label 1=lesion")
        labels[int(value)] = name.strip()
    return labels
