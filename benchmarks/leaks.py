"""Leaks, usable files and references after de-identification: medseg, dicom-anonymizer and deid on the hostile corpora.

usage: python benchmarks/leaks.py        (pip install -r benchmarks/requirements.txt first)

The corpora are made from seeds (tests/privacy/corpus), so that the counts are the same each time.
Each tool runs as its documentation says: dicom-anonymizer's `anonymize_dicom_file` with its default table, deid's
`replace_identifiers` with its default recipe; both get the DICOM files only. A file is usable if pydicom reads the copy
and its pixels are those of the source; a leak is a planted identity found in a copy's bytes, in what gzip, zlib and
deflate streams in it hold, in its attributes decoded by their character set, or in its name.
"""

from __future__ import annotations

import io
import logging
import random
import re
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from medseg.privacy.deidentify import deidentify_tree, input_files
from medseg.privacy.dicom import is_dicom
from medseg.privacy.profile import load_profile
from tests.privacy.corpus import CT, PT, Planted, Who, image, save
from tests.privacy.corpus.corpora import make_corpus, make_other_corpus

_KEY = bytes(range(32))
_PAIRS = 20


@dataclass(frozen=True)
class Copy:
    """A copy that a tool made: its path below the output folder and its bytes."""

    place: str
    data: bytes


Tool = Callable[[Path, Path], Mapping[str, Copy]]
"""Source folder and output folder in; copies by the name of their source out."""


def medseg(source: Path, out: Path) -> dict[str, Copy]:
    """Our own, profile research; text in pixels is not looked for, as the other two don't either."""
    profile = load_profile("research").model_copy(update={"clean_pixels": False, "photographs": "pass"})
    report = deidentify_tree(source, out, profile=profile, key=_KEY)
    names = input_files(source)
    return {names[o.number - 1].partition("\0")[0]: Copy(o.place, (out / o.place).read_bytes()) for o in report.written}


def dicom_anonymizer(source: Path, out: Path) -> dict[str, Copy]:
    """dicom-anonymizer, file by file; a file that raises has no copy."""
    from dicomanonymizer import anonymize_dicom_file

    def one(path: Path, target: Path) -> None:
        anonymize_dicom_file(str(path), str(target))

    return _each(source, out, one)


def deid(source: Path, out: Path) -> dict[str, Copy]:
    """Deid with its default recipe, file by file; a file that raises has no copy."""
    from deid.config import DeidRecipe
    from deid.dicom import get_identifiers, replace_identifiers

    recipe = DeidRecipe()

    def one(path: Path, target: Path) -> None:
        ids = get_identifiers([str(path)])
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_identifiers(
            dicom_files=[str(path)], deid=recipe, ids=ids, save=True, overwrite=True, output_folder=str(target.parent)
        )

    return _each(source, out, one)


def _each(source: Path, out: Path, one: Callable[[Path, Path], None]) -> dict[str, Copy]:
    copies = {}
    for name in input_files(source):
        path = source / name.partition("\0")[0]
        if "\0" in name or not is_dicom(path.read_bytes()[:132]):
            continue
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            one(path, target)
        except (Exception, SystemExit):
            # Whatever a tool does on a hostile file, also that it ends the program: the file has no copy.
            continue
        if target.is_file():
            copies[name] = Copy(name, target.read_bytes())
    return copies


def leaks_in(copy: Copy, planted: Planted) -> int:
    """How many of a file's identities its copy holds."""
    text = b"\n".join((copy.place.encode("utf-8", "replace"), *_layers(copy.data))).lower()
    return sum(any(form in text for form in _forms(identity)) for identity in planted.identities)


def _layers(data: bytes) -> list[bytes]:
    found = [data]
    for match in re.finditer(rb"\x78[\x01\x5e\x9c\xda]|\x1f\x8b\x08", data):
        try:
            found.append(zlib.decompressobj(47).decompress(data[match.start() :]))
        except zlib.error:
            continue
    if data[128:132] == b"DICM":
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            found.append(f"{dataset.file_meta}\n{dataset}".encode("utf-8", "replace"))
        except Exception:
            # Nothing but its bytes can be read of a copy that pydicom can't parse.
            return found
    return found


def _forms(identity: str) -> set[bytes]:
    low = identity.lower()
    made = {low.encode(name) for name in ("utf-8", "utf-16-le", "utf-16-be", "gb18030")}
    made |= {low.encode(name, "ignore") for name in ("latin-1", "iso8859-2", "iso2022_jp", "euc_kr", "shift_jis")}
    return {form for form in made if len(form) >= 4}


