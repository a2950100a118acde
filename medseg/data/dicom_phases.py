"""Phase: one of several images of one place in a series: an echo, a b-value, a time point, a kind of reconstruction.

The rule, for frames of one direction:

1. Frames are gathered by place along the slices' normal. One frame a place is a plain stack: one phase.
2. Several a place are told apart by attributes of `VARIATIONS` that put one frame of every place into each phase: by
   the values of the fewest, the most telling first; or by the order of times, acquisitions or directions, within the
   values of whatever else differs. Phases on one grid become channels of one volume: ``b0``, ``b800``, ``echo1``,
   ``phase3``, ``magnitude``; a value that isn't a b-value or a term of the standard is numbered, never written.
3. Where values tell the frames apart but the phases cover different places, each phase is a volume of its own.
4. One frame a place whose b-values or kernels take turns along the slices are several stacks pushed into each other:
   each is a volume of its own.
5. Frames that nothing tells apart are duplicates, and the series is refused.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from medseg.data.dicom_frames import VARIATIONS, Frame, is_number

__all__ = ["Phase", "find_phases", "places_along"]

_NAMES: Final = {
    "EchoTime": "echo", "EchoNumbers": "echo", "InversionTime": "inversion", "ConvolutionKernel": "kernel",
    "TemporalPositionIdentifier": "phase", "TriggerTime": "phase", "FrameReferenceTime": "phase",
    "AcquisitionNumber": "acquisition", "DiffusionGradientOrientation": "direction", "Dimension": "dimension",
    "AcquisitionTime": "phase", "ImageType": "type",
}  # fmt: skip
_ORDERED: Final = frozenset(
    ("TemporalPositionIdentifier", "TriggerTime", "FrameReferenceTime", "AcquisitionNumber", "AcquisitionTime",
     "DiffusionGradientOrientation")
)  # fmt: skip
"""Attributes that may differ from slice to slice as well; what counts is their order at each place."""
_TERMS: Final = {
    "M": "magnitude", "MAGNITUDE": "magnitude", "P": "phase", "PHASE": "phase", "R": "real", "REAL": "real",
    "I": "imaginary", "IMAGINARY": "imaginary", "ADC": "ADC", "TRACEW": "trace", "FA": "FA", "WATER": "water",
    "W": "water", "FAT": "fat", "F": "fat", "IN_PHASE": "in_phase", "IP": "in_phase", "OUT_PHASE": "out_phase",
    "OPP_PHASE": "out_phase", "OP": "out_phase", "FIELD_MAP": "field_map", "B0": "B0", "T1": "T1", "T2": "T2",
    "T2_STAR": "T2_star", "R2_STAR": "R2_star", "PROTON_DENSITY": "proton_density", "FAT_FRACTION": "fat_fraction",
    "VELOCITY": "velocity", "SUB": "subtraction", "MAGNITUDE_AND_PHASE": "magnitude_and_phase",
}  # fmt: skip
"""Terms of Image Type and Frame Type (PS3.3 sections C.8.13.3.1 and C.8.3.1.1.1) that name a quantity."""
_TAKING_TURNS: Final = ("DiffusionBValue", "ConvolutionKernel")
_MOST: Final = 3
"""Attributes that together tell phases apart."""


@dataclass(frozen=True)
class Phase:
    """One image of a place.

    Attributes:
        name: Name of the channel; empty where there is one phase only.
        frames: Indices of its frames.
    """

    name: str
    frames: tuple[int, ...]


def places_along(frames: Sequence[Frame]) -> list[int]:
    """Number of each frame's place along the normal of the first; those less than a thousandth of a gap apart share it.

    Args:
        frames: Placed frames of one direction.
    """
    first = frames[0].orientation
    if first is None:
        return [0] * len(frames)
    heights = np.array([frame.position for frame in frames], dtype=np.float64) @ np.cross(first[:3], first[3:])
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    same = max(1e-3, 1e-3 * float(gaps.sum()) / len(frames))
    numbers = np.concatenate([[0], np.cumsum(gaps >= same)])
    places = np.empty(len(frames), dtype=int)
    places[order] = numbers
    return [int(place) for place in places]


def find_phases(frames: Sequence[Frame]) -> list[Phase]:
    """Tell the frames of one stack apart into phases; the module says by which rule.

    Args:
        frames: Placed frames of one direction.

    Returns:
        The phases in the order of their values; a single one where no place has several frames, or where nothing tells
        them apart.
    """
    places = places_along(frames)
    counts = Counter(places)
    whole = [Phase("", tuple(range(len(frames))))]
    if max(counts.values()) == 1:
        return _taking_turns(frames, places) or whole
    levels = {key: [frame.variations.get(key, "") for frame in frames] for key in VARIATIONS}
    telling = [
        key
        for key, values in levels.items()
        if _differs(values, places) and not (key == "AcquisitionTime" and _may_pass_midnight(values))
    ]
    number = max(counts.values())
    if set(counts.values()) == {number}:
        for keys in _choices(telling):
            groups = _group(keys, levels, places, whole=number)
            if groups is not None and len(groups) == number:
                return _named(groups, keys)
    for keys in _choices([key for key in telling if key not in _ORDERED]):
        groups = _group(keys, levels, places, whole=0)
        if groups is not None and min(len(group) for group in groups.values()) > 1:
            return _named(groups, keys)
    return whole


def _taking_turns(frames: Sequence[Frame], places: Sequence[int]) -> list[Phase]:
    """Stacks that were pushed into each other, by an attribute whose values recur along the slices; empty for none."""
    order = sorted(range(len(frames)), key=lambda index: places[index])
    for key in _TAKING_TURNS:
        values = [frames[index].variations.get(key, "") for index in order]
        period = len(set(values))
        if 1 < period <= len(values) // 2 and all(a == b for a, b in zip(values, values[period:], strict=False)):
            groups: defaultdict[tuple[Hashable, ...], list[int]] = defaultdict(list)
            for index, value in zip(order, values, strict=True):
                groups[(value,)].append(index)
            return _named(groups, (key,))
    return []


def _may_pass_midnight(times: Sequence[str]) -> bool:
    """Whether times of day without dates lie so far apart that nobody knows which of them is the first."""
    hours = [float(time[:2]) for time in times if "\\" not in time and is_number(time[:2])]
    return bool(hours) and max(hours) - min(hours) >= 12


def _differs(values: Sequence[str], places: Sequence[int]) -> bool:
    """Whether some place has more than one of the values."""
    seen: dict[int, str] = {}
    return any(seen.setdefault(place, value) != value for place, value in zip(places, values, strict=True))


def _choices(keys: Sequence[str]) -> list[tuple[str, ...]]:
    """What may tell phases apart, the best first.

    That is the fewest attributes of value; then an attribute of order within as many attributes of value as differ (an
    order alone would hide which image has which b-value); then anything with the dimension indices, which have no name.
    """
    named = [key for key in keys if key != "Dimension"]
    valued = [key for key in named if key not in _ORDERED]
    by_value = [combo for size in range(1, _MOST + 1) for combo in combinations(valued, size)]
    by_order = [
        (*combo, key) for size in range(_MOST - 1, -1, -1) for combo in combinations(valued, size)
        for key in named if key in _ORDERED
    ]  # fmt: skip
    indexed = [(*combo, "Dimension") for combo in ((), *by_value, *by_order)] if len(named) < len(keys) else []
    return [*by_value, *by_order, *indexed]


def _group(
    keys: Sequence[str], levels: dict[str, list[str]], places: Sequence[int], *, whole: int
) -> dict[tuple[Hashable, ...], list[int]] | None:
    """Frames by value of each attribute, or by order at each place; None where two of a group share a place."""
    valued = [key for key in keys if key not in _ORDERED]
    ordered = next((key for key in keys if key in _ORDERED), None)
    first: defaultdict[tuple[Hashable, ...], list[int]] = defaultdict(list)
    for index in range(len(places)):
        first[tuple(levels[key][index] for key in valued)].append(index)
    groups: dict[tuple[Hashable, ...], list[int]] = {}
    for values, members in first.items():
        ranks = _ranks(members, levels[ordered], places) if ordered is not None else [0] * len(members)
        if ranks is None:
            return None
        for index, rank in zip(members, ranks, strict=True):
            groups.setdefault((*values, rank), []).append(index)
    for members in groups.values():
        used = {places[index] for index in members}
        if len(used) < len(members) or (whole and len(used) * whole != len(places)):
            return None
    return groups


def _ranks(members: Sequence[int], values: Sequence[str], places: Sequence[int]) -> list[int] | None:
    """Order of each frame's value among those of the same group and place; None where two are equal."""
    at_place: defaultdict[int, list[int]] = defaultdict(list)
    for index in members:
        at_place[places[index]].append(index)
    rank: dict[int, int] = {}
    for indices in at_place.values():
        if len({values[index] for index in indices}) < len(indices):
            return None
        for number, index in enumerate(sorted(indices, key=lambda i: _sortable(values[i]))):
            rank[index] = number
    return [rank[index] for index in members]


