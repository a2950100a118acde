"""Archives that answer wrongly, by mistake or on purpose: a server of our own that says what no real one would."""

from __future__ import annotations

import contextlib
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from medseg.errors import ArchiveError
from medseg.pacs import connect, load_archive, pull, push, read_wanted
from medseg.pacs.pull import find
from medseg.privacy.identities import IdentityIndex
from tests.pacs.conftest import make_ct
from tests.pacs.servers import write_archive

_STUDY = "1.2.3"
_TAGS = {"study": "0020000D", "series": "0020000E", "instance": "00080018"}


def _item(**uids):
    return {_TAGS[name]: {"vr": "UI", "Value": [uid]} for name, uid in uids.items()}


@contextlib.contextmanager
def _server(answers):
    """Serves `answers`: the end of a path to status, media type and body; anything else is 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            length = int(self.headers.get("Content-Length") or 0)
            self.rfile.read(length)
            path = self.path.partition("?")[0]
            status, kind, body = next((a for end, a in answers.items() if path.endswith(end)), (404, "text/plain", b""))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if status == 302:
                self.send_header("Location", kind)
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


def _archive(port, tmp_path):
    path = write_archive(tmp_path / "a", {"dicomweb": {"url": f"http://127.0.0.1:{port}"}, "timeout_seconds": 5})
    return connect(load_archive(path), "dicomweb")


@pytest.mark.parametrize(
    "answer",
    [
        (200, "application/dicom+json", b"{"),
        (200, "application/dicom+json", b'[1, "x", null]'),
        (200, "application/dicom+json", b'[{"0020000D": {"Value": "x"}}]'),
        (200, "application/dicom+json", b'{"0020000D": 5}'),
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
