"""Prototypes: segment by likeness to a few labelled examples, without any training.

After PANet (Wang et al. 2019) and ALPNet (Ouyang et al. 2020): features of a support set are averaged inside each
label, over the whole and over the cells of a grid; a voxel of a new image gets the class whose prototypes it resembles
most, by cosine. Pure functions on feature maps of any encoder, pretrained by ImageNet, masked images or another study.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from medseg.errors import LabelError

__all__ = ["Prototypes", "feature_pyramid", "learn_prototypes", "prototype_logits"]


@dataclass(frozen=True, eq=False)
class Prototypes:
    """What a support set looks like in feature space.

    Attributes:
        vectors: For each class, background first, shape (prototype, feature), unit length.
        centre: Mean of the classes' mean features, shape (feature,).
        spread: Standard deviation of each feature inside the classes, shape (feature,).
    """

    vectors: tuple[Tensor, ...]
    centre: Tensor
    spread: Tensor

    def scale(self, features: Tensor) -> Tensor:
        """Centre, scale and bring to unit length at each voxel; features (batch, feature, x, y[, z])."""
        form = (1, -1) + (1,) * (features.ndim - 2)
        scaled = (features.float() - self.centre.view(form)) / self.spread.view(form)
        return functional.normalize(scaled, dim=1)


def feature_pyramid(maps: Sequence[Tensor], *, levels: Sequence[int]) -> Tensor:
    """Join feature maps of several levels on the grid of the finest one chosen.

    Each level is brought to unit length at each voxel first, so that each has the same say.

    Args:
        maps: Feature maps, finest first, (batch, feature, x, y[, z]) each.
        levels: Which of them, finest first.
    """
    grid = maps[levels[0]].shape[2:]
    mode = "bilinear" if len(grid) == 2 else "trilinear"
    joined = []
    for level in levels:
        unit = functional.normalize(maps[level].float(), dim=1)
        if unit.shape[2:] != grid:
            unit = functional.interpolate(unit, size=grid, mode=mode, align_corners=False)
        joined.append(unit)
    return torch.cat(joined, dim=1)


def learn_prototypes(
    features: Sequence[Tensor], labels: Sequence[Tensor], *, classes: int, cells: int = 1, most: int = 64
) -> Prototypes:
    """Average a support set's features inside each class, over each image and over cells of a grid.

    A cell gives a prototype of a class where at least half of it belongs to that class; the average over the whole
    image is always one, so a lesion smaller than a cell is not lost.

    Args:
        features: One feature map for each support image, (feature, x, y[, z]); the grids may differ.
        labels: Class indices of each, (x, y[, z]), on a grid at least as fine.
        classes: Number of classes, the background included.
        cells: Cells of the grid along each axis; 1 keeps whole images only (PANet), more suit a varied background.
        most: Largest number of prototypes of a class; of more, this many are kept, evenly over the support set.

    Raises:
        LabelError: A class occurs in none of the labels.
    """
    shares = [_shares(label, classes, feature.shape[1:]) for feature, label in zip(features, labels, strict=True)]
    centre, spread = _class_moments(features, shares, classes=classes)
    scale = Prototypes((), centre, spread).scale
    found: list[list[Tensor]] = [[] for _ in range(classes)]
    for feature, share in zip(features, shares, strict=True):
        scaled = scale(feature[None])[0]
        for number in range(classes):
            found[number] += _averages(scaled, share[number], cells=cells)
    kept = (_spread_evenly(torch.stack(vectors), most) for vectors in found)
    return Prototypes(tuple(functional.normalize(vectors, dim=1) for vectors in kept), centre, spread)


def prototype_logits(features: Tensor, prototypes: Prototypes, *, sharpness: float = 20.0) -> Tensor:
    """Compare every voxel with the prototypes.

    A class's score is the mean cosine to its prototypes, weighted by their softmax, so that the nearest ones speak.

    Args:
        features: Feature map, (batch, feature, x, y[, z]).
        prototypes: Of :func:`learn_prototypes`, from the same kind of features.
        sharpness: Factor of the cosine (20 in PANet).

    Returns:
        Logits, (batch, class, x, y[, z]), on the features' grid.
    """
    scaled = prototypes.scale(features).flatten(2)
    scores = []
    for vectors in prototypes.vectors:
        cosine = sharpness * torch.einsum("pf,bfv->bpv", vectors, scaled)
        scores.append((cosine.softmax(dim=1) * cosine).sum(dim=1))
    return torch.stack(scores, dim=1).reshape(len(features), len(scores), *features.shape[2:])


def _class_moments(features: Sequence[Tensor], shares: Sequence[Tensor], *, classes: int) -> tuple[Tensor, Tensor]:
    """Return the mean of the classes' mean features, and the standard deviation inside the classes.

    Classes weigh the same: else the centre would be the background's own place, from where it has no direction.

    Raises:
        LabelError: A class has no voxel.
    """
    means, variances = [], []
    for number in range(classes):
        pairs = [(f.float().flatten(1), s[number].flatten()) for f, s in zip(features, shares, strict=True)]
        total = sum(float(weight.sum()) for _, weight in pairs)
        if total <= 0:
            raise LabelError(
                f"expected every label in the support set, found none of class {number} of {classes}; "
                "add a case that shows it"
            )
        mean = torch.stack([feature @ weight for feature, weight in pairs]).sum(dim=0) / total
        square = torch.stack([(feature - mean[:, None]) ** 2 @ weight for feature, weight in pairs]).sum(dim=0)
        means.append(mean)
        variances.append(square / total)
    return torch.stack(means).mean(dim=0), torch.stack(variances).mean(dim=0).sqrt().clamp_min(1e-6)


def _shares(label: Tensor, classes: int, grid: torch.Size) -> Tensor:
    """Return the share of each class in each voxel of a coarser grid, shape (class, x, y[, z])."""
    one_hot = functional.one_hot(label.long(), classes).movedim(-1, 0).float()
    return functional.interpolate(one_hot[None], size=grid, mode="area")[0]


def _averages(features: Tensor, share: Tensor, *, cells: int) -> list[Tensor]:
    """Return the averages of (feature, x, y[, z]) weighted by a share (x, y[, z]): whole image, then cells."""
    total = share.sum()
    if total <= 0:
        return []
    axes = tuple(range(1, features.ndim))
    averages = [(features * share).sum(axes) / total]
    if cells == 1:
        return averages
    grid = tuple(min(cells, size) for size in share.shape)
    pool: Any = functional.adaptive_avg_pool2d if share.ndim == 2 else functional.adaptive_avg_pool3d
    weights = pool(share[None], grid).flatten()
    sums = pool(features * share, grid).flatten(1)
    full = weights >= 0.5
    return averages + list((sums[:, full] / weights[full]).unbind(dim=1))


def _spread_evenly(vectors: Tensor, most: int) -> Tensor:
    if len(vectors) <= most:
        return vectors
    return vectors[torch.linspace(0, len(vectors) - 1, most).round().long()]
