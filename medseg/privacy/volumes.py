"""Volumes: NRRD and MetaImage files with a header made anew of geometry and data type; voxels bit for bit."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import ReadError
from medseg.privacy.unfold import DAMAGED, inflated
from medseg.privacy.volume_heads import refuse_head
from medseg.privacy.voxels import (
    NRRD_TEXTS,
    Body,
    nrrd_type,
    nrrd_voxels,
    numbers_of_text,
    without_payload,
)
from medseg.types import Array

__all__ = ["clean_meta_image", "clean_nrrd", "meta_image_array", "meta_image_body", "nrrd_array", "nrrd_body"]


_NUMBERS = r"(?:(?:none|nan|[-+]?(?:\d{1,6}(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,2})?)(?=[\s,()]|\Z)|[\s,()])+"
"""Numbers below a million: a transform of a body has no larger one, a date or a patient's number is one."""
_NRRD_VALUES = {
    "type": r"[a-z0-9_ ]+", "dimension": r"\d+", "sizes": r"[\d ]+", "spacings": _NUMBERS, "space dimension": r"\d+",
    "space": r"[a-zA-Z0-9 -]+", "space directions": _NUMBERS, "space origin": _NUMBERS,
    "kinds": r"[a-zA-Z0-9 -]+", "endian": r"little|big", "encoding": r"raw|gzip|gz|bzip2|bz2|ascii|text|txt|hex",
    "centerings": r"(?:cell|node|none|\?\?\?| )+", "centers": r"(?:cell|node|none|\?\?\?| )+",
}  # fmt: skip
_NRRD_PACKINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}
_NRRD_UNITS = r'(?:"(?:mm|millimet(?:er|re)s?|s|ms|seconds|)"|none|\?\?\?|mm|\s)*'
"""Of lengths, in quotes one an axis; a clean copy states none, which means millimetres."""
_OTHER_UNIT = "expected lengths in mm, which a clean copy is read in; found another unit. Save the volume again in mm"
_NRRD_WORDS = re.compile(
    r"domain|space|time|none|list|vector|scalar|complex|point|covariant-vector|normal|stub|color|3-color|RGB-color|"
    r"RGBA-color|left|right|anterior|posterior|superior|inferior|LPS|RAS|LAS|scanner-xyz|3D-(?:left|right)-handed|-|"
    r"\d-vector|3D-matrix|3D-symmetric-matrix|3D-masked-symmetric-matrix|signed|unsigned|char|short|int|long|float|double|"
    r"u?int(?:8|16|32|64)(?:_t)?|uchar|ushort|uint|longlong|ulonglong|\Z",
)


def clean_nrrd(data: bytes, *, acknowledge_faces: bool = False) -> bytes:
    """An NRRD file with the same voxels and only the header fields of geometry and type.

    Args:
        data: The file.
        acknowledge_faces: Let volumes of a head's size and with voxels below 2.5 mm pass.

    Raises:
        ReadError: The file is damaged, may show a face, keeps its voxels in another file or in an encoding that isn't
            read.
    """
    nrrd = _nrrd(data)
    fields, encoding = nrrd.fields, nrrd.fields["encoding"]
    if encoding in NRRD_TEXTS:
        # The digits of hex are the bytes in the order that the header states; decimal numbers have none.
        fields |= {"endian": fields.get("endian", "little") if encoding == "hex" else "little", "encoding": "gzip"}
    kind = nrrd.kind.newbyteorder(">" if fields.get("endian") == "big" else "<")
    count = nrrd.length // kind.itemsize
    voxels = nrrd_voxels(data[nrrd.start :], encoding, kind, count, nrrd.skipped)[: nrrd.length]
    voxels = without_payload(voxels, kind)
    if len(voxels) < nrrd.length:
        raise ReadError(DAMAGED)
    if not acknowledge_faces:
        refuse_head(*_nrrd_grid(fields), voxels, kind.itemsize)
    fields["encoding"] = "raw" if encoding == "raw" else "gzip"
    text = "\n".join([nrrd.mark, *(f"{name}: {value}" for name, value in fields.items())])
    return text.encode("ascii") + b"\n\n" + (voxels if encoding == "raw" else gzip.compress(voxels, 6, mtime=0))


@dataclass(frozen=True)
class _Nrrd:
    """A header: its first 8 letters, its fields, what is skipped, the type of a sample, how many bytes all have."""

    mark: str
    fields: dict[str, str]
    skipped: dict[str, int]
    start: int
    kind: np.dtype[np.generic]
    length: int


