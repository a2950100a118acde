"""Manifest: one CSV row a case and one YAML card a data set, the only way the code learns that a file exists.

``NAME.csv`` has the columns ``case, patient, image, label, modality, site, sha256, spacing`` and any covariates;
several channels in files of their own have the columns ``image.<channel>`` instead of ``image``; label maps of several
annotators have the columns ``label.<annotator>`` beside ``label``, which holds what is to be learned. Paths are
relative to the manifest. ``NAME.yaml`` beside it is the card. Both hold pseudonyms only.
"""

from __future__ import annotations

import csv
import difflib
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from medseg.data.card import NAME_PATTERN, Card, CodedConcept, Deidentification, LabelInfo, read_card, write_card
from medseg.data.files import atomic_write, sha256_of
from medseg.errors import ManifestError
from medseg.types import Spacing

__all__ = [
    "Card",
    "Case",
    "CodedConcept",
    "Deidentification",
    "LabelInfo",
    "Manifest",
    "images_sha256",
    "read_card",
    "read_manifest",
    "write_manifest",
]

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What a case id and a patient id may look like."""

_SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
_FIXED = ("case", "patient", "image", "label", "modality", "site", "sha256", "spacing", "label_sha256")


@dataclass(frozen=True)
class Case:
    """One image or volume with its label: one row of a manifest.

    Attributes:
        case: Pseudonym of the case, unique in the manifest.
        patient: Pseudonym of the patient; cases of one patient never straddle a split.
        images: Channel name to absolute path. One file that holds all channels of the card stands under ``image``.
        label: Absolute path of the label map, or None for an unlabelled case.
        modality: ``CT``, ``MR``, ``PT``, ``DERMOSCOPY`` or ``OTHER``.
        site: Pseudonym of the hospital or scanner; empty when not known.
        sha256: `images_sha256` of the images; empty when not known.
        spacing: Voxel size in mm along each spatial axis, or None when not known.
        covariates: Further columns, name to text.
        label_sha256: SHA-256 of the label's file; empty when not known.
        readers: Annotator to the absolute path of their label map, where several outlined the image.
    """

    case: str
    patient: str
    images: Mapping[str, Path]
    label: Path | None = None
    modality: str = "OTHER"
    site: str = ""
    sha256: str = ""
    spacing: Spacing | None = None
    covariates: Mapping[str, str] = field(default_factory=dict)
    label_sha256: str = ""
    readers: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The cases of a data set and its card.

    Attributes:
        path: Path of the CSV.
        cases: In the order of the rows.
        card: The card beside the CSV.
    """

    path: Path
    cases: tuple[Case, ...]
    card: Card

    @property
    def folds_path(self) -> Path:
        """``NAME.folds.csv`` beside the manifest."""
        return self.path.with_suffix(".folds.csv")

    def select(self, case_ids: Iterable[str]) -> tuple[Case, ...]:
        """The cases with these ids, in the order asked for.

        Raises:
            ManifestError: An id isn't in the manifest.
        """
        known = {case.case: case for case in self.cases}
        wanted = list(case_ids)
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise ManifestError(f"{len(unknown)} case(s) are not in the manifest, the first is {unknown[0]!r}")
        return tuple(known[name] for name in wanted)

    def digest(self) -> str:
        """SHA-256 over the rows in canonical order, the channels and the labels.

        Where a row has a checksum the path doesn't count, so that a data set that is moved keeps its digest.
        """
        rows = [_canonical(case, self.path.parent) for case in sorted(self.cases, key=lambda case: case.case)]
        card = {"channels": self.card.channels, "labels": self.card.label_names()}
        text = json.dumps([card, rows], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def images_sha256(images: Mapping[str, Path]) -> str:
    """SHA-256 of a case's images: of the file when there is one, else of ``channel:digest`` lines in channel order."""
    digests = {channel: sha256_of(path) for channel, path in images.items()}
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256("".join(f"{c}:{d}\n" for c, d in sorted(digests.items())).encode()).hexdigest()


def read_manifest(path: str | Path, *, files_must_exist: bool = True) -> Manifest:
    """Read a manifest and the card beside it.

    Args:
        path: The CSV, UTF-8, comma separated.
        files_must_exist: Whether a missing image or label file is an error.

    Raises:
        ManifestError: A row is wrong; the message names its number (the header is row 1) and the column. Or a file is
            missing; the message names the case. Neither a path nor a value is ever repeated.
    """
    path = Path(path).absolute()
    header, rows = _read_rows(path)
    card = read_card(path.with_suffix(".yaml"))
    image_columns = _image_columns(header, card)
    cases: list[Case] = []
    first_row: dict[str, int] = {}
    for number, row in rows:
        case = _parse_row(row, number=number, image_columns=image_columns, header=header, card=card, folder=path.parent)
        if case.case in first_row:
            raise ManifestError(f"row {number}, column 'case': {case.case!r} stands in row {first_row[case.case]} too")
        first_row[case.case] = number
        if files_must_exist:
            _require_files(case)
        cases.append(case)
    if not cases:
        raise ManifestError("the manifest has a header but no case; `medseg import SRC DIR` writes one")
    return Manifest(path=path, cases=tuple(cases), card=card)


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Write ``NAME.csv`` and ``NAME.yaml``, each atomically; paths become relative to the new place.

    Raises:
        ManifestError: A file lies outside the folder and the card's `files_outside` is not set, or an id is wrong.
    """
    path = Path(path).absolute()
    several = any(set(case.images) != set(manifest.cases[0].images) or len(case.images) > 1 for case in manifest.cases)
    channels = [f"image.{name}" for name in manifest.card.channels] if several else ["image"]
    covariates = list(dict.fromkeys(name for case in manifest.cases for name in case.covariates))
    with_label_sums = ["label_sha256"] if any(case.label_sha256 for case in manifest.cases) else []
    readers = [f"label.{name}" for name in sorted({name for case in manifest.cases for name in case.readers})]
    header = ["case", "patient", *channels, "label", *readers, "modality", "site", "sha256", "spacing"]
    header += with_label_sums
    rows = [
        _row_of(case, folder=path.parent, card=manifest.card, several=several, header=header) for case in manifest.cases
    ]
    _require_unique_names([*header, *covariates])
    write_card(manifest.card, path.with_suffix(".yaml"))
    with atomic_write(path, mode="w") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*header, *covariates])
        for case, row in zip(manifest.cases, rows, strict=True):
            writer.writerow([*row, *(case.covariates.get(name, "") for name in covariates)])


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _require_header(header)
            rows = []
            for number, fields in enumerate(reader, start=2):
                if not any(text.strip() for text in fields):
                    continue
                if len(fields) != len(header):
                    raise ManifestError(f"row {number}: expected {len(header)} columns, found {len(fields)}")
                rows.append((number, {name: text.strip() for name, text in zip(header, fields, strict=True)}))
    except FileNotFoundError:
        raise ManifestError("the manifest does not exist; `medseg import SRC DIR` writes one") from None
    except IsADirectoryError:
        raise ManifestError("expected a manifest CSV, found a folder; give the path of the file") from None
    except (UnicodeDecodeError, csv.Error):
        raise ManifestError("the manifest is not a comma-separated UTF-8 text") from None
    return header, rows


def _require_header(header: Sequence[str]) -> None:
    if len(header) == 1 and ";" in header[0]:
        raise ManifestError("row 1: columns are separated by ';'; save the manifest with commas")
    _require_unique_names(header)
    if {"repeat", "fold"} <= set(header):
        raise ManifestError("row 1: these are the folds of a manifest; give the manifest itself, NAME.csv beside them")
    for name in ("case", "patient"):
        if name not in header:
            raise ManifestError(f"row 1: column {name!r} is missing; a manifest needs case, patient and image")
    # As a covariate, a misspelt column would go unnoticed: every case would count as one without a label.
    for name in ("label", "modality"):
        for near in difflib.get_close_matches(name, header, n=1, cutoff=0.75) if name not in header else ():
            raise ManifestError(f"row 1: column {near!r} is unknown; did you mean {name!r}? rename it")


def _require_unique_names(header: Sequence[str]) -> None:
    for position, name in enumerate(header, start=1):
        if not NAME_PATTERN.fullmatch(name.removeprefix("image.").removeprefix("label.")):
            raise ManifestError(f"row 1, column {position}: expected a name of letters, digits, blanks, _ or -")
        if header.count(name) > 1:
            raise ManifestError(f"row 1: column {name!r} stands there twice")


def _image_columns(header: Sequence[str], card: Card) -> dict[str, str]:
    """Column name to channel name."""
    several = [name for name in header if name.startswith("image.")]
    if "image" in header and several:
        raise ManifestError("row 1: found both 'image' and 'image.<channel>'; use one of the two forms")
    if "image" in header:
        return {"image": card.channels[0] if len(card.channels) == 1 else "image"}
    found = {name: name.removeprefix("image.") for name in several}
    if set(found.values()) != set(card.channels):
        expected = ", ".join(f"image.{name}" for name in card.channels)
        raise ManifestError(f"row 1: expected the column image, or one for each channel of the card: {expected}")
    return {f"image.{name}": name for name in card.channels}


def _parse_row(
    row: Mapping[str, str],
    *,
    number: int,
    image_columns: Mapping[str, str],
    header: Sequence[str],
    card: Card,
    folder: Path,
) -> Case:
    for column in ("case", "patient"):
        if not ID_PATTERN.fullmatch(row[column]):
            raise ManifestError(f"row {number}, column {column!r}: expected 1 to 64 letters, digits, _ or -")
    images = {}
    for column, channel in image_columns.items():
        if not row[column]:
            raise ManifestError(f"row {number}, column {column!r}: the case has no image")
        images[channel] = _resolve(row[column], folder=folder, card=card, place=f"row {number}, column {column!r}")
    label = row.get("label", "")
    place = f"row {number}, column 'label'"
    readers = [name for name in header if name.startswith("label.")]
    covariates = [name for name in header if name not in (*_FIXED, *readers) and name not in image_columns]
    return Case(
        case=row["case"],
        patient=row["patient"],
        images=images,
        label=_resolve(label, folder=folder, card=card, place=place) if label else None,
        modality=_parse_modality(row.get("modality", "") or card.modality, number),
        site=row.get("site", ""),
        sha256=_parse_sha256(row.get("sha256", ""), number, "sha256"),
        spacing=_parse_spacing(row.get("spacing", ""), number),
        covariates={name: row[name] for name in covariates},
        label_sha256=_parse_sha256(row.get("label_sha256", ""), number, "label_sha256"),
        readers={
            name.removeprefix("label."): _resolve(row[name], folder=folder, card=card, place=f"row {number}, {name!r}")
            for name in readers
            if row[name]
        },
    )


def _resolve(text: str, *, folder: Path, card: Card, place: str) -> Path:
    pure = PurePosixPath(text)
    normal = os.path.normpath(text)
    if "\0" in text or normal == ".":
        raise ManifestError(f"{place}: expected a file name")
    outside = pure.is_absolute() or Path(text).is_absolute() or normal.split(os.sep)[0] == ".."
    if outside and not card.files_outside:
        raise ManifestError(
            f"{place}: expected a path inside the manifest's folder; move the file there, or write "
            "`files_outside: true` into the card"
        )
    return Path(os.path.normpath(folder / text))


def _parse_modality(text: str, number: int) -> str:
    allowed = ("CT", "MR", "PT", "DERMOSCOPY", "OTHER")
    if text not in allowed:
        raise ManifestError(f"row {number}, column 'modality': expected one of {', '.join(allowed)}")
    return text


def _parse_sha256(text: str, number: int, column: str) -> str:
    if text and not _SHA256_PATTERN.fullmatch(text.lower()):
        raise ManifestError(f"row {number}, column {column!r}: expected 64 hexadecimal digits or nothing")
    return text.lower()


def _parse_spacing(text: str, number: int) -> Spacing | None:
    if not text:
        return None
    try:
        spacing = tuple(float(part) for part in text.split("x"))
    except ValueError:
        spacing = ()
    if len(spacing) not in (2, 3) or not all(0 < value < float("inf") for value in spacing):
        raise ManifestError(f"row {number}, column 'spacing': expected 2 or 3 lengths in mm, as in 0.9x0.9x3")
    return spacing


def _require_files(case: Case) -> None:
    for channel, file in case.images.items():
        if not file.exists():
            which = "its image" if len(case.images) == 1 else f"its image of channel {channel!r}"
            raise ManifestError(f"case {case.case}: {which} is missing; put the file back or take the row out")
    if case.label is not None and not case.label.exists():
        raise ManifestError(f"case {case.case}: its label is missing; put the file back or empty the column")
    for reader, file in case.readers.items():
        if not file.exists():
            raise ManifestError(f"case {case.case}: the label of {reader!r} is missing; put it back or empty it")


def _row_of(case: Case, *, folder: Path, card: Card, several: bool, header: Sequence[str]) -> list[str]:
    if not ID_PATTERN.fullmatch(case.case) or not ID_PATTERN.fullmatch(case.patient):
        raise ManifestError("a case id or a patient id is not made of 1 to 64 letters, digits, _ or -")
    if several and set(case.images) != set(card.channels):
        raise ManifestError(f"case {case.case}: expected an image for each of the {len(card.channels)} channels")
    images = [case.images[name] for name in card.channels] if several else list(case.images.values())
    row = [case.case, case.patient]
    row += [_relative(image, folder=folder, card=card, case=case.case) for image in images]
    row.append("" if case.label is None else _relative(case.label, folder=folder, card=card, case=case.case))
    for reader in (name.removeprefix("label.") for name in header if name.startswith("label.")):
        drawn = case.readers.get(reader)
        row.append("" if drawn is None else _relative(drawn, folder=folder, card=card, case=case.case))
    spacing = "" if case.spacing is None else "x".join(f"{value:.9g}" for value in case.spacing)
    row += [case.modality, case.site, case.sha256, spacing]
    return row if "label_sha256" not in header else [*row, case.label_sha256]


def _relative(path: Path, *, folder: Path, card: Card, case: str) -> str:
    relative = os.path.relpath(path, folder)
    if relative.split(os.sep)[0] == ".." and not card.files_outside:
        raise ManifestError(
            f"case {case}: a file lies outside the manifest's folder; write the manifest beside the files, or set "
            "`files_outside: true` in the card"
        )
    return Path(relative).as_posix()


def _canonical(case: Case, folder: Path) -> dict[str, Any]:
    def content(path: Path | None, checksum: str) -> str:
        return "" if path is None else checksum or f"path:{Path(os.path.relpath(path, folder)).as_posix()}"

    drawn = {name: content(path, "") for name, path in case.readers.items()}
    return {
        **({"readers": drawn} if drawn else {}),
        "case": case.case,
        "patient": case.patient,
        "images": {c: case.sha256 or content(p, "") for c, p in case.images.items()},
        "label": content(case.label, case.label_sha256),
        "modality": case.modality,
        "site": case.site,
        "covariates": dict(case.covariates),
    }
