"""The exceptions medseg raises on purpose, and the exit status each one means.

```
MedsegError                     1   something we did not foresee (our bug)
├── RequestError                2   the request is wrong; nothing was written
│   ├── ConfigError                 a study file or an override
│   ├── ManifestError               a manifest, a card or a folds file
│   │   └── LeakageError            one patient, file or picture on both sides of a split
│   ├── PlanError                   no plan fits these data, this device or this budget
│   ├── RunError                    a run folder that is locked, incomplete or of another study
│   ├── ArchiveError                an archive (PACS) that cannot be reached or does not let us in
│   │   └── ConnectionLostError         an archive that stopped answering half-way
│   ├── StorageError                a disk that is full or read-only, a file that cannot be written
│   └── MissingExtraError           an optional package that is not installed
├── DataError                   3   one input is refused; the others go on
│   ├── ReadError                   a file that is missing, truncated or of an unknown format
│   ├── GeometryError               slices, grids or frames that do not fit together
│   └── LabelError                  a label map with unknown values or without content
└── PrivacyError                4   the gate refused to let something out
```

A message says what was expected, what was found and what to do. It never holds a patient's name, the value of a DICOM
attribute or the path of a source file.
"""

from __future__ import annotations

__all__ = [
    "ArchiveError",
    "ConfigError",
    "ConnectionLostError",
    "DataError",
    "GeometryError",
    "LabelError",
    "LeakageError",
    "ManifestError",
    "MedsegError",
    "MissingExtraError",
    "PlanError",
    "PrivacyError",
    "ReadError",
    "RequestError",
    "RunError",
    "StorageError",
]


class MedsegError(Exception):
    """Base of every exception that medseg raises on purpose."""

    exit_status = 1


class RequestError(MedsegError):
    """The request cannot be carried out as it stands; nothing was written."""

    exit_status = 2


class ConfigError(RequestError):
    """A study file or an override is wrong."""


class ManifestError(RequestError):
    """A manifest, a card or a folds file is wrong."""


class LeakageError(ManifestError):
    """The same patient, file or picture stands on both sides of a split."""


class PlanError(RequestError):
    """No plan fits these data, this device or this budget."""


class RunError(RequestError):
    """A run folder is locked, incomplete or belongs to another study."""


class ArchiveError(RequestError):
    """An archive (PACS) cannot be reached, isn't trusted, doesn't let us in or doesn't answer as the standard says."""


class ConnectionLostError(ArchiveError):
    """An archive stopped answering half-way; what has arrived by then stays."""


class StorageError(RequestError):
    """A disk is full or read-only, or a file cannot be written."""


class MissingExtraError(RequestError):
    """An optional package is not installed.

    Args:
        feature: What was asked for, in words.
        extra: The extra that brings it, as in ``pip install "medseg[extra]"``.
        first: What has to be changed before that helps, in words.
    """

    def __init__(self, feature: str, extra: str, *, first: str = "") -> None:
        how = f'pip install "medseg[{extra}]"'
        how = f"{first}, then: {how}" if first else f"install it with: {how}"
        super().__init__(f"{feature} needs an optional package; {how}")
        self.feature = feature
        self.extra = extra


class DataError(MedsegError):
    """One input is refused; the others go on."""

    exit_status = 3


class ReadError(DataError):
    """A file is missing, truncated or of an unknown format."""


class GeometryError(DataError):
    """Slices, grids or frames of reference do not fit together."""


class LabelError(DataError):
    """A label map has unknown values or no content."""


class PrivacyError(MedsegError):
    """The privacy gate refused to let something out."""

    exit_status = 4
