"""Sketch: some voxels of a volume, by which it is known again in another that holds a part of it.

A voxel that is brighter than all its neighbours is known by how much darker these are, as shares of the whole drop and
sorted: the same after any crop, after axes were turned or mirrored, and after values were multiplied or shifted. Of all
such voxels the sketch keeps the thousand with the smallest hashes (a bottom-k sketch; Broder, On the resemblance and
containment of documents, 1997), so that those of a part are among those of the whole. Resampling, smoothing and lossy
compression change every voxel, and nothing is known again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import Final

import numpy as np
import numpy.typing as npt

from medseg.types import Array

__all__ = ["Sketch", "shared_parts", "sketch_of"]

Sketch = npt.NDArray[np.uint64]
"""Hashes, ascending."""

_KEPT: Final = 1024
_STEPS: Final = 512
"""Steps into which a share of the drop is rounded."""
_FEWEST_DROPS: Final = 12
"""Drops of a voxel that differ; where a few whole numbers are all there is, many voxels look alike."""
_SLAB_VOXELS: Final = 1 << 22
_FEWEST_SHARED: Final = 16
_LEAST_SHARE: Final = 0.05
"""Hashes that two sketches share at least, in number and as a share of the smaller one."""
_NEIGHBOURS: Final = sorted(
    (step for step in product((-1, 0, 1), repeat=3) if any(step)), key=lambda s: sum(map(abs, s))
)
"""The 6 neighbours behind the faces of a voxel, the 12 behind its edges, the 8 behind its corners."""
_SHELLS: Final = (slice(0, 6), slice(6, 18), slice(18, 26))
_MIX: Final = np.random.default_rng(0).integers(1, 1 << 63, size=len(_NEIGHBOURS), dtype=np.uint64) | np.uint64(1)


def sketch_of(array: Array) -> Sketch:
    """The sketch of a volume.

    Memory: some bytes a voxel of a slab of four million.

    Args:
        array: Axes (x, y, z).
    """
    thickness = max(1, _SLAB_VOXELS // max(1, array.shape[0] * array.shape[1]))
    starts = range(1, array.shape[2] - 1, thickness) if min(array.shape) > 2 else ()
    parts = [_hashes(array[..., start - 1 : start + thickness + 1]) for start in starts]
    found, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *parts]), return_counts=True)
    unique: Sketch = found[counts == 1]
    return unique[:_KEPT]  # What recurs within a volume is a pattern, and tells nothing.


def shared_parts(sketches: Sequence[Sketch]) -> Iterator[tuple[int, int, float]]:
    """Pairs of volumes of which one holds a part of the other.

    Yields:
        Two places, the smaller first, and which share of the smaller sketch the other has too.
    """
    holders: defaultdict[int, list[int]] = defaultdict(list)
    for place, sketch in enumerate(sketches):
        for value in sketch.tolist():
            holders[value].append(place)
    counts = Counter(pair for places in holders.values() for pair in combinations(places, 2))
    for (first, second), count in sorted(counts.items()):
        share = count / min(len(sketches[first]), len(sketches[second]))
        if count >= _FEWEST_SHARED and share >= _LEAST_SHARE:
            yield first, second, share


def _hashes(slab: Array) -> Sketch:
    """Of the voxels of a slab that have all neighbours in it."""
    values = np.ascontiguousarray(slab, dtype=np.float32)
    strides = [size // values.itemsize for size in values.strides]
    flat = values.ravel()
    inner = values[1:-1, 1:-1, 1:-1]
    peaks = np.zeros(values.shape, dtype=bool)
    peaks[1:-1, 1:-1, 1:-1] = True
    for step in _NEIGHBOURS[_SHELLS[0]]:
        neighbours = values[tuple(slice(1 + a, size - 1 + a) for a, size in zip(step, values.shape, strict=True))]
        peaks[1:-1, 1:-1, 1:-1] &= inner > neighbours
    places = np.flatnonzero(peaks)
    offsets = [sum(a * b for a, b in zip(step, strides, strict=True)) for step in _NEIGHBOURS]
    for offset in offsets[_SHELLS[1].start :]:
        places = places[flat[places] > flat[places + offset]]
    drops = np.stack([flat[places] - flat[places + offset] for offset in offsets], axis=1)
    for shell in _SHELLS:
        drops[:, shell].sort(axis=1)
    shares = np.rint(drops * (_STEPS / drops.sum(axis=1, dtype=np.float64, keepdims=True)))
    ordered = np.sort(shares, axis=1)
    told = (np.diff(ordered, axis=1) > 0).sum(axis=1) + 1 >= _FEWEST_DROPS
    with np.errstate(over="ignore"):  # Hashes wrap around.
        mixed: Sketch = (shares[told].astype(np.uint64) * _MIX).sum(axis=1, dtype=np.uint64)
        mixed ^= mixed >> np.uint64(31)
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed
