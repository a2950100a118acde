"""Carried facts: what another tool's data set says of its cases, told of the copies that an import makes of them.

nnU-Net raw, the decathlon, MONAI, BIDS and COCO name their cases, and `import` gives them other names, since those may
identify. Which case is held out in which fold (``splits_final.json``, or ``fold`` in the lists and tables), and of
which patient and site it is (``medseg.json``, which `medseg.data.convert` leaves), goes over to the new names. Names
stay only where ``medseg.json`` says that they are pseudonyms: running numbers, or of data that `medseg deidentify`
wrote.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from medseg.data.card import Card, Deidentification
from medseg.data.case_names import Job
from medseg.data.convert_bids import bids_folds, bids_parts
from medseg.data.drawing_coco import is_coco
from medseg.data.foreign_folds import NNUNET_SPLITS, folds_of, nnunet_splits
from medseg.data.json_files import read_object
from medseg.data.label_formats import ignoring
from medseg.data.manifest import read_manifest
from medseg.data.metadata import CaseFacts, harmless_covariates
from medseg.data.recognise import NO_LABEL, Choice, Recognised, Source, stem_of, unique_stems
from medseg.data.split import read_folds, write_folds
from medseg.errors import ManifestError, MedsegError
from medseg.wording import counted

__all__ = ["Carried", "carry"]

_NUMBERED: Final = re.compile(r"[CPS]\d{1,6}")
_CHANNEL: Final = re.compile(r"(?P<case>.+)_\d{4}")
_COCO: Final = "annotations/instances.json"
_LISTS: Final = ("datalist.json", "dataset.json")


@dataclass(frozen=True, eq=False)
class Carried:
    """What is carried over to the copies; all of it is private until it has been renamed.

    Attributes:
        found: The sources, with their names and patients as the data set has them.
        facts: Source key to what ``medseg.json`` says of it.
        held_out: Names of the cases that each fold holds out; empty where nothing says.
        teller: Which file tells the folds.
        is_pseudonymous: Whether the names identify nobody and may stay.
        deidentification: What the data set says of its de-identification.
    """

    found: Recognised
    facts: Mapping[str, CaseFacts] = field(default_factory=dict, repr=False)
    held_out: tuple[tuple[str, ...], ...] = field(default=(), repr=False)
    teller: str = ""
    is_pseudonymous: bool = False
    deidentification: Deidentification | None = None

    def joined(self, tables: Sequence[CaseFacts]) -> list[CaseFacts]:
        """The facts of each source: what tables say, under what the data set itself says."""
        return [_joined(self.facts.get(s.key), told) for s, told in zip(self.found.sources, tables, strict=True)]

    def write_folds(self, jobs: Sequence[Job], path: Path) -> tuple[str, ...]:
        """Write the folds beside a manifest under its names, and say so in a sentence; none where nothing tells folds.

        Args:
            jobs: The cases that were imported.
            path: The manifest, which was written.
        """
        if not self.held_out:
            damaged = self.teller == NNUNET_SPLITS  # The lists and tables of other tools may well tell none.
            return (f"{self.teller} lists no folds as nnU-Net does; none taken over",) if damaged else ()
        manifest = read_manifest(path)
        ids = {case.case for case in manifest.cases}
        named = {job.source.name: job.case for job in jobs if job.case in ids}
        ours = [[named[name] for name in part if name in named] for part in self.held_out]
        labelled = {case.case for case in manifest.cases if case.label is not None or case.readers}
        folds = folds_of([part for part in ours if part], manifest.cases, labelled=labelled)
        if folds is None:
            return (f"{self.teller} doesn't hold each case out once; no folds taken over",)
        is_there = manifest.folds_path.exists()
        try:
            write_folds(folds, manifest.folds_path)
            read_folds(manifest.folds_path, manifest)
        except ManifestError as error:
            if not is_there:
                manifest.folds_path.unlink()
                return (f"the folds of {self.teller} were not taken over: {error}",)
            return (f"{manifest.folds_path.name} is there already and holds other folds than {self.teller}; it stays",)
        told = "the cases kept their names" if self.is_pseudonymous else "each case under its new name"
        return (f"the {counted(len(folds.splits), 'fold')} of {self.teller} taken over, {told}",)


def carry(found: Recognised, root: Path, choice: Choice) -> Carried:
    """Read what a data set says of its cases beyond their files; nothing of it for a folder that is none.

    Damaged lists of folds are passed over, and a note says so.
    """
    sidecar = _read(root / "medseg.json")
    coco = _read(root / _COCO)
    teller, names, held_out = _told(root, found, coco)
    if not sidecar and not held_out:
        return Carried(found, teller=teller)
    stated = {str(name): facts for name, facts in _mapping(sidecar.get("cases")).items() if isinstance(facts, dict)}
    ours = {name: str(facts.get("case", name)) for name, facts in stated.items()}
    unlabelled = _unlabelled(coco, root)
    sources = []
    for source in found.sources:
        path = next(iter(source.images.values()), root)
        one = replace(source, name=ours.get(names.get(path, ""), names.get(path, "")))
        sources.append(_without_label(one, choice) if path in unlabelled else one)
    known = {ours[name]: _facts(facts) for name, facts in stated.items()}
    facts = {source.key: known[source.name] for source in sources if source.name in known}
    note = (f"patients and sites as medseg.json has them ({counted(len(facts), 'case')})",) if facts else ()
    found = replace(found, sources=tuple(sources), notes=(*found.notes, *note))
    card = _card(sidecar)
    deidentification = None if card is None else card.deidentification
    return Carried(
        found if card is None else _described(found, card, _mapping(sidecar.get("values"))),
        facts,
        tuple(tuple(ours.get(name, name) for name in part) for part in held_out),
        teller,
        len(facts) == len(sources) and (_are_numbers(stated) or deidentification is not None),
        deidentification,
    )


def _described(found: Recognised, card: Card, values: Mapping[str, Any]) -> Recognised:
    """What ``medseg.json`` knows of the labels; nnU-Net numbers them anew, so names tell which is which."""
    if card.ignore is not None and not any(getattr(one, "ignore", None) for s in found.sources for one in s.label_maps):
        found = ignoring(found, _number(values.get(str(card.ignore))) or card.ignore)
    labels = found.labels or card.label_names()
    infos = {info.name: info for info in card.labels.values()}
    described = {value: infos[name] for value, name in labels.items() if name in infos}
    titled = replace(found, title=found.title or card.title[:64], licence=found.licence or card.licence[:64])
    return replace(titled, labels=labels, described={**described, **found.described})


def _are_numbers(stated: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether cases, patients and sites bear the running numbers that medseg gives."""
    names = [told.get(part) or "S1" for told in stated.values() for part in ("case", "patient", "site")]
    return all(isinstance(name, str) and _NUMBERED.fullmatch(name) is not None for name in names)


