"""Patches: the training samples, each a function of the seed and its own number, whoever draws it and when.

Sample n of a run is the same in whichever process and however often the run was interrupted: everything random about
it comes from ``numpy.random.default_rng((seed, n))``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from medseg.data.cache import CacheEntry
from medseg.types import Array, Shape

__all__ = ["PatchDataset", "build_loader", "read_patch"]

_Item = TypeVar("_Item")
PatchTransform = Callable[[Array, Array, np.random.Generator], tuple[Array, Array]]


class PatchDataset(Dataset[tuple[Tensor, Tensor]]):
    """Random patches of preprocessed cases.

    Args:
        entries: The cases, from the cache.
        draw_size: Patch in voxels that is cut out and given to the transform (x, y[, z]).
        batch_size: Samples of one batch; the last `foreground_fraction` of each batch are centred on foreground.
        foreground_fraction: Share of the patches that are centred on a foreground voxel.
        transform: Takes image (channel, *draw_size) float32, label (*draw_size) uint8 and a generator; gives the patch.
        finish: Last step on the image alone, for example the normalisation of colours.
        seed: Seed of the run.
    """

    def __init__(
        self,
        entries: Sequence[CacheEntry],
        *,
        draw_size: Shape,
        batch_size: int,
        foreground_fraction: float,
        transform: PatchTransform,
        finish: Callable[[Array], Array],
        seed: int,
    ) -> None:
        self._entries = list(entries)
        self._draw_size = draw_size
        self._batch_size = batch_size
        self._foreground_fraction = foreground_fraction
        self._background = round(batch_size * (1.0 - foreground_fraction))
        self._transform = transform
        self._finish = finish
        self._seed = seed

    def __len__(self) -> int:
        """Number of cases; samples are numbered without end."""
        return len(self._entries)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Sample `index`: image (channel, x, y[, z]) float32 and class indices (x, y[, z]) int64."""
        generator = np.random.default_rng((self._seed, index))
        forced = index % self._batch_size >= self._background
        return self._cut(self._entries[self._case_of(index)], forced=forced, generator=generator)

    def draw(self, case: int, *, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A patch of one case, on foreground by lot: image and class indices as `__getitem__` gives them.

        Args:
            case: Place of the case among the entries.
            generator: Draws everything.
        """
        forced = bool(generator.random() < self._foreground_fraction)
        return self._cut(self._entries[case], forced=forced, generator=generator)

    def _cut(self, entry: CacheEntry, *, forced: bool, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        label = entry.label
        if label is None:
            # Pretraining doesn't look at the target.
            label = np.zeros(entry.shape, dtype=np.uint8)
        centre = _draw_centre(entry, self._draw_size, forced=forced, generator=generator)
        start = [int(c) - n // 2 for c, n in zip(centre, self._draw_size, strict=True)]
        image = read_patch(entry.image, start, self._draw_size)
        image = image.astype(np.float32) / 255.0 if image.dtype == np.uint8 else image
        patch, target = self._transform(image, read_patch(label[None], start, self._draw_size)[0], generator)
        patch = np.ascontiguousarray(self._finish(patch), dtype=np.float32)
        return torch.from_numpy(patch), torch.from_numpy(np.ascontiguousarray(target)).long()

    def _case_of(self, index: int) -> int:
        """Every case once a pass, in an order of the pass's own."""
        cases = len(self._entries)
        order = np.random.default_rng((self._seed, index // cases, 1)).permutation(cases)
        return int(order[index % cases])


def read_patch(array: Array, start: Sequence[int], size: Shape) -> Array:
    """Cut a patch out of (channel, x, y[, z]); what lies outside repeats the border.

    Args:
        array: (channel, x, y[, z]), may be memory-mapped; only the patch is read.
        start: First voxel along each spatial axis; may be negative.
        size: Patch in voxels.
    """
    lower = [max(s, 0) for s in start]
    upper = [min(s + n, total) for s, n, total in zip(start, size, array.shape[1:], strict=True)]
    inside = np.array(array[(slice(None), *(slice(a, b) for a, b in zip(lower, upper, strict=True)))])
    pad = [(a - s, s + n - b) for s, n, a, b in zip(start, size, lower, upper, strict=True)]
    if any(before or after for before, after in pad):
        inside = np.pad(inside, [(0, 0), *pad], mode="edge")
    return inside


def build_loader(
    dataset: Dataset[_Item], *, first: int, batch_size: int | None, workers: int, ahead: int = 4
) -> DataLoader[_Item]:
    """Batches without end, beginning with sample number `first`.

    Args:
        dataset: The samples.
        first: Number of the first sample; a resumed run begins where it stopped.
        batch_size: Samples of one batch; None where the samples are batches already.
        workers: Processes that prepare batches; the samples don't depend on it.
        ahead: Batches that each of them holds ready.
    """
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=_Counter(first),
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        worker_init_fn=_single_thread if workers else None,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
    )


class _Counter(Sampler[int]):
    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        number = self._first
        while True:
            yield number
            number += 1


def _single_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def _draw_centre(entry: CacheEntry, size: Shape, *, forced: bool, generator: np.random.Generator) -> Array:
    """Centre voxel of a patch: on a voxel of a random class that the case has, or anywhere that keeps it inside."""
    shape = entry.shape
    low = [min(n // 2, total // 2) for n, total in zip(size, shape, strict=True)]
    high = [max(total - (n - n // 2), a) for n, total, a in zip(size, shape, low, strict=True)]
    if forced:
        places = entry.foreground()
        if places:
            value = int(generator.choice(sorted(places)))
            centre: Array = places[value][generator.integers(len(places[value]))]
            return np.clip(centre, low, high)
    return np.array([generator.integers(a, b + 1) for a, b in zip(low, high, strict=True)])
