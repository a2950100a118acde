"""Archives that answer wrongly, by mistake or on purpose: a server of our own that says what no real one would."""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from medseg.errors import ArchiveError
from medseg.pacs import connect, load_archive, pull, push, read_wanted
from medseg.pacs.limited import AnswerTooLongError, limited
from medseg.pacs.pull import find
from medseg.privacy.identities import IdentityIndex
from tests.pacs.conftest import make_ct
from tests.pacs.servers import free_port, write_archive

_STUDY = "1.2.3"
_TAGS = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}


def _item(**uids):
    return {_TAGS[name]: {"vr": "UI", "Value": [uid]} for name, uid in uids.items()}


@contextlib.contextmanager
def _server(answers, asked=None):
    """Serves `answers`: the end of a path to status, media type and body; anything else is 404.

    A body that is no bytes is an iterator of pieces, sent without a length and for as long as somebody listens.
    """

    asked = [] if asked is None else asked

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            path = self.path.partition("?")[0]
            asked.append((path, self.headers.get("Authorization")))
            status, kind, body = next((a for end, a in answers.items() if path.endswith(end)), (404, "text/plain", b""))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if status in (302, 303, 307, 308) or (status == 301 and kind.startswith("http")):
                self.send_header("Location", kind)
            if not isinstance(body, bytes):
                self.end_headers()
                with contextlib.suppress(OSError):
                    for piece in body:
                        self.wfile.write(piece)
                return
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _json(*items, status=200):
    return status, "application/dicom+json", json.dumps(list(items)).encode()


def _archive(port, tmp_path, *, timeout_seconds=5, **web):
    section = {"url": f"http://127.0.0.1:{port}", **web}
    path = write_archive(tmp_path / "a", {"dicomweb": section, "timeout_seconds": timeout_seconds})
    return connect(load_archive(path), "dicomweb")


@pytest.mark.parametrize(
    "answer",
    [
        (200, "application/dicom+json", b"{"),
        (200, "application/dicom+json", b'[1, "x", null]'),
        (200, "application/dicom+json", b'[{"0020000D": {"Value": "x"}}]'),
        (200, "application/dicom+json", b'{"0020000D": 5}'),
        (200, "application/dicom+json", b"[" * 100_000),
        (200, "text/html", b"<html>"),
        (500, "text/plain", b"Novakova^Jana"),
        (404, "text/plain", b""),
        (503, "text/plain", b""),
        (301, "text/plain", b""),
        (302, "http://127.0.0.1:9/studies", b""),
    ],
)
def test_a_wrong_answer_to_a_search_is_an_error_or_no_find_never_a_bug(answer, tmp_path):
    with _server({"/studies": answer}) as port:
        error = _error_of(_archive(port, tmp_path))
    assert "Novakova" not in error
    assert error != "found something"
    assert ("another address" in error) == (answer[0] == 302)


def test_a_search_without_end_is_given_up_and_fills_no_memory(tmp_path, monkeypatch):
    spaces = itertools.repeat(b" " * 65536)
    with _server({"/studies": (200, "application/dicom+json", spaces)}) as port:
        assert "has no end" in _error_of(_archive(port, tmp_path))
    monkeypatch.setattr("medseg.pacs.web.MOST_FOUND", 5000)
    pages = (json.dumps([_item(study=f"1.2.{page}.{n}") for n in range(1000)]).encode() for page in itertools.count())
    with _server({"/studies": (200, "application/dicom+json", _Fresh(pages))}) as port:
        assert "have no end" in _error_of(_archive(port, tmp_path))


class _Fresh:
    """A body that is another one each time."""

    def __init__(self, bodies):
        self._bodies = bodies

    def __iter__(self):
        yield next(self._bodies)


def test_an_answer_that_only_drips_counts_as_none(tmp_path):
    def drops():
        while True:
            time.sleep(0.1)  # The archive that drips.
            yield b" "

    with _server({"/studies": (200, "application/dicom+json", drops())}) as port:
        assert "doesn't answer in time" in _error_of(_archive(port, tmp_path, timeout_seconds=1))


