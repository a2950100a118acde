"""Layers: the convolutions and the normalisation that every network here is built of, formulated for speed.

On a processor, networks run channels-last in bf16: there convolutions are 2 times as fast as channels-first and 5 times
as fast as in float32 (AMX). Some of torch's layers are slow in just that layout; each class here says what it avoids.
The weights have torch's own names, shapes and layout, so a state dict is an ordinary one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "ConvBlock",
    "InstanceNorm",
    "channels_last",
    "convolution",
    "feature_dropout",
    "follow_batches",
    "joined_convolution",
    "transposed_convolution",
]


def channels_last(image: Tensor) -> Tensor:
    """Return the same values laid out with the channel innermost in memory; shape (batch, channel, x, y[, z])."""
    layout = torch.channels_last if image.ndim == 4 else torch.channels_last_3d
    return image.contiguous(memory_format=layout)


def follow_batches(part: nn.Module, *, slowest: float | None = None) -> None:
    """Set how much of the next batch goes into the stored statistics of every batch normalisation of a network's part.

    Fresh statistics begin as the plain mean of the batches. Started at 0 and 1 and moved by a fixed share instead,
    they are wrong by orders of magnitude for a hundred steps, and a network that had learnt predicted nothing.

    Args:
        part: Its batch normalisations have seen the same batches.
        slowest: The share to keep from the start, for statistics that are good already; without it, the plain mean of
            the first 10 batches, then a tenth of each.
    """
    share = slowest
    for norm in (module for module in part.modules() if isinstance(module, nn.BatchNorm2d)):
        if share is None:
            # Reading the number waits for the GPU, so once for all of them.
            share = max(0.1, 1.0 / (1.0 + float(norm.num_batches_tracked or 0)))
        norm.momentum = share


class _OneChannelConv2d(nn.Conv2d):
    """Convolution of one channel: a second one of zeros makes it 2 times as fast in bf16 on a processor."""

    def forward(self, image: Tensor) -> Tensor:
        if image.device.type != "cpu":
            return super().forward(image)
        out: Tensor = self._conv_forward(*_with_zero_channel(image, self.weight), self.bias)
        return out


class _OneChannelConv3d(nn.Conv3d):
    """Convolution of one channel: a second one of zeros makes it 4 times as fast in bf16 on a processor."""

    def forward(self, image: Tensor) -> Tensor:
        if image.device.type != "cpu":
            return super().forward(image)
        out: Tensor = self._conv_forward(*_with_zero_channel(image, self.weight), self.bias)
        return out


def _with_zero_channel(image: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return (
        channels_last(torch.cat((image, torch.zeros_like(image)), dim=1)),
        torch.cat((weight, torch.zeros_like(weight)), dim=1),
    )


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
    if in_features == 1:
        conv = _OneChannelConv2d if len(kernel) == 2 else _OneChannelConv3d
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


def joined_convolution(conv: nn.Module, first: Tensor, second: Tensor) -> Tensor:
    """Convolve the concatenation of two images, (batch, channel, x, y[, z]) each, along the channel.

    On a processor the two are convolved apart and added, because concatenating channels-last costs as much as the
    convolution (2D, 16 + 16 features: 28 ms instead of 47).
    """
    assert isinstance(conv, nn.Conv2d | nn.Conv3d)
    if first.device.type != "cpu":
        joined: Tensor = conv(torch.cat((first, second), dim=1))
        return joined
    split = first.shape[1]
    out: Tensor = conv._conv_forward(first, conv.weight[:, :split], conv.bias)
    out += conv._conv_forward(second, conv.weight[:, split:], None)
    return out


def feature_dropout(dims: int, probability: float) -> nn.Module:
    """Dropout of whole feature maps, or nothing where the probability is 0."""
    if probability == 0.0:
        return nn.Identity()
    return nn.Dropout2d(probability) if dims == 2 else nn.Dropout3d(probability)


class InstanceNorm(nn.Module):
    """Instance normalisation with scale and offset (Ulyanov et al. 2016), the same for 2D and 3D.

    torch's own copies a channels-last image twice and computes on another layout. Batch normalisation of one sample at
    a time is the same function and, on a processor, 1.3 (2D) to 3.5 (3D) times as fast.

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
        """Return the image normalised over its spatial axes, shape (batch, channel, x, y[, z])."""
        ours = image.device.type == "cpu" and self.weight.dtype == torch.float32
        if ours and not (torch.compiler.is_compiling() or torch.compiler.is_exporting()):
            apply: Any = _SampleNorm.apply
            out: Tensor = apply(image, self.weight, self.bias, self.eps)
            return out
        return functional.instance_norm(image, weight=self.weight, bias=self.bias, eps=self.eps)


class _SampleNorm(torch.autograd.Function):
    """Batch normalisation of each sample on its own, written into one tensor."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        out = torch.empty_like(image)
        mean, deviation = torch.empty(2, *image.shape[:2])
        for i in range(len(image)):
            torch.ops.aten.native_batch_norm.out(
                image[i : i + 1],
                weight,
                bias,
                None,
                None,
                True,
                0.0,
                eps,
                out=out[i : i + 1],
                save_mean=mean[i],
                save_invstd=deviation[i],
            )
        ctx.save_for_backward(image, weight, mean, deviation)
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        image, weight, mean, deviation = ctx.saved_tensors
        if gradient.stride() != image.stride():
            gradient = torch.empty_like(image).copy_(gradient)
        to_image = torch.empty_like(image)
        to_weight, to_bias = torch.empty(2, *image.shape[:2])
        for i in range(len(image)):
            torch.ops.aten.native_batch_norm_backward.out(
                gradient[i : i + 1],
                image[i : i + 1],
                weight,
                None,
                None,
                mean[i],
                deviation[i],
                True,
                ctx.eps,
                [True, True, True],
                out0=to_image[i : i + 1],
                out1=to_weight[i],
                out2=to_bias[i],
            )
        return to_image, to_weight.sum(dim=0), to_bias.sum(dim=0), None


class ConvBlock(nn.Module):
    """Convolution, instance normalisation, leaky ReLU."""

    def __init__(
        self, in_features: int, out_features: int, *, kernel: tuple[int, ...], stride: tuple[int, ...] | None = None
    ) -> None:
        super().__init__()
        self.conv = convolution(in_features, out_features, kernel=kernel, stride=stride)
        self.norm = InstanceNorm(out_features)
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, image: Tensor, skip: Tensor | None = None) -> Tensor:
        """Return the block of the image, or of the image and a skip side by side."""
        out = self.conv(image) if skip is None else joined_convolution(self.conv, image, skip)
        result: Tensor = self.activation(self.norm(out))
        return result
