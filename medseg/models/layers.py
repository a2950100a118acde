"""Layers: the convolutions and the normalisation that every network here is built of, chosen by measured speed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ConvBlock", "InstanceNorm", "convolution", "feature_dropout", "transposed_convolution"]


def convolution(
    in_features: int,
    out_features: int,
    *,
    kernel: tuple[int, ...],
    stride: tuple[int, ...] | None = None,
    bias: bool = False,
) -> nn.Module:
    """2D or 3D convolution that keeps the size (divided by the stride); the number of axes is the kernel's."""
    conv: Any = nn.Conv2d if len(kernel) == 2 else nn.Conv3d
    padding = tuple(size // 2 for size in kernel)
    layer: nn.Module = conv(
        in_features, out_features, kernel, stride=stride or (1,) * len(kernel), padding=padding, bias=bias
    )
    return layer


def transposed_convolution(in_features: int, out_features: int, *, stride: tuple[int, ...]) -> nn.Module:
    """2D or 3D transposed convolution that multiplies the size by the stride, without overlap."""
    conv: Any = nn.ConvTranspose2d if len(stride) == 2 else nn.ConvTranspose3d
    layer: nn.Module = conv(in_features, out_features, stride, stride=stride, bias=False)
    return layer


def feature_dropout(dims: int, probability: float) -> nn.Module:
    """Dropout of whole feature maps, or nothing where the probability is 0."""
    if probability == 0.0:
        return nn.Identity()
    return nn.Dropout2d(probability) if dims == 2 else nn.Dropout3d(probability)


class InstanceNorm(nn.Module):
    """Instance normalisation with scale and offset (Ulyanov et al. 2016), the same for 2D and 3D.

    Args:
        features: Feature maps.
        eps: Added to the variance.
    """

    def __init__(self, features: int, *, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.instance_norm(image, weight=self.weight, bias=self.bias, eps=self.eps)


class ConvBlock(nn.Module):
    """Convolution, instance normalisation, leaky ReLU."""

    def __init__(
        self, in_features: int, out_features: int, *, kernel: tuple[int, ...], stride: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.conv = convolution(in_features, out_features, kernel=kernel, stride=stride)
        self.norm = InstanceNorm(out_features)
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.activation(self.norm(self.conv(image)))
        return out
