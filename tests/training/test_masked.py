"""Masked image modelling: what is hidden, that the network can't see it, and that it learns."""

from __future__ import annotations

import pytest
import torch

from medseg.config.model import EfficientUNetConfig, UNetConfig
from medseg.models import build_model, transfer_weights
from medseg.training.masked import MaskedModel, hidden_error, hide_blocks, mean_fill_error


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def encoder(dims: int) -> torch.nn.Module:
    torch.manual_seed(0)
    strides = ((1,) * dims, (2,) * dims, (2,) * dims)
    model = build_model(
        UNetConfig(),
        spatial_dims=dims,
        in_channels=1,
        out_channels=2,
        features=(4, 8, 8),
        strides=strides,
        kernels=((3,) * dims,) * 3,
    )
    return model.encoder


@pytest.mark.parametrize(("shape", "block"), [((16, 24), 8), ((20, 12, 6), (8, 4, 3)), ((10, 7), 4)])
def test_every_sample_hides_the_same_number_of_whole_blocks(shape: tuple[int, ...], block: int) -> None:
    hidden = hide_blocks(shape, block=block, ratio=0.6, batch=3, generator=generator())
    assert hidden.shape == (3, 1, *shape)
    edges = (block,) * len(shape) if isinstance(block, int) else block
    corners = hidden[(slice(None), 0, *(slice(None, None, edge) for edge in edges))]
    counts = corners.flatten(1).sum(dim=1)
    assert counts.unique().tolist() == [round(0.6 * corners[0].numel())]
    first = hidden[(slice(None), 0, *(slice(0, edge) for edge in edges))].flatten(1).float()
    assert torch.equal(first.amin(dim=1), first.amax(dim=1))


def test_the_same_generator_hides_the_same_blocks_and_another_does_not() -> None:
    draws = [hide_blocks((32, 32), block=4, ratio=0.5, batch=2, generator=generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert not torch.equal(draws[0][0], draws[0][1])


@pytest.mark.parametrize("ratio", [0.001, 0.999])
def test_something_is_always_hidden_and_something_seen(ratio: float) -> None:
    hidden = hide_blocks((16, 16), block=8, ratio=ratio, batch=1, generator=generator())
    assert 0 < hidden.float().mean() < 1


@pytest.mark.parametrize("dims", [2, 3])
def test_hidden_voxels_are_not_seen_by_the_network(dims: int) -> None:
    model = MaskedModel(encoder(dims), spatial_dims=dims, in_channels=1, width=4)
    image = torch.randn(2, 1, *(16,) * dims)
    hidden = hide_blocks((16,) * dims, block=4, ratio=0.5, batch=2, generator=generator())
    other = torch.where(hidden, torch.randn_like(image), image)
    assert model(image, hidden).shape == image.shape
    assert torch.equal(model(image, hidden), model(other, hidden))


def test_the_error_counts_hidden_voxels_only() -> None:
    image, hidden = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    hidden[..., :2] = True
    filled = torch.full_like(image, 3.0)
    filled[..., 2:] = 99.0
    assert hidden_error(filled, image, hidden).item() == 3.0
    image[..., 2:] = 5.0
    assert mean_fill_error(image, hidden).item() == 5.0


def test_a_short_pretraining_beats_filling_in_the_mean_and_its_encoder_is_taken_up() -> None:
    source = encoder(2)
    model = MaskedModel(source, spatial_dims=2, in_channels=1, width=8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    draw = generator()
    ramp = torch.linspace(-1, 1, 32)
    errors = []
    for _ in range(30):
        slopes = torch.randn(4, 2, 1, 1, 1, generator=draw)
        image = slopes[:, 0] * ramp[None, :, None] + slopes[:, 1] * ramp[None, None, :]
        image = image.reshape(4, 1, 32, 32)
        hidden = hide_blocks((32, 32), block=8, ratio=0.5, batch=4, generator=draw)
        error = hidden_error(model(image, hidden), image, hidden)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append((error / mean_fill_error(image, hidden)).item())
    assert sum(errors[-5:]) / 5 < 0.75
    target = build_model(
        UNetConfig(),
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
        features=(4, 8, 8),
        strides=((1, 1), (2, 2), (2, 2)),
        kernels=((3, 3),) * 3,
    )
    report = transfer_weights(target, model.state_dict())
    assert set(report.matched) == {name for name in target.state_dict() if name.startswith("encoder.")}
    assert not report.reshaped


def test_the_pretrained_2d_encoder_can_be_pretrained_further() -> None:
    network = build_model(
        EfficientUNetConfig(pretrained=False),
        spatial_dims=2,
        in_channels=3,
        out_channels=2,
        features=(),
        strides=(),
        kernels=(),
    )
    model = MaskedModel(network.encoder, spatial_dims=2, in_channels=3)
    hidden = hide_blocks((64, 64), block=16, ratio=0.5, batch=2, generator=generator())
    with torch.autocast("cpu", torch.bfloat16):
        filled = model(torch.randn(2, 3, 64, 64), hidden)
    assert filled.shape == (2, 3, 64, 64)
