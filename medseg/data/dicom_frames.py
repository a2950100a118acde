"""Frame: one image plane of a DICOM file, where it lies, how its stored values become values, and what sets it apart.

A classic file has one frame, or several that share one header. An enhanced file has functional groups, shared and per
frame (PS3.3 section C.7.6.16); its dimension organisation (section C.7.6.17) says by which attributes frames differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset

from medseg.errors import GeometryError
from medseg.types import FloatArray

__all__ = [
    "VARIATIONS",
    "Facts",
    "Frame",
    "classic_frames",
    "enhanced_frames",
    "frame_count",
    "is_number",
    "list_of",
    "numbers_of",
    "text_of",
    "tomographic_frames",
]

VARIATIONS: Final = {
    "ImageType": "image types",
    "DiffusionBValue": "diffusion b-values",
    "EchoTime": "echo times",
    "EchoNumbers": "echo numbers",
    "InversionTime": "inversion times",
    "ConvolutionKernel": "reconstruction kernels",
    "TemporalPositionIdentifier": "time points",
    "TriggerTime": "trigger times",
    "FrameReferenceTime": "frame times",
    "AcquisitionNumber": "acquisitions",
    "DiffusionGradientOrientation": "diffusion directions",
    "Dimension": "dimension indices",
    "AcquisitionTime": "acquisition times",
}
"""What images at one position can differ in on purpose, and what to call it; the most telling first."""

_GROUPS: Final = ("PlanePosition", "PlaneOrientation", "PixelMeasures", "PixelValueTransformation", "FrameContent")
_FRAME_TYPES: Final = ("MRImageFrameType", "CTImageFrameType", "PETFrameType", "XRay3DFrameType")
_INDEXED: Final = {
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "InversionTime": ("MRModifierSequence", "InversionTimes"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "AcquisitionTime": ("FrameContentSequence", "FrameAcquisitionDateTime"),
}
"""Attribute of a classic file to the functional group and the attribute of an enhanced file that say the same."""
_PLACING: Final = frozenset(
    tag_for_keyword(word) for word in ("StackID", "InStackPositionNumber", "ImagePositionPatient", "SliceLocation")
)
"""Dimension indices that say where a frame lies, not what sets it apart from others at its place."""

_TISSUE, _CENTIMETRES = 1, 3
"""A region that shows 2D tissue (Region Spatial Format); the unit cm (Physical Units X Direction)."""

Facts = Mapping[str, Any] | Dataset
"""Keyword to value: of a file, or of an item of a sequence."""


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One image plane.

    Attributes:
        position: Centre of the first voxel, (x, y, z) in mm, LPS+; None where the header has none.
        orientation: Direction of a row (columns increasing), then of a column (rows increasing), 6 cosines, LPS+.
        spacing: Distance of the rows, then of the columns, in mm (the order of PixelSpacing).
        is_on_detector: Whether the spacing is that of a radiograph's detector, as it states no other.
        slope: Rescale slope.
        intercept: Rescale intercept.
        thickness: Slice thickness in mm, or nan.
        stack: StackID of an enhanced image; empty elsewhere.
        variations: Keyword of `VARIATIONS` to value, for what the header states.
        is_in_unit: Whether a rescale is stated that gives the modality's unit (Hounsfield units of a CT).
        is_rescaled: Whether slope and intercept are stated, both.
        unit: What the values of an enhanced PET image are (`dicom_units`); empty elsewhere.
        mapped: Smallest and largest value that slope and intercept hold for; None where they hold for all.
    """

    position: FloatArray | None
    orientation: FloatArray | None
    spacing: tuple[float, float] | None
    slope: float
    intercept: float
    thickness: float
    stack: str = ""
    variations: Mapping[str, str] = field(default_factory=dict)
    is_in_unit: bool = False
    is_rescaled: bool = False
    unit: str = ""
    mapped: tuple[float, float] | None = None
    is_on_detector: bool = False

    @property
    def is_placed(self) -> bool:
        """Whether position, orientation and pixel spacing are all known."""
        return self.position is not None and self.orientation is not None and self.spacing is not None


def classic_frames(facts: Facts, *, variations: Mapping[str, str], stack: str = "") -> tuple[Frame, ...]:
    """The frames of a file whose header holds for all of them.

    Raises:
        GeometryError: Numbers of the geometry are no numbers.
    """
    return (_frame(facts, placing=facts, variations=variations, stack=stack),) * frame_count(facts)


