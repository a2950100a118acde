"""Reading: what a researcher may fix of how DICOM becomes values on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from medseg.errors import DataError

__all__ = [
    "DEFAULT_READING",
    "NO_SPACING",
    "RESAMPLED",
    "SUV_CHANNELS",
    "PetKind",
    "Reading",
    "SuvKind",
    "reading_for",
    "require_same_channels",
    "require_same_pet",
]

RESAMPLED: Final = "resampled onto a regular grid: "
"""How the note of a resampled stack begins; its reason follows."""
NO_SPACING: Final = "no pixel spacing in the header: one pixel counts as 1 mm"
"""Note of a picture in DICOM whose size in the world nobody knows."""
SuvKind = Literal["bw", "lbm", "bsa"]
"""What the injected activity is divided by: body weight, lean body mass or body surface area."""
PetKind = SuvKind | Literal["stored"]
"""A SUV, or the values as they are stored."""
SUV_CHANNELS: Final[dict[PetKind, str]] = {"bw": "PT", "lbm": "SUVlbm", "bsa": "SUVbsa", "stored": "PTstored"}
"""Name of the channel of each SUV, and of PET left as stored, by which a model knows what it was trained on."""
_QUANTITIES: Final[dict[PetKind, str]] = {
    "bw": "SUVbw", "lbm": "SUVlbm", "bsa": "SUVbsa", "stored": "stored values",
}  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a researcher may fix of how DICOM is read.

    Attributes:
        suv: Which SUV a PET image becomes; ``stored`` for none.
        resample_irregular: Whether slices that are sheared (gantry tilt) or unevenly spaced are resampled onto a
            regular grid instead of being refused.
    """

    suv: PetKind = "bw"
    resample_irregular: bool = False

    @property
    def mark(self) -> str:
        """What tells results of this reading from those of the default one; empty for the default."""
        return "" if self == DEFAULT_READING else f"suv={self.suv} irregular={self.resample_irregular}"


DEFAULT_READING = Reading()


def reading_for(channels: Sequence[str]) -> Reading:
    """The reading that gives a model the SUV it was trained on.

    Args:
        channels: The model's channels.

    Example:
        >>> reading_for(["SUVlbm"]).suv
        'lbm'
    """
    kinds = _pet_kinds(channels)
    return Reading(suv=kinds[0]) if kinds else DEFAULT_READING


def require_same_pet(channels: Sequence[str], trained: Sequence[str]) -> None:
    """Refuse PET in another quantity than a model was trained on; channels that don't say it pass.

    Args:
        channels: Of the image.
        trained: The model's.

    Raises:
        DataError: Both say what their PET values are, and differ.
    """
    found, expected = _pet_kinds(channels), _pet_kinds(trained)
    if found and expected and found != expected:
        raise DataError(
            f"expected PET as {_QUANTITIES[expected[0]]}, which this model was trained on; found "
            f"{_QUANTITIES[found[0]]}, as the header lacks what the other takes. `medseg import` says what is missing"
        )


def require_same_channels(channels: Sequence[str], trained: Sequence[str]) -> None:
    """Refuse several channels with other names than a model was trained on; unnamed ones (``image1``) pass.

    Args:
        channels: Of the image.
        trained: The model's.

    Raises:
        DataError: Both name what their channels are, and differ.
    """
    unnamed = tuple(f"image{number}" for number in range(1, len(channels) + 1))
    if len(channels) > 1 and tuple(channels) != tuple(trained) and unnamed not in (tuple(channels), tuple(trained)):
        raise DataError(
            f"expected the channels {', '.join(trained)}, which this model was trained on; found "
            f"{', '.join(channels)}. If they are the same, name them so in the manifest's card and columns"
        )


def _pet_kinds(channels: Sequence[str]) -> list[PetKind]:
    return [kind for kind, name in SUV_CHANNELS.items() if any(one.split("_")[0] == name for one in channels)]
