"""BIDS data set: a folder a patient (and session), the label maps as a derivative.

Layout of the Brain Imaging Data Structure 1.10: ``sub-P/anat/sub-P_T1w.nii.gz`` (or ``pet/..._pet``, and ``ct/..._ct``
as BIDS extension proposal 24 has it), ``participants.tsv`` with a column ``fold``, and
``derivatives/labels/sub-P/anat/sub-P_..._desc-reference_dseg.nii.gz`` with its look-up table. BIDS names the contrast
of an MR image (T1w, T2w, FLAIR, ...): it is taken from the channel's name, and nothing is guessed.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import ValidationError

from medseg.data.cases import read_case_image, read_case_label
from medseg.data.exchange import ForeignCase, write_image, write_json, write_text
from medseg.data.manifest import Card, Case, LabelInfo, Manifest
from medseg.errors import ManifestError, RequestError

__all__ = ["BIDS_LABEL", "bids_cases", "bids_folds", "bids_parts", "export_bids"]

_CONTRASTS: Final = {
    "t1": "T1w", "t1w": "T1w", "t1c": "ce-contrast_T1w", "t1ce": "ce-contrast_T1w", "t1gd": "ce-contrast_T1w",
    "t2": "T2w", "t2w": "T2w", "flair": "FLAIR", "pd": "PDw", "pdw": "PDw", "t2star": "T2starw", "swi": "SWI",
    "angio": "angio",
}  # fmt: skip
_DIRECTORY: Final = {"MR": "anat", "PT": "pet", "CT": "ct"}
_VERSION: Final = "1.10.0"
BIDS_LABEL: Final = re.compile(r"_(?:dseg|mask)\.nii(?:\.gz)?$")
"""End of a label map's name among the derivatives."""


def export_bids(
    manifest: Manifest, folder: Path, *, fold_of: Mapping[str, int], progress: Callable[[], None] | None
) -> dict[str, str]:
    """Write images, label maps and tables.

    Returns:
        Case id to the name there, ``sub-P`` or ``sub-P_ses-01``.

    Raises:
        RequestError: The modality or a channel's contrast has no place in BIDS, or two ids become one.
        DataError: A case cannot be read.
    """
    suffixes = _suffixes(manifest)
    stems = _stems(manifest.cases)
    for case in manifest.cases:
        _export_case(case, manifest, folder, stem=stems[case.case], suffixes=suffixes)
        if progress is not None:
            progress()
    described = {"Name": manifest.card.title, "BIDSVersion": _VERSION, "DatasetType": "raw"}
    write_json(folder / "dataset_description.json", described | {"License": manifest.card.licence})
    derived = {"Name": f"{manifest.card.title}: label maps", "BIDSVersion": _VERSION, "DatasetType": "derivative"}
    generated = {"GeneratedBy": [{"Name": "medseg"}], "SourceDatasets": [{"URL": "../.."}]}
    write_json(folder / "derivatives" / "labels" / "dataset_description.json", derived | generated)
    write_text(folder / "README", f"{manifest.card.title}\n\n{manifest.card.provenance}\n")
    write_text(folder / ".bidsignore", "medseg.json\n**/ct/\n")
    _write_tables(manifest, folder, stems, fold_of)
    return stems


def bids_cases(root: Path, description: Mapping[str, Any]) -> tuple[list[ForeignCase], Card]:
    """The cases of a BIDS data set (a session each) and its card.

    Images are those under ``anat``, ``pet`` or ``ct`` with the endings that every session has; the label map is the one
    ``_dseg`` or ``_mask`` of the same session below ``derivatives``.

    Raises:
        ManifestError: There is no image, or a session has several label maps.
    """
    sessions: defaultdict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(p for directory in _DIRECTORY.values() for p in root.glob(f"sub-*/**/{directory}/*.nii*")):
        stem, ending = bids_parts(path)
        sessions[stem][ending] = path
    if not sessions:
        raise ManifestError("expected images sub-*/anat, pet or ct/*.nii.gz in the BIDS folder; found none")
    counts = Counter(ending for images in sessions.values() for ending in images)
    common = sorted(ending for ending, count in counts.items() if count == len(sessions))
    if not common:
        raise ManifestError("expected a kind of image that every session has; found none. Take the others out")
    labels: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(p for p in (root / "derivatives").glob("**/*.nii*") if BIDS_LABEL.search(p.name)):
        labels[bids_parts(path)[0]].append(path)
    several = sum(len(paths) > 1 for paths in labels.values())
    if several:
        raise ManifestError(f"{several} sessions have several label maps below derivatives; leave one for each")
    folds = bids_folds(root)
    cases = []
    for stem, images in sorted(sessions.items()):
        patient = stem.partition("_")[0].removeprefix("sub-")
        ordered = tuple(images[ending] for ending in common)
        cases.append(ForeignCase(stem, ordered, next(iter(labels[stem]), None), folds.get(patient), patient))
    return cases, _card(root, description, common)