def _named(groups: dict[tuple[Hashable, ...], list[int]], keys: Sequence[str]) -> list[Phase]:
    valued = [key for key in keys if key not in _ORDERED]
    ordered = next((key for key in keys if key in _ORDERED), None)
    names: dict[tuple[Hashable, ...], list[str]] = {group: [] for group in groups}
    order: dict[tuple[Hashable, ...], list[tuple[float, ...]]] = {group: [] for group in groups}
    for place, key in enumerate(valued):
        distinct = sorted({str(group[place]) for group in groups}, key=_sortable)
        words = _words(key, distinct)
        for group in groups:
            number = distinct.index(str(group[place]))
            order[group].append((float(number),))
            if len(distinct) > 1:
                names[group].append(words[number])
    if ordered is not None:
        for group in groups:
            rank = int(str(group[-1]))
            order[group].append((float(rank),))
            siblings = sum(other[:-1] == group[:-1] for other in groups)
            if siblings > 1:
                names[group].append(f"{_NAMES[ordered]}{rank + 1}")
    sequence = sorted(groups, key=lambda group: order[group])
    return [Phase("_".join(names[group])[:64], tuple(groups[group])) for group in sequence]


def _words(key: str, values: Sequence[str]) -> list[str]:
    """A name for each value: of b-values the value, of image types the term that tells them apart, else a number."""
    numbered = [f"{_NAMES.get(key, 'b')}{number}" for number in range(1, len(values) + 1)]
    if key == "DiffusionBValue":
        words = [f"b{float(value):.0f}" if is_number(value) else f"b_unknown{n}" for n, value in enumerate(values)]
    elif key == "ImageType":
        terms = [value.upper().split("\\") for value in values]
        shared = set(terms[0]).intersection(*terms)
        words = [next((_TERMS[t] for t in own if t in _TERMS and t not in shared), "") for own in terms]
    else:
        return numbered
    return words if all(words) and len(set(words)) == len(words) else numbered


def _sortable(value: str) -> tuple[int, tuple[float, ...], str]:
    """Numbers by size, dates and times by text, whatever else behind."""
    parts = value.split("\\")
    return (0, tuple(float(p) for p in parts), "") if all(is_number(p) for p in parts) else (1, (), value)
