from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg.data.volume import Volume
from medseg.errors import DataError
from medseg.inference.postprocess import clean_labels
from medseg.inference.predict import Predictor
from medseg.planning.plan import ChannelNormalisation, Plan
from tests.examples import examples


class Threshold(nn.Module):
    """Marks bright voxels, as sharp as the interpolation allows."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.tensor(0.5))

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([self.level - image[:, :1], image[:, :1] - self.level], dim=1) * 8


def _plan(dims: int, **changes: object) -> Plan:
    plan = Plan(
        spatial_dims=3 if dims == 3 else 2,
        channels=("image",),
        modality="PT",
        labels={7: "lesion"},
        fit="spacing",
        spacing=(1.0,) * dims,
        crop_nonzero=False,
        normalisation=(ChannelNormalisation("suv", high=1.0),),
        patch_size=(16,) * dims,
        batch_size=2,
        iterations=1,
        budget_minutes=None,
        features=(4, 8),
        strides=((1,) * dims, (2,) * dims),
        kernels=((3,) * dims,) * 2,
        precision="32",
        device="cpu",
        deep_supervision=False,
    )
    return dataclasses.replace(plan, **changes)


def _predictor(plan: Plan) -> Predictor:
    return Predictor([Threshold().eval()], plan, overlap=0.5, mirror_axes=(0,), batch_size=4)


def _oblique(order: tuple[int, ...], signs: tuple[int, ...], angle: float, spacing: tuple[float, ...]) -> np.ndarray:
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (turn @ np.diag(signs))[:, list(order)] @ np.diag(spacing)
    affine[:3, 3] = (13.0, -40.0, 7.0)
    return affine


@settings(max_examples=examples(20), deadline=None)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.floats(-0.5, 0.5),
    st.booleans(),
)
def test_a_mask_lands_on_the_voxel_it_was_seen_on_in_any_orientation(
    order: list[int], signs: tuple[int, int, int], angle: float, crop: bool
) -> None:
    generator = np.random.default_rng(0)
    array = np.zeros((13, 18, 10), dtype=np.float32)
    array[2:11, 3:16, 1:8] = generator.random((9, 13, 7)) > 0.6
    affine = _oblique(tuple(order), signs, angle, (1.0, 1.0, 1.0))
    volume = Volume(array[None], affine, ("image",), "PT")
    prediction = _predictor(_plan(3, crop_nonzero=crop)).predict(volume)
    np.testing.assert_array_equal(prediction.label_map, array.astype(np.uint8) * 7)
    np.testing.assert_array_equal(prediction.geometry.affine, affine)


def test_a_resampled_prediction_keeps_place_and_size_in_millimetres() -> None:
    shape, spacing = (40, 30, 12), (0.7, 1.3, 2.9)
    grid = np.stack(
        np.meshgrid(*[(np.arange(n) + 0.5) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij")
    )
    centre = np.array([14.0, 19.0, 17.0])
    ball = ((grid - centre[:, None, None, None]) ** 2).sum(0) < 8.0**2
    volume = Volume(ball[None].astype(np.float32), np.diag([*spacing, 1.0]), ("image",), "PT")
    found = _predictor(_plan(3)).predict(volume).label_map == 7
    np.testing.assert_allclose(grid[:, found].mean(1), grid[:, ball].mean(1), atol=0.15)
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.95


def test_a_picture_is_resized_as_a_whole_and_predicted_on_its_own_pixels() -> None:
    picture = np.zeros((3, 90, 70), dtype=np.uint8)
    picture[:, 20:60, 10:50] = 255
    rgb = (ChannelNormalisation("rgb"),) * 3
    plan = _plan(2, fit="image", channels=("red", "green", "blue"), normalisation=rgb, patch_size=(32, 32))
    prediction = _predictor(plan).predict(Volume(picture, np.eye(4), ("red", "green", "blue"), "DERMOSCOPY"))
    assert prediction.label_map.shape == (90, 70)
    truth = picture[0] > 0
    found = prediction.label_map == 7
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.93


def test_probabilities_are_those_of_the_label_map() -> None:
    array = np.random.default_rng(1).random((1, 12, 14, 9)).astype(np.float32)
    volume = Volume(array, np.diag([1.0, 1.0, 2.0, 1.0]), ("image",), "PT")
    prediction = _predictor(_plan(3)).predict(volume, probabilities=True)
    assert prediction.probabilities is not None
    assert prediction.probabilities.shape == (2, 12, 14, 9)
    agree = (prediction.probabilities.argmax(0) * 7) == prediction.label_map
    assert agree.mean() > 0.999


def test_an_image_of_other_channels_is_refused() -> None:
    volume = Volume(np.zeros((2, 8, 8, 8), dtype=np.float32), np.eye(4), ("a", "b"), "MR")
    with pytest.raises(DataError, match="1 channel"):
        _predictor(_plan(3)).predict(volume)


def test_channels_are_known_by_their_names_whatever_their_order() -> None:
    suv = ChannelNormalisation("suv", high=1.0)
    predictor = _predictor(_plan(3, channels=("T1", "FLAIR"), normalisation=(suv, suv)))
    array = np.random.default_rng(1).random((2, 12, 14, 9)).astype(np.float32)
    expected = predictor.predict(Volume(array, np.eye(4), ("T1", "FLAIR"), "MR")).label_map
    assert expected.any()
    turned = predictor.predict(Volume(array[::-1], np.eye(4), ("FLAIR", "T1"), "MR"))
    unnamed = predictor.predict(Volume(array, np.eye(4), ("image1", "image2"), "MR"))
    assert np.array_equal(turned.label_map, expected)
    assert np.array_equal(unnamed.label_map, expected)
    with pytest.raises(DataError, match=r"expected the channels T1, FLAIR, which .* found T1, T2"):
        predictor.predict(Volume(array, np.eye(4), ("T1", "T2"), "MR"))


@pytest.mark.parametrize("shape", [(16, 16, 1), (1, 16, 16)])
def test_a_single_slice_is_no_volume(shape: tuple[int, ...]) -> None:
    volume = Volume(np.zeros((1, *shape), dtype=np.float32), np.eye(4), ("image",), "PT")
    with pytest.raises(DataError, match="expected a volume; found a single slice"):
        _predictor(_plan(3)).predict(volume)


@pytest.mark.parametrize(
    ("shape", "spacing", "is_doubtful"),
    [((16, 16, 8), 1.0, False), ((16, 16, 7), 1.0, True), ((16, 16, 2), 4.0, False), ((4, 16, 16), 1.0, True)],
)
def test_a_volume_that_fills_less_than_half_of_the_patch_deserves_doubt(
    shape: tuple[int, ...], spacing: float, is_doubtful: bool
) -> None:
    # The last axis runs from back to front, the second one down: the patch counts in the patient's directions.
    affine = np.array([[1.0, 0, 0, 0], [0, 0, spacing, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    volume = Volume(np.zeros((1, *shape), dtype=np.float32), affine, ("image",), "PT")
    doubt = _predictor(_plan(3)).doubt(volume)
    assert bool(doubt) == is_doubtful
    assert not doubt or "was a part of the series left out?" in doubt
    assert _predictor(_plan(3)).predict(volume).label_map.shape == shape


def test_small_components_go_and_the_largest_stays() -> None:
    label_map = np.zeros((20, 20), dtype=np.uint8)
    label_map[2:10, 2:10] = 1
    label_map[15, 15] = 1
    label_map[12:14, 2:4] = 2
    assert clean_labels(label_map, spacing=(1.0, 1.0)) is label_map
    small = clean_labels(label_map, spacing=(1.0, 1.0), smallest_mm3=2.0)
    assert small[15, 15] == 0
    assert (small == 2).sum() == 4
    one = clean_labels(label_map, spacing=(1.0, 1.0), largest_component=True)
    assert (one == 1).sum() == 64