def test_an_object_longer_than_any_is_refused_while_it_comes():
    class Raw:
        def read1(self, amount, *, decode_content):
            assert decode_content
            return b" " * amount

    response = requests.Response()
    response.request = requests.Request("GET", "http://x", headers={"Accept": "multipart/related"}).prepare()
    response.raw = Raw()
    limited(5.0, object_bytes=1 << 20)(response)
    with pytest.raises(AnswerTooLongError):
        _ = response.content


def test_an_answer_that_is_counted_keeps_its_cookies():
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Set-Cookie", "machine=2")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with server, requests.Session() as session:
        session.hooks["response"].append(limited(5.0))
        session.get(f"http://127.0.0.1:{server.server_port}/", timeout=5)
        server.shutdown()
    assert session.cookies.get_dict() == {"machine": "2"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_name_and_password_do_not_follow_a_redirection(status, tmp_path):
    asked = []
    with _server({}, asked) as elsewhere:
        answer = (status, f"http://127.0.0.1:{elsewhere}/studies", b"")
        with _server({"/studies": answer}) as port:
            error = _error_of(_archive(port, tmp_path, user="ann", password="s3cret-Gq7x"))
    assert "another address" in error
    assert asked == []


def _error_of(archive):
    try:
        (found,) = find(archive, read_wanted(None, studies=[_STUDY]))
    except ArchiveError as error:
        return str(error)
    return "" if found.series == () else "found something"


def _part(data):
    return 200, "multipart/related; type=application/dicom; boundary=b", b"--b\r\n\r\n" + data + b"\r\n--b--"


def test_instances_that_are_not_what_was_asked_for_are_refused_and_the_others_come(tmp_path):
    series = make_ct(5, 8)
    for data in series.slices:
        data.StudyInstanceUID = _STUDY
    whole, swapped, cut, html, missing = series.slices
    files = []
    for data in series.slices:
        buffer = io.BytesIO()
        data.save_as(buffer, enforce_file_format=True)
        files.append(buffer.getvalue())
    answers = {
        f"/{whole.SOPInstanceUID}": _part(files[0]),
        f"/{swapped.SOPInstanceUID}": _part(files[0]),
        f"/{cut.SOPInstanceUID}": _part(files[2][:-20]),
        f"/{html.SOPInstanceUID}": (200, "text/html", b"<html>"),
        f"/{missing.SOPInstanceUID}": (410, "text/plain", b""),
        "/instances": _json(
            *(_item(study=_STUDY, series=series.uid, instance=d.SOPInstanceUID) for d in series.slices),
            _item(study=_STUDY, series=series.uid, instance="../../../etc/passwd"),
        ),
        "/series": _json(_item(study=_STUDY, series=series.uid)),
        "/studies": _json(_item(study=_STUDY)),
    }
    with _server(answers) as port:
        report = pull(_archive(port, tmp_path), read_wanted(None, studies=[_STUDY]), tmp_path / "pulled")
    assert report.fetched == 1
    assert {r.input: r.reason for r in report.refusals} == {
        "instance 2 of 6": "the archive lists it, but didn't deliver it",
        "instance 3 of 6": "the file ends too early",
        "instance 4 of 6": "expected one DICOM object from the archive, found something else",
        "instance 5 of 6": "the archive refused it (HTTP 410)",
        "instance 6 of 6": "expected one DICOM object from the archive, found something else",
    }
    assert len(list((tmp_path / "pulled").rglob("*.dcm"))) == 1


def test_an_archive_that_repeats_its_first_page_for_ever_is_asked_only_so_often(tmp_path):
    page = [_item(study=f"1.2.{n}") for n in range(1000)]
    with _server({"/studies": _json(*page), "/series": _json()}) as port:
        (found,) = find(_archive(port, tmp_path), read_wanted(None, studies=["1.2.7"]))
    assert found.studies == 1


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (202, {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}, "reason 0xa700"),
        (409, {}, "HTTP 409"),
        (415, {}, "HTTP 415"),
    ],
)
def test_each_failed_store_is_listed_with_the_reason_that_the_archive_gave(status, body, reason, tmp_path):
    empty = dict.fromkeys(
        ("PatientBirthDate", "StudyDate", "StudyTime", "AccessionNumber", "InstitutionName", "ReferringPhysicianName"),
        "",
    )
    series = make_ct(1, 8, PatientName="P1", PatientID="P1", PatientIdentityRemoved="YES", **empty)
    series.write(tmp_path / "out")
    answers = {"/studies": (status, "application/dicom+json", json.dumps(body).encode()), "/instances": _json()}
    with _server(answers) as port:
        report = push(_archive(port, tmp_path), tmp_path / "out", tier="shareable", identities=IdentityIndex())
    assert report.sent == 0
    assert reason in report.refusals[0].reason
    assert report.refusals[0].input == "file 1 of 1"