def _nrrd(data: bytes) -> _Nrrd:
    separator = b"\r\n\r\n" if b"\r\n\r\n" in data[:65536] else b"\n\n"
    end = data.find(separator)
    lines = data[: max(end, 0)].decode("latin-1").splitlines()
    if not lines or not lines[0].startswith("NRRD000"):
        raise ReadError(DAMAGED)
    fields, skipped = _nrrd_fields(lines[1:])
    if not {"type", "dimension", "sizes", "encoding"} <= fields.keys():
        raise ReadError(DAMAGED)
    kind = nrrd_type(fields["type"])
    count = int(np.prod([int(n) for n in fields["sizes"].split()], dtype=object))
    return _Nrrd(lines[0][:8], fields, skipped, end + len(separator), kind, count * kind.itemsize)


def _nrrd_fields(lines: Sequence[str]) -> tuple[dict[str, str], dict[str, int]]:
    """The fields of geometry and type, and how many lines and bytes stand before the voxels."""
    fields: dict[str, str] = {}
    skipped: dict[str, int] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        name = key.strip().lower()
        if name in ("data file", "datafile"):
            raise ReadError("expected header and voxels in one NRRD file, found a header that points elsewhere")
        if name in ("line skip", "lineskip", "byte skip", "byteskip"):
            skipped[name[:4]] = _skip(value)
        if name in ("units", "space units") and colon and not re.fullmatch(_NRRD_UNITS, value):
            raise ReadError(_OTHER_UNIT)
        if colon and not value.startswith("=") and name in _NRRD_VALUES:
            if not re.fullmatch(_NRRD_VALUES[name], value.strip()) or not _known_nrrd_words(name, value):
                raise ReadError("expected the values that the NRRD standard defines, found another one")
            fields[name] = value.strip()
    return fields, skipped


def _nrrd_grid(fields: dict[str, str]) -> tuple[list[float], list[int]]:
    """Spacing (mm) and number of voxels along the axes of space."""
    shape = [int(n) for n in fields["sizes"].split()]
    parts = re.findall(r"none|\([^)]*\)", fields.get("space directions", "")) or fields.get("spacings", "").split()
    parts = parts or ["1"] * len(shape)  # What readers take where nothing is stated.
    try:
        steps = [math.hypot(*(float(n) for n in p.strip("()").split(","))) if p != "none" else math.nan for p in parts]
    except ValueError:
        raise ReadError(DAMAGED) from None
    found = [(step, length) for step, length in zip(steps, shape, strict=False) if step == step]
    return [step for step, _ in found], [length for _, length in found]


def _known_nrrd_words(name: str, value: str) -> bool:
    if name not in ("type", "space", "kinds"):
        return True
    return all(_NRRD_WORDS.match(part) for word in value.split() for part in word.split("-"))


def _skip(text: str) -> int:
    """How many lines or bytes of an NRRD body to leave out; -1 for all bytes but the voxels."""
    if not re.fullmatch(r"\s*(?:-1|\d{1,12})\s*", text):
        raise ReadError("expected the values that the NRRD standard defines, found another one")
    return int(text)


_META_VALUES = {
    "ObjectType": r"Image", "NDims": r"\d", "BinaryData": r"True|False", "BinaryDataByteOrderMSB": r"True|False",
    "ElementByteOrderMSB": r"True|False", "CompressedData": r"True|False", "TransformMatrix": _NUMBERS,
    "Orientation": _NUMBERS, "Rotation": _NUMBERS, "ElementSize": _NUMBERS,
    "Offset": _NUMBERS, "Position": _NUMBERS, "Origin": _NUMBERS,
    "AnatomicalOrientation": r"[RLAPSI?]{2,3}", "ElementSpacing": _NUMBERS, "DimSize": r"[\d ]+",
    "ElementNumberOfChannels": r"\d+", "ElementType": r"MET_[A-Z_]+",
}  # fmt: skip
_META_HARMLESS = {
    "DistanceUnits": r"mm|\?|", "HeaderSize": r"0|-1", "ElementToIntensityFunctionSlope": r"\+?1(?:\.0*)?",
    "ElementToIntensityFunctionOffset": r"[-+]?0(?:\.0*)?",
}  # fmt: skip
"""Fields that a clean copy doesn't have, and the values without which it is the same volume."""
_META_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4", "ULONG": "u4",
    "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip


