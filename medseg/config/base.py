"""Section: the frozen base of every part of a study's configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Section"]


class Section(BaseModel):
    """A part of a study; frozen, and a key that it doesn't know is an error.

    Each field's docstring becomes its description in ``configs/schema.json``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)
