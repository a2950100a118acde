"""The hostile corpus of DICOM files: nothing planted gets out, everything is kept, references and intervals hold."""

from __future__ import annotations

import datetime
import io
import re
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset

from medseg.privacy.deidentify import DeidentifyReport, deidentify_tree, input_files
from medseg.privacy.dicom import read_dicom
from medseg.privacy.person import patient_key
from medseg.privacy.pseudonym import Pseudonymiser
from tests.privacy.corpus import Planted
from tests.privacy.corpus.corpora import make_dicom_corpus
from tests.privacy.corpus.readings import found
from tests.privacy.test_deidentify import KEY, unseen

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
"""The corpus breaks rules on purpose, and pydicom says so."""
Cleaned = tuple[Path, list[Planted], dict[str, Path], DeidentifyReport]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Planted]]:
    folder = tmp_path_factory.mktemp("source")
    return folder, make_dicom_corpus(folder)


@pytest.fixture(scope="module", params=["research", "minimal-risk"])
def cleaned(
    request: pytest.FixtureRequest, source: tuple[Path, list[Planted]], tmp_path_factory: pytest.TempPathFactory
) -> Cleaned:
    out = tmp_path_factory.mktemp(request.param) / "out"
    looked = range(1, 1000)
    report = deidentify_tree(source[0], out, profile=unseen(request.param), key=KEY, accepted=looked)
    outcomes = zip(input_files(source[0]), report.outcomes, strict=True)
    places = {name.partition("\0")[0]: out / outcome.place for name, outcome in outcomes if outcome.place}
    return source[0], source[1], places, report


def test_every_file_is_kept(cleaned: Cleaned) -> None:
    _, planted, places, report = cleaned
    assert len(planted) == len(report.outcomes) >= 100
    assert [item.path for item in planted if item.path not in places] == []


def test_no_reading_of_a_copy_gives_an_identity_away(cleaned: Cleaned) -> None:
    """A date that is another one moved is none of the patient's."""
    folder, planted, places, _ = cleaned
    leaks = []
    for item in planted:
        data = places[item.path].read_bytes()
        given = found(data, item.identities) | found(_values(data), item.identities)
        dates = {name for name in given if re.fullmatch(r"19\d{6}", name)}
        moved = _moved(folder / item.path, item.identities) if dates else set()
        leaks += [(item.path, name) for name in given if name not in dates & moved]
    assert leaks == []


def test_every_reference_leads_to_a_copy_and_days_between_dates_are_exact(cleaned: Cleaned) -> None:
    folder, _, places, report = cleaned
    copies = {name: pydicom.dcmread(path) for name, path in places.items() if name.startswith("study/")}
    originals = {name: pydicom.dcmread(folder / name) for name in copies}
    uids = {copy.SOPInstanceUID for copy in copies.values()} | {copy.StudyInstanceUID for copy in copies.values()}
    for name, copy in copies.items():
        wanted = _references(originals[name])
        assert len(_references(copy)) >= (len(wanted) if name != "study/state" else 1)
        assert set(_references(copy)) <= uids, name
    assert len({copy.PatientID for copy in copies.values()}) == 1
    if report.written and copies["study/slice0"].StudyDate:
        days = {name: _day(copy.StudyDate) - _day(originals[name].StudyDate) for name, copy in copies.items()}
        assert len(set(days.values())) == 1
        tracer = copies["study/tracer"]
        given = tracer.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime
        assert (_moment(tracer.AcquisitionDateTime) - _moment(given)) == datetime.timedelta(hours=1)


def test_pixels_and_places_are_what_they_were(cleaned: Cleaned) -> None:
    folder, planted, places, _ = cleaned
    for item in planted:
        if item.path.startswith("study/slice") or item.path == "study/dose":
            copy, original = pydicom.dcmread(places[item.path]), pydicom.dcmread(folder / item.path)
            np.testing.assert_array_equal(copy.pixel_array, original.pixel_array)
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
                assert copy[keyword].value == original[keyword].value


def test_a_report_keeps_its_measurements_codes_and_regions_only(cleaned: Cleaned) -> None:
    copy = pydicom.dcmread(cleaned[2]["study/report"])
    kinds = {element.value for element in copy.iterall() if element.keyword == "ValueType"}
    assert kinds - {"DATETIME"} == {"CONTAINER", "CODE", "NUM", "UIDREF", "SCOORD", "IMAGE"}
    (volume,) = (item for item in copy.ContentSequence if item.ValueType == "NUM")
    assert float(volume.MeasuredValueSequence[0].NumericValue) == 12.5
    assert volume.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "mm3"
    assert list(volume.ContentSequence[0].GraphicData) == [4.0, 5.0]
    assert (copy.VerificationFlag, copy.CompletionFlag) == ("UNVERIFIED", "PARTIAL")
    assert "113104" in [item.CodeValue for item in copy.DeidentificationMethodCodeSequence]


def test_what_the_standard_lists_stays_in_plans_doses_and_presentation_states(cleaned: Cleaned) -> None:
    copies = {name: pydicom.dcmread(cleaned[2][f"study/{name}"]) for name in ("dose", "plan", "state", "registration")}
    assert (copies["dose"].DoseUnits, copies["dose"].DoseSummationType) == ("GY", "PLAN")
    assert copies["plan"].BeamSequence[0].RadiationType == "PHOTON"
    assert copies["state"].DisplayedAreaSelectionSequence[0].PresentationSizeMode == "SCALE TO FIT"
    matrix = copies["registration"].RegistrationSequence[0].MatrixRegistrationSequence[0].MatrixSequence[0]
    assert matrix.FrameOfReferenceTransformationMatrixType == "RIGID"


def _values(data: bytes) -> bytes:
    """The values of all elements of a file, as pydicom decodes them."""
    elements = pydicom.dcmread(io.BytesIO(data)).iterall()
    return "\n".join(str(element.value) for element in elements if element.VR != "SQ").encode("utf-8", "replace")


def _moved(path: Path, dates: list[str]) -> set[str]:
    days = Pseudonymiser(KEY).shift_days(patient_key(read_dicom(path.read_bytes())))
    return {f"{_day(date) + datetime.timedelta(days=days):%Y%m%d}" for date in dates if re.fullmatch(r"19\d{6}", date)}


def _references(ds: FileDataset) -> list[str]:
    return [str(element.value) for element in ds.iterall() if element.keyword == "ReferencedSOPInstanceUID"]


def _day(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, "%Y%m%d")


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text[:14], "%Y%m%d%H%M%S")
