"""Restore: give a result that was made on de-identified copies its own patient and study back.

Only who has the project's key and the original series can do it: each UID of an original is turned into its pseudonym
once more, and the result's references are turned back by that table. Dates become the original study's, as the results'
own dates were its shifted ones (docs/decisions/0003). What is restored is identified data.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.data.files import atomic_write
from medseg.data.made_from import MADE_FROM
from medseg.data.refusal import Refusal
from medseg.errors import DataError, ReadError, RequestError
from medseg.pacs.archive import quiet
from medseg.privacy.pseudonym import Pseudonymiser

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["RestoreReport", "restore_results"]

_PATIENT_AND_STUDY = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientBirthTime", "PatientSex",
    "PatientAge", "PatientSize", "PatientWeight", "OtherPatientIDs", "EthnicGroup", "PatientComments",
    "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription", "ReferringPhysicianName",
)  # fmt: skip
"""Attributes that a result shares with its study: it has the original's, or none (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2)."""
_REQUIRED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
             "StudyID", "ReferringPhysicianName")  # fmt: skip
"""Those of type 2: empty where the original has none."""
_MARKS = (
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified",
)  # fmt: skip
_REFERENCES = frozenset(("StudyInstanceUID", "FrameOfReferenceUID", "ReferencedSOPInstanceUID"))
"""UIDs that have to lead to an original, or to another of the results."""
_STANDARD = "1.2.840.10008."


@dataclass(frozen=True)
class RestoreReport:
    """What a restoration did.

    Attributes:
        written: Number of results that were restored.
        refusals: Results that weren't, each with its reason.
    """

    written: int
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, eq=False)
class _Originals:
    """The original series: pseudonym to original UID, and the head of each study, by its original UID."""

    uids: dict[str, str] = field(repr=False)
    heads: dict[str, Dataset] = field(repr=False)


def restore_results(
    results: Path,
    originals: Path,
    out: Path,
    *,
    key: bytes,
    progress: Callable[[int, int], None] | None = None,
) -> RestoreReport:
    """Give the DICOM results of a folder their patients back. The names of the files stay: they are pseudonyms.

    The same call again writes the same files; its UIDs can't be tied to the pseudonymous ones without the key.

    Args:
        results: Folder of DICOM SEG, structure sets, reports, made on what `medseg deidentify` wrote.
        originals: Folder of the series as they were before, for example from `pull`.
        out: New or empty folder; nobody else can read it. It holds identified data.
        key: The project's key.
        progress: Called with the number of results done, and of all.

    Raises:
        RequestError: A folder is missing or holds nothing of use, or the output would lie in another of them.
        OSError: The disk is full.
    """
    results, originals, out = (Path(p).resolve() for p in (results, originals, out))
    if any(out == folder or folder in out.parents for folder in (results, originals)):
        raise RequestError("expected an output folder outside the results and the originals, found one inside")
    found = results.rglob("*") if results.is_dir() else ()
    files = sorted(p for p in found if p.is_file() and p.name != MADE_FROM)
    if not files:
        raise RequestError("expected a folder of DICOM results, found no file there")
    names = {path.relative_to(results) for path in files}
    if out.exists() and (
        not out.is_dir() or any(p.is_file() and p.relative_to(out) not in names for p in out.rglob("*"))
    ):
        raise RequestError(
            "expected a new or empty output folder, or one of the same call before; found something else"
        )
    pseudonyms = Pseudonymiser(key)
    with quiet():
        known = _read_originals(originals, pseudonyms)
        own, studies = _uids_of(files)
        if studies & set(known.heads):
            raise RequestError(
                "expected the original series, found those that the results were made on; name the folder before "
                "de-identification, or push results of identified series as they are"
            )
        refusals = []
        for number, path in enumerate(files, start=1):
            try:
                data = _restored(_open(path), known, own, pseudonyms)
                out.mkdir(mode=0o700, parents=True, exist_ok=True)
                with atomic_write(out / path.relative_to(results)) as file:
                    file.write(data)
            except DataError as error:
                refusals.append(Refusal(f"file {number} of {len(files)}", str(error)))
            if progress is not None:
                progress(number, len(files))
    return RestoreReport(len(files) - len(refusals), tuple(refusals))


