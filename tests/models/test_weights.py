"""Transfer of weights: what is taken over, what is not, and that it is told."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import ConfigError
from medseg.models import transfer_weights
from medseg.models.weights import adapt_channels


def network(channels: int = 3, classes: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Conv2d(4, classes, 1))


def test_equal_networks_match_in_every_tensor() -> None:
    source, target = network(), network()
    report = transfer_weights(target, source.state_dict())
    assert set(report.matched) == set(target.state_dict())
    assert str(report) == "4 of 4 tensors taken over"
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, target.state_dict()[name])


def test_each_tensor_is_told_under_one_heading() -> None:
    source, target = network(channels=3, classes=5), network(channels=1, classes=2)
    before = target[2].weight.clone()
    given = {**source.state_dict(), "head.weight": torch.zeros(1)}
    del given["0.bias"]
    report = transfer_weights(target, given)
    assert report.adapted == ("0.weight",)
    assert report.reshaped == ("2.weight", "2.bias")
    assert report.missing == ("0.bias",)
    assert report.unexpected == ("head.weight",)
    assert torch.equal(target[2].weight, before)
    assert report.to_dict()["missing"] == ["0.bias"]


def test_a_prefix_takes_a_part_out_of_a_larger_network() -> None:
    source, target = network(), network()
    weights = {f"encoder.{name}": tensor for name, tensor in source.state_dict().items()}
    report = transfer_weights(target, {**weights, "decoder.weight": torch.zeros(1)}, prefix="encoder.")
    assert len(report.matched) == 4
    assert report.unexpected == ()


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ConfigError, match="found 0 of 4 tensors"):
        transfer_weights(network(), {"other": torch.zeros(1)})


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_adapted_channels_respond_alike_to_an_image_of_equal_channels(channels: int) -> None:
    weight = torch.randn(4, 3, 3, 3)
    image = torch.randn(1, 1, 8, 8)
    expected = torch.conv2d(image.expand(-1, 3, -1, -1), weight)
    found = torch.conv2d(image.expand(-1, channels, -1, -1), adapt_channels(weight, channels=channels))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
