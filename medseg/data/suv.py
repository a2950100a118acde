"""SUV: standardised uptake value, the activity concentration of a PET image over the injected activity per body size.

SUV = activity concentration [Bq/ml] / decay-corrected injected activity [Bq] * body size, where the body size is

- bw: the body weight [g];
- lbm: the lean body mass [g] after James (1976), which DICOM names LBMJAMES128 (CID 85): 1.10 w - 128 (w / h)^2 kg for
  men, 1.07 w - 148 (w / h)^2 kg for women, w in kg and h in cm (the term LBM of DICOM has 120 instead of 128 for men;
  Sugawara et al., Radiology 213:521, 1999; Tahari et al., J Nucl Med 55:1481, 2014);
- bsa: the body surface area [cm2] after Du Bois and Du Bois (1916), 71.84 w^0.425 h^0.725. The result is in cm2/ml.

The injected activity is corrected for decay to the time for which the image is: A = A0 2^(-t / T), T the half-life, t
from the injection to the start of the scan where DecayCorrection is START, and t = 0 where it is ADMIN. The rules are
those of the QIBA vendor-neutral pseudo-code (2012), of Boellaard et al., EANM procedure guidelines 2.0 (2015), and of
PS3.3 section C.8.9.1.

An enhanced PET image says the same otherwise: what its values are by its real world value mappings (`dicom_units`); the
time that its decay is corrected to by DecayCorrected and DecayCorrectionDateTime (section C.8.22.6), t = 0 where that
is the injection; the injection by RadiopharmaceuticalStartDateTime, date and time, with a time zone where one is stated
(PS3.5 section 6.2, TimezoneOffsetFromUTC); and RadionuclideTotalDose in MBq (section C.8.22.4), not in Bq as in classic
images (section C.8.9.2). AttenuationCorrected and DecayCorrected have to be YES.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Sequence
from typing import Final, Literal

from pydicom.dataset import Dataset
from pydicom.uid import EnhancedPETImageStorage

from medseg.data.reading import SuvKind

__all__ = ["suv_factor"]

_GE_SCAN_TIME = (0x0009, 0x100D)
_PHILIPS_SUV_SCALE = (0x7053, 0x1000)
_PHILIPS_ACTIVITY_SCALE = (0x7053, 0x1009)
_HEAVIEST, _TALLEST = 700.0, 2.6
"""Of a human being, in kg and m; beyond lie weights in g and heights in cm, which some stations write."""
_LEAST_DOSE = 1e5
"""In Bq; what is less was stated in MBq. The other way round no human being gets as many MBq."""
_LONGEST: Final = 24 * 3600
_HALF_LIVES: Final = 10
"""Longest time in s, and in half-lives where dates are known, from the injection to the scan that is plausible."""
_ZONE: Final = re.compile(r"([+-])(\d{2})(\d{2})$")


def suv_factor(dataset: Dataset, *, acquired: Sequence[str], kind: SuvKind = "bw") -> tuple[float, str]:
    """Factor from the values of a PET image (after rescale) to SUV, and a sentence that says so, or why not.

    Args:
        dataset: Header of one slice of the series, or of an enhanced image as `classic_facts` makes it.
        acquired: Acquisition date and time of each slice, ``YYYYMMDDhhmmss.ffffff``; empty where absent.
        kind: Divided by body weight, lean body mass or body surface area. Values that are stored as one of them are
            turned into another by the ratio of the body sizes.

    Returns:
        The factor and the note. The factor is nan when the header doesn't allow SUV.
    """
    units = str(dataset.get("Units", "")).strip().upper()
    stored = _stored_kind(dataset, units)
    if stored == kind:
        return 1.0, f"PET values are SUV{kind} as stored"
    if stored:
        ratio = _body_size(dataset, kind) / _body_size(dataset, stored)
        if math.isnan(ratio):
            return (
                ratio,
                f"PET left as SUV{stored} as stored: the header lacks weight, height or sex, which SUV{kind} needs",
            )
        return ratio, f"PET stored as SUV{stored} turned into SUV{kind}"
    if units == "CNTS":
        return _philips(dataset, acquired, kind)
    if units != "BQML":
        return math.nan, f"PET left in its stored units: the header states none that convert to SUV{kind}"
    factor, missing = _becquerel_factor(dataset, acquired, kind)
    if missing:
        return math.nan, f"PET left in Bq/ml: the header lacks {missing}, which SUV{kind} needs"
    return factor, f"PET scaled to SUV{kind}{_told_of_dose(dataset)}"


def _told_of_dose(dataset: Dataset) -> str:
    sequence = dataset.get("RadiopharmaceuticalInformationSequence")
    stated = _positive(sequence[0], "RadionuclideTotalDose") if sequence else math.nan
    if (stated < _LEAST_DOSE) == _is_enhanced(dataset):
        return ""
    return f"; the injected activity was stated in {'Bq' if _is_enhanced(dataset) else 'MBq'}, against the standard"


def _is_enhanced(dataset: Dataset) -> bool:
    return dataset.get("SOPClassUID") == EnhancedPETImageStorage or "DecayCorrected" in dataset


def _stored_kind(dataset: Dataset, units: str) -> SuvKind | Literal[""]:
    """Which SUV the stored values are: by SUVType (PS3.3 section C.8.9.1), else body weight for g/ml."""
    kind = str(dataset.get("SUVType", "") or "").strip().upper()
    if units == "GML" and kind in ("", "BW"):
        return "bw"
    if units == "GML" and kind == "LBMJAMES128":
        return "lbm"
    return "bsa" if units == "CM2ML" and kind in ("", "BSA") else ""


def _body_size(dataset: Dataset, kind: SuvKind) -> float:
    """Weight or lean body mass in g, or surface in cm2; nan where the header lacks what it takes."""
    weight = _positive(dataset, "PatientWeight", most=_HEAVIEST)
    if kind == "bw":
        return weight * 1000.0
    height = _positive(dataset, "PatientSize", most=_TALLEST) * 100.0
    if kind == "bsa":
        return float(71.84 * weight**0.425 * height**0.725)
    slope, square = {"M": (1.10, 128.0), "F": (1.07, 148.0)}.get(
        str(dataset.get("PatientSex", "")).strip().upper(), (math.nan, math.nan)
    )
    lean = (slope * weight - square * (weight / height) ** 2) * 1000.0
    return lean if lean > 0 else math.nan


def _becquerel_factor(dataset: Dataset, acquired: Sequence[str], kind: SuvKind) -> tuple[float, str]:
    size = _body_size(dataset, kind)
    if math.isnan(size):
        return math.nan, {
            "bw": "the body weight (in kg)", "lbm": "weight (kg), height (m) or sex", "bsa": "weight (kg) or height (m)"
        }[kind]  # fmt: skip
    if not _is_corrected(dataset):
        return math.nan, "attenuation and decay correction"
    sequence = dataset.get("RadiopharmaceuticalInformationSequence")
    item = sequence[0] if sequence else Dataset()
    if sequence and len(sequence) > 1:
        return math.nan, "one injected activity (it states several)"
    dose = _positive(item, "RadionuclideTotalDose")
    if math.isnan(dose):
        return math.nan, "the injected activity"
    if dose < _LEAST_DOSE:
        dose *= 1e6  # As the standard wants it of enhanced images; some scanners write it in classic ones too.
    left, missing = _activity_left(dataset, item, acquired)
    return (math.nan, missing) if missing else (size / (dose * left), "")


def _activity_left(dataset: Dataset, item: Dataset, acquired: Sequence[str]) -> tuple[float, str]:
    """Share of the injected activity at the time to which the image's decay is corrected, or what is missing."""
    if _is_enhanced(dataset):
        return _activity_left_enhanced(dataset, item)
    correction = str(dataset.get("DecayCorrection", "")).strip().upper()
    if correction == "ADMIN":
        return 1.0, ""
    if correction != "START":
        return math.nan, "a decay correction to the start of the scan or to the injection"
    half_life = _positive(item, "RadionuclideHalfLife")
    if math.isnan(half_life):
        return math.nan, "the half-life"
    scan = _scan_start(dataset, acquired, half_life)
    injection = _injection(item, scan)
    if scan is None or injection is None:
        return math.nan, "the times of the scan and of the injection"
    elapsed = (scan - injection).total_seconds()
    if not 0 <= elapsed <= _LONGEST or (elapsed == 0 and _is_midnight(scan)):
        return math.nan, "plausible times of the scan and of the injection"
    return 2.0 ** (-elapsed / half_life), ""


