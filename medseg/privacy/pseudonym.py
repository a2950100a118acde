"""Pseudonyms: names made from a secret key, the same over runs and machines, useless without the key.

Every pseudonym is HMAC-SHA-256 of the original text, in a domain of its own (a patient number and an accession number
that read alike give unrelated pseudonyms). The key is what ties the pseudonyms to the people: it lies outside the
release, with mode 0600, and whoever loses it can never add cases to the same cohort again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import secrets
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from medseg.errors import RequestError, StorageError
from medseg.privacy.secret import read_secret

__all__ = ["KEY_BYTES", "Pseudonymiser", "load_key", "new_key"]

KEY_BYTES = 32
"""Length of a project key in bytes (256 bit)."""
_HEADER = "medseg-project-key-1"
_SIGNS = "0123456789BCDFGHJKLMNPQRSTVWXYZ"
"""Digits and consonants: 31 signs that never make a name."""
_WELL_KNOWN = "1.2.840.10008."
_SHIFT_DAYS = (365, 3650)
"""Dates go back by at least the first and at most the second number of days."""


class Pseudonymiser:
    """Gives patients, UIDs, accession numbers and folders their pseudonyms. Deterministic: key and text decide.

    Args:
        key: The project's secret, at least `KEY_BYTES` long (from `load_key` or `new_key`).

    Raises:
        RequestError: When the key is too short.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise RequestError(
                f"expected a project key of {KEY_BYTES} bytes, found {len(key)}; make one with --new-key FILE"
            )
        self._key = bytes(key)
        self.uid: Callable[[str], str] = lru_cache(maxsize=65536)(self._uid)
        self.name: Callable[..., str] = lru_cache(maxsize=4096)(self._name)

    def digest(self, domain: str, text: str) -> bytes:
        """32 bytes that only the holder of the key can compute; `domain` keeps different kinds of text apart."""
        message = domain.encode("utf-8") + b"\0" + text.strip().encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, message, "sha256")

    def _name(self, domain: str, text: str, prefix: str, letters: int = 10) -> str:
        """`prefix` and signs made from the digest: safe in file names and DICOM values, never a word by chance."""
        number = int.from_bytes(self.digest(domain, text), "big")
        signs = []
        for _ in range(letters):
            number, place = divmod(number, len(_SIGNS))
            signs.append(_SIGNS[place])
        return prefix + "".join(signs)

    @property
    def check(self) -> str:
        """8 signs that stand for the key itself, to know again what was made with it."""
        return self.name("key-check", "", "", 8)

    def patient(self, patient_id: str) -> str:
        """Pseudonym of a patient, ``P`` and 10 signs (49 bit)."""
        return self.name("patient", patient_id, "P")

    def case(self, case_id: str) -> str:
        """Pseudonym of a case, ``C`` and 10 signs."""
        return self.name("case", case_id, "C")

    def accession(self, number: str) -> str:
        """Pseudonym of an accession number, ``A`` and 10 signs (fits VR SH)."""
        return self.name("accession", number, "A")

    def study_id(self, number: str) -> str:
        """Pseudonym of a study ID, ``T`` and 10 signs (fits VR SH)."""
        return self.name("study-id", number, "T")

    def folder(self, prefix: str, text: str) -> str:
        """Pseudonym of a folder or a file stem, `prefix` and 10 signs."""
        return self.name("folder", text, prefix)

    def shift_days(self, patient_id: str) -> int:
        """Whole days by which this patient's dates move, the same for each of them; always into the past.

        Returns:
            A negative number, between -3650 and -365.
        """
        low, high = _SHIFT_DAYS
        drawn = int.from_bytes(self.digest("shift", patient_id)[:8], "big")
        return -(low + drawn % (high - low + 1))

    def pseudo_uid(self, domain: str, text: str) -> str:
        """A UID (``2.25.`` and 128 bit) for something that had none."""
        return f"2.25.{int.from_bytes(self.digest('uid-' + domain, text)[:16], 'big')}"

    def _uid(self, uid: str) -> str:
        """The UID that stands for `uid`; those of the DICOM standard itself (1.2.840.10008.) and empty ones stay."""
        bare = uid.strip().strip("\0").strip()
        if not bare or (bare.startswith(_WELL_KNOWN) and _is_standard(bare)):
            return bare
        return f"2.25.{int.from_bytes(self.digest('uid', bare)[:16], 'big')}"


def new_key(path: str | Path) -> bytes:
    """Make a project key and write it to `path`, readable by its owner only. Never overwrites.

    Raises:
        RequestError: When `path` exists already.
        StorageError: When the folder does not exist or cannot be written.
    """
    path = Path(path)
    key = secrets.token_bytes(KEY_BYTES)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise RequestError(
            "expected a new file for --new-key, found one that exists; a key is never overwritten, because every "
            "pseudonym made with it would be lost. Use it with --key, or name another file"
        ) from None
    except OSError:
        raise StorageError("the key file cannot be written; name a file in a folder that exists and is yours") from None
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(f"{_HEADER}\n{base64.b64encode(key).decode('ascii')}\n")
        stream.flush()
        os.fsync(stream.fileno())
    return key


def load_key(path: str | Path) -> bytes:
    """Read a project key written by `new_key`.

    Raises:
        RequestError: When the file is missing, is no key or may be read by other users.
    """
    try:
        text = read_secret(Path(path), what="key")
    except FileNotFoundError:
        raise RequestError(
            "expected a project key, found no such file. Without it its pseudonyms can't be made again: look "
            "for a backup; or start a new cohort with --new-key FILE and de-identify every case again"
        ) from None
    except (OSError, UnicodeDecodeError):
        raise RequestError(
            "expected a project key made by --new-key, found a file that cannot be read as one"
        ) from None
    lines = text.split()
    try:
        key = base64.b64decode(lines[1], validate=True) if len(lines) == 2 and lines[0] == _HEADER else b""
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise RequestError(
            f"expected a project key of {KEY_BYTES} bytes made by --new-key, found something shorter or damaged; "
            "restore the file from a backup"
        )
    return key


@lru_cache(maxsize=4096)
def _is_standard(uid: str) -> bool:
    """Whether the standard itself defines `uid`; a UID that merely starts like one is somebody's."""
    from pydicom._uid_dict import UID_dictionary

    from medseg.privacy.dicom_rules import is_standard_class

    return uid in UID_dictionary or is_standard_class(uid)
