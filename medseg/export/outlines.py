"""Outline: the closed polygon around a region of a mask; a region's holes are joined to it by keyholes.

The polygon runs half-way between the centres of pixels that are in and of pixels that are out (marching squares at
0.5), so every pixel centre lies at least a third of a pixel from it and the mask comes back exactly from a reader that
takes the pixels whose centres lie inside. Two pixels that touch at a corner only are two regions or one; either way the
mask comes back.
"""

from __future__ import annotations

import numpy as np

from medseg.types import Array, FloatArray

__all__ = ["outlines_of"]


def outlines_of(mask: Array) -> list[FloatArray]:
    """Outline every region of a mask.

    Args:
        mask: bool, axes (row, column).

    Returns:
        Points (column, row) in pixels, each polygon of shape (points, 2), the last point not the first again. A hole is
        reached and left along one and the same segment (a keyhole), as PS3.3 section C.8.8.6.3 describes.

    Example:
        >>> outlines_of(np.array([[False, True]]))[0].tolist()
        [[0.5, 0.0], [1.0, -0.5], [1.5, 0.0], [1.0, 0.5]]
    """
    import contourpy

    if not mask.any():
        return []
    padded = np.pad(mask, 1).astype(np.float64)
    generator = contourpy.contour_generator(z=padded, name="serial", fill_type=contourpy.FillType.OuterOffset)
    outlines = []
    for points, offsets in zip(*generator.filled(0.5, np.inf), strict=True):
        # contourpy interpolates; the crossings of 0 and 1 at 0.5 lie on halves, and are made so exactly.
        exact = np.rint(np.asarray(points) * 2) / 2 - 1
        rings = [exact[a : b - 1] for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)]
        ring, kept = _keyholed(rings[0], rings[1:])
        outlines.append(_without_midpoints(ring, kept))
    return outlines


def _keyholed(ring: FloatArray, holes: list[FloatArray]) -> tuple[FloatArray, Array]:
    """The ring with every hole joined in, and which of its points are ends of a channel.

    A channel starts at the hole's rightmost point on a row of pixel centres and runs to the right, through pixels that
    are in, to the next point of another ring on that row. That ring is the outer one or a hole further right, which is
    joined already.
    """
    kept = np.zeros(len(ring), dtype=bool)
    for hole in sorted(holes, key=_rightmost, reverse=True):
        on_row = np.flatnonzero(hole[:, 1] == np.rint(hole[:, 1]))
        start = int(on_row[np.argmax(hole[on_row, 0])])
        turned = np.roll(hole, -start, axis=0)
        x, y = turned[0]
        ahead = np.flatnonzero((ring[:, 1] == y) & (ring[:, 0] > x))
        end = int(ahead[np.argmin(ring[ahead, 0])])
        detour = np.concatenate([ring[end : end + 1], turned, turned[:1], ring[end : end + 1]])
        marks = np.zeros(len(detour), dtype=bool)
        marks[[0, 1, -2, -1]] = True
        ring = np.concatenate([ring[:end], detour, ring[end + 1 :]])
        kept = np.concatenate([kept[:end], marks, kept[end + 1 :]])
    return ring, kept


def _rightmost(hole: FloatArray) -> float:
    return float(hole[hole[:, 1] == np.rint(hole[:, 1]), 0].max())


def _without_midpoints(ring: FloatArray, kept: Array) -> FloatArray:
    """Leave out the points in the middle of a straight run."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    corners: FloatArray = ring[(turn != 0) | kept]
    return corners
