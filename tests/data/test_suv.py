"""SUV by body weight, lean body mass and body surface area, against the closed forms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from medseg.data.dicom import read_series
from medseg.data.importer import ImportOptions, import_tree
from medseg.data.reading import Reading, SuvKind, reading_for, require_same_pet
from medseg.data.recognise import Choice
from medseg.errors import DataError
from tests.data.dicom_factory import Series, make_series

_LEFT = 2 ** (-3600 / 6586.2)
_MAN = (1.10 * 70 - 128 * (70 / 175) ** 2) * 1000
_WOMAN = (1.07 * 70 - 148 * (70 / 175) ** 2) * 1000
_SURFACE = 71.84 * 70**0.425 * 175**0.725


def _pet(**facts: object) -> Series:
    dose = Dataset()
    dose.RadionuclideTotalDose, dose.RadionuclideHalfLife = 370e6, 6586.2
    dose.RadiopharmaceuticalStartTime = "100000"
    common = {
        "Units": "BQML", "CorrectedImage": ["ATTN", "DECY"], "DecayCorrection": "START", "PatientWeight": 70,
        "PatientSize": 1.75, "PatientSex": "M", "SeriesDate": "20200102", "SeriesTime": "110000",
        "AcquisitionDate": "20200102", "AcquisitionTime": "110000", "RadiopharmaceuticalInformationSequence": [dose],
    }  # fmt: skip
    return make_series((3, 5, 6), modality="PT", extra={**common, **facts})


def _factor(folder: Path, kind: SuvKind, **facts: object) -> tuple[float, tuple[str, ...], tuple[str, ...]]:
    series = _pet(**facts)
    volume = read_series(series.write(folder), reading=Reading(suv=kind))
    factors = volume.array[0] / series.voxels.transpose(2, 1, 0)
    np.testing.assert_allclose(factors, factors.flat[0], rtol=1e-5)
    return float(factors.flat[0]), volume.channels, volume.notes


@pytest.mark.parametrize(
    ("kind", "facts", "expected", "channel"),
    [
        ("bw", {}, 70_000 / (370e6 * _LEFT), "PT"),
        ("lbm", {}, _MAN / (370e6 * _LEFT), "SUVlbm"),
        ("lbm", {"PatientSex": "F"}, _WOMAN / (370e6 * _LEFT), "SUVlbm"),
        ("bsa", {}, _SURFACE / (370e6 * _LEFT), "SUVbsa"),
        ("bsa", {"DecayCorrection": "ADMIN"}, _SURFACE / 370e6, "SUVbsa"),
        ("lbm", {"Units": "GML"}, _MAN / 70_000, "SUVlbm"),
        ("bw", {"Units": "CM2ML"}, 70_000 / _SURFACE, "PT"),
        ("bw", {"Units": "GML", "SUVType": "LBMJAMES128"}, 70_000 / _MAN, "PT"),
        ("lbm", {"Units": "GML", "SUVType": "LBMJAMES128"}, 1.0, "SUVlbm"),
    ],
)
def test_every_suv_is_its_closed_form(
    tmp_path: Path, kind: SuvKind, facts: dict[str, object], expected: float, channel: str
) -> None:
    factor, channels, _ = _factor(tmp_path, kind, **facts)
    assert factor == pytest.approx(expected, rel=1e-5)
    assert channels == (channel,)
    assert reading_for(channels).suv == kind


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        ("lbm", {"PatientSize": None}),
        ("lbm", {"PatientSex": "O"}),
        ("bsa", {"PatientSize": 0}),
        ("bsa", {"PatientSize": 175}),
        ("lbm", {"Units": "GML", "PatientSex": ""}),
    ],
)
def test_what_the_header_lacks_is_named_and_the_values_are_left(
    tmp_path: Path, kind: SuvKind, facts: dict[str, object]
) -> None:
    factor, channels, notes = _factor(tmp_path, kind, **facts)
    assert (factor, channels) == (1.0, ("PTstored",))
    assert any("lacks weight" in note for note in notes)


def test_pet_becomes_suvbw_by_the_closed_form(tmp_path: Path) -> None:
    series = _pet()
    volume = read_series(series.write(tmp_path))
    factor = 70_000 / (370e6 * 2 ** (-3600 / 6586.2))
    np.testing.assert_allclose(volume.array[0], series.voxels.transpose(2, 1, 0) * factor, rtol=1e-5)
    assert "PET scaled to SUVbw" in volume.notes
    dose = series.slices[0].RadiopharmaceuticalInformationSequence[0]
    dose.RadionuclideTotalDose = 370
    stated = read_series(series.write(tmp_path))
    np.testing.assert_allclose(stated.array, volume.array, rtol=1e-6)
    assert "PET scaled to SUVbw; the injected activity was stated in MBq, against the standard" in stated.notes


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({"PatientWeight": None}, "lacks the body weight"),
        ({"PatientWeight": 70_000}, "lacks the body weight (in kg)"),
        ({"Units": "PROPCNTS"}, "stored units"),
        ({"CorrectedImage": ["ATTN"]}, "lacks attenuation and decay correction"),
        ({"DecayCorrection": "NONE"}, "lacks a decay correction"),
        ({"RadiopharmaceuticalInformationSequence": []}, "lacks the injected activity"),
        ({"SeriesTime": None, "AcquisitionTime": None}, "lacks the times"),
    ],
)
def test_pet_without_what_suv_needs_is_left_and_said_so(tmp_path: Path, facts: dict[str, object], note: str) -> None:
    series = _pet(**facts)
    volume = read_series(series.write(tmp_path))
    np.testing.assert_array_equal(volume.array[0], series.voxels.transpose(2, 1, 0))
    assert (volume.channels, volume.unit) == (("PTstored",), "")
    assert any(note in text for text in volume.notes)


def test_a_model_gets_the_quantity_that_it_was_trained_on_or_nothing(tmp_path: Path) -> None:
    files = _pet().write(tmp_path)
    stored = read_series(files, reading=reading_for(["PTstored"]))
    assert stored.channels == ("PTstored",)
    for trained, found in [(["PT"], ["PTstored"]), (["PTstored"], ["PT"]), (["SUVlbm"], ["PT"])]:
        with pytest.raises(DataError, match="which this model was trained on"):
            require_same_pet(found, trained)
    for trained, found in [(["PT"], ["PT"]), (["PT"], ["image"]), (["CT"], ["PTstored"])]:
        require_same_pet(found, trained)


def test_cases_whose_pet_is_no_suv_are_refused_among_those_whose_is(tmp_path: Path) -> None:
    for number in range(3):
        facts = {"PatientWeight": None} if number == 2 else {}
        _pet(PatientID=f"p{number}", **facts).write(tmp_path / "in" / f"p{number}")
    report = import_tree(tmp_path / "in", tmp_path / "out", options=ImportOptions(choice=Choice()))
    assert (report.cases, len(report.refusals)) == (2, 1)
    assert (
        "the channels PT, as most images here have; found 3 axes and the channels PTstored" in report.refusals[0].reason
    )
