"""EfficientNet-Lite0 against an independent implementation, and its fast gradients against torch's."""

from __future__ import annotations

import pytest
import torch

from medseg.config.model import EfficientUNetConfig
from medseg.errors import PlanError
from medseg.models import build_model, transfer_weights
from medseg.models.depthwise import DepthwiseConv2d, SameConv2d
from medseg.models.efficient_unet import EfficientUNet
from medseg.models.efficientnet import EfficientNetLite0Encoder, imagenet_weights


def test_the_feature_maps_are_those_of_an_independent_implementation() -> None:
    reference_package = pytest.importorskip("efficientnet_lite_pytorch")
    reference = reference_package.EfficientNet.from_name("efficientnet-lite0").eval().double()
    reference.load_state_dict(imagenet_weights())
    encoder = EfficientNetLite0Encoder().eval().double()
    report = transfer_weights(encoder, imagenet_weights())
    assert not report.missing
    assert not report.reshaped
    seen: list[torch.Tensor] = []
    for block in reference._blocks:
        block.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    image = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        maps = encoder(image)
        head = reference.extract_features(image)
        ours = reference._swish(reference._bn1(reference._conv_head(maps[-1])))
    for ours_map, theirs in zip(maps, (seen[i] for i in (0, 2, 4, 10, 15)), strict=True):
        assert (ours_map - theirs).abs().max() < 1e-5
    assert (ours - head).abs().max() < 1e-5


def test_frozen_statistics_equal_evaluation_and_leave_the_statistics_alone() -> None:
    encoder = EfficientNetLite0Encoder(frozen_statistics=True)
    transfer_weights(encoder, imagenet_weights())
    image = torch.randn(1, 3, 64, 64)
    before = {name: buffer.clone() for name, buffer in encoder.named_buffers()}
    with torch.no_grad():
        trained = encoder.train()(image)
        evaluated = encoder.eval()(image)
    for a, b in zip(trained, evaluated, strict=True):
        assert torch.equal(a, b)
    for name, buffer in encoder.named_buffers():
        assert torch.equal(buffer, before[name])


def test_the_encoders_features_and_strides_describe_its_maps() -> None:
    encoder = EfficientNetLite0Encoder(1).eval()
    maps = encoder(torch.randn(1, 1, 64, 96))
    assert tuple(level.shape[1] for level in maps) == encoder.features
    assert [tuple(level.shape[2:]) for level in maps] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_gradients_agree_with_torch(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    conv = DepthwiseConv2d(8, kernel=kernel, stride=stride)
    plain = SameConv2d(8, 8, kernel=kernel, stride=stride, groups=8)
    plain.load_state_dict(conv.state_dict())
    gradients = []
    image = torch.randn(2, 8, 12, 16).bfloat16().float().contiguous(memory_format=torch.channels_last)
    pull = torch.randn(2, 8, 12 // stride, 16 // stride).bfloat16().float()
    for layer, fast in ((conv, True), (plain, False)):
        bias = torch.zeros(8, requires_grad=True)
        given = image.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=fast):
            out = layer.convolve(given, weight=layer.weight, bias=bias)
        out.backward(pull.to(out.dtype))
        gradients.append((out.float(), given.grad, layer.weight.grad, bias.grad))
    for ours, theirs in zip(*gradients, strict=True):
        assert (ours - theirs).norm() < 0.01 * theirs.norm()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_network_trains_on_any_number_of_channels(channels: int) -> None:
    model = build_model(
        EfficientUNetConfig(deep_supervision=True, decoder_features=(16, 12, 8, 8, 4), dropout=0.1),
        spatial_dims=2,
        in_channels=channels,
        out_channels=2,
        features=(),
        strides=(),
        kernels=(),
    )
    image = torch.randn(2, channels, 64, 32)
    with torch.autocast("cpu", torch.bfloat16):
        levels = model(image)
    assert [tuple(level.shape[2:]) for level in levels] == [(64, 32), (32, 16), (16, 8), (8, 4), (4, 2)]
    sum(level.float().square().mean() for level in levels).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert model.eval()(image).shape == (2, 2, 64, 32)


def test_a_wrong_number_of_decoder_features_is_refused() -> None:
    with pytest.raises(PlanError, match="expected 5 numbers, found 2"):
        build_model(
            EfficientUNetConfig(pretrained=False, decoder_features=(8, 4)),
            spatial_dims=2,
            in_channels=3,
            out_channels=2,
            features=(),
            strides=(),
            kernels=(),
        )


def test_fresh_statistics_are_those_of_the_data_after_few_steps() -> None:
    torch.manual_seed(0)
    network = EfficientUNet(3, 2, pretrained=False)
    images = 3.0 + 2.0 * torch.randn(4, 3, 128, 128)
    network.train()
    with torch.no_grad():
        for _ in range(5):
            trained = network(images)
        predicted = network.eval()(images)
    # What is left is the step from the batch's variance to the unbiased one, layer by layer.
    assert (predicted - trained).abs().mean() < 0.2 * trained.std()
