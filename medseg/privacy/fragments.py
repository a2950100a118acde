"""Fragments: the parts into which compressed pixel data are cut (PS3.5 section A.4), and the frames that they form."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.encaps import generate_frames

from medseg.errors import ReadError

__all__ = ["coded_stream", "each_coded_frame"]


def each_coded_frame(raw: bytes, count: int) -> Iterator[bytes]:
    """The frames, still coded.

    Args:
        raw: The value of the pixel data: fragments.
        count: Frames that the header states.

    Raises:
        ReadError: They are damaged, or fewer.
    """
    found = 0
    for frame in _joined(raw, count, of="frames'"):
        found += 1
        yield frame
    if found < count:
        raise ReadError(f"expected {count} frames; found {found}. The file is truncated, copy it again")


def coded_stream(raw: bytes) -> bytes:
    """All fragments of a film, which are one stream.

    Raises:
        ReadError: They are damaged, or there is none.
    """
    return b"".join(_joined(raw, 1, of="film's"))


def _joined(raw: bytes, count: int, *, of: str) -> Iterator[bytes]:
    try:
        yield from generate_frames(raw, number_of_frames=count)
    except Exception as error:
        # Whatever broken fragments do to the parser, it is the file that is refused.
        raise ReadError(f"the {of} fragments are damaged ({type(error).__name__}); copy the file again") from None
