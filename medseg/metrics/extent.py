"""Extent: how far a lesion reaches, as the largest distance between two points of its surface.

The surface lies half-way between the centres of voxels that are in and of voxels that are out, as that of a mesh at 0.5
does (IBSI feature L0JK, Maximum 3D Diameter). Undefined (an empty mask) is ``nan``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from medseg.metrics.overlap import Mask

__all__ = ["largest_distance", "surface_points"]

_FEW = 500


def surface_points(mask: Mask) -> npt.NDArray[np.float64]:
    """The middle of every face between a voxel of the mask and one outside, in voxels, shape (points, axes)."""
    padded = np.pad(mask, 1)
    found = []
    for axis in range(mask.ndim):
        faces = np.argwhere(np.diff(padded, axis=axis)).astype(np.float64) - 1
        faces[:, axis] += 0.5
        found.append(faces)
    return np.concatenate(found)


def largest_distance(points: npt.NDArray[np.floating[Any]]) -> float:
    """Largest distance between two of the points, in their own unit; nan when there are none.

    Args:
        points: Shape (points, axes).

    Example:
        >>> largest_distance(np.array([[0.0, 0.0], [3.0, 4.0], [1.0, 1.0]]))
        5.0
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import pdist

    if len(points) == 0:
        return float("nan")
    points = np.unique(points, axis=0)
    if len(points) > _FEW:
        # Joggled input (QJ) never fails, also where all points lie in one plane; it only chooses among the points.
        points = points[ConvexHull(points, qhull_options="QJ").vertices]
    return float(pdist(points).max()) if len(points) > 1 else 0.0