def enhanced_frames(facts: Facts) -> tuple[Frame, ...]:
    """The frames of a file with functional groups.

    Raises:
        GeometryError: Numbers of the geometry are no numbers, or there are not as many groups as frames.
    """
    shared = (list_of(facts.get("SharedFunctionalGroupsSequence")) or [Dataset()])[0]
    per_frame = list_of(facts.get("PerFrameFunctionalGroupsSequence"))
    count = frame_count(facts)
    if len(per_frame) != count:
        raise GeometryError(
            f"expected functional groups for each of {count} frames; found {len(per_frame)}. The file is broken"
        )
    telling = _telling_dimensions(facts)
    # Secondary captures state one rescale for all frames, outside of the groups (PS3.3 section C.8.6.3).
    rescale = Dataset()
    for word in ("RescaleSlope", "RescaleIntercept"):
        setattr(rescale, word, facts.get(word))
    frames: list[Frame] = []
    for group in per_frame:
        merged = Dataset()
        merged.update(rescale)
        for sequence in _GROUPS:
            merged.update(_item(group, shared, f"{sequence}Sequence"))
        stack = str(merged.get("StackID", "") or "")
        frames.extend(classic_frames(merged, variations=_variations(group, shared, telling), stack=stack))
    return tuple(frames)


def tomographic_frames(facts: Facts) -> tuple[Frame, ...] | None:
    """The slices of a reconstructed nuclear medicine image, or None where the file is none.

    The first slice lies where DetectorInformationSequence says (PS3.3 section C.8.4.11); the next follow along the
    normal at SpacingBetweenSlices, whose sign counts (section C.8.4.15): positive is behind the first slice.

    Raises:
        GeometryError: Numbers of the geometry are no numbers.
    """
    detectors = list_of(facts.get("DetectorInformationSequence"))
    if not detectors:
        return None
    step = numbers_of(facts, "SpacingBetweenSlices", 1)
    if "RECON TOMO" not in [str(word) for word in list_of(facts.get("ImageType"))] or step is None:
        return None
    first = _frame(facts, placing=detectors[0], variations={}, stack="")
    if first.position is None or first.orientation is None:
        return None
    normal = np.cross(first.orientation[:3], first.orientation[3:])
    numbers = range(frame_count(facts))
    return tuple(replace(first, position=first.position + number * step[0] * normal) for number in numbers)


def _frame(facts: Facts, *, placing: Facts, variations: Mapping[str, str], stack: str) -> Frame:
    """The frame of these facts, at the place that `placing` states."""
    return Frame(
        position=numbers_of(placing, "ImagePositionPatient", 3),
        orientation=_orientation(placing),
        spacing=_pair(facts),
        slope=_number(facts, "RescaleSlope", 1.0),
        intercept=_number(facts, "RescaleIntercept", 0.0),
        thickness=_number(facts, "SliceThickness", math.nan),
        stack=stack,
        variations=variations,
        is_in_unit=str(facts.get("RescaleType") or "HU") != "US" and facts.get("RescaleSlope") is not None,
        is_rescaled=facts.get("RescaleSlope") not in (None, "") and facts.get("RescaleIntercept") not in (None, ""),
        is_on_detector=not facts.get("PixelSpacing") and bool(facts.get("ImagerPixelSpacing")),
    )


def _item(group: Dataset, shared: Dataset, sequence: str) -> Dataset:
    items = list_of(group.get(sequence)) or list_of(shared.get(sequence))
    return items[0] if items else Dataset()


def _variations(group: Dataset, shared: Dataset, telling: Sequence[int]) -> dict[str, str]:
    found = {word: _item(group, shared, sequence).get(key) for word, (sequence, key) in _INDEXED.items()}
    content = _item(group, shared, "FrameContentSequence")
    indices = list_of(content.get("DimensionIndexValues"))
    found["Dimension"] = [indices[place] for place in telling if place < len(indices)]
    directions = _item(group, shared, "MRDiffusionSequence").get("DiffusionGradientDirectionSequence")
    if directions:
        found["DiffusionGradientOrientation"] = directions[0].get("DiffusionGradientOrientation")
    kinds = [_item(group, shared, f"{name}Sequence") for name in _FRAME_TYPES]
    words = [
        word for item in kinds for key in ("FrameType", "ComplexImageComponent") for word in list_of(item.get(key))
    ]
    found["ImageType"] = words
    return {word: "\\".join(str(v) for v in list_of(value)) for word, value in found.items() if list_of(value)}


def _telling_dimensions(facts: Facts) -> list[int]:
    """Places in DimensionIndexValues of the dimensions that don't say where a frame lies."""
    dimensions = list_of(facts.get("DimensionIndexSequence"))
    return [place for place, item in enumerate(dimensions) if item.get("DimensionIndexPointer") not in _PLACING]


