"""SUV of enhanced PET images, against the closed forms and against the same data as a classic series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import EnhancedPETImageStorage, ImplicitVRLittleEndian, generate_uid

from medseg.data.dicom import read_series
from medseg.data.reading import Reading, SuvKind
from medseg.errors import DataError
from tests.data.dicom_factory import Series, make_enhanced, make_item, make_series

_SLOPES = ("1.5", "2.25", "0.75")
_LEFT = 2 ** (-3600 / 6586.2)
_MAN = (1.10 * 70 - 128 * (70 / 175) ** 2) * 1000
_SURFACE = 71.84 * 70**0.425 * 175**0.725
_Change = Callable[[FileDataset], object]


def _classic(**facts: object) -> Series:
    """A classic PET series in Bq/ml, each slice with a slope of its own."""
    dose = make_item(
        RadionuclideTotalDose=370e6, RadionuclideHalfLife=6586.2, RadiopharmaceuticalStartTime="100000",
        RadiopharmaceuticalStartDateTime="20200102100000",
    )  # fmt: skip
    common = {
        "Units": "BQML", "CorrectedImage": ["ATTN", "DECY"], "DecayCorrection": "START", "PatientWeight": 70,
        "PatientSize": "1.75", "PatientSex": "M", "SeriesDate": "20200102", "SeriesTime": "110000",
        "AcquisitionDate": "20200102", "AcquisitionTime": "110000", "RadiopharmaceuticalInformationSequence": [dose],
    }  # fmt: skip
    series = make_series((3, 5, 6), modality="PT", extra={**common, **facts})
    for data, slope in zip(series.slices, _SLOPES, strict=True):
        data.RescaleSlope = slope
    return series


def _mapping(unit: str, slope: float, **facts: object) -> Dataset:
    code = make_item(CodingSchemeDesignator="UCUM", CodeMeaning="unit")
    setattr(code, "CodeValue" if len(unit) <= 16 else "LongCodeValue", unit)
    return make_item(
        MeasurementUnitsCodeSequence=[code], RealWorldValueSlope=slope, RealWorldValueIntercept=0.0, LUTLabel="PET",
        **facts,
    )  # fmt: skip


def _enhanced(series: Series, *, unit: str = "Bq/ml") -> FileDataset:
    """The same numbers as an enhanced PET image, the frames backwards."""
    order = [2, 1, 0]
    data = make_enhanced(series, order=order)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedPETImageStorage
    data.PatientWeight, data.PatientSize, data.PatientSex = 70, "1.75", "M"
    data.DecayCorrected = data.AttenuationCorrected = "YES"
    data.DecayCorrectionDateTime = "20200102110000"
    data.RadiopharmaceuticalInformationSequence = [
        make_item(
            RadionuclideTotalDose=370, RadionuclideHalfLife=6586.2, RadiopharmaceuticalStartDateTime="20200102100000"
        )
    ]
    for number, group in zip(order, data.PerFrameFunctionalGroupsSequence, strict=True):
        group.PixelValueTransformationSequence = [make_item(RescaleSlope=1, RescaleIntercept=0, RescaleType="US")]
        group.RealWorldValueMappingSequence = [_mapping(unit, float(_SLOPES[number]))]
    return data


def _save(data: FileDataset, folder: Path) -> list[Path]:
    folder.mkdir(exist_ok=True)
    data.save_as(folder / "enhanced.dcm")
    return [folder / "enhanced.dcm"]


def _activity(series: Series) -> np.ndarray:
    """Axes (x, y, z)."""
    return (series.voxels * np.array(_SLOPES, dtype=np.float64)[:, None, None]).transpose(2, 1, 0)


@pytest.mark.parametrize(
    ("kind", "size", "channel"), [("bw", 70_000.0, "PT"), ("lbm", _MAN, "SUVlbm"), ("bsa", _SURFACE, "SUVbsa")]
)
@pytest.mark.parametrize("correction", ["START", "ADMIN"])
def test_enhanced_and_classic_pet_of_the_same_data_are_the_same_suv(
    tmp_path: Path, kind: SuvKind, size: float, channel: str, correction: str
) -> None:
    series = _classic(DecayCorrection=correction)
    image = _enhanced(series)
    if correction == "ADMIN":
        image.DecayCorrectionDateTime = "20200102100000.000000"
    classic = read_series(series.write(tmp_path / "classic"), reading=Reading(suv=kind))
    enhanced = read_series(_save(image, tmp_path / "enhanced"), reading=Reading(suv=kind))
    np.testing.assert_array_equal(enhanced.array, classic.array)
    np.testing.assert_allclose(enhanced.affine, classic.affine, atol=1e-9)
    closed = _activity(series) * size / (370e6 * (_LEFT if correction == "START" else 1.0))
    np.testing.assert_allclose(enhanced.array[0], closed, rtol=1e-6)
    assert enhanced.channels == classic.channels == (channel,)
    assert (enhanced.unit, enhanced.notes) == (classic.unit, classic.notes)


@pytest.mark.parametrize(
    ("unit", "kind", "factor"),
    [
        ("kBq/ml", "bw", 1000 * 70_000 / (370e6 * _LEFT)),
        ("g/ml{SUVbw}", "bw", 1.0),
        ("{SUVbw}g/ml", "lbm", _MAN / 70_000),
        ("g/ml", "bw", 1.0),
        ("g/ml{SUVlbm(James128)}", "lbm", 1.0),
        ("cm2/ml{SUVbsa}", "bw", 70_000 / _SURFACE),
    ],
)
def test_every_unit_of_a_mapping_is_taken_for_what_it_is(
    tmp_path: Path, unit: str, kind: SuvKind, factor: float
) -> None:
    series = _classic()
    volume = read_series(_save(_enhanced(series, unit=unit), tmp_path), reading=Reading(suv=kind))
    np.testing.assert_allclose(volume.array[0], _activity(series) * factor, rtol=1e-6)
    assert volume.unit == f"SUV{kind}"


@pytest.mark.parametrize("unit", ["g/ml{SUVlbm}", "g/ml{SUVlbm(Janma)}", "g/ml{SUVibw}", "{counts}", "%"])
def test_units_that_are_no_suv_of_ours_are_left_with_the_slope_of_each_frame(tmp_path: Path, unit: str) -> None:
    series = _classic()
    volume = read_series(_save(_enhanced(series, unit=unit), tmp_path))
    np.testing.assert_allclose(volume.array[0], _activity(series), rtol=1e-6)
    assert (volume.channels, volume.unit) == (("PTstored",), "")
    assert "PET left in its stored units: the header states none that convert to SUVbw" in volume.notes


def _dose(**facts: object) -> _Change:
    return lambda data: [setattr(data.RadiopharmaceuticalInformationSequence[0], *fact) for fact in facts.items()]


def _set(**facts: object) -> _Change:
    return lambda data: [setattr(data, *fact) for fact in facts.items()]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (_set(DecayCorrected="NO"), "lacks attenuation and decay correction"),
        (_set(AttenuationCorrected="NO"), "lacks attenuation and decay correction"),
        (_set(DecayCorrectionDateTime=None), "lacks the times"),
        (_set(DecayCorrectionDateTime="20200102090000"), "lacks plausible times"),
        (_set(DecayCorrectionDateTime="20200105110000"), "lacks plausible times"),
        (_set(DecayCorrectionDateTime="20200102110000+0100"), "lacks the times"),
        (_set(PatientWeight=None), "lacks the body weight"),
        (_dose(RadionuclideTotalDose=None), "lacks the injected activity"),
        (_dose(RadionuclideHalfLife=None), "lacks the half-life"),
        (_dose(RadiopharmaceuticalStartDateTime=""), "lacks the times"),
        (_set(RadiopharmaceuticalInformationSequence=[]), "lacks the injected activity"),
        (_set(RadiopharmaceuticalInformationSequence=[Dataset(), Dataset()]), "lacks one injected activity"),
    ],
)
def test_an_enhanced_pet_without_what_suv_needs_is_left_in_bq_and_said_so(
    tmp_path: Path, change: _Change, note: str
) -> None:
    series = _classic()
    image = _enhanced(series)
    change(image)
    volume = read_series(_save(image, tmp_path))
    np.testing.assert_allclose(volume.array[0], _activity(series), rtol=1e-6)
    assert volume.channels == ("PTstored",)
    assert any(f"PET left in Bq/ml: the header {note}" in text for text in volume.notes)


@pytest.mark.parametrize(
    ("start", "end", "zone"),
    [
        ("20200102100000+0100", "20200102040000-0600", ""),
        ("20200102100000", "20200102120000+0200", "+0100"),
        ("20200101233000", "20200102003000", "-0500"),
    ],
)
def test_time_zones_and_midnight_between_injection_and_scan_count(
    tmp_path: Path, start: str, end: str, zone: str
) -> None:
    series = _classic()
    image = _enhanced(series)
    _dose(RadiopharmaceuticalStartDateTime=start)(image)
    image.DecayCorrectionDateTime = end
    if zone:
        image.TimezoneOffsetFromUTC = zone
    volume = read_series(_save(image, tmp_path))
    np.testing.assert_allclose(volume.array[0], _activity(series) * 70_000 / (370e6 * _LEFT), rtol=1e-6)


def test_equal_dummy_times_of_a_de_identified_file_are_no_decay_correction_to_the_injection(tmp_path: Path) -> None:
    image, dummy = _enhanced(_classic()), "19000101000000"
    image.DecayCorrectionDateTime = dummy
    _dose(RadiopharmaceuticalStartDateTime=dummy)(image)
    times = {f"{word}Time": "000000" for word in ("Series", "Acquisition")}
    series = _classic(**times, SeriesDate="19000101", AcquisitionDate="19000101")
    for data in series.slices:
        data.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartTime = "000000"
    for files in (_save(image, tmp_path / "enhanced"), series.write(tmp_path / "classic")):
        volume = read_series(files)
        assert volume.channels == ("PTstored",)
        assert any("lacks plausible times" in note for note in volume.notes)


def test_several_enhanced_files_of_a_series_are_one_suv_or_left(tmp_path: Path) -> None:
    series, factor = _classic(), 70_000 / (370e6 * _LEFT)
    for later, expected in [("110000", factor), ("113000", 1.0)]:
        files = []
        for number, kept in enumerate([[0], [1, 2]]):
            image = _enhanced(series)
            pixels = image.pixel_array[kept]
            image.PerFrameFunctionalGroupsSequence = [image.PerFrameFunctionalGroupsSequence[place] for place in kept]
            image.NumberOfFrames, image.PixelData = len(kept), pixels.tobytes()
            image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            image.DecayCorrectionDateTime = f"20200102{later if number else '110000'}"
            files += _save(image, tmp_path / f"{later}_{number}")
        volume = read_series(files)
        np.testing.assert_allclose(volume.array[0], _activity(series) * expected, rtol=1e-6)
        assert volume.channels == (("PT",) if later == "110000" else ("PTstored",))
    assert any("its files state different activities or times" in note for note in volume.notes)


def test_an_activity_in_bq_is_told_and_a_long_lived_nuclide_may_take_days(tmp_path: Path) -> None:
    series = _classic()
    image = _enhanced(series)
    _dose(RadionuclideTotalDose=37e6, RadionuclideHalfLife=282_240)(image)
    image.DecayCorrectionDateTime = "20200106100000"
    volume = read_series(_save(image, tmp_path))
    factor = 70_000 / (37e6 * 2 ** (-4 * 86400 / 282_240))
    np.testing.assert_allclose(volume.array[0], _activity(series) * factor, rtol=1e-6)
    assert "PET scaled to SUVbw; the injected activity was stated in Bq, against the standard" in volume.notes


def test_a_mapping_for_all_frames_and_a_rescale_in_bq_are_read_too(tmp_path: Path) -> None:
    series = _classic()
    mapped, rescaled = _enhanced(series), _enhanced(series)
    mapped.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [
        _mapping("{counts}", 1.0),
        _mapping("Bq/ml", 3.0, RealWorldValueFirstValueMapped=0, RealWorldValueLastValueMapped=4095),
    ]
    for group, slope in zip(rescaled.PerFrameFunctionalGroupsSequence, reversed(_SLOPES), strict=True):
        del group.RealWorldValueMappingSequence
        group.PixelValueTransformationSequence = [make_item(RescaleSlope=slope, RescaleIntercept=0, RescaleType="BQML")]
    for group in mapped.PerFrameFunctionalGroupsSequence:
        del group.RealWorldValueMappingSequence
    mapped.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    factor = 70_000 / (370e6 * _LEFT)
    shared = read_series(_save(mapped, tmp_path / "mapped"))
    np.testing.assert_allclose(shared.array[0], series.voxels.transpose(2, 1, 0) * 3 * factor, rtol=1e-6)
    by_rescale = read_series(_save(rescaled, tmp_path / "rescaled"))
    np.testing.assert_allclose(by_rescale.array[0], _activity(series) * factor, rtol=1e-6)


def _all_mappings(*items: Dataset) -> _Change:
    def change(data: FileDataset) -> None:
        for group in data.PerFrameFunctionalGroupsSequence:
            group.RealWorldValueMappingSequence = list(items)

    return change


def _one_unit_other(data: FileDataset) -> None:
    data.PerFrameFunctionalGroupsSequence[0].RealWorldValueMappingSequence = [_mapping("g/ml{SUVbw}", 1.0)]


def _table(data: FileDataset) -> None:
    item = _mapping("Bq/ml", 1.0, RealWorldValueLUTData=[0.0, 1.0])
    del item.RealWorldValueSlope
    _all_mappings(item)(data)


def _contradiction(data: FileDataset) -> None:
    for group in data.PerFrameFunctionalGroupsSequence:
        group.PixelValueTransformationSequence[0].RescaleType = "BQML"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_one_unit_other, "one unit of the values in all frames; found several"),
        (_table, "by a table"),
        (_contradiction, "state different values in one unit"),
        (_all_mappings(_mapping("Bq/ml", 1.0), _mapping("Bq/ml", 2.0)), "in several ways"),
        (_all_mappings(_mapping("Bq/ml", 0.0)), "a slope other than 0"),
        (
            _all_mappings(_mapping("Bq/ml", 1.0, RealWorldValueFirstValueMapped=0, RealWorldValueLastValueMapped=3000)),
            "outside of the range",
        ),
    ],
)
def test_mappings_that_nobody_can_tell_the_values_by_are_refused(tmp_path: Path, change: _Change, reason: str) -> None:
    image = _enhanced(_classic())
    change(image)
    with pytest.raises(DataError, match=reason):
        read_series(_save(image, tmp_path))


def test_a_classic_series_that_highdicom_converted_keeps_its_suv(tmp_path: Path) -> None:
    series = _classic()
    for data in series.slices:
        data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20200102", "100000", "1", ""
        data.PatientBirthDate, data.ReferringPhysicianName, data.SeriesNumber = "", "", 1
        data.Manufacturer, data.FrameReferenceTime, data.ActualFrameDuration = "X", 0, 120_000
    classic = read_series(series.write(tmp_path / "classic"))
    image = highdicom.legacy.LegacyConvertedEnhancedPETImage(
        series.slices, series_instance_uid=generate_uid(), series_number=2, sop_instance_uid=generate_uid(),
        instance_number=1,
    )  # fmt: skip
    converted = read_series(_save(image, tmp_path / "converted"))
    np.testing.assert_allclose(converted.array, classic.array, rtol=1e-6)
    assert (converted.channels, converted.unit) == (("PT",), "SUVbw")
