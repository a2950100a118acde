"""Conversion: a data set with its folds in the form of nnU-Net raw, the Decathlon, MONAI, BIDS or COCO.

nnU-Net wants label values 1, 2, ... without a gap; they are renumbered there and restored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.cases import read_case_image, read_case_label
from medseg.data.convert_bids import export_bids
from medseg.data.convert_coco import export_coco
from medseg.data.exchange import Format, first_repeat, new_folder, write_image, write_json
from medseg.data.foreign_folds import NNUNET_SPLITS
from medseg.data.manifest import Case, Manifest, read_manifest
from medseg.data.readers import PICTURE_ENDINGS
from medseg.data.split import Folds, read_folds
from medseg.data.volume import Volume
from medseg.errors import ManifestError, RequestError
from medseg.types import Array

__all__ = ["export_dataset"]

_Entry = dict[str, Any]


def export_dataset(manifest_path: Path, out: Path, *, to: Format, progress: Callable[[], None] | None = None) -> int:
    """Write a manifest's cases for another tool; with folds beside the manifest, these too.

    Args:
        manifest_path: The manifest.
        out: New folder, for nnU-Net named ``DatasetNNN_Name``.
        to: The format.
        progress: Called after each case.

    Returns:
        Number of cases.

    Raises:
        RequestError: The folder isn't empty, or the format cannot hold these data.
        DataError: A case cannot be read.
    """
    manifest = read_manifest(manifest_path)
    folds = read_folds(manifest.folds_path, manifest) if manifest.folds_path.exists() else None
    pictures = _are_pictures(manifest)
    if to in ("msd", "bids") and pictures:
        raise RequestError(f"{to} holds volumes only; choose --to nnunet, monai or coco for photographs")
    if to == "coco" and not pictures:
        raise RequestError("COCO holds pictures only; choose --to nnunet, msd, monai or bids for volumes")
    values = _values(manifest, renumber=to == "nnunet")
    with new_folder(out) as folder:
        if to == "bids" or to == "coco":
            fold_of = {} if folds is None else first_repeat(folds)
            export = export_bids if to == "bids" else export_coco
            names = export(manifest, folder, fold_of=fold_of, progress=progress)
            write_json(folder / "medseg.json", _sidecar(manifest, values, names))
            return len(manifest.cases)
        entries = []
        for case in manifest.cases:
            entries.append(_export_case(case, manifest, folder, to=to, values=values, pictures=pictures))
            if progress is not None:
                progress()
        write_json(folder / "medseg.json", _sidecar(manifest, values, {}))
        if to == "nnunet":
            _finish_nnunet(folder, manifest, folds, values, pictures=pictures)
        else:
            _finish_datalist(folder, manifest, folds, entries, to=to)
    return len(manifest.cases)


def _are_pictures(manifest: Manifest) -> bool:
    kinds = {path.suffix.lower() in PICTURE_ENDINGS for case in manifest.cases for path in case.images.values()}
    if len(kinds) > 1:
        raise ManifestError("the manifest mixes pictures and volumes; make one manifest of each")
    return kinds.pop()


def _values(manifest: Manifest, *, renumber: bool) -> dict[int, int]:
    """Our label value to theirs; the value to ignore comes last, as nnU-Net wants it."""
    ours = [*manifest.card.labels, *([manifest.card.ignore] if manifest.card.ignore is not None else [])]
    return {value: number if renumber else value for number, value in enumerate(ours, start=1)}


def _export_case(
    case: Case, manifest: Manifest, folder: Path, *, to: Format, values: Mapping[int, int], pictures: bool
) -> _Entry:
    """Write one case; its entry in a datalist, paths relative to `folder`."""
    images, labels = _folders(to, labelled=case.label is not None)
    ending = ".png" if pictures else ".nii.gz"
    volume = read_case_image(case, channels=manifest.card.channels)
    written = []
    for number, array in enumerate(_parts(volume, to=to, pictures=pictures)):
        suffix = f"_{number:04d}" if to == "nnunet" else ""
        target = folder / images / f"{case.case}{suffix}{ending}"
        write_image(array, volume.affine, target)
        written.append(target.relative_to(folder).as_posix())
    entry: _Entry = {"case": case.case, "image": written[0]}
    if case.label is not None:
        card = manifest.card
        label = read_case_label(case, card=card, geometry=volume.geometry, ignore_label=card.ignore)
        renumbered = np.zeros(256, dtype=np.uint8)
        renumbered[list(values)] = list(values.values())
        target = folder / labels / f"{case.case}{ending}"
        write_image(renumbered[label], volume.affine, target)
        entry["label"] = target.relative_to(folder).as_posix()
    return entry


def _folders(to: Format, *, labelled: bool) -> tuple[str, str]:
    if to == "monai":
        return "images", "labels"
    return ("imagesTr" if labelled else "imagesTs"), "labelsTr"


def _parts(volume: Volume, *, to: Format, pictures: bool) -> list[Array]:
    """The arrays that become one file each; channels last where a file holds several."""
    if to == "nnunet" and not pictures:
        return list(volume.array)
    return [volume.array[0] if len(volume.array) == 1 else np.moveaxis(volume.array, 0, -1)]


def _sidecar(manifest: Manifest, values: Mapping[int, int], names: Mapping[str, str]) -> _Entry:
    """What the format cannot hold; `names` are the cases' names there, where they are others."""
    card = manifest.card.model_copy(update={"files_outside": False}).model_dump(mode="json", exclude_none=True)
    cases = {
        names.get(case.case, case.case): {
            "case": case.case,
            "patient": case.patient,
            "modality": case.modality,
            "site": case.site,
            "covariates": dict(case.covariates),
        }
        for case in manifest.cases
    }
    return {"card": card, "cases": cases, "values": {str(ours): theirs for ours, theirs in values.items()}}


