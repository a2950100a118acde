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
_TAGS = [tag_for_keyword(word) for word in (*_KEYWORDS, *VARIATIONS)]
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
    bits_stored: int
    signed: bool
    localiser: bool
    has_modality_lut: bool
    rescale_is_unit: bool
    frames: tuple[Frame, ...]
    acquired: str
    variations: Mapping[str, str]

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
    dataset = read_dataset(path, tags=_TAGS, pixels=False)
    sop_class = str(dataset.get("SOPClassUID", ""))
    if not sop_class and "Rows" not in dataset:
        raise ReadError("expected a DICOM image; the header has neither a class nor an image size")
    try:
        return _header_of(dataset, path)
    except (GeometryError, ReadError):
        raise
    except Exception as error:
        raise ReadError(f"the DICOM header is damaged ({type(error).__name__}); export the series again") from None


def numbers_of(dataset: Dataset, keyword: str, count: int) -> FloatArray | None:
    """The finite numbers of an attribute, or None when it is absent or empty.

    Raises:
        GeometryError: The attribute has another count of numbers, or one that isn't finite.
    """
    value = dataset.get(keyword)
    if value is None or value == "":
        return None
    values = np.atleast_1d(np.asarray(value, dtype=np.float64))
    if values.shape != (count,) or not np.isfinite(values).all():
        raise GeometryError(
            f"{keyword}: expected {count} finite numbers; the header is broken, export the series again"
        )
    return values


def _header_of(dataset: Dataset, path: Path) -> Header:
    rows, columns = _integer(dataset, "Rows", 0), _integer(dataset, "Columns", 0)
    samples = _integer(dataset, "SamplesPerPixel", 1)
    modality = _word(dataset.get("Modality"))
    claimed = rows * columns * samples * max(1, _integer(dataset, "NumberOfFrames", 1))
    if claimed > MAX_VOXELS:
        raise ReadError(f"the header claims more than {MAX_VOXELS:,} voxels; nothing that large is read")
    frames: tuple[Frame, ...] = ()
    if modality not in NOT_IMAGES:
        enhanced = "PerFrameFunctionalGroupsSequence" in dataset
        frames = _enhanced_frames(dataset) if enhanced else _classic_frames(dataset)
    meta = getattr(dataset, "file_meta", Dataset())
    return Header(
        path=path,
        series_uid=str(dataset.get("SeriesInstanceUID", "")),
        study_uid=str(dataset.get("StudyInstanceUID", "")),
        instance_uid=str(dataset.get("SOPInstanceUID", "")),
        patient=str(dataset.get("PatientID", "") or ""),
        modality=modality,
        sop_class=str(dataset.get("SOPClassUID", "")),
        transfer_syntax=str(meta.get("TransferSyntaxUID", "")),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID", "")),
        photometric=str(dataset.get("PhotometricInterpretation", "MONOCHROME2")),
        rows=rows,
        columns=columns,
        samples=samples,
        bits_stored=_integer(dataset, "BitsStored", _integer(dataset, "BitsAllocated", 16)),
        signed=_integer(dataset, "PixelRepresentation", 0) == 1,
        localiser="LOCALIZER" in [str(word).upper() for word in _list(dataset.get("ImageType"))],
        has_modality_lut=bool(dataset.get("ModalityLUTSequence")),
        rescale_is_unit=str(dataset.get("RescaleType", "HU")) != "US" and "RescaleSlope" in dataset,
        frames=frames,
        acquired=str(dataset.get("AcquisitionDate", "") or "") + str(dataset.get("AcquisitionTime", "") or ""),
        variations={key: str(dataset[key].value) for key in VARIATIONS if key in dataset},
    )


def _classic_frames(dataset: Dataset) -> tuple[Frame, ...]:
    frame = Frame(
        position=numbers_of(dataset, "ImagePositionPatient", 3),
        orientation=_unit(numbers_of(dataset, "ImageOrientationPatient", 6)),
        spacing=_pair(dataset),
        slope=_number(dataset, "RescaleSlope", 1.0),
        intercept=_number(dataset, "RescaleIntercept", 0.0),
        thickness=_number(dataset, "SliceThickness", math.nan),
    )
    return (frame,) * max(1, _integer(dataset, "NumberOfFrames", 1))


def _enhanced_frames(dataset: Dataset) -> tuple[Frame, ...]:
    """Frames of an enhanced image from its functional groups (PS3.3 section C.7.6.16)."""
    shared = (_list(dataset.get("SharedFunctionalGroupsSequence")) or [Dataset()])[0]
    per_frame = _list(dataset.get("PerFrameFunctionalGroupsSequence"))
    count = max(1, _integer(dataset, "NumberOfFrames", 1))
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


def _pair(dataset: Dataset) -> tuple[float, float] | None:
    values = numbers_of(dataset, "PixelSpacing", 2)
    if values is None:
        values = numbers_of(dataset, "ImagerPixelSpacing", 2)
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


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    values = numbers_of(dataset, keyword, 1)
    return default if values is None else float(values[0])


def _integer(dataset: Dataset, keyword: str, default: int) -> int:
    value = dataset.get(keyword)
    return default if value in (None, "") else int(value)


def _list(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)


def _word(value: Any) -> str:
    """A defined term of the standard; anything longer is somebody's text and not repeated."""
    text = str(value or "").strip().upper()
    return text if text.isalpha() and len(text) <= 9 else "OT"
