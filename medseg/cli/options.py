"""Options that several commands have alike."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["ThresholdOption"]

ThresholdOption = Annotated[
    int, typer.Option(min=3, metavar="N", help="Smallest number of patients that a shared figure may rest on.")
]
"""``--threshold N`` of a command that writes figures which may be shared."""
