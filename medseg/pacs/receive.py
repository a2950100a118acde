"""Receiver: the port of ours at which an archive delivers what C-MOVE asked for; open only while it is waited for."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from medseg.errors import ArchiveError
from medseg.pacs.archive import Take
from medseg.pacs.limited import OBJECT_BYTES, Bound
from medseg.pacs.settings import DicomSettings, tls_context

if TYPE_CHECKING:
    from pynetdicom.presentation import PresentationContext

__all__ = ["Inbox", "receiver"]

_MOST_UNWANTED = 10_000
_STORED, _OUT_OF_RESOURCES, _NOT_WANTED = 0x0000, 0xA700, 0xC000


class Inbox:
    """What arrives, handed on file by file; remembers the first error of the disk."""

    def __init__(self) -> None:
        self._take: Take = lambda _data: "nothing was asked for"
        self._problem: OSError | None = None
        self._bounds: WeakKeyDictionary[Any, Bound] = WeakKeyDictionary()
        self._unwanted = 0
        self.taken: set[str] = set()

    def hand_to(self, take: Take) -> None:
        """Hand what arrives from now on to `take`."""
        self._take = take

    def begin(self) -> None:
        """Forget what came of an earlier request, and whether any of it was too long."""
        self._bounds = WeakKeyDictionary()
        self.taken = set()

    def opened(self, event: Any) -> None:
        """Watch a connection of the archive's for objects that are too long."""
        bound = self._bounds.setdefault(event.assoc, Bound(OBJECT_BYTES))
        bound.watch(event)

    def stored(self, event: Any) -> int:
        """Answer one C-STORE request; the status tells the archive whether the file is safe here."""
        if event.assoc in self._bounds:
            self._bounds[event.assoc].begin()
        if self._problem is not None:
            return _OUT_OF_RESOURCES
        try:
            if self._take(event.encoded_dataset()):
                self._unwanted += 1
                return _NOT_WANTED
        except OSError as error:
            self._problem = error
            return _OUT_OF_RESOURCES
        self.taken.add(str(event.request.AffectedSOPInstanceUID))
        return _STORED

    @property
    def was_too_long(self) -> bool:
        """Whether an object was longer than any that is taken, since `begin`."""
        return any(bound.was_exceeded for bound in list(self._bounds.values()))

    @property
    def has_failed(self) -> bool:
        """Whether there is no use in waiting for more: the disk refused a file, or none of what comes was asked for."""
        return self._problem is not None or self._unwanted > _MOST_UNWANTED

    def raise_problem(self) -> None:
        """Raise the error that ended the waiting, if there was one.

        Raises:
            OSError: As it happened while a file was written.
            ArchiveError: The archive goes on delivering what nobody asked for.
        """
        if self._problem is not None:
            raise self._problem
        if self._unwanted > _MOST_UNWANTED:
            raise ArchiveError(
                f"the archive delivered more than {_MOST_UNWANTED:,} objects that were not asked for, or damaged; ask "
                "its administrator what it sends to our AE title"
            )


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
            evt_handlers=[(evt.EVT_CONN_OPEN, inbox.opened), (evt.EVT_C_STORE, inbox.stored)],
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
