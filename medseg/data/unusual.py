"""Unusual: what sets a case apart from most cases of its data set.

An observation with its numbers, not a mistake: several centres, scanners and protocols are unlike each other and right.
So each rule asks for a large difference, and says nothing where more than a fifth of the cases differ: such a data set
has no usual. Cases are compared with those of their modality and number of axes, from four on.

- **Spacing**: along right-left, front-back or feet-head more than twice, or less than half, the median.
- **Axes**: the array runs along other directions of the patient than in most cases.
- **Intensities**: from the 0.5th to the 99.5th percentile of a channel the range is more than ten times, or less than a
  tenth, the median range. CT also where it begins more than 800 HU off the median and, in a data set of any size, where
  nothing lies below 0 although values go beyond 1000 (stored values are mostly 1024 above Hounsfield units).
- **Label values** that one case alone has, or one in a hundred labelled cases. A value that the card doesn't name is an
  error of that case (`medseg.data.cases.read_case_label`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.types import Spacing

__all__ = ["CaseLooks", "unusual_looks"]

_FEWEST_CASES = 4
_LARGEST_SHARE = 0.2
_SPACING_RATIO = 2.0
_RANGE_RATIO = 10.0
_CT_OFFSET = 800.0
_CT_BRIGHT = 1000.0
_RARE_LABEL = 0.01
_DIRECTIONS = ("right-left", "front-back", "feet-head")


@dataclass(frozen=True)
class CaseLooks:
    """The facts of a case that are compared with those of others.

    Attributes:
        modality: As in the manifest.
        spacing: mm along right-left, front-back and feet-head; of a picture along its own two axes.
        orientation: Where the array's axes point, for example ``RAS``; empty for a picture.
        intensities: Channel name to 0.5th and 99.5th percentile.
        labels: Values in the label map, without 0; None without a label.
    """

    modality: str
    spacing: Spacing
    orientation: str
    intensities: Mapping[str, tuple[float, float]]
    labels: tuple[int, ...] | None


def unusual_looks(cases: Sequence[CaseLooks | None], *, names: Mapping[int, str]) -> list[list[str]]:
    """What is unusual about each case, in words with numbers.

    Args:
        cases: One for each case; None where nothing could be read.
        names: Label value to name.

    Returns:
        For each case, in the order given, its sentences.
    """
    found: list[list[str]] = [[] for _ in cases]
    groups: dict[tuple[str, int], dict[int, CaseLooks]] = defaultdict(dict)
    for index, looks in enumerate(cases):
        if looks is not None:
            groups[looks.modality, len(looks.spacing)][index] = looks
    for group in groups.values():
        for sentences in (_of_spacing(group), _of_axes(group), _of_intensities(group)):
            for index, sentence in sentences:
                found[index].append(sentence)
    known = {index: looks.labels for index, looks in enumerate(cases) if looks is not None and looks.labels}
    for index, sentence in _of_labels(known, names):
        found[index].append(sentence)
    return found


def _of_spacing(group: Mapping[int, CaseLooks]) -> list[tuple[int, str]]:
    if not any(looks.orientation for looks in group.values()):  # Of pictures nobody knows a size in the world.
        return []
    found: list[tuple[int, str]] = []
    for axis, direction in enumerate(_DIRECTIONS):
        values = {index: looks.spacing[axis] for index, looks in group.items()}
        median = float(np.median(list(values.values())))
        odd = [i for i, value in values.items() if _ratio(value, median) > _SPACING_RATIO]
        found += [
            (i, f"spacing {direction} {values[i]:.3g} mm, median of {len(group)} cases {median:.3g} mm")
            for i in _if_few(odd, of=len(group))
        ]
    return found


def _of_axes(group: Mapping[int, CaseLooks]) -> list[tuple[int, str]]:
    counts = Counter(looks.orientation for looks in group.values())
    most, number = counts.most_common(1)[0]
    odd = [index for index, looks in group.items() if looks.orientation != most]
    return [
        (index, f"axes {group[index].orientation}, in {number} of {len(group)} cases {most}")
        for index in _if_few(odd, of=len(group))
    ]


def _of_intensities(group: Mapping[int, CaseLooks]) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    channels = dict.fromkeys(name for looks in group.values() for name in looks.intensities)
    for channel in channels:
        of_case = {i: looks.intensities[channel] for i, looks in group.items() if channel in looks.intensities}
        lows = np.array([low for low, _ in of_case.values()])
        ranges = np.array([high - low for low, high in of_case.values()])
        ct = channel.upper() == "CT" or (len(channels) == 1 and next(iter(group.values())).modality == "CT")
        span, start = float(np.median(ranges)), float(np.median(lows))
        wide = [i for i, (low, high) in of_case.items() if _ratio(high - low, span) > _RANGE_RATIO]
        shifted = [i for i, (low, _) in of_case.items() if ct and abs(low - start) > _CT_OFFSET]
        bare = [i for i, (low, high) in of_case.items() if ct and low >= 0 and high > _CT_BRIGHT]
        name = f" of {channel}" if len(channels) > 1 else ""
        told: dict[int, list[str]] = defaultdict(list)
        for i in _if_few(wide, of=len(of_case)):
            low, high = of_case[i]
            told[i].append(f"range{name} {high - low:.4g}, median of {len(of_case)} cases {span:.4g}")
        for i in _if_few([i for i in shifted if i not in told and i not in bare], of=len(of_case)):
            told[i].append(f"begin{name} at {of_case[i][0]:.4g} HU, median of {len(of_case)} cases {start:.4g} HU")
        for i in bare:
            low, high = of_case[i]
            told[i].append(f"{low:.4g} to {high:.4g}{name}, none below 0: perhaps not in Hounsfield units")
        found += [(i, f"intensities: {sentence}") for i, all_of in told.items() for sentence in all_of]
    return found


def _of_labels(known: Mapping[int, tuple[int, ...]], names: Mapping[int, str]) -> list[tuple[int, str]]:
    if len(known) < _FEWEST_CASES:
        return []
    counts = Counter(value for values in known.values() for value in values)
    most = max(1, int(_RARE_LABEL * len(known)))
    found = []
    for index, values in known.items():
        for value in values:
            if counts[value] <= most:
                others = "in no other" if counts[value] == 1 else f"in {counts[value]}"
                name = f" ({names[value]})" if value in names else ""
                found.append((index, f"label value {value}{name} occurs {others} of {len(known)} labelled cases"))
    return found


def _if_few(odd: list[int], *, of: int) -> list[int]:
    """The odd ones where they are few among enough, else none."""
    return odd if of >= _FEWEST_CASES and len(odd) <= max(1, int(_LARGEST_SHARE * of)) else []


def _ratio(value: float, usual: float) -> float:
    """How many times one is the other, 1 or more; 1 where nothing can be said of the usual."""
    if usual <= 0:
        return 1.0
    return float("inf") if value <= 0 else max(value / usual, usual / value)
