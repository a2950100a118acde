"""Defacing: the surface in front of and below the brain removed from a head, brain voxels untouched.

No network: a head is found by its outline, the cranium is measured, the brain is estimated twice (by shape and by
grey value) and wrapped; a plane that touches the wrap from the front below, leaning as the face does, cuts off orbits,
nose, mouth and chin (the idea of Quickshear: Schimke and Hale, HealthSec 2011). What doesn't look like a head of the
usual size is not guessed at but refused. Ears, hair line and the back of the head stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import ReadError
from medseg.types import Array

__all__ = ["Face", "find_face"]

_GRID_MM = 3.5
_LEVEL_MM = (45.0, 85.0)
"""Depths below the vertex between which the cranium is widest."""
_LENGTH_MM, _WIDTH_MM = (130.0, 245.0), (100.0, 205.0)
_SCALP_MM = 11.0
"""Scalp and skull together."""
_HEIGHT = 0.82
"""Half the height of the brain in halves of its length."""
_MARGIN_MM = 5.5
_ANGLES = np.deg2rad(np.arange(27.0, 58.0, 3.0))
"""Lean of the plane's normal against the forward direction; the one that removes most of the face is taken."""
_REACH, _REACH_FORWARD = 1.25, 1.15
"""How far beyond the cranium's ellipsoid the brain may reach, and how far forward and down, where eyes and nose are."""
_BRAIN_ML = (700.0, 2100.0)
_NOT_A_HEAD = (
    "expected a whole head from its top down, of the usual size, to take the face off; found another field of view. "
    "Deface it with a tool of your own, or say --acknowledge-faces if the study allows it"
)


@dataclass(frozen=True)
class Face:
    """What to remove from a volume of a head: all that lies beyond a plane.

    Attributes:
        normal: The plane's normal in world coordinates (RAS+), pointing out of the head.
        limit: Its distance from the world's origin in mm; infinite where nothing but a brain is there.
        background: The value that stands for air.
        head_share: Share of the head's volume that goes.
    """

    normal: Array
    limit: float
    background: float
    head_share: float

    def mask(self, shape: Sequence[int], affine: Array) -> Array:
        """True where a voxel is to be removed, on a grid of this shape (x, y, z) and affine (index to world, RAS+)."""
        weights = self.normal @ affine[:3, :3]
        along = [
            (weights[n] * np.arange(length)).reshape([-1 if m == n else 1 for m in range(3)])
            for n, length in enumerate(shape)
        ]
        return np.asarray(along[0] + along[1] + along[2] + float(self.normal @ affine[:3, 3]) > self.limit)


@dataclass(frozen=True)
class _Cranium:
    """An ellipsoid: centre and half axes in mm of the coarse grid's world (right, anterior, superior)."""

    centre: Array
    half: Array


def find_face(array: Array, affine: Array) -> Face:
    """Find the voxels that a face could be rendered from.

    Args:
        array: Volume, x, y, z; any numbers.
        affine: 4 x 4, index to world, RAS+, mm.

    Raises:
        ReadError: It isn't a whole head from the top down, of the usual size.
    """
    coarse, to_world = _coarse(array, np.asarray(affine, np.float64))
    head = _head(coarse)
    where = np.argwhere(head)
    if not len(where):
        raise ReadError(_NOT_A_HEAD)
    background = float(np.median(coarse[~head])) if not head.all() else float(coarse.min())
    if _is_bare_brain(coarse, head, abs(float(np.linalg.det(to_world[:3, :3])))):
        return Face(np.array([0.0, 1.0, 0.0]), np.inf, background, 0.0)
    cranium = _cranium(head, to_world)
    kept = _wrap(coarse, head, cranium, to_world)
    world = _world(np.argwhere(kept), to_world)
    head_world = _world(where, to_world)
    normal, limit = _plane(world, _front(head_world, cranium))
    share = float(np.mean(head_world @ normal > limit))
    if share < 0.01:
        raise ReadError(_NOT_A_HEAD)
    return Face(normal, limit, background, share)


