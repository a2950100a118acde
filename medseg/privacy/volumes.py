"""Volumes: NIfTI, NRRD and MetaImage files with a header made anew of geometry and data type; voxels bit for bit."""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from medseg.errors import ReadError
from medseg.privacy.unfold import DAMAGED, gunzip, gunzip_start, inflated
from medseg.privacy.volume_heads import faceless_nifti, refuse_head
from medseg.privacy.voxels import (
    NRRD_TEXTS,
    nrrd_type,
    nrrd_voxels,
    numbers_of_text,
    without_payload,
)

__all__ = ["clean_meta_image", "clean_nifti", "clean_nrrd", "deface_nifti"]

_NO_TRANSFORM = "expected a transform in millimetres, found numbers that no body has"
_HEADER_BYTES = 540
_LARGEST_MM = 1e6
_LARGEST_SCALE = 1e15
_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 32: 64, 64: 64, 128: 24, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
_FLOATS = {16: "f4", 32: "c8", 64: "f8"}


def clean_nifti(data: bytes, *, acknowledge_faces: bool = False) -> bytes:
    """A NIfTI-1 or NIfTI-2 file with the same voxels, scale and affine and an otherwise empty header.

    Args:
        data: The file, gzipped or not; the result is as the input was.
        acknowledge_faces: Let volumes of a head's size and with voxels below 2.5 mm pass.

    Raises:
        ReadError: The file is damaged, a header without its image, or may show a face.
    """
    header, voxels, order = _nifti(data)
    if not acknowledge_faces:
        faceless_nifti(header, voxels, order, deface=False)
    return _nifti_file(header, voxels, packed=_is_packed(data))


def deface_nifti(data: bytes) -> tuple[bytes, bool]:
    """As `clean_nifti`, with the face taken off a volume of a head; and whether there was one to take off.

    Raises:
        ReadError: As `clean_nifti`, or the face can't be taken off.
    """
    header, voxels, order = _nifti(data)
    faceless = faceless_nifti(header, voxels, order, deface=True)
    return _nifti_file(header, faceless, packed=_is_packed(data)), faceless != voxels


def _is_packed(data: bytes) -> bool:
    return data[:2] == b"\x1f\x8b"


def _nifti_file(header: bytes, voxels: bytes, *, packed: bool) -> bytes:
    clean = header + b"\0\0\0\0" + voxels
    return gzip.compress(clean, 6, mtime=0) if packed else clean


def _nifti(data: bytes) -> tuple[bytes, bytes, str]:
    """The new header, the voxels and the byte order of a file; no more of it is unpacked than its header claims."""
    packed = _is_packed(data)
    start = gunzip_start(data, _HEADER_BYTES) if packed else data[:_HEADER_BYTES]
    order = next((o for o in "<>" if struct.unpack_from(o + "i", start.ljust(4, b"\0"))[0] in (348, 540)), "")
    if not order:
        raise ReadError(DAMAGED)
    try:
        header, place, kind = (_nifti1 if struct.unpack_from(order + "i", start)[0] == 348 else _nifti2)(start, order)
    except struct.error:
        raise ReadError(DAMAGED) from None
    raw = gunzip(data, most=place.stop) if packed else data
    if place.stop > len(raw):
        raise ReadError(DAMAGED)
    return header, without_payload(raw[place], order + kind), order


def _nifti1(raw: bytes, order: str) -> tuple[bytes, slice, str]:
    if raw[344:348] != b"n+1\0":
        raise ReadError("expected header and voxels in one file, found a pair or an Analyze header; save it as .nii.gz")
    dim = struct.unpack_from(order + "8h", raw, 40)
    datatype, bits = struct.unpack_from(order + "2h", raw, 70)
    pixdim = struct.unpack_from(order + "8f", raw, 76)
    offset, slope, inter = struct.unpack_from(order + "3f", raw, 108)
    qform, sform = struct.unpack_from(order + "2h", raw, 252)
    geometry = struct.unpack_from(order + "18f", raw, 256)
    place = _place(dim, datatype, bits, int(offset))
    made = bytearray(348)
    struct.pack_into(order + "i", made, 0, 348)
    struct.pack_into(order + "8h", made, 40, *_dimensions(dim))
    struct.pack_into(order + "2h", made, 70, datatype, bits)
    struct.pack_into(order + "8f", made, 76, *_sizes(pixdim, dim[0]))
    struct.pack_into(order + "3f", made, 108, 352.0, *_scale(slope, inter))
    made[123] = raw[123] & 0x1F
    struct.pack_into(order + "2h", made, 252, _form(qform), _form(sform))
    struct.pack_into(order + "18f", made, 256, *_geometry(geometry, qform, sform))
    made[344:348] = b"n+1\0"
    return bytes(made), place, _FLOATS.get(datatype, "u1")


