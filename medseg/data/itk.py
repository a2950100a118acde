"""NRRD and MetaImage: volumes read through SimpleITK, turned from LPS+ to RAS+.

A header may name other files that hold the voxels. ITK would follow any path; here they have to lie in the header's own
folder or below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from medseg.data.volume import Geometry
from medseg.errors import GeometryError, ReadError
from medseg.privacy.limits import MAX_VOXELS, require_plausible
from medseg.types import Affine, Array

__all__ = ["read_itk", "read_itk_fields", "read_itk_geometry"]

_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
_LARGEST_HEADER: Final = 1 << 22
_PER_AXIS: Final = frozenset(
    ("sizes", "space directions", "space origin", "spacings", "thicknesses", "axis mins", "axismins", "axis maxs",
     "axismaxs", "centers", "centerings", "kinds", "labels", "units", "space units", "measurement frame")
)  # fmt: skip
"""Fields of NRRD that have a value an axis, or a vector."""
_MOST_AXES, _MOST_COMPONENTS = 16, 8
"""NRRD_DIM_MAX and NRRD_SPACE_DIM_MAX of teem."""
_CONTROL: Final = re.compile(r"[\0\r\v\f]")
_PATTERN: Final = re.compile(r"[^%]*%(0?\d)?d[^%]*")
"""ITK hands a pattern to printf as it stands, which crashes on most others."""
_NO_END: Final = "the header has no end; the file is damaged, save it again"
_LONGEST_AXIS: Final = 1.01
"""Length of an axis' direction; ITK hangs on huge ones."""
_PATIENT: Final = frozenset(
    ("lps", "ras", "las", "left-posterior-superior", "right-anterior-superior", "left-anterior-superior")
)
"""Spaces of NRRD that say where the patient's right and left are, and that ITK turns to LPS."""
_SCALING: Final = {
    "elementtointensityfunctionslope": r"\+?1(\.0*)?",
    "elementtointensityfunctionoffset": r"[+-]?0(\.0*)?",
}
"""Fields of MetaImage that ITK ignores, and the values that do no harm."""
_MILLIMETRES: Final = {
    "": 1.0, "?": 1.0, "???": 1.0, "mm": 1.0, "millimeter": 1.0, "millimetre": 1.0, "um": 1e-3, "micron": 1e-3,
    "micrometer": 1e-3, "micrometre": 1e-3, "cm": 10.0, "centimeter": 10.0, "centimetre": 10.0, "m": 1e3,
    "meter": 1e3, "metre": 1e3,
}  # fmt: skip


def read_itk(path: Path) -> tuple[Array, Affine, tuple[str, ...]]:
    """Read a NRRD (``.nrrd``, ``.nhdr``) or MetaImage (``.mha``, ``.mhd``) file.

    Returns:
        The array with axes (channel, x, y[, z]), its affine (RAS+, mm), and notes.

    Raises:
        ReadError: The file is missing, damaged, truncated, not numeric, or holds NaN or infinity.
        GeometryError: It has another number of spatial axes than 2 or 3, or no usable affine.
    """
    import SimpleITK as sitk

    reader, fields = _reader(path)
    geometry = _geometry(reader, fields)
    if any(word in fields and not re.fullmatch(usual, fields[word]) for word, usual in _SCALING.items()):
        raise ReadError("the header scales the values, which readers ignore; save the scaled values themselves")
    try:
        image = reader.Execute()
    except Exception as error:
        # ITK's readers raise RuntimeError and whatever their libraries raise.
        raise ReadError(f"the file is truncated or damaged ({type(error).__name__}); copy it again") from None
    stored: Array = sitk.GetArrayFromImage(image)
    if stored.dtype.kind not in "uif":
        raise ReadError("expected one number a voxel; found complex values. Convert the file first")
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise ReadError("the image holds NaN or infinity; expected numbers everywhere")
    channels_last = reader.GetNumberOfComponents() > 1
    if stored.dtype == np.float64:
        stored = stored.astype(np.float32)
    array = np.moveaxis(stored, -1, 0) if channels_last else stored[np.newaxis]
    if array.ndim - 1 > len(geometry.shape):  # a fourth axis of ITK is slowest, so it comes first
        array = array[0]
    axes = (0, *range(array.ndim - 1, 0, -1))
    return array.transpose(axes), geometry.affine, _notes(path, fields)


