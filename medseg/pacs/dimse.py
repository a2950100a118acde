"""DIMSE: an archive that is asked with C-FIND, read with C-MOVE and given to with C-STORE (PS3.4, PS3.7)."""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from medseg.errors import ArchiveError, ConnectionLostError, MissingExtraError
from medseg.pacs.archive import (
    CONNECT_SECONDS,
    LOST,
    NOBODY_ANSWERS,
    TOO_SLOW,
    FoundSeries,
    FoundStudy,
    Instance,
    Outgoing,
    Take,
)
from medseg.pacs.limited import MOST_FOUND, OBJECT_BYTES, Bound
from medseg.pacs.receive import Inbox, receiver
from medseg.pacs.settings import DicomSettings, tls_context
from medseg.pacs.wanted import Wanted

if TYPE_CHECKING:
    from pydicom import Dataset
    from pynetdicom.association import Association

__all__ = ["DimseArchive"]

_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_IMPLICIT, _EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
_MOST_CONTEXTS = 128
_UIDS_A_MOVE = 100
_ASK_AGAIN = 2
_PENDING = (0xFF00, 0xFF01)
_DESTINATION_UNKNOWN = 0xA801
_TOO_LONG = f"the archive delivers more than {OBJECT_BYTES >> 30} GiB as this object; nothing that long is taken"
_NOT_TAKEN = "the archive doesn't take objects of this class in this transfer syntax"


