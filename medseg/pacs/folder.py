"""PulledFolder: where pulled files go, under names that hold no identity, and the account by which a pull goes on.

The account lies beside the folder (``NAME.pull.jsonl``), so that the folder holds DICOM and nothing else. Its first
line is the secret that the names are made with; each further line is a file that is safely there, with its SHA-256.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from medseg.data.files import atomic_write, sha256_of
from medseg.errors import ReadError, RequestError, RunError
from medseg.pacs.archive import Instance
from medseg.privacy.deflated import check_deflated
from medseg.privacy.pseudonym import KEY_BYTES, Pseudonymiser

__all__ = ["PulledFolder", "check_instance", "open_pulled"]

_VERSION = 1
_FLOATS = ((0x7FE00008, 4), (0x7FE00009, 8))


class PulledFolder:
    """The folder and its account; made by `open_pulled`.

    Args:
        root: The folder.
        names: Makes the names.
        account: The account, open for appending.
        known: Size and SHA-256 of the files that it lists.
    """

    def __init__(
        self, root: Path, *, names: Pseudonymiser, account: IO[bytes], known: dict[str, tuple[int, str]]
    ) -> None:
        self._root = root
        self._names = names
        self._account = account
        self._known = known

    def place(self, instance: Instance) -> str:
        """Path of an instance in the folder: keyed hashes of its UIDs."""
        names = self._names
        return "/".join(
            (
                names.name("study", instance.study, "T"),
                names.name("series", instance.series, "S"),
                f"{names.name('instance', instance.uid, 'I')}.dcm",
            )
        )

    def holds(self, instance: Instance) -> bool:
        """Whether the instance is there, whole and as it was when it was fetched."""
        place = self.place(instance)
        size, digest = self._known.get(place, (-1, ""))
        path = self._root / place
        return path.is_file() and path.stat().st_size == size and sha256_of(path) == digest

    def put(self, instance: Instance, data: bytes) -> None:
        """Check a fetched file, write it atomically and note it.

        Raises:
            ReadError: It is damaged, or another instance.
            OSError: The disk is full.
        """
        check_instance(data, instance)
        place = self.place(instance)
        with atomic_write(self._root / place) as file:
            file.write(data)
        digest = hashlib.sha256(data).hexdigest()
        line = json.dumps({"file": place, "bytes": len(data), "sha256": digest})
        self._account.write(f"{line}\n".encode("ascii"))
        self._account.flush()
        self._known[place] = (len(data), digest)


@contextmanager
def open_pulled(root: Path) -> Iterator[PulledFolder]:
    """Open a folder for a pull, or go on with one; nobody else can read it.

    Raises:
        RequestError: The folder holds something else, or its account is gone or damaged.
        RunError: Another pull works in it.
    """
    root = Path(root).resolve()
    account = root.with_name(f"{root.name}.pull.jsonl")
    root.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(account.with_name(f".{account.name}.lock"), timeout=0)
    try:
        with lock:
            if not account.is_file() and root.exists() and (not root.is_dir() or any(root.iterdir())):
                raise RequestError(
                    "expected a new or empty folder, or one of an earlier pull with its account (NAME.pull.jsonl) "
                    "beside it; found something else"
                )
            root.mkdir(mode=0o700, exist_ok=True)
            secret, known = _read_account(account)
            handle = os.open(account, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(handle, "ab") as stream:
                if stream.tell() == 0:
                    stream.write(f"{json.dumps({'medseg_pull': _VERSION, 'secret': secret.hex()})}\n".encode("ascii"))
                else:
                    # A killed pull may have left half a line.
                    stream.write(b"\n")
                stream.flush()
                yield PulledFolder(root, names=Pseudonymiser(secret), account=stream, known=known)
    except Timeout:
        raise RunError("another process pulls into this folder; wait for it, or choose another folder") from None


def check_instance(data: bytes, instance: Instance) -> None:
    """Check that a file is the instance that was asked for, and whole.

    Raises:
        ReadError: It isn't.
    """
    import pydicom

    try:
        check_deflated(io.BytesIO(data))
        dataset = pydicom.dcmread(io.BytesIO(data))
        found = tuple(str(dataset.get(k, "")) for k in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
        whole = _is_whole(dataset)
    except Exception:
        # pydicom raises whatever a damaged or hostile file makes it raise.
        raise ReadError("expected a DICOM file, received a damaged one") from None
    if found != (instance.study, instance.series, instance.uid):
        raise ReadError("received another instance than was asked for")
    if not whole:
        raise ReadError("the file ends too early")


def _is_whole(dataset: Any) -> bool:
    """Whether each value is as long as its header says, and the pixel data as the image says."""
    for element in dataset._dict.values():
        length, value = getattr(element, "length", None), getattr(element, "value", None)
        if length not in (None, 0xFFFFFFFF) and isinstance(value, bytes) and len(value) != length:
            return False
    if dataset.file_meta.TransferSyntaxUID.is_compressed or "Rows" not in dataset:
        return True
    frames = int(dataset.get("NumberOfFrames") or 1)
    samples = frames * int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1)
    if "PixelData" in dataset:
        if str(dataset.get("PhotometricInterpretation")).startswith("YBR_FULL_4"):
            samples = samples * 2 // 3
        return len(dataset.get_item("PixelData").value) * 8 >= samples * int(dataset.BitsAllocated)
    return all(len(dataset.get_item(tag).value) >= samples * width for tag, width in _FLOATS if tag in dataset)


def _read_account(path: Path) -> tuple[bytes, dict[str, tuple[int, str]]]:
    """The secret and the files of an account; a new secret where there is none yet."""
    lines = path.read_bytes().splitlines() if path.is_file() else []
    if not lines:
        return secrets.token_bytes(KEY_BYTES), {}
    try:
        head = json.loads(lines[0])
        secret = bytes.fromhex(head["secret"])
        if head["medseg_pull"] != _VERSION or len(secret) < KEY_BYTES:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise RequestError(
            "the account of an earlier pull (NAME.pull.jsonl) is damaged; pull into a new folder"
        ) from None
    known = {}
    for line in lines[1:]:
        try:
            entry = json.loads(line)
            known[str(entry["file"])] = (int(entry["bytes"]), str(entry["sha256"]))
        except (ValueError, KeyError, TypeError):
            continue
    return secret, known