def _finish_nnunet(
    folder: Path, manifest: Manifest, folds: Folds | None, values: Mapping[int, int], *, pictures: bool
) -> None:
    labelled = [case.case for case in manifest.cases if case.label is not None]
    names = dict.fromkeys(values, "ignore") | manifest.card.label_names()
    content = {
        "channel_names": {str(number): name for number, name in enumerate(manifest.card.channels)},
        "labels": {"background": 0} | {names[ours]: theirs for ours, theirs in values.items()},
        "numTraining": len(labelled),
        "file_ending": ".png" if pictures else ".nii.gz",
    }
    write_json(folder / "dataset.json", content)
    if folds is not None:
        write_json(folder / NNUNET_SPLITS, _nnunet_splits(folds, set(labelled)))


def _nnunet_splits(folds: Folds, labelled: set[str]) -> list[dict[str, list[str]]]:
    """Training and held-out cases of each split, as nnU-Net's ``splits_final.json`` has them."""

    def known(cases: Sequence[str]) -> list[str]:
        return sorted(set(cases) & labelled)

    return [{"train": known(s.training), "val": known(s.validation or s.test)} for s in folds.splits]


def _finish_datalist(
    folder: Path, manifest: Manifest, folds: Folds | None, entries: Sequence[_Entry], *, to: Format
) -> None:
    fold_of = {} if folds is None else first_repeat(folds)
    prefix = "./" if to == "msd" else ""
    training, test = [], []
    for entry in entries:
        paths = {key: prefix + entry[key] for key in ("image", "label") if key in entry}
        if "label" not in paths:
            test.append(paths["image"] if to == "msd" else paths)
        else:
            training.append(paths | ({"fold": fold_of[entry["case"]]} if entry["case"] in fold_of else {}))
    numbered = {str(number): name for number, name in enumerate(manifest.card.channels)}
    content = {
        "name": manifest.card.title,
        "licence": manifest.card.licence,
        "reference": manifest.card.citation,
        "tensorImageSize": "4D" if len(manifest.card.channels) > 1 else "3D",
        "modality": numbered,
        "labels": {"0": "background"} | {str(value): name for value, name in manifest.card.label_names().items()},
        "numTraining": len(training),
        "numTest": len(test),
        "training": training,
        "test": test,
    }
    write_json(folder / ("dataset.json" if to == "msd" else "datalist.json"), content)
