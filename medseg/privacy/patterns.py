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

from medseg.privacy.forms import lowered

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
_DATE = rb"(?:(?:19|20)\d\d([\-./]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])|\d?\d[./]\d?\d[./](?:19|20)\d\d)"
_FOLDERS = (
    "data", "mnt", "media", "srv", "tmp", "var", "opt", "scratch", "work", "project", "projects", "nas", "pacs",
    "export", "storage", "volumes",
)  # fmt: skip
_DATE_WORDS = ("birth", "born", "dob", "death", "died", "admi", "discharge", "date")


@dataclass(frozen=True)
class _Rule:
    """A pattern in lower-case text, tried only where one of the needles stands: `in` is many times faster."""

    kind: str
    rule: str
    needles: tuple[bytes, ...]
    pattern: re.Pattern[bytes]

    def found(self, low: bytes) -> bool:
        return any(needle in low for needle in self.needles) and self.pattern.search(low) is not None


_HOME = _Rule(
    "machine",
    "home folder",
    (b"/home/", b"/users/", b"/root/", b"\\users\\", b"documents and settings"),
    re.compile(rb"(?:/home/|/users/|(?<![\w/.])/root/|\b[a-z]:[\\/]+(?:users|documents and settings)[\\/]+)[\w.\-]+"),
)
_TEXT_RULES = (
    _Rule(
        "machine",
        "absolute path",
        tuple(f"/{name}/".encode() for name in _FOLDERS),
        re.compile(rb"(?<![\w.:/<>\-*+])/(?:" + "|".join(_FOLDERS).encode() + rb")/[\w.\-]+"),
    ),
    _Rule(
        "machine",
        "address in a private network",
        (b"10.", b"192.168.", b"172."),
        re.compile(
            rb"(?:://|@|\bip\b\W{0,3}|\bhost\b\W{0,3})(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}"
        ),
    ),
    _Rule(
        "person",
        "telephone number",
        (b"tel", b"phone", b"fax", b"mobile"),
        re.compile(rb"\b(?:tel|phone|telephone|fax|mobile|telefon)\b[^\d+\n]{0,6}\+?[\d(][\d ()/.\-]{5,20}\d"),
    ),
    _Rule(
        "person",
        "telephone number",
        (b"+",),
        re.compile(rb"(?<![\w.+\-])\+\d{1,3}[ \-](?:\(?\d{1,5}\)?[ \-]){1,4}\d{2,8}(?![\w.])"),
    ),
    _Rule(
        "person",
        "record number",
        (b"mrn", b"patient", b"record"),
        re.compile(rb"\b(?:mrn|patient[ _\-]?id|medical record(?: number| no)?)\W{1,4}[a-z]{0,4}\d{5,}\b"),
    ),
    _Rule(
        "date",
        "date beside a word like birth or study",
        tuple(word.encode() for word in _DATE_WORDS),
        re.compile(
            rb"\b(?:birth|born|dob|date of death|died|admitted|admission|discharged?|"
            rb"(?:study|series|acquisition|content|exam|examination|scan|visit|instance creation)[ _\-]?date)"
            rb"[^\d\n]{0,24}?(?<![\d.])" + _DATE + rb"(?![\d])"
        ),
    ),
)
_MAIL = re.compile(rb"(?<![\w.+\-])[\w.+\-]{1,64}@(?:[a-z0-9\-]{1,63}\.)+[a-z]{2,24}(?![\w@])")
_URL = re.compile(rb"\b(?:https?|ftp|sftp|dicom|ldap|smb)://([a-z0-9.\-_@:\[\]]{1,253})")


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
    low = lowered(data)
    hits = []
    if _HOME.found(low):
        hits.append(PatternHit("machine", _HOME.rule))
    hits += [PatternHit(rule.kind, rule.rule) for rule in _own_rules() if rule.found(low)]
    if not binary:
        hits += [PatternHit(rule.kind, rule.rule) for rule in _TEXT_RULES if rule.found(low)]
        hits += _address_hits(low)
    return list(dict.fromkeys(hits))


def _address_hits(low: bytes) -> Iterator[PatternHit]:
    if b"://" in low and any(not _is_public(match.group(1)) for match in _URL.finditer(low)):
        yield PatternHit("machine", "address of a host")
    if b"@" in low and any(not _is_public(match.group().rpartition(b"@")[2]) for match in _MAIL.finditer(low)):
        yield PatternHit("person", "mail address")


def _is_public(host: bytes) -> bool:
    name = host.rpartition(b"@")[2].decode("ascii", "replace").lower()
    name = re.sub(r":\d*$", "", name).strip(".")
    return any(name == public or name.endswith("." + public) for public in _PUBLIC_HOSTS)


@functools.cache
def _own_rules() -> tuple[_Rule, ...]:
    """The user, the host and the home folder of this process, as rules; names that everybody has are left out."""
    names = {("user name", name.lower()) for name in _user_names()} | {("host name", n.lower()) for n in _host_names()}
    found = []
    for rule, name in sorted(names):
        if len(name) >= 4 and name not in _NO_NAMES:
            needle = name.encode()
            pattern = re.compile(rb"(?<![a-z0-9])" + re.escape(needle) + rb"(?![a-z0-9])")
            found.append(_Rule("machine", rule, (needle,), pattern))
    home = os.path.expanduser("~").lower().encode()
    if len(home) > 5 and home != b"/root":
        found.append(_Rule("machine", "home folder", (home,), re.compile(re.escape(home))))
    return tuple(found)


def _user_names() -> set[str]:
    names = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
    with contextlib.suppress(KeyError, OSError):
        names.add(getpass.getuser())
    return names


def _host_names() -> set[str]:
    return {os.environ.get("HOSTNAME", ""), os.environ.get("COMPUTERNAME", ""), socket.gethostname()}
