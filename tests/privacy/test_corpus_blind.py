"""The fifth hostile corpus, made without a look at the code: nothing planted gets out, what can be kept is kept."""

from __future__ import annotations

import codecs
import datetime
import io
import re
import warnings
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from medseg.privacy.deidentify import deidentify_tree, input_files
from tests.privacy.blind import archive, papers
from tests.privacy.blind.people import Planter
from tests.privacy.test_deidentify import KEY, unseen

_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\ufeff^ -_."), None)
_CODECS = (
    "utf-8",
    "utf-16-le",
    "euc_kr",
    "gb18030",
    "shift_jis",
    "cp1251",
    "koi8_r",
    "iso8859_5",
    "iso8859_6",
    "tis_620",
)
"""In which a name of another alphabet may stand in a file."""


class Cleaned:
    """The corpus, what became of it, and who is in it."""

    def __init__(self, folder: Path) -> None:
        people = Planter(20261123)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dicom = archive.make(people, folder / "src" / "dicom", burned=False)
            rest = papers.make(people, folder / "src" / "rest")
        self.src, self.out, self.people = folder / "src", folder / "out", people
        self.expected = {Path(root, one.path): one for root, made in (("dicom", dicom), ("rest", rest)) for one in made}
        self.report = deidentify_tree(
            self.src, self.out, profile=unseen("research"), key=KEY, accepted=range(1, 1000), quarantine=folder / "q"
        )
        self.places: dict[Path, list[str]] = defaultdict(list)
        for name, outcome in zip(input_files(self.src), self.report.outcomes, strict=True):
            self.places[Path(name.partition("\0")[0])].append(outcome.place)


@pytest.fixture(scope="module")
def cleaned(tmp_path_factory: pytest.TempPathFactory) -> Cleaned:
    return Cleaned(tmp_path_factory.mktemp("blind"))


def test_the_corpus_is_as_large_as_it_should_be(cleaned):
    roots = [path.parts[0] for path in cleaned.expected]
    assert roots.count("dicom") >= 200
    assert roots.count("rest") >= 100
    assert len(cleaned.people.planted) >= 8000


def test_what_can_be_kept_is_kept_and_the_rest_is_not(cleaned):
    wrong = [
        (one.kind, list(cleaned.places[path]))
        for path, one in cleaned.expected.items()
        if one.keep is not None and any(map(bool, cleaned.places[path])) is not one.keep
    ]
    assert wrong == []


def test_nobody_is_in_a_copy_its_name_or_the_accounts(cleaned):
    needles = _needles(cleaned.people.planted)
    leaks = []
    for path in sorted(cleaned.out.rglob("*")):
        moved = _moved(path)
        for reading in _readings(path):
            found = {identity for identity in _found(reading, needles) if identity.replace("-", "") not in moved}
            leaks += [(cleaned.people.planted[identity], identity, path.suffix) for identity in found]
    assert leaks == []


def test_days_between_the_dates_of_a_patient_are_exact_and_references_lead_to_copies(cleaned):
    shifts: dict[str, set[datetime.timedelta]] = defaultdict(set)
    uids: set[str] = set()
    references: set[str] = set()
    for path, one in cleaned.expected.items():
        place = next(iter(cleaned.places[path]), "")
        if one.kind != "years":
            continue
        before, after = pydicom.dcmread(cleaned.src / path), pydicom.dcmread(cleaned.out / place)
        uids |= {after.SOPInstanceUID, after.StudyInstanceUID, after.SeriesInstanceUID}
        references |= {str(e.value) for e in after.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
        for name in ("StudyDate", "SeriesDate", "ContentDate"):
            if name in after:
                shifts[before.PatientID].add(_day(after[name].value) - _day(before[name].value))
    assert len(shifts) == 3
    assert [len(days) for days in shifts.values()] == [1, 1, 1]
    assert len(references) > 30
    assert {uid for uid in references if not uid.startswith("1.2.840.10008.")} <= uids


def _day(text: str) -> datetime.date:
    return datetime.datetime.strptime(text, "%Y%m%d").date()


def _moved(path: Path) -> set[str]:
    """The dates of a copy that are somebody else's moved."""
    if path.suffix != ".dcm":
        return set()
    copy = pydicom.dcmread(path, stop_before_pixels=True)
    dated = (str(element.value) for element in copy.iterall() if element.VR in ("DA", "DT"))
    return {text[:8] for text in dated if not text.startswith("0001")}


def _needles(planted: dict[str, str]) -> dict[str, list[tuple[str, str]]]:
    """Forms of each identity, in lower case, by the five letters that they begin with."""
    by_start: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for identity in planted:
        forms = {identity.lower(), identity[::-1].lower(), codecs.encode(identity, "rot13").lower()}
        words = re.split(r"[\s^,]+", identity)
        forms |= {sep.join(words).lower() for sep in "^ _-."}
        if not identity.isascii():
            raw = (identity.encode(codec, "ignore") for codec in _CODECS)
            forms |= {text.decode("latin-1").lower() for text in raw if len(text) >= 2 * len(identity) - 1}
        for form in forms:
            if len(form) >= 5:
                by_start[form[:5]].append((form, identity))
    return by_start


def _found(text: str, needles: dict[str, list[tuple[str, str]]]) -> Iterator[str]:
    """Who is named; a number inside a longer one is nobody's."""
    low = text.lower()
    for start in needles.keys() & {low[place : place + 5] for place in range(len(low) - 4)}:
        for form, identity in needles[start]:
            ends = r"(?<!\d)%s(?!\d)" if form.isdigit() else "%s"
            if form in low and re.search(ends % re.escape(form), low):
                yield identity


def _readings(path: Path) -> Iterator[str]:
    """What a search can read in a file: its name, its bytes, its values with what is invisible taken out."""
    yield path.name
    if not path.is_file():
        return
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data += zlib.decompress(data, 47)
    yield re.sub(rb"[^ -\xff]+", b" ", data).decode("latin-1")
    if path.suffix == ".dcm":
        copy = pydicom.dcmread(io.BytesIO(data))
        yield from _values(copy)
        yield from _values(copy.file_meta)
        if "PixelData" in copy:
            yield copy.pixel_array.astype("u1").tobytes().decode("latin-1")


def _values(dataset: Dataset) -> Iterator[str]:
    texts = []
    for element in dataset.iterall() if hasattr(dataset, "iterall") else dataset:
        if element.VR not in ("SQ", "OB", "OW"):
            values = element.value if element.VM > 1 else [element.value]
            texts += [str(int(v)) if isinstance(v, float | int) and v == v else str(v) for v in values]
    yield " ".join(texts)
    yield "\n".join(text.translate(_INVISIBLE) for text in texts)
