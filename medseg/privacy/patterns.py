"""Patterns: text that identifies by its shape, whoever it is about: home folders, addresses, dates of birth."""

from __future__ import annotations

import contextlib
import enum
import functools
import getpass
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from medseg.privacy.forms import lowered
from medseg.privacy.windows import PLAIN_TEXT, PRINTABLE, SHORTEST_PLAIN, Runs, Windows, pieces, tail_hash

__all__ = ["Content", "PatternHit", "content_of", "find_patterns"]

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
    b"data", b"mnt", b"media", b"srv", b"tmp", b"var", b"opt", b"scratch", b"work", b"project", b"projects", b"nas",
    b"pacs", b"export", b"storage", b"volumes",
)  # fmt: skip
_DATED = (
    b"study", b"series", b"acquisition", b"content", b"exam", b"examination", b"scan", b"visit", b"instance creation",
)  # fmt: skip
_SCHEMES = (b"http", b"https", b"ftp", b"sftp", b"dicom", b"ldap", b"smb")
_EVEN, _ODD = np.uint64(0x00FF00FF00FF00FF), np.uint64(0xFF00FF00FF00FF00)
_PRINTABLE = Runs(rb"\x20-\x7e")
_WIDTH = 4
_MULTIPLIER = 0x9E3779B97F4A7C15
"""Any odd number whose bits are well mixed; nothing here is a secret."""


_NO_TEXT = (
    b"\x93NUMPY", b"\x89PNG", b"\xff\xd8\xff", b"PK\x03\x04", b"\x1f\x8b", b"SQLite format 3", b"II*\0", b"MM\0*",
    b"RIFF",
)  # fmt: skip
"""Formats whose voxels may look like text: a smooth picture of 8 bits has letters for grey levels."""


class Content(enum.Enum):
    """What bytes are, as far as a search for text cares."""

    TEXT = "text"
    BINARY = "binary"
    """Weights, packed data, records of a format: a text in there is a run of letters."""
    VOXELS = "voxels"
    """Grey levels, of which a smooth picture makes long runs of letters."""


@dataclass(frozen=True)
class _Rule:
    """A pattern in lower-case text, tried only where one of its beginnings stands: that is many times faster."""

    kind: str
    rule: str
    beginnings: tuple[bytes, ...]
    pattern: re.Pattern[bytes]
    behind: re.Pattern[bytes] | None = None
    """What the 64 bytes before it must end with."""

    def stands(self, low: bytes, place: int) -> bool:
        """Whether the pattern begins here."""
        if self.pattern.match(low, place) is None:
            return False
        return self.behind is None or self.behind.search(low, max(0, place - 64), place) is not None


class _Rules:
    """Rules whose beginnings are looked for all at once.

    Attributes:
        plain: Whether all that they look for begins with printable ASCII.
    """

    def __init__(self, rules: tuple[_Rule, ...]) -> None:
        self._rules = rules
        self._long: dict[int, list[tuple[int, int]]] = {}
        self._short: list[tuple[bytes, int]] = []
        for number, rule in enumerate(rules):
            for beginning in rule.beginnings:
                if len(beginning) >= _WIDTH:
                    tail = tail_hash(beginning, width=_WIDTH, multiplier=_MULTIPLIER)
                    self._long.setdefault(tail, []).append((len(beginning), number))
                else:
                    self._short.append((beginning, number))
        self._windows = Windows(self._long, width=_WIDTH, multiplier=_MULTIPLIER)
        self.plain = not any(beginning.translate(None, PRINTABLE) for rule in rules for beginning in rule.beginnings)

    def found(self, low: bytes, starts: range) -> list[PatternHit]:
        """What begins in a part of the text."""
        found: set[int] = set()
        for number, place in self._places(low, starts.start):
            if number not in found and place in starts and self._rules[number].stands(low, place):
                found.add(number)
        return [PatternHit(self._rules[number].kind, self._rules[number].rule) for number in sorted(found)]

    def _places(self, low: bytes, start: int) -> Iterator[tuple[int, int]]:
        for end, tail in self._windows.hits(low):
            for length, number in self._long[tail]:
                yield number, end - length
        for beginning, number in self._short:
            place = low.find(beginning, start)
            while place >= 0:
                yield number, place
                place = low.find(beginning, place + 1)


