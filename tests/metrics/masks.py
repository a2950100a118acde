"""Random blobs in 2D and 3D for the metric tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter


def blobs(seed: int, shape: tuple[int, ...], share: float = 0.2, sigma: float = 1.5) -> np.ndarray:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), sigma)
    return field > np.quantile(field, 1 - share)


def mask_pairs() -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    """Two masks of one shape; about one in six of the masks is empty."""

    @st.composite
    def pair(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
        ndim = draw(st.sampled_from((2, 3)))
        shape = tuple(draw(st.integers(3, 11)) for _ in range(ndim))
        masks = []
        for _ in range(2):
            share = draw(st.sampled_from((0.0, 0.05, 0.1, 0.3, 0.6, 0.9)))
            sigma = draw(st.sampled_from((0.0, 1.0)))
            seed = draw(st.integers(0, 10_000))
            masks.append(blobs(seed, shape, share, sigma) if share else np.zeros(shape, bool))
        return masks[0], masks[1]

    return pair()


def spacings(ndim: int) -> tuple[float, ...]:
    return (0.7, 1.3, 3.0)[:ndim]
