"""Label values: those of a label map that is to be written have to be described, and to fit the format."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medseg.data.card import LabelInfo
from medseg.errors import LabelError
from medseg.types import LabelMap

__all__ = ["require_described"]


def require_described(label_map: LabelMap, labels: Mapping[int, LabelInfo], *, highest: int) -> None:
    """Refuse a label map that says what nobody can read.

    Args:
        label_map: Any axes.
        labels: Label value to what it stands for.
        highest: Largest value that the format holds.

    Raises:
        LabelError: A value isn't described, or is above the highest.
    """
    found = {int(value) for value in np.unique(label_map)} - {0}
    if not found <= set(labels) or max(labels, default=0) > highest:
        known = ", ".join(str(value) for value in sorted(labels))
        raise LabelError(f"expected label values 0, {known}, up to {highest}; found others, add them to the card")
