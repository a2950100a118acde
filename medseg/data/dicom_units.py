"""Unit: what the values of an enhanced PET frame measure, and the straight line that leads from stored values to them.

An enhanced PET image has no Units; each frame has one or more real world value mappings (PS3.3 section C.7.6.16.2.11,
mandatory for enhanced PET by section A.56.4), each with a unit of PS3.16 CID 84 or 85 in UCUM. A mapping starts at the
stored values and doesn't know of the rescale (PixelValueTransformationSequence). Of several, the first counts in the
order of `_UNITS`: a SUV needs no dose. Where no mapping states a unit, RescaleType may, or Units, which files converted
from classic series keep among the unassigned attributes (section C.7.6.16.2.25); the values are then the rescaled ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydicom.dataset import Dataset

from medseg.data.dicom_frames import Facts, Frame, is_number, list_of, text_of
from medseg.errors import GeometryError, ReadError

__all__ = ["classic_facts", "pet_frames"]

_UNITS: Final[dict[str, tuple[str, float]]] = {
    "g/ml{SUVbw}": ("GML BW", 1.0),
    "{SUVbw}g/ml": ("GML BW", 1.0),
    "g/ml{SUVlbm(James128)}": ("GML LBMJAMES128", 1.0),
    "{SUVlbm(James128)}g/ml": ("GML LBMJAMES128", 1.0),
    "cm2/ml{SUVbsa}": ("CM2ML BSA", 1.0),
    "{SUVbsa}cm2/ml": ("CM2ML BSA", 1.0),
    "g/ml": ("GML", 1.0),
    "cm2/ml": ("CM2ML", 1.0),
    "Bq/ml": ("BQML", 1.0),
    "kBq/ml": ("BQML", 1e3),
    "MBq/ml": ("BQML", 1e6),
}
"""UCUM code (with the annotation behind the unit, or before it as in older editions of PS3.16) to the Units and SUVType
of a classic PET image (PS3.3 section C.8.9.1), and what a value is multiplied by."""
_CLASSIC: Final = {"BQML", "GML", "CM2ML"}
_RESCALE_TYPES: Final = {"BQ/ML": "BQML", "BQML": "BQML"}
_TOLERANCE: Final = 1e-4
"""By which two statements of one slope may differ, as a share; decimal strings are rounded."""
_LEGACY: Final = "UnassignedSharedConvertedAttributesSequence"
_LEGACY_FRAME: Final = "UnassignedPerFrameConvertedAttributesSequence"


@dataclass(frozen=True, slots=True)
class _Line:
    slope: float
    intercept: float
    unit: str
    low: float
    high: float


def pet_frames(facts: Facts, frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """The frames of an enhanced PET image with the values and the unit that the file states.

    Args:
        facts: Header of the file.
        frames: Its frames as `enhanced_frames` makes them, by their rescale.

    Raises:
        ReadError: The values are given by a table or piece by piece, or two statements contradict each other.
        GeometryError: Frames have different units.
    """
    shared = _first(facts.get("SharedFunctionalGroupsSequence"))
    signed = str(facts.get("PixelRepresentation") or 0) == "1"
    stated = _stated_unit(facts, shared)
    done = []
    for frame, group in zip(frames, list_of(facts.get("PerFrameFunctionalGroupsSequence")), strict=True):
        rescale = _of_frame(group, shared, "PixelValueTransformationSequence")
        kind = _RESCALE_TYPES.get(text_of(_first(rescale), "RescaleType").upper(), "")
        line = _chosen_line(_of_frame(group, shared, "RealWorldValueMappingSequence"), signed=signed)
        if line is None:
            done.append(replace(frame, unit=kind or stated))
            continue
        _require_agreement(frame, line, unit=kind or (stated if (frame.slope, frame.intercept) != (1.0, 0.0) else ""))
        done.append(
            replace(
                frame, slope=line.slope, intercept=line.intercept, unit=line.unit, mapped=_ends(line), is_rescaled=True
            )
        )
    if len({frame.unit for frame in done}) > 1:
        raise GeometryError(
            "expected one unit of the values in all frames; found several (RealWorldValueMappingSequence). Export them "
            "as images of their own"
        )
    return tuple(done)


def classic_facts(dataset: Dataset, unit: str) -> Dataset:
    """The header as that of a classic PET image, as far as SUV asks for it.

    Args:
        dataset: Header of any PET file.
        unit: Unit of an enhanced image, from `pet_frames`: Units, and after a blank the SUVType; empty where none is
            known.

    Returns:
        The header itself where the file is a classic one; else a copy with Units, SUVType, and what the converter of a
        classic series kept as unassigned attributes.
    """
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        return dataset
    shared = _first(dataset.get("SharedFunctionalGroupsSequence"))
    told = Dataset()
    told.update(_first(_first(dataset.get("PerFrameFunctionalGroupsSequence")).get(_LEGACY_FRAME)))
    told.update(_first(shared.get(_LEGACY)))
    told.update(dataset)
    units, _, kind = unit.partition(" ")
    told.Units, told.SUVType = (units, kind) if units in _CLASSIC else ("", "")
    return told


def _of_frame(group: Dataset, shared: Dataset, sequence: str) -> list[Dataset]:
    return list_of(group.get(sequence)) or list_of(shared.get(sequence))


def _stated_unit(facts: Facts, shared: Dataset) -> str:
    """By attributes of classic images, which a converter may have kept."""
    legacy = _first(shared.get(_LEGACY))
    units = (text_of(facts, "Units") or text_of(legacy, "Units")).upper()
    return f"{units} {text_of(legacy, 'SUVType').upper()}".strip() if units in _CLASSIC else ""


def _chosen_line(items: Sequence[Dataset], *, signed: bool) -> _Line | None:
    """The mapping that counts; None where there is none."""
    codes = [_code(item) for item in items]
    wanted = next((code for code in _UNITS if code in codes), "")
    if not wanted:
        straight = [item for item in items if "RealWorldValueSlope" in item]
        return _line(straight[0], signed=signed) if len(straight) == len(items) == 1 else None
    unit = _UNITS[wanted][0]
    lines = {
        _line(item, signed=signed)
        for item, code in zip(items, codes, strict=True)
        if code in _UNITS and _UNITS[code][0] == unit
    }
    if len(lines) > 1:
        raise ReadError(
            "the file maps its stored values to one unit in several ways (RealWorldValueMappingSequence); expected one "
            "straight line. Export the series again"
        )
    return lines.pop()


def _line(item: Dataset, *, signed: bool) -> _Line:
    slope, intercept = item.get("RealWorldValueSlope"), item.get("RealWorldValueIntercept")
    if "RealWorldValueLUTData" in item and slope is None:
        raise ReadError(
            "the file maps its stored values by a table (RealWorldValueLUTData); expected a straight line. Export the "
            "series with slope and intercept"
        )
    if not is_number(slope) or not is_number(intercept) or float(slope) == 0:
        raise ReadError(
            "RealWorldValueMappingSequence: expected a slope other than 0 and an intercept; the header is broken, "
            "export the series again"
        )
    code = _code(item)
    unit, factor = _UNITS.get(code, (code, 1.0))
    low = _mapped(item, "FirstValueMapped", signed=signed, default=-math.inf)
    high = _mapped(item, "LastValueMapped", signed=signed, default=math.inf)
    return _Line(float(slope) * factor, float(intercept) * factor, unit, min(low, high), max(low, high))


def _mapped(item: Dataset, keyword: str, *, signed: bool, default: float) -> float:
    """An end of the range of stored values that a mapping holds for; read as signed or not as the pixels are."""
    value: Any = item.get(f"RealWorldValue{keyword}")
    if value is None:
        value = item.get(f"DoubleFloatRealWorldValue{keyword}")
        return float(value) if is_number(value) else default
    number = int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)
    return float((number & 0xFFFF) - 0x10000) if signed and (number & 0x8000) else float(number)


def _ends(line: _Line) -> tuple[float, float] | None:
    """The range that the mapping holds for, in its values; None where every stored value is in it."""
    if math.isinf(line.low) and math.isinf(line.high):
        return None
    first, last = (end * line.slope + line.intercept for end in (line.low, line.high))
    room = _TOLERANCE * max(abs(end) for end in (first, last, line.slope) if math.isfinite(end)) + abs(line.slope) / 2
    return min(first, last) - room, max(first, last) + room


def _require_agreement(frame: Frame, line: _Line, *, unit: str) -> None:
    """Refuse two different lines to one unit, of which nobody knows the right one."""
    slopes = math.isclose(frame.slope, line.slope, rel_tol=_TOLERANCE)
    intercepts = math.isclose(frame.intercept, line.intercept, rel_tol=_TOLERANCE, abs_tol=abs(line.slope) * 0.01)
    if unit and unit.split(" ")[0] == line.unit.split(" ")[0] and not (slopes and intercepts):
        raise ReadError(
            "RealWorldValueMappingSequence and PixelValueTransformationSequence state different values in one unit; "
            "expected the same. Export the series again"
        )


def _code(item: Dataset) -> str:
    """UCUM code of the unit of a mapping; empty where it is of another scheme or missing."""
    unit = _first(item.get("MeasurementUnitsCodeSequence"))
    code = text_of(unit, "CodeValue") or text_of(unit, "LongCodeValue")  # A CodeValue has 16 signs at most.
    return code if text_of(unit, "CodingSchemeDesignator").upper() == "UCUM" else ""


def _first(sequence: Any) -> Dataset:
    items = list_of(sequence)
    return items[0] if items else Dataset()
