"""Foreign data set: one in the form of nnU-Net raw, the decathlon, MONAI, BIDS or COCO, taken over with its folds.

Patients, sites, covariates and codes come from the ``medseg.json`` that `medseg.data.convert` left there. Without it
each case counts as a patient of its own, which the caller is told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from medseg.data.convert_bids import bids_cases
from medseg.data.convert_coco import coco_cases
from medseg.data.exchange import ForeignCase, Format, copy_bare, file_inside, new_folder, read_json, write_image
from medseg.data.files import sha256_of
from medseg.data.foreign_folds import NNUNET_SPLITS, folds_of, nnunet_splits
from medseg.data.label_source import LabelSource
from medseg.data.manifest import ID_PATTERN, Card, Case, LabelInfo, Manifest, images_sha256, write_manifest
from medseg.data.readers import read_geometry, read_label
from medseg.data.recognise import unique_stems
from medseg.data.split import Folds, write_folds
from medseg.data.volume import Geometry
from medseg.errors import ManifestError

__all__ = ["Adoption", "import_dataset"]

_LISTING: Mapping[Format, str] = {
    "nnunet": "dataset.json",
    "msd": "dataset.json",
    "monai": "datalist.json",
    "bids": "dataset_description.json",
    "coco": "annotations/instances.json",
}
_CHANNEL_FILE = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class Adoption:
    """What was taken over.

    Attributes:
        cases: Number of cases.
        patients_known: Whether ``medseg.json`` told the patients; otherwise each case counts as one.
        folds: Number of splits that came along.
    """

    cases: int
    patients_known: bool
    folds: int


def import_dataset(source: Path, out: Path, *, origin: Format, progress: Callable[[], None] | None = None) -> Adoption:
    """Copy a data set of another tool into a new folder with a manifest, a card and, where there are any, folds.

    Args:
        source: The folder, or for MONAI its datalist JSON.
        out: New folder; it gets ``manifest.csv``, ``manifest.yaml``, ``manifest.folds.csv``, ``images``, ``labels``.
        origin: The format.
        progress: Called after each case.

    Raises:
        ManifestError: A file of the format is missing or wrong, or a case's id is not allowed.
        RequestError: The output folder isn't empty.
        DataError: An image cannot be read.
    """
    source = Path(source)
    listing = source if source.is_file() else source / _LISTING[origin]
    root = listing.parent.parent if origin == "coco" and listing.parent.name == "annotations" else listing.parent
    sidecar = read_json(root / "medseg.json") if (root / "medseg.json").exists() else {}
    found, card = _read(listing, root, origin=origin)
    if not found:
        raise ManifestError(f"{listing.name} names no case")
    card = _sidecar_card(sidecar) or card
    known = {str(facts.get("case", name)): facts for name, facts in sidecar.get("cases", {}).items()}
    ours = {name: str(facts.get("case", name)) for name, facts in sidecar.get("cases", {}).items()}
    found = sorted((replace(one, case=ours.get(one.case, one.case)) for one in found), key=lambda one: one.case)
    if len({one.case for one in found}) < len(found):
        raise ManifestError(f"{listing.name}: expected a name of its own for each case; found one name for several")
    values = {int(theirs): int(ours) for ours, theirs in sidecar.get("values", {}).items()}
    with new_folder(out) as folder:
        cases = []
        for entry in found:
            cases.append(_adopt(entry, folder, card=card, known=known, values=values))
            if progress is not None:
                progress()
        manifest = Manifest(path=folder / "manifest.csv", cases=tuple(cases), card=card)
        write_manifest(manifest, manifest.path)
        folds = _folds(root, found, cases, origin=origin)
        if folds is not None:
            write_folds(folds, manifest.folds_path)
    return Adoption(cases=len(cases), patients_known=bool(sidecar), folds=len(folds.splits) if folds else 0)


def _read(listing: Path, root: Path, *, origin: Format) -> tuple[list[ForeignCase], Card]:
    """The cases and what the format itself says of the whole data set."""
    if origin == "bids":
        return bids_cases(root, read_json(listing))
    content = read_json(listing)
    if origin == "coco":
        return coco_cases(root, content)
    found = _nnunet_sources(root, content) if origin == "nnunet" else _datalist_sources(root, content)
    return found, _card(content, origin=origin)


def _sidecar_card(sidecar: Mapping[str, Any]) -> Card | None:
    try:
        return Card.model_validate(sidecar["card"]) if "card" in sidecar else None
    except ValidationError:
        raise ManifestError("medseg.json: the card is not valid; take the file away to go without it") from None


def _nnunet_sources(root: Path, content: Mapping[str, Any]) -> list[ForeignCase]:
    ending = str(content.get("file_ending", ".nii.gz"))
    sources = []
    for name in ("imagesTr", "imagesTs"):
        images: dict[str, dict[int, Path]] = {}
        for path in sorted((root / name).glob(f"*{ending}")):
            match = _CHANNEL_FILE.fullmatch(path.name.removesuffix(ending))
            if match is None:
                raise ManifestError(f"{name}: expected files named CASE_0000{ending}, found another name")
            images.setdefault(match["case"], {})[int(match["channel"])] = path
        for case, channels in images.items():
            label = root / "labelsTr" / f"{case}{ending}"
            if sorted(channels) != list(range(len(channels))):
                raise ManifestError(f"{name}: a case lacks a channel; expected _0000, _0001, ... without a gap")
            ordered = tuple(channels[number] for number in sorted(channels))
            sources.append(ForeignCase(case=case, images=ordered, label=label if label.exists() else None))
    return sources


def _datalist_sources(root: Path, content: Mapping[str, Any]) -> list[ForeignCase]:
    sources = []
    for part in ("training", "validation", "test"):
        for number, entry in enumerate(content.get(part, []), start=1):
            fields: dict[str, Any] = {"image": entry} if isinstance(entry, str) else entry
            images = [fields["image"]] if isinstance(fields.get("image"), str) else fields.get("image")
            if not images or not all(isinstance(image, str) for image in images):
                raise ManifestError(f"{part}, entry {number}: expected an image path, or a list of them")
            paths = tuple(file_inside(root, image, place=f"{part}, entry {number}") for image in images)
            label = file_inside(root, fields["label"], place=f"{part}, entry {number}") if fields.get("label") else None
            sources.append(ForeignCase(case="", images=paths, label=label, fold=fields.get("fold")))
    names = unique_stems([source.images[0] for source in sources], root.resolve())
    return [replace(source, case=names[source.images[0]]) for source in sources]


def _card(content: Mapping[str, Any], *, origin: Format) -> Card:
    try:
        channels = content.get("channel_names") or content.get("modality") or {"0": "image"}
        labels = content.get("labels") or {}
        pairs = labels.items() if origin == "nnunet" else ((name, value) for value, name in labels.items())
        named = {str(name): int(value) for name, value in pairs if int(value) != 0}
        ignore = named.pop("ignore", None) if origin == "nnunet" else None
        infos = {value: LabelInfo(name=name) for name, value in named.items()}
        names = tuple(str(channels[key]) for key in sorted(channels, key=int))
        unique = names if len(set(names)) == len(names) else tuple(f"channel{i}" for i in range(len(names)))
        return Card(
            title=str(content.get("name", "data set")),
            channels=unique,
            labels=infos,
            ignore=ignore,
            licence=str(content.get("licence", "")),
            citation=str(content.get("reference", "")),
        )
    except (ValidationError, TypeError, ValueError, AttributeError):
        raise ManifestError(
            "the description of channels and labels cannot be taken over; expected channel names by number and plain "
            "label values (regions are not supported)"
        ) from None


def _adopt(
    entry: ForeignCase, folder: Path, *, card: Card, known: Mapping[str, Any], values: Mapping[int, int]
) -> Case:
    if not ID_PATTERN.fullmatch(entry.case):
        raise ManifestError("a case's file name is not made of letters, digits, _ or -; rename the files")
    facts = known.get(entry.case, {})
    several = len(entry.images) > 1
    if several and len(entry.images) != len(card.channels):
        raise ManifestError(f"case {entry.case}: expected {len(card.channels)} channels, found {len(entry.images)}")
    images = {}
    for number, path in enumerate(entry.images):
        channel = card.channels[number] if several or len(card.channels) == 1 else "image"
        ending = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
        images[channel] = copy_bare(
            path, folder / "images" / f"{entry.case}{f'_{number:04d}' if several else ''}{ending}"
        )
    geometry = read_geometry(next(iter(images.values())))
    label = None if entry.label is None else _adopt_label(entry.label, folder, entry.case, values, geometry)
    return Case(
        case=entry.case,
        patient=str(facts.get("patient", entry.patient or entry.case)),
        images=images,
        label=label,
        modality=str(facts.get("modality", card.modality)),
        site=str(facts.get("site", "")),
        sha256=images_sha256(images),
        spacing=geometry.spacing,
        covariates={str(name): str(value) for name, value in facts.get("covariates", {}).items()},
        label_sha256="" if label is None else sha256_of(label),
    )


def _adopt_label(
    path: Path | LabelSource, folder: Path, case: str, values: Mapping[int, int], geometry: Geometry
) -> Path:
    """Copy a label map, or write it anew where its values have to change or it was drawn as outlines."""
    if isinstance(path, LabelSource):
        target = folder / "labels" / f"{case}{'.png' if len(geometry.shape) == 2 else '.nii.gz'}"
        write_image(path.read(geometry)[0], geometry.affine, target)
        return target
    ending = ".nii.gz" if path.name.endswith(".nii.gz") else path.suffix
    target = folder / "labels" / f"{case}{ending}"
    if all(theirs == ours for theirs, ours in values.items()):
        return copy_bare(path, target)
    label, own = read_label(path)
    renumbered = np.zeros(256, dtype=np.uint8)
    renumbered[list(values)] = list(values.values())
    write_image(renumbered[label], own.affine, target)
    return target


def _folds(root: Path, found: Sequence[ForeignCase], cases: Sequence[Case], *, origin: Format) -> Folds | None:
    """Folds of ``splits_final.json`` or of the entries' ``fold``; None unless they part all labelled cases."""
    if origin == "nnunet":
        path = root / NNUNET_SPLITS
        if not path.exists():
            return None
        held_out = nnunet_splits(path)
    else:
        numbers = sorted({entry.fold for entry in found if entry.fold is not None})
        held_out = [[entry.case for entry in found if entry.fold == number] for number in numbers]
    return folds_of(held_out, cases, labelled={case.case for case in cases if case.label is not None})
