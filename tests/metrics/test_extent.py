import numpy as np
import pytest
from scipy.spatial.distance import pdist

from medseg.metrics.extent import largest_distance, surface_points


def test_the_largest_distance_of_a_ball_is_its_diameter():
    grid = np.stack(np.meshgrid(*[np.arange(-22, 23)] * 3, indexing="ij"))
    for spacing in ((1.0, 1.0, 1.0), (0.7, 0.7, 2.5)):
        ball = np.sqrt(((grid.T * spacing) ** 2).sum(axis=-1)).T <= 14
        assert largest_distance(surface_points(ball) * spacing) == pytest.approx(28, abs=max(spacing))


def test_one_voxel_reaches_from_face_to_face_and_a_flat_lesion_across():
    one = np.zeros((3, 3, 3), dtype=bool)
    one[1, 1, 1] = True
    assert largest_distance(surface_points(one) * (1.0, 1.0, 4.0)) == 4.0
    flat = np.ones((40, 30, 1), dtype=bool)
    assert largest_distance(surface_points(flat)[:, :2]) == pytest.approx(np.hypot(40, 29), abs=0.5)


def test_many_points_are_reduced_without_loss():
    points = np.random.default_rng(0).normal(size=(900, 3))
    assert largest_distance(points) == pytest.approx(pdist(points).max())
    in_a_plane = points * (1, 1, 0)
    assert largest_distance(in_a_plane) == pytest.approx(pdist(in_a_plane).max())


def test_an_empty_mask_has_no_extent():
    assert np.isnan(largest_distance(surface_points(np.zeros((4, 4), dtype=bool))))
