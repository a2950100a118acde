"""Deflated: a DICOM file whose data set is compressed as a whole, measured before anything unpacks it (PS3.5 A.5)."""

from __future__ import annotations

import zlib
from typing import BinaryIO, Final

from pydicom import filereader
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medseg.errors import ReadError

__all__ = ["MAX_INFLATED", "check_deflated", "is_deflated"]

MAX_INFLATED: Final = 1 << 30
"""Bytes to which a deflated data set may grow (1 GiB)."""
_PREAMBLE_BYTES: Final = 128
_START_BYTES: Final = 1 << 12
_SHORT: Final = frozenset((b"UI", b"UL", b"SH", b"AE"))
_DEFLATED: Final = str(DeflatedExplicitVRLittleEndian).encode("ascii")
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
        if is_deflated(stream) and _grows_beyond(stream, most):
            raise ReadError(
                f"the deflated DICOM file grows to more than {most >> 20} MiB, which no image of its kind does; export "
                "it uncompressed"
            )
    finally:
        stream.seek(0)


def is_deflated(stream: BinaryIO) -> bool:
    """Whether pydicom would inflate what follows the file meta information, behind which the stream then stands."""
    start = stream.read(_START_BYTES)
    if _says_another(start):
        return False
    stream.seek(_PREAMBLE_BYTES + 4 if start[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] == b"DICM" else 0)
    try:
        # The group ends where another begins, whatever length it states.
        meta = filereader.read_dataset(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
        return str(meta.get("TransferSyntaxUID", "")) == DeflatedExplicitVRLittleEndian
    except Exception:
        # pydicom raises whatever a damaged or hostile file makes it raise; whoever reads the file says so.
        return False


def _says_another(start: bytes) -> bool:
    """Whether well-formed meta information, whole within these bytes, states another transfer syntax, and only once.

    It does so in almost every file, and this walk takes a tenth of pydicom's time; whatever is unusual is left to it.
    """
    if start[_PREAMBLE_BYTES : _PREAMBLE_BYTES + 4] != b"DICM":
        return False
    place, stated = _PREAMBLE_BYTES + 4, []
    while start[place : place + 2] == b"\x02\x00" and len(start) >= place + 12:
        kind = start[place + 4 : place + 6]
        if kind not in _SHORT and kind != b"OB":
            return False
        long = kind == b"OB"
        value = place + (12 if long else 8)
        length = int.from_bytes(start[place + (8 if long else 6) : value], "little")
        if start[place + 2 : place + 4] == b"\x10\x00":
            stated.append(start[value : value + length].strip(b" \0"))
        place = value + length
    return place + 12 <= len(start) and len(stated) == 1 and stated[0] != _DEFLATED


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
