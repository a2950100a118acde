"""How many crops `manifest check` finds: of each volume of a data set a part is cut from a corner.

    python benchmarks/cropped.py data/manifest.csv more/manifest.csv

Every other crop is mirrored and its values multiplied and shifted. ``smoothed`` was resampled by a third of a voxel.
Pairs of the volumes themselves are false finds, unless the data set holds one patient twice.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import shift

from medseg.data.cases import read_case_image
from medseg.data.manifest import read_manifest
from medseg.data.sketch import shared_parts, sketch_of
from medseg.types import Array

_KEPT = (0.9, 0.7, 0.5)


def main() -> None:
    """Read the manifests and print a table."""
    told = " | ".join(f"{kept:.0%} of each side" for kept in _KEPT)
    print(f"| data set | volumes | pairs found among them | seconds | {told} | smoothed |")
    print("|" + "---|" * (5 + len(_KEPT)))
    for name in sys.argv[1:]:
        manifest = read_manifest(Path(name))
        arrays = [read_case_image(case, channels=manifest.card.channels).array[0] for case in manifest.cases]
        begun = time.perf_counter()
        sketches = [sketch_of(array) for array in arrays]
        pairs = len(list(shared_parts(sketches)))
        seconds = time.perf_counter() - begun
        found = [
            sum(bool(list(shared_parts([own, sketch_of(_crop(array, number, kept=kept))])))
                for number, (own, array) in enumerate(zip(sketches, arrays, strict=True)))
            for kept in _KEPT
        ]  # fmt: skip
        moved = [shift(array.astype(np.float32), 1 / 3, order=1) for array in arrays]
        smoothed = sum(bool(list(shared_parts(both))) for both in zip(sketches, map(sketch_of, moved), strict=True))
        cells = [Path(name).parent.name, len(arrays), pairs, f"{seconds:.1f}", *found, smoothed]
        print("| " + " | ".join(str(cell) for cell in cells) + " |")


def _crop(array: Array, number: int, *, kept: float) -> Array:
    rng = np.random.default_rng(number)
    sizes = [round(size * kept) for size in array.shape]
    starts = [int(rng.integers(2)) * (full - size) for full, size in zip(array.shape, sizes, strict=True)]
    part = array[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))]
    return part[::-1].astype(np.float32) * np.float32(0.37) + 11 if number % 2 else part


if __name__ == "__main__":
    main()
