from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
import time

import pydicom
import pytest

from medseg.errors import ArchiveError, ReadError, RequestError, RunError
from medseg.pacs import Instance, connect, load_archive, pull, read_wanted
from medseg.pacs.folder import check_instance, open_pulled
from medseg.pacs.pull import find
from medseg.privacy.ledger import verify
from tests.pacs.conftest import IDENTITIES, make_ct
from tests.pacs.servers import TITLE, Wire, dcmqrscp, free_port, running, small_disk, write_archive

PROTOCOLS = ("dicomweb", "dicom")


def _wanted(tmp_path, text):
    (tmp_path / "list.csv").write_text(text)
    return read_wanted(tmp_path / "list.csv")


def _pulled(folder):
    return {d.SOPInstanceUID: d for d in map(pydicom.dcmread, folder.rglob("*.dcm"))}


def _archive(server, tmp_path, protocol, **changes):
    return connect(load_archive(server.archive(tmp_path / "archive.yaml", **changes)), protocol)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_study_is_pulled_whole_and_its_names_on_the_disk_hold_no_identity(hospital, stored, protocol, tmp_path):
    archive = _archive(hospital, tmp_path, protocol)
    out = tmp_path / "pulled"
    report = pull(archive, _wanted(tmp_path, f"accession\n{IDENTITIES['AccessionNumber']}\n"), out)
    assert (report.studies, report.instances, report.fetched, report.already, report.refusals) == (1, 8, 8, 0, ())
    pulled = _pulled(out)
    for original in stored.slices:
        assert pulled[original.SOPInstanceUID].PixelData == original.PixelData
        assert pulled[original.SOPInstanceUID].PatientName == IDENTITIES["PatientName"]
    names = "\n".join(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*pull*"))
    names += "\n".join(str(p.relative_to(out)) for p in out.rglob("*"))
    told = [stored.uid, stored.study, *pulled, *map(str, IDENTITIES.values())]
    assert not [text for text in told if len(text) > 3 and text in names]
    assert all(path.suffix == ".dcm" for path in out.rglob("*") if path.is_file())
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "pulled.pull.jsonl").stat().st_mode) == 0o600
    beside = "".join((tmp_path / f"pulled.{kind}.jsonl").read_text() for kind in ("pull", "ledger"))
    assert not [text for text in told if len(text) > 3 and text in beside]
    assert verify(tmp_path / "pulled.ledger.jsonl") == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_pull_again_fetches_only_what_is_missing_or_damaged(hospital, stored, protocol, tmp_path):
    out, wanted = tmp_path / "pulled", _wanted(tmp_path, f"study\n{stored.study}\n")
    pull(_archive(hospital, tmp_path, protocol), wanted, out)
    first, second, *rest = sorted(out.rglob("*.dcm"))
    before = {path: path.stat().st_mtime_ns for path in rest}
    first.unlink()
    second.write_bytes(second.read_bytes()[:-10])
    report = pull(_archive(hospital, tmp_path, protocol), wanted, out)
    assert (report.fetched, report.already, report.refusals) == (2, 6, ())
    assert len(_pulled(out)) == 8
    assert {path: path.stat().st_mtime_ns for path in rest} == before


def test_a_killed_pull_goes_on_where_it_stopped(hospital, stored, tmp_path):
    out = tmp_path / "pulled"
    code = (
        "import sys; from pathlib import Path; from medseg.pacs import *;"
        "a = connect(load_archive(sys.argv[1]), 'dicomweb');"
        "pull(a, read_wanted(None, studies=[sys.argv[2]]), Path(sys.argv[3]))"
    )
    with Wire(hospital.web, pause=0.05) as wire:
        slow = hospital.archive(tmp_path / "slow.yaml", web={"url": f"http://localhost:{wire.port}/dicom-web"})
        process = subprocess.Popen([sys.executable, "-c", code, str(slow), stored.study, str(out)])
        deadline = time.monotonic() + 60
        while len(list(out.rglob("I*.dcm"))) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)  # Nothing tells when a file is there.
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    there = len(list(out.rglob("I*.dcm")))
    assert 3 <= there < 8
    with Wire(hospital.web) as wire:
        archive = _archive(hospital, tmp_path, "dicomweb", web={"url": f"http://localhost:{wire.port}/dicom-web"})
        report = pull(archive, read_wanted(None, studies=[stored.study]), out)
        asked = sum(chunk.count(b"GET ") and b"/instances/" in chunk for chunk in wire.requests)
    assert report.fetched + report.already == 8
    # A file whose line the account lacks is fetched once more, so at most one of those on the disk.
    assert there - 1 <= report.already <= there
    assert asked == report.fetched
    assert len(_pulled(out)) == 8


