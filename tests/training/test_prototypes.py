"""Prototypes: averages in closed form, and a segmentation from one labelled example."""

from __future__ import annotations

import pytest
import torch

from medseg.errors import LabelError
from medseg.training.prototypes import feature_pyramid, learn_prototypes, prototype_logits


def disc(size: int, x: float, y: float, radius: float) -> torch.Tensor:
    axis = torch.arange(size).float()
    return (((axis[:, None] - x) ** 2 + (axis[None, :] - y) ** 2) < radius**2).long()


def noisy_features(label: torch.Tensor, *, seed: int, classes: int = 2) -> torch.Tensor:
    """Features that point to the voxel's class, under noise and a large common offset."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(classes, 16, generator=torch.Generator().manual_seed(99))
    noise = torch.randn(16, *label.shape, generator=generator)
    return direction[label].movedim(-1, 0) + 0.4 * noise + 10.0


def test_a_prototype_is_the_mean_feature_inside_the_label() -> None:
    feature = torch.randn(3, 4, 4)
    label = torch.zeros(4, 4, dtype=torch.int64)
    label[:2] = 1
    prototypes = learn_prototypes([feature], [label], classes=2, cells=1)
    scaled = prototypes.scale(feature[None])[0]
    for number, rows in ((0, slice(2, 4)), (1, slice(0, 2))):
        expected = torch.nn.functional.normalize(scaled[:, rows].mean(dim=(1, 2)), dim=0)
        torch.testing.assert_close(prototypes.vectors[number][0], expected)


@pytest.mark.parametrize("cells", [1, 4])
def test_one_example_segments_another_image(cells: int) -> None:
    support, query = disc(32, 10, 12, 6), disc(32, 20, 18, 8)
    prototypes = learn_prototypes([noisy_features(support, seed=1)], [support], classes=2, cells=cells)
    logits = prototype_logits(noisy_features(query, seed=2)[None], prototypes)
    found = logits.argmax(dim=1)[0]
    dice = 2 * (found * query).sum() / (found.sum() + query.sum())
    assert logits.shape == (1, 2, 32, 32)
    assert dice > 0.9


def test_three_classes_in_3d_with_labels_on_a_finer_grid() -> None:
    label = torch.zeros(8, 8, 6, dtype=torch.int64)
    label[:4, :4] = 1
    label[4:, 4:, :3] = 2
    features = noisy_features(label, seed=0, classes=3)
    fine = label.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    prototypes = learn_prototypes([features, features], [fine, fine], classes=3, cells=2)
    found = prototype_logits(features[None], prototypes).argmax(dim=1)[0]
    assert (found == label).float().mean() > 0.9


def test_a_lesion_smaller_than_a_cell_has_a_prototype() -> None:
    label = torch.zeros(32, 32, dtype=torch.int64)
    label[5, 5] = 1
    prototypes = learn_prototypes([noisy_features(label, seed=0)], [label], classes=2, cells=4)
    assert prototypes.vectors[1].shape == (1, 16)
    assert len(prototypes.vectors[0]) > 1


def test_no_class_has_more_prototypes_than_asked_for() -> None:
    label = disc(32, 16, 16, 9)
    prototypes = learn_prototypes([noisy_features(label, seed=0)] * 3, [label] * 3, classes=2, cells=8, most=5)
    assert [len(vectors) for vectors in prototypes.vectors] == [5, 5]


def test_a_class_that_the_support_set_lacks_is_refused() -> None:
    label = disc(16, 8, 8, 3)
    with pytest.raises(LabelError, match="none of class 2 of 3"):
        learn_prototypes([torch.randn(4, 16, 16)], [label], classes=3)


def test_a_pyramid_joins_levels_of_equal_length_on_the_finest_grid() -> None:
    maps = [torch.randn(1, 2, 8, 8), torch.randn(1, 3, 4, 4) * 100, torch.randn(1, 5, 2, 2)]
    joined = feature_pyramid(maps, levels=(0, 1))
    assert joined.shape == (1, 5, 8, 8)
    assert joined[:, 2:].norm(dim=1).max() <= 1.0 + 1e-5
    torch.testing.assert_close(joined[:, :2].norm(dim=1), torch.ones(1, 8, 8))
