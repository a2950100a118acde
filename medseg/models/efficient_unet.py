"""EfficientUNet: a 2D U-Net whose contracting half is the ImageNet-pretrained EfficientNet-Lite0."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medseg.errors import PlanError
from medseg.models.efficientnet import EfficientNetLite0Encoder
from medseg.models.layers import convolution, follow_batches

__all__ = ["EfficientUNet"]


class _DecoderBlock(nn.Module):
    """Nearest upsampling by 2, concatenation with the skip, two convolutions with batch normalisation and ReLU."""

    def __init__(self, in_features: int, skip_features: int, out_features: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.convs = nn.Sequential(
            convolution(in_features + skip_features, out_features, kernel=(3, 3)),
            nn.BatchNorm2d(out_features),
            nn.ReLU(inplace=True),
            convolution(out_features, out_features, kernel=(3, 3)),
            nn.BatchNorm2d(out_features),
            nn.ReLU(inplace=True),
        )

    def forward(self, image: Tensor, skip: Tensor | None) -> Tensor:
        out = self.up(image)
        if skip is not None:
            out = torch.cat((out, skip), dim=1)
        result: Tensor = self.convs(out)
        return result


class EfficientUNet(nn.Module):
    """2D U-Net on the EfficientNet-Lite0 encoder (Tan & Le 2019).

    The pretrained weights expect RGB in 0..1, normalised by ``efficientnet.IMAGENET_MEAN`` and ``IMAGENET_STD``; the
    caller normalises. For another number of channels the first convolution is adapted (``weights.adapt_channels``).

    The encoder's batch normalisation follows the batches, also when pretrained: keeping ImageNet's statistics is 10 to
    20 % faster a step, but was worse after the same number of steps (dermoscopy, 100 steps of 8: Dice 0.84 and 0.90
    against 0.90 and 0.91). Set ``encoder.frozen_statistics`` where the encoder's weights are frozen.

    Args:
        in_channels: Channels of the image.
        out_channels: Classes, the background included.
        decoder_features: Feature maps of the decoder's five levels, coarsest first.
        pretrained: Start the encoder from the ImageNet weights.
        deep_supervision: Logits at every decoder level in training mode.
        dropout: Probability with which a feature map is dropped before the last convolution.

    Raises:
        PlanError: ``decoder_features`` doesn't hold five numbers.

    Example:
        >>> import torch
        >>> net = EfficientUNet(3, 2, pretrained=False)
        >>> net.eval()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 2, 64, 64])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        decoder_features: Sequence[int] = (128, 64, 48, 32, 16),
        pretrained: bool = True,
        deep_supervision: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0Encoder(in_channels)
        if pretrained:
            self.encoder.take_imagenet_weights()
        levels = len(self.encoder.features)
        if len(decoder_features) != levels:
            raise PlanError(f"model.decoder_features: expected {levels} numbers, found {len(decoder_features)}")
        skips = (*self.encoder.features[-2::-1], 0)
        before = (self.encoder.features[-1], *decoder_features[:-1])
        self.decoder = nn.ModuleList(
            _DecoderBlock(a, skip, b) for a, skip, b in zip(before, skips, decoder_features, strict=True)
        )
        self.dropout = nn.Dropout2d(dropout)
        self.deep_supervision = deep_supervision
        heads = decoder_features if deep_supervision else decoder_features[-1:]
        self.heads = nn.ModuleList(convolution(width, out_channels, kernel=(1, 1), bias=True) for width in heads)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Return logits.

        Args:
            image: Shape (batch, channel, x, y), both axes multiples of 32.

        Returns:
            Shape (batch, class, x, y); in training mode with deep supervision a list of them, finest first.
        """
        if self.training:
            follow_batches(self.decoder)
        maps: list[Tensor] = self.encoder(image)
        out, skips = maps[-1], [*maps[-2::-1], None]
        levels = []
        for block, skip in zip(self.decoder, skips, strict=True):
            out = block(out, skip)
            levels.append(out)
        if not (self.deep_supervision and self.training):
            logits: Tensor = self.heads[-1](self.dropout(levels[-1]))
            return logits
        return [head(self.dropout(level)) for head, level in zip(self.heads, levels, strict=True)][::-1]
