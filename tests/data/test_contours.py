import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon

from medseg.data import contours as module
from medseg.data.contours import fill_contours, mark_points
from medseg.data.volume import Geometry
from medseg.errors import GeometryError
from tests.examples import examples

_GRID = Geometry((30, 25, 6), np.eye(4))


def _ring(radius, z, *, centre=(14.2, 11.7), count=64, phase=0.1):
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + phase
    return np.column_stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle), np.full(count, z)])


def _filled(contours, grid=_GRID):
    return fill_contours(contours, grid).on_grid(grid.shape)


def _inside(polygon, shape):
    """Pixel centres inside one polygon, by matplotlib."""
    grid = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), axis=-1).reshape(-1, 2)
    return Polygon(np.vstack([polygon, polygon[:1]]), closed=True).contains_points(grid).reshape(shape[:2])


@given(seed=st.integers(0, 10_000), count=st.integers(3, 40))
@settings(max_examples=examples(40), deadline=None)
def test_a_voxel_is_in_when_its_centre_is_inside_the_polygon(seed, count):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, count))
    radius = rng.uniform(1, 16, count)  # A star: concave, and partly outside the grid.
    points = np.column_stack([14 + radius * np.cos(angle), 12 + radius * np.sin(angle), np.full(count, 2.0)])
    mask = _filled([points])
    assert np.array_equal(mask[..., 2], _inside(points[:, :2], (30, 25)))
    assert not mask[..., [0, 1, 3, 4, 5]].any()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=examples(25), deadline=None)
def test_contours_of_an_oblique_series_fill_the_same_voxels(seed):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * rng.uniform(0.4, 4, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    rings = [_ring(rng.uniform(2, 9), z) for z in (1, 2, 3)]
    world = [ring @ affine[:3, :3].T + affine[:3, 3] for ring in rings]
    oblique = fill_contours(world, Geometry(_GRID.shape, affine)).on_grid(_GRID.shape)
    assert np.array_equal(oblique, _filled(rings))


def test_an_inner_contour_and_a_keyhole_leave_the_same_hole():
    outer, inner = _ring(9, 3), _ring(4, 3)
    keyhole = np.concatenate([outer, outer[:1], inner[:1], inner[::-1], outer[:1]])
    expected = _inside(outer[:, :2], (30, 25)) & ~_inside(inner[:, :2], (30, 25))
    assert np.array_equal(_filled([outer, inner])[..., 3], expected)
    assert np.array_equal(_filled([keyhole])[..., 3], expected)
    island = _filled([outer, inner, _ring(2, 3)])[..., 3]
    assert np.array_equal(island, expected | _inside(_ring(2, 3)[:, :2], (30, 25)))


def test_two_structures_that_share_an_edge_through_pixel_centres_share_no_voxel_and_leave_none_out():
    left = np.array([[2, 3, 1], [10, 3, 1], [10, 9, 1], [2, 9, 1]], dtype=float)
    right = left + np.array([8, 0, 0])
    one, other = _filled([left]), _filled([right])
    assert one.sum() == other.sum() == 8 * 6
    assert not (one & other).any()
    assert (one | other)[2:18, 3:9, 1].all()


def test_the_volume_of_a_ball_is_met():
    grid = Geometry((60, 60, 60), np.eye(4))
    radii = {z: np.sqrt(20.0**2 - (z - 30) ** 2) for z in range(11, 50)}
    mask = _filled([_ring(r, z, centre=(30, 30), count=200) for z, r in radii.items()], grid)
    assert mask.sum() == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.005)


@pytest.mark.parametrize(
    ("heights", "slices"),
    [
        ([1, 2, 3], [1, 2, 3]),
        ([1.4, 2.4, 3.4], [1, 2, 3]),
        ([1.5, 2.5, 3.5], [2, 3, 4]),
        ([0, 2, 4], [0, 2, 4]),  # Two gaps tell nothing of an even distance.
        ([1, 4], [1, 4]),
        ([1, 1.25, 1.5, 1.75, 2], [1, 2]),
        ([-3, 1, 9], [1]),
    ],
)
def test_each_slice_takes_the_nearest_contour_within_half_a_slab(heights, slices):
    mask = _filled([_ring(5, z) for z in heights])
    assert np.flatnonzero(mask.any(axis=(0, 1))).tolist() == slices


