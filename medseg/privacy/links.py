"""Links: what a finished de-identification ties together, for the crosswalk of the data steward."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from medseg.errors import DataError
from medseg.privacy.crosswalk import Link
from medseg.privacy.deflated import check_deflated
from medseg.privacy.inputs import read_input, shown
from medseg.privacy.outcomes import Outcome
from medseg.privacy.person import patient_key, text_of
from medseg.privacy.pseudonym import Pseudonymiser

__all__ = ["links_of"]

_TAGS = ("SpecificCharacterSet", "PatientID", "PatientName", "PatientBirthDate", "AccessionNumber", "StudyInstanceUID",
         "SeriesInstanceUID")  # fmt: skip


def links_of(
    source: Path, files: Sequence[str], written: Sequence[Outcome], *, pseudonyms: Pseudonymiser, shifted: bool
) -> Iterator[Link]:
    """Source path and copy of each written file; and of each DICOM series whose it is.

    The headers are read again, one file a series, so that a run that was killed and gone on with knows all of them.

    Args:
        source: The source folder.
        files: Names of all inputs, by running number less 1.
        written: Outcomes of the files that have a copy.
        pseudonyms: Gives the pseudonyms.
        shifted: Whether the profile moved the dates.
    """
    seen: set[str] = set()
    for outcome in written:
        name = files[outcome.number - 1]
        yield Link("file", outcome.place, shown(name))
        series = outcome.place.rpartition("/")[0]
        if outcome.kind == "dicom" and series not in seen:
            seen.add(series)
            yield from _series_links(source, name, outcome.place, pseudonyms, shifted=shifted)


def _series_links(source: Path, name: str, place: str, pseudonyms: Pseudonymiser, *, shifted: bool) -> Iterator[Link]:
    try:
        dataset = _header(read_input(source, name))
    except (DataError, OSError):
        return
    patient, study, series = place.split("/")[:3]
    key = patient_key(dataset)
    accession = text_of(dataset, 0x00080050)
    found = [
        Link("patient", patient, key),
        Link("name", patient, text_of(dataset, 0x00100010)),
        Link("birth date", patient, text_of(dataset, 0x00100030)),
        Link("study", study, text_of(dataset, 0x0020000D)),
        Link("series", series, text_of(dataset, 0x0020000E)),
        Link("accession", pseudonyms.accession(accession), accession),
        Link("shift", patient, f"{pseudonyms.shift_days(key)} days" if shifted else ""),
    ]
    yield from (link for link in found if link.original)


def _header(data: bytes) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_deflated(io.BytesIO(data))
        return pydicom.dcmread(io.BytesIO(data), force=True, stop_before_pixels=True, specific_tags=list(_TAGS))
