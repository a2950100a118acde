from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg.inference import window
from medseg.inference.window import gaussian_weights, predict_probabilities, window_starts
from tests.examples import examples


class Pointwise(nn.Module):
    """Logits that depend on the voxel alone, so that any tiling must give the same answer."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.linspace(-1, 1, classes))

    def forward(self, image: Tensor) -> Tensor:
        shape = (1, -1, *([1] * (image.ndim - 2)))
        return image[:, :1] * self.scale.view(shape)


class Leftness(nn.Module):
    """Logits that depend on the place in the window: a network that is not mirror-symmetric."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, image.shape[2]).view(1, 1, -1, *([1] * (image.ndim - 3)))
        return torch.cat([image[:, :1] * 0 + ramp, image[:, :1] * 0], dim=1)


def _run(image: np.ndarray, networks: list[nn.Module], **changes: object) -> np.ndarray:
    settings_: dict = {
        "classes": 2,
        "patch_size": (8,) * (image.ndim - 1),
        "overlap": 0.5,
        "mirror_axes": (),
        "batch_size": 4,
        "autocast": None,
    }
    with predict_probabilities(networks, image, **{**settings_, **changes}) as found:
        return np.array(found)


@settings(max_examples=examples(25), deadline=None)
@given(st.integers(4, 21), st.integers(4, 21), st.sampled_from([0.0, 0.3, 0.5, 0.75]))
def test_a_pointwise_network_gives_the_same_answer_however_the_image_is_tiled(x: int, y: int, overlap: float) -> None:
    image = np.random.default_rng(x * 100 + y).normal(size=(1, x, y)).astype(np.float32)
    direct = torch.softmax(Pointwise()(torch.from_numpy(image[None])), 1)[0].detach().numpy()
    for axes in ((), (0, 1)):
        found = _run(image, [Pointwise()], overlap=overlap, mirror_axes=axes)
        np.testing.assert_allclose(found, direct, atol=1e-5)


@given(st.integers(1, 200), st.integers(1, 64), st.floats(0, 0.9))
def test_windows_cover_every_voxel_and_stay_inside(total: int, size: int, overlap: float) -> None:
    starts = window_starts(total, size, overlap=overlap)
    covered = np.zeros(max(total, size), dtype=bool)
    for start in starts:
        assert 0 <= start <= max(total - size, 0)
        covered[start : start + size] = True
    assert covered.all()


def test_mirrored_copies_are_turned_back_before_they_are_averaged() -> None:
    image = np.zeros((1, 8, 8, 8), dtype=np.float32)
    plain = _run(image, [Leftness().eval()])
    mirrored = _run(image, [Leftness().eval()], mirror_axes=(0,))
    np.testing.assert_allclose(mirrored, (plain + plain[:, ::-1]) / 2, atol=1e-6)


def test_the_ensemble_is_the_mean_of_its_networks() -> None:
    image = np.random.default_rng(0).normal(size=(1, 12, 9)).astype(np.float32)
    first, second = Pointwise(), Pointwise()
    with torch.no_grad():
        second.scale.mul_(3)
    mean = (_run(image, [first]) + _run(image, [second])) / 2
    np.testing.assert_allclose(_run(image, [first, second]), mean, atol=1e-6)


def test_large_sums_go_to_a_file_and_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(1).normal(size=(1, 20, 17, 11)).astype(np.float32)
    in_memory = _run(image, [Pointwise(5)], classes=5)
    monkeypatch.setattr(window, "_IN_MEMORY_BYTES", 1000)
    np.testing.assert_array_equal(_run(image, [Pointwise(5)], classes=5), in_memory)


def test_the_weight_of_a_window_is_largest_in_its_middle_and_never_zero() -> None:
    weights = gaussian_weights((9, 16, 5))
    assert weights.shape == (9, 16, 5)
    assert weights[4, 7, 2] == weights.max() == 1
    assert weights.min() >= 1e-3
