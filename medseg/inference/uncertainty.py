"""Uncertainty: how undecided the probabilities of a voxel are."""

from __future__ import annotations

import numpy as np

from medseg.types import FloatArray

__all__ = ["normalised_entropy"]


def normalised_entropy(probabilities: FloatArray) -> FloatArray:
    """Entropy of each voxel's probabilities, as a share of the largest that this number of classes can have.

    Args:
        probabilities: (class, x, y[, z]), 2 or more classes; values are divided by their sum over the classes.

    Returns:
        float32, axes (x, y[, z]): 0 where one class is certain, 1 where all are equally likely; nan where every
        probability is 0.

    Example:
        >>> normalised_entropy(np.array([[[0.5, 1.0]], [[0.5, 0.0]]])).tolist()
        [[1.0, 0.0]]
    """
    total = np.zeros(probabilities.shape[1:], dtype=np.float32)
    for plane in probabilities:
        total += plane
    result = np.zeros_like(total)
    with np.errstate(divide="ignore", invalid="ignore"):
        for plane in probabilities:
            share = plane / total
            result -= np.where(share == 0, np.float32(0), share * np.log(share))
    entropy: FloatArray = (result / np.float32(np.log(len(probabilities)))).clip(0, 1)
    return entropy