def test_a_web_archive_that_hangs_up_half_way_is_asked_again_for_the_rest(hospital, stored, tmp_path):
    with Wire(hospital.web, cut_after=8000) as wire:
        archive = _archive(hospital, tmp_path, "dicomweb", web={"url": f"http://localhost:{wire.port}/dicom-web"})
        report = pull(archive, read_wanted(None, studies=[stored.study]), tmp_path / "pulled")
    assert (report.fetched, report.refusals) == (8, ())
    assert len(_pulled(tmp_path / "pulled")) == 8


def test_an_archive_that_is_gone_half_way_leaves_whole_files_and_a_list_of_the_rest(hospital, stored, tmp_path):
    out, wanted = tmp_path / "pulled", read_wanted(None, studies=[stored.study])
    with Wire(hospital.web) as wire:
        archive = _archive(hospital, tmp_path, "dicomweb", web={"url": f"http://localhost:{wire.port}/dicom-web"})
        report = pull(archive, wanted, out, attempts=1, progress=lambda done, _: done == 3 and wire.__exit__())
    assert 3 <= report.fetched < 8
    assert len(report.refusals) == 8 - report.fetched
    assert report.refusals[0].reason.startswith("the archive stopped answering half-way")
    assert report.refusals[0].input.endswith("of 8")
    assert len(_pulled(out)) == report.fetched
    again = pull(_archive(hospital, tmp_path, "dicomweb"), wanted, out)
    assert (again.already, again.fetched) == (report.fetched, 8 - report.fetched)


def test_a_delivery_that_breaks_off_is_asked_for_again_by_the_missing_instances(hospital, stored, tmp_path):
    real, cuts = free_port(), []
    with Wire(real, port=hospital.delivery) as wire:

        def cut_once(done, _count):
            if done == 2 and not cuts:
                cuts.append(done)
                wire.cut()

        archive = _archive(hospital, tmp_path, "dicom", dicom={"own_port": real})
        report = pull(archive, read_wanted(None, studies=[stored.study]), tmp_path / "pulled", progress=cut_once)
    assert cuts
    assert (report.fetched, report.refusals) == (8, ())
    assert len(_pulled(tmp_path / "pulled")) == 8


def test_dcmtk_archives_are_pulled_from_too(ct, tmp_path):
    delivery = free_port()
    with dcmqrscp(tmp_path / "qr", delivery=delivery) as port:
        node = {"host": "127.0.0.1", "port": port, "title": TITLE, "own_title": "MEDSEG", "own_port": delivery}
        path = write_archive(
            tmp_path / "a.yaml", {"dicom": {**node, "own_address": "127.0.0.1"}, "timeout_seconds": 20}
        )
        subprocess.run(
            ["storescu", "-q", "-aec", TITLE, "127.0.0.1", str(port), *map(str, ct.write(tmp_path / "in"))], check=True
        )
        archive = connect(load_archive(path), "dicom")
        wanted = _wanted(tmp_path, f"patient,modality\n{IDENTITIES['PatientID']},CT\n")
        report = pull(archive, wanted, tmp_path / "pulled")
        assert (report.fetched, report.refusals) == (8, ())
        sorted((tmp_path / "pulled").rglob("*.dcm"))[3].unlink()
        assert pull(archive, wanted, tmp_path / "pulled").fetched == 1
        write_archive(path, {"dicom": {**node, "own_address": "127.0.0.1", "own_title": "NOBODY"}})
        with pytest.raises(ArchiveError, match=f"destination unknown.*NOBODY, port {delivery}"):
            pull(connect(load_archive(path), "dicom"), wanted, tmp_path / "other")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_only_the_asked_modality_and_patient_come_and_what_is_not_found_is_said_by_line(hospital, protocol, tmp_path):
    same, other = make_ct(2, 8), make_ct(2, 8, Modality="OT")
    for data in other.slices:
        data.StudyInstanceUID = same.study
    third = make_ct(1, 8, PatientID="MRN-1", AccessionNumber="A1")
    for number, series in enumerate((same, other, third)):
        hospital.add(*series.write(tmp_path / f"in{number}"))
    wanted = _wanted(tmp_path, f"study,modality,patient\n{same.study},CT,\n,,MRN-1\n,,NOBODY\n1.2.3,,\n")
    archive = _archive(hospital, tmp_path, protocol)
    found = find(archive, wanted)
    assert [(f.studies, len(f.series)) for f in found] == [(1, 1), (1, 1), (0, 0), (0, 0)]
    report = pull(archive, wanted, tmp_path / "pulled")
    assert report.fetched == 3
    assert [r.input for r in report.refusals] == ["line 3 of the list", "line 4 of the list"]
    assert "holds no such study" in report.refusals[0].reason


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_full_disk_stops_the_pull_and_leaves_whole_files_only(hospital, protocol, tmp_path):
    big = make_ct(6, 160)
    hospital.add(*big.write(tmp_path / "in"))
    with small_disk(tmp_path / "disk", size="160k") as grow:
        out, wanted = tmp_path / "disk" / "pulled", read_wanted(None, studies=[big.study])
        with pytest.raises(OSError, match="No space left"):
            pull(_archive(hospital, tmp_path, protocol), wanted, out)
        assert not list(out.rglob("*.tmp"))
        there = len(_pulled(out))
        assert 1 <= there < 6
        grow("4m")
        report = pull(_archive(hospital, tmp_path, protocol), wanted, out)
        assert (report.already, report.fetched) == (there, 6 - there)