def test_contours_that_lie_evenly_further_apart_than_the_slices_stand_for_slabs():
    grid = Geometry((30, 25, 20), np.eye(4))
    drawn = fill_contours([_ring(5, z) for z in (3, 6, 9, 15)], grid)  # One of them, at 12, is missing.
    slices = np.flatnonzero(drawn.on_grid(grid.shape).any(axis=(0, 1)))
    assert slices.tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15, 16]
    assert drawn.notes == ("contours lie 3 slices apart; each stands for as many",)


def test_contours_along_another_axis_of_the_grid_are_filled_there():
    sagittal = [ring[:, [2, 0, 1]] for ring in (_ring(5, 7, centre=(9, 9)), _ring(3, 8, centre=(9, 9)))]
    mask = fill_contours(sagittal, Geometry((20, 20, 20), np.eye(4))).on_grid((20, 20, 20))
    assert np.flatnonzero(mask.any(axis=(1, 2))).tolist() == [7, 8]
    assert np.array_equal(mask[7], _inside(_ring(5, 7, centre=(9, 9))[:, :2], (20, 20)))


def test_contours_across_the_slices_or_outside_the_image_are_refused():
    tilted = _ring(6, 2)
    tilted[:, 2] += 0.2 * tilted[:, 0]
    tilted[:, 1] += 0.3 * tilted[:, 2]
    with pytest.raises(GeometryError, match="planes of the image"):
        fill_contours([tilted], _GRID)
    with pytest.raises(GeometryError, match="none of 2 contours lies on the image"):
        fill_contours([_ring(5, 40), _ring(5, 41)], _GRID)


def test_what_is_drawn_twice_counts_once_and_what_overlaps_is_told():
    ring, other = _ring(5, 2), _ring(5, 2, centre=(18, 12))
    twice = fill_contours([ring, ring.copy()], _GRID)
    assert np.array_equal(twice.on_grid(_GRID.shape), _filled([ring]))
    assert twice.notes == ("1 contours stand there twice; counted once",)
    for copy in (ring[::-1], np.roll(ring, 7, axis=0), np.vstack([ring, ring[:1]]), np.roll(ring[::-1], 5, axis=0)):
        again = fill_contours([ring, copy], _GRID)
        assert (np.array_equal(again.on_grid(_GRID.shape), _filled([ring])), again.notes) == (True, twice.notes)
    moved = fill_contours([ring, ring + 0.002], _GRID)
    assert moved.notes == ("contours overlap on 1 slices; what two of them share counts as outside",)
    overlapping = fill_contours([ring, other], _GRID)
    assert overlapping.notes == ("contours overlap on 1 slices; what two of them share counts as outside",)
    assert fill_contours([ring, _ring(2, 2)], _GRID).notes == ()


def test_a_point_marks_the_voxel_that_holds_it():
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    marked = mark_points(np.array([[10.9, 4.1, 3.2], [-40, 0, 0]]), Geometry((30, 25, 6), affine))
    assert np.argwhere(marked.on_grid((30, 25, 6))).tolist() == [[5, 2, 1]]
    assert marked.notes == ("1 of 2 points lie outside the image",)


def test_memory_stays_flat_whatever_the_number_of_crossings(monkeypatch):
    zigzag = np.column_stack([np.linspace(0, 29, 400), np.tile([-500.0, 500.0], 200), np.full(400, 1.0)])
    whole = _filled([zigzag])
    monkeypatch.setattr(module, "_CROSSINGS_AT_ONCE", 100)
    assert np.array_equal(_filled([zigzag]), whole)
    assert whole.any()