class DimseArchive:
    """An archive behind the DICOM network protocol.

    Args:
        settings: Where it is and who we are.
        timeout_seconds: How long to wait for an answer.

    Raises:
        MissingExtraError: pynetdicom isn't installed.
        ConfigError: A certificate cannot be read.
    """

    def __init__(self, settings: DicomSettings, *, timeout_seconds: float) -> None:
        try:
            from pynetdicom import AE
        except ImportError:
            raise MissingExtraError("talking to an archive", "pacs") from None
        self._settings = settings
        self._timeout = timeout_seconds
        self._entity = AE(ae_title=settings.own_title)
        self._entity.connection_timeout = min(timeout_seconds, CONNECT_SECONDS)
        self._entity.acse_timeout = self._entity.dimse_timeout = timeout_seconds
        self._entity.network_timeout = timeout_seconds
        self._tls = None if settings.tls is None else tls_context(settings.tls)
        self._reached = self._answered = False
        self._asked: Association | None = None
        self._inbox: Inbox | None = None
        self._closing = ExitStack()
        self._bound = Bound()

    def find_studies(self, wanted: Wanted) -> list[FoundStudy]:
        """Studies that fit a line of the list; as `Archive.find_studies`."""
        answers = self._find(
            "STUDY",
            StudyInstanceUID=wanted.study,
            AccessionNumber=wanted.accession,
            PatientID=wanted.patient,
            StudyDate=wanted.date,
            ModalitiesInStudy=wanted.modality,
        )
        keywords = ("StudyInstanceUID", "PatientID", "AccessionNumber")
        return [FoundStudy(*(_text(answer, keyword) for keyword in keywords)) for answer in answers]

    def find_series(self, study: str) -> list[FoundSeries]:
        """Series of a study; as `Archive.find_series`."""
        answers = self._find("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", Modality="")
        return [FoundSeries(study, _text(a, "SeriesInstanceUID"), _text(a, "Modality")) for a in answers]

    def find_instances(self, series: FoundSeries) -> list[Instance]:
        """Instances of a series; as `Archive.find_instances`."""
        answers = self._find("IMAGE", StudyInstanceUID=series.study, SeriesInstanceUID=series.uid, SOPInstanceUID="")
        return [Instance(series.study, series.uid, _text(a, "SOPInstanceUID")) for a in answers]

    def fetch(self, instances: Sequence[Instance], take: Take, *, whole_series: bool) -> dict[str, str]:
        """Let the archive send instances to a port of ours, open until `close`; as `Archive.fetch`.

        A series of which nothing is here is asked for as one, else its instances by lists of their UIDs.
        """
        self._receiving().hand_to(take)
        if whole_series:
            return self._delivered(instances, whole_series=True)
        reasons: dict[str, str] = {}
        for start in range(0, len(instances), _UIDS_A_MOVE):
            reasons |= self._delivered(instances[start : start + _UIDS_A_MOVE])
        return reasons

    def _delivered(self, instances: Sequence[Instance], *, whole_series: bool = False) -> dict[str, str]:
        """Ask for instances of a series in one request, and where one of them is too long, for the rest one by one."""
        keys = {"StudyInstanceUID": instances[0].study, "SeriesInstanceUID": instances[0].series}
        if not whole_series:
            keys["SOPInstanceUID"] = "\\".join(instance.uid for instance in instances)
        inbox = self._receiving()
        inbox.begin()
        try:
            self._move(_query("SERIES" if whole_series else "IMAGE", keys), inbox)
        except ConnectionLostError:
            if not inbox.was_too_long:
                raise
        inbox.raise_problem()
        if not inbox.was_too_long:
            return {}
        missing = [instance for instance in instances if instance.uid not in inbox.taken]
        if len(instances) == 1:
            return {instance.uid: _TOO_LONG for instance in missing}
        reasons: dict[str, str] = {}
        for instance in missing:
            reasons |= self._delivered([instance])
        return reasons

    def can_be_asked(self) -> bool:
        """Whether the archive takes C-FIND; a mere receiver doesn't."""
        return bool(self._asking().accepted_contexts)

    def close(self) -> None:
        """Hang up; as `Archive.close`."""
        if self._asked is not None and self._asked.is_established:
            self._asked.release()
        self._asked = self._inbox = None
        self._closing.close()

    def send(self, objects: Sequence[Outgoing]) -> Iterator[tuple[Outgoing, str]]:
        """Send objects over one association, each in its own transfer syntax; as `Archive.send`."""
        kinds = sorted({(o.sop_class, o.syntax) for o in objects})
        if len(kinds) > _MOST_CONTEXTS:
            raise ArchiveError(
                f"expected at most {_MOST_CONTEXTS} kinds of objects a push, found {len(kinds)}; push fewer at a time"
            )
        contexts = [(kind, _syntaxes(syntax)) for kind, syntax in kinds]
        with self._association(contexts) as association:
            for outgoing in objects:
                yield outgoing, self._store(association, outgoing) if association.accepted_contexts else _NOT_TAKEN

    def _store(self, association: Association, outgoing: Outgoing) -> str:
        import pydicom

        dataset = pydicom.dcmread(io.BytesIO(outgoing.load()))
        try:
            status = association.send_c_store(dataset)
        except ValueError:
            return _NOT_TAKEN
        except (RuntimeError, AttributeError, OSError):
            raise ConnectionLostError(LOST) from None
        if "Status" not in status:
            raise ConnectionLostError(LOST)
        code = int(status.Status)
        # 0xB000 to 0xBFFF are warnings: stored, with some attribute changed (PS3.4 B.2.3).
        return "" if code == 0 or 0xB000 <= code <= 0xBFFF else f"the archive refused it (status {code:#06x})"

    def _find(self, level: str, **keys: str) -> list[Dataset]:
        query = _query(level, keys)
        found: list[Dataset] = []
        association = self._asking()
        if not association.accepted_contexts:
            raise ArchiveError("the archive doesn't answer queries (C-FIND, study root); it can only be sent to")
        try:
            for status, answer in association.send_c_find(query, _FIND):
                if "Status" not in status:
                    raise self._hung_up()
                self._answered = True
                code = int(status.Status)
                self._bound.begin()
                if len(found) >= MOST_FOUND:
                    raise ArchiveError("the archive's answers to a search have no end; ask its administrator")
                if code in _PENDING and answer is not None:
                    found.append(answer)
                elif code != 0:
                    raise ArchiveError(
                        f"the archive refused a query (C-FIND status {code:#06x}); ask its administrator"
                    )
        except RuntimeError:
            # It hung up between two questions.
            raise self._hung_up() from None
        return found

    def _receiving(self) -> Inbox:
        """The port for deliveries, kept open from one series to the next."""
        if self._inbox is None:
            self._inbox = self._closing.enter_context(receiver(self._settings, timeout_seconds=self._timeout))
        return self._inbox

    def _asking(self) -> Association:
        """The association for queries, kept open from one to the next."""
        if self._asked is None or not self._asked.is_established:
            self._asked = self._open([(_FIND, [_IMPLICIT, _EXPLICIT])])
        return self._asked

    def _move(self, query: Dataset, inbox: Inbox) -> None:
        with self._association([(_MOVE, [_IMPLICIT, _EXPLICIT])]) as association:
            if not association.accepted_contexts:
                raise ArchiveError("the archive doesn't let its objects be moved (C-MOVE, study root)")
            answers = association.send_c_move(query, self._settings.own_title, _MOVE)
            for status, _ in answers:
                if inbox.has_failed:
                    association.abort()  # A release would wait for what is still under way.
                    return
                if "Status" not in status:
                    raise self._hung_up()
                self._check_move(status)

    def _check_move(self, status: Dataset) -> None:
        code = int(status.Status)
        own = f"{self._settings.own_title}, port {self._settings.own_port}"
        if code == _DESTINATION_UNKNOWN:
            raise ArchiveError(
                "the archive doesn't know us as a place to send to (C-MOVE destination unknown); ask its administrator "
                f"to add our AE title and port ({own}) with this machine's address"
            )
        done = int(status.get("NumberOfCompletedSuboperations") or 0)
        failed = int(status.get("NumberOfFailedSuboperations") or 0)
        if code not in (*_PENDING, 0) and not done and (failed or code != 0xB000):
            raise ConnectionLostError(
                f"the archive could not deliver to us (C-MOVE status {code:#06x}); check that its entry for us ({own}) "
                "has this machine's address, and that no firewall closes the port"
            )

    @contextmanager
    def _association(self, contexts: Sequence[tuple[str, list[str]]]) -> Iterator[Association]:
        """An association, released in the end.

        Raises:
            ArchiveError: Nobody answers, TLS isn't trusted, or the archive rejects us.
        """
        association = self._open(contexts)
        try:
            yield association
        except BaseException:
            # A polite release would first wait for what is still under way.
            if association.is_established:
                association.abort()
            raise
        if association.is_established:
            association.release()

    def _open(self, contexts: Sequence[tuple[str, list[str]]]) -> Association:
        """As `_association`; one without a context that the archive takes isn't established."""
        self._knock()
        association = self._associate(contexts)
        for _ in range(_ASK_AGAIN):
            # A refusal can be lost where the archive hangs up right behind it; asked again it mostly comes through.
            if association.is_established or association.is_rejected or association.rejected_contexts:
                break
            time.sleep(0.1)
            association = self._associate(contexts)
        if not association.is_established and not association.rejected_contexts:
            raise self._rejection(association)
        self._reached = True
        return association

    def _associate(self, contexts: Sequence[tuple[str, list[str]]]) -> Association:
        from pynetdicom import build_context, evt
        from pynetdicom.pdu_primitives import UserIdentityNegotiation

        identity = None
        if self._settings.user is not None:
            identity = UserIdentityNegotiation()
            identity.user_identity_type = 1 if self._settings.password is None else 2
            identity.primary_field = self._settings.user.encode("utf-8")
            if self._settings.password is not None:
                identity.secondary_field = self._settings.password.get_secret_value().encode("utf-8")
        self._bound.begin()
        return self._entity.associate(
            self._settings.host,
            self._settings.port,
            contexts=[build_context(kind, syntaxes) for kind, syntaxes in contexts],
            ae_title=self._settings.title,
            evt_handlers=[(evt.EVT_CONN_OPEN, self._bound.watch)],
            ext_neg=None if identity is None else [identity],
            tls_args=None if self._tls is None else (self._tls, self._settings.host),
        )

    def _knock(self) -> None:
        """Connect once, to learn why it can't be done: the network library keeps the reason to itself."""
        if self._reached:
            return
        where = (self._settings.host, self._settings.port)
        try:
            with socket.create_connection(where, timeout=min(self._timeout, CONNECT_SECONDS)) as plain:
                if self._tls is not None:
                    with self._tls.wrap_socket(plain, server_hostname=self._settings.host):
                        pass
        except ssl.SSLError:
            raise ArchiveError(
                "the archive's TLS certificate is not trusted (it has expired, is for another host, or its authority "
                "is unknown), or the port isn't one for TLS; name the authority that signed it as dicom.tls.ca, and "
                "check dicom.host (it must be in the certificate) and dicom.port"
            ) from None
        except TimeoutError:
            raise ArchiveError(TOO_SLOW) from None
        except OSError:
            raise ArchiveError(NOBODY_ANSWERS) from None

    def _hung_up(self) -> ArchiveError:
        if self._answered:
            return ConnectionLostError(LOST)
        return ArchiveError(
            "the archive hung up on our first question; most often it doesn't know our AE title, dicom.own_title: ask "
            "its administrator to add it with this machine's address"
        )

    def _rejection(self, association: Association) -> ArchiveError:
        if association.is_rejected:
            answer = association.acceptor.primitive
            source, diagnostic = getattr(answer, "result_source", None), getattr(answer, "diagnostic", None)
            if (source, diagnostic) == (1, 7):
                return ArchiveError("the archive has another AE title than dicom.title; ask its administrator for it")
            if (source, diagnostic) == (1, 3):
                return ArchiveError(
                    "the archive doesn't know our AE title, dicom.own_title; ask its administrator to add it with this "
                    "machine's address"
                )
            return ArchiveError(
                "the archive rejected us; check title, own_title, user and password, or ask its administrator"
            )
        if self._reached:
            return ConnectionLostError(LOST)
        return ArchiveError(
            "the archive hung up before it said who it is; check that dicom.port is a DICOM port, and whether it wants "
            "TLS (section dicom.tls) and a certificate of ours"
        )


def _query(level: str, keys: dict[str, str]) -> Dataset:
    from pydicom import Dataset

    query = Dataset()
    query.QueryRetrieveLevel = level
    if any(not value.isascii() for value in keys.values()):
        query.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def _syntaxes(syntax: str) -> list[str]:
    """Uncompressed objects may travel in either plain syntax; others only as they are."""
    return [_EXPLICIT, _IMPLICIT] if syntax in (_IMPLICIT, _EXPLICIT) else [syntax]


def _text(answer: Dataset, keyword: str) -> str:
    return str(answer.get(keyword) or "").strip()
