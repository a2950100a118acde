from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.config import AugmentConfig
from medseg.transforms import build_batch_transform


def _batch(dims: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """Every sample is one constant and wholly one class, so that shares can be read off."""
    spatial = (16,) * dims
    values = torch.arange(4.0).view(4, *[1] * (dims + 1))
    image = values.expand(4, 2, *spatial).clone()
    onehot = torch.nn.functional.one_hot(torch.arange(4)).float().view(4, 4, *[1] * dims).expand(4, 4, *spatial)
    return image, onehot.clone()


@pytest.mark.parametrize("dims", [2, 3])
def test_mixup_blends_image_and_target_with_the_same_weights(dims: int) -> None:
    image, target = _batch(dims)
    mixed, soft = build_batch_transform(AugmentConfig(mixup=1.0), 0)(image, target, step=3)
    classes = torch.arange(4.0).view(1, 4, *[1] * dims)
    torch.testing.assert_close((soft * classes).sum(1), mixed[:, 0])
    torch.testing.assert_close(soft.sum(1), torch.ones_like(soft[:, 0]))
    assert not torch.equal(mixed, image)


@pytest.mark.parametrize("dims", [2, 3])
def test_cutmix_pastes_one_box_of_image_and_target(dims: int) -> None:
    image, _ = _batch(dims)
    labels = image[:, 0].long()
    pasted, moved = build_batch_transform(AugmentConfig(cutmix=1.0), 0)(image, labels, step=1)
    torch.testing.assert_close(pasted[:, 0].long(), moved)
    share = (moved != labels).float().mean(dim=tuple(range(1, dims + 1)))
    assert (share > 0.05).all()
    assert (share < 0.6).all()
    assert torch.equal(image[:, 0].long(), labels)


def test_a_step_draws_the_same_again_and_steps_differ() -> None:
    image, target = _batch()
    transform = build_batch_transform(AugmentConfig(mixup=0.5, cutmix=0.5), 9)
    runs = [[transform(image, target, step=s)[0] for s in range(20)] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))
    unchanged = np.mean([torch.equal(a, image) for a in runs[0]])
    assert 0 < unchanged < 0.7


def test_switched_off_or_alone_nothing_happens() -> None:
    image, target = _batch()
    off = build_batch_transform(AugmentConfig(), 0)
    assert not off.active
    assert off(image, target, step=0)[0] is image
    assert build_batch_transform(AugmentConfig(mixup=1.0, cutmix=1.0), 0)(image[:1], target[:1], step=0)[0].equal(
        image[:1]
    )


def test_mixup_refuses_class_numbers() -> None:
    image, _ = _batch()
    with pytest.raises(ValueError, match="one-hot"):
        build_batch_transform(AugmentConfig(mixup=1.0), 0)(image, image[:, 0].long(), step=0)
