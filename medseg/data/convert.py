"""Conversion: a data set with its folds in the form of nnU-Net raw, the Medical Segmentation Decathlon or MONAI.

What a format cannot hold (patients, sites, covariates, codes) goes into ``medseg.json`` beside it, so that the way back
restores the manifest. nnU-Net wants label values 1, 2, ... without a gap; they are renumbered there and restored.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from medseg.data.cases import read_case_image, read_case_label
from medseg.data.manifest import Case, Manifest, read_manifest
from medseg.data.readers import PICTURE_ENDINGS
from medseg.data.split import Folds, read_folds
from medseg.data.volume import Volume
from medseg.errors import ManifestError, RequestError
from medseg.types import Affine, Array

__all__ = ["Format", "export_dataset", "new_folder", "parse_format", "write_image"]

Format = Literal["nnunet", "msd", "monai"]
_Entry = dict[str, Any]


def parse_format(text: str) -> Format:
    """The format of this name.

    Raises:
        RequestError: There is no such format.
    """
    for name in get_args(Format):
        if text == name:
            return name  # type: ignore[no-any-return]
    raise RequestError(f"expected a format of {', '.join(get_args(Format))}; found {text!r}")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, and disappears otherwise.

    Raises:
        RequestError: `path` is there already and isn't an empty folder.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RequestError("the output folder is not empty; nothing was written, choose a new one")
    temporary = path.absolute().with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if path.exists():
            path.rmdir()
        os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


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
    if to == "msd" and pictures:
        raise RequestError("the decathlon's format holds volumes only; choose --to nnunet or monai for photographs")
    values = _values(manifest, renumber=to == "nnunet")
    with new_folder(out) as folder:
        entries = []
        for case in manifest.cases:
            entries.append(_export_case(case, manifest, folder, to=to, values=values, pictures=pictures))
            if progress is not None:
                progress()
        _write_json(folder / "medseg.json", _sidecar(manifest, values))
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
    """Our label value to theirs."""
    return {value: number if renumber else value for number, value in enumerate(manifest.card.labels, start=1)}


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
        label = read_case_label(case, card=manifest.card, geometry=volume.geometry)
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


def write_image(array: Array, affine: Affine, target: Path) -> None:
    """Write axes (x, y[, z][, channel]) as PNG or NIfTI, with a header that holds the geometry and nothing else."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.suffix == ".png":
        from PIL import Image

        if array.dtype not in (np.uint8, np.uint16):
            raise RequestError("expected pictures of 8 or 16 bits, found another depth; PNG cannot hold it")
        Image.fromarray(np.ascontiguousarray(np.swapaxes(array, 0, 1))).save(target)
        return
    import nibabel

    if array.dtype not in (np.uint8, np.int16, np.int32, np.uint16, np.float32):
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, target)


def _sidecar(manifest: Manifest, values: Mapping[int, int]) -> _Entry:
    card = manifest.card.model_copy(update={"files_outside": False}).model_dump(mode="json", exclude_none=True)
    cases = {
        case.case: {
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
    names = manifest.card.label_names()
    content = {
        "channel_names": {str(number): name for number, name in enumerate(manifest.card.channels)},
        "labels": {"background": 0} | {names[ours]: theirs for ours, theirs in values.items()},
        "numTraining": len(labelled),
        "file_ending": ".png" if pictures else ".nii.gz",
    }
    _write_json(folder / "dataset.json", content)
    if folds is not None:
        _write_json(folder / "splits_final.json", _nnunet_splits(folds, set(labelled)))


def _nnunet_splits(folds: Folds, labelled: set[str]) -> list[dict[str, list[str]]]:
    """Training and held-out cases of each split, as nnU-Net's ``splits_final.json`` has them."""

    def known(cases: Sequence[str]) -> list[str]:
        return sorted(set(cases) & labelled)

    return [{"train": known(s.training), "val": known(s.validation or s.test)} for s in folds.splits]


def _finish_datalist(
    folder: Path, manifest: Manifest, folds: Folds | None, entries: Sequence[_Entry], *, to: Format
) -> None:
    fold_of = {} if folds is None or folds.kind == "holdout" else _first_repeat(folds)
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
    _write_json(folder / ("dataset.json" if to == "msd" else "datalist.json"), content)


def _first_repeat(folds: Folds) -> dict[str, int]:
    return {case: split.fold for split in folds.splits if split.repeat == 0 for case in split.test}


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
