"""Support set: a few labelled cases that teach a trained encoder a new target without any training.

The prototypes of `medseg.training.prototypes` (PANet, Wang et al. 2019) are learnt on one patch of each support case,
centred on its foreground, and stand in for a network in the ordinary `Predictor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from medseg.data.cases import read_case_image, read_case_label
from medseg.data.manifest import Case, Manifest
from medseg.data.reading import require_same_channels
from medseg.errors import DataError, ManifestError
from medseg.inference.predict import Predictor
from medseg.planning import Plan
from medseg.training.fit import finish_image
from medseg.training.patches import read_patch
from medseg.training.prototypes import Prototypes, feature_pyramid, learn_prototypes, prototype_logits
from medseg.transforms.preprocess import prepare_label, preprocess
from medseg.types import LabelMap

__all__ = ["PrototypeNetwork", "learn_from_support"]

_CELLS = 4


class PrototypeNetwork(nn.Module):
    """An encoder and the prototypes of a support set; takes and gives what a segmentation network does.

    Args:
        encoder: Returns the feature maps of every level, finest first.
        levels: The levels that are compared.
        prototypes: Learnt from the same encoder and levels.
    """

    def __init__(self, encoder: nn.Module, *, levels: Sequence[int], prototypes: Prototypes) -> None:
        super().__init__()
        self.encoder = encoder
        self.levels = tuple(levels)
        self.prototypes = prototypes

    def forward(self, image: Tensor) -> Tensor:
        """Logits (batch, class, x, y[, z]) of images (batch, channel, x, y[, z])."""
        features = feature_pyramid(self.encoder(image), levels=self.levels)
        logits = prototype_logits(features, self.prototypes)
        mode = "bilinear" if image.ndim == 4 else "trilinear"
        return functional.interpolate(logits, size=image.shape[2:], mode=mode, align_corners=False)


def learn_from_support(predictor: Predictor, support: Manifest) -> Predictor:
    """A predictor of the support set's labels, from the encoders of a trained one.

    Args:
        predictor: Trained on any labels, with the support set's kind of images.
        support: The labelled cases; its card says which labels are predicted.

    Raises:
        ManifestError: No labelled case.
        DataError: The images have other channels or axes than the model's.
        LabelError: A label occurs in none of the cases.
    """
    cases = [case for case in support.cases if case.label is not None]
    if not cases:
        raise ManifestError("--support: expected labelled cases; the manifest has none")
    plan = replace(predictor.plan, labels=support.card.label_names(), deep_supervision=False)
    patches = [_patch(case, support, plan) for case in cases]
    networks = [_prototype_network(network, patches, plan) for network in predictor.networks]
    return replace(predictor, networks=networks, plan=plan)


def _prototype_network(network: nn.Module, patches: list[tuple[Tensor, Tensor]], plan: Plan) -> PrototypeNetwork:
    encoder = network.get_submodule("encoder")
    device = next(encoder.parameters()).device
    features = []
    levels: tuple[int, ...] = ()
    with torch.inference_mode():
        for image, _ in patches:
            maps = encoder(image[None].to(device))
            # Below full resolution, above the coarsest: chosen on dermoscopy, where levels 2 and 3 of 5 did best.
            levels = (2, 3) if len(maps) > 4 else (max(len(maps) - 3, 0), max(len(maps) - 2, 0))
            features.append(feature_pyramid(maps, levels=tuple(dict.fromkeys(levels)))[0])
    labels = [label.to(device) for _, label in patches]
    prototypes = learn_prototypes(features, labels, classes=plan.classes, cells=_CELLS)
    return PrototypeNetwork(encoder, levels=tuple(dict.fromkeys(levels)), prototypes=prototypes).eval()


def _patch(case: Case, support: Manifest, plan: Plan) -> tuple[Tensor, Tensor]:
    """One patch of a case, centred on its foreground, and its class indices."""
    volume = read_case_image(case, channels=support.card.channels)
    if len(volume.channels) != len(plan.channels) or len(volume.shape) != plan.spatial_dims:
        raise DataError(
            f"case {case.case}: expected {len(plan.channels)} channel(s) and {plan.spatial_dims} axes as the model was "
            f"trained on, found {len(volume.channels)} and {len(volume.shape)}"
        )
    volume = volume.in_order(plan.channels)
    require_same_channels(volume.channels, plan.channels)
    found = read_case_label(case, card=support.card, geometry=volume.geometry)
    prepared = preprocess(volume, plan.preprocessing)
    label = prepare_label(_indices(found, plan), prepared.placement)
    inside = np.argwhere(label > 0)
    centre = inside.mean(axis=0) if len(inside) else np.array(label.shape) / 2
    start = [round(float(c)) - n // 2 for c, n in zip(centre, plan.patch_size, strict=True)]
    image = finish_image(read_patch(prepared.image, start, plan.patch_size), plan)
    target = read_patch(label[None], start, plan.patch_size)[0]
    return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(target.astype(np.int64))


def _indices(label_map: LabelMap, plan: Plan) -> LabelMap:
    table = np.zeros(int(max(plan.label_values)) + 1, dtype=np.uint8)
    table[list(plan.label_values)] = np.arange(1, plan.classes)
    indices: LabelMap = table[label_map]
    return indices