def _activity_left_enhanced(dataset: Dataset, item: Dataset) -> tuple[float, str]:
    """As `_activity_left`, of an enhanced image."""
    half_life = _positive(item, "RadionuclideHalfLife")
    corrected, injection = dataset.get("DecayCorrectionDateTime"), item.get("RadiopharmaceuticalStartDateTime")
    zone = str(dataset.get("TimezoneOffsetFromUTC", "") or "")
    elapsed = _seconds_between(str(injection or ""), str(corrected or ""), zone)
    if math.isnan(elapsed):
        return math.nan, "the times of the decay correction and of the injection"
    if elapsed == 0 and not _is_midnight(_moment(_ZONE.sub("", str(corrected).strip()))):
        return 1.0, ""
    if math.isnan(half_life):
        return math.nan, "the half-life"
    if not 0 < elapsed <= max(_LONGEST, _HALF_LIVES * half_life):
        return math.nan, "plausible times of the decay correction and of the injection"
    return 2.0 ** (-elapsed / half_life), ""


def _is_midnight(moment: datetime.datetime | None) -> bool:
    """Whether a moment is the start of a day: what de-identification writes into every time, and no scan's start."""
    return moment is not None and moment.time() == datetime.time()


def _seconds_between(start: str, end: str, zone: str) -> float:
    """Time between two moments, each in its own time zone where it states one; nan where that can't be told."""
    moments = [_zoned(text, zone) for text in (start, end)]
    (first, zoned), (last, also_zoned) = moments
    if first is None or last is None or zoned != also_zoned:
        return math.nan
    return (last - first).total_seconds()


