"""Surface distance: how far the outlines of two masks lie apart, in millimetres.

The outline of a mask is its **boundary voxels**: the voxels of the mask with at least one neighbour outside it across a
face (an edge in 2D); beyond the image's rim is outside. The distance of a boundary voxel to the other outline is the
Euclidean distance between voxel centres in the voxel spacing. Each boundary voxel counts the same, whatever its size.
This is the definition of MONAI and of MetricsReloaded (Maier-Hein et al. 2024); Nikolov et al. 2021 weight by the
area of surface elements instead, which differs by little unless the spacing is very anisotropic.

- HD95: the larger of the two directed 95th percentiles (linear interpolation).
- ASSD: the sum of all distances in both directions over the number of boundary voxels of both.
- NSD: the share of the boundary voxels of both that lie within the tolerance of the other outline.

Undefined is ``nan``: all three when both masks are empty; HD95 and ASSD also when one of them is (a distance to
nothing), where NSD is 0, since no boundary voxel has a counterpart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.metrics.overlap import Mask
from medseg.types import FloatArray, Spacing

__all__ = ["SurfaceDistances", "boundary", "box_around", "surface_distances"]

_TREE_FACTOR = 20
"""A k-d tree beats the distance transform once the box holds this many times more voxels than the outlines do."""


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances from each outline to the other, in millimetres.

    Attributes:
        to_reference: One distance for each boundary voxel of the prediction; empty when either mask is.
        to_prediction: One distance for each boundary voxel of the reference; empty when either mask is.
        one_empty: Exactly one of the two masks is empty.
    """

    to_reference: FloatArray
    to_prediction: FloatArray
    one_empty: bool

    @property
    def hd95(self) -> float:
        """The larger directed 95th percentile, in millimetres; nan when either mask is empty."""
        if not len(self.to_reference):
            return float("nan")
        return float(max(np.percentile(self.to_reference, 95), np.percentile(self.to_prediction, 95)))

    @property
    def assd(self) -> float:
        """Average symmetric surface distance, in millimetres; nan when either mask is empty."""
        count = len(self.to_reference) + len(self.to_prediction)
        if not count:
            return float("nan")
        return float((self.to_reference.sum() + self.to_prediction.sum()) / count)

    def nsd(self, tolerance_mm: float) -> float:
        """Normalised surface distance at a tolerance in millimetres; 0 when one mask is empty, nan when both are."""
        count = len(self.to_reference) + len(self.to_prediction)
        if not count:
            return 0.0 if self.one_empty else float("nan")
        # Voxel centres lie on a lattice, so many distances equal the tolerance up to rounding: they count as within.
        limit = tolerance_mm * (1 + 1e-6)
        near = np.count_nonzero(self.to_reference <= limit) + np.count_nonzero(self.to_prediction <= limit)
        return float(near / count)


def boundary(mask: Mask) -> Mask:
    """Voxels of the mask with a neighbour outside it across a face; beyond the array is outside.

    Args:
        mask: Boolean mask (x, y[, z]).

    Returns:
        Boolean mask of the same shape.
    """
    inner = mask.copy()
    for axis in range(mask.ndim):
        line = np.moveaxis(mask, axis, 0)
        kept = np.moveaxis(inner, axis, 0)
        kept[1:] &= line[:-1]
        kept[:-1] &= line[1:]
        kept[0] = False
        kept[-1] = False
    return mask & ~inner


def surface_distances(prediction: Mask, reference: Mask, *, spacing: Sequence[float]) -> SurfaceDistances:
    """Distances between the outlines of two masks.

    Only the box around both masks is looked at, so the cost depends on their size, not on the image's.

    Args:
        prediction: Boolean mask (x, y[, z]).
        reference: Boolean mask of the same shape.
        spacing: Millimetres between voxel centres along each axis.

    Returns:
        The distances in both directions.
    """
    both = box_around(prediction | reference)
    if both is None:
        return SurfaceDistances(_EMPTY, _EMPTY, one_empty=False)
    prediction_edge, reference_edge = boundary(prediction[both]), boundary(reference[both])
    counts = (int(np.count_nonzero(prediction_edge)), int(np.count_nonzero(reference_edge)))
    if not all(counts):
        return SurfaceDistances(_EMPTY, _EMPTY, one_empty=True)
    measure = _by_tree if prediction_edge.size > _TREE_FACTOR * sum(counts) else _by_transform
    to_reference, to_prediction = measure(prediction_edge, reference_edge, tuple(float(s) for s in spacing))
    return SurfaceDistances(to_reference, to_prediction, one_empty=False)


def box_around(mask: Mask) -> tuple[slice, ...] | None:
    """The smallest box that holds every voxel of the mask, as one slice per axis; None when it is empty."""
    slices: list[slice] = []
    rest: Mask = mask
    for axis in range(mask.ndim):
        hit = np.flatnonzero(rest.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        if not len(hit):
            return None
        slices.append(slice(int(hit[0]), int(hit[-1]) + 1))
        rest = rest[tuple(slices[axis] if a == axis else slice(None) for a in range(mask.ndim))]
    return tuple(slices)


_EMPTY: FloatArray = np.zeros(0, dtype=np.float64)


def _by_transform(prediction_edge: Mask, reference_edge: Mask, spacing: Spacing) -> tuple[FloatArray, FloatArray]:
    """Distances by an exact Euclidean distance transform of each outline."""
    import edt

    def to(edge: Mask, points: Mask) -> FloatArray:
        field = edt.edt(np.ascontiguousarray(~edge), anisotropy=spacing, black_border=False, parallel=1)
        return np.asarray(field[points], dtype=np.float64)

    return to(reference_edge, prediction_edge), to(prediction_edge, reference_edge)


def _by_tree(prediction_edge: Mask, reference_edge: Mask, spacing: Spacing) -> tuple[FloatArray, FloatArray]:
    """Distances by nearest-neighbour search, for small outlines far apart in a large box."""
    from scipy.spatial import cKDTree

    predicted = np.argwhere(prediction_edge) * np.asarray(spacing)
    referred = np.argwhere(reference_edge) * np.asarray(spacing)
    to_reference = cKDTree(referred).query(predicted)[0]
    to_prediction = cKDTree(predicted).query(referred)[0]
    return np.asarray(to_reference, dtype=np.float64), np.asarray(to_prediction, dtype=np.float64)