def _joined(own: CaseFacts | None, table: CaseFacts) -> CaseFacts:
    if own is None:
        return table
    return CaseFacts({**table.covariates, **own.covariates}, own.patient or table.patient, own.site or table.site)


def _facts(told: Mapping[str, Any]) -> CaseFacts:
    covariates = {str(name): str(value) for name, value in _mapping(told.get("covariates")).items()}
    return CaseFacts(harmless_covariates(covariates), str(told.get("patient", "")), str(told.get("site", "")))


def _told(root: Path, found: Recognised, coco: Mapping[str, Any]) -> tuple[str, dict[Path, str], list[list[str]]]:
    """Which file tells the folds, the cases of the image files, and the cases that each fold holds out.

    `coco` is what ``instances.json`` holds; empty where there is none.
    """
    first = [next(iter(source.images.values())) for source in found.sources if source.images]
    if (root / NNUNET_SPLITS).is_file():
        return NNUNET_SPLITS, {path: _case_of(path) for path in first}, _splits(root / NNUNET_SPLITS)
    if (root / "participants.tsv").is_file():
        names, fold_of = {path: bids_parts(path)[0] for path in first}, bids_folds(root)
        folds = {path: fold_of.get(name.partition("_")[0].removeprefix("sub-")) for path, name in names.items()}
        return "participants.tsv", names, _by_number(names, folds)
    for name in (_COCO, *_LISTS):
        if listed := _listed(coco if name == _COCO else _read(root / name), root):
            names = unique_stems([path for path in first if path in listed], root)
            return name.rpartition("/")[2], names, _by_number(names, listed)
    return "", {path: _case_of(path) for path in first}, []


def _by_number(names: Mapping[Path, str], folds: Mapping[Path, int | None]) -> list[list[str]]:
    numbers = sorted({fold for path in names if (fold := folds.get(path)) is not None})
    return [list(dict.fromkeys(names[path] for path in names if folds.get(path) == number)) for number in numbers]


def _without_label(source: Source, choice: Choice) -> Source:
    return replace(source, label=None, readers={}, problem="" if choice.with_unlabelled else NO_LABEL)


def _splits(path: Path) -> list[list[str]]:
    try:
        return [] if path.is_symlink() else nnunet_splits(path)
    except ManifestError:
        return []


def _listed(content: Mapping[str, Any], root: Path) -> dict[Path, int | None]:
    """Image file to fold, of MONAI's or the decathlon's list or of COCO; none for other files."""
    if is_coco(content):
        return {
            one: _number(entry.get("fold"))
            for entry in content["images"]
            if isinstance(entry, dict) and isinstance(entry.get("file_name"), str)
            for one in (root / entry["file_name"], root / "images" / entry["file_name"])
        }
    listed: dict[Path, int | None] = {}
    for part in ("training", "validation", "test"):
        for entry in content.get(part, []) if isinstance(content.get(part), list) else []:
            told = entry if isinstance(entry, dict) else {"image": entry}
            image = told.get("image")
            first = image[0] if isinstance(image, list) and image else image
            if isinstance(first, str):
                listed[root / first] = _number(told.get("fold"))
    return listed


def _unlabelled(content: Mapping[str, Any], root: Path) -> set[Path]:
    """Pictures of a COCO file that `medseg.data.convert` marks as not labelled, instead of as without lesion."""
    if not is_coco(content):
        return set()
    marked = [one for one in content["images"] if isinstance(one, dict) and one.get("unlabelled") is True]
    return {root / one["file_name"] for one in marked if isinstance(one.get("file_name"), str)}


def _number(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1000 else None


def _case_of(path: Path) -> str:
    """The case that a file of nnU-Net belongs to, its name without the channel's number."""
    stem = stem_of(path)
    match = _CHANNEL.fullmatch(stem)
    return match["case"] if match is not None else stem


def _card(sidecar: Mapping[str, Any]) -> Card | None:
    try:
        return Card.model_validate(sidecar["card"]) if "card" in sidecar else None
    except (ValidationError, MedsegError):
        return None


def _read(path: Path) -> dict[str, Any]:
    return {} if path.is_symlink() else read_object(path) or {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
