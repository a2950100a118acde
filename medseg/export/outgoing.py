"""Outgoing files: written aside, searched by the privacy gate, and only then moved to where they shall be."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.privacy.audit import gate
from medseg.types import Tier

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = ["outgoing"]


@contextmanager
def outgoing(folder: Path, *, tier: Tier, identities: IdentityIndex | None = None) -> Iterator[Path]:
    """A folder whose files appear in `folder` when the block has ended and each of them has passed the gate.

    Args:
        folder: Where the files shall be; made where it is missing.
        tier: ``internal`` lets everything pass: it is for files that carry their patients home (decision 0009).
        identities: Identities of this project that the gate looks for, beside its patterns.

    Yields:
        A new folder beside them.

    Raises:
        PrivacyError: The gate found something that identifies; none of the files was moved.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".outgoing-", dir=folder) as name:
            yield Path(name)
            files = sorted(Path(name).iterdir())
            if tier == "shareable":
                for file in files:
                    gate(file.read_bytes(), name=file.name, tier=tier, identities=identities)
            for file in files:
                os.replace(file, folder / file.name)
    except BaseException:
        if is_new:
            with suppress(OSError):  # It may hold other files meanwhile.
                folder.rmdir()
        raise
