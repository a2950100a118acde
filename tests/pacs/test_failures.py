"""What goes wrong with archives in hospitals: each gets one clear error that says what to do, and holds no secret."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
from pynetdicom import AE, evt

from medseg.errors import ArchiveError, ConfigError, MedsegError
from medseg.pacs import connect, load_archive, pull, push, read_wanted
from medseg.pacs.pull import find
from medseg.pacs.settings import tls_context
from medseg.privacy.identities import IdentityIndex
from tests.pacs.conftest import IDENTITIES
from tests.pacs.servers import PASSWORD, USER, Wire, free_port, make_certificates, orthanc, storescp, write_archive

_ANY = read_wanted(None, studies=["1.2.3"])


def _refusal(path, protocol):
    with pytest.raises(MedsegError) as refusal:
        find(connect(load_archive(path), protocol), _ANY)
    assert isinstance(refusal.value, ArchiveError)
    assert PASSWORD not in str(refusal.value)
    assert refusal.value.__cause__ is None
    return str(refusal.value)


@pytest.mark.parametrize("protocol", ["dicomweb", "dicom"])
def test_a_server_that_is_down_is_told(tmp_path, protocol):
    port = free_port()
    node = {"host": "127.0.0.1", "port": port, "title": "X", "own_title": "Y"}
    path = write_archive(tmp_path / "a", {"dicomweb": {"url": f"http://127.0.0.1:{port}"}, "dicom": node})
    assert "nothing answers at the archive's address" in _refusal(path, protocol)


def test_a_wrong_password_is_told(hospital, tmp_path):
    path = hospital.archive(tmp_path / "a", web={"password": "wrong-Zz81"})
    message = _refusal(path, "dicomweb")
    assert "doesn't accept our name and password (HTTP 401)" in message
    assert "wrong-Zz81" not in message
    token = {"url": f"{hospital.url}/dicom-web", "token": "t0ken-Aa12"}
    assert "HTTP 401" in _refusal(write_archive(tmp_path / "b", {"dicomweb": token}), "dicomweb")


@pytest.fixture
def guarded() -> Iterator[int]:
    """A node that lets in whoever says the right name and password, and holds nothing; its port."""

    def identity(event):
        said = event.user_id_type, event.primary_field, event.secondary_field
        return said == (2, USER.encode(), PASSWORD.encode()), None

    entity = AE(ae_title="GUARDED")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.2.2.1")
    handlers = [(evt.EVT_USER_ID, identity), (evt.EVT_C_FIND, lambda _event: iter([(0x0000, None)]))]
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    yield server.server_address[1]
    server.shutdown()


def test_a_wrong_password_is_told_by_the_dicom_protocol_too(guarded, tmp_path):
    node = {"host": "127.0.0.1", "port": guarded, "title": "GUARDED", "own_title": "MEDSEG", "user": USER}
    right = write_archive(tmp_path / "a", {"dicom": {**node, "password": PASSWORD}})
    assert find(connect(load_archive(right), "dicom"), _ANY)[0].studies == 0
    for number, wrong in enumerate(({"password": "wrong-Zz81"}, {})):
        message = _refusal(write_archive(tmp_path / f"b{number}", {"dicom": {**node, **wrong}}), "dicom")
        assert "the archive rejected us; check title, own_title, user and password" in message
        assert "wrong-Zz81" not in message


def test_wrong_ae_titles_are_told_apart(hospital, tmp_path):
    called = _refusal(hospital.archive(tmp_path / "a", dicom={"title": "ELSEWHERE"}), "dicom")
    assert "another AE title than dicom.title" in called
    calling = _refusal(hospital.archive(tmp_path / "b", dicom={"own_title": "NOBODY"}), "dicom")
    assert "doesn't know our AE title, dicom.own_title" in calling


def test_a_destination_that_the_archive_does_not_know_is_told(hospital, stored, tmp_path):
    wanted = read_wanted(None, studies=[stored.study])
    # The archive knows us, but where it delivers nobody listens: another program's port, say.
    path = hospital.archive(tmp_path / "a", dicom={"own_port": free_port()})
    with pytest.raises(ArchiveError, match="could not deliver to us"):
        pull(connect(load_archive(path), "dicom"), wanted, tmp_path / "out", attempts=1)


def test_a_taken_port_is_told(hospital, stored, tmp_path):
    path = hospital.archive(tmp_path / "a", dicom={"own_port": hospital.dicom, "own_address": "127.0.0.1"})
    with pytest.raises(ArchiveError, match="in use by another program"):
        pull(connect(load_archive(path), "dicom"), read_wanted(None, studies=[stored.study]), tmp_path / "out")


def test_a_port_that_speaks_something_else_is_told(hospital, tmp_path):
    path = hospital.archive(tmp_path / "a", dicom={"port": hospital.web}, timeout_seconds=2)
    assert "dicom.port" in _refusal(path, "dicom")


def test_a_mere_receiver_cannot_be_pulled_from(tmp_path):
    with storescp(tmp_path / "in") as port:
        node = {"host": "127.0.0.1", "port": port, "title": "ANY", "own_title": "MEDSEG"}
        assert "only be sent to" in _refusal(write_archive(tmp_path / "a", {"dicom": node}), "dicom")


def test_an_archive_that_refuses_every_association_is_told(tmp_path):
    with storescp(tmp_path / "in", "--refuse") as port:
        node = {"host": "127.0.0.1", "port": port, "title": "ANY", "own_title": "MEDSEG"}
        assert "rejected us" in _refusal(write_archive(tmp_path / "a", {"dicom": node}), "dicom")


def test_over_tls_both_sides_show_who_they_are_and_a_stranger_is_not_trusted(certificates, ct, tmp_path):
    (tmp_path / "o").mkdir()
    with orthanc(tmp_path / "o", tls=certificates) as server, Wire(server.web, tls=certificates) as https:
        server.add(*ct.write(tmp_path / "in"))
        url = {"url": f"https://localhost:{https.port}/dicom-web"}
        tls = {"tls": certificates.section()}
        wanted = read_wanted(None, studies=[ct.study])
        path = server.archive(tmp_path / "a", web=url | tls, dicom=tls)
        for protocol in ("dicomweb", "dicom"):
            report = pull(connect(load_archive(path), protocol), wanted, tmp_path / protocol)
            assert (report.fetched, report.refusals) == (8, ())
        strange = {"tls": make_certificates(tmp_path / "others").section()}
        path = server.archive(tmp_path / "b", web=url | strange, dicom=strange, timeout_seconds=3)
        assert "TLS certificate is not trusted" in _refusal(path, "dicomweb")
        assert "TLS certificate is not trusted" in _refusal(path, "dicom")
        anonymous = {"tls": {"ca": str(certificates.ca)}}
        path = server.archive(tmp_path / "c", web=url | anonymous, timeout_seconds=3)
        assert "archive" in _refusal(path, "dicomweb")
        assert "whether it wants TLS" in _refusal(path, "dicom")
        # Our server for deliveries asks the archive for its certificate as well.
        section = load_archive(server.archive(tmp_path / "d", dicom=tls)).dicom.tls
        assert tls_context(section, server=True).verify_mode == ssl.CERT_REQUIRED


def test_an_archive_that_hangs_up_in_the_middle_of_a_push_is_told(ct, tmp_path):
    with storescp(tmp_path / "in", "--abort-during") as port:
        for data in ct.slices:
            data.PatientIdentityRemoved, data.PatientName, data.PatientID = "YES", "P1", "P1"
        ct.write(tmp_path / "out")
        node = {"host": "127.0.0.1", "port": port, "title": "ANY", "own_title": "MEDSEG"}
        archive = connect(load_archive(write_archive(tmp_path / "a", {"dicom": node})), "dicom")
        with pytest.raises(ArchiveError, match="stopped answering half-way"):
            push(archive, tmp_path / "out", tier="shareable",
                 identities=IdentityIndex(), attempts=1)  # fmt: skip


def test_an_archive_file_is_checked_and_its_secrets_are_never_repeated(tmp_path):
    def refusal(content, mode=0o600):
        path = write_archive(tmp_path / "a", content)
        path.chmod(mode)
        with pytest.raises(ConfigError) as error:
            load_archive(path)
        assert PASSWORD not in str(error.value)
        return str(error.value)

    web = {"url": "https://pacs.example/dicom-web", "user": USER, "password": PASSWORD}
    assert "chmod 600" in refusal({"dicomweb": web}, 0o640)
    assert "did you mean 'password'" in refusal({"dicomweb": {"url": web["url"], "pasword": PASSWORD}})
    assert "unknown key" in refusal({"dicomweb": {**web, PASSWORD: 1}})
    assert "unencrypted: true" in refusal({"dicomweb": {**web, "url": "http://pacs.example/dicom-web"}})
    assert "without a name or password in it" in refusal({"dicomweb": {"url": f"https://ann:{PASSWORD}@pacs.example"}})
    node = {"host": "pacs.example", "port": 104, "title": "PACS", "own_title": "MEDSEG"}
    assert "unencrypted: true" in refusal({"dicom": node})
    assert "16" in refusal({"dicom": {**node, "title": "A" * 17}, "unencrypted": True})
    assert "certificate and key belong together" in refusal({"dicom": {**node, "tls": {"key": "x"}}})
    assert "expected a section dicomweb" in refusal({"tier": "internal"})
    assert "tier" in refusal({"tier": "public", "dicomweb": web})
    path = write_archive(tmp_path / "b", {"dicom": {**node, "tls": {"ca": "ca.pem"}}})
    assert load_archive(path).dicom.tls.ca == (tmp_path / "ca.pem").resolve()
    with pytest.raises(ConfigError, match="cannot be read, or a key"):
        connect(load_archive(path), "dicom")
    with pytest.raises(ConfigError, match="found none of that name"):
        load_archive(tmp_path / "none")
    (tmp_path / "c").write_text("a: [")
    (tmp_path / "c").chmod(0o600)
    with pytest.raises(ConfigError, match="not valid YAML at line"):
        load_archive(tmp_path / "c")
    assert PASSWORD not in repr(load_archive(write_archive(tmp_path / "d", {"dicomweb": web})))


def test_nothing_that_identifies_is_logged(hospital, stored, tmp_path, caplog):
    caplog.set_level("DEBUG")
    wanted = read_wanted(None, studies=[stored.study])
    for protocol in ("dicomweb", "dicom"):
        pull(connect(load_archive(hospital.archive(tmp_path / "a")), protocol), wanted, tmp_path / protocol)
    told = [stored.study, stored.uid, PASSWORD, *(str(v) for v in IDENTITIES.values() if len(str(v)) > 5)]
    assert not [text for text in told if text in caplog.text]
