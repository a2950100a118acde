from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medseg.transforms.resample import (
    axis_orders,
    resample_argmax,
    resample_image,
    resample_label,
    resampled_affine,
    resampled_shape,
)
from tests.examples import examples


def _ramp(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """A function of the world position, linear, so that linear interpolation is exact away from the border."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return (world @ np.array([0.3, -0.7, 1.1]))[None].astype(np.float32)


@pytest.mark.parametrize(("order", "antialias"), [(1, False), (1, True), (3, True)])
@pytest.mark.parametrize("shape", [(31, 40), (13, 55), (64, 7)])
def test_interpolation_agrees_with_torch(order: int, antialias: bool, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((2, 29, 33), dtype=np.float32)
    mode = "bilinear" if order == 1 else "bicubic"
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(image)[None], size=shape, mode=mode, antialias=antialias, align_corners=False
    )[0].numpy()
    found = resample_image(image, shape, orders=order, antialias=antialias)
    inner = [slice(5, -5) if order == 3 and n > 20 else slice(None) for n in shape]
    np.testing.assert_allclose(found[:, *inner], expected[:, *inner], atol=5e-5)


def test_a_voxel_stays_where_it_was_in_the_world() -> None:
    affine = np.array([[0, -1.7, 0.1, 12], [2.2, 0, 0, -40], [0, 0.2, 4.9, 7], [0, 0, 0, 1]], dtype=float)
    shape, new = (40, 36, 15), (61, 29, 33)
    there = resample_image(_ramp(shape, affine), new, orders=1, antialias=False)
    expected = _ramp(new, resampled_affine(affine, shape, new))
    inner = (slice(None), slice(3, -3), slice(3, -3), slice(3, -3))
    np.testing.assert_allclose(there[inner], expected[inner], atol=1e-3)


def test_the_grid_agrees_with_scipy_given_only_the_two_affines() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(1).random((30, 26, 18)), 1.5).astype(np.float32)
    affine, new = np.diag([1.0, 1.2, 3.0, 1.0]), (22, 39, 40)
    index_map = np.linalg.inv(affine) @ resampled_affine(affine, image.shape, new)
    expected = ndimage.affine_transform(
        image, index_map[:3, :3], index_map[:3, 3], output_shape=new, order=1, mode="nearest"
    )
    np.testing.assert_allclose(resample_image(image[None], new, orders=1, antialias=False)[0], expected, atol=1e-5)


@settings(max_examples=examples(40), deadline=None)
@given(
    st.tuples(*[st.integers(1, 60)] * 3),
    st.tuples(*[st.integers(1, 60)] * 3),
    st.floats(0.3, 6.0),
    st.floats(-90.0, 90.0),
)
def test_there_and_back_is_the_same_grid(
    shape: tuple[int, ...], new: tuple[int, ...], spacing: float, origin: float
) -> None:
    affine = np.diag([spacing, 2.0, 3.0, 1.0])
    affine[:3, 3] = origin
    back = resampled_affine(resampled_affine(affine, shape, new), new, shape)
    np.testing.assert_allclose(back, affine, atol=1e-9)


def test_a_smooth_image_comes_back_within_a_percent() -> None:
    image = ndimage.gaussian_filter(np.random.default_rng(2).random((2, 40, 40, 20)), (0, 3, 3, 2)).astype(np.float32)
    new = resampled_shape(image.shape[1:], (1.0, 1.0, 3.0), (0.8, 0.8, 2.0))
    assert new == (50, 50, 30)
    back = resample_image(resample_image(image, new), image.shape[1:])
    assert np.abs(back - image)[:, 3:-3, 3:-3, 3:-3].max() < 0.01 * np.ptp(image)


@settings(max_examples=examples(25), deadline=None)
@given(st.integers(0, 2**31), st.tuples(*[st.integers(2, 24)] * 3))
def test_a_label_map_gains_no_value_and_a_finer_grid_gives_it_back(seed: int, shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(seed)
    label = generator.choice(np.array([0, 2, 7], dtype=np.uint8), size=shape)
    finer = tuple(3 * n for n in shape)
    up = resample_label(label, finer)
    assert set(np.unique(up)) <= set(np.unique(label))
    assert up.dtype == label.dtype
    np.testing.assert_array_equal(up[1::3, 1::3, 1::3], label)


def test_labels_agree_with_a_one_hot_argmax_of_all_classes_at_once() -> None:
    generator = np.random.default_rng(3)
    field = ndimage.gaussian_filter(generator.random((5, 28, 31, 12)), (0, 2, 2, 2))
    label = field.argmax(axis=0).astype(np.uint8)
    new = (41, 20, 25)
    onehot = np.stack([(label == v).astype(np.float32) for v in range(5)])
    expected = torch.nn.functional.interpolate(torch.from_numpy(onehot)[None], size=new, mode="trilinear")[0].numpy()
    decided = np.sort(expected, axis=0)[-1] - np.sort(expected, axis=0)[-2] > 1e-4
    np.testing.assert_array_equal(resample_label(label, new)[decided], expected.argmax(axis=0)[decided])


def test_memory_does_not_grow_with_the_number_of_classes() -> None:
    label = np.random.default_rng(4).integers(0, 3, size=(40, 40, 20)).astype(np.uint8)

    def peak(classes: int) -> int:
        tracemalloc.start()
        resample_argmax(((v, (label + v) % 3 == 0) for v in range(classes)), (60, 60, 40))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)
    assert peak(40) < 1.1 * peak(4)


def test_a_constant_stays_constant_and_one_voxel_fills_the_box() -> None:
    image = np.full((1, 5, 1, 9), 7.0)
    np.testing.assert_allclose(resample_image(image, (3, 4, 20)), 7.0, rtol=1e-6)
    assert resampled_shape((5, 1, 9), (1.0, 1.0, 1.0), (20.0, 1.0, 1.0)) == (1, 1, 9)


def test_thick_slices_are_interpolated_linearly() -> None:
    assert axis_orders((0.7, 0.7, 5.0), order=3) == (3, 3, 1)
    assert axis_orders((1.0, 1.0, 2.0), order=3) == (3, 3, 3)


def test_a_wrong_order_or_number_of_axes_is_refused() -> None:
    with pytest.raises(ValueError, match="order 1 or 3"):
        resample_image(np.zeros((1, 4, 4)), (4, 4), orders=2)
    with pytest.raises(ValueError, match="expected 2 axes"):
        resample_image(np.zeros((1, 4, 4)), (4, 4, 4))
    with pytest.raises(ValueError, match="at least one class"):
        resample_argmax([], (4, 4))
