from __future__ import annotations

import numpy as np
import pytest

from medseg.transforms.intensity import (
    add_noise,
    blur,
    change_contrast,
    change_gamma,
    lower_resolution,
    multiply_bias_field,
)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (2, 20, 24, 16)).astype(np.float32)


def test_noise_has_the_deviation_asked_for(image: np.ndarray) -> None:
    noise = add_noise(image, sigma=0.2, generator=np.random.default_rng(1)) - image
    assert abs(noise.std() - 0.2) < 0.01
    assert abs(noise.mean()) < 0.01


def test_blur_of_a_point_is_a_gaussian() -> None:
    point = np.zeros((1, 21, 21), dtype=np.float32)
    point[0, 10, 10] = 1
    found = blur(point, sigma=1.5)
    place = np.arange(21) - 10
    gauss = np.exp(-(place**2) / (2 * 1.5**2))
    gauss[np.abs(place) > 5] = 0
    gauss /= gauss.sum()
    np.testing.assert_allclose(found[0], np.outer(gauss, gauss), atol=1e-6)


def test_contrast_keeps_the_mean_and_the_range(image: np.ndarray) -> None:
    softer = change_contrast(image, factor=0.5)
    np.testing.assert_allclose(softer.std(axis=(1, 2, 3)), 0.5 * image.std(axis=(1, 2, 3)), rtol=1e-4)
    harder = change_contrast(image, factor=1.5)
    assert harder.min() >= image.min()
    assert harder.max() <= image.max()


def test_gamma_on_a_scaled_channel_is_the_power(image: np.ndarray) -> None:
    low, high = image.min(axis=(1, 2, 3), keepdims=True), image.max(axis=(1, 2, 3), keepdims=True)
    expected = ((image - low) / (high - low)) ** 1.4 * (high - low) + low
    np.testing.assert_allclose(change_gamma(image, gamma=1.4, keep_statistics=False), expected, atol=1e-4)


def test_gamma_can_keep_mean_and_deviation(image: np.ndarray) -> None:
    found = change_gamma(image, gamma=0.7, invert=True)
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), image.mean(axis=(1, 2, 3)), atol=1e-4)
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), image.std(axis=(1, 2, 3)), rtol=1e-3)


@pytest.mark.parametrize("spatial", [(20, 24, 16), (40, 30)])
def test_low_resolution_and_bias_field_are_drawn_from_the_seed(spatial: tuple[int, ...]) -> None:
    image = np.random.default_rng(2).random((2, *spatial), dtype=np.float32) + 1
    for change in (lower_resolution, multiply_bias_field):
        first, again, other = change(image, seed=3), change(image, seed=3), change(image, seed=4)
        assert type(first) is np.ndarray
        assert first.dtype == np.float32
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)
    smooth = multiply_bias_field(np.ones_like(image), seed=3)
    np.testing.assert_allclose(smooth[0], smooth[1])
    assert np.abs(np.diff(smooth, axis=1)).max() < 0.3
    assert np.ptp(lower_resolution(image, seed=3)) <= np.ptp(image)
