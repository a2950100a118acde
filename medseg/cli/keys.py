"""The project's key on the command line: the option that names it, and the identity index that lies beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.errors import RequestError
from medseg.privacy.known import know
from medseg.privacy.witness import call_witness

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = ["KeyOption", "identities_beside", "known_identities"]

KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="Project key; what deidentify keeps beside it is searched for."),
]
"""``--key FILE`` of a command that writes something which the gate has to search for this project's identities."""


def identities_beside(key: Path | None) -> IdentityIndex | None:
    """The index of identities that `medseg deidentify` keeps beside the key; None without a key.

    From here on no line that the command prints and no text file that it writes holds one of them, and what it appends
    to ledgers is noted beside the key.

    Raises:
        RequestError: There is no index beside the key.
    """
    if key is None:
        return None
    index = _loaded(key)
    know(index)
    call_witness(key)
    return index


def _loaded(key: Path) -> IdentityIndex:
    from medseg.privacy.identities import IdentityIndex

    beside = key.with_name(f"{key.name}.identities")
    if not beside.is_file():
        raise RequestError(
            "expected the identity index beside the key, found none; `medseg deidentify` writes it there, and "
            "`medseg audit --identities FILE` takes a list in clear"
        )
    return IdentityIndex.load(beside)


def known_identities(key: Path | None, clear: Path | None) -> IdentityIndex | None:
    """The index beside the key, a list in clear, or both in one; None without either.

    For commands that tell finds by their number, and that alone.

    Raises:
        RequestError: There is no index beside the key, or the list cannot be read.
    """
    from medseg.privacy.identities import IdentityIndex, read_clear_list

    index = None if key is None else _loaded(key)
    if clear is not None:
        index = index or IdentityIndex()
        index.add(read_clear_list(clear))
    return index
