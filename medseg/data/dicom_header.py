"""DICOM header: what sorting and geometry need of one file, read without its pixels."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
import pydicom.config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medseg.data.dicom_scan import PIXEL_PLACE, scan_elements
from medseg.data.limits import MAX_VOXELS
from medseg.errors import GeometryError, ReadError
from medseg.types import FloatArray

__all__ = ["Frame", "Header", "looks_like_dicom", "numbers_of", "read_dataset", "read_header"]

VARIATIONS: Final = {
    "EchoTime": "echo times",
    "EchoNumbers": "echo numbers",
    "DiffusionBValue": "diffusion b-values",
    "TemporalPositionIdentifier": "time points",
    "TriggerTime": "trigger times",
    "FrameReferenceTime": "frame times",
    "AcquisitionNumber": "acquisitions",
    "AcquisitionTime": "acquisition times",
    "ImageType": "image types",
    "ConvolutionKernel": "reconstruction kernels",
}
"""Attributes in which images at one position can differ on purpose, and what to call them."""

NOT_IMAGES: Final = frozenset({"SEG", "RTDOSE", "RTSTRUCT", "RTPLAN", "PR", "SR", "KO", "ANN", "REG", "DOC", "PLAN"})
"""Modalities whose files hold no image to segment."""

_KEYWORDS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "Modality",
    "ImageType",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "AcquisitionDate",
    "AcquisitionTime",
]
_KEYWORD_OF = {tag: word for word in (*_KEYWORDS, *VARIATIONS) if (tag := tag_for_keyword(word)) is not None}
Facts = Mapping[str, Any] | Dataset
"""Keyword to value: of a file, or of an item of a sequence."""
_PREAMBLE_BYTES = 128

# pydicom's warnings and log lines quote the values of attributes, which may identify; and nothing here depends on them.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings("ignore", module=r"pydicom\.")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


@dataclass(frozen=True, eq=False)
class Frame:
    """Where one frame lies and how its stored values become values.

    Attributes:
        position: Centre of the first voxel, (x, y, z) in mm, LPS+; None where the header has none.
        orientation: Direction of a row (columns increasing), then of a column (rows increasing), 6 cosines, LPS+.
        spacing: Distance of the rows, then of the columns, in mm (the order of PixelSpacing).
        slope: Rescale slope.
        intercept: Rescale intercept.
        thickness: Slice thickness in mm, or nan.
    """

    position: FloatArray | None
    orientation: FloatArray | None
    spacing: tuple[float, float] | None
    slope: float
    intercept: float
    thickness: float


@dataclass(frozen=True, eq=False)
class Header:
    """What sorting and geometry need of one DICOM file. Identifying values serve grouping only and are never shown."""

    path: Path
    series_uid: str
    study_uid: str
    instance_uid: str
    patient: str
    modality: str
    sop_class: str
    transfer_syntax: str
    frame_of_reference: str
    photometric: str
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    localiser: bool
    has_modality_lut: bool
    rescale_is_unit: bool
    frames: tuple[Frame, ...]
    acquired: str
    variations: Mapping[str, str]
    pixel_place: tuple[int, int] | None
    """Offset and length in bytes of native little-endian pixels, where the scan found them."""

    @property
    def is_image(self) -> bool:
        """Whether the file holds an image to segment (and no label map, dose, report or presentation state)."""
        return self.rows > 0 and self.columns > 0 and self.modality not in NOT_IMAGES

    @property
    def kind(self) -> str:
        """The DICOM standard's name of the file's class, for a message."""
        name = UID(self.sop_class).name if self.sop_class else ""
        return name if name and not name[0].isdigit() else "an unknown kind of object"


def looks_like_dicom(path: Path) -> bool:
    """Whether a file starts like DICOM: with the prefix, or, without a preamble, with an element of group 2 or 8."""
    try:
        with path.open("rb") as stream:
            start = stream.read(_PREAMBLE_BYTES + 4)
    except OSError:
        return False
    if start[_PREAMBLE_BYTES:] == b"DICM":
        return True
    return len(start) >= 8 and start[:4] in (
        b"\x02\x00\x00\x00", b"\x08\x00\x00\x00", b"\x08\x00\x01\x00", b"\x08\x00\x05\x00", b"\x08\x00\x08\x00",
        b"\x02\x00\x10\x00", b"\x08\x00\x16\x00", b"\x00\x08\x00\x05", b"\x00\x08\x00\x08",
    )  # fmt: skip


def read_dataset(path: Path, *, tags: Sequence[int | None] | None, pixels: bool) -> Dataset:
    """Read a DICOM file, also one without preamble or file meta information.

    Args:
        path: The file.
        tags: Attributes to read; None for all.
        pixels: Whether to read on to the pixels and behind.

    Raises:
        ReadError: The file is missing, ends too early or isn't DICOM.
    """
    if not looks_like_dicom(path):
        raise ReadError("expected a DICOM file; found none of its marks, or the file is missing")
    wanted = None if tags is None else [tag for tag in tags if tag is not None]
    try:
        return pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=wanted, force=True)
    except OSError as error:
        raise ReadError(
            f"the DICOM file is truncated or cannot be read ({type(error).__name__}); copy it again"
        ) from None
    except Exception as error:
        # Whatever a damaged file does to the parser, it is the file that is refused.
        raise ReadError(f"the DICOM file is damaged ({type(error).__name__}); copy it again") from None


def read_header(path: Path) -> Header:
    """Read what sorting and geometry need, and stop before the pixels.

    Raises:
        ReadError: The file is missing, ends too early or isn't DICOM.
        GeometryError: Numbers of the geometry are no numbers.
    """
    try:
        facts = scan_elements(path, _KEYWORD_OF)
    except OSError:
        raise ReadError("the DICOM file is missing or cannot be read") from None
    if facts is None:
        facts = _read_facts(path)
    if not facts.get("SOPClassUID") and "Rows" not in facts:
        raise ReadError("expected a DICOM image; the header has neither a class nor an image size")
    try:
        return _header_of(facts, path)
    except (GeometryError, ReadError):
        raise
    except Exception as error:
        raise ReadError(f"the DICOM header is damaged ({type(error).__name__}); export the series again") from None


def _read_facts(path: Path) -> dict[str, Any]:
    """Keyword to value, read by pydicom."""
    dataset = read_dataset(path, tags=list(_KEYWORD_OF), pixels=False)
    try:
        facts = {word: dataset[tag].value for tag, word in _KEYWORD_OF.items() if tag in dataset}
        facts["TransferSyntaxUID"] = str(getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID", ""))
    except Exception as error:
        # pydicom converts values when they are asked for, and raises whatever a damaged one makes it raise.
        raise ReadError(f"the DICOM header is damaged ({type(error).__name__}); export the series again") from None
    return facts


def numbers_of(facts: Facts, keyword: str, count: int) -> FloatArray | None:
    """The finite numbers of an attribute, or None when it is absent or empty.

    Raises:
        GeometryError: The attribute has another count of numbers, or one that isn't finite.
    """
    value = facts.get(keyword)
    if value is None or value == "":
        return None
    values = np.array([float(part) for part in _list(value)])
    if values.shape != (count,) or not np.isfinite(values).all():
        raise GeometryError(
            f"{keyword}: expected {count} finite numbers; the header is broken, export the series again"
        )
    return values


def _header_of(facts: Facts, path: Path) -> Header:
    rows, columns = _integer(facts, "Rows", 0), _integer(facts, "Columns", 0)
    samples = _integer(facts, "SamplesPerPixel", 1)
    modality = _word(facts.get("Modality"))
    claimed = rows * columns * samples * max(1, _integer(facts, "NumberOfFrames", 1))
    if claimed > MAX_VOXELS:
        raise ReadError(f"the header claims more than {MAX_VOXELS:,} voxels; nothing that large is read")
    frames: tuple[Frame, ...] = ()
    if modality not in NOT_IMAGES:
        enhanced = bool(facts.get("PerFrameFunctionalGroupsSequence"))
        frames = _enhanced_frames(facts) if enhanced else _classic_frames(facts)
    return Header(
        path=path,
        series_uid=str(facts.get("SeriesInstanceUID", "")),
        study_uid=str(facts.get("StudyInstanceUID", "")),
        instance_uid=str(facts.get("SOPInstanceUID", "")),
        patient=str(facts.get("PatientID", "") or ""),
        modality=modality,
        sop_class=str(facts.get("SOPClassUID", "")),
        transfer_syntax=str(facts.get("TransferSyntaxUID", "")),
        frame_of_reference=str(facts.get("FrameOfReferenceUID", "")),
        photometric=str(facts.get("PhotometricInterpretation", "MONOCHROME2")),
        rows=rows,
        columns=columns,
        samples=samples,
        bits_stored=_integer(facts, "BitsStored", _integer(facts, "BitsAllocated", 16)),
        signed=_integer(facts, "PixelRepresentation", 0) == 1,
        localiser="LOCALIZER" in [str(word).upper() for word in _list(facts.get("ImageType"))],
        has_modality_lut=bool(facts.get("ModalityLUTSequence")),
        rescale_is_unit=str(facts.get("RescaleType", "HU")) != "US" and "RescaleSlope" in facts,
        frames=frames,
        bits_allocated=_integer(facts, "BitsAllocated", 16),
        pixel_place=facts.get(PIXEL_PLACE),
        acquired=str(facts.get("AcquisitionDate", "") or "") + str(facts.get("AcquisitionTime", "") or ""),
        variations={key: str(facts[key]) for key in VARIATIONS if key in facts},
    )


def _classic_frames(facts: Facts) -> tuple[Frame, ...]:
    frame = Frame(
        position=numbers_of(facts, "ImagePositionPatient", 3),
        orientation=_unit(numbers_of(facts, "ImageOrientationPatient", 6)),
        spacing=_pair(facts),
        slope=_number(facts, "RescaleSlope", 1.0),
        intercept=_number(facts, "RescaleIntercept", 0.0),
        thickness=_number(facts, "SliceThickness", math.nan),
    )
    return (frame,) * max(1, _integer(facts, "NumberOfFrames", 1))


def _enhanced_frames(facts: Facts) -> tuple[Frame, ...]:
    """Frames of an enhanced image from its functional groups (PS3.3 section C.7.6.16)."""
    shared = (_list(facts.get("SharedFunctionalGroupsSequence")) or [Dataset()])[0]
    per_frame = _list(facts.get("PerFrameFunctionalGroupsSequence"))
    count = max(1, _integer(facts, "NumberOfFrames", 1))
    if len(per_frame) != count:
        raise GeometryError(
            f"expected functional groups for each of {count} frames; found {len(per_frame)}. The file is broken"
        )
    frames: list[Frame] = []
    for group in per_frame:
        merged = Dataset()
        for sequence in ("PlanePosition", "PlaneOrientation", "PixelMeasures", "PixelValueTransformation"):
            item = _list(group.get(f"{sequence}Sequence")) or _list(shared.get(f"{sequence}Sequence"))
            if item:
                merged.update(item[0])
        frames.extend(_classic_frames(merged))
    return tuple(frames)


def _pair(facts: Facts) -> tuple[float, float] | None:
    values = numbers_of(facts, "PixelSpacing", 2)
    if values is None:
        values = numbers_of(facts, "ImagerPixelSpacing", 2)
    if values is None:
        return None
    if (values <= 0).any():
        raise GeometryError("PixelSpacing: expected two numbers above 0; the header is broken, export the series again")
    return float(values[0]), float(values[1])


def _unit(orientation: FloatArray | None) -> FloatArray | None:
    """Both directions with length 1; written cosines are rounded."""
    if orientation is None:
        return None
    row, column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(row @ column) > 0.01:
        raise GeometryError(
            "ImageOrientationPatient: expected two perpendicular directions of length 1; the header is broken, "
            "export the series again"
        )
    result: FloatArray = np.concatenate([row / lengths[0], column / lengths[1]])
    return result


def _number(facts: Facts, keyword: str, default: float) -> float:
    values = numbers_of(facts, keyword, 1)
    return default if values is None else float(values[0])


def _integer(facts: Facts, keyword: str, default: int) -> int:
    value = facts.get(keyword)
    return default if value in (None, "") else int(value)


def _list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def _word(value: Any) -> str:
    """A defined term of the standard; anything longer is somebody's text and not repeated."""
    text = str(value or "").strip().upper()
    return text if text.isalpha() and len(text) <= 9 else "OT"
