"""DICOM header: what sorting and geometry need of one file, read without its pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pydicom
import pydicom.config
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medseg.data.dicom_frames import (
    VARIATIONS,
    Facts,
    Frame,
    classic_frames,
    enhanced_frames,
    frame_count,
    is_number,
    list_of,
    text_of,
    tomographic_frames,
)
from medseg.data.dicom_scan import PIXEL_PLACE, scan_elements
from medseg.data.dicom_units import pet_frames
from medseg.errors import DataError, ReadError
from medseg.privacy.codecs import NATIVE
from medseg.privacy.deflated import check_deflated
from medseg.privacy.limits import MAX_VOXELS

__all__ = ["Header", "looks_like_dicom", "read_dataset", "read_header", "refusing_damage"]

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
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SequenceOfUltrasoundRegions",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "Units",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "DimensionIndexSequence",
    "DetectorInformationSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "AcquisitionDate",
    "AcquisitionTime",
]
_B_VALUES: Final = (
    (0x0019100C, 0x00190010, "SIEMENS MR HEADER"),
    (0x00431039, 0x00430010, "GEMS_PARM_01"),
    (0x20011003, 0x20010010, "Philips Imaging DD 001"),
)
"""Where older files keep the b-value: private tag, tag and value of its creator (vendors' conformance statements)."""
_PRIVATE: Final = {tag: f"private {tag:08x}" for triple in _B_VALUES for tag in triple[:2]}
_KEYWORD_OF = {tag: word for word in (*_KEYWORDS, *VARIATIONS) if (tag := tag_for_keyword(word)) is not None} | _PRIVATE
_PREAMBLE_BYTES = 128

# Nothing here depends on what pydicom would warn of.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True, eq=False, slots=True)
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
    units: str
    """Units of a PET image, of an enhanced one as `dicom_units` says; empty elsewhere."""
    frames: tuple[Frame, ...]
    frame_numbers: tuple[int, ...]
    """Which of the file's frames `frames` are, from 0."""
    frame_count: int
    """Frames in the file."""
    acquired: str
    padding: tuple[int, int] | None
    """Smallest and largest stored value that is no image but filling (PS3.3 section C.7.5.1.1.2)."""
    is_float: bool
    """Whether the pixels are floating-point numbers."""
    pixel_place: tuple[int, int] | None
    """Offset and length in bytes of native little-endian pixels, where the scan found them."""

    @property
    def is_image(self) -> bool:
        """Whether the file holds an image to segment (and no label map, dose, report or presentation state)."""
        return self.rows > 0 and self.columns > 0 and self.modality not in NOT_IMAGES

    def with_frames(self, places: Sequence[int]) -> Header:
        """The same file with only the frames at these places of `frames`, in the order of the file."""
        kept = sorted(places)  # Decoders that read from the start give them in this order.
        return replace(
            self,
            frames=tuple(self.frames[place] for place in kept),
            frame_numbers=tuple(self.frame_numbers[place] for place in kept),
        )

    @property
    def kind(self) -> str:
        """The DICOM standard's name of the file's class, for a message; of a class that pydicom lacks the modality."""
        name = UID(self.sop_class).name if self.sop_class else ""
        return name if name and not name[0].isdigit() else f"an object of the modality {self.modality}"


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
        with path.open("rb") as stream:
            check_deflated(stream)
        return pydicom.dcmread(path, stop_before_pixels=not pixels, specific_tags=wanted, force=True)
    except ReadError:
        raise
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
    except DataError:
        raise
    except Exception as error:
        # As in `refusing_damage`, whose context would take a fortieth of the time of sorting a folder.
        raise ReadError(f"the DICOM header is damaged ({type(error).__name__}); export the series again") from None


@contextmanager
def refusing_damage(what: str, *, remedy: str) -> Iterator[None]:
    """Make a refusal of whatever damaged values raise in the block.

    Args:
        what: What is damaged, for the message.
        remedy: What to do about it.

    Raises:
        ReadError: Something in the block raised anything but a `DataError`.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        # pydicom converts values when they are asked for, and raises whatever a damaged or hostile one makes it raise.
        raise ReadError(f"{what} is damaged ({type(error).__name__}); {remedy}") from None


def _read_facts(path: Path) -> dict[str, Any]:
    """Keyword to value, read by pydicom."""
    dataset = read_dataset(path, tags=list(_KEYWORD_OF), pixels=False)
    with refusing_damage("the DICOM header", remedy="export the series again"):
        facts = {word: dataset[tag].value for tag, word in _KEYWORD_OF.items() if tag in dataset}
        facts["TransferSyntaxUID"] = str(getattr(dataset, "file_meta", Dataset()).get("TransferSyntaxUID", ""))
    return facts


def _header_of(facts: Facts, path: Path) -> Header:
    rows, columns = _integer(facts, "Rows", 0), _integer(facts, "Columns", 0)
    samples = _integer(facts, "SamplesPerPixel", 1)
    modality = _word(facts.get("Modality"))
    count = frame_count(facts)
    claimed = rows * columns * samples * count
    if claimed > MAX_VOXELS:
        raise ReadError(f"the header claims more than {MAX_VOXELS:,} voxels; nothing that large is read")
    allocated = _integer(facts, "BitsAllocated", 16)
    stored = _integer(facts, "BitsStored", allocated)
    signed = _integer(facts, "PixelRepresentation", 0) == 1
    frames: tuple[Frame, ...] = ()
    if modality not in NOT_IMAGES:
        frames = _frames(facts)
        _require_known_values(facts, frames, allocated=allocated, stored=stored)
    return Header(
        path=path,
        series_uid=str(facts.get("SeriesInstanceUID", "")),
        study_uid=str(facts.get("StudyInstanceUID", "")),
        instance_uid=str(facts.get("SOPInstanceUID", "")),
        patient=text_of(facts, "PatientID"),
        modality=modality,
        sop_class=str(facts.get("SOPClassUID", "")),
        transfer_syntax=str(facts.get("TransferSyntaxUID", "")),
        frame_of_reference=str(facts.get("FrameOfReferenceUID", "")),
        photometric=str(facts.get("PhotometricInterpretation", "MONOCHROME2")),
        rows=rows,
        columns=columns,
        samples=samples,
        bits_stored=stored,
        signed=signed,
        localiser="LOCALIZER" in [str(word).upper() for word in list_of(facts.get("ImageType"))],
        has_modality_lut=bool(facts.get("ModalityLUTSequence")),
        rescale_is_unit=bool(frames) and all(frame.is_in_unit for frame in frames),
        units=next((frame.unit for frame in frames if frame.unit), text_of(facts, "Units")),
        frames=frames,
        frame_numbers=tuple(range(len(frames))),
        frame_count=count,
        bits_allocated=allocated,
        padding=_padding(facts, allocated=allocated, signed=signed),
        is_float="BitsStored" not in facts and "PixelRepresentation" not in facts,
        pixel_place=facts.get(PIXEL_PLACE),
        acquired=str(facts.get("AcquisitionDate", "") or "") + str(facts.get("AcquisitionTime", "") or ""),
    )


def _require_known_values(facts: Facts, frames: Sequence[Frame], *, allocated: int, stored: int) -> None:
    """Refuse headers by which nobody can tell the values: readers take them for different numbers, and say nothing."""
    if any(frame.slope == 0 for frame in frames):
        raise ReadError("RescaleSlope is 0, so that all values are the same; the header is broken, export it again")
    high = _integer(facts, "HighBit", -1)
    if not 1 <= stored <= allocated:
        raise ReadError(f"expected 1 to {allocated} bits stored a pixel; found {stored}. Export the series again")
    syntax = str(facts.get("TransferSyntaxUID", ""))
    is_native = not syntax or syntax in NATIVE  # Where none is stated, it is one of these.
    if is_native and "BitsStored" in facts and high >= 0 and high != stored - 1:
        raise ReadError(
            f"HighBit is {high} with {stored} bits stored; expected {stored - 1} (PS3.5 section 8.1.1). Other readers "
            "ignore it and show other values; export the series again"
        )


def _frames(facts: Facts) -> tuple[Frame, ...]:
    if facts.get("PerFrameFunctionalGroupsSequence"):
        frames = enhanced_frames(facts)
        return pet_frames(facts, frames) if _word(facts.get("Modality")) == "PT" else frames
    return tomographic_frames(facts) or classic_frames(facts, variations=_variations(facts))


def _variations(facts: Facts) -> dict[str, str]:
    found = {}
    for key in VARIATIONS:
        value = facts.get(key)
        if value is not None and value != "":
            found[key] = value if type(value) is str else "\\".join(str(one) for one in list_of(value))
    date = facts.get("AcquisitionDate")
    if date and "AcquisitionTime" in found:
        found["AcquisitionTime"] = f"{date}\\{found['AcquisitionTime']}"  # Scans go on after midnight.
    if "DiffusionBValue" not in found:
        for tag, creator, name in _B_VALUES:
            value = list_of(facts.get(_PRIVATE[tag]))
            if value and str(facts.get(_PRIVATE[creator], "")).strip() == name and is_number(value[0]):
                # GE adds a thousand million to the b-value.
                found["DiffusionBValue"] = f"{float(value[0]) % 1e9:g}"
    return found


def _padding(facts: Facts, *, allocated: int, signed: bool) -> tuple[int, int] | None:
    """Range of the padding values; read as signed or unsigned as the pixels are, whatever its own VR says."""
    found = [facts.get(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    values = [int(value) for value in found if isinstance(value, int)]
    if not values or allocated > 16:
        return None
    wrapped = [value & 0xFFFF for value in values]
    settled = [value - 0x10000 if signed and value >= 0x8000 else value for value in wrapped]
    return min(settled), max(settled)


def _integer(facts: Facts, keyword: str, default: int) -> int:
    value = facts.get(keyword)
    return default if value in (None, "") else int(value)


def _word(value: Any) -> str:
    """A defined term of the standard; anything longer is somebody's text and not repeated."""
    text = str(value or "").strip().upper()
    return text if text.isalpha() and len(text) <= 9 else "OT"
