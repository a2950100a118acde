"""Known identities: those that this process has been told of, which nothing that it writes or prints may hold.

Who has an index of identities says so here once: a command that was given the project's key, a study that was given
identities. From then on every text file (`medseg.data.files.atomic_write`), every line of a ledger and every line that
a command prints passes the gate for them, wherever in the program it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = ["forget", "know", "knowing", "let_out", "something_known"]

_known: list[IdentityIndex] = []


def know(identities: IdentityIndex) -> None:
    """Let nothing out that holds one of these identities, until `forget`."""
    if not any(index is identities for index in _known):
        _known.append(identities)


def forget() -> None:
    """Know of no identities any more, as at the beginning of a command."""
    _known.clear()


@contextmanager
def knowing(identities: IdentityIndex | None) -> Iterator[None]:
    """`know` some identities while a block lasts; None changes nothing."""
    before = list(_known)
    if identities is not None:
        know(identities)
    try:
        yield
    finally:
        _known[:] = before


def something_known() -> bool:
    """Whether `let_out` has anything to look for."""
    return bool(_known)


def let_out(text: str, *, name: str) -> str:
    """Pass a text through the gate for the known identities.

    Args:
        text: What is about to be written or printed.
        name: What it is, as the refusal shall call it; searched as well.

    Returns:
        The text, unchanged.

    Raises:
        PrivacyError: It holds a known identity; the message says where, never which.
    """
    if _known:
        from medseg.privacy.audit import gate

        for identities in _known:
            gate(text, name=name, tier="internal", identities=identities)
    return text
