"""The fast search against a slow plain one: same finds on texts put together from what is near an identity."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medseg.privacy import codings, windows
from medseg.privacy.forms import forms_of, lowered, squeezed, text_run
from medseg.privacy.identities import Hit, IdentityIndex, _stands_so
from medseg.privacy.patterns import (
    _TOP_DOMAINS,
    Content,
    PatternHit,
    _is_public,
    _Rule,
    _rules,
    _text_rules,
    find_patterns,
)
from medseg.privacy.windows import Part, Stretches, Windows, pieces, tail_hash
from tests.examples import examples

_IDENTITIES = (
    "Novakova^Jana", "Müller^Jürgen", "山田^太郎", "4711", "84213377", "19480217", "1.2.276.0.7230010.3.1.2.83",
    "ABX-90", "12 High Street", "Lee^Kim",
)  # fmt: skip
_SEAMS = ("", " ", "^", "_", "\0", ".", "0", "7", "a", "Z", "\n", "/", "-", "e", "\x07", "2.25.")
_NEAR_IDENTITY = st.lists(
    st.sampled_from([*_IDENTITIES, *(part for text in _IDENTITIES for part in re.split(r"[\^ .]", text)), *_SEAMS])
    | st.text(max_size=3),
    max_size=12,
).map("".join)
_ENCODINGS = st.sampled_from(("utf-8", "utf-16-le", "utf-16-be", "gb18030"))


_FORMS = [(number, form) for number, text in enumerate(_IDENTITIES, start=1) for form in forms_of(text)]


def _plain_hits(data: bytes, *, binary: bool) -> set[Hit]:
    """Every form looked for with `bytes.find`; a form that two identities share belongs to the first."""
    owners: dict[tuple[bool, bytes], int] = {}
    found = set()
    for number, form in _FORMS:
        stream = squeezed(data) if form.squeezed else lowered(data)
        if owners.setdefault((form.squeezed, form.data), number) != number:
            continue
        at = stream.find(form.data)
        while at >= 0:
            end = at + len(form.data)
            by_chance = binary and len(form.data) < 6 and text_run(stream, at, end, 8) < 8
            if _stands_so(stream, at, end, form.stands) and not by_chance:
                found.add(Hit(number, form.kind))
            at = stream.find(form.data, at + 1)
    return found


@pytest.fixture(scope="module")
def index() -> IdentityIndex:
    found = IdentityIndex(b"0123456789abcdef")
    found.add(_IDENTITIES)
    return found


@settings(max_examples=examples(300), deadline=None)
@given(
    texts=st.lists(_NEAR_IDENTITY, max_size=3),
    encoding=_ENCODINGS,
    binary=st.booleans(),
    noise=st.binary(max_size=9),
    around=st.sampled_from((b"", b"\xff", b"\xd3\x01")),
)
@example(texts=["xNOVAKOVA,janax"], encoding="utf-16-be", binary=True, noise=b"\xff", around=b"\xff")
@example(texts=["4711 7 4711", "84213377"], encoding="utf-8", binary=True, noise=b"", around=b"\xff")
def test_the_index_finds_what_a_plain_search_finds(
    index: IdentityIndex, texts: list[str], encoding: str, binary: bool, noise: bytes, around: bytes
) -> None:
    seam = noise + 900 * around + noise
    data = seam + seam.join(text.encode(encoding, "replace") for text in texts)
    assert set(index.find(data, binary=binary)) == _plain_hits(data, binary=binary)


@settings(max_examples=examples(60), deadline=None)
@given(
    texts=st.lists(_NEAR_IDENTITY, min_size=2, max_size=5),
    gap=st.integers(0, 300),
    content=st.sampled_from(Content),
    between=st.sampled_from((b".", b"\xff")),
)
@example(texts=["x", "Novakova^Jana4711山田1948021784213377"], gap=140, content=Content.TEXT, between=b".")
@example(texts=["x", "Novakova^Jana4711山田1948021784213377"], gap=280, content=Content.BINARY, between=b"\xff")
def test_a_search_in_pieces_finds_what_a_search_of_the_whole_finds(
    index: IdentityIndex, texts: list[str], gap: int, content: Content, between: bytes
) -> None:
    parts = [20 * between, *(text.encode() for text in texts), b"tel. 030 1234567 y" * (gap % 2)]
    data = (between * gap).join(parts)

    def found() -> tuple[list[Hit], list[PatternHit]]:
        return index.find(data, binary=content is not Content.TEXT), find_patterns(data, content=content)

    whole = found()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "PIECE", 512)
        patch.setattr(windows, "OVERLAP", 400)
        patch.setattr(windows, "_TAIL", 128)
        assert len(list(pieces(data))) == max(1, -(-len(data) // 512))
        assert found() == whole


@settings(max_examples=examples(100), deadline=None)
@given(st.sets(st.binary(min_size=8, max_size=8), max_size=30), st.binary(max_size=200), st.sampled_from((4, 8)))
def test_no_window_is_missed(tails: set[bytes], noise: bytes, width: int) -> None:
    stream = noise + b"".join(tails) + noise
    hashes = {tail_hash(tail, width=width, multiplier=0x9E3779B97F4A7C15) for tail in tails}
    found = list(Windows(hashes, width=width, multiplier=0x9E3779B97F4A7C15).hits(stream))
    wanted = {tail[-width:] for tail in tails}
    ends = [end for end in range(width, len(stream) + 1) if stream[end - width : end] in wanted]
    assert [end for end, _ in found] == ends
    for end, number in found:
        assert number == tail_hash(stream[:end], width=width, multiplier=0x9E3779B97F4A7C15)


@settings(max_examples=examples(200), deadline=None)
@given(
    runs=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 200)), max_size=6),
    edges=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    shortest=st.sampled_from((6, 8)),
)
def test_stretches_are_all_long_runs_with_what_stands_beside_them(
    runs: list[tuple[int, int]], edges: tuple[int, int], shortest: int
) -> None:
    letters = iter(range(10**6))
    piece = b"".join(
        bytes(97 + next(letters) % 26 for _ in range(length)) + bytes(128 + next(letters) % 99 for _ in range(gap))
        for length, gap in runs
    )
    lead, tail = piece[: edges[0]], piece[max(edges[0], len(piece) - edges[1]) :]
    part = Stretches(bytes(range(97, 123)), shortest=shortest).of(Part(piece, len(lead), len(tail)))
    if len(part.data) < len(piece):
        spans: list[int] = []
        for match in re.finditer(b"[a-z]{%d,}" % shortest, piece):
            spans += range(max(0, match.start() - 1, *(spans[-1:])), match.end())
            spans += [match.end()] if match.end() < len(piece) else []
        spans = sorted(set(spans))
        assert part.data == bytes(piece[place] for place in spans)
        assert part.lead == sum(place < len(lead) for place in spans)
        assert part.tail == sum(place >= len(piece) - len(tail) for place in spans)
    else:
        assert (part.data, part.lead, part.tail) == (piece, len(lead), len(tail))


def test_an_index_of_before_plain_forms_were_told_apart_finds_the_same(index: IdentityIndex) -> None:
    old = IdentityIndex(b"0123456789abcdef")
    old.add(_IDENTITIES)
    old._records = {(place & 3, digest): record for (place, digest), record in old._records.items()}
    data = b"\xff" * 5000 + b" NOVAKOVA JANA \xff" + "\xe9 Müller, Jürgen".encode() + b"\xff" * 5000
    assert old.find(data, binary=True) == index.find(data, binary=True) != []
    old.add(["Novakova^Petr"])
    assert [hit.identity for hit in old.find(b"\xff" * 5000 + b"novakova\xff", binary=True)] == [1]


_NEAR_PATTERN = st.lists(
    st.sampled_from(
        [
            "/home/", "/users/", "c:\\", "\\users\\", "Documents and Settings/", "/root/", "/data/", "/mnt/",
            "house", "x", "http://", "ftp", "://", "@", "stmarys.org", "doi.org", "10.", "192.168.", "3.7", "ip ",
            "host: ", "tel", "phone", "+49", "030", " ", " ", "1234567", "-", ".", "mrn", "patient id", ": ",
            "birth", "date", "study", "date of death", "exam", "1948-02-17", "19480217", "17.2.1948", "\n", "\0",
            "<", ">", "a" * 70, "pacs01", "ct-3", ".local", ".intern", "\\\\", "\\", "user=", "hostname=", "host",
        ]
    ),
    max_size=12,
).map("".join)  # fmt: skip


def _anywhere(rule: _Rule, low: bytes) -> bool:
    finds = (rule.pattern.match(low, place) for place in range(len(low) + 1))
    before = (low[max(0, match.start() - 64) : match.start()] for match in finds if match)
    return any(rule.behind is None or rule.behind.search(text) for text in before)


_URL = re.compile(rb"\b(?:https?|ftp|sftp|dicom|ldap|smb)://([a-z0-9.\-_@:\[\]]{1,253})")
_AT_HOST = re.compile(rb"\w@[a-z]{3,}[a-z0-9]*(?:-[a-z0-9]+)+(?![\w@.\-:])")
_MAIL = re.compile(rb"(?<![\w.+\-])[\w.+\-]{1,64}@(?:[a-z0-9\-]{1,63}\.)+[a-z]{2,24}(?![\w@])")

_SURE_MAIL = re.compile(
    rb"(?<![\w.+\-])[\w.+\-]{3,64}@(?:[a-z0-9\-]{1,63}\.)*[a-z0-9\-]{3,63}\.(?:"
    + _TOP_DOMAINS.replace(b" ", b"|")
    + rb")"
)


@settings(max_examples=examples(400), deadline=None)
@given(text=_NEAR_PATTERN, content=st.sampled_from(Content), around=st.sampled_from((0, 4000)))
@example(text="see http://stmarys.org/x", content=Content.TEXT, around=0)
@example(text="house@stmarys.org", content=Content.TEXT, around=0)
@example(text="see http://stmarys.org/x", content=Content.BINARY, around=0)
@example(text="\nhouse@stmarys.\n", content=Content.BINARY, around=0)
@example(text="study date 1948-02-17 and host: 10.0.3.7", content=Content.TEXT, around=0)
@example(text="/root/x", content=Content.VOXELS, around=4000)
def test_the_patterns_find_what_a_plain_search_finds(text: str, content: Content, around: int) -> None:
    low = lowered(text.encode())
    wanted = {(r.kind, r.rule) for r in _rules(content)._rules if _anywhere(r, low)}
    if content is Content.BINARY:
        low = b"\n".join(re.findall(rb"[ -~]{16,}", text.encode().lower()))
        wanted |= {(r.kind, r.rule) for r in _text_rules()._rules if _anywhere(r, low)}
    if content is not Content.VOXELS:
        if any(not _is_public(match.group(1)) for match in _URL.finditer(low)):
            wanted.add(("machine", "address of a host"))
        mails = (_SURE_MAIL if content is Content.BINARY else _MAIL).finditer(low)
        if any(not _is_public(match.group().rpartition(b"@")[2]) for match in mails):
            wanted.add(("person", "mail address"))
        wanted |= {("machine", "user at a host")} if _AT_HOST.search(low) else set()
    ground = b"" if content is Content.TEXT else b"\xff" * around
    found = find_patterns(ground + text.encode() + ground, content=content)
    assert {(hit.kind, hit.rule) for hit in found} == wanted


def test_every_pattern_has_all_its_beginnings() -> None:
    """A rule is tried only at its beginnings, so each example must begin with one of them."""
    examples = {
        "home folder": ["/home/a", "/users/a", "/root/a", "c:\\users\\a", "c:\\\\users\\\\a",
                        "documents and settings\\a"],
        "absolute path": ["/work/a", "/volumes/a"],
        "address in a private network": ["ip 10.1.2.3", "host=192.168.0.1", "x@172.16.0.1"],
        "telephone number": ["telephone 123456789", "telefon: 0301234567", "fax 0301234567", "mobile +49 30123456",
                             "+49 30 12345"],
        "record number": ["mrn 123456", "patient_id: 12345", "medical record number 12345"],
        "name of a host": [
            "hostname=a1", "host=a1", "computername=a1", ".local", ".lan", ".intern", ".intranet", ".corp",
            ".localdomain",
        ],
        "name of a user": ["user=abc", "user_name=abc", "username=abc", "logname=abc"],
        "date beside a word like birth or study": [
            f"{word} 1948-02-17"
            for word in ("birth", "born", "dob", "date of death", "died", "admitted", "admission", "discharge",
                         "discharged", "study date", "seriesdate", "acquisition date", "content date", "exam date",
                         "examination date", "scan date", "visit date", "instance creation date")
        ],
    }  # fmt: skip
    assert {rule.rule for rule in _text_rules()._rules} <= set(examples)
    for name, texts in examples.items():
        for text in texts:
            assert name in {
                hit.rule for hit in find_patterns(f"so {'a-1' * text.startswith('.')}{text} it".encode())
            }, text


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.binary(max_size=20) | st.binary(max_size=40).map(base64.b64encode) | st.sampled_from([b"\0", b"\n"]))
)
def test_runs_of_base64_are_found_wherever_they_stand(parts: list[bytes]) -> None:
    data = b" ".join(parts)
    text = data.replace(b"\0", b"") if b"\0" in data else data

    def spans(matches: Iterator[re.Match[bytes]]) -> list[tuple[int, int]]:
        return [match.span() for match in matches]

    assert spans(codings._RUNS.find(text)) == spans(re.finditer(rb"[A-Za-z0-9+/_\-]{16,}", text))
