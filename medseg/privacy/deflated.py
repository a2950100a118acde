"""Deflated: a DICOM file whose data set is compressed as a whole, measured before anything unpacks it (PS3.5 A.5)."""

from __future__ import annotations

import zlib
from typing import BinaryIO, Final

from pydicom import filereader
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medseg.errors import ReadError

__all__ = ["MAX_INFLATED", "check_deflated"]

MAX_INFLATED: Final = 1 << 30
"""Bytes to which a deflated data set may grow (1 GiB)."""
_PREAMBLE_BYTES: Final = 128
_STEP: Final = 1 << 20


def check_deflated(stream: BinaryIO, *, most: int = MAX_INFLATED) -> None:
    """Check that a file, if it is a deflated DICOM file, doesn't grow beyond a limit; goes back to its start.

    Args:
        stream: The file, at its start.
        most: Bytes to which it may grow.

    Raises:
        ReadError: It grows to more.
    """
    try:
        if _is_deflated(stream) and _grows_beyond(stream, most):
            raise ReadError(
                f"the deflated DICOM file grows to more than {most >> 20} MiB, which no image of its kind does; export "
                "it uncompressed"
            )
    finally:
        stream.seek(0)


def _is_deflated(stream: BinaryIO) -> bool:
    """Whether pydicom would inflate what follows the file meta information, behind which the stream then stands."""
    start = stream.read(_PREAMBLE_BYTES + 4)
    stream.seek(len(start) if start[_PREAMBLE_BYTES:] == b"DICM" else 0)
    try:
        # The group ends where another begins, whatever length it states.
        meta = filereader.read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
        return str(meta.get("TransferSyntaxUID", "")) == DeflatedExplicitVRLittleEndian
    except Exception:
        # pydicom raises whatever a damaged or hostile file makes it raise; whoever reads the file says so.
        return False


def _grows_beyond(stream: BinaryIO, most: int) -> bool:
    inflater, count, packed = zlib.decompressobj(-zlib.MAX_WBITS), 0, b""
    while not inflater.eof and (packed or (packed := stream.read(_STEP))):
        try:
            count += len(inflater.decompress(packed, _STEP))
        except zlib.error:
            return False
        if count > most:
            return True
        packed = inflater.unconsumed_tail
    return False