def is_usable(source: bytes, copy: Copy) -> bool:
    """Whether a copy reads as its source does: a DICOM file with its class, its UID and the same pixels."""
    if source[128:132] != b"DICM" and not is_dicom(source[:132]):
        return bool(copy.data)
    try:
        before, after = (pydicom.dcmread(io.BytesIO(data), force=True) for data in (source, copy.data))
        if not after.get("SOPInstanceUID") or after.get("SOPClassUID") != before.get("SOPClassUID"):
            return False
        return "PixelData" not in before or _same_pixels(before, after)
    except Exception:
        # Whatever pydicom or a decoder raises: nobody can use such a copy.
        return False


def _same_pixels(before: Dataset, after: Dataset) -> bool:
    """Whether the copy decodes, and to the values of the source where that one does."""
    found = _pixels(after)
    try:
        wanted = _pixels(before)
    except Exception:
        # A source that no decoder reads has no pixels to compare with.
        return True
    return np.array_equal(wanted, found)


def _pixels(dataset: Dataset) -> np.ndarray:
    """The stored values; bits above Bits Stored, which are no pixels, taken away."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    array = dataset.pixel_array
    return array & ((1 << dataset.BitsStored) - 1) if array.dtype == np.uint16 else array


def make_references(folder: Path) -> None:
    """Pairs of slices of which the second names the first, at the top and in a nested item."""
    draw = random.Random(5)
    for number in range(_PAIRS):
        first, second = image(Who(draw), CT), image(Who(draw), PT)
        second.PatientID, second.StudyInstanceUID = first.PatientID, first.StudyInstanceUID
        second.FrameOfReferenceUID = first.FrameOfReferenceUID
        item, outer = Dataset(), Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, first.SOPInstanceUID
        outer.SeriesInstanceUID, outer.ReferencedInstanceSequence = first.SeriesInstanceUID, [item]
        second.SourceImageSequence, second.ReferencedSeriesSequence = [item], [outer]
        for name, data in (("a", first), ("b", second)):
            path = folder / f"pair{number:02d}" / f"{name}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(save(data))


def references_resolved(source: Path, copies: Mapping[str, Copy]) -> int:
    """Of two references and one shared frame a pair, those that lead to the copy and no longer name the original."""
    resolved = 0
    for number in range(_PAIRS):
        names = [f"pair{number:02d}/{part}.dcm" for part in "ab"]
        if not all(name in copies for name in names):
            continue
        first, second = (pydicom.dcmread(io.BytesIO(copies[name].data), force=True) for name in names)
        original = pydicom.dcmread(source / names[0])
        for found, wanted, old in (
            (_at(second, "SourceImageSequence"), first.get("SOPInstanceUID"), original.SOPInstanceUID),
            (_at(second, "ReferencedSeriesSequence"), first.get("SOPInstanceUID"), original.SOPInstanceUID),
            (second.get("FrameOfReferenceUID"), first.get("FrameOfReferenceUID"), original.FrameOfReferenceUID),
        ):
            resolved += bool(found) and found == wanted != old
    return resolved


def _at(dataset: Dataset, sequence: str) -> str | None:
    items = dataset.get(sequence)
    if not items:
        return None
    inner = items[0].get("ReferencedInstanceSequence")
    item = inner[0] if inner else items[0]
    uid = item.get("ReferencedSOPInstanceUID")
    return None if uid is None else str(uid)


def measure(tool: Tool, root: Path, planted: list[Planted]) -> list[str]:
    """One row of the table."""
    copies = tool(root / "src", root / tool.__name__)
    keep = [p for p in planted if p.expect == "written" and is_dicom((root / "src" / p.path).read_bytes()[:132])]
    usable = sum(p.path in copies and is_usable((root / "src" / p.path).read_bytes(), copies[p.path]) for p in keep)
    leaky = [leaks_in(copies[p.path], p) for p in planted if p.path in copies]
    references = tool(root / "refs", root / f"{tool.__name__}_refs")
    return [
        tool.__name__.replace("_", "-"),
        str(len(copies)),
        f"{usable} of {len(keep)}",
        str(sum(leaky)),
        str(sum(map(bool, leaky))),
        f"{references_resolved(root / 'refs', references)} of {3 * _PAIRS}",
    ]


def main() -> None:
    """Print one table."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        planted = [*make_corpus(root / "src"), *make_other_corpus(root / "src")]
        make_references(root / "refs")
        count = sum(len(p.identities) for p in planted)
        rows = [measure(tool, root, planted) for tool in (medseg, dicom_anonymizer, deid)]
    print(f"{len(planted)} files, {count} planted identities")
    print(
        "| tool | copies written | DICOM files usable | identities leaked | files with a leak | references resolved |"
    )
    print("|---|---|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
