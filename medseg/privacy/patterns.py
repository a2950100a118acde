"""Patterns: text that identifies by its shape, whoever it is about: home folders, addresses, dates of birth."""

from __future__ import annotations

import contextlib
import functools
import getpass
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["PatternHit", "find_patterns"]

_PUBLIC_HOSTS = (
    "w3.org", "nema.org", "doi.org", "creativecommons.org", "apache.org", "opensource.org", "spdx.org", "python.org",
    "pytorch.org", "mlflow.org", "monai.io", "github.com", "githubusercontent.com", "huggingface.co", "arxiv.org",
    "snomed.info", "snomed.org", "purl.org", "adobe.com", "json-schema.org", "schema.org", "iso.org", "iptc.org",
    "matplotlib.org", "numpy.org", "scipy.org", "inkscape.org", "mozilla.org", "unicode.org", "dicomstandard.org",
    "nih.gov", "cancerimagingarchive.net", "isic-archive.com", "medicaldecathlon.com", "zenodo.org", "color.org",
    "pypi.org", "onnx.ai", "example.org", "example.com", "localhost", "127.0.0.1",
)  # fmt: skip
"""Hosts of standards, licences, papers and public data, which say nothing about anybody."""
_NO_NAMES = frozenset(
    ["root", "user", "users", "admin", "ubuntu", "debian", "runner", "docker", "jovyan", "localhost", "host", "node"]
)
"""User and host names that thousands share."""
_HOME = re.compile(
    rb"(?:/home/|/Users/|(?<![\w/.])/root/|\b[A-Za-z]:[\\/]+(?:Users|Documents and Settings)[\\/]+)[\w.\-]+",
    re.IGNORECASE,
)
_FOLDER = re.compile(
    rb"(?<![\w.:/<>\-*+])/(?:data|mnt|media|srv|tmp|var|opt|scratch|work|project|projects|nas|pacs|export|storage|volumes)"
    rb"/[\w.\-]+",
    re.IGNORECASE,
)
_MAIL = re.compile(rb"(?<![\w.+\-])[\w.+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.)+[A-Za-z]{2,24}(?![\w@])")
_URL = re.compile(rb"\b(?:https?|ftp|sftp|dicom|ldap|smb)://([A-Za-z0-9.\-_@:\[\]]{1,253})", re.IGNORECASE)
_PHONE = re.compile(
    rb"(?:\b(?:tel|phone|telephone|fax|mobile|telefon)\b[^\d+\n]{0,6}\+?[\d(][\d ()/.\-]{5,20}\d)"
    rb"|(?<![\w.+\-])\+\d{1,3}[ \-](?:\(?\d{1,5}\)?[ \-]){1,4}\d{2,8}(?![\w.])",
    re.IGNORECASE,
)
_DATE = rb"(?:(?:19|20)\d\d([\-./]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])|\d?\d[./]\d?\d[./](?:19|20)\d\d)"
_DATED = re.compile(
    rb"\b(?:birth|born|dob|date of death|died|admitted|admission|discharged?|"
    rb"(?:study|series|acquisition|content|exam|examination|scan|visit|instance creation)[ _\-]?date)"
    rb"[^\d\n]{0,24}?(?<![\d.])" + _DATE + rb"(?![\d])",
    re.IGNORECASE,
)
_RECORD = re.compile(
    rb"\b(?:mrn|patient[ _\-]?id|medical record(?: number| no)?)\W{1,4}[A-Z]{0,4}\d{5,}\b", re.IGNORECASE
)
_ADDRESS = re.compile(rb"(?:://|@|\bip\b\W{0,3}|\bhost\b\W{0,3})(?:10\.\d|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}")


@dataclass(frozen=True)
class PatternHit:
    """A pattern that was found.

    Attributes:
        kind: ``machine``, ``person`` or ``date``.
        rule: What it is: ``home folder``, ``mail address`` ...
    """

    kind: str
    rule: str


def find_patterns(data: bytes, *, binary: bool = False) -> list[PatternHit]:
    """What in these bytes identifies by its shape, each rule once.

    Args:
        data: Text in UTF-8, Latin-1 or UTF-16, or any bytes.
        binary: The bytes are no text: only the patterns that chance doesn't make are tried.
    """
    text = data.replace(b"\0", b"") if b"\0" in data else data
    hits = list(_machine_hits(text))
    if not binary:
        hits += _text_hits(text)
    return hits


def _machine_hits(text: bytes) -> Iterator[PatternHit]:
    if _HOME.search(text):
        yield PatternHit("machine", "home folder")
    for rule, pattern in _own_patterns():
        if pattern.search(text):
            yield PatternHit("machine", rule)


def _text_hits(text: bytes) -> Iterator[PatternHit]:
    if _FOLDER.search(text):
        yield PatternHit("machine", "absolute path")
    if b"://" in text and any(not _is_public(match.group(1)) for match in _URL.finditer(text)):
        yield PatternHit("machine", "address of a host")
    if _ADDRESS.search(text):
        yield PatternHit("machine", "address in a private network")
    if b"@" in text and any(not _is_public(match.group().rpartition(b"@")[2]) for match in _MAIL.finditer(text)):
        yield PatternHit("person", "mail address")
    for rule, kind, pattern in (
        ("telephone number", "person", _PHONE),
        ("record number", "person", _RECORD),
        ("date beside a word like birth or study", "date", _DATED),
    ):
        if pattern.search(text):
            yield PatternHit(kind, rule)


def _is_public(host: bytes) -> bool:
    name = host.rpartition(b"@")[2].decode("ascii", "replace").lower()
    name = re.sub(r":\d*$", "", name).strip(".")
    return any(name == public or name.endswith("." + public) for public in _PUBLIC_HOSTS)


@functools.cache
def _own_patterns() -> tuple[tuple[str, re.Pattern[bytes]], ...]:
    """The user, the host and the home folder of this process, as patterns; names that everybody has are left out."""
    names = {("user name", name) for name in _user_names()} | {("host name", name) for name in _host_names()}
    found = []
    for rule, name in sorted(names):
        if len(name) >= 4 and name.lower() not in _NO_NAMES:
            pattern = rb"(?<![A-Za-z0-9])" + re.escape(name.encode()) + rb"(?![A-Za-z0-9])"
            found.append((rule, re.compile(pattern, re.IGNORECASE)))
    home = os.path.expanduser("~")
    if len(home) > 5 and home != "/root":
        found.append(("home folder", re.compile(re.escape(home.encode()), re.IGNORECASE)))
    return tuple(found)


def _user_names() -> set[str]:
    names = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
    with contextlib.suppress(KeyError, OSError):
        names.add(getpass.getuser())
    return names


def _host_names() -> set[str]:
    return {os.environ.get("HOSTNAME", ""), os.environ.get("COMPUTERNAME", ""), socket.gethostname()}
