"""Crosswalk: the encrypted list of who is who, for the data steward: an incidental finding, a withdrawn consent.

It holds what ties each pseudonym to a person, so it is the most sensitive file of a project: it lies outside the
release, readable by its owner only (mode 0600), encrypted by AES-256-GCM with a key that scrypt (RFC 7914) makes from a
passphrase. Whoever loses the passphrase loses the crosswalk; the images and their pseudonyms stay as they are.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from medseg.errors import RequestError
from medseg.privacy.outcomes import write_whole
from medseg.privacy.secret import read_secret

__all__ = ["Crosswalk", "Link", "read_passphrase"]

_VERSION = 1
_SHORTEST = 12
_SCRYPT = {"n": 1 << 15, "r": 8, "p": 1}
"""32 MiB and about a tenth of a second a guess, as RFC 7914 and OWASP advise."""
_MOST_SCRYPT = {"n": 1 << 20, "r": 16, "p": 16}
"""A file may not ask for more work or memory than this."""
_LARGEST = 1 << 30


@dataclass(frozen=True, order=True)
class Link:
    """What stands for what. Every field may identify.

    Attributes:
        kind: ``patient``, ``name``, ``birth date``, ``accession``, ``study``, ``series``, ``shift`` or ``file``.
        pseudonym: What stands in the release: a pseudonym, or a path in the output folder.
        original: What it stands for; of a ``shift`` the days by which this patient's dates moved.
    """

    kind: str
    pseudonym: str
    original: str


class Crosswalk:
    """The crosswalk in one encrypted file.

    Args:
        path: The file; made by the first `extend`.
        passphrase: From `read_passphrase`.
    """

    def __init__(self, path: str | Path, passphrase: str) -> None:
        self.path = Path(path)
        self._passphrase = passphrase
        self._keys: dict[tuple[str, int, int, int], bytes] = {}

    def read(self) -> list[Link]:
        """All links, sorted; none while there is no file.

        Raises:
            RequestError: The file is no crosswalk, was changed, or has another passphrase.
        """
        return sorted(Link(*row) for row in self._content()["links"])

    def check(self, *, project: str) -> None:
        """Make sure, before any work is done, that the file can be extended.

        Args:
            project: What tells the project's key from others (not the key).

        Raises:
            RequestError: As `read`, or it belongs to another key, or its folder doesn't exist.
        """
        self._links(project)

    def extend(self, links: Iterable[Link], *, project: str) -> int:
        """Add links; those that are known already change nothing.

        Args:
            links: What to add.
            project: As `check`.

        Returns:
            How many were new.
        """
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            known = self._links(project)
            new = set(links) - known
            if new or not self.path.exists():
                self._write({"project": project, "links": [astuple(link) for link in sorted(known | new)]})
            return len(new)

    def _links(self, project: str) -> set[Link]:
        """What is known, once it is sure that the file can be extended."""
        if not self.path.parent.is_dir():
            raise RequestError("expected the crosswalk in a folder that exists, found none")
        content = self._content(project)
        if content["project"] != project:
            raise RequestError(
                "expected the crosswalk of this project's key, found that of another key; name another file"
            )
        return {Link(*row) for row in content["links"]}

    def _content(self, project: str = "") -> dict[str, Any]:
        if not self.path.exists():
            return {"project": project, "links": []}
        head, data = self._sealed()
        content: dict[str, Any] = json.loads(self._open(data, head))
        return content

    def _sealed(self) -> tuple[dict[str, Any], bytes]:
        """The file's head and its encrypted content."""
        try:
            if self.path.stat().st_size > _LARGEST:
                raise ValueError("too large")
            sealed = json.loads(self.path.read_text(encoding="ascii"))
            head = {name: sealed[name] for name in ("medseg_crosswalk", *_SCRYPT, "salt", "nonce")}
            if head["medseg_crosswalk"] != _VERSION or any(
                not 0 < int(head[name]) <= most for name, most in _MOST_SCRYPT.items()
            ):
                raise ValueError("another version")
            return head, base64.b64decode(sealed["data"], validate=True)
        except (OSError, ValueError, KeyError, TypeError):
            raise RequestError(
                "expected a crosswalk that `medseg deidentify --crosswalk` made, found another file"
            ) from None

    def _write(self, content: dict[str, Any]) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        salt = self._sealed()[0]["salt"] if self.path.exists() else _text(secrets.token_bytes(16))
        head = {"medseg_crosswalk": _VERSION, **_SCRYPT, "salt": salt, "nonce": _text(secrets.token_bytes(12))}
        plain = json.dumps(content, ensure_ascii=True).encode("ascii")
        data = AESGCM(self._key(head)).encrypt(base64.b64decode(str(head["nonce"])), plain, _associated(head))
        write_whole(self.path, json.dumps({**head, "data": _text(data)}).encode("ascii"), mode=0o600)

    def _open(self, data: bytes, head: dict[str, Any]) -> bytes:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._key(head)).decrypt(base64.b64decode(head["nonce"]), data, _associated(head))
        except (InvalidTag, ValueError, TypeError, MemoryError):
            raise RequestError(
                "the crosswalk does not open: the passphrase is another one, or the file was changed; without the "
                "right passphrase nobody can open it"
            ) from None

    def _key(self, head: dict[str, Any]) -> bytes:
        """The key by the head's salt and cost; made once."""
        from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

        n, r, p = (int(head[name]) for name in _SCRYPT)
        salt = str(head["salt"])
        facts = (salt, n, r, p)
        if facts not in self._keys:
            scrypt = Scrypt(salt=base64.b64decode(salt), length=32, n=n, r=r, p=p)
            self._keys[facts] = bytes(scrypt.derive(self._passphrase.encode("utf-8")))
        return self._keys[facts]


def read_passphrase(path: str | Path) -> str:
    """The passphrase in the first line of a file.

    Raises:
        RequestError: The file is missing, may be read by other users, or holds less than 12 characters.
    """
    try:
        lines = read_secret(Path(path), what="passphrase file").splitlines()
    except (OSError, UnicodeDecodeError):
        raise RequestError(
            "expected a text file with the crosswalk's passphrase in its first line, found none"
        ) from None
    passphrase = lines[0].strip() if lines else ""
    if len(passphrase) < _SHORTEST:
        raise RequestError(
            f"expected a passphrase of at least {_SHORTEST} characters in the first line of the file, found "
            f"{len(passphrase)}; `openssl rand -base64 24` makes one"
        )
    return passphrase


def _associated(head: dict[str, Any]) -> bytes:
    """The head is authenticated with the content."""
    return json.dumps(head, sort_keys=True).encode("ascii")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