def _nifti2(raw: bytes, order: str) -> tuple[bytes, slice, str]:
    if raw[4:8] != b"n+2\0":
        raise ReadError("expected header and voxels in one file, found a pair; save it as .nii.gz")
    datatype, bits = struct.unpack_from(order + "2h", raw, 12)
    dim = struct.unpack_from(order + "8q", raw, 16)
    pixdim = struct.unpack_from(order + "8d", raw, 104)
    offset, slope, inter = struct.unpack_from(order + "q2d", raw, 168)
    qform, sform = struct.unpack_from(order + "2i", raw, 344)
    geometry = struct.unpack_from(order + "18d", raw, 352)
    (units,) = struct.unpack_from(order + "i", raw, 500)
    place = _place(dim, datatype, bits, offset)
    made = bytearray(540)
    struct.pack_into(order + "i", made, 0, 540)
    made[4:12] = b"n+2\0\r\n\x1a\n"
    struct.pack_into(order + "2h", made, 12, datatype, bits)
    struct.pack_into(order + "8q", made, 16, *_dimensions(dim))
    struct.pack_into(order + "8d", made, 104, *_sizes(pixdim, dim[0]))
    struct.pack_into(order + "q2d", made, 168, 544, *_scale(slope, inter))
    struct.pack_into(order + "2i", made, 344, _form(qform), _form(sform))
    struct.pack_into(order + "18d", made, 352, *_geometry(geometry, qform, sform))
    struct.pack_into(order + "i", made, 500, units & 0x1F)
    return bytes(made), place, _FLOATS.get(datatype, "u1")


