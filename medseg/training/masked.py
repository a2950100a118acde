"""MaskedModel: masked image modelling, pretraining without labels by filling in hidden blocks of an image.

After He et al. (2022) and, for convolutions, Xie et al. (2022, SimMIM): blocks of the image are hidden, an encoder sees
the rest, a light head fills in, and the error counts on the hidden voxels only. What is kept is the encoder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.models.layers import convolution

__all__ = ["MaskedModel", "hide_blocks", "hidden_error", "mean_fill_error"]


def hide_blocks(
    shape: Sequence[int], *, block: int | Sequence[int], ratio: float, batch: int, generator: torch.Generator
) -> Tensor:
    """Draw which voxels of each sample are hidden: whole blocks of a grid, the same number in every sample.

    Args:
        shape: Spatial shape of a patch, (x, y[, z]).
        block: Edge of a block in voxels, one for all axes or one each; blocks at the far border may be cut off.
        ratio: Share of the blocks that are hidden; at least one block is hidden and one is seen, where there are two.
        batch: Number of samples.
        generator: Source of the randomness, on the processor.

    Returns:
        Boolean, shape (batch, 1, x, y[, z]); True is hidden.
    """
    edges = (block,) * len(shape) if isinstance(block, int) else tuple(block)
    grid = [math.ceil(size / edge) for size, edge in zip(shape, edges, strict=True)]
    blocks = math.prod(grid)
    count = min(max(round(ratio * blocks), 1), max(blocks - 1, 1))
    hidden = torch.zeros(batch, blocks, dtype=torch.bool)
    for sample in hidden:
        sample[torch.randperm(blocks, generator=generator)[:count]] = True
    hidden = hidden.view(batch, 1, *grid)
    for axis, (size, edge) in enumerate(zip(shape, edges, strict=True), start=2):
        hidden = hidden.repeat_interleave(edge, dim=axis).narrow(axis, 0, size)
    return hidden.contiguous()


class MaskedModel(nn.Module):
    """An encoder that sees an image with hidden voxels, and a light head that fills them in.

    The head walks from the coarsest level to the finest: project, enlarge, add. It is small, so that what is to be
    known about images has to be known by the encoder. The encoder's weights stand in ``state_dict()`` under
    ``encoder.``, as in the segmentation networks.

    Args:
        encoder: Returns the feature maps of every level, finest first; its ``features`` are their numbers of maps.
        spatial_dims: 2 or 3.
        in_channels: Channels of the image.
        width: Feature maps of the head.
    """

    def __init__(self, encoder: nn.Module, *, spatial_dims: int, in_channels: int, width: int = 32) -> None:
        super().__init__()
        self.encoder = encoder
        self.token = nn.Parameter(torch.zeros(1, in_channels, *(1,) * spatial_dims))
        features = encoder.features
        assert isinstance(features, tuple)
        point, cube = (1,) * spatial_dims, (3,) * spatial_dims
        self.project = nn.ModuleList(convolution(count, width, kernel=point, bias=True) for count in features)
        self.smooth = nn.ModuleList(convolution(width, width, kernel=cube, bias=True) for _ in features[1:])
        self.fill = convolution(width, in_channels, kernel=cube, bias=True)

    def forward(self, image: Tensor, hidden: Tensor) -> Tensor:
        """Return the image filled in, as the network guesses it.

        Args:
            image: Shape (batch, channel, x, y[, z]).
            hidden: Boolean, shape (batch, 1, x, y[, z]); the network doesn't see these voxels.

        Returns:
            The image's shape; the guess everywhere, also where the image was seen.
        """
        seen = torch.where(hidden, self.token.to(image.dtype), image)
        maps: list[Tensor] = self.encoder(seen)
        out = self.project[-1](maps[-1])
        for level in range(len(maps) - 2, -1, -1):
            out = functional.interpolate(out, size=maps[level].shape[2:], mode="nearest")
            out = functional.leaky_relu(self.smooth[level](out + self.project[level](maps[level])), 0.01)
        if out.shape[2:] != image.shape[2:]:
            out = functional.interpolate(out, size=image.shape[2:], mode="nearest")
        filled: Tensor = self.fill(out)
        return filled


def hidden_error(filled: Tensor, image: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean absolute error on the hidden voxels, a float32 scalar.

    Absolute, not squared, so that a few very bright voxels (PET) don't decide alone.

    Args:
        filled: The guess, shape (batch, channel, x, y[, z]).
        image: The truth, the same shape.
        hidden: Boolean, shape (batch, 1, x, y[, z]).
    """
    error = (filled.float() - image.float()).abs() * hidden
    return error.sum() / (hidden.sum() * image.shape[1]).clamp_min(1)


def mean_fill_error(image: Tensor, hidden: Tensor) -> Tensor:
    """Return the error of filling in the mean of what is seen, sample by sample and channel by channel.

    A pretraining that has learned something stays well below it.

    Args:
        image: Shape (batch, channel, x, y[, z]).
        hidden: Boolean, shape (batch, 1, x, y[, z]).
    """
    axes = tuple(range(2, image.ndim))
    seen = (~hidden).float()
    mean = (image.float() * seen).sum(axes, keepdim=True) / seen.sum(axes, keepdim=True).clamp_min(1.0)
    return hidden_error(mean.expand_as(image), image, hidden)
