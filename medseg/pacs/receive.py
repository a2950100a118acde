"""Receiver: the port of ours at which an archive delivers what C-MOVE asked for; open only while it is waited for."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from medseg.errors import ArchiveError
from medseg.pacs.archive import Take
from medseg.pacs.settings import DicomSettings, tls_context

if TYPE_CHECKING:
    from pynetdicom.presentation import PresentationContext

__all__ = ["Inbox", "receiver"]

_STORED, _OUT_OF_RESOURCES, _NOT_WANTED = 0x0000, 0xA700, 0xC000


class Inbox:
    """What arrives, handed on file by file; remembers the first error of the disk."""

    def __init__(self) -> None:
        self._take: Take = lambda _data: "nothing was asked for"
        self._problem: OSError | None = None

    def hand_to(self, take: Take) -> None:
        """Hand what arrives from now on to `take`."""
        self._take = take

    def stored(self, event: Any) -> int:
        """Answer one C-STORE request; the status tells the archive whether the file is safe here."""
        if self._problem is not None:
            return _OUT_OF_RESOURCES
        try:
            return _NOT_WANTED if self._take(event.encoded_dataset()) else _STORED
        except OSError as error:
            self._problem = error
            return _OUT_OF_RESOURCES

    @property
    def has_failed(self) -> bool:
        """Whether the disk refused a file, so that there is no use in waiting for more."""
        return self._problem is not None

    def raise_problem(self) -> None:
        """Raise the error of the disk, if there was one.

        Raises:
            OSError: As it happened while a file was written.
        """
        if self._problem is not None:
            raise self._problem


@contextmanager
def receiver(settings: DicomSettings, *, timeout_seconds: float) -> Iterator[Inbox]:
    """Open the port, for associations that call us by our AE title and come from the archive's.

    Raises:
        ArchiveError: The port is taken, or may not be opened.
    """
    from pynetdicom import AE, evt

    entity = AE(ae_title=settings.own_title)
    entity.require_called_aet = True
    entity.require_calling_aet = [settings.title]
    entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = timeout_seconds
    inbox = Inbox()
    try:
        server = entity.start_server(
            (settings.own_address, settings.own_port),
            block=False,
            contexts=_contexts(),
            evt_handlers=[(evt.EVT_C_STORE, inbox.stored)],
            ssl_context=None if settings.tls is None else tls_context(settings.tls, server=True),
        )
    except OSError as error:
        word = "is in use by another program" if error.errno == errno.EADDRINUSE else "cannot be opened"
        raise ArchiveError(
            f"our port {settings.own_port} {word}; end that program, or agree on another own_port with the archive"
        ) from None
    try:
        yield inbox
    finally:
        server.shutdown()


@cache
def _contexts() -> list[PresentationContext]:
    """Every kind of object of the standard, in every transfer syntax, and the question whether anybody is there."""
    from pynetdicom import ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context

    kinds = [context.abstract_syntax for context in AllStoragePresentationContexts]
    return [build_context("1.2.840.10008.1.1"), *(build_context(kind, ALL_TRANSFER_SYNTAXES) for kind in kinds)]