def _suffixes(manifest: Manifest) -> list[str]:
    """What names the contrast of each channel: the end of the file's name."""
    modalities = {case.modality for case in manifest.cases}
    if len(modalities) > 1 or not modalities <= set(_DIRECTORY):
        raise RequestError(f"BIDS: expected one modality of {', '.join(_DIRECTORY)} in the manifest; found others")
    modality = modalities.pop()
    channels = manifest.card.channels
    if modality != "MR":
        return (
            [_DIRECTORY[modality]]
            if len(channels) == 1
            else [f"acq-{_plain(c)}_{_DIRECTORY[modality]}" for c in channels]
        )
    found = [_CONTRASTS.get(_plain(channel).lower(), "") for channel in channels]
    if not all(found):
        raise RequestError(
            "BIDS names the contrast of an MR image; name the channels so in the card: "
            f"{', '.join(sorted(set(_CONTRASTS)))}"
        )
    twice = Counter(found)
    return [
        f"acq-{_plain(c)}_{suffix}" if twice[suffix] > 1 else suffix for c, suffix in zip(channels, found, strict=True)
    ]


def _stems(cases: Sequence[Case]) -> dict[str, str]:
    """Case id to ``sub-P`` or, where a patient has several cases, ``sub-P_ses-01``."""
    members: defaultdict[str, list[str]] = defaultdict(list)
    for case in cases:
        members[case.patient].append(case.case)
    names = {patient: _plain(patient) for patient in members}
    if len(set(names.values())) < len(names) or not all(names.values()):
        raise RequestError("BIDS ids are letters and digits only, and two patients would become one; rename a patient")
    stems = {}
    for patient, ids in members.items():
        for number, name in enumerate(ids, start=1):
            stems[name] = f"sub-{names[patient]}" + (f"_ses-{number:02d}" if len(ids) > 1 else "")
    return stems


def _export_case(case: Case, manifest: Manifest, folder: Path, *, stem: str, suffixes: Sequence[str]) -> None:
    card = manifest.card
    volume = read_case_image(case, channels=card.channels)
    directory = Path(*stem.split("_")) / _DIRECTORY[case.modality]
    for array, suffix in zip(volume.array, suffixes, strict=True):
        write_image(array, volume.affine, folder / directory / f"{stem}_{suffix}.nii.gz")
    if case.label is not None:
        label = read_case_label(case, card=card, geometry=volume.geometry, ignore_label=card.ignore)
        target = folder / "derivatives" / "labels" / directory / f"{stem}_desc-reference_dseg.nii.gz"
        write_image(label.astype(np.uint8), volume.affine, target)


def _write_tables(manifest: Manifest, folder: Path, stems: Mapping[str, str], fold_of: Mapping[str, int]) -> None:
    rows = [("index", "name"), *((str(value), name) for value, name in manifest.card.label_names().items())]
    rows += [(str(manifest.card.ignore), "ignore")] if manifest.card.ignore is not None else []
    write_text(folder / "derivatives" / "labels" / "desc-reference_dseg.tsv", _tsv(rows))
    columns = list(dict.fromkeys(name for case in manifest.cases for name in case.covariates))
    people: dict[str, list[str]] = {}
    for case in manifest.cases:
        facts = [case.covariates.get(name, "") or "n/a" for name in columns]
        fold = str(fold_of[case.case]) if case.case in fold_of else "n/a"
        people.setdefault(stems[case.case].partition("_")[0], [fold, case.site or "n/a", *facts])
    header = ["participant_id", "fold", "site", *columns]
    write_text(folder / "participants.tsv", _tsv([header, *([name, *row] for name, row in people.items())]))


def _tsv(rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter="\t", lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", name)


def bids_parts(path: Path) -> tuple[str, str]:
    """``sub-P_ses-01`` and what follows, without the ending, of a file's name."""
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    parts = name.split("_")
    length = 2 if len(parts) > 1 and parts[1].startswith("ses-") else 1
    return "_".join(parts[:length]), "_".join(parts[length:])


def bids_folds(root: Path) -> dict[str, int]:
    """Patient to fold, of a column ``fold`` in ``participants.tsv``; none without it."""
    path = root / "participants.tsv"
    if not path.is_file():
        return {}
    rows = csv.DictReader(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), delimiter="\t")
    found = {str(row.get("participant_id")).removeprefix("sub-"): str(row.get("fold") or "") for row in rows}
    return {patient: int(fold) for patient, fold in found.items() if fold.isdecimal() and len(fold) < 4}


def _card(root: Path, description: Mapping[str, Any], endings: Sequence[str]) -> Card:
    labels: dict[int, LabelInfo] = {}
    ignore = None
    table = next(iter(sorted((root / "derivatives").glob("**/*dseg.tsv"))), None)
    try:
        for row in csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t") if table else ():
            value, name = int(row["index"]), str(row["name"])
            if name == "ignore":
                ignore = value
            elif value:
                labels[value] = LabelInfo(name=name)
        channels = tuple(re.sub(r"[^A-Za-z0-9_-]", "_", ending) for ending in endings)
        modality = {"pet": "PT", "ct": "CT"}.get(endings[0].rpartition("_")[2], "MR")
        named = labels or {1: LabelInfo(name="lesion")}
        facts = {"channels": channels, "labels": named, "ignore": ignore, "modality": modality}
        return Card.model_validate({"title": str(description.get("Name", "data set")), **facts})
    except (ValidationError, ValueError, KeyError, TypeError):
        raise ManifestError("BIDS: the table of labels (dseg.tsv) or an image's name cannot be taken over") from None
