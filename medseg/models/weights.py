"""TransferReport: which weights of one network started another, and which did not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medseg.errors import ConfigError

__all__ = ["TransferReport", "adapt_channels", "transfer_weights"]


@dataclass(frozen=True)
class TransferReport:
    """What a transfer of weights did, tensor by tensor; names are those of the receiving network.

    Attributes:
        matched: Same name, same shape: copied.
        adapted: First convolution for another number of channels: copied after adaptation.
        reshaped: Same name, other shape: left as they were.
        missing: In the receiving network only: left as they were.
        unexpected: In the given weights only: not used.
    """

    matched: tuple[str, ...]
    adapted: tuple[str, ...]
    reshaped: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]

    def __str__(self) -> str:
        total = len(self.matched) + len(self.adapted) + len(self.reshaped) + len(self.missing)
        text = f"{len(self.matched) + len(self.adapted)} of {total} tensors taken over"
        parts = {
            "adapted to the channels": self.adapted,
            "of another shape": self.reshaped,
            "not given": self.missing,
            "given but not used": self.unexpected,
        }
        told = [f"{len(names)} {what}" for what, names in parts.items() if names]
        return f"{text} ({', '.join(told)})" if told else text

    def to_dict(self) -> dict[str, list[str]]:
        """Return the names as lists, for JSON."""
        return {name: list(getattr(self, name)) for name in self.__dataclass_fields__}


def transfer_weights(
    model: nn.Module, weights: Mapping[str, Tensor], *, prefix: str = "", least: int = 1
) -> TransferReport:
    """Copy the weights that match by name and shape into a model, in place.

    The model's first convolution takes weights for another number of image channels: for one channel their sum, else
    the given channels in turn, scaled so that the response to equal channels stays the same.

    Args:
        model: The receiving network.
        weights: Name to tensor, as in ``state_dict()``.
        prefix: Only names that begin so are used, without it; ``"encoder."`` takes an encoder out of a network.
        least: Fewest tensors that must match.

    Raises:
        ConfigError: Fewer than ``least`` tensors match, so the run would start from scratch unnoticed.
    """
    given = {name[len(prefix) :]: tensor for name, tensor in weights.items() if name.startswith(prefix)}
    own = model.state_dict()
    first = _first_convolution(model)
    matched, adapted, reshaped = [], [], []
    new: dict[str, Tensor] = {}
    for name, tensor in own.items():
        if name not in given:
            continue
        if given[name].shape == tensor.shape:
            matched.append(name)
            new[name] = given[name]
        elif name == first and _differs_in_channels_only(given[name], tensor):
            adapted.append(name)
            new[name] = adapt_channels(given[name], channels=tensor.shape[1])
        else:
            reshaped.append(name)
    if len(new) < least:
        raise ConfigError(
            f"expected weights that fit this network, found {len(new)} of {len(own)} tensors with the same name and "
            "shape; check that model, features, strides and kernels are those of the run that the weights come from"
        )
    model.load_state_dict({**own, **new})
    return TransferReport(
        matched=tuple(matched),
        adapted=tuple(adapted),
        reshaped=tuple(reshaped),
        missing=tuple(name for name in own if name not in given),
        unexpected=tuple(name for name in given if name not in own),
    )


def adapt_channels(weight: Tensor, *, channels: int) -> Tensor:
    """Return a first convolution's weight for another number of image channels.

    Args:
        weight: Shape (features, given channels, kernel...).
        channels: Wanted number of channels.

    Returns:
        Shape (features, channels, kernel...); an image whose channels are all equal gives the same response as before.
    """
    before = weight.shape[1]
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight[:, torch.arange(channels) % before]
    scale = weight.sum(dim=1, keepdim=True) - repeated.sum(dim=1, keepdim=True) * (before / channels)
    return repeated * (before / channels) + scale / channels


def _first_convolution(model: nn.Module) -> str | None:
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            return f"{name}.weight" if name else "weight"
    return None


def _differs_in_channels_only(given: Tensor, own: Tensor) -> bool:
    return given.ndim == own.ndim and given.shape[:1] == own.shape[:1] and given.shape[2:] == own.shape[2:]
