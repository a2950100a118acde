"""Real archives on loopback for tests: Orthanc, DCMTK's storescp and dcmqrscp, and a wire that can be cut."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

WEB_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
TITLE, OWN_TITLE, USER, PASSWORD = "HOSPITAL", "MEDSEG", "ann", "s3cret-Gq7x"
_FILTER = 'function ReceivedInstanceFilter(dicom, origin) return dicom["SeriesDescription"] ~= "NOT WANTED" end'


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def wait_for(*ports: int, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 30
    for port in ports:
        while time.monotonic() < deadline:
            if process is not None and process.poll() is not None:
                raise RuntimeError(f"the server ended with {process.returncode}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.02)  # Until the server answers.
        else:
            raise RuntimeError("the server doesn't listen")


@contextlib.contextmanager
def running(command: list[str], *ports: int, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(*ports, process=process)
        yield process
    finally:
        process.kill()
        process.wait()


@dataclass
class Orthanc:
    """An Orthanc of our own.

    Attributes:
        web: Port of DICOMweb.
        dicom: Port of the DICOM protocol.
        delivery: Port at which it knows us (C-MOVE).
    """

    folder: Path
    web: int
    dicom: int
    delivery: int
    session: requests.Session = field(default_factory=requests.Session)

    def __post_init__(self) -> None:
        self.session.auth = (USER, PASSWORD)
        self.session.trust_env = False

    @property
    def url(self) -> str:
        return f"http://localhost:{self.web}"

    def add(self, *files: Path) -> None:
        for file in files:
            self.session.post(f"{self.url}/instances", data=file.read_bytes()).raise_for_status()

    def clear(self) -> None:
        for study in self.session.get(f"{self.url}/studies").json():
            self.session.delete(f"{self.url}/studies/{study}").raise_for_status()

    def count(self) -> int:
        return int(self.session.get(f"{self.url}/statistics").json()["CountInstances"])

    def instances(self) -> list[bytes]:
        uids = self.session.get(f"{self.url}/instances").json()
        return [self.session.get(f"{self.url}/instances/{uid}/file").content for uid in uids]

    def archive(self, path: Path, *, web: dict[str, Any] | None = None, dicom: dict[str, Any] | None = None,
                **top: Any) -> Path:  # fmt: skip
        """An archive file for this server; `web` and `dicom` change entries of their sections."""
        sections = {
            "dicomweb": {"url": f"{self.url}/dicom-web", "user": USER, "password": PASSWORD, **(web or {})},
            "dicom": {
                "host": "localhost", "port": self.dicom, "title": TITLE, "own_title": OWN_TITLE,
                "own_port": self.delivery, "own_address": "127.0.0.1", **(dicom or {}),
            },
        }  # fmt: skip
        return write_archive(path, {"timeout_seconds": 20, **sections, **top})


def write_archive(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content))
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def orthanc(folder: Path, *, tls: Certificates | None = None, **settings: Any) -> Iterator[Orthanc]:
    """Start Orthanc with a temporary folder and free ports; skips where it isn't installed.

    With `tls` its DICOM port wants TLS. Its https isn't used: that of Debian's 1.10.1 dies of the first request, and in
    front of real ones stands a web server.
    """
    program = shutil.which("Orthanc") or ("/usr/sbin/Orthanc" if Path("/usr/sbin/Orthanc").exists() else None)
    if program is None or not WEB_PLUGIN.exists():
        pytest.skip("no Orthanc here; apt-get install orthanc orthanc-dicomweb")
    server = Orthanc(folder, free_port(), free_port(), free_port())
    (folder / "filter.lua").write_text(_FILTER)
    content: dict[str, Any] = {
        "Name": "hospital", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
        "HttpPort": server.web, "DicomPort": server.dicom, "DicomAet": TITLE, "DicomCheckCalledAet": True,
        "RemoteAccessAllowed": False, "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD},
        "Plugins": [str(WEB_PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        "LuaScripts": [str(folder / "filter.lua")], "ConcurrentJobs": 1, "DicomScuTimeout": 10,
        "DicomModalities": {"medseg": {"AET": OWN_TITLE, "Host": "127.0.0.1", "Port": server.delivery,
                                       "UseDicomTls": tls is not None}},
    }  # fmt: skip
    if tls is not None:
        content |= {
            "DicomTlsEnabled": True, "DicomTlsCertificate": str(tls.certificate), "DicomTlsPrivateKey": str(tls.key),
            "DicomTlsTrustedCertificates": str(tls.ca),
        }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(content | settings))
    with running([program, str(folder / "orthanc.json")], server.web, server.dicom):
        yield server


@contextlib.contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """Start DCMTK's receiver; yields its port."""
    program = shutil.which("storescp")
    if program is None:
        pytest.skip("no storescp here; apt-get install dcmtk")
    port = free_port()
    folder.mkdir(exist_ok=True)
    with running([program, "-q", "--fork", *options, "-od", str(folder), str(port)], port):
        yield port


