from __future__ import annotations

import colorsys

import numpy as np
import pytest

from medseg.transforms.optics import change_colour, draw_hairs, draw_ruler, equalise, move_camera

_LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture
def photograph() -> np.ndarray:
    generator = np.random.default_rng(0)
    base = np.array([0.8, 0.6, 0.5])[:, None, None]
    return np.clip(base + generator.normal(0, 0.05, (3, 64, 48)), 0, 1).astype(np.float32)


def test_no_colour_change_changes_nothing(photograph: np.ndarray) -> None:
    same = change_colour(photograph, brightness=1.0, contrast=1.0, hue=0.0, saturation=1.0)
    np.testing.assert_allclose(same, photograph, atol=1e-6)


def test_saturation_zero_is_the_grey_picture(photograph: np.ndarray) -> None:
    grey = change_colour(photograph, brightness=1.0, contrast=1.0, hue=0.0, saturation=0.0)
    luma = np.tensordot(_LUMA, photograph, axes=1)
    np.testing.assert_allclose(grey, np.broadcast_to(luma, grey.shape), atol=2e-3)


def test_hue_turns_the_colour_and_keeps_the_luminance(photograph: np.ndarray) -> None:
    turned = change_colour(photograph, brightness=1.0, contrast=1.0, hue=0.5, saturation=1.0)
    np.testing.assert_allclose(np.tensordot(_LUMA, turned, axes=1), np.tensordot(_LUMA, photograph, axes=1), atol=2e-3)
    before, after = (colorsys.rgb_to_hsv(*p.mean(axis=(1, 2)).tolist())[0] for p in (photograph, turned))
    assert 0.03 < abs((before - after + 0.5) % 1 - 0.5) < 0.2


def test_brightness_and_contrast_are_factors(photograph: np.ndarray) -> None:
    darker = change_colour(photograph, brightness=0.8, contrast=1.0, hue=0.0, saturation=1.0)
    np.testing.assert_allclose(darker, 0.8 * photograph, atol=1e-5)
    softer = change_colour(photograph, brightness=1.0, contrast=0.5, hue=0.0, saturation=1.0)
    np.testing.assert_allclose(softer.std(axis=(1, 2)), 0.5 * photograph.std(axis=(1, 2)), rtol=1e-4)


def test_equalising_raises_local_contrast_and_stays_in_range() -> None:
    faint = (0.5 + 0.02 * np.random.default_rng(1).standard_normal((1, 64, 64))).astype(np.float32)
    found = equalise(np.repeat(faint, 3, axis=0), clip=3.0, rgb=True)
    assert found.std() > 1.5 * faint.std()
    assert found.min() >= -1e-5
    assert found.max() <= 1 + 1e-5
    other = equalise(1000 * faint, clip=3.0, rgb=False)
    assert other.min() >= 1000 * faint.min() - 1e-2
    assert other.max() <= 1000 * faint.max() + 1e-2


def test_without_a_clip_limit_one_tile_is_plain_histogram_equalisation() -> None:
    plane = np.random.default_rng(2).random((1, 40, 40)).astype(np.float32) ** 1.2
    found = equalise(plane, clip=1e9, rgb=False, tiles=1)
    low, high = plane.min(), plane.max()
    ranks = plane.ravel().argsort().argsort().reshape(plane.shape) / plane.size
    np.testing.assert_allclose(found, low + (high - low) * ranks, atol=0.04)
    assert np.corrcoef(found.ravel(), ranks.ravel())[0, 1] > 0.99


def test_moving_the_camera_blurs_along_the_line_only() -> None:
    stripes = np.tile(np.arange(40) % 2, (40, 1)).astype(np.float32)[None]
    np.testing.assert_allclose(move_camera(stripes, length=8, angle=0.0), stripes, atol=1e-6)
    across = move_camera(stripes, length=8, angle=np.pi / 2)
    assert np.ptp(across[:, 5:-5, 8:-8]) < 0.3


def test_hairs_and_rulers_are_thin_and_drawn_from_the_generator(photograph: np.ndarray) -> None:
    for draw in (draw_hairs, draw_ruler):
        first = draw(photograph, generator=np.random.default_rng(4))
        again = draw(photograph, generator=np.random.default_rng(4))
        np.testing.assert_array_equal(first, again)
        touched = np.any(first != photograph, axis=0)
        assert 0.001 < touched.mean() < 0.3
