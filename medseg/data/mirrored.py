"""Mirrored: cases whose asymmetry is the opposite of the others' in their data set.

Each image and each label map is brought to RAS+ and made small; the label map twice, as it lies in the image and cut to
its own box. What is left of it when its mirror image, left to right, is subtracted is its asymmetry: a liver on one
side, the slant of a hippocampus. It is correlated with the sum of the others' asymmetries; mirroring a case turns the
sign. A case is named at -0.25 or less. That says something only of data sets that are alike (crops around an organ,
heads, trunks) and not symmetric. So nothing is said unless there are eight cases, the median case agrees with the
others by 0.4, seven of ten agree at all, and at most one of ten lies between -0.25 and 0.25: lesions that lie anywhere
are passed over, and so are knees of both sides. A flip of the image, of the label map and of both are told apart.

What it finds and what it names wrongly is counted in docs/benchmarks.md, by ``benchmarks/mirrored.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.data.views import Floats, area_average
from medseg.data.volume import Volume, closest_ras
from medseg.types import Array, LabelMap

__all__ = ["CaseGrids", "case_grids", "mirrored_cases", "side_agreement"]

_SIDE = {2: 24, 3: 12}
_LONGEST = 96
_FEWEST_CASES = 8
_OPPOSITE = -0.25
_SMALLEST_MEDIAN = 0.4
_SMALLEST_SHARE = 0.7
_LARGEST_DOUBT = 0.1


@dataclass(frozen=True, eq=False)
class CaseGrids:
    """A case made small, axes in RAS+ order; each grid has mean 0 and length 1.

    Attributes:
        modality: Cases are compared within their modality.
        image: The first channel.
        label: The label values as they lie in the image; None without a label.
        box: The label values cut to the box that holds them; None without a label.
    """

    modality: str
    image: Floats
    label: Floats | None
    box: Floats | None


def case_grids(volume: Volume, label: LabelMap | None) -> CaseGrids:
    """Make a case small.

    Args:
        volume: Axes (channel, x, y[, z]).
        label: Axes (x, y[, z]), or None.
    """
    own, reverse = closest_ras(volume.affine, len(volume.shape))
    turn = tuple(slice(None, None, -1 if reversed_ else None) for reversed_ in reverse)
    image = _small(volume.array[0].transpose(own)[turn])
    low, high = np.percentile(image, [1, 99])
    image = _standardised(np.clip(image, low, high))
    if label is None or not label.any():
        return CaseGrids(volume.modality, image, None, None)
    turned = label.transpose(own)[turn]
    box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(turned))
    return CaseGrids(volume.modality, image, _standardised(_small(turned)), _standardised(_small(turned[box])))


def mirrored_cases(cases: Sequence[CaseGrids | None]) -> list[list[str]]:
    """What looks mirrored in each case, in words with numbers.

    Args:
        cases: One for each case; None where nothing could be read.

    Returns:
        For each case, in the order given, its sentences.
    """
    found: list[list[str]] = [[] for _ in cases]
    groups: dict[tuple[str, int], dict[int, CaseGrids]] = {}
    for index, grids in enumerate(cases):
        if grids is not None:
            groups.setdefault((grids.modality, grids.image.ndim), {})[index] = grids
    for group in groups.values():
        parts = (
            ("image", _opposites(group, lambda grids: grids.image)),
            ("label", _opposites(group, lambda grids: grids.label)),
            ("label", _opposites(group, lambda grids: grids.box)),
        )
        for index in group:
            told = {name: seen[index] for name, seen in reversed(parts) if index in seen}
            if told:
                verb, whose = ("look", "their") if len(told) == 2 else ("looks", "its")
                numbers = " and ".join(told[name] for name in sorted(told))
                things = " and ".join(sorted(told))
                found[index].append(f"{things} {verb} mirrored left to right: {whose} asymmetry agrees by {numbers}")
    return found


def side_agreement(grids: Array) -> Array:
    """Correlation of each grid's asymmetry from left to right with the sum of the others'.

    Args:
        grids: Axes (case, x, y[, z]).

    Returns:
        One number a case, from -1 to 1; 0 where a case or the others are symmetric.
    """
    axes = tuple(range(1, grids.ndim))
    own = grids - np.flip(grids, 1)
    others = own.sum(axis=0, dtype=np.float64)[None] - own
    lengths = np.sqrt((own**2).sum(axis=axes) * (others**2).sum(axis=axes))
    return np.asarray((own * others).sum(axis=axes) / np.maximum(lengths, 1e-12))


def _opposites(group: Mapping[int, CaseGrids], part: Callable[[CaseGrids], Floats | None]) -> dict[int, str]:
    """The cases that are the opposite of the others, with the numbers that say so."""
    known = {index: grid for index, grids in group.items() if (grid := part(grids)) is not None}
    if len(known) < _FEWEST_CASES:
        return {}
    agreement = side_agreement(np.array(list(known.values())))
    median, share = float(np.median(agreement)), float((agreement > 0).mean())
    doubt = float((abs(agreement) < -_OPPOSITE).mean())
    if median < _SMALLEST_MEDIAN or share < _SMALLEST_SHARE or doubt > _LARGEST_DOUBT:
        return {}
    return {
        index: f"{own:.2f} (median of {len(known)} cases {median:.2f})"
        for index, own in zip(known, agreement, strict=True)
        if own <= _OPPOSITE
    }


def _small(array: Array) -> Floats:
    thin = array[tuple(slice(None, None, -(-length // _LONGEST)) for length in array.shape)]
    return area_average(np.asarray(thin, dtype=np.float32), (_SIDE[array.ndim],) * array.ndim)


def _standardised(grid: Floats) -> Floats:
    centred = grid.astype(np.float64) - grid.mean(dtype=np.float64)
    length = float(np.sqrt((centred**2).sum()))
    standardised: Floats = (centred / length if length > 1e-9 else np.zeros_like(centred)).astype(np.float32)
    return standardised