@contextlib.contextmanager
def dcmqrscp(folder: Path, *, delivery: int) -> Iterator[int]:
    """Start DCMTK's little archive, which knows us at `delivery`; yields its port."""
    program = shutil.which("dcmqrscp")
    if program is None:
        pytest.skip("no dcmqrscp here; apt-get install dcmtk")
    port = free_port()
    (folder / "db").mkdir(parents=True)
    (folder / "qr.cfg").write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\nmedseg = ({OWN_TITLE}, 127.0.0.1, {delivery})\nHostTable END\n"
        "VendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{TITLE} {folder / 'db'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with running([program, "-q", "-c", str(folder / "qr.cfg")], port):
        yield port


@dataclass(frozen=True)
class Certificates:
    """An authority, and one certificate of its making for localhost; PEM files."""

    ca: Path
    certificate: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """For a server that wants to see a certificate of the same authority."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ca))
        context.load_cert_chain(self.certificate, self.key)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def section(self) -> dict[str, str]:
        return {"ca": str(self.ca), "certificate": str(self.certificate), "key": str(self.key)}


def make_certificates(folder: Path) -> Certificates:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.x509.oid import NameOID

    folder.mkdir(exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def sign(subject: str, key: Any, signer: Any, *, authority: bool) -> x509.Certificate:
        names = x509.SubjectAlternativeName(
            [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        )
        builder = x509.CertificateBuilder(
            name("Test authority"), name(subject), key.public_key(), x509.random_serial_number(),
            now - datetime.timedelta(days=1), now + datetime.timedelta(days=2),
        )  # fmt: skip
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        return builder.add_extension(names, False).add_extension(authority_key, False).sign(signer, hashes.SHA256())

    root, own = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    pem = serialization.Encoding.PEM
    key = own.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    certificate = sign("localhost", own, root, authority=False).public_bytes(pem)
    made = Certificates(*(folder / n for n in ("ca.pem", "own.pem", "own.key")))
    made.ca.write_bytes(sign("Test authority", root, root, authority=True).public_bytes(pem))
    made.certificate.write_bytes(certificate)
    made.key.write_bytes(key)
    return made


class Wire:
    """A TCP wire from a port of its own to another, that can be slow, can be cut and can end TLS.

    Attributes:
        port: Where to connect.
        requests: What went to the server, a list of chunks.
    """

    def __init__(self, target: int, *, port: int = 0, cut_after: int | None = None, pause: float = 0.0,
                 tls: Certificates | None = None) -> None:  # fmt: skip
        self.requests, self._passed = list[bytes](), 0
        self._tls = None if tls is None else tls.server_context()
        self._target, self._cut_after, self._pause = target, cut_after, pause
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_error: object) -> None:
        # shutdown wakes the thread that waits in accept; close alone would leave the port open under it.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                near = near if self._tls is None else self._tls.wrap_socket(near, server_side=True)
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            self._open += [near, far]
            for source, goal, forth in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pump, args=(source, goal, forth), daemon=True).start()

    def _pump(self, source: socket.socket, goal: socket.socket, forth: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2048):
                if forth:
                    self.requests.append(data)
                else:
                    self._passed += len(data)
                    time.sleep(self._pause)
                    if self._cut_after is not None and self._passed > self._cut_after:
                        self._passed = 0
                        self.cut()
                        return
                goal.sendall(data)
        for end in (source, goal):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Cut every connection; new ones are let through."""
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()
        self._open = []


@contextlib.contextmanager
def small_disk(folder: Path, *, size: str) -> Iterator[Callable[[str], None]]:
    """A disk of some size, mounted at `folder`; yields a function that makes it another size. Skips without root."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here; run the tests as root to try a full disk")
    try:
        yield lambda more: subprocess.run(["mount", "-o", f"remount,size={more}", str(folder)], check=True) and None
    finally:
        subprocess.run(["umount", str(folder)], check=True)