@contextlib.contextmanager
def _dicom_archive(images, *, deliver_to, extra=()):
    """An archive of our own behind the DICOM protocol that lists `images`, and delivers them and `extra` on C-MOVE."""
    from pydicom import Dataset
    from pynetdicom import AE, evt

    def find(event):
        keywords = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
        keyword = keywords[event.identifier.QueryRetrieveLevel]
        for uid in dict.fromkeys(str(image[keyword].value) for image in images):
            answer = Dataset()
            for word in ("StudyInstanceUID", "SeriesInstanceUID", "Modality"):
                setattr(answer, word, images[0][word].value)
            setattr(answer, keyword, uid)
            yield 0xFF00, answer

    def move(event):
        wanted = event.identifier.get("SOPInstanceUID", [])
        wanted = [wanted] if isinstance(wanted, str) else list(wanted)
        chosen = [image for image in images if not wanted or image.SOPInstanceUID in wanted]
        yield "127.0.0.1", deliver_to
        yield len(chosen) + len(extra)
        for image in (*extra, *chosen):
            yield 0xFF00, image

    entity = AE(ae_title="ARCHIVE")
    entity.dimse_timeout = entity.network_timeout = 3
    for kind in ("1.2.840.10008.5.1.4.1.2.2.1", "1.2.840.10008.5.1.4.1.2.2.2"):
        entity.add_supported_context(kind)
    entity.add_requested_context(images[0].SOPClassUID)
    handlers = [(evt.EVT_C_FIND, find), (evt.EVT_C_MOVE, move)]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def _pulled(port, own_port, tmp_path):
    section = {"host": "127.0.0.1", "port": port, "title": "ARCHIVE", "own_title": "OURS", "own_port": own_port,
               "own_address": "127.0.0.1"}  # fmt: skip
    path = write_archive(tmp_path / "a", {"dicom": section, "timeout_seconds": 5})
    return connect(load_archive(path), "dicom")


def test_an_object_that_is_too_long_is_refused_while_it_comes_and_the_others_arrive(tmp_path, monkeypatch):
    images = make_ct(4).slices
    images[1].PixelData = bytes(200_000)
    images[1].Rows = images[1].Columns = 316
    monkeypatch.setattr("medseg.pacs.receive.OBJECT_BYTES", 100_000)
    own_port = free_port()
    with _dicom_archive(images, deliver_to=own_port) as port:
        asked = read_wanted(None, studies=[str(images[0].StudyInstanceUID)])
        report = pull(_pulled(port, own_port, tmp_path), asked, tmp_path / "out")
        assert report.fetched == 3
        (refusal,) = report.refusals
        assert "the archive delivers more than 2 GiB as this object; nothing that long is taken" in refusal.reason
        again = pull(_pulled(port, own_port, tmp_path), asked, tmp_path / "out")
        assert (again.fetched, again.already) == (0, 3)


def test_deliveries_that_nobody_asked_for_end_a_pull_that_keeps_what_it_has(tmp_path, monkeypatch):
    images = make_ct(3).slices
    monkeypatch.setattr("medseg.pacs.receive._MOST_UNWANTED", 5)
    own_port = free_port()
    asked = read_wanted(None, studies=[str(images[0].StudyInstanceUID)])
    with _dicom_archive(images, deliver_to=own_port) as port:
        assert pull(_pulled(port, own_port, tmp_path), asked, tmp_path / "out").fetched == 3
    more = [*images, copy.deepcopy(images[0])]
    more[-1].SOPInstanceUID = more[-1].file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    with (
        _dicom_archive(more, deliver_to=own_port, extra=images * 4) as port,
        pytest.raises(ArchiveError, match="delivered more than 5 objects that were not asked for"),
    ):
        pull(_pulled(port, own_port, tmp_path), asked, tmp_path / "out")
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3
