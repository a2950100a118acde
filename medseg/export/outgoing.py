"""Outgoing files: written aside, searched by the privacy gate, and only then moved to where they shall be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.data.files import atomic_write
from medseg.errors import DataError
from medseg.privacy.audit import gate
from medseg.privacy.unfinished import held_folder, waiting_room
from medseg.types import Tier

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = ["outgoing"]


@contextmanager
def outgoing(folder: Path, *, tier: Tier, identities: IdentityIndex | None = None) -> Iterator[Path]:
    """A folder whose files and folders appear in `folder` when the block has ended and each has passed the gate.

    What hasn't passed the gate is never in `folder`, not even where the process is killed.

    Args:
        folder: Where the files shall be; made where it is missing.
        tier: ``internal`` lets everything pass: it is for files that carry their patients home (decision 0009).
        identities: Identities of this project that the gate looks for, beside its patterns.

    Yields:
        A new folder elsewhere, which only this user can read.

    Raises:
        DataError: A folder of that name is there, and holds other files.
        PrivacyError: The gate found something that identifies; none of the files was moved.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with waiting_room() as aside:
            yield aside
            if tier == "shareable":
                for file in _files_below(aside):
                    gate(file.read_bytes(), name=file.relative_to(aside).as_posix(), tier=tier, identities=identities)
            for path in sorted(aside.iterdir()):
                _let_out(path, folder / path.name)
    except BaseException:
        if is_new:
            with suppress(OSError):  # It may hold other files meanwhile.
                folder.rmdir()
        raise


def _files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _let_out(path: Path, target: Path) -> None:
    """Copy a file or folder, which may lie on another disk, so that it appears at once."""
    if path.is_file():
        with atomic_write(target) as stream, path.open("rb") as source:
            shutil.copyfileobj(source, stream)
        return
    with held_folder(target) as made:
        for file in _files_below(path):
            _let_out(file, made / file.relative_to(path))
        ours = {file.relative_to(made) for file in _files_below(made)}
        if not {file.relative_to(target) for file in _files_below(target)} <= ours:
            raise DataError(
                f"expected no folder of the result's name ({target.suffix}), or one with an older result; found one "
                "that holds other files. Take it away"
            )
        with held_folder(target) as older:
            # No system replaces a folder that holds files in one step; a kill between these two leaves none.
            if target.is_dir():
                os.replace(target, older / target.name)
            os.replace(made, target)
