"""Label source: where a case's label map comes from when it isn't simply a file on the image's own grid.

Outlines of an annotation tool, segments of 3D Slicer and masks in colours become a label map only together with the
image's grid and with the label values of the whole data set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from medseg.data.volume import Geometry
from medseg.types import LabelMap

__all__ = ["LabelSource", "content_digest"]


@dataclass(frozen=True, eq=False)
class LabelSource:
    """A label map that is made when the image's grid is known.

    Attributes:
        read: From the image's grid to the label map (uint8 or uint16, axes x, y[, z]) and notes on what was done, each
            a sentence without a name. Raises a `DataError` that says why it can't be had.
        paths: Files that belong to this case alone.
        content: SHA-256 of what belongs to this case in files that hold several, to know it again; else empty.
        ignore: Value of voxels that are neither labelled nor background, or None when there are none.
    """

    read: Callable[[Geometry], tuple[LabelMap, tuple[str, ...]]] = field(repr=False)
    paths: tuple[Path, ...] = field(default=(), repr=False)
    content: str = ""
    ignore: int | None = None


def content_digest(*parts: bytes | str) -> str:
    """SHA-256 over texts and bytes, each with its length."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()
