"""Window: whole-image prediction from overlapping patches, with Gaussian weighting and mirrored copies."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from medseg.types import Array, FloatArray, Shape

__all__ = ["gaussian_weights", "predict_probabilities", "window_starts"]

_T = TypeVar("_T")
_IN_MEMORY_BYTES = 256 * 2**20
"""Sums of probabilities up to this size live in memory, larger ones in a temporary file: memory stays flat in the
number of classes."""


def window_starts(total: int, size: int, *, overlap: float) -> list[int]:
    """First voxels of windows that cover an axis evenly, the last one ending at its end.

    Args:
        total: Voxels of the axis, at least `size`.
        size: Voxels of a window.
        overlap: Least overlap of neighbours, as a share of the window.

    Example:
        >>> window_starts(10, 4, overlap=0.5)
        [0, 2, 4, 6]
    """
    if total <= size:
        return [0]
    step = max(1.0, size * (1.0 - overlap))
    count = int(np.ceil((total - size) / step)) + 1
    return [int(v) for v in np.round(np.linspace(0, total - size, count))]


def gaussian_weights(size: Shape) -> FloatArray:
    """Weight of each voxel of a window: a Gaussian with sigma of an eighth of the window (Isensee et al. 2021).

    Returns:
        (x, y[, z]) float32, largest 1, never below 1e-3, so that every voxel of the image has a weight.
    """
    axes = []
    for n in size:
        position = (np.arange(n) - (n - 1) / 2) / (n / 8)
        axes.append(np.exp(-0.5 * position**2))
    weights = axes[0]
    for axis in axes[1:]:
        weights = weights[..., None] * axis
    result: FloatArray = np.maximum(weights / weights.max(), 1e-3).astype(np.float32)
    return result


@contextmanager
def predict_probabilities(
    networks: Sequence[nn.Module],
    image: Array,
    *,
    classes: int,
    patch_size: Shape,
    overlap: float,
    mirror_axes: Sequence[int],
    batch_size: int,
    autocast: torch.dtype | None,
    scratch: Path | None = None,
) -> Iterator[FloatArray]:
    """Predict an image window by window.

    Args:
        networks: In evaluation mode, on one device; their probabilities are averaged.
        image: (channel, x, y[, z]) float32, preprocessed; smaller than a patch is padded with 0.
        classes: Outputs of the networks, the background included.
        patch_size: Voxels of a window.
        overlap: Least overlap of neighbours, as a share of the window.
        mirror_axes: Spatial axes (0 = x) along which mirrored copies are averaged.
        batch_size: Windows in one forward pass, mirrored copies counted.
        autocast: Type for mixed precision, or None.
        scratch: Folder for the temporary file; the system's without it.

    Yields:
        Mean probabilities (class, x, y[, z]) on the preprocessed grid, float32, valid inside the block.
    """
    shape = image.shape[1:]
    padded_shape = tuple(max(n, p) for n, p in zip(shape, patch_size, strict=True))
    before = [(p - n) // 2 for n, p in zip(shape, padded_shape, strict=True)]
    if padded_shape != shape:
        pad = [(b, p - n - b) for b, n, p in zip(before, shape, padded_shape, strict=True)]
        image = np.pad(image, [(0, 0), *pad])
    starts = list(
        itertools.product(
            *(window_starts(n, p, overlap=overlap) for n, p in zip(padded_shape, patch_size, strict=True))
        )
    )
    inside = tuple(slice(b, b + n) for b, n in zip(before, shape, strict=True))
    with _sums((classes, *padded_shape), scratch) as sums:
        if len(starts) == 1:
            sums[...] = _window_probabilities(networks, image[None], mirror_axes, batch_size, autocast)[0]
            yield sums[(slice(None), *inside)]
            return
        weights = gaussian_weights(patch_size)
        total = np.zeros(padded_shape, dtype=np.float32)
        group = max(1, batch_size // 2 ** len(mirror_axes))
        for some in _chunks(starts, group):
            places = [tuple(slice(s, s + p) for s, p in zip(start, patch_size, strict=True)) for start in some]
            windows = np.stack([image[(slice(None), *place)] for place in places])
            found = _window_probabilities(networks, windows, mirror_axes, batch_size, autocast)
            for place, probabilities in zip(places, found, strict=True):
                sums[(slice(None), *place)] += probabilities * weights
                total[place] += weights
        for k in range(classes):
            sums[k] /= total
        yield sums[(slice(None), *inside)]


def _window_probabilities(
    networks: Sequence[nn.Module],
    windows: FloatArray,
    mirror_axes: Sequence[int],
    batch_size: int,
    autocast: torch.dtype | None,
) -> FloatArray:
    """Mean softmax over the networks and the mirrored copies, (window, class, x, y[, z]) float32."""
    device = next(networks[0].parameters()).device
    batch = torch.from_numpy(np.ascontiguousarray(windows, dtype=np.float32)).to(device)
    flips = [
        tuple(axis + 2 for axis in axes)
        for n in range(len(mirror_axes) + 1)
        for axes in itertools.combinations(mirror_axes, n)
    ]
    total: Tensor | None = None
    per_pass = max(1, batch_size // len(batch))
    with torch.inference_mode(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        for network in networks:
            for some in _chunks(flips, per_pass):
                copies = torch.cat([batch.flip(f) if f else batch for f in some])
                logits = network(copies)
                probabilities = logits.float().softmax(dim=1)
                for flip, part in zip(some, probabilities.split(len(batch)), strict=True):
                    restored = part.flip(flip) if flip else part
                    total = restored.clone() if total is None else total.add_(restored)
    assert total is not None
    mean: FloatArray = (total / (len(networks) * len(flips))).cpu().numpy()
    return mean


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]


@contextmanager
def _sums(shape: Shape, scratch: Path | None) -> Iterator[FloatArray]:
    if int(np.prod(shape)) * 4 <= _IN_MEMORY_BYTES:
        yield np.zeros(shape, dtype=np.float32)
        return
    with tempfile.TemporaryFile(dir=scratch) as stream:
        yield np.memmap(stream, dtype=np.float32, mode="w+", shape=shape)