def test_a_foreign_folder_or_a_second_pull_at_once_is_refused(hospital, stored, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    wanted, archive = read_wanted(None, studies=[stored.study]), _archive(hospital, tmp_path, "dicomweb")
    with pytest.raises(RequestError, match="new or empty folder"):
        pull(archive, wanted, tmp_path / "mine")
    with open_pulled(tmp_path / "out"), pytest.raises(RunError, match="another process"):
        pull(archive, wanted, tmp_path / "out")
    (tmp_path / "out.pull.jsonl").write_text("{}\n")
    with pytest.raises(RequestError, match="damaged"):
        pull(archive, wanted, tmp_path / "out")


def test_the_port_for_deliveries_takes_only_what_was_asked_for(hospital, stored, tmp_path):
    stranger = make_ct(1, 8, PatientName="Stranger^X")
    (path,) = stranger.write(tmp_path / "stranger")
    sent = []

    def intrude(done, _count):
        if done == 2 and not sent:
            for title in ("STRANGER", TITLE):
                run = [
                    "storescu",
                    "-q",
                    "-aec",
                    "MEDSEG",
                    "-aet",
                    title,
                    "127.0.0.1",
                    str(hospital.delivery),
                    str(path),
                ]
                sent.append(subprocess.run(run, check=False, capture_output=True).returncode)

    report = pull(_archive(hospital, tmp_path, "dicom"), read_wanted(None, studies=[stored.study]),
                  tmp_path / "pulled", progress=intrude)  # fmt: skip
    assert report.fetched == 8
    assert sent[0] != 0
    assert {str(d.PatientName) for d in _pulled(tmp_path / "pulled").values()} == {IDENTITIES["PatientName"]}


def test_files_that_are_not_what_was_asked_for_or_not_whole_are_not_written(ct):
    buffer = io.BytesIO()
    ct.slices[0].save_as(buffer, enforce_file_format=True)
    data, uid = buffer.getvalue(), ct.slices[0].SOPInstanceUID
    check_instance(data, Instance(ct.study, ct.uid, uid))
    with pytest.raises(ReadError, match="another instance"):
        check_instance(data, Instance(ct.study, ct.uid, uid + "1"))
    for cut in (1, 100, len(data) // 2, len(data) - 10):
        with pytest.raises(ReadError):
            check_instance(data[:-cut], Instance(ct.study, ct.uid, uid))
    with pytest.raises(ReadError, match="damaged"):
        check_instance(b"<html>", Instance(ct.study, ct.uid, uid))


def test_a_list_of_studies_is_checked_before_anything_is_asked(tmp_path):
    assert [w.number for w in _wanted(tmp_path, "Accession,date\nA1,\nA2,20200101-20201231\n")] == [1, 2]
    for text, message in (
        ("accession\n*\n", "line 1.*whole values"),
        ("accession\nA\nB?\n", "line 2.*whole values"),
        ("date\n20200101\n", "columns among"),
        ("accession,colour\nA,red\n", "columns among"),
        ("accession,date\n,20200101\n", "expected one of study, accession, patient"),
        ("study\n1.2.x\n", "expected a UID"),
        ("accession,date\nA,March\n", "YYYYMMDD"),
        ("accession\n", "expected studies to look for"),
    ):
        with pytest.raises(RequestError, match=message):
            _wanted(tmp_path, text)
    with pytest.raises(RequestError, match="cannot be read"):
        read_wanted(tmp_path / "none.csv")


def test_a_broken_web_service_gives_one_clear_error(tmp_path):
    port = free_port()
    (tmp_path / "studies").write_text("<html>hello</html>")
    path = write_archive(tmp_path / "a.yaml", {"dicomweb": {"url": f"http://127.0.0.1:{port}"}, "timeout_seconds": 5})
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with running(command, port):
        archive = connect(load_archive(path), "dicomweb")
        with pytest.raises(ArchiveError, match=r"check dicomweb\.url"):
            find(archive, read_wanted(None, studies=["1.2.3"]))
        nowhere = write_archive(tmp_path / "b.yaml", {"dicomweb": {"url": f"http://127.0.0.1:{port}/no"}})
        with pytest.raises(ArchiveError, match="HTTP 404"):
            find(connect(load_archive(nowhere), "dicomweb"), read_wanted(None, studies=["1.2.3"]))