def _coarse(array: Array, affine: Array) -> tuple[Array, Array]:
    """The volume on a grid of about 3.5 mm by means of blocks, and that grid's affine."""
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    steps = [max(1, round(_GRID_MM / max(float(size), 1e-3))) for size in sizes]
    cut = array[tuple(slice(0, length // step * step) for length, step in zip(array.shape, steps, strict=True))]
    if 0 in cut.shape:
        raise ReadError(_NOT_A_HEAD)
    shape = [part for length, step in zip(cut.shape, steps, strict=True) for part in (length // step, step)]
    blocks = cut.astype(np.float32).reshape(shape).mean(axis=(1, 3, 5))
    scaled = affine.copy()
    scaled[:3, :3] *= steps
    scaled[:3, 3] += affine[:3, :3] @ ((np.asarray(steps) - 1) / 2)
    return np.nan_to_num(blocks), scaled


def _world(indices: Array, affine: Array) -> Array:
    return np.asarray(indices @ affine[:3, :3].T + affine[:3, 3])


def _head(coarse: Array) -> Array:
    """The largest thing that isn't air, its holes filled."""
    from scipy import ndimage

    low, high = np.percentile(coarse, (2.0, 99.0))
    values = np.clip(coarse, low, high)
    threshold = -400.0 if _is_ct(coarse) else _otsu(values[values > low]) * 0.55 + low * 0.45
    mask = ndimage.binary_opening(coarse > threshold, iterations=1)
    labels, count = ndimage.label(mask)
    if not count:
        return np.zeros(coarse.shape, bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = np.pad(labels == sizes.argmax(), 5)
    body = _distance(_distance(~body, 1.0) < 4.0, 1.0) >= 4.0
    for axis in range(3):
        body = _filled(body, axis)
    return np.asarray(body[5:-5, 5:-5, 5:-5], bool)


def _filled(mask: Array, axis: int) -> Array:
    """Holes filled plane by plane across one axis; the mask doesn't touch the border."""
    from scipy import ndimage

    joined = ndimage.generate_binary_structure(3, 1)
    joined[tuple(slice(None, None, 2) if n == axis else slice(None) for n in range(3))] = False
    labels, _ = ndimage.label(~mask, structure=joined)
    outside = np.unique(labels[tuple(slice(None) if n == axis else 0 for n in range(3))])
    return np.asarray(~np.isin(labels, outside) | mask)


def _distance(mask: Array, sizes: Sequence[float] | float) -> Array:
    """Distance of each voxel of a mask to the nearest one outside it; the border of the array isn't outside."""
    import edt

    steps = (sizes,) * 3 if isinstance(sizes, float) else tuple(map(float, sizes))
    return np.asarray(edt.edt(np.ascontiguousarray(mask), anisotropy=steps, black_border=False, parallel=1))


def _is_ct(coarse: Array) -> bool:
    return float(np.percentile(coarse, 5.0)) < -500.0


def _otsu(values: Array) -> float:
    """The threshold between two classes of values (Otsu, IEEE SMC 1979)."""
    if not values.size:
        return 0.0
    counts, edges = np.histogram(values, 128)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(centres[int(np.nanargmax(np.where(above > 0, between, np.nan)))])


def _is_bare_brain(coarse: Array, head: Array, volume: float) -> bool:
    """Whether the outside holds one value only and the inside has a brain's volume: a skull-stripped image.

    `volume` is that of a voxel in mm3.
    """
    from scipy import ndimage

    outside = coarse[~ndimage.binary_dilation(head, iterations=2)]
    if not outside.size:
        return False
    air = float(np.median(outside))
    millilitres = float(np.count_nonzero(head)) * volume / 1000.0
    return bool(np.mean(outside == air) > 0.995 and millilitres < _BRAIN_ML[1])


def _cranium(head: Array, affine: Array) -> _Cranium:
    """Measure the cranium between 45 and 85 mm below the vertex.

    Raises:
        ReadError: The top is cut off, or what is there isn't of a head's size.
    """
    world = _world(np.argwhere(head), affine)
    levels = np.round(world[:, 2] / _GRID_MM).astype(int)
    areas = np.bincount(levels - levels.min())
    top = float(np.percentile(world[:, 2], 99.95))
    edge = _top_of_view(head.shape, affine)
    cut = areas[-1] > 0.3 * areas.max() and world[:, 2].max() > edge - 1.5 * _GRID_MM
    depth = top - world[:, 2]
    ring = world[(depth > _LEVEL_MM[0]) & (depth < _LEVEL_MM[1])]
    if cut or len(ring) < 1000:
        raise ReadError(_NOT_A_HEAD)
    low, high = np.percentile(ring, (0.5, 99.5), axis=0)
    width, length = high[0] - low[0], high[1] - low[1]
    if not (_LENGTH_MM[0] < length < _LENGTH_MM[1] and _WIDTH_MM[0] < width < _WIDTH_MM[1]):
        raise ReadError(_NOT_A_HEAD)
    half = np.array([width / 2 - _SCALP_MM, length / 2 - _SCALP_MM, 0.0])
    half[2] = _HEIGHT * half[1]
    centre = np.array([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, top - _SCALP_MM - half[2]])
    return _Cranium(centre, half)


def _top_of_view(shape: Sequence[int], affine: Array) -> float:
    corners = np.array([[x, y, z] for x in (0, shape[0] - 1) for y in (0, shape[1] - 1) for z in (0, shape[2] - 1)])
    return float(_world(corners, affine)[:, 2].max())


def _wrap(coarse: Array, head: Array, cranium: _Cranium, affine: Array) -> Array:
    """Voxels that must stay: the cranium's ellipsoid and the brain by grey value, with a margin."""
    from scipy import ndimage

    grid = np.moveaxis(np.indices(coarse.shape), 0, -1).reshape(-1, 3)
    away = ((_world(grid, affine) - cranium.centre) / cranium.half).reshape(*coarse.shape, 3)
    radius = np.linalg.norm(away, axis=-1)
    core = coarse[(radius < 0.6) & head]
    middle = float(np.median(core)) if core.size else 0.0
    bottom, top = (-5.0, 95.0) if _is_ct(coarse) else (0.45 * middle, 1.9 * middle)
    sizes = [float(size) for size in np.linalg.norm(affine[:3, :3], axis=0)]
    tissue = (coarse > bottom) & (coarse < top) & (_distance(head, sizes) > _SCALP_MM / 2)
    ball = _distance(tissue, sizes)
    forward = (away[..., 1] > 0.3) & (away[..., 2] < 0.0)
    near = radius < np.where(forward, _REACH_FORWARD, _REACH)
    labels, _ = ndimage.label((ball > 5.0) & near)
    inside = np.bincount(labels[(radius < 0.8) & (labels > 0)], minlength=2)
    brain = labels == inside.argmax() if inside.sum() else np.zeros(head.shape, bool)
    brain = _distance(~brain, sizes) < 7.0
    kept = (radius < 1.0) | (brain & tissue & near)
    return np.asarray(_distance(~kept, sizes) <= _MARGIN_MM)


def _front(head: Array, cranium: _Cranium) -> Array:
    """The part of the head where a face is: before the middle of the cranium's front half, below its middle."""
    return np.asarray(head[(head[:, 1] > cranium.centre[1] + 0.6 * cranium.half[1]) & (head[:, 2] < cranium.centre[2])])


def _plane(kept: Array, face: Array) -> tuple[Array, float]:
    """Normal and offset of the plane in front of and below all that must stay which removes most of the face.

    Raises:
        ReadError: There is nothing where a face should be.
    """
    if not len(face):
        raise ReadError(_NOT_A_HEAD)
    best: tuple[float, Array, float] | None = None
    for angle in _ANGLES:
        normal = np.array([0.0, np.cos(angle), -np.sin(angle)])
        limit = float((kept @ normal).max())
        share = float(np.mean(face @ normal > limit))
        if best is None or share > best[0]:
            best = (share, normal, limit)
    assert best is not None
    return best[1], best[2]