def _behind(*texts: bytes) -> bytes:
    """Behind one of these patterns, each of which has one length."""
    return b"(?:" + b"|".join(b"(?<=" + text + b")" for text in texts) + b")"


_HOME = _Rule(
    "machine",
    "home folder",
    (b"/home/", b"/users/", b"/root/", b"\\users\\", b"documents and settings"),
    re.compile(rb"(?:/home/|/users/|(?<![\w/.])/root/|\\users[\\/]+|documents and settings[\\/]+)[\w.\-]+"),
)
_IS = rb"(?:\s?=\s?[\"']?|[\"']\s?:\s?[\"'])"
"""As a setting, ``a=b``, or in JSON."""
_NOBODY = rb"(?:none|null|self|true|false|host|user\w*|" + rb"|".join(sorted(n.encode() for n in _NO_NAMES)) + rb")\b"
_PRIVATE_DOMAINS = (b".local", b".lan", b".intern", b".intranet", b".corp", b".localdomain")
_LABELS = re.compile(rb"(?:[a-z0-9\-]+\.[a-z0-9\-]+|[a-z][a-z0-9]*[0-9\-][a-z0-9\-]*)\Z")
"""What stands before a private domain: two labels, or one that no program calls a variable."""
_TEXT_RULES = (
    _Rule(
        "machine",
        "name of a host",
        _PRIVATE_DOMAINS,
        re.compile(rb"(?:" + b"|".join(map(re.escape, _PRIVATE_DOMAINS)) + rb")(?![\w.\-])"),
        behind=_LABELS,
    ),
    _Rule(
        "machine",
        "absolute path",
        tuple(b"/" + name + b"/" for name in _FOLDERS),
        re.compile(rb"(?<![\w.:/<>\-*+])/(?:" + b"|".join(_FOLDERS) + rb")/[\w.\-]+"),
    ),
    _Rule(
        "machine",
        "address in a private network",
        (b"10.", b"192.168.", b"172."),
        re.compile(
            _behind(b"://", b"@", *(rb"\b" + name + rb"\W" * n for name in (b"ip", b"host") for n in (1, 2, 3)))
            + rb"(?:10\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}"
        ),
    ),
    _Rule(
        "machine",
        "name of a host",
        (b"host", b"computername"),
        re.compile(
            rb"\b(?:(?:hostname|computername)" + _IS + rb"|host" + _IS + rb"(?=[a-z][a-z0-9]*[0-9\-]))"
            rb"(?!" + _NOBODY + rb"|[\w.]+\()[a-z][\w.\-]+"
        ),
    ),
    _Rule(
        "machine",
        "name of a user",
        (b"user", b"logname"),
        re.compile(rb"\b(?:user(?:_?name)?|logname)" + _IS + rb"(?!" + _NOBODY + rb"|[\w.]+\()[a-z][\w.\-]{2,}"),
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
        (b"mrn", b"patient", b"medical record"),
        re.compile(rb"\b(?:mrn|patient[ _\-]?id|medical record(?: number| no)?)\W{1,4}[a-z]{0,4}\d{5,}\b"),
    ),
    _Rule(
        "date",
        "date beside a word like birth or study",
        (b"birth", b"born", b"dob", b"date of death", b"died", b"admitted", b"admission", b"discharge", *_DATED),
        re.compile(
            rb"\b(?:birth|born|dob|date of death|died|admitted|admission|discharged?|"
            rb"(?:" + b"|".join(_DATED) + rb")[ _\-]?date)[^\d\n]{0,24}?(?<![\d.])" + _DATE + rb"(?![\d])"
        ),
    ),
)
_DOMAIN = re.compile(rb"@(?<=[\w.+\-]@)((?:[a-z0-9\-]{1,63}\.)+[a-z]{2,24})(?![\w@])")
_TOP_DOMAINS = (
    b"com org net edu gov int mil info biz eu ac ad ae af ag ai al am ao ar at au az ba bb bd be bf bg bh bi bj bn "
    b"bo br bs bt bw by bz ca cat cd cf cg ch ci cl cm cn co cr cu cv cy cz de dj dk dm do dz ec ee eg er es et fi "
    b"fj fm fr ga gd ge gh gl gm gn gq gr gt gw gy health hk hn hospital hr ht hu id ie il in io iq ir is it jm jo "
    b"jp ke kg kh km kr kw kz la lb lc li lk lr ls lt lu lv ly ma mc md me med mg mk ml mm mn mo mr mt mu mv mw mx "
    b"my mz na ne ng ni nl no np nz om pa pe pg ph pk pl ps pt py qa ro rs ru rw sa sb sc sd se sg si sk sl sm sn "
    b"so sr ss st su sv sy sz tc td tg th tj tl tm tn to tr tt tv tw tz ua ug uk us uy uz va vc ve vn vu ws ye za "
    b"zm zw"
)
_SURE_DOMAIN = re.compile(
    rb"@(?<=[\w.+\-]{3}@)((?:[a-z0-9\-]{1,63}\.)*[a-z0-9\-]{3,63}\.(?:" + b"|".join(_TOP_DOMAINS.split()) + b"))"
)
"""In bytes that are no text: chance hardly makes it of weights, and a record may begin right behind it."""
_AT_HOST = re.compile(rb"@(?<=\w@)[a-z]{3,}[a-z0-9]*(?:-[a-z0-9]+)+(?![\w@.\-:])")
"""With a hyphen: without one, run lengths of COCO are full of such."""
_TOO_LONG = re.compile(rb"[\w.+\-]{65}")
_URL = re.compile(
    rb"://" + _behind(*(rb"\b" + scheme + b"://" for scheme in _SCHEMES)) + rb"([a-z0-9.\-_@:\[\]]{1,253})"
)