def nrrd_array(data: bytes) -> Array:
    """The voxels of an NRRD file that `clean_nrrd` made, with the axes in the file's order, the fastest first.

    Raises:
        ReadError: The file is damaged.
    """
    nrrd = _nrrd(data)
    kind = nrrd.kind.newbyteorder(">" if nrrd.fields.get("endian") == "big" else "<")
    voxels = nrrd_voxels(data[nrrd.start :], nrrd.fields["encoding"], kind, nrrd.length // kind.itemsize, {})
    shape = [int(n) for n in nrrd.fields["sizes"].split()]
    return np.frombuffer(voxels[: nrrd.length], kind).reshape(shape, order="F")


def meta_image_array(data: bytes) -> Array:
    """The voxels of a MetaImage that `clean_meta_image` made, with the axes in the file's order, the fastest first.

    Raises:
        ReadError: The file is damaged.
    """
    fields, start = _meta_fields(data)
    kind, length = _meta_size(fields)
    voxels = inflated(data[start:], most=length) if fields.get("CompressedData") == "True" else data[start:]
    shape = [int(n) for n in (fields.get("ElementNumberOfChannels", "1"), *fields["DimSize"].split())]
    return np.frombuffer(voxels[:length], _meta_order(fields) + kind).reshape(shape, order="F")


def nrrd_body(data: bytes) -> Body | None:
    """Where an NRRD file keeps its voxels; None where it keeps them as text, or behind skipped lines or bytes.

    Raises:
        ReadError: The header is damaged.
    """
    nrrd = _nrrd(data)
    packing = _NRRD_PACKINGS.get(nrrd.fields["encoding"])
    return Body(nrrd.start, nrrd.length, packing) if packing and not nrrd.skipped else None


def meta_image_body(data: bytes) -> Body | None:
    """Where a MetaImage keeps its voxels; None where it keeps them as text.

    Raises:
        ReadError: The header is damaged, or points elsewhere.
    """
    fields, start = _meta_fields(data)
    _, length = _meta_size(fields)
    packing = "zlib" if fields.get("CompressedData") == "True" else "raw"
    return Body(start, length, packing) if fields.get("BinaryData") != "False" else None


def clean_meta_image(data: bytes, *, acknowledge_faces: bool = False) -> bytes:
    """A MetaImage (.mha) with the same voxels and only the header fields of geometry and type.

    Args:
        data: The file.
        acknowledge_faces: Let volumes of a head's size and with voxels below 2.5 mm pass.

    Raises:
        ReadError: The file is damaged, may show a face or keeps its voxels in another file.
    """
    fields, place = _meta_fields(data)
    kind, length = _meta_size(fields)
    width = np.dtype(kind).itemsize * int(fields.get("ElementNumberOfChannels", "1"))
    packed = fields.get("CompressedData") == "True"
    order = _meta_order(fields)
    if fields.get("BinaryData") == "False":
        voxels = numbers_of_text(data[place:], kind, length // np.dtype(kind).itemsize)
        fields |= {"BinaryData": "True", "BinaryDataByteOrderMSB": "False"}
        fields.pop("ElementByteOrderMSB", None)
    else:
        voxels = without_payload(
            (inflated(data[place:], most=length) if packed else data[place:])[:length], order + kind
        )
    if len(voxels) < length:
        raise ReadError(DAMAGED)
    if not acknowledge_faces:
        stated = fields.get("ElementSpacing") or fields.get("ElementSize") or "1 1 1"
        spacing = [abs(float(n)) for n in stated.split()]
        refuse_head(spacing, [int(n) for n in fields["DimSize"].split()], voxels, width)
    body = zlib.compress(voxels, 6) if packed else voxels
    if packed:
        fields["CompressedDataSize"] = str(len(body))
    fields["ElementDataFile"] = fields.pop("ElementDataFile")
    return "".join(f"{name} = {text}\n" for name, text in fields.items()).encode("ascii") + body


def _meta_order(fields: Mapping[str, str]) -> str:
    """``<`` or ``>``: the byte order of the samples."""
    return ">" if "True" in (fields.get("BinaryDataByteOrderMSB"), fields.get("ElementByteOrderMSB")) else "<"


def _meta_size(fields: Mapping[str, str]) -> tuple[str, int]:
    """The type of a sample, and how many bytes all have."""
    kind = _META_TYPES.get(fields.get("ElementType", "").removeprefix("MET_"))
    if kind is None or "DimSize" not in fields:
        raise ReadError(DAMAGED)
    samples = (int(n) for n in (*fields["DimSize"].split(), fields.get("ElementNumberOfChannels", "1")))
    return kind, math.prod(samples) * np.dtype(kind).itemsize


def _meta_fields(data: bytes) -> tuple[dict[str, str], int]:
    """The fields of geometry and type, and where the voxels begin."""
    fields: dict[str, str] = {}
    place = 0
    while "ElementDataFile" not in fields:
        end = data.find(b"\n", place)
        if end < 0 or end - place > 4096:
            raise ReadError(DAMAGED)
        key, _, value = data[place:end].decode("latin-1").partition("=")
        place, name, text = end + 1, key.strip(), value.strip()
        if name in _META_VALUES and not re.fullmatch(_META_VALUES[name], text):
            raise ReadError("expected the values that the MetaImage format defines, found another one")
        if name in _META_HARMLESS and not re.fullmatch(_META_HARMLESS[name], text):
            raise ReadError(
                "expected lengths in mm, values that the header doesn't scale and voxels right behind it; found "
                "others, which a clean copy can't hold. Save the volume again"
            )
        if name == "ElementDataFile" or name in _META_VALUES:
            fields[name] = text
    if fields["ElementDataFile"] != "LOCAL":
        raise ReadError("expected header and voxels in one .mha file, found a header that points elsewhere")
    return fields, place
