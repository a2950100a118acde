"""Start: the weights that a run begins with, from a model package, a pretraining folder or a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from medseg.errors import ConfigError
from medseg.export.package import read_package
from medseg.training.checkpoint import load_weights

__all__ = ["read_start"]


def read_start(source: Path) -> Mapping[str, Tensor]:
    """Read weights by name.

    Args:
        source: A folder with weights.safetensors (a pretraining, a fold), a ``.safetensors`` file, or a ``.medseg``
            package, of which the first fold is taken.

    Raises:
        ConfigError: Nothing of the kind is there.
    """
    if source.is_dir() and (source / "weights.safetensors").exists():
        return load_weights(source / "weights.safetensors")
    if source.suffix == ".safetensors" and source.exists():
        return load_weights(source)
    if source.suffix == ".medseg" and source.exists():
        return read_package(source).states[0]
    raise ConfigError(
        "train.init: expected a pretraining folder, a fold's folder, a .safetensors file or a .medseg package; "
        "nothing of the kind is there"
    )
