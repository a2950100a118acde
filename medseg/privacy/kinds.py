"""Kinds: what each input is, told by how it begins; names are often wrong or have no suffix at all."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from medseg.errors import DataError
from medseg.privacy.dicom import is_dicom
from medseg.privacy.inputs import head_of, problem_of, read_input
from medseg.privacy.pairs import JOINED, MOST_HEADER_BYTES, data_files
from medseg.privacy.places import split_name

__all__ = ["KINDS", "PART", "Kinds", "kinds_of", "suffix_of"]

PART: Final = "part"
"""Kind of a file that holds the voxels of a header in another one."""
KINDS: Final = {
    ".jpg": "photograph", ".jpeg": "photograph", ".png": "photograph", ".tif": "photograph", ".tiff": "photograph",
    ".bmp": "photograph", ".webp": "photograph", ".nii": "volume", ".nii.gz": "volume", ".nrrd": "volume",
    ".mha": "volume", ".csv": "table", ".tsv": "table", ".json": "table",
}  # fmt: skip
"""What a file is, by its suffix, where it isn't DICOM."""
_HEAD_BYTES = 352
_STACK_PART = re.compile(r"(?i)geometry\.json|slice_\d+\.png")
_VOLUME_MARK = b"world = affine @"
"""How COCO of a volume says where its slices lie, as medseg writes it."""
_AS_NIFTI = "save the label map as NIfTI, and de-identify that"
_UNKNOWN = (
    "expected DICOM, an image (JPEG, PNG, TIFF, BMP, WebP), a volume (NIfTI, NRRD, MHA, MHD), CSV, TSV, JSON or a zip "
    "archive of such files, found another file"
)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0")
_TIFF_SUFFIXES = frozenset((".tf8", ".btf", ".svs", ".scn", ".ndpi", ".gtiff"))
"""Of formats whose first page is the picture; that of cameras' raw formats, which begin like TIFF, is a preview."""
_BMP_HEADERS = frozenset((12, 40, 52, 56, 64, 108, 124))


@dataclass(frozen=True)
class Kinds:
    """What the inputs are, by running number.

    Attributes:
        kinds: ``dicom``, ``photograph``, ``volume``, ``table`` or `PART`; for others the reason why they are refused.
        suffixes: What the copy's name ends in; not of DICOM.
        parts: Running numbers of the files that hold a header's voxels.
    """

    kinds: dict[int, str] = field(default_factory=dict)
    suffixes: dict[int, str] = field(default_factory=dict)
    parts: dict[int, tuple[int, ...]] = field(default_factory=dict)


def kinds_of(source: Path, files: Sequence[str]) -> Kinds:
    """Tell what each input is, by its first bytes.

    Args:
        source: The source folder.
        files: Names of all inputs (`medseg.privacy.inputs.input_files`), by running number less 1.
    """
    found = Kinds()
    numbers = {name: number for number, name in enumerate(files, start=1)}
    for name, number in numbers.items():
        try:
            problem = problem_of(source, name) or _label_problem(source, name, numbers)
            head = b"" if problem else head_of(source, name, _HEAD_BYTES)
            if problem or is_dicom(head):
                found.kinds[number] = problem or "dicom"
                continue
            found.suffixes[number] = suffix_of(name, head)
            if _own_suffix(name) in JOINED and not found.suffixes[number]:
                header = head_of(source, name, MOST_HEADER_BYTES)
                found.parts[number] = tuple(numbers[part] for part in data_files(name, header, numbers.keys()))
                found.suffixes[number] = JOINED[_own_suffix(name)]
            found.kinds[number] = KINDS.get(found.suffixes[number], _UNKNOWN)
        except OSError:
            found.kinds[number] = "the file cannot be read"
        except DataError as error:
            found.kinds[number] = str(error)
    for parts in found.parts.values():
        found.kinds.update({part: PART for part in parts if found.kinds[part] == _UNKNOWN})
    return found


def _label_problem(source: Path, name: str, names: Mapping[str, int]) -> str:
    """Why a file of a volume's label map can't be taken; empty for all others.

    Each of its files would be cleaned for itself: the slices would lose their order, and the outlines their place.
    """
    folder, _, own = f"{source.name}/{name}".rpartition("/")
    if folder.lower().endswith(".slices") and _STACK_PART.fullmatch(own) and _in_folder(name, "geometry.json") in names:
        return f"a part of a label stack, whose slices would lose their order; {_AS_NIFTI}"
    if name.lower().endswith(".coco.json") and _VOLUME_MARK in read_input(source, name):
        return f"COCO outlines of a volume, which would lose their place; {_AS_NIFTI}"
    return ""


def _in_folder(name: str, other: str) -> str:
    """The name of another file in the same folder."""
    return name[: name.rfind("/") + 1] + other


def suffix_of(name: str, head: bytes) -> str:
    r"""The suffix that a file should have; the one that it has, if it begins like nothing that is known here.

    Args:
        name: Its name or path.
        head: Its first 352 bytes, or all of them.

    Example:
        >>> suffix_of("scan.png", b"\xff\xd8\xff\xe0")
        '.jpg'
    """
    last = name.rsplit("/", 1)[-1]
    named = split_name(last)[2]
    if head.startswith(b"\xff\xd8\xff"):
        return named if named == ".jpeg" else ".jpg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return ".png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[:2] == b"BM" and len(head) > 18 and struct.unpack_from("<I", head, 14)[0] in _BMP_HEADERS:
        return ".bmp"
    if head.startswith(_TIFF) and (named or not _own_suffix(last) or _own_suffix(last) in _TIFF_SUFFIXES):
        return named if named == ".tiff" else ".tif"
    if head.startswith(b"NRRD000") and _own_suffix(last) != ".nhdr":
        return ".nrrd"
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return ".nii"
    if head.startswith(b"\x1f\x8b") and named == ".nii":
        return ".nii.gz"
    return named


def _own_suffix(name: str) -> str:
    """What stands behind the last point, if it looks like a suffix."""
    match = re.search(r"\.[A-Za-z][A-Za-z0-9]{0,4}\Z", name)
    return match.group().lower() if match else ""