def numbers_of(facts: Facts, keyword: str, count: int) -> FloatArray | None:
    """The finite numbers of an attribute, or None when it is absent or empty.

    Raises:
        GeometryError: The attribute has another count of numbers, or one that isn't finite.
    """
    values = _floats(facts, keyword, count)
    return None if values is None else np.array(values)


def _floats(facts: Facts, keyword: str, count: int) -> tuple[float, ...] | None:
    """As `numbers_of`, in plain Python: thousands of headers have a dozen such attributes each."""
    value = facts.get(keyword)
    if value is None or value == "":
        return None
    # Each file has its own position: remembered, it would push out what all share.
    shared = type(value) in (str, tuple) and keyword != "ImagePositionPatient"
    values = _parsed(value) if shared else tuple(map(float, list_of(value)))
    if len(values) != count or not all(map(math.isfinite, values)):
        raise GeometryError(
            f"{keyword}: expected {count} finite numbers; the header is broken, export the series again"
        )
    return values


@lru_cache(maxsize=256)
def _parsed(value: str | tuple[Any, ...]) -> tuple[float, ...]:
    """The numbers of a value; the files of a series share most of theirs."""
    return tuple(map(float, list_of(value)))


def frame_count(facts: Facts) -> int:
    """Number of frames of a file, 1 or more."""
    value = facts.get("NumberOfFrames")
    return 1 if value in (None, "") else max(1, int(value))


def text_of(facts: Facts, keyword: str) -> str:
    """The text of an attribute without blanks at its ends; empty when it is absent."""
    return str(facts.get(keyword, "") or "").strip()


def is_number(value: Any) -> bool:
    """Whether a value, or the text of one, is a finite number."""
    try:
        return math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


def list_of(value: Any) -> list[Any]:
    """The values of an attribute, whether it has none, one or several."""
    if type(value) is tuple:  # First: most are, and what else is a sequence takes long to tell.
        return list(value)
    if value is None or value == "":
        return []
    if isinstance(value, (str, int, float)):
        return [value]
    return value if type(value) is list else list(value) if isinstance(value, Sequence) else [value]


def _pair(facts: Facts) -> tuple[float, float] | None:
    values = _floats(facts, "PixelSpacing", 2) or _floats(facts, "ImagerPixelSpacing", 2) or _of_regions(facts)
    if values is None:
        return None
    if min(values) <= 0:
        raise GeometryError("PixelSpacing: expected two numbers above 0; the header is broken, export the series again")
    return values[0], values[1]


def _of_regions(facts: Facts) -> tuple[float, float] | None:
    """Spacing of an ultrasound image, where all its regions of tissue state one in cm (PS3.3 section C.8.5.5)."""
    found = set()
    for item in list_of(facts.get("SequenceOfUltrasoundRegions")):
        if item.get("RegionSpatialFormat") != _TISSUE:
            continue
        units = (item.get("PhysicalUnitsXDirection"), item.get("PhysicalUnitsYDirection"))
        steps = (_floats(item, "PhysicalDeltaY", 1), _floats(item, "PhysicalDeltaX", 1))
        if units != (_CENTIMETRES, _CENTIMETRES) or None in steps:
            return None
        found.add(tuple(round(abs(step[0]) * 10, 6) for step in steps if step is not None))
    (pair,) = found if len(found) == 1 else (None,)
    return None if pair is None or min(pair) == 0 else (pair[0], pair[1])


def _orientation(facts: Facts) -> FloatArray | None:
    values = _floats(facts, "ImageOrientationPatient", 6)
    return None if values is None else _unit(values)


@lru_cache(maxsize=64)
def _unit(orientation: tuple[float, ...]) -> FloatArray:
    """Both directions with length 1, not to be written to; written cosines are rounded."""
    row, column = orientation[:3], orientation[3:]
    lengths = math.hypot(*row), math.hypot(*column)
    across = sum(a * b for a, b in zip(row, column, strict=True))
    if min(lengths) < 0.9 or max(lengths) > 1.1 or abs(across) > 0.01:
        raise GeometryError(
            "ImageOrientationPatient: expected two perpendicular directions of length 1; the header is broken, "
            "export the series again"
        )
    unit = np.array([*(v / lengths[0] for v in row), *(v / lengths[1] for v in column)])
    unit.flags.writeable = False
    return unit


def _number(facts: Facts, keyword: str, default: float) -> float:
    values = _floats(facts, keyword, 1)
    return default if values is None else values[0]
