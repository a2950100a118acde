"""Cache: each case preprocessed once, stored so that a patch is read without reading the volume.

An entry is a folder named by a SHA-256 over the bytes of the image files, of the label file, the plan's preprocessing
digest and this format's version; so a changed file or plan can never meet a stale entry. An entry is built in a folder
of its own and renamed into place: two processes may build the same one, the first to finish wins.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.data.files import sha256_of
from medseg.data.manifest import Case
from medseg.types import Array, LabelMap, Shape

__all__ = ["Cache", "CacheContent", "CacheEntry"]

_FORMAT = "medseg-cache-1"
_LOCATIONS = 8192
"""Foreground voxels kept per class; enough to draw from, small enough to load with every patch."""


@dataclass(frozen=True, eq=False)
class CacheContent:
    """What preprocessing gives for one case.

    Attributes:
        image: (channel, x, y[, z]), float32, or uint8 for photographs.
        label: Class indices (x, y[, z]), uint8, or None where the case has no label.
        placement: JSON facts that lead back to the native grid.
    """

    image: Array
    label: LabelMap | None
    placement: Mapping[str, Any]


class CacheEntry:
    """One preprocessed case on the disk; arrays are memory-mapped.

    Args:
        folder: The entry's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.placement: Mapping[str, Any] = json.loads((folder / "entry.json").read_text(encoding="utf-8"))

    @property
    def image(self) -> Array:
        """(channel, x, y[, z]), memory-mapped, read-only."""
        image: Array = np.load(self._folder / "image.npy", mmap_mode="r")
        return image

    @property
    def label(self) -> LabelMap | None:
        """Class indices (x, y[, z]), memory-mapped, or None."""
        path = self._folder / "label.npy"
        return np.load(path, mmap_mode="r") if path.exists() else None

    @property
    def shape(self) -> Shape:
        """Spatial shape in voxels of the preprocessed grid."""
        return tuple(int(n) for n in self.image.shape[1:])

    def foreground(self) -> dict[int, Array]:
        """For each class that is present, voxel indices (n, axes) drawn at random from it."""
        with np.load(self._folder / "locations.npz") as stored:
            return {int(name): stored[name] for name in stored.files}


class Cache:
    """A folder of preprocessed cases.

    Args:
        root: The cache's folder; made when missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)
        self._sweep()

    def entry(self, case: Case, *, digest: str, build: Callable[[], CacheContent]) -> CacheEntry:
        """The entry of a case, built now if it isn't there.

        Args:
            case: The case.
            digest: The plan's preprocessing digest.
            build: Preprocesses the case.
        """
        key = _key(case, digest)
        folder = self._root / key
        if not (folder / "entry.json").exists():
            self._write(folder, build(), seed=int(key[:8], 16))
        return CacheEntry(folder)

    def _write(self, folder: Path, content: CacheContent, *, seed: int) -> None:
        building = self._root / f".building-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        building.mkdir()
        try:
            np.save(building / "image.npy", np.ascontiguousarray(content.image))
            locations = {}
            if content.label is not None:
                np.save(building / "label.npy", np.ascontiguousarray(content.label))
                locations = _draw_locations(content.label, np.random.default_rng(seed))
            np.savez(building / "locations.npz", **{str(k): v for k, v in locations.items()})  # type: ignore[arg-type]
            (building / "entry.json").write_text(json.dumps(content.placement), encoding="utf-8")
            try:
                building.rename(folder)
            except OSError:
                if not (folder / "entry.json").exists():
                    raise
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what a killed process left behind."""
        for left in self._root.glob(".building-*"):
            pid = left.name.split("-")[1]
            if pid.isdigit() and not _alive(int(pid)):
                shutil.rmtree(left, ignore_errors=True)


def _key(case: Case, digest: str) -> str:
    content = hashlib.sha256(f"{_FORMAT}\n{digest}\n".encode())
    for channel in sorted(case.images):
        content.update(f"{channel}:{sha256_of(case.images[channel])}\n".encode())
    content.update(f"label:{sha256_of(case.label) if case.label is not None else 'none'}".encode())
    return content.hexdigest()[:40]


def _draw_locations(label: LabelMap, generator: np.random.Generator) -> dict[int, Array]:
    locations: dict[int, Array] = {}
    for value in np.unique(label):
        if value == 0:
            continue
        flat = np.flatnonzero(label == value)
        if flat.size > _LOCATIONS:
            flat = np.sort(generator.choice(flat, _LOCATIONS, replace=False))
        locations[int(value)] = np.stack(np.unravel_index(flat, label.shape), axis=1).astype(np.int32)
    return locations


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