@dataclass(frozen=True)
class PatternHit:
    """A pattern that was found.

    Attributes:
        kind: ``machine``, ``person`` or ``date``.
        rule: What it is: ``home folder``, ``mail address`` ...
    """

    kind: str
    rule: str


def content_of(data: bytes) -> Content:
    """Whether bytes are text in UTF-8, Latin-1 or UTF-16, judged by format or by samples from start, middle, end."""
    return Content.BINARY if _is_binary(data) else Content.TEXT


def _is_binary(data: bytes) -> bool:
    if data.startswith(_NO_TEXT) or data[128:132] == b"DICM" or data[344:347] in (b"n+1", b"ni1"):
        return True
    middle = len(data) // 2
    sample = (data[:4096] + data[middle : middle + 4096] + data[-4096:]).replace(b"\0", b"")
    if not sample:
        return True
    odd = len(sample.translate(None, bytes(range(32, 127)) + b"\t\n\r\f"))
    control = len(sample) - len(sample.translate(None, bytes(range(9)) + bytes(range(14, 32)) + b"\x7f"))
    return control > len(sample) // 50 or odd > len(sample) // 2


def find_patterns(data: bytes, *, content: Content = Content.TEXT) -> list[PatternHit]:
    """What in these bytes identifies by its shape, each rule once.

    Args:
        data: Text in UTF-8, Latin-1 or UTF-16, or any bytes.
        content: What they are. In bytes that are no text most patterns count only inside a run of text, of which chance
            hardly makes one with a pattern in a gigabyte of weights; in voxels these aren't tried.
    """
    hits: dict[PatternHit, None] = {}
    for piece in pieces(data):
        rules = _rules(content)
        narrow = content is not Content.TEXT and rules.plain
        part = PLAIN_TEXT.of(piece) if narrow else piece
        low, starts = part.starts(lowered)
        hits.update(dict.fromkeys(rules.found(low, starts)))
        if content is Content.TEXT:
            hits.update(dict.fromkeys(_address_hits(low, starts, sure=False)))
        if content is Content.BINARY:
            for size, text, within in _texts_in(piece.data, range(piece.lead, len(piece.data) - piece.tail)):
                hits.update(dict.fromkeys(_text_rules().found(text, within)))
                # Whole numbers of 16 bits make mail addresses of their own now and then.
                hits.update(dict.fromkeys(_address_hits(text, within, sure=True) if size == 1 else ()))
    return list(hits)


