"""Reading: what a researcher may fix of how DICOM becomes values on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["DEFAULT_READING", "NO_SPACING", "RESAMPLED", "SUV_CHANNELS", "Reading", "SuvKind", "reading_for"]

RESAMPLED: Final = "resampled onto a regular grid: "
"""How the note of a resampled stack begins; its reason follows."""
NO_SPACING: Final = "no pixel spacing in the header: one pixel counts as 1 mm"
"""Note of a picture in DICOM whose size in the world nobody knows."""
SuvKind = Literal["bw", "lbm", "bsa"]
"""What the injected activity is divided by: body weight, lean body mass or body surface area."""
SUV_CHANNELS: Final[dict[SuvKind, str]] = {"bw": "PT", "lbm": "SUVlbm", "bsa": "SUVbsa"}
"""Name of the channel of each SUV, by which a model knows what it was trained on."""


@dataclass(frozen=True)
class Reading:
    """What a researcher may fix of how DICOM is read.

    Attributes:
        suv: Which SUV a PET image becomes.
        resample_irregular: Whether slices that are sheared (gantry tilt) or unevenly spaced are resampled onto a
            regular grid instead of being refused.
    """

    suv: SuvKind = "bw"
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
    kinds = [kind for kind, name in SUV_CHANNELS.items() if any(one.split("_")[0] == name for one in channels)]
    return Reading(suv=kinds[0]) if kinds else DEFAULT_READING
