"""Reading: what a researcher may fix of how DICOM becomes values on a grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["DEFAULT_READING", "Reading", "SuvKind"]

SuvKind = Literal["bw", "lbm", "bsa"]
"""What the injected activity is divided by: body weight, lean body mass or body surface area."""


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
