"""Bits: frames of one bit a pixel, as SEGs have them: uncompressed, run-length encoded, or deflated frame by frame."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import UID

from medseg.errors import ReadError
from medseg.privacy.bits import CODED_BITS, TRUNCATED, coded_bits
from medseg.privacy.codecs import NATIVE
from medseg.types import Array

__all__ = ["bit_frames", "has_bit_frames"]


def has_bit_frames(syntax: UID) -> bool:
    """Whether single bits in this transfer syntax are read here; of JPEG 2000 pydicom's decoders read them."""
    return syntax in NATIVE or syntax in CODED_BITS


def bit_frames(dataset: Dataset, syntax: UID) -> Iterator[Array]:
    """Frames of 0 and 1, uint8, axes (row, column).

    Raises:
        ReadError: They are truncated or damaged.
    """
    shape = (int(dataset.Rows), int(dataset.Columns))
    if syntax in NATIVE:
        yield from _native(dataset, shape)
        return
    count = max(1, int(dataset.get("NumberOfFrames") or 1))
    yield from coded_bits(dataset.PixelData or b"", str(syntax), shape=shape, count=count)


def _native(dataset: Dataset, shape: tuple[int, int]) -> Iterator[Array]:
    """Frames that follow each other without a gap, the lowest bit first (PS3.5 section 8.1.1).

    pydicom 3.0 cuts a frame off where it doesn't end with a byte, unless it unpacks all frames at once.
    """
    size = shape[0] * shape[1]
    packed = np.frombuffer(dataset.PixelData or b"", dtype=np.uint8)
    if dataset.original_encoding[1] is False and dataset["PixelData"].VR == "OW":
        packed = packed[: len(packed) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    for number in range(max(1, int(dataset.get("NumberOfFrames") or 1))):
        start, end = number * size, (number + 1) * size
        if end > len(packed) * 8:
            raise ReadError(TRUNCATED)
        bits = np.unpackbits(packed[start // 8 : -(-end // 8)], bitorder="little")
        yield bits[start % 8 : start % 8 + size].reshape(shape)
