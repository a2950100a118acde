"""Transforms: what happens to the voxels on their way to the network, and the exact way back.

`normalise` and `resample` need numpy and scipy alone; the training transforms, which need torch and MONAI, are
imported when they are asked for, so that prediction starts without them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.transforms.batch import BatchTransform, build_batch_transform
    from medseg.transforms.build import TrainingTransform, build_training_transform
    from medseg.transforms.spatial import oversized_patch

__all__ = [
    "BatchTransform",
    "TrainingTransform",
    "build_batch_transform",
    "build_training_transform",
    "oversized_patch",
]

_PLACES = {
    "BatchTransform": "batch",
    "TrainingTransform": "build",
    "build_batch_transform": "batch",
    "build_training_transform": "build",
    "oversized_patch": "spatial",
}


def __getattr__(name: str) -> object:
    """Import a training transform when it is asked for (PEP 562)."""
    if name not in _PLACES:
        raise AttributeError(f"module 'medseg.transforms' has no attribute '{name}'")
    return getattr(importlib.import_module(f"medseg.transforms.{_PLACES[name]}"), name)
