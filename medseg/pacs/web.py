"""DICOMweb: an archive that is asked with QIDO-RS, read with WADO-RS and given to with STOW-RS (PS3.18)."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

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
from medseg.pacs.limited import MOST_FOUND, OBJECT_BYTES, AnswerTooLongError, limited
from medseg.pacs.settings import WebSettings, tls_context
from medseg.pacs.wanted import Wanted

if TYPE_CHECKING:
    import requests

__all__ = ["WebArchive"]

_PAGE = 1000
_BUSY = (408, 429, 502, 503, 504)
_KEYS = {
    "study": "StudyInstanceUID", "accession": "AccessionNumber", "patient": "PatientID", "date": "StudyDate",
    "modality": "ModalitiesInStudy",
}  # fmt: skip
_STUDY, _SERIES, _INSTANCE = "0020000D", "0020000E", "00080018"
_PATIENT, _ACCESSION, _MODALITY = "00100020", "00080050", "00080060"
_T = TypeVar("_T")


class WebArchive:
    """An archive behind DICOMweb.

    Args:
        settings: Where it is and who we are.
        timeout_seconds: How long to wait for an answer.

    Raises:
        MissingExtraError: dicomweb-client isn't installed.
        ConfigError: A certificate cannot be read.
    """

    def __init__(self, settings: WebSettings, *, timeout_seconds: float) -> None:
        try:
            from dicomweb_client.api import DICOMwebClient
        except ImportError:
            raise MissingExtraError("talking to an archive", "pacs") from None
        self._session = _session(settings, timeout_seconds)
        self._client = DICOMwebClient(
            settings.url.rstrip("/"),
            session=self._session,
            timeout=(min(timeout_seconds, CONNECT_SECONDS), timeout_seconds),
        )
        # Who goes on after a failure is decided by `pull` and `push`, which know what is missing.
        self._client.set_http_retry_params(retry=False)
        self._reached = False

    def find_studies(self, wanted: Wanted) -> list[FoundStudy]:
        """Studies that fit a line of the list; as `Archive.find_studies`."""
        filters = {keyword: getattr(wanted, name) for name, keyword in _KEYS.items() if getattr(wanted, name)}

        def page(offset: int) -> Any:
            return self._client.search_for_studies(
                search_filters=filters, fields=["PatientID", "AccessionNumber"], limit=_PAGE, offset=offset
            )

        return [
            FoundStudy(_value(r, _STUDY), _value(r, _PATIENT), _value(r, _ACCESSION)) for r in self._pages(page, _STUDY)
        ]

    def find_series(self, study: str) -> list[FoundSeries]:
        """Series of a study; as `Archive.find_series`."""

        def page(offset: int) -> Any:
            return self._client.search_for_series(study_instance_uid=study, limit=_PAGE, offset=offset)

        return [FoundSeries(study, _value(r, _SERIES), _value(r, _MODALITY)) for r in self._pages(page, _SERIES)]

    def find_instances(self, series: FoundSeries) -> list[Instance]:
        """Instances of a series; as `Archive.find_instances`."""

        def page(offset: int) -> Any:
            return self._client.search_for_instances(
                study_instance_uid=series.study, series_instance_uid=series.uid, limit=_PAGE, offset=offset
            )

        return [Instance(series.study, series.uid, _value(r, _INSTANCE)) for r in self._pages(page, _INSTANCE)]

    def fetch(self, instances: Sequence[Instance], take: Take, *, whole_series: bool) -> dict[str, str]:
        """Fetch instances one by one in the transfer syntax in which they are stored; as `Archive.fetch`."""
        del whole_series  # WADO-RS gives single instances at no cost.
        refused: dict[str, str] = {}
        for instance in instances:
            try:
                data = self._ask(partial(self._retrieve, instance), missing_is_fatal=False)
            except _RefusedError as error:
                refused[instance.uid] = str(error)
                continue
            take(data)
        return refused

    def can_be_asked(self) -> bool:
        """A DICOMweb archive that stores but cannot be searched is told by an error, not guessed."""
        return True

    def send(self, objects: Sequence[Outgoing]) -> Iterator[tuple[Outgoing, str]]:
        """Send objects one by one, so that each failure has its object; as `Archive.send`."""
        for outgoing in objects:
            try:
                yield outgoing, self._ask(partial(self._store, outgoing), missing_is_fatal=False)
            except _RefusedError as error:
                yield outgoing, str(error)

    def close(self) -> None:
        """Hang up; as `Archive.close`."""
        self._session.close()

    def _retrieve(self, instance: Instance) -> bytes:
        import pydicom

        dataset = self._client.retrieve_instance(instance.study, instance.series, instance.uid)
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
        return buffer.getvalue()

    def _store(self, outgoing: Outgoing) -> str:
        import pydicom

        dataset = pydicom.dcmread(io.BytesIO(outgoing.load()))
        answer = self._client.store_instances([dataset])
        failed = list(answer.get("FailedSOPSequence", []))
        if not failed:
            return ""
        reason = failed[0].get("FailureReason")
        return f"the archive refused it{'' if reason is None else f' (failure reason {int(reason):#06x})'}"

    def _pages(self, page: Callable[[int], Any], key: str) -> list[dict[str, Any]]:
        """All answers of a search, asked for in pages; ends where a page brings nothing new.

        Raises:
            ArchiveError: There are more than any search of ours can have.
        """
        found: dict[str, dict[str, Any]] = {}

        while len(found) <= MOST_FOUND:
            answers = self._ask(partial(page, len(found)), missing_is_fatal=True) or []
            fresh = {_value(answer, key): answer for answer in answers}
            new = {uid: answer for uid, answer in fresh.items() if uid and uid not in found}
            found |= new
            if not new or len(answers) < _PAGE:
                return list(found.values())
        raise ArchiveError(
            f"the archive's answers to a search have no end (more than {MOST_FOUND}); check dicomweb.url"
        )

    def _ask(self, request: Callable[[], _T], *, missing_is_fatal: bool) -> _T:
        """One request; the library's exceptions become ours.

        Raises:
            ArchiveError: As `Archive`.
            ConnectionLostError: As `Archive`.
            _RefusedError: The archive has an answer, and it is no.
        """
        import requests

        try:
            answer = request()
        except requests.exceptions.SSLError:
            raise ArchiveError(
                "the archive's TLS certificate is not trusted (it has expired, is for another host, or its authority "
                "is unknown), or it doesn't trust ours; name the authority that signed it as dicomweb.tls.ca (and our "
                "certificate and key, where the archive asks for one)"
            ) from None
        except requests.exceptions.HTTPError as error:
            raise self._status_error(error, missing_is_fatal=missing_is_fatal) from None
        except requests.exceptions.TooManyRedirects:
            raise ArchiveError(
                "the archive sends us to another address, and names aren't taken there unasked; if that one is right, "
                "write it into dicomweb.url"
            ) from None
        except requests.exceptions.JSONDecodeError:
            raise ArchiveError(
                "expected DICOM JSON from the archive, found something else; check dicomweb.url"
            ) from None
        except (requests.exceptions.RequestException, ConnectionError) as error:
            raise self._connection_error(error) from None
        except AnswerTooLongError:
            if missing_is_fatal:
                raise ArchiveError("the archive's answer to a search has no end; check dicomweb.url") from None
            largest = f"{OBJECT_BYTES >> 30} GiB"
            raise _RefusedError(f"the archive's answer is longer than {largest}; nothing that long is taken") from None
        except (ValueError, LookupError, AttributeError, TypeError, EOFError, NotImplementedError, RecursionError):
            # What the client library, pydicom and the JSON parser raise on an answer that is none.
            if missing_is_fatal:
                raise ArchiveError("the archive's answer to a search isn't DICOM JSON; check dicomweb.url") from None
            raise _RefusedError("expected one DICOM object from the archive, found something else") from None
        self._reached = True
        return answer

    def _status_error(self, error: requests.exceptions.HTTPError, *, missing_is_fatal: bool) -> Exception:
        status = error.response.status_code
        if status in (401, 407):
            return ArchiveError(
                "the archive doesn't accept our name and password (HTTP 401); look at user, password or token in the "
                "archive file"
            )
        if status == 403:
            return ArchiveError("the archive knows us, but doesn't let us do this (HTTP 403); ask its administrator")
        if status in _BUSY:
            return ConnectionLostError(f"the archive is too busy or not ready (HTTP {status})")
        if missing_is_fatal:
            return ArchiveError(
                f"the archive doesn't answer searches there (HTTP {status}); check dicomweb.url, which is what stands "
                "before /studies"
            )
        return _RefusedError(f"the archive refused it (HTTP {status})")

    def _connection_error(self, error: Exception) -> ArchiveError:
        import requests

        if self._reached:
            return ConnectionLostError(LOST)
        if isinstance(error, requests.exceptions.Timeout):
            return ArchiveError(TOO_SLOW)
        return ArchiveError(NOBODY_ANSWERS)


class _RefusedError(Exception):
    """The archive's answer to one request is no."""


def _session(settings: WebSettings, timeout_seconds: float) -> requests.Session:
    """A session that takes nothing from the environment (no proxy, no .netrc) and goes nowhere else when told to."""
    import requests

    session = requests.Session()
    session.hooks["response"].append(limited(timeout_seconds))
    session.trust_env = False
    session.max_redirects = 0
    if settings.tls.ca is not None:
        session.verify = str(settings.tls.ca)
    if settings.tls.certificate is not None:
        session.cert = (str(settings.tls.certificate), str(settings.tls.key))
    if settings.url.startswith("https:"):
        tls_context(settings.tls)
    if settings.user is not None and settings.password is not None:
        session.auth = (settings.user.encode("utf-8"), settings.password.get_secret_value().encode("utf-8"))
    if settings.token is not None:
        session.headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
    return session


def _value(answer: Any, tag: str) -> str:
    """First value of an attribute in DICOM JSON, as text; empty where it has none."""
    values = (
        answer.get(tag, {}).get("Value") if isinstance(answer, dict) and isinstance(answer.get(tag), dict) else None
    )
    return str(values[0]).strip() if isinstance(values, list) and values else ""
