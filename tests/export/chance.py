"""A package of an untrained network: its predictions are chance, and every format of them is written as any."""

from __future__ import annotations

from pathlib import Path

import torch

from medseg.config import parse_study
from medseg.export import write_package
from medseg.models import build_model
from medseg.planning import ChannelNormalisation, Plan
from tests.export.source_series import LABELS


def chance_model(path: Path, dims: int) -> Path:
    """A package of an untrained network of two labels, for volumes or for photographs."""
    study = parse_study({"name": "chance", "data": {"manifest": "removed"}, "inference": {"mirror": False},
                         "model": {"name": "unet", "base_features": 4, "levels": 2}})  # fmt: skip
    is_3d = dims == 3
    rgb = ("red", "green", "blue")
    plan = Plan(
        spatial_dims=3 if is_3d else 2, channels=("CT",) if is_3d else rgb, modality="CT" if is_3d else "DERMOSCOPY",
        labels={value: info.name for value, info in LABELS.items()}, fit="spacing" if is_3d else "image",
        spacing=(0.8, 0.8, 2.5)[:dims], crop_nonzero=False,
        normalisation=(ChannelNormalisation("zscore"),) if is_3d else (ChannelNormalisation("rgb", mean=0.5),) * 3,
        patch_size=(8, 8, 4) if is_3d else (16, 16), batch_size=1, iterations=1, budget_minutes=None, features=(4, 8),
        strides=((1,) * dims, (2,) * dims), kernels=((3,) * dims,) * 2, precision="32", device="cpu",
        deep_supervision=False,
    )  # fmt: skip
    torch.manual_seed(3)
    network = build_model(study.model, spatial_dims=dims, in_channels=len(plan.channels), out_channels=3,
                          features=plan.features, strides=plan.strides, kernels=plan.kernels)  # fmt: skip
    labels = {str(value): info.model_dump(mode="json") for value, info in LABELS.items()}
    model = {"name": "chance", "study": study.model_dump(mode="json"), "plan": plan.to_dict(), "labels": labels,
             "channels": list(plan.channels), "modality": plan.modality}  # fmt: skip
    write_package(path, states=[network.state_dict()], model=model)
    return path
