"""SUV: standardised uptake value, the activity concentration of a PET image over the injected activity per body weight.

SUVbw [g/ml] = activity concentration [Bq/ml] * body weight [g] / decay-corrected injected activity [Bq]. The rules are
those of the QIBA vendor-neutral pseudo-code (2012) and Boellaard et al., EANM procedure guidelines 2.0 (2015).
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

from pydicom.dataset import Dataset

__all__ = ["suv_factor"]

_GE_SCAN_TIME = (0x0009, 0x100D)
_PHILIPS_SUV_SCALE = (0x7053, 0x1000)
_PHILIPS_ACTIVITY_SCALE = (0x7053, 0x1009)


def suv_factor(dataset: Dataset, *, acquired: Sequence[str]) -> tuple[float, str]:
    """Factor from the values of a PET image (after rescale) to SUVbw, and a sentence that says so, or why not.

    Args:
        dataset: Header of one slice of the series.
        acquired: Acquisition date and time of each slice, ``YYYYMMDDhhmmss.ffffff``; empty where absent.

    Returns:
        The factor and the note. The factor is nan when the header doesn't allow SUV.
    """
    units = str(dataset.get("Units", "")).strip().upper()
    if units == "GML" and str(dataset.get("SUVType", "BW") or "BW").upper() == "BW":
        return 1.0, "PET values are SUVbw as stored"
    if units == "CNTS":
        return _philips(dataset, acquired)
    if units != "BQML":
        return math.nan, "PET left in its stored units: the header states none that convert to SUVbw"
    factor, missing = _becquerel_factor(dataset, acquired)
    if missing:
        return math.nan, f"PET left in Bq/ml: the header lacks {missing}, which SUVbw needs"
    return factor, "PET scaled to SUVbw"


def _becquerel_factor(dataset: Dataset, acquired: Sequence[str]) -> tuple[float, str]:
    weight = _positive(dataset, "PatientWeight")
    if math.isnan(weight):
        return math.nan, "the body weight"
    if not _is_corrected(dataset):
        return math.nan, "attenuation and decay correction"
    sequence = dataset.get("RadiopharmaceuticalInformationSequence")
    item = sequence[0] if sequence else Dataset()
    dose = _positive(item, "RadionuclideTotalDose")
    if math.isnan(dose):
        return math.nan, "the injected activity"
    if dose < 1e5:
        dose *= 1e6  # Some scanners write MBq, against the standard.
    left, missing = _activity_left(dataset, item, acquired)
    return (math.nan, missing) if missing else (weight * 1000.0 / (dose * left), "")


def _activity_left(dataset: Dataset, item: Dataset, acquired: Sequence[str]) -> tuple[float, str]:
    """Share of the injected activity at the time to which the image's decay is corrected, or what is missing."""
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
    if not 0 <= elapsed <= 24 * 3600:
        return math.nan, "plausible times of the scan and of the injection"
    return 2.0 ** (-elapsed / half_life), ""


def _is_corrected(dataset: Dataset) -> bool:
    corrected = {str(word).upper() for word in _words(dataset.get("CorrectedImage"))}
    return "CorrectedImage" not in dataset or {"ATTN", "DECY"} <= corrected


def _philips(dataset: Dataset, acquired: Sequence[str]) -> tuple[float, str]:
    scale = _private(dataset, _PHILIPS_SUV_SCALE)
    if scale > 0:
        return scale, "PET scaled to SUVbw with the vendor's factor"
    activity = _private(dataset, _PHILIPS_ACTIVITY_SCALE)
    if activity > 0:
        factor, missing = _becquerel_factor(dataset, acquired)
        if not missing:
            return activity * factor, "PET scaled to SUVbw with the vendor's activity factor"
    return math.nan, "PET left in counts: the header has no factor to Bq/ml or SUVbw"


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


def _positive(dataset: Dataset, keyword: str) -> float:
    value = _number(dataset, keyword)
    return value if value > 0 else math.nan


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