def _zoned(text: str, zone: str) -> tuple[datetime.datetime | None, bool]:
    """A moment of the VR DT in UTC, and whether its zone is known; else in local time."""
    found = _ZONE.search(text.strip()) or _ZONE.search(zone.strip())
    moment = _moment(_ZONE.sub("", text.strip()))
    if moment is None or found is None:
        return moment, False
    sign, hours, minutes = found.groups()
    offset = datetime.timedelta(hours=int(hours), minutes=int(minutes))
    return (moment - offset if sign == "+" else moment + offset), True


def _is_corrected(dataset: Dataset) -> bool:
    if _is_enhanced(dataset):
        words = [str(dataset.get(word, "")).strip().upper() for word in ("AttenuationCorrected", "DecayCorrected")]
        return words == ["YES", "YES"]
    corrected = {str(word).upper() for word in _words(dataset.get("CorrectedImage"))}
    return "CorrectedImage" not in dataset or {"ATTN", "DECY"} <= corrected


def _philips(dataset: Dataset, acquired: Sequence[str], kind: SuvKind) -> tuple[float, str]:
    """Counts, by the vendor's factor to SUVbw or to Bq/ml (QIBA pseudo-code)."""
    scale = _private(dataset, _PHILIPS_SUV_SCALE)
    if scale > 0:
        ratio = 1.0 if kind == "bw" else _body_size(dataset, kind) / _body_size(dataset, "bw")
        if not math.isnan(ratio):
            return scale * ratio, f"PET scaled to SUV{kind} with the vendor's factor"
    activity = _private(dataset, _PHILIPS_ACTIVITY_SCALE)
    if activity > 0:
        factor, missing = _becquerel_factor(dataset, acquired, kind)
        if not missing:
            return activity * factor, f"PET scaled to SUV{kind} with the vendor's activity factor"
    return math.nan, f"PET left in counts: the header has no factor to Bq/ml or SUV{kind}"


def _scan_start(dataset: Dataset, acquired: Sequence[str], half_life: float) -> datetime.datetime | None:
    """Reference time of the decay correction.

    The series time is that time unless the series was made later (post-processing); then the vendor's own scan time, or
    the start that frame reference time and duration imply.
    """
    times = [time for time in (_moment(text) for text in acquired) if time is not None]
    first = min(times) if times else None
    series = _moment(str(dataset.get("SeriesDate", "") or "") + str(dataset.get("SeriesTime", "") or ""))
    if series is not None and (first is None or series <= first):
        return series
    if _GE_SCAN_TIME in dataset:
        vendor = _moment(str(dataset[_GE_SCAN_TIME].value))
        if vendor is not None:
            return vendor
    reference = _number(dataset, "FrameReferenceTime") / 1000.0
    duration = _number(dataset, "ActualFrameDuration") / 1000.0
    own = _moment(str(dataset.get("AcquisitionDate", "") or "") + str(dataset.get("AcquisitionTime", "") or ""))
    if own is not None and reference > 0 and duration > 0:
        rate = math.log(2.0) / half_life
        average = math.log(rate * duration / (1.0 - math.exp(-rate * duration))) / rate
        return own - datetime.timedelta(seconds=reference - average)
    return first


def _injection(item: Dataset, scan: datetime.datetime | None) -> datetime.datetime | None:
    whole = _moment(str(item.get("RadiopharmaceuticalStartDateTime", "") or ""))
    clock = str(item.get("RadiopharmaceuticalStartTime", "") or "")
    if clock and scan is not None:
        start = _moment(scan.strftime("%Y%m%d") + clock)
        if start is not None and start > scan:
            start -= datetime.timedelta(days=1)
        # The long form's date is often wrong or shifted; it isn't needed when the short form is there.
        return start
    return whole


def _moment(text: str) -> datetime.datetime | None:
    digits = text.strip().split("+")[0].split("&")[0]
    whole, _, fraction = digits.partition(".")
    if len(whole) < 12 or not whole.isdigit():
        return None
    try:
        moment = datetime.datetime.strptime(whole[:14].ljust(14, "0"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    return moment + datetime.timedelta(seconds=float(f"0.{fraction}") if fraction.isdigit() else 0.0)


def _positive(dataset: Dataset, keyword: str, *, most: float = math.inf) -> float:
    value = _number(dataset, keyword)
    return value if 0 < value <= most else math.nan


def _number(dataset: Dataset, keyword: str) -> float:
    try:
        return float(dataset.get(keyword, math.nan))
    except (TypeError, ValueError):
        return math.nan


def _private(dataset: Dataset, tag: tuple[int, int]) -> float:
    if tag not in dataset:
        return math.nan
    try:
        return float(dataset[tag].value)
    except (TypeError, ValueError):
        return math.nan


def _words(value: object) -> list[object]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
