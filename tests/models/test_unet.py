"""The U-Net: shapes, anisotropic levels, and that the fast layers compute what torch's own do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from medseg.config.model import EfficientUNetConfig, UNetConfig
from medseg.errors import PlanError
from medseg.models import build_model
from medseg.models.layers import InstanceNorm, channels_last, convolution, joined_convolution

ANISOTROPIC: dict[str, Any] = {
    "features": (4, 8, 16),
    "strides": ((1, 1, 1), (2, 2, 1), (2, 2, 2)),
    "kernels": ((3, 3, 1), (3, 3, 3), (3, 3, 3)),
}
FLAT: dict[str, Any] = {
    "features": (4, 8, 16),
    "strides": ((1, 1), (2, 2), (2, 2)),
    "kernels": ((3, 3),) * 3,
}


def build(config: UNetConfig | EfficientUNetConfig, *, spatial_dims: int = 3, in_channels: int = 1) -> nn.Module:
    levels = ANISOTROPIC if spatial_dims == 3 else FLAT
    return build_model(config, spatial_dims=spatial_dims, in_channels=in_channels, out_channels=3, **levels)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize(("dims", "channels"), [(2, 1), (2, 3), (3, 1), (3, 2)])
def test_a_training_network_returns_every_level_and_an_evaluated_one_returns_one(
    residual: bool, dims: int, channels: int
) -> None:
    model = build(UNetConfig(residual=residual), spatial_dims=dims, in_channels=channels)
    shape = (16, 12, 6)[:dims]
    image = torch.randn(2, channels, *shape)
    levels = model(image)
    half = (8, 6, 6)[:dims]
    assert [tuple(level.shape) for level in levels] == [(2, 3, *shape), (2, 3, *half)]
    model.eval()
    assert model(image).shape == (2, 3, *shape)


def test_without_deep_supervision_a_training_network_returns_one_tensor() -> None:
    model = build(UNetConfig(deep_supervision=False))
    assert model(torch.randn(1, 1, 8, 8, 4)).shape == (1, 3, 8, 8, 4)


def test_the_encoder_returns_its_maps_from_fine_to_coarse() -> None:
    model = build(UNetConfig())
    maps = model.encoder(torch.randn(1, 1, 16, 12, 6))
    assert [tuple(level.shape[1:]) for level in maps] == [(4, 16, 12, 6), (8, 8, 6, 6), (16, 4, 3, 3)]
    assert model.encoder.features == (4, 8, 16)


def test_every_weight_gets_a_gradient_under_bf16() -> None:
    for config, dims, channels in ((UNetConfig(dropout=0.1), 3, 1), (UNetConfig(residual=False), 2, 3)):
        model = build(config, spatial_dims=dims, in_channels=channels)
        with torch.autocast("cpu", torch.bfloat16):
            levels = model(torch.randn(2, channels, *(16, 16, 8)[:dims]))
        sum(level.float().square().mean() for level in levels).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_the_same_seed_gives_the_same_gradients() -> None:
    gradients = []
    for _ in range(2):
        torch.manual_seed(0)
        model = build(UNetConfig())
        with torch.autocast("cpu", torch.bfloat16):
            model(torch.randn(2, 1, 8, 8, 4))[0].float().square().mean().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.equal(*gradients)


@pytest.mark.parametrize("shape", [(3, 5, 8, 6), (2, 5, 4, 6, 3)])
@pytest.mark.parametrize("last", [True, False])
def test_instance_norm_agrees_with_torch_forwards_and_backwards(shape: tuple[int, ...], last: bool) -> None:
    torch.manual_seed(0)
    norm = InstanceNorm(5)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    image = torch.randn(shape) * 3 + 2
    image = (channels_last(image) if last else image).requires_grad_()
    pull = torch.randn(shape)
    norm(image).backward(pull)
    ours = [image.grad, norm.weight.grad, norm.bias.grad, norm(image)]
    twin = image.detach().clone().requires_grad_()
    weight, bias = (p.detach().clone().requires_grad_() for p in (norm.weight, norm.bias))
    theirs_out = functional.instance_norm(twin, weight=weight, bias=bias)
    theirs_out.backward(pull)
    for a, b in zip(ours, (twin.grad, weight.grad, bias.grad, theirs_out), strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_instance_norm_of_bf16_stays_close_to_float32() -> None:
    image = channels_last(torch.randn(2, 8, 16, 16) + 4)
    norm = InstanceNorm(8)
    coarse = norm(image.bfloat16())
    assert coarse.dtype == torch.bfloat16
    torch.testing.assert_close(coarse.float(), norm(image.bfloat16().float()), atol=0.03, rtol=0.01)


@pytest.mark.parametrize("kernel", [(3, 3), (3, 1, 3)])
def test_a_joined_convolution_is_the_convolution_of_the_concatenation(kernel: tuple[int, ...]) -> None:
    conv = convolution(7, 4, kernel=kernel, bias=True)
    first, second = torch.randn(2, 3, *(6,) * len(kernel)), torch.randn(2, 4, *(6,) * len(kernel))
    expected = conv(torch.cat((first, second), dim=1))
    torch.testing.assert_close(joined_convolution(conv, first, second), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kernel", [(3, 3), (3, 3, 3)])
def test_a_convolution_of_one_channel_is_torchs_own(kernel: tuple[int, ...]) -> None:
    ours = convolution(1, 4, kernel=kernel)
    plain = (nn.Conv2d if len(kernel) == 2 else nn.Conv3d)(1, 4, kernel, padding=1, bias=False)
    plain.load_state_dict(ours.state_dict())
    image = torch.randn(2, 1, *(6,) * len(kernel))
    torch.testing.assert_close(ours(image), plain(image), atol=1e-5, rtol=1e-5)


def test_lists_that_do_not_fit_are_refused_with_their_lengths() -> None:
    with pytest.raises(PlanError, match="found 1, 3 and 3"):
        build_model(UNetConfig(), spatial_dims=2, in_channels=1, out_channels=2, **{**FLAT, "features": (4,)})
    with pytest.raises(PlanError, match="of 3 numbers"):
        build_model(UNetConfig(), spatial_dims=3, in_channels=1, out_channels=2, **FLAT)
    with pytest.raises(PlanError, match="odd kernel"):
        build_model(UNetConfig(), spatial_dims=2, in_channels=1, out_channels=2, **{**FLAT, "kernels": ((2, 2),) * 3})
    with pytest.raises(PlanError, match="2D network"):
        build(EfficientUNetConfig(pretrained=False))