def _place(dim: tuple[int, ...], datatype: int, bits: int, offset: int) -> slice:
    """Where the voxels lie in the file."""
    if not 1 <= dim[0] <= 7 or _BITS.get(datatype) != bits or any(d < 1 for d in dim[1 : dim[0] + 1]):
        raise ReadError("expected a NIfTI header with a known data type and positive sizes, found another")
    if offset < 348:
        raise ReadError(DAMAGED)
    count = int(np.prod([int(d) for d in dim[1 : dim[0] + 1]], dtype=object))
    return slice(offset, offset + count * bits // 8)


def _dimensions(dim: tuple[int, ...]) -> tuple[int, ...]:
    return (dim[0], *(d if n < dim[0] else 1 for n, d in enumerate(dim[1:])))


def _sizes(pixdim: tuple[float, ...], axes: int) -> tuple[float, ...]:
    """Sizes of the axes that there are; text read as a number is far too large, and goes from the axes behind space."""
    if not all(abs(size) < _LARGEST_MM for size in pixdim[1 : 1 + min(axes, 3)]):
        raise ReadError(_NO_TRANSFORM)
    handed = -1.0 if pixdim[0] < 0 else 1.0
    usable = (size if n < axes and abs(size) < _LARGEST_MM else 1.0 for n, size in enumerate(pixdim[1:]))
    return (handed, *usable)


def _geometry(numbers: tuple[float, ...], qform: int, sform: int) -> tuple[float, ...]:
    """Quaternion, offset and affine rows; those that their code says are not used become 0, as text may hide there."""
    used = [*([_form(qform) > 0] * 6), *([_form(sform) > 0] * 12)]
    if not all(abs(number) < _LARGEST_MM for number, is_used in zip(numbers, used, strict=True) if is_used):
        raise ReadError(_NO_TRANSFORM)
    return tuple(number if is_used else 0.0 for number, is_used in zip(numbers, used, strict=True))


def _scale(slope: float, inter: float) -> tuple[float, float]:
    """Slope and intercept; both as "not scaled" where a number is none that voxels are scaled by."""
    return (slope, inter) if abs(slope) < _LARGEST_SCALE and abs(inter) < _LARGEST_SCALE else (0.0, 0.0)


def _form(code: int) -> int:
    return code if 0 <= code <= 5 else 1


_NUMBERS = r"(?:(?:none|nan|[-+]?(?:\d{1,6}(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,2})?)(?=[\s,()]|\Z)|[\s,()])+"
"""Numbers below a million: a transform of a body has no larger one, a date or a patient's number is one."""
_NRRD_VALUES = {
    "type": r"[a-z0-9_ ]+", "dimension": r"\d+", "sizes": r"[\d ]+", "spacings": _NUMBERS, "space dimension": r"\d+",
    "space": r"[a-zA-Z0-9 -]+", "space directions": _NUMBERS, "space origin": _NUMBERS,
    "kinds": r"[a-zA-Z0-9 -]+", "endian": r"little|big", "encoding": r"raw|gzip|gz|bzip2|bz2|ascii|text|txt|hex",
    "centerings": r"(?:cell|node|none|\?\?\?| )+", "centers": r"(?:cell|node|none|\?\?\?| )+",
}  # fmt: skip
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
    head, separator, body = data.partition(b"\n\n") if b"\r\n\r\n" not in data[:65536] else data.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").splitlines()
    if not separator or not lines or not lines[0].startswith("NRRD000"):
        raise ReadError(DAMAGED)
    fields, skipped = _nrrd_fields(lines[1:])
    encoding = fields.get("encoding", "")
    if not {"type", "dimension", "sizes", "encoding"} <= fields.keys():
        raise ReadError(DAMAGED)
    count = int(np.prod([int(n) for n in fields["sizes"].split()], dtype=object))
    kind = nrrd_type(fields["type"])
    width = kind.itemsize
    length = count * width
    if encoding in NRRD_TEXTS:
        # The digits of hex are the bytes in the order that the header states; decimal numbers have none.
        fields |= {"endian": fields.get("endian", "little") if encoding == "hex" else "little", "encoding": "gzip"}
    kind = kind.newbyteorder(">" if fields.get("endian") == "big" else "<")
    voxels = without_payload(nrrd_voxels(body, encoding, kind, count, skipped)[:length], kind)
    if len(voxels) < length:
        raise ReadError(DAMAGED)
    if not acknowledge_faces:
        refuse_head(*_nrrd_grid(fields), voxels, width)
    fields["encoding"] = "raw" if encoding == "raw" else "gzip"
    text = "\n".join([lines[0][:8], *(f"{name}: {value}" for name, value in fields.items())])
    return text.encode("ascii") + b"\n\n" + (voxels if encoding == "raw" else gzip.compress(voxels, 6, mtime=0))


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


def clean_meta_image(data: bytes, *, acknowledge_faces: bool = False) -> bytes:
    """A MetaImage (.mha) with the same voxels and only the header fields of geometry and type.

    Args:
        data: The file.
        acknowledge_faces: Let volumes of a head's size and with voxels below 2.5 mm pass.

    Raises:
        ReadError: The file is damaged, may show a face or keeps its voxels in another file.
    """
    fields, place = _meta_fields(data)
    kind = _META_TYPES.get(fields.get("ElementType", "").removeprefix("MET_"))
    if kind is None or "DimSize" not in fields:
        raise ReadError(DAMAGED)
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    count = int(np.prod([int(n) for n in fields["DimSize"].split()], dtype=object)) * channels
    width = np.dtype(kind).itemsize * channels
    length = count * np.dtype(kind).itemsize
    packed = fields.get("CompressedData") == "True"
    order = ">" if "True" in (fields.get("BinaryDataByteOrderMSB"), fields.get("ElementByteOrderMSB")) else "<"
    if fields.get("BinaryData") == "False":
        voxels = numbers_of_text(data[place:], kind, count)
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
