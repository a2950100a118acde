"""Secret: a text file that nobody but its owner may read, as a key or a passphrase is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from medseg.errors import RequestError

__all__ = ["read_secret"]


def read_secret(path: Path, *, what: str) -> str:
    """The text of a secret file.

    Args:
        path: The file, UTF-8.
        what: What it is, for the message: ``key``, ``passphrase file``.

    Raises:
        OSError: It can't be read.
        UnicodeDecodeError: It is no text.
        RequestError: Other users may read it.
    """
    mode = path.stat().st_mode
    text = path.read_text(encoding="utf-8")
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise RequestError(
            f"expected a {what} that only you can read (mode 0600), found one that others can read too; run: chmod 600 "
            "on the file, and think about who may have copied it"
        )
    return text
