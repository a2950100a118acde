from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion, distance_transform_edt, generate_binary_structure

from medseg.metrics import boundary, surface_distances
from medseg.metrics import surface as surface_module
from tests.examples import examples
from tests.metrics.masks import blobs, mask_pairs, spacings

CASES = [((14, 11, 9), s) for s in range(3)] + [((25, 31), s) for s in range(3)]


def _reference_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    cross = generate_binary_structure(prediction.ndim, 1)
    edges = [m & ~binary_erosion(m, cross, border_value=0) for m in (prediction, reference)]
    fields = [distance_transform_edt(~e, sampling=spacing) for e in edges]
    return fields[1][edges[0]], fields[0][edges[1]]


@pytest.mark.parametrize(("shape", "seed"), CASES)
def test_distances_agree_with_scipy_on_uncropped_arrays(shape: tuple[int, ...], seed: int) -> None:
    prediction, reference = blobs(seed, shape), blobs(seed + 9, shape)
    spacing = spacings(len(shape))
    found = surface_distances(prediction, reference, spacing=spacing)
    expected = _reference_distances(prediction, reference, spacing)
    np.testing.assert_allclose(found.to_reference, expected[0], rtol=1e-5)
    np.testing.assert_allclose(found.to_prediction, expected[1], rtol=1e-5)


@pytest.mark.parametrize(("shape", "seed"), CASES)
def test_tree_and_transform_find_the_same_distances(shape: tuple[int, ...], seed: int) -> None:
    edges = [boundary(blobs(s, shape, share=0.05)) for s in (seed, seed + 5)]
    by_tree = surface_module._by_tree(edges[0], edges[1], spacings(len(shape)))
    by_transform = surface_module._by_transform(edges[0], edges[1], spacings(len(shape)))
    for one, other in zip(by_tree, by_transform, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.parametrize(("shape", "seed"), CASES)
def test_hd95_assd_and_nsd_agree_with_monai(shape: tuple[int, ...], seed: int) -> None:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice

    prediction, reference = blobs(seed, shape), blobs(seed + 9, shape)
    spacing = spacings(len(shape))
    pair = [torch.from_numpy(m[None, None].astype(np.float32)) for m in (prediction, reference)]
    found = surface_distances(prediction, reference, spacing=spacing)
    hd95 = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=list(spacing))
    assert found.hd95 == pytest.approx(float(hd95), rel=1e-5)
    assd = compute_average_surface_distance(*pair, include_background=True, symmetric=True, spacing=list(spacing))
    assert found.assd == pytest.approx(float(assd), rel=1e-5)
    for tolerance in (1.0, 2.0):
        nsd = compute_surface_dice(*pair, [tolerance], include_background=True, spacing=list(spacing))
        assert found.nsd(tolerance) == pytest.approx(float(nsd), rel=1e-5)


@pytest.mark.parametrize(("shape", "seed"), CASES)
def test_largest_distance_between_outlines_agrees_with_simpleitk(shape: tuple[int, ...], seed: int) -> None:
    prediction, reference = blobs(seed, shape), blobs(seed + 9, shape)
    spacing = spacings(len(shape))
    found = surface_distances(prediction, reference, spacing=spacing)
    images = []
    for mask in (prediction, reference):
        image = sitk.GetImageFromArray(boundary(mask).astype(np.uint8).T)
        image.SetSpacing(spacing)
        images.append(image)
    hausdorff = sitk.HausdorffDistanceImageFilter()
    hausdorff.Execute(*images)
    largest = max(found.to_reference.max(), found.to_prediction.max())
    assert largest == pytest.approx(hausdorff.GetHausdorffDistance(), rel=1e-5)


def test_two_boxes_a_known_gap_apart_have_the_closed_form_distances() -> None:
    prediction, reference = np.zeros((20, 6, 6), bool), np.zeros((20, 6, 6), bool)
    prediction[2, 1:5, 1:5] = True
    reference[9, 1:5, 1:5] = True
    found = surface_distances(prediction, reference, spacing=(0.5, 1.0, 1.0))
    assert found.hd95 == pytest.approx(3.5)
    assert found.assd == pytest.approx(3.5)
    assert found.nsd(3.4) == 0
    assert found.nsd(3.5) == 1


def test_a_mask_at_the_rim_of_the_image_has_an_outline_there() -> None:
    assert boundary(np.ones((3, 3), bool)).sum() == 8
    assert boundary(np.ones((3, 3, 1), bool)).sum() == 9


def test_surface_metrics_of_empty_masks_follow_the_stated_policy() -> None:
    none, some = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    both = surface_distances(none, none, spacing=(1.0, 1.0))
    assert all(math.isnan(v) for v in (both.hd95, both.assd, both.nsd(1.0)))
    for pair in ((none, some), (some, none)):
        one = surface_distances(*pair, spacing=(1.0, 1.0))
        assert math.isnan(one.hd95)
        assert math.isnan(one.assd)
        assert one.nsd(1.0) == 0


@settings(max_examples=examples(40), deadline=None)
@given(mask_pairs())
def test_distances_are_symmetric_zero_for_the_same_mask_and_unchanged_by_flips(
    pair: tuple[np.ndarray, np.ndarray],
) -> None:
    prediction, reference = pair
    spacing = spacings(prediction.ndim)
    forward = surface_distances(prediction, reference, spacing=spacing)
    backward = surface_distances(reference, prediction, spacing=spacing)
    flipped = surface_distances(np.flip(prediction), np.flip(reference), spacing=spacing)
    for other in (backward, flipped):
        assert forward.hd95 == pytest.approx(other.hd95, nan_ok=True)
        assert forward.assd == pytest.approx(other.assd, nan_ok=True)
        assert forward.nsd(1.3) == pytest.approx(other.nsd(1.3), nan_ok=True)
    if prediction.any():
        same = surface_distances(prediction, prediction, spacing=spacing)
        assert (same.hd95, same.assd, same.nsd(0.1)) == (0, 0, 1)


@settings(max_examples=examples(40), deadline=None)
@given(mask_pairs(), st.floats(0.1, 20))
def test_distances_scale_with_the_spacing_and_padding_changes_nothing(
    pair: tuple[np.ndarray, np.ndarray], factor: float
) -> None:
    spacing = spacings(pair[0].ndim)
    once = surface_distances(*pair, spacing=spacing)
    scaled = surface_distances(*pair, spacing=tuple(s * factor for s in spacing))
    padded = surface_distances(*(np.pad(m, 3) for m in pair), spacing=spacing)
    assert scaled.hd95 == pytest.approx(once.hd95 * factor, rel=1e-4, nan_ok=True)
    assert scaled.assd == pytest.approx(once.assd * factor, rel=1e-4, nan_ok=True)
    assert padded.hd95 == pytest.approx(once.hd95, nan_ok=True)
    assert padded.nsd(1.0) == pytest.approx(once.nsd(1.0), nan_ok=True)
