"""Limited: a web archive's answers, which have a largest size and a lowest speed.

An answer without end would fill the memory, one of a byte a second would keep a pull waiting for ever: both are within
the reach of a broken archive, and of whoever speaks in its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

__all__ = ["AnswerTooLongError", "limited"]

_SEARCH_BYTES = 1 << 26
"""Largest answer to a search: a thousand entries of 64 KiB."""
_OBJECT_BYTES = 1 << 31
_LOWEST_SPEED = 1024
"""Bytes a second, on average, once the time for an answer has passed."""


class AnswerTooLongError(Exception):
    """An answer is longer than any that is asked for."""


def limited(
    timeout_seconds: float, *, search_bytes: int = _SEARCH_BYTES, object_bytes: int = _OBJECT_BYTES
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
