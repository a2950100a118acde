"""Every loss: against MONAI or a closed form, then its behaviour at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.config.model import (
    BoundaryLossConfig,
    ClDiceLossConfig,
    DiceLossConfig,
    GeneralisedDiceLossConfig,
    LossConfig,
    TverskyLossConfig,
)
from medseg.losses import DeepSupervisionLoss, build_loss
from medseg.losses.boundary import signed_distance
from medseg.losses.centreline import soft_skeleton
from medseg.losses.overlap import DiceTerm

ALL: list[LossConfig] = [
    DiceLossConfig(name="dice"),
    DiceLossConfig(name="dice_ce"),
    DiceLossConfig(name="dice_focal"),
    GeneralisedDiceLossConfig(),
    TverskyLossConfig(name="tversky"),
    TverskyLossConfig(name="focal_tversky"),
    BoundaryLossConfig(),
    ClDiceLossConfig(),
]
IDS = [config.name for config in ALL]
EVERY = pytest.mark.parametrize("config", ALL, ids=IDS)


def sample(*shape: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits and class indices; every class occurs in every sample."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape[0], classes, *shape[1:], generator=generator)
    target = torch.randint(0, classes, shape, generator=generator)
    target.flatten(1)[:, :classes] = torch.arange(classes)
    return logits, target


def shares_of(target: Tensor, classes: int = 3) -> Tensor:
    return functional.one_hot(target, classes).movedim(-1, 1).float()


def loss_of(config: LossConfig, logits: Tensor, target: Tensor, *, ignore_index: int | None = None) -> Tensor:
    value: Tensor = build_loss(config, ignore_index=ignore_index)(logits, target)
    return value


@pytest.mark.parametrize("shape", [(2, 8, 6), (2, 6, 5, 4)])
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("background", [True, False])
def test_overlap_and_focal_losses_equal_monais(shape: tuple[int, ...], batch: bool, background: bool) -> None:
    from monai.losses import DiceFocalLoss, DiceLoss, GeneralizedDiceLoss, TverskyLoss

    logits, target = sample(*shape)
    ours: dict[str, Any] = {"batch_dice": batch, "include_background": background}
    theirs: dict[str, Any] = {"batch": batch, "include_background": background, "softmax": True, "to_onehot_y": True}
    pairs: list[tuple[LossConfig, nn.Module]] = [
        (DiceLossConfig(name="dice", **ours), DiceLoss(**theirs)),
        (TverskyLossConfig(**ours), TverskyLoss(alpha=0.3, beta=0.7, **theirs)),
        (
            GeneralisedDiceLossConfig(smooth=0, **ours),
            GeneralizedDiceLoss(smooth_nr=0, smooth_dr=0, **theirs),
        ),
    ]
    for config, reference in pairs:
        found = loss_of(config, logits, target)
        torch.testing.assert_close(found, reference(logits, target.unsqueeze(1)), atol=1e-5, rtol=1e-5)
    if background:
        focal = DiceFocalLoss(batch=batch, softmax=True, to_onehot_y=True, gamma=2.0, lambda_focal=0.0)
        dice = focal(logits, target.unsqueeze(1))
        found = loss_of(DiceLossConfig(name="dice_focal", **ours), logits, target) - dice
        true = torch.softmax(logits, dim=1).gather(1, target.unsqueeze(1))
        torch.testing.assert_close(found, (-((1 - true) ** 2) * true.log()).mean(), atol=1e-5, rtol=1e-5)


def test_dice_ce_adds_torchs_cross_entropy_with_its_weight() -> None:
    logits, target = sample(2, 6, 5, 4)
    dice = loss_of(DiceLossConfig(name="dice"), logits, target)
    both = loss_of(DiceLossConfig(name="dice_ce", dice_weight=0.5, other_weight=2.0), logits, target)
    torch.testing.assert_close(both, 0.5 * dice + 2.0 * functional.cross_entropy(logits, target))


def test_focal_without_focus_is_cross_entropy_and_tversky_with_halves_is_dice() -> None:
    logits, target = sample(2, 8, 6)
    plain = DiceLossConfig(name="dice_focal", focal_gamma=0.0)
    torch.testing.assert_close(loss_of(plain, logits, target), loss_of(DiceLossConfig(), logits, target))
    halves = TverskyLossConfig(alpha=0.5, beta=0.5, smooth=0)
    dice = DiceLossConfig(name="dice", smooth=0)
    torch.testing.assert_close(loss_of(halves, logits, target), loss_of(dice, logits, target))
    sharp = loss_of(TverskyLossConfig(name="focal_tversky", batch_dice=False), logits[:1], target[:1])
    assert torch.isfinite(sharp)


def test_the_boundary_term_is_the_mean_of_probability_times_scipys_distance() -> None:
    from scipy.ndimage import distance_transform_edt

    logits, target = sample(1, 12, 10, classes=2)
    target[:] = 0
    target[0, 3:8, 2:7] = 1
    mask = target[0].numpy() == 1
    expected = distance_transform_edt(~mask) - (distance_transform_edt(mask) - 1) * mask
    np.testing.assert_allclose(signed_distance(mask), expected, atol=1e-5)
    term = (torch.softmax(logits, dim=1)[0, 1] * torch.from_numpy(expected)).mean()
    whole = loss_of(BoundaryLossConfig(boundary_weight=0.5), logits, target)
    dice = loss_of(DiceLossConfig(name="dice"), logits, target)
    torch.testing.assert_close(whole, (dice + 0.5 * term).float(), atol=1e-5, rtol=1e-5)


def test_a_mask_without_surface_has_no_distance() -> None:
    assert not signed_distance(np.zeros((4, 4), dtype=bool)).any()
    assert not signed_distance(np.ones((4, 4, 4), dtype=bool)).any()


@pytest.mark.parametrize("shape", [(1, 1, 16, 16), (1, 2, 10, 10, 10)])
def test_the_soft_skeleton_equals_monais(shape: tuple[int, ...]) -> None:
    from monai.losses.cldice import soft_skel

    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(soft_skeleton(image, iterations=3), soft_skel(image, 3))


def test_cldice_charges_a_cut_vessel_more_than_a_thinned_one() -> None:
    target = torch.zeros(1, 20, 20, dtype=torch.int64)
    target[0, 8:11, :] = 1
    cut, thin = shares_of(target, 2), shares_of(target, 2)
    cut[:, :, :, 8:12] = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    thin[:, :, 8] = torch.tensor([1.0, 0.0]).view(1, 2, 1)
    config = ClDiceLossConfig(alpha=1.0)
    losses = [loss_of(config, (shares * 2 - 1) * 20, target).item() for shares in (cut, thin)]
    assert losses[0] > losses[1] + 0.05


@EVERY
def test_a_perfect_prediction_costs_no_more_than_any_other(config: LossConfig) -> None:
    logits, target = sample(2, 12, 12)
    perfect = (shares_of(target) * 2 - 1) * 30
    assert loss_of(config, perfect, target) < loss_of(config, logits, target)
    if config.name != "dice_boundary":
        assert loss_of(config, perfect, target).item() == pytest.approx(0.0, abs=1e-3)


@EVERY
def test_hard_shares_give_the_loss_of_class_indices(config: LossConfig) -> None:
    logits, target = sample(2, 8, 6)
    hard = loss_of(config, logits, target)
    torch.testing.assert_close(loss_of(config, logits, shares_of(target)), hard, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(loss_of(config, logits, shares_of(target), ignore_index=255), hard, atol=1e-5, rtol=1e-5)


@EVERY
def test_ignored_voxels_change_nothing(config: LossConfig) -> None:
    logits, target = sample(2, 8, 6)
    target[:, 4:] = 255
    first = loss_of(config, logits, target, ignore_index=255)
    other = logits.clone().requires_grad_()
    with torch.no_grad():
        other[:, :, 4:] = 7 * torch.randn(2, 3, 4, 6)
    second = loss_of(config, other, target, ignore_index=255)
    if config.name == "cldice":
        assert torch.isfinite(second)
    torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-5)
    second.backward()
    assert other.grad is not None
    assert not other.grad[:, :, 4:].any()
    assert other.grad[:, :, :4].any()


@EVERY
def test_ignored_voxels_have_shares_of_nought(config: LossConfig) -> None:
    logits, target = sample(2, 8, 6)
    shares = shares_of(target)
    target[:, 5:] = 255
    shares[:, :, 5:] = 0
    torch.testing.assert_close(
        loss_of(config, logits, shares, ignore_index=255),
        loss_of(config, logits, target, ignore_index=255),
        atol=1e-5,
        rtol=1e-5,
    )


@EVERY
def test_a_patch_that_is_all_ignored_costs_nothing_and_pulls_nowhere(config: LossConfig) -> None:
    logits, target = sample(2, 8, 6)
    logits.requires_grad_()
    value = loss_of(config, logits, torch.full_like(target, 255), ignore_index=255)
    value.backward()
    assert value.item() == pytest.approx(0.0, abs=1e-3)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() < 1e-3


@EVERY
@pytest.mark.parametrize("batch", [True, False])
def test_a_patch_without_foreground_has_a_finite_loss_and_gradient(config: LossConfig, batch: bool) -> None:
    logits, target = sample(2, 8, 6)
    logits.requires_grad_()
    value = loss_of(config.model_copy(update={"batch_dice": batch}), logits, torch.zeros_like(target))
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@EVERY
def test_logits_of_any_size_and_of_bf16_give_a_finite_float32_loss(config: LossConfig) -> None:
    logits, target = sample(2, 8, 6)
    for scale in (0.0, 1.0, 1e4):
        given = (logits * scale).bfloat16().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            value = loss_of(config, given, target)
        value.backward()
        assert value.dtype == torch.float32
        assert torch.isfinite(value)
        assert given.grad is not None
        assert torch.isfinite(given.grad).all()


def test_an_empty_class_costs_one_unless_it_is_not_predicted_either() -> None:
    target = torch.zeros(1, 4, 4, dtype=torch.int64)
    somewhere = torch.zeros(1, 2, 4, 4)
    nowhere = torch.stack((torch.full((1, 4, 4), 40.0), torch.full((1, 4, 4), -40.0)), dim=1)
    config = DiceLossConfig(name="dice")
    assert loss_of(config, somewhere, target).item() == pytest.approx(1.0, abs=1e-3)
    assert loss_of(config, nowhere, target).item() == pytest.approx(0.0, abs=1e-3)


def test_batch_dice_lets_a_patch_without_lesion_be_no_term_of_its_own() -> None:
    target = torch.zeros(2, 4, 4, dtype=torch.int64)
    target[0, :2] = 1
    logits = (shares_of(target, 2) * 2 - 1) * 20
    logits[1, 1, 0, 0] = 20.0
    logits[1, 0, 0, 0] = -20.0
    together = loss_of(DiceLossConfig(name="dice"), logits, target).item()
    apart = loss_of(DiceLossConfig(name="dice", batch_dice=False), logits, target).item()
    assert together == pytest.approx(1 - 16 / 17, abs=1e-4)
    assert apart == pytest.approx(0.5, abs=1e-4)


def test_without_smoothing_an_empty_class_is_still_defined() -> None:
    target = torch.full((1, 4, 4), 255)
    logits = torch.zeros(1, 2, 4, 4, requires_grad=True)
    value = loss_of(DiceLossConfig(name="dice", smooth=0), logits, target, ignore_index=255)
    value.backward()
    assert value.item() == 0.0
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_target_of_another_shape_is_refused() -> None:
    logits, target = sample(2, 8, 6)
    with pytest.raises(ValueError, match="expected class indices of shape"):
        loss_of(DiceLossConfig(), logits, target[:, :4])
    with pytest.raises(ValueError, match="expected class indices of shape"):
        loss_of(DiceLossConfig(), logits, target.float())


def test_deep_supervision_halves_the_weight_from_level_to_level() -> None:
    logits, target = sample(2, 8, 8, 4)
    coarse = torch.randn(2, 3, 4, 4, 4)
    loss = build_loss(DiceLossConfig(), ignore_index=None)
    found = DeepSupervisionLoss(loss)([logits, coarse], target)
    expected = (loss(logits, target) * 2 + loss(coarse, target[:, 1::2, 1::2, :])) / 3
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(DeepSupervisionLoss(loss)(logits, target), loss(logits, target))


def test_deep_supervision_averages_shares() -> None:
    shares = torch.rand(2, 3, 8, 8).softmax(dim=1)
    levels = [torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 4)]
    loss = build_loss(DiceLossConfig(), ignore_index=None)
    expected = (loss(levels[0], shares) * 2 + loss(levels[1], functional.avg_pool2d(shares, 2))) / 3
    torch.testing.assert_close(DeepSupervisionLoss(loss)(levels, shares), expected)


def test_a_term_can_be_used_on_its_own() -> None:
    from medseg.losses.targets import flatten_scores

    logits, target = sample(1, 4, 4)
    value = DiceTerm(background=True)(flatten_scores(logits, target, ignore_index=None))
    assert 0 < value.item() < 1
