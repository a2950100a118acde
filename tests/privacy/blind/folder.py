"""The folder that the corpus is written to, and what should become of each file in it."""

import io
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.dataset import FileDataset
from pydicom.filewriter import dcmwrite

from tests.privacy.blind.people import Planter


@dataclass(frozen=True)
class Expected:
    """What should become of a file: True kept, False anything but kept, None either."""

    path: str
    keep: bool | None
    kind: str


@dataclass
class Folder:
    """Where files are put, and the people in them."""

    root: Path
    people: Planter
    expected: list[Expected] = field(default_factory=list)

    def put(self, path: str, data: FileDataset | bytes, *, keep: bool | None = True, kind: str = "") -> None:
        """Write a file."""
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data if isinstance(data, bytes) else to_bytes(data))
        kind = kind or (str(data.Modality) if isinstance(data, FileDataset) else target.suffix)
        self.expected.append(Expected(path, keep, kind))


def to_bytes(ds: FileDataset, preamble: bytes = b"\0" * 128, tail: bytes = b"") -> bytes:
    """A data set as the file that a scanner would have written."""
    stream = io.BytesIO()
    ds.preamble = preamble
    dcmwrite(stream, ds, enforce_file_format=True)
    return stream.getvalue() + tail