def _texts_in(data: bytes, starts: range) -> Iterator[tuple[int, bytes, range]]:
    """Bytes a letter (one or two), the runs of such text, a line each, and what of them begins in a part of the data.

    Zeros between letters aren't left out as elsewhere: of numbers that are mostly zeros that would make runs.
    """
    for kind in ("u1", "<u2", ">u2") if _may_be_wide(data) else ("u1",):
        size = int(kind[-1])
        for phase in range(size):
            first, stop = (max(0, -(-(place - phase) // size)) for place in (starts.start, starts.stop))
            lines, before, within = [], 0, 0
            for match in _PRINTABLE.find(_letters(data, kind, phase)):
                start, end = match.span()
                before += max(0, min(end, first) - start) + (end <= first)
                within += max(0, min(end, stop) - start) + (end <= stop)
                lines.append(match.group())
            if lines:
                yield size, lowered(b"\n".join(lines)), range(before, within)


def _may_be_wide(data: bytes) -> bool:
    """Whether some aligned 8 bytes could be of a text with zeros between its letters; a long one holds such."""
    words = np.frombuffer(data, "<u8", count=len(data) // 8)
    return any(words[(words & between) == 0].any() for between in (_EVEN, _ODD))


def _letters(data: bytes, kind: str, phase: int) -> bytes:
    """The letters of a text of numbers of this kind, from some byte on; zero for what is no letter."""
    if kind == "u1":
        return data
    numbers = np.frombuffer(data[phase:], kind, count=max(0, len(data) - phase) // int(kind[-1]))
    return np.where(numbers < 128, numbers, 0).astype(np.uint8).tobytes()


def _address_hits(low: bytes, starts: range, *, sure: bool) -> Iterator[PatternHit]:
    if any(not _is_public(match.group(1)) for match in _URL.finditer(low, starts.start) if match.start() in starts):
        yield PatternHit("machine", "address of a host")
    if any(match.start() in starts for match in _AT_HOST.finditer(low, starts.start)):
        yield PatternHit("machine", "user at a host")
    for match in (_SURE_DOMAIN if sure else _DOMAIN).finditer(low, starts.start):
        at = match.start()
        # No mail address has more than 64 bytes before the sign; a run of base64 may.
        if at in starts and not _is_public(match.group(1)) and not _TOO_LONG.fullmatch(low, max(0, at - 65), at):
            yield PatternHit("person", "mail address")
            return


def _is_public(host: bytes) -> bool:
    name = host.rpartition(b"@")[2].decode("ascii", "replace").lower()
    name = re.sub(r":\d*$", "", name).strip(".")
    return any(name == public or name.endswith("." + public) for public in _PUBLIC_HOSTS)


@functools.cache
def _rules(content: Content) -> _Rules:
    """What is looked for at every byte."""
    own = _own_rules(binary=content is not Content.TEXT)
    return _Rules((*own, *_TEXT_RULES) if content is Content.TEXT else own)


@functools.cache
def _text_rules() -> _Rules:
    return _Rules(_TEXT_RULES)


def _own_rules(*, binary: bool) -> tuple[_Rule, ...]:
    """The user, the host and the home folder of this process, as rules; names that everybody has are left out.

    In weights of 64 MB chance alone writes a name of four letters, so short ones count there only beside text.
    """
    names = {("user name", name.lower()) for name in _user_names()} | {("host name", n.lower()) for n in _host_names()}
    found = []
    for rule, name in sorted(names):
        if len(name) >= 4 and name not in _NO_NAMES:
            needle = name.encode()
            word = rb"(?<![a-z0-9])" + re.escape(needle) + rb"(?![a-z0-9])"
            beside_text = rb"(?<=[ -~]{8})" + word + rb"|" + word + rb"(?=[ -~]{8})"
            pattern = re.compile(beside_text if binary and len(name) < SHORTEST_PLAIN else word)
            found.append(_Rule("machine", rule, (needle,), pattern))
    home = os.path.expanduser("~").lower().encode()
    if len(home) > 5 and home != b"/root":
        found.append(_Rule("machine", "home folder", (home,), re.compile(re.escape(home))))
    return (_HOME, *found)


def _user_names() -> set[str]:
    names = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "SUDO_USER")}
    with contextlib.suppress(KeyError, OSError):
        names.add(getpass.getuser())
    return names


def _host_names() -> set[str]:
    return {os.environ.get("HOSTNAME", ""), os.environ.get("COMPUTERNAME", ""), socket.gethostname()}
