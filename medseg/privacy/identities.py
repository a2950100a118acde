"""IdentityIndex: keyed hashes of the identities that this project knows, and the search for them.

`medseg deidentify` keeps the index beside the project's key, so that `medseg audit` needs no list in clear. The index
holds a secret of its own and, for each form of an identity (see `medseg.privacy.forms`), its length, a keyed BLAKE2b
digest and 32 bits of a keyed hash of its last bytes. Whoever reads the file can test a guess but not list identities,
so it is kept like the key: mode 0600, never inside the output.

The search hashes the last 8 (or 4) bytes at every position with a secret multiplier (`medseg.privacy.windows`); only
where a form may end is a digest computed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import RequestError
from medseg.privacy.forms import SHORTEST_SQUEEZED, Form, Stands, canonical, forms_of, lowered, squeezed, text_run
from medseg.privacy.windows import PLAIN_TEXT, PRINTABLE, SHORTEST_PLAIN, Stretches, Windows, pieces, tail_hash

__all__ = ["Hit", "IdentityIndex", "read_clear_list"]

_VERSIONS = (2, 3)
"""Of the files that can be read; the last is written. In those of before no form is known to be plain."""
_DIGEST_BYTES = 16
_RUN, _LONG_RUN = 8, 16
"""Bytes of such a run, in small and in large data: in weights of 64 MB chance alone writes `x,4711;` now and then."""
_LARGE = 1 << 20
_RECORD = np.dtype([("tail", "<u4"), ("length", "<u2"), ("place", "u1"), ("kind", "u1"), ("stands", "u1"),
                    ("identity", "<u4"), ("digest", f"V{_DIGEST_BYTES}")])  # fmt: skip
_KINDS = ("name", "part of a name", "id", "date", "uid", "text")
_DECIMAL = re.compile(rb"[-+]?\d*\.\d+(?:e[-+]?\d+)?")
_Reading = Callable[[bytes], bytes]
_LONG, _SQUEEZED, _PLAIN = 1, 2, 4
"""Of a form's place: it has 8 bytes or more; the stream without separators is meant; it is printable ASCII."""
_STRETCHES: dict[_Reading, Stretches] = {
    lowered: PLAIN_TEXT,
    squeezed: Stretches(bytes(range(127)), shortest=SHORTEST_SQUEEZED),
}
"""Where plain forms can stand in binary data; shorter ones than `SHORTEST_PLAIN` count only in longer runs."""
_NUMBER_BYTES = frozenset(b"0123456789.e+-")
_DIGITS = frozenset(b"0123456789")
_ALPHANUMERIC = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyz")
_SHORTEST_HASH = 11
"""Letters and digits of a pseudonym; digests are longer."""
_MOST_BY_CHANCE = 7
"""Digits that chance writes into a hash; eight given ones stand in one SHA-256 of 75 million."""


@dataclass(frozen=True)
class Hit:
    """An identity that was found.

    Attributes:
        identity: Number of the identity, from 1 in the order in which they were added.
        kind: ``name``, ``part of a name``, ``id``, ``date``, ``uid`` or ``text``.
    """

    identity: int
    kind: str


