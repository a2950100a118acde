"""UNet: 2D or 3D encoder-decoder with skip connections, plain or residual, with deep supervision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from medseg.errors import PlanError
from medseg.models.layers import (
    ConvBlock,
    InstanceNorm,
    channels_last,
    convolution,
    feature_dropout,
    transposed_convolution,
)

__all__ = ["UNet", "UNetDecoder", "UNetEncoder"]

Steps = tuple[tuple[int, ...], ...]


class _PlainStage(nn.Module):
    """Two convolutions, each with normalisation and activation; the first one strides."""

    def __init__(
        self, in_features: int, out_features: int, *, kernel: tuple[int, ...], stride: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        self.first = ConvBlock(in_features, out_features, kernel=kernel, stride=stride)
        self.dropout = feature_dropout(len(kernel), dropout)
        self.second = ConvBlock(out_features, out_features, kernel=kernel)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.second(self.dropout(self.first(image)))
        return out


class _ResidualStage(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016); where the shape changes, the shortcut projects.

    A shortcut that strides covers each block of voxels with a kernel of the stride's size: average pooling and
    projection in one, learned (and 3D average pooling has no bf16 on a processor).
    """

    def __init__(
        self, in_features: int, out_features: int, *, kernel: tuple[int, ...], stride: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        dims = len(kernel)
        self.first = ConvBlock(in_features, out_features, kernel=kernel, stride=stride)
        self.dropout = feature_dropout(dims, dropout)
        self.second = convolution(out_features, out_features, kernel=kernel)
        self.norm = InstanceNorm(out_features)
        self.activation = nn.LeakyReLU(0.01, inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if any(step > 1 for step in stride):
            conv: Any = nn.Conv2d if dims == 2 else nn.Conv3d
            self.shortcut = conv(in_features, out_features, stride, stride=stride, bias=False)
        elif in_features != out_features:
            self.shortcut = convolution(in_features, out_features, kernel=(1,) * dims)

    def forward(self, image: Tensor) -> Tensor:
        out = self.norm(self.second(self.dropout(self.first(image))))
        out = out + self.shortcut(image)
        result: Tensor = self.activation(out)
        return result


class UNetEncoder(nn.Module):
    """The contracting half of a U-Net.

    Args:
        in_channels: Channels of the image.
        features: Feature maps of each level, finest first.
        strides: Step of each level along each axis; the first level's is 1 unless the stem shall reduce.
        kernels: Kernel of each level along each axis, odd.
        residual: Residual stages instead of plain ones.
        dropout: Probability with which a feature map is dropped inside a stage.

    Attributes:
        features: Feature maps of each level.
        strides: Step of each level along each axis.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        features: Sequence[int],
        strides: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[int]],
        residual: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.features = tuple(features)
        self.strides: Steps = tuple(tuple(stride) for stride in strides)
        stage: Any = _ResidualStage if residual else _PlainStage
        before = (in_channels, *features[:-1])
        self.stages = nn.ModuleList(
            stage(a, b, kernel=tuple(kernel), stride=stride, dropout=dropout)
            for a, b, stride, kernel in zip(before, features, self.strides, kernels, strict=True)
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps of every level, finest first.

        Args:
            image: Shape (batch, channel, x, y[, z]).
        """
        if image.device.type == "cpu":
            image = channels_last(image)
        maps = []
        for stage in self.stages:
            image = stage(image)
            maps.append(image)
        return maps


class _JoinStage(nn.Module):
    """Image and skip side by side, then convolutions, each with normalisation and activation."""

    def __init__(self, features: int, *, kernel: tuple[int, ...], convolutions: int) -> None:
        super().__init__()
        self.join = ConvBlock(2 * features, features, kernel=kernel)
        self.others = nn.Sequential(*(ConvBlock(features, features, kernel=kernel) for _ in range(convolutions - 1)))

    def forward(self, image: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.others(self.join(image, skip))
        return out


class UNetDecoder(nn.Module):
    """The expanding half of a U-Net: transposed convolution, concatenation with the skip, convolutions.

    Args:
        out_channels: Classes, the background included.
        features: Feature maps of the encoder's levels, finest first.
        strides: Step of each encoder level along each axis.
        kernels: Kernel of each level along each axis.
        convolutions: Convolutions at each level.
        deep_supervision: Logits at every level in training mode.
    """

    def __init__(
        self,
        out_channels: int,
        *,
        features: Sequence[int],
        strides: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[int]],
        convolutions: int = 2,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.ups = nn.ModuleList()
        self.stages = nn.ModuleList()
        self.heads = nn.ModuleList()
        for level in range(len(features) - 2, -1, -1):
            kernel, width = tuple(kernels[level]), features[level]
            self.ups.append(transposed_convolution(features[level + 1], width, stride=tuple(strides[level + 1])))
            self.stages.append(_JoinStage(width, kernel=kernel, convolutions=convolutions))
            if deep_supervision or level == 0:
                self.heads.append(convolution(width, out_channels, kernel=(1,) * len(kernel), bias=True))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return logits, finest first: of every level in training mode with deep supervision, else of the finest."""
        out = maps[-1]
        levels = []
        for up, stage, skip in zip(self.ups, self.stages, reversed(maps[:-1]), strict=True):
            out = stage(up(out), skip)
            levels.append(out)
        if not (self.deep_supervision and self.training):
            return [self.heads[-1](levels[-1])]
        return [head(level) for head, level in zip(self.heads, levels, strict=True)][::-1]


class UNet(nn.Module):
    """2D or 3D U-Net (Ronneberger et al. 2015) in nnU-Net's form (Isensee et al. 2021), plain or residual.

    Instance normalisation, leaky ReLU, strided convolutions down, transposed convolutions up, kernels and strides
    given level by level, so that anisotropic grids keep their thick axis.

    Args:
        in_channels: Channels of the image.
        out_channels: Classes, the background included.
        features: Feature maps of each level, finest first; at least two levels.
        strides: Step of each level along each axis; the first level's is normally 1.
        kernels: Kernel of each level along each axis, odd.
        residual: Residual stages in the encoder.
        deep_supervision: Logits at every decoder level in training mode.
        dropout: Probability with which a feature map is dropped in the encoder.

    Raises:
        PlanError: The lists don't have one entry a level, there are fewer than two levels, or a kernel is even.

    Example:
        >>> import torch
        >>> net = UNet(1, 3, features=(8, 16), strides=((1, 1), (2, 2)), kernels=((3, 3), (3, 3)))
        >>> net.eval()(torch.zeros(1, 1, 16, 16)).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        features: Sequence[int],
        strides: Sequence[Sequence[int]],
        kernels: Sequence[Sequence[int]],
        residual: bool = True,
        deep_supervision: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        _check_levels(features, strides, kernels)
        self.encoder = UNetEncoder(
            in_channels, features=features, strides=strides, kernels=kernels, residual=residual, dropout=dropout
        )
        self.decoder = UNetDecoder(
            out_channels,
            features=features,
            strides=strides,
            kernels=kernels,
            convolutions=1 if residual else 2,
            deep_supervision=deep_supervision,
        )

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits.

        Args:
            image: Shape (batch, channel, x, y[, z]), each axis a multiple of the product of its strides.

        Returns:
            Shape (batch, class, x, y[, z]); in training mode with deep supervision a list of them, finest first.
        """
        logits: list[Tensor] = self.decoder(self.encoder(image))
        return logits if self.decoder.deep_supervision and self.training else logits[0]


def _check_levels(features: Sequence[int], strides: Sequence[Sequence[int]], kernels: Sequence[Sequence[int]]) -> None:
    if len(features) < 2 or not len(features) == len(strides) == len(kernels):
        raise PlanError(
            "expected features, strides and kernels with one entry for each of at least 2 levels, "
            f"found {len(features)}, {len(strides)} and {len(kernels)} entries"
        )
    dims = {len(entry) for entry in (*strides, *kernels)}
    if dims not in ({2}, {3}):
        raise PlanError(f"expected 2 or 3 numbers in each stride and kernel, found {sorted(dims)}")
    if any(size % 2 == 0 for kernel in kernels for size in kernel):
        raise PlanError(f"expected odd kernel sizes, found {[list(kernel) for kernel in kernels]}")
