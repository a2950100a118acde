"""Limited: an archive's answers, which have a largest size, and on the web a lowest speed.

An answer without end would fill the memory, one of a byte a second would keep a pull waiting for ever: both are within
the reach of a broken archive, and of whoever speaks in its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

__all__ = ["MOST_FOUND", "OBJECT_BYTES", "AnswerTooLongError", "Bound", "limited"]

_SEARCH_BYTES = 1 << 26
"""Largest answer to a search: a thousand entries of 64 KiB."""
OBJECT_BYTES = 1 << 31
"""Largest object that is taken from an archive, by whatever protocol."""
MOST_FOUND = 100_000
"""Most answers to a search."""
_MOST_PDU = 1 << 26
"""Largest piece of a DICOM message; we ask for 16 KiB at most."""
_LOWEST_SPEED = 1024
"""Bytes a second, on average, once the time for an answer has passed."""


class AnswerTooLongError(Exception):
    """An answer is longer than any that is asked for."""


def limited(
    timeout_seconds: float, *, search_bytes: int = _SEARCH_BYTES, object_bytes: int = OBJECT_BYTES
) -> Callable[..., requests.Response]:
    """A response hook of requests, after which an answer's body is counted, unpacked, while it is read.

    Reading it then raises `AnswerTooLongError`, or `requests.exceptions.ReadTimeout` where it comes too slowly.

    Args:
        timeout_seconds: How long an answer may take, however slow.
        search_bytes: Largest answer to a search.
        object_bytes: Largest of any other answer.
    """

    def hook(response: requests.Response, *_arguments: Any, **_settings: Any) -> requests.Response:
        is_object = "multipart" in str(response.request.headers.get("Accept", ""))
        response.raw = _Counted(response.raw, object_bytes if is_object else search_bytes, timeout_seconds)
        return response

    return hook


class Bound:
    """Counts the bytes of DICOM messages on one connection, and ends it where a message gets too long.

    pynetdicom keeps a message in memory until it is whole, and takes pieces of any length.

    Args:
        limit: Largest message in bytes.
    """

    def __init__(self, limit: int = OBJECT_BYTES) -> None:
        self._limit, self._count = limit, 0
        self.was_exceeded = False

    def begin(self) -> None:
        """Count anew: the next message begins."""
        self._count = 0

    def watch(self, event: Any) -> None:
        """Handler of pynetdicom's event that a connection is open."""
        socket = event.assoc.dul.socket
        receive = socket.recv

        def counted(count: int) -> bytearray:
            self._count += count
            if count > _MOST_PDU or self._count > self._limit:
                self.was_exceeded = True
                socket.close()
                raise OSError  # pynetdicom's reader takes it for the end of the connection.
            pieces: bytearray = receive(count)
            return pieces

        socket.recv = counted


class _Counted:
    """A body that is read in what pieces the network brings, with the few methods that requests uses of one."""

    def __init__(self, raw: Any, limit: int, timeout: float) -> None:
        self._raw, self._limit, self._timeout = raw, limit, timeout
        # Where requests looks for cookies, by which a balancer of loads sends us to the same machine again.
        self._original_response = getattr(raw, "_original_response", None)

    def stream(self, amount: int, decode_content: bool = True) -> Iterator[bytes]:
        start, count = time.monotonic(), 0
        while piece := self._raw.read1(amount, decode_content=decode_content):
            count += len(piece)
            if count > self._limit:
                raise AnswerTooLongError
            passed = time.monotonic() - start
            if passed > self._timeout and count < passed * _LOWEST_SPEED:
                from requests.exceptions import ReadTimeout

                raise ReadTimeout
            yield piece

    def close(self) -> None:
        self._raw.close()

    def release_conn(self) -> None:
        self._raw.release_conn()