class IdentityIndex:
    """Keyed hashes of identities, and the search for them in any bytes.

    Args:
        secret: 16 to 64 bytes that key the hashes; without it, a fresh random one. It is saved with the index, so never
            pass the project's key itself.

    Example:
        >>> index = IdentityIndex()
        >>> index.add(["Novakova^Jana", "19480217"])
        >>> [hit.kind for hit in index.find("scan of JANA NOVAKOVA")]
        ['name', 'part of a name']
    """

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret if secret is not None else secrets.token_bytes(32)
        if not 16 <= len(self._secret) <= 64:
            raise RequestError(f"the secret of an identity index: expected 16 to 64 bytes, found {len(self._secret)}")
        self._key = hashlib.blake2b(self._secret, digest_size=32, person=b"medseg digest").digest()
        multiplier = hashlib.blake2b(self._secret, digest_size=8, person=b"medseg window").digest()
        self._multiplier = int.from_bytes(multiplier, "little") | 1
        self._identities: dict[bytes, int] = {}
        self._records: dict[tuple[int, bytes], tuple[int, int, int, int, int]] = {}
        self._tables: dict[bool, _Tables] = {}
        self.left_out = 0
        """Identities that were too short or too general to be searched for."""

    def __len__(self) -> int:
        """Number of different identities that are searched for."""
        return len(self._identities)

    @property
    def state(self) -> bytes:
        """32 bytes that stand for what is searched for: another after each identity that is taken up."""
        return hashlib.blake2b(b"%d" % len(self._records), key=self._key, digest_size=32).digest()

    def add(self, texts: Iterable[str]) -> None:
        """Take up identities: names, ids, dates, UIDs, addresses, one a text; a known one changes nothing."""
        for text in texts:
            digest = self._digest(b"identity" + canonical(text))
            if digest in self._identities:
                continue
            forms = forms_of(text)
            if not forms:
                self.left_out += bool(text.strip())
                continue
            number = len(self._identities) + 1
            self._identities[digest] = number
            for form in forms:
                self._add_form(form, number)
            self._tables = {}

    def _add_form(self, form: Form, number: int) -> None:
        plain = not form.data.translate(None, PRINTABLE)
        place = _LONG * (len(form.data) >= 8) + _SQUEEZED * form.squeezed + _PLAIN * plain
        short = tail_hash(form.data, width=_width(place), multiplier=self._multiplier)
        digest = self._digest(form.data)
        # A form that two identities share keeps the first, also one of a former version's file: one find is enough.
        if (place & ~_PLAIN, digest) not in self._records:
            record = (short, len(form.data), _KINDS.index(form.kind), int(form.stands), number)
            self._records.setdefault((place, digest), record)

    def _digest(self, data: bytes) -> bytes:
        return hashlib.blake2b(data, key=self._key, digest_size=_DIGEST_BYTES).digest()

    def find(self, data: str | bytes, *, binary: bool = False) -> list[Hit]:
        """The identities in a text or in bytes, each once a kind, in order of number.

        Upper and lower case, separators, the order of a name's words and the usual encodings don't matter.

        Args:
            data: What to search; of containers only what stands there in clear (`medseg.privacy.audit` looks inside).
            binary: The bytes are voxels, weights or compressed: forms of less than 6 bytes then count only inside a
                longer run of text (8 bytes, 16 where there is more than 1 MiB), since chance alone would find them.
        """
        raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        hits: set[tuple[int, int]] = set()
        run = 0 if not binary else _LONG_RUN if len(raw) > _LARGE else _RUN
        tables = self._tables[binary] = self._tables.get(binary) or self._build_tables(binary=binary)
        for piece in pieces(raw):
            for (read, plain), found in tables.items():
                part = _STRETCHES[read].of(piece) if plain else piece
                stream, starts = part.starts(read)
                for table in found:
                    hits |= self._find_in(stream, table, starts=starts, run=run)
        return [Hit(number, _KINDS[kind]) for number, kind in sorted(hits)]

    def _find_in(self, stream: bytes, table: _Table, *, starts: range, run: int) -> set[tuple[int, int]]:
        hits: set[tuple[int, int]] = set()
        for end, tail in table.windows.hits(stream):
            for length in table.lengths[tail]:
                start = end - length
                if start not in starts:
                    continue
                record = table.records.get(self._digest(stream[start:end]))
                if record is None or (record[0], record[1]) in hits:
                    continue
                number, kind, stands = record
                alone = run and length < SHORTEST_PLAIN and text_run(stream, start, end, run) < run
                if not alone and _stands_so(stream, start, end, Stands(stands)):
                    hits.add((number, kind))
        return hits

    def _build_tables(self, *, binary: bool) -> _Tables:
        """The tables of a search; plain forms are on their own where only parts of the data are searched for them."""
        tails: dict[int, dict[int, set[int]]] = {}
        records: dict[int, dict[bytes, tuple[int, int, int]]] = {}
        for (own, digest), (tail, length, kind, stands, number) in self._records.items():
            place = own if binary else own & ~_PLAIN
            tails.setdefault(place, {}).setdefault(tail, set()).add(length)
            records.setdefault(place, {}).setdefault(digest, (number, kind, stands))
        tables: _Tables = {}
        for place, found in tails.items():
            windows = Windows(found, width=_width(place), multiplier=self._multiplier)
            lengths = {tail: tuple(sorted(several)) for tail, several in found.items()}
            reading = squeezed if place & _SQUEEZED else lowered, bool(place & _PLAIN)
            tables.setdefault(reading, []).append(_Table(windows, lengths, records[place]))
        return tables

    def save(self, path: str | Path) -> None:
        """Write the index, readable by its owner only; the file is replaced as a whole."""
        rows = [
            (tail, length, place, kind, stands, number, digest)
            for (place, digest), (tail, length, kind, stands, number) in self._records.items()
        ]
        content = {
            "medseg_identity_index": _VERSIONS[-1],
            "secret": _text(self._secret),
            "left_out": self.left_out,
            "identities": _text(b"".join(self._identities)),
            "forms": _text(np.array(rows, dtype=_RECORD).tobytes()),
        }
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> IdentityIndex:
        """Read an index that `save` wrote.

        Raises:
            RequestError: The file is missing or no identity index.
        """
        try:
            content: dict[str, Any] = json.loads(Path(path).read_text(encoding="ascii"))
            if content["medseg_identity_index"] not in _VERSIONS:
                raise RequestError(
                    f"the identity index is of another version of medseg; expected format {_VERSIONS[-1]}. Move it "
                    "away and run `medseg deidentify` on the same images with the same key, which writes it anew"
                )
            index = cls(base64.b64decode(content["secret"]))
            known = base64.b64decode(content["identities"])
            rows = np.frombuffer(base64.b64decode(content["forms"]), dtype=_RECORD)
            index.left_out = int(content["left_out"])
        except OSError:
            raise RequestError(
                "the identity index cannot be read; `medseg deidentify` writes it beside the key"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise RequestError("this file is no identity index; for a list in clear use --identities FILE") from None
        for number, start in enumerate(range(0, len(known), _DIGEST_BYTES), start=1):
            index._identities[known[start : start + _DIGEST_BYTES]] = number
        for row in rows:
            # numpy types the names as optional; a record always has some.
            tail, length, place, kind, stands, number = (int(row[name]) for name in _RECORD.names[:-1])  # type: ignore[index]
            index._records[place, row["digest"].tobytes()] = (tail, length, kind, stands, number)
        return index


@dataclass(frozen=True)
class _Table:
    """The forms of one stream and one window width: lengths by the hash of the last bytes, facts by the digest."""

    windows: Windows
    lengths: dict[int, tuple[int, ...]]
    records: dict[bytes, tuple[int, int, int]]


_Tables = dict[tuple[_Reading, bool], list[_Table]]
"""By the stream that is searched, and whether only where plain forms can stand."""


def _width(place: int) -> int:
    return 8 if place & _LONG else 4


def read_clear_list(path: str | Path) -> list[str]:
    """Identities in clear, one a line; empty lines are skipped.

    Raises:
        RequestError: The file is missing or not UTF-8 text.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError:
        raise RequestError("the list of identities cannot be read; expected a text file, one identity a line") from None
    except UnicodeDecodeError:
        raise RequestError("the list of identities is not UTF-8 text; expected one identity a line") from None
    return [line.strip() for line in lines if line.strip()]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _stands_so(stream: bytes, start: int, end: int, stands: Stands) -> bool:
    if stands is Stands.ANYWHERE:
        return True
    before = stream[start - 1] if start else 0
    after = stream[end] if end < len(stream) else 0
    if stands is Stands.AS_WORD:
        return not (_is_letter(before) or _is_letter(after))
    low, high = _run(stream, start, end, _NUMBER_BYTES)
    token = stream[low:high].strip(b"+-.")
    if token.startswith(b"2.25.") or _in_fraction(stream, low, high, start):
        return False
    if stands is Stands.IN_NUMBER:
        return True
    first, last = _run(stream, start, end, _DIGITS)
    if stands is Stands.AS_NUMBER:
        return last == end and not stream[first:start].strip(b"0") and not _in_hash(stream, first, last)
    return first == start and last - end in (0, 2, 4, 6)


def _in_hash(stream: bytes, first: int, last: int) -> bool:
    """Whether a run of few digits stands in a word whose letters and digits change as those of hashes do."""
    if last - first > _MOST_BY_CHANCE:
        return False
    low, high = _run(stream, first, last, _ALPHANUMERIC)
    outside = (stream[low:first], stream[last:high])
    changes = sum(a.isdigit() != b.isdigit() for part in outside for a, b in pairwise(part.decode("ascii")))
    return high - low >= _SHORTEST_HASH and changes >= 2


def _in_fraction(stream: bytes, low: int, high: int, start: int) -> bool:
    """Whether a position lies behind the point of a decimal number."""
    match = _DECIMAL.fullmatch(stream[low:high].rstrip(b".-+e"))
    return match is not None and b"." in stream[low:start]


def _run(stream: bytes, start: int, end: int, allowed: frozenset[int]) -> tuple[int, int]:
    low, high = start, end
    while low > 0 and stream[low - 1] in allowed and start - low < 64:
        low -= 1
    while high < len(stream) and stream[high] in allowed and high - end < 64:
        high += 1
    return low, high


def _is_letter(byte: int) -> bool:
    return 97 <= byte <= 122 or 65 <= byte <= 90 or byte >= 128