def read_itk_geometry(path: Path) -> Geometry:
    """The voxel grid, from the header alone.

    Raises:
        ReadError: As `read_itk`.
        GeometryError: As `read_itk`.
    """
    return _geometry(*_reader(path))


def read_itk_fields(path: Path) -> tuple[dict[str, str], int]:
    """The named texts of a header, and the number of values a voxel has.

    Raises:
        ReadError: As `read_itk`.
    """
    reader, _ = _reader(path)
    try:
        texts = {key: str(reader.GetMetaData(key)) for key in reader.GetMetaDataKeys()}
    except (TypeError, UnicodeDecodeError):
        raise ReadError("the header holds names or texts that are no UTF-8; save the file again") from None
    return texts, int(reader.GetNumberOfComponents())


def _reader(path: Path) -> tuple[Any, dict[str, str]]:
    """ITK's reader with the header read, and the header's fields of text, in lower case."""
    import SimpleITK as sitk

    if not path.is_file():
        raise ReadError("expected an image file; found none")
    lines, files = _header_of(path)
    stored = sum(one.stat().st_size for one in (path, *files) if one.is_file())
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except Exception as error:
        # ITK's readers raise RuntimeError and whatever their libraries raise.
        raise ReadError(
            f"the file is damaged or of another format than its ending says ({type(error).__name__})"
        ) from None
    values = float(np.prod(reader.GetSize(), dtype=np.float64)) * reader.GetNumberOfComponents()
    if values > MAX_VOXELS:
        raise ReadError(f"the header claims more than {MAX_VOXELS:,} voxels; nothing that large is read")
    bits = re.search(r"(\d+)-bit", sitk.GetPixelIDValueAsString(reader.GetPixelID()))
    require_plausible(int(values) * (int(bits[1]) // 8 if bits else 1), stored)
    fields = (re.split("[:=]", line, maxsplit=1) for line in lines if re.search("[:=]", line))
    return reader, {name.strip().lower(): text.strip().lower() for name, text in fields}


def _header_of(path: Path) -> tuple[list[str], list[Path]]:
    """The lines of a header, and the files that it names for the voxels.

    Raises:
        ReadError: One of them lies outside of the header's folder, or the header has no end.
    """
    files = []
    with path.open("rb") as stream:
        head = stream.read(_LARGEST_HEADER)
    lines = [line.removesuffix("\r") for line in head.decode("latin-1").split("\n")]
    if head.startswith(b"NRRD"):
        last = lines.index("") if "" in lines else len(lines)
        found = [number for number in range(last) if re.match(r"data ?file\s*:(?!=)", lines[number], re.IGNORECASE)]
        if last == len(lines) and len(head) == _LARGEST_HEADER:
            raise ReadError(_NO_END)
        _require_few(lines[:last])
    else:
        found = [number for number, line in enumerate(lines) if re.match(r"[ \t]*ElementDataFile[ \t]*[=:]", line)][:1]
        if not found:
            raise ReadError(_NO_END)
        last = found[0] + 1
        _require_one_end(head, lines[:last])
    _require_no_control(lines[:last])
    for number in found:
        name = re.split(r"[=:]", lines[number], maxsplit=1)[1].strip()
        is_list = name.upper().startswith("LIST")  # ITK looks at no more of the word.
        names = (lines[number + 1 :] if last == number + 1 else lines[number + 1 : last]) if is_list else [name]
        _require_no_control(names)
        for one in map(str.strip, names):
            if one and one.upper() != "LOCAL":
                files.append(_inside(path.parent, one))
    return lines[:last], files


def _require_one_end(head: bytes, lines: Sequence[str]) -> None:
    """Refuse a MetaImage header in which ITK may take another line for its last than is found here."""
    before = next((line for line in reversed(lines[:-1]) if line.strip()), "=")
    if head.lower().count(b"elementdatafile") != 1 or not re.search("[=:]", before):
        raise ReadError(
            "the MetaImage header is damaged: expected one ElementDataFile, behind a field and its value; save it again"
        )


def _require_no_control(lines: Sequence[str]) -> None:
    """Refuse characters at which ITK ends a line, or a name, and nobody who looks at the header does."""
    if any(_CONTROL.search(line) for line in lines):
        raise ReadError("the header holds control characters; the file is damaged, save it again")


def _require_few(lines: Sequence[str]) -> None:
    """Refuse NRRD fields with more axes or components than the format has; ITK writes beyond its memory on them."""
    for line in lines:
        field, _, value = line.partition(":")
        if value.startswith("=") or field.strip().lower() not in _PER_AXIS:
            continue
        vectors = re.findall(r"\([^()]*\)|[^\s()]+", value)
        if len(vectors) > _MOST_AXES or any(vector.count(",") >= _MOST_COMPONENTS for vector in vectors):
            raise ReadError("the NRRD header states more axes than there can be; the file is damaged, save it again")


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder, links resolved; of a pattern for several, the place that it names."""
    if "%" in name and not _PATTERN.fullmatch(name):
        raise ReadError("the header names files by a pattern; expected one number in it, as in slice_%03d.raw 1 20 1")
    place = (folder / name.replace("\\", "/")).resolve()
    if folder.resolve() not in place.parents:
        raise ReadError(
            "the header names a file outside of its own folder for the voxels; nothing of it was read. Put both files "
            "into one folder and name it there"
        )
    return place


def _notes(path: Path, fields: Mapping[str, str]) -> tuple[str, ...]:
    """What ITK assumes where the header doesn't say."""
    if path.suffix.lower() not in (".nrrd", ".nhdr") or fields.get("space", "") in _PATIENT:
        return ()
    return ("the header names no patient axes: taken as left, posterior, superior",)


def _unit(fields: Mapping[str, str]) -> float:
    """Millimetres in the header's unit of length, which ITK ignores.

    Raises:
        ReadError: The axes of space have a unit that isn't known here, or several.
    """
    stated = fields.get("distanceunits") or fields.get("space units") or fields.get("units", "")
    words = {word.strip().removesuffix("s") for word in re.findall(r'"([^"]*)"', stated) or stated.split()}
    if "units" in fields and "space units" not in fields:  # Those of all axes, and one may be of time.
        words &= _MILLIMETRES.keys()
    found = {_MILLIMETRES.get(word) for word in words} or {1.0}
    unit = found.pop()
    if found or unit is None:
        raise ReadError("expected the same unit of length along all axes, mm, um, cm or m; found others")
    return unit


def _geometry(reader: Any, fields: Mapping[str, str]) -> Geometry:
    dims = reader.GetDimension()
    size = tuple(int(n) for n in reader.GetSize())
    if not 2 <= dims <= 4 or (dims == 4 and reader.GetNumberOfComponents() > 1):
        raise GeometryError(f"expected 2 or 3 spatial axes and at most one of channels; found {dims} axes")
    spatial = min(dims, 3)
    direction = np.array(reader.GetDirection(), dtype=np.float64).reshape(dims, dims)[:spatial, :spatial]
    if not np.isfinite(direction).all() or np.abs(direction).max() > _LONGEST_AXIS:
        raise GeometryError("expected axis directions of length 1; the header is broken, save the file again")
    affine = np.eye(4)
    affine[:spatial, :spatial] = direction * np.array(reader.GetSpacing()[:spatial])
    affine[:spatial, 3] = reader.GetOrigin()[:spatial]
    affine[:3] *= _unit(fields)
    return Geometry(shape=size[:spatial], affine=_LPS_TO_RAS @ affine)
