"""DICOM source: the series that a prediction was made on, as the object written beside it needs it.

A SEG, a structure set and a report refer to the instances of their source, share its frame of reference and carry its
patient and study. What they have in common is here.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.data.card import CodedConcept, LabelInfo
from medseg.errors import DataError, LabelError, PrivacyError, ReadError
from medseg.types import Array, LabelMap

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "ABNORMAL",
    "ARTIFICIAL_INTELLIGENCE",
    "DEIDENTIFICATION",
    "LESION",
    "Algorithm",
    "SourceTimes",
    "add_missing",
    "check_values",
    "code_item",
    "equipment_of",
    "make_timeless",
    "needing",
    "read_sources",
    "require_deidentified",
    "set_dimensions",
    "times_of",
    "uid_maker",
    "without_warnings",
]

DEIDENTIFICATION = (
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)
"""Attributes by which a source says that it was de-identified; what is written on it says so too."""
LESION = CodedConcept(value="52988006", scheme="SCT", meaning="Lesion")
ABNORMAL = CodedConcept(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure")
ARTIFICIAL_INTELLIGENCE = CodedConcept(value="123109", scheme="DCM", meaning="Artificial Intelligence")
_NEUTRAL_DATE, _NEUTRAL_TIME = "19000101", "000000"


@dataclass(frozen=True)
class Algorithm:
    """What drew the segments.

    Attributes:
        name: Name of the model, at most 64 characters.
        version: Version of medseg that predicted.
        model_id: Digest of the model package.
    """

    name: str
    version: str
    model_id: str

    @property
    def serial_number(self) -> str:
        """The beginning of the model's digest, as Device Serial Number."""
        return self.model_id[:16] or "unknown"


@dataclass(frozen=True)
class SourceTimes:
    """The study date and time of the source, which everything written on it bears: no clock is read."""

    date: str
    time: str


def read_sources(files: Sequence[Path]) -> list[Dataset]:
    """The source instances without their pixels, in the order of the files.

    Raises:
        ReadError: A file cannot be read as DICOM, or the files are not of one series.
    """
    import pydicom

    if not files:
        raise ReadError("expected the DICOM files of the source series; got none")
    sources: list[Dataset] = []
    for number, file in enumerate(files, start=1):
        try:
            sources.append(pydicom.dcmread(file, stop_before_pixels=True, force=False))
        except (pydicom.errors.InvalidDicomError, OSError, ValueError, EOFError):
            raise ReadError(f"source file {number} of {len(files)} cannot be read as DICOM") from None
    if len({source.get("SeriesInstanceUID") for source in sources}) != 1:
        raise ReadError("expected the files of one series; these belong to several")
    return sources


def check_values(label_map: LabelMap, labels: Mapping[int, LabelInfo]) -> None:
    """Refuse values that nobody described.

    Raises:
        LabelError: The label map has a value that `labels` doesn't know, or there is none to know.
    """
    if not labels:
        raise LabelError("expected at least one label to describe; the card has none")
    unknown = sorted(set(np.unique(label_map).tolist()) - {0} - set(labels))
    if unknown:
        known = ", ".join(str(value) for value in sorted(labels))
        raise LabelError(f"expected label values 0, {known}; found {unknown[0]} too, add it to the card")


def require_deidentified(
    sources: Sequence[Dataset], what: str, *, identified_source: Literal["refuse", "keep"]
) -> None:
    """Refuse to carry a patient's attributes into a new file.

    Args:
        sources: The source instances.
        what: What would carry them, with its article.
        identified_source: ``refuse`` wants a source that says it was de-identified; ``keep`` takes any.

    Raises:
        PrivacyError: The source does not say that it was de-identified.
    """
    if identified_source == "refuse" and any(s.get("PatientIdentityRemoved") != "YES" for s in sources):
        raise PrivacyError(
            f"the source series does not say that it was de-identified, and {what} would carry its patient; "
            "run `medseg deidentify` first and predict on its output"
        )


def times_of(source: Dataset) -> SourceTimes:
    """Which date and time that is; neutral ones where the source has none."""
    return SourceTimes(
        date=str(source.get("StudyDate") or _NEUTRAL_DATE), time=str(source.get("StudyTime") or _NEUTRAL_TIME)
    )


@contextmanager
def without_warnings() -> Iterator[None]:
    """Drop warnings: pydicom's and highdicom's repeat attribute values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def needing(words: str) -> Iterator[None]:
    """Turn what the libraries raise of an incomplete source into one error.

    Args:
        words: What the object needs its source to have, and what to do without it; goes on "lacks what".

    Raises:
        DataError: The source lacks something.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(f"the source series lacks what {words}") from None


def equipment_of(algorithm: Algorithm) -> dict[str, Any]:
    """What made an object that is the only one of its series, as highdicom takes it."""
    return {
        "series_number": 1,
        "instance_number": 1,
        "manufacturer": "medseg",
        "manufacturer_model_name": "medseg",
        "software_versions": algorithm.version,
        "device_serial_number": algorithm.serial_number,
    }


def code_item(concept: CodedConcept) -> Any:
    """The concept as highdicom's sequence item."""
    import highdicom as hd

    return hd.sr.CodedConcept(value=concept.value, scheme_designator=concept.scheme, meaning=concept.meaning)


def add_missing(source: Dataset) -> None:
    """Make good what highdicom reads without asking: absent type 2 attributes become empty."""
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        if keyword not in source:
            setattr(source, keyword, "")
    for keyword in ("StudyDate", "StudyTime"):
        if keyword not in source:
            setattr(source, keyword, None)
    if "SpecificCharacterSet" in source and not source.SpecificCharacterSet:
        del source.SpecificCharacterSet  # empty means the default, which highdicom takes for an error


def make_timeless(content: Dataset, source: Dataset) -> None:
    """Replace the dates that highdicom took from the clock, and keep the source's statement of de-identification."""
    times = times_of(source)
    for prefix in ("InstanceCreation", "Content", "Series"):
        setattr(content, f"{prefix}Date", times.date)
        setattr(content, f"{prefix}Time", times.time)
    for keyword in DEIDENTIFICATION:
        if keyword in source:
            content[keyword] = source[keyword]
    for equipment in content.get("ContributingEquipmentSequence", []):
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = f"{times.date}{times.time}"


def set_dimensions(content: Dataset, uid: str) -> None:
    """Give the frames' dimensions a UID, instead of highdicom's random one."""
    for item in [*content.get("DimensionOrganizationSequence", []), *content.get("DimensionIndexSequence", [])]:
        item.DimensionOrganizationUID = uid


def uid_maker(
    frames: Array, sources: Sequence[Dataset], *, labels: Mapping[int, LabelInfo], algorithm: Algorithm
) -> Callable[[str], str]:
    """A function from a role to a ``2.25.`` UID (PS3.5 B.2) that depends on everything the object says."""
    content = hashlib.sha256(np.ascontiguousarray(frames).tobytes())
    for source in sources:
        content.update(str(source.get("SOPInstanceUID", "")).encode())
    content.update("\n".join(f"{value} {labels[value].model_dump_json()}" for value in sorted(labels)).encode())
    content.update(f"{algorithm}".encode())
    base = content.digest()

    def uid(role: str) -> str:
        return f"2.25.{int.from_bytes(hashlib.sha256(base + role.encode()).digest()[:16], 'big')}"

    return uid
