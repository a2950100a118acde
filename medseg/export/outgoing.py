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
    """A folder whose files and folders appear in `folder` when the block has ended and each has passed the gate.

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
            made = sorted(Path(name).iterdir())
            files = [file for path in made for file in (sorted(path.rglob("*")) if path.is_dir() else (path,))]
            if tier == "shareable":
                for file in files:
                    shown = file.relative_to(name).as_posix()
                    gate(file.read_bytes(), name=shown, tier=tier, identities=identities)
            for path in made:
                if path.is_dir() and (folder / path.name).is_dir():  # No system replaces a folder that holds files.
                    os.replace(folder / path.name, Path(name) / f"{path.name}.earlier")
                os.replace(path, folder / path.name)
    except BaseException:
        if is_new:
            with suppress(OSError):  # It may hold other files meanwhile.
                folder.rmdir()
        raise