def _uids_of(files: Sequence[Path]) -> tuple[frozenset[str], frozenset[str]]:
    """UIDs of the results themselves, since they may refer to each other, and of their studies."""
    own, studies = set(), set()
    for path in files:
        with suppress(ReadError):
            head = _open(path, head=True)
            own.add(str(head.SOPInstanceUID))
            studies.add(str(head.StudyInstanceUID))
    return frozenset(own), frozenset(studies)


def _open(path: Path, *, head: bool = False) -> Dataset:
    import pydicom

    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=head)
        if dataset.SOPInstanceUID and dataset.StudyInstanceUID:
            return dataset
    except Exception:
        # pydicom raises whatever a damaged or hostile file makes it raise.
        raise ReadError("expected a DICOM object, found another or a damaged file") from None
    raise ReadError("expected a DICOM object with UIDs of its own and of its study, found none")


def _read_originals(folder: Path, pseudonyms: Pseudonymiser) -> _Originals:
    import pydicom

    uids: dict[str, str] = {}
    heads: dict[str, Dataset] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        if not path.is_file():
            continue
        try:
            head = pydicom.dcmread(path, stop_before_pixels=True)
            study = str(head.StudyInstanceUID)
            found = {str(uid) for element in _elements(head) if element.VR == "UI" for uid in _values(element)}
        except Exception:
            # pydicom raises whatever a damaged or hostile file makes it raise.
            continue
        uids |= {pseudonyms.uid(uid): uid for uid in found}
        heads.setdefault(study, head)
    if not heads:
        raise RequestError("expected a folder of the original DICOM series, found none there")
    return _Originals(uids, heads)


def _restored(result: Dataset, known: _Originals, own: frozenset[str], pseudonyms: Pseudonymiser) -> bytes:
    """The result as its originals' own; changes `result`.

    Raises:
        DataError: It refers to something that isn't among the originals.
    """
    import pydicom

    strangers = sum(
        uid not in known.uids and uid not in own
        for element in _elements(result)
        if element.keyword in _REFERENCES
        for uid in _values(element)
    )
    if strangers:
        raise DataError(
            f"{strangers} of its references lead to no original; expected the series that it was made on, and the key "
            "that they were de-identified with"
        )
    head = known.heads.get(known.uids.get(str(result.StudyInstanceUID), ""))
    if head is None:
        raise DataError("the originals refer to its study, but none of them is of that study")
    result.decode()
    for element in _elements(result):
        _turn_back(element, head, known.uids, pseudonyms)
    _take_over(result, head)
    result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, result, enforce_file_format=True)
    return buffer.getvalue()


def _turn_back(element: Any, head: Dataset, uids: Mapping[str, str], pseudonyms: Pseudonymiser) -> None:
    """Give one attribute its original UIDs, or its original study's date and time."""
    if not element.value:
        return
    date, time = str(head.get("StudyDate") or "19000101"), str(head.get("StudyTime") or "000000")
    if element.VR == "UI":
        turned = [_own_uid(str(uid), uids, pseudonyms) for uid in _values(element)]
        element.value = turned if len(turned) > 1 else turned[0]
    elif element.VR == "DA":
        element.value = date
    elif element.VR == "TM":
        element.value = time
    elif element.VR == "DT":
        element.value = f"{date}{time}"


def _own_uid(uid: str, uids: Mapping[str, str], pseudonyms: Pseudonymiser) -> str:
    """The original of a pseudonym; the standard's UIDs as they are; for the result's own a new one, made by the key."""
    if uid.startswith(_STANDARD):
        return uid
    return uids.get(uid) or pseudonyms.pseudo_uid("restored", uid)


def _take_over(result: Dataset, head: Dataset) -> None:
    """Patient and study of the original, in UTF-8; of de-identification what the original says of itself."""
    for keyword in (*_MARKS, *_PATIENT_AND_STUDY):
        if keyword in result:
            delattr(result, keyword)
    result.SpecificCharacterSet = "ISO_IR 192"
    for keyword in _MARKS:
        if keyword in head:
            result[keyword] = head[keyword]
    for keyword in _PATIENT_AND_STUDY:
        value = head.get(keyword)
        if value not in (None, ""):
            setattr(result, keyword, str(value) if keyword == "PatientName" else value)
        elif keyword in _REQUIRED:
            setattr(result, keyword, "")


def _elements(dataset: Dataset) -> Iterator[Any]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        else:
            yield element


def _values(element: Any) -> list[Any]:
    value = element.value
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
