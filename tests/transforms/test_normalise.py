from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

from medseg.transforms.normalise import IMAGENET_MEAN, IMAGENET_STD, normalise


@dataclass(frozen=True)
class _Scale:
    method: Literal["ct_window", "zscore", "suv", "rgb"]
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 1.0


def test_a_ct_window_clips_and_then_centres() -> None:
    image = np.array([[[-2000, -100, 0, 50, 3000]]], dtype=np.int16)
    found = normalise(image, [_Scale("ct_window", low=-100, high=300, mean=50, std=25)])
    np.testing.assert_allclose(found, [[[-6, -6, -2, 0, 10]]])
    assert found.dtype == np.float32


def test_zscore_has_mean_0_and_deviation_1() -> None:
    found = normalise(np.random.default_rng(0).normal(300, 40, (1, 30, 30, 10)), [_Scale("zscore")])
    assert abs(found.mean()) < 1e-3
    assert abs(found.std() - 1) < 1e-3


def test_a_few_voxels_of_a_million_change_nothing_for_zscore() -> None:
    image = np.random.default_rng(1).normal(300, 40, (1, 30, 30, 10)).astype(np.float32)
    spoiled = image.copy()
    spoiled[0, 3, 4, :5] = 1e6
    clean, dirty = (normalise(i, [_Scale("zscore")]) for i in (image, spoiled))
    untouched = spoiled == image
    assert np.abs(clean - dirty)[untouched].max() < 0.05
    assert dirty.max() < 4


def test_zscore_is_the_same_for_an_image_a_million_times_as_bright() -> None:
    image = np.random.default_rng(2).random((1, 20, 20, 10)).astype(np.float32)
    np.testing.assert_allclose(
        normalise(image, [_Scale("zscore")]), normalise(image * 1e6, [_Scale("zscore")]), atol=1e-4
    )


def test_zscore_leaves_a_removed_background_out_of_the_statistics() -> None:
    image = np.zeros((1, 40, 40), dtype=np.float32)
    image[0, 10:25, 10:25] = np.random.default_rng(3).normal(100, 5, (15, 15))
    found = normalise(image, [_Scale("zscore")])
    assert abs(found[image != 0].mean()) < 0.01
    assert abs(found[image != 0].std() - 1) < 0.01


def test_a_constant_image_becomes_zero() -> None:
    assert not normalise(np.full((1, 8, 8), 1234.5), [_Scale("zscore")]).any()
    assert not normalise(np.zeros((1, 8, 8), dtype=np.uint8), [_Scale("zscore")]).any()


def test_suv_is_clipped_and_scaled_but_not_shifted() -> None:
    image = np.array([[[-1.0, 0.0, 5.0, 80.0]]])
    np.testing.assert_allclose(normalise(image, [_Scale("suv", high=20, std=5)]), [[[0, 0, 1, 4]]])


def test_photographs_get_the_statistics_of_imagenet() -> None:
    image = np.array([[[255, 0]], [[128, 0]], [[0, 0]]], dtype=np.uint8)
    scales = [_Scale("rgb", mean=m, std=s) for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    expected = (image / 255 - np.reshape(IMAGENET_MEAN, (3, 1, 1))) / np.reshape(IMAGENET_STD, (3, 1, 1))
    np.testing.assert_allclose(normalise(image, scales), expected, atol=1e-5)


def test_the_argument_is_not_changed_and_channels_must_match() -> None:
    image = np.ones((2, 4, 4), dtype=np.float32)
    normalise(image, [_Scale("suv", high=0.5), _Scale("zscore")])
    assert (image == 1).all()
    with pytest.raises(ValueError, match="2 channels; found 1"):
        normalise(image, [_Scale("zscore")])
