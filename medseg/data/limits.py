"""Limit: the largest image that is read; a header that claims more is a mistake or an attack."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_PIXELS", "MAX_VOXELS"]

MAX_VOXELS: Final = 1 << 31
"""Voxels times channels of a volume (2.1 thousand million: 1024 slices of 1448 x 1448)."""
MAX_PIXELS: Final = 1 << 28
"""Pixels of a picture (268 million)."""
