"""Profile: what of a file may stay. There is no default one; the researcher names it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

import yaml
from pydantic import ValidationError

from medseg.config.base import Section
from medseg.errors import ConfigError

__all__ = ["PROFILES", "Profile", "load_profile"]

PROFILES = ("basic", "research", "minimal-risk")
"""Profiles that ship with medseg, in ``configs/privacy``."""

Dates = Literal["remove", "shift"]
Photographs = Literal["paint", "look", "pass"]
Faces = Literal["refuse", "deface", "always-refuse"]


class Profile(Section):
    """A de-identification profile: DICOM PS3.15 Basic Profile and the options added to it."""

    name: str
    """Name, written into the marker of every release."""
    dates: Dates
    """`remove`: no date and no time of day stays. `shift`: dates move by one secret number of days a patient, times of
    day stay, so that intervals are exact."""
    patient_characteristics: bool
    """Keep sex, age (over 89 as 90), height, weight, smoking and pregnancy status."""
    descriptors: bool
    """Keep descriptions of studies, series, protocols and structures where all words are in the vocabulary."""
    technical_text: bool
    """Keep technical texts (kernel, sequence name, maker's model) where all words are in the vocabulary."""
    device_identity: bool
    """Keep serial numbers and station names of the scanner."""
    safe_private: bool
    """Keep the few private numbers that images can't be read without (Philips PET and MR scale factors, b-values)."""
    structured_content: bool = True
    """Clean structured reports and key objects: codes, measurements, references stay. Without it they are refused."""
    graphics: bool = True
    """Clean presentation states: windows, areas and references stay, graphics and texts go. Without it they are
    refused."""
    clean_pixels: bool
    """Look for text in the pixels of classes that may hold some and paint over it."""
    photographs: Photographs
    """`paint`: text in photographs is painted over; where it is in the middle third, where the lesion is, or on more
    than 10 % of the picture, or stays legible, the photograph waits for a person. `look`: every photograph with text
    waits for a person. Both: so does one that may show a face or a tattoo, and every one where the detectors aren't
    installed. `pass`: somebody has looked at every one already."""
    faces: Faces
    """Heads in thin slices: `refuse` unless --deface or --acknowledge-faces is given; `deface`: the face is taken off,
    and what can't be defaced is refused; `always-refuse`."""

    def method_codes(
        self,
        *,
        pixels_cleaned: bool,
        private_kept: bool,
        defaced: bool = False,
        graphics_cleaned: bool = False,
        structured: bool = False,
    ) -> tuple[tuple[str, str], ...]:
        """Codes and meanings (DICOM CID 7050, scheme DCM) of what this profile really does.

        Args:
            pixels_cleaned: Whether text was looked for in this file's pixels.
            private_kept: Whether safe private attributes of this file stayed.
            defaced: Whether the face was taken off.
            graphics_cleaned: Whether graphics and text were taken out of a presentation state.
            structured: Whether a tree of content items was cleaned.
        """
        codes = [("113100", "Basic Application Confidentiality Profile")]
        if pixels_cleaned:
            codes.append(("113101", "Clean Pixel Data Option"))
        if defaced:
            codes.append(("113102", "Clean Recognizable Visual Features Option"))
        if graphics_cleaned:
            codes.append(("113103", "Clean Graphics Option"))
        if structured:
            codes.append(("113104", "Clean Structured Content Option"))
        if self.descriptors:
            codes.append(("113105", "Clean Descriptors Option"))
        if self.dates == "shift":
            codes.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
        if self.patient_characteristics:
            codes.append(("113108", "Retain Patient Characteristics Option"))
        if self.device_identity:
            codes.append(("113109", "Retain Device Identity Option"))
        if private_kept:
            codes.append(("113111", "Retain Safe Private Option"))
        return tuple(codes)


def load_profile(name_or_path: str | Path) -> Profile:
    """Read one of `PROFILES` by name, or a profile of your own from a YAML file.

    Raises:
        ConfigError: No such profile, or a key or value that is not allowed.
    """
    text = _profile_text(name_or_path)
    try:
        return Profile.model_validate(yaml.safe_load(text))
    except yaml.YAMLError:
        raise ConfigError("the privacy profile is not valid YAML") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigError(f"the privacy profile is not valid: {problems}") from None


def _profile_text(name_or_path: str | Path) -> str:
    if str(name_or_path) in PROFILES:
        for folder in _shipped_folders():
            shipped = folder / f"{name_or_path}.yaml"
            if shipped.is_file():
                return shipped.read_text(encoding="utf-8")
    try:
        return Path(name_or_path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"expected a privacy profile, one of {', '.join(PROFILES)}, or a YAML file; found neither"
        ) from None


def _shipped_folders() -> tuple[Path, ...]:
    package = Path(str(resources.files("medseg")))
    return package / "_shipped" / "configs" / "privacy", package.parent / "configs" / "privacy"
