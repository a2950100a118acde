"""build_model: from a model configuration to a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from torch import nn

from medseg.config.model import EfficientUNetConfig, ModelConfig, UNetConfig
from medseg.errors import PlanError

__all__ = ["build_model"]


def build_model(
    config: ModelConfig,
    *,
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    features: Sequence[int],
    strides: Sequence[Sequence[int]],
    kernels: Sequence[Sequence[int]],
) -> nn.Module:
    """Build the network that a study names.

    Every network takes (batch, channel, x, y[, z]), each axis a multiple of its total stride, and returns logits of
    shape (batch, class, x, y[, z]); with deep supervision, in training mode, a list of them, finest first. Its
    attribute ``encoder`` returns the feature maps of every level, finest first.

    Args:
        config: The study's ``model`` section.
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        out_channels: Classes, the background included.
        features: Feature maps of each level, finest first. Used by ``unet``; the other network has its own.
        strides: Step of each level along each axis; the first level's is normally 1. Used by ``unet``.
        kernels: Kernel of each level along each axis. Used by ``unet``.

    Raises:
        PlanError: The network doesn't exist for that many axes, or the lists don't fit together.
    """
    match config:
        case UNetConfig():
            from medseg.models.unet import UNet

            if any(len(entry) != spatial_dims for entry in (*strides, *kernels)):
                raise PlanError(f"expected strides and kernels of {spatial_dims} numbers each")
            return UNet(
                in_channels,
                out_channels,
                features=features,
                strides=strides,
                kernels=kernels,
                residual=config.residual,
                deep_supervision=config.deep_supervision,
                dropout=config.dropout,
            )
        case EfficientUNetConfig():
            from medseg.models.efficient_unet import EfficientUNet

            if spatial_dims != 2:
                raise PlanError(
                    f"efficient_unet is a 2D network, the plan has {spatial_dims} axes; use model.name: unet"
                )
            return EfficientUNet(
                in_channels,
                out_channels,
                decoder_features=config.decoder_features,
                pretrained=config.pretrained,
                deep_supervision=config.deep_supervision,
                dropout=config.dropout,
            )
        case _:
            assert_never(config)
