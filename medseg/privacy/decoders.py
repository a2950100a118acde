"""Decoder: pydicom's decoders, whose libraries neither talk to the terminal here nor end the program.

libjpeg and OpenJPEG (inside of GDCM) and pylibjpeg's Rust code write to the standard error of the process what they
think of damaged pixels, past Python; and a panic of Rust is no `Exception`. What is wrong is said once, by the error
that refuses the file.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import RLELossless

from medseg.types import Array

__all__ = ["DecoderPanicError", "decoded_frames", "in_silence"]

_ERRORS: Final = 2
_ALONE: Final = threading.Lock()


class DecoderPanicError(Exception):
    """A decoder gave up on damaged pixels in a way that would have ended the program."""


def decoded_frames(
    decoder: Decoder, source: Dataset | bytes, options: Mapping[str, Any]
) -> Iterator[tuple[Array, Mapping[str, Any]]]:
    """As `Decoder.iter_array`.

    Args:
        decoder: One of pydicom's.
        source: A data set, or the value of its pixel data.
        options: What the decoder is told.

    Raises:
        Exception: Decoders raise whatever they like on damaged or exotic data; nothing that isn't an `Exception`.
    """
    frames = decoder.iter_array(source, **options)
    while True:
        with in_silence() if RLELossless == decoder.UID else nullcontext():
            found = next(frames, None)
        if found is None:
            return
        yield found


@contextmanager
def in_silence() -> Iterator[None]:
    """Let nothing that a library writes past Python reach the terminal; what Python itself writes meanwhile does.

    One thread at a time: the standard error belongs to the process.

    Raises:
        DecoderPanicError: Rust code panicked in the block.
    """
    with _ALONE, _nowhere():
        try:
            yield
        except BaseException as error:
            if type(error).__name__ == "PanicException":  # Its module can't be imported.
                raise DecoderPanicError from None
            raise


@contextmanager
def _nowhere() -> Iterator[None]:
    try:
        kept = os.dup(_ERRORS)
    except OSError:  # A program without a standard error has nothing to keep quiet.
        yield
        return
    void = os.open(os.devnull, os.O_WRONLY)
    own = sys.stderr
    try:
        if _goes_where_libraries_write(own):
            own.flush()
            # The rule wants it closed by a block: Python writes to it until the caller's block ends.
            sys.stderr = open(kept, "w", buffering=1, encoding=own.encoding, errors=own.errors, closefd=False)  # noqa: SIM115
        os.dup2(void, _ERRORS)
        yield
    finally:
        os.dup2(kept, _ERRORS)
        sys.stderr = own
        os.close(void)
        os.close(kept)


def _goes_where_libraries_write(stream: Any) -> bool:
    """Whether Python's own standard error writes where the libraries do."""
    try:
        return bool(stream.fileno() == _ERRORS)
    except (AttributeError, OSError, ValueError):  # It is closed, or something that a program put in its place.
        return False
