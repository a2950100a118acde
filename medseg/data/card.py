"""Card: what is true of a whole data set; a YAML file beside the manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, field_validator

from medseg.config.base import Section
from medseg.data.files import atomic_write
from medseg.errors import ManifestError
from medseg.types import Modality

__all__ = ["Card", "CodedConcept", "Deidentification", "LabelInfo", "checked_card", "read_card", "write_card"]

NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,63}")
"""What a channel and a column of a manifest may be called."""


class CodedConcept(Section):
    """A code of a coding scheme (PS3.3 section 8.8)."""

    value: Annotated[str, Field(min_length=1, max_length=64)]
    """Code value, for example 4147007."""
    scheme: Annotated[str, Field(min_length=1, max_length=16)]
    """Coding scheme designator, for example SCT or DCM."""
    meaning: Annotated[str, Field(min_length=1, max_length=64)]
    """Code meaning, for example Mass."""


class LabelInfo(Section):
    """What one value of the label map stands for."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Short name, unique in the card."""
    code: CodedConcept | None = None
    """Segmented property type (PS3.16 CID 7151 and what it includes)."""
    category: CodedConcept | None = None
    """Segmented property category (PS3.16 CID 7150)."""
    colour: tuple[int, int, int] | None = None
    """Red, green, blue, 0 to 255 each."""

    @field_validator("colour")
    @classmethod
    def _is_byte(cls, colour: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
        if colour is not None and not all(0 <= part <= 255 for part in colour):
            raise ValueError("a colour is three numbers from 0 to 255")
        return colour


class Deidentification(Section):
    """How the data set was de-identified."""

    profile: str
    """Name of the profile, or in words what somebody else did."""
    date: str = ""
    """Day it was done, YYYY-MM-DD."""


class Card(Section):
    """What is true of a whole data set."""

    title: str
    """Name of the data set."""
    channels: tuple[str, ...] = ("image",)
    """Channel names, in the order of the array's first axis."""
    labels: dict[int, LabelInfo] = Field(default_factory=dict)
    """Label value to meaning; 0 is background and isn't listed. ``1: lesion`` is short for ``1: {name: lesion}``."""
    ignore: Annotated[int, Field(ge=1, le=255)] | None = None
    """Label value of voxels that are neither labelled nor background; give it to a study as ``data.ignore_label``."""
    modality: Modality = "OTHER"
    """Modality of every case whose row says none."""
    licence: str = ""
    """SPDX identifier or words; empty when it is not known."""
    citation: str = ""
    """What to cite, with the DOI."""
    source: str = ""
    """Where a public data set can be had: a DOI or a URL."""
    provenance: str = ""
    """How the data came to be, and what was changed."""
    deidentification: Deidentification | None = None
    """Profile and date; None when nothing is known of it."""
    files_outside: bool = False
    """Whether the manifest may name files outside its own folder."""

    @field_validator("channels")
    @classmethod
    def _channels_are_names(cls, channels: tuple[str, ...]) -> tuple[str, ...]:
        if not channels or len(set(channels)) != len(channels):
            raise ValueError("expected one or more channel names, each once")
        if not all(NAME_PATTERN.fullmatch(name) for name in channels):
            raise ValueError("a channel name starts with a letter and has letters, digits, blanks, _ or -")
        return channels

    @field_validator("labels", mode="before")
    @classmethod
    def _name_is_short_for_label(cls, labels: Any) -> Any:
        if not isinstance(labels, Mapping):
            return labels
        return {key: {"name": value} if isinstance(value, str) else value for key, value in labels.items()}

    @field_validator("labels")
    @classmethod
    def _labels_fit_a_byte(cls, labels: dict[int, LabelInfo]) -> dict[int, LabelInfo]:
        if not all(1 <= value <= 255 for value in labels):
            raise ValueError("label values are 1 to 255; 0 is background and isn't listed")
        names = [info.name for info in labels.values()]
        if len(set(names)) != len(names):
            raise ValueError("two labels have the same name")
        return dict(sorted(labels.items()))

    def label_names(self) -> dict[int, str]:
        """Label value to name, in ascending order, without the background."""
        return {value: info.name for value, info in self.labels.items()}


def read_card(path: str | Path) -> Card:
    """Read a card.

    Raises:
        ManifestError: The file is missing, is no YAML mapping, or a field is wrong; the message names the field.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(
            "the card (a YAML file of the manifest's name, beside it) is missing; the smallest one is\n"
            "  title: my data\n  modality: CT\n  channels: [CT]\n  labels: {1: lesion}"
        ) from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        mark = getattr(error, "problem_mark", None)
        raise ManifestError(f"the card is not valid YAML{f' at line {mark.line + 1}' if mark else ''}") from None
    if not isinstance(content, dict):
        raise ManifestError("the card: expected a mapping of fields (title, channels, labels, ...)")
    return checked_card(content, what="the card is not valid")


def checked_card(content: Mapping[str, Any], *, what: str) -> Card:
    """The card of these fields, each checked.

    Args:
        content: Field to value.
        what: How the refusal begins, for example ``the card is not valid``.

    Raises:
        ManifestError: A field is wrong; the message names the field and not its value.
    """
    try:
        return Card.model_validate(content)
    except ValidationError as error:
        problems = [_explain(dict(item)) for item in error.errors(include_url=False, include_input=False)]
        raise ManifestError(f"{what}:\n" + "\n".join(f"  - {line}" for line in problems)) from None


def write_card(card: Card, path: Path) -> None:
    """Write a card as YAML, atomically."""
    content = card.model_dump(mode="json", exclude_none=True)
    content["labels"] = {int(value): info for value, info in content["labels"].items()}
    with atomic_write(path, mode="w") as stream:
        yaml.safe_dump(content, stream, sort_keys=False, allow_unicode=True, width=100)


def _explain(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"]) or "card"
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown field; known fields of a card: {', '.join(Card.model_fields)}"
    return f"{place}: {str(error['msg']).removeprefix('Value error, ')}"
