"""Limit: the largest image that is read; a header that claims more is a mistake or an attack."""

from __future__ import annotations

from typing import Final

from medseg.errors import ReadError

__all__ = ["MAX_PIXELS", "MAX_VOXELS", "SUSPECT_BYTES", "SUSPECT_RATIO", "longest_plausible", "require_plausible"]

MAX_VOXELS: Final = 1 << 31
"""Voxels times channels of a volume (2.1 thousand million: 1024 slices of 1448 x 1448)."""
MAX_PIXELS: Final = 1 << 28
"""Pixels of a picture (268 million)."""
SUSPECT_RATIO: Final = 200
SUSPECT_BYTES: Final = 1 << 30
"""What grows by more than this ratio beyond this size is taken for a bomb; images compress 2 to 20 times."""


def require_plausible(unpacked: int, packed: int) -> None:
    """Refuse a file that would grow as no image does.

    Args:
        unpacked: Bytes that it claims to hold.
        packed: Bytes that it has.

    Raises:
        ReadError: It claims more than 1 GiB and more than 200 times its size.
    """
    if unpacked > longest_plausible(packed):
        raise ReadError(
            f"the file would grow {unpacked // max(packed, 1):,} times, to {unpacked / 1e9:.1f} GB, as no image does "
            "(a decompression bomb); nothing of it was read. If it is a label map that is nearly empty, save it with 8 "
            "bits a voxel, or uncompressed"
        )


def longest_plausible(packed: int) -> int:
    """Bytes to which a file of so many may grow (`require_plausible`)."""
    return max(SUSPECT_BYTES, packed * SUSPECT_RATIO)
