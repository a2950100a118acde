"""What makes slices one stack, and what is refused as none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.data.dicom import only_series, read_series, series_geometry
from medseg.data.dicom_geometry import stack_slices
from medseg.errors import GeometryError
from tests.data.dicom_factory import AXIAL, Series, make_series, set_pixels


def _missing(series: Series) -> None:
    del series.slices[2]


def _duplicate(series: Series) -> None:
    series.slices[2].ImagePositionPatient = series.slices[1].ImagePositionPatient


def _uneven(series: Series) -> None:
    series.slices[4].ImagePositionPatient = [-10, -20, 30 + 4 * 2.5 + 0.9]


def _mixed(series: Series) -> None:
    series.slices[3].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]


def _tilted(series: Series) -> None:
    for number, data in enumerate(series.slices):
        data.ImagePositionPatient = [-10, -20 + number * 2.5 * np.tan(np.radians(15)), 30 + number * 2.5]


def _shifted(series: Series) -> None:
    series.slices[2].ImagePositionPatient = [-5, -20, 35]


def _two_sizes(series: Series) -> None:
    set_pixels(series.slices[1], np.zeros((3, 3), dtype=np.uint16))


def _two_spacings(series: Series) -> None:
    series.slices[1].PixelSpacing = [0.8, 0.9]


def _no_position(series: Series) -> None:
    del series.slices[1].ImagePositionPatient


def _copies(series: Series) -> None:
    series.slices.append(series.slices[0])


def _localiser(series: Series) -> None:
    for data in series.slices:
        data.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def _twice(series: Series) -> None:
    series.slices.pop()
    for number, data in enumerate(series.slices):
        data.ImagePositionPatient = [-10, -20, 30 + 2.5 * (number // 2)]


def _two_frames_of_reference(series: Series) -> None:
    series.slices[1].FrameOfReferenceUID = "1.2.3"


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_missing, "missing slices: 1 of 5"),
        (_duplicate, "duplicate slices"),
        (_uneven, "uneven slice distance"),
        (_mixed, "mixed orientation"),
        (_tilted, "gantry tilt: the slices are sheared by 15.0 degrees"),
        (_shifted, "sideways shift"),
        (_two_sizes, "2 sizes"),
        (_two_spacings, "mixed pixel spacing"),
        (_no_position, "1 of 5 slices have no ImagePositionPatient"),
        (_copies, "1 of 6 files are copies"),
        (_localiser, "localiser"),
        (_twice, "2 images at each of 2 positions"),
        (_two_frames_of_reference, "frame of reference"),
    ],
)
def test_a_series_that_is_no_stack_is_refused_with_its_true_reason(tmp_path: Path, damage, reason: str) -> None:
    series = make_series()
    damage(series)
    paths = series.write(tmp_path)
    with pytest.raises(GeometryError, match=reason) as refusal:
        read_series(paths)
    assert "DOE-4711" not in str(refusal.value)
    assert "Doe" not in str(refusal.value)
    with pytest.raises(GeometryError, match=reason):
        series_geometry(only_series(paths))


def test_rounded_positions_are_no_unevenness_and_are_noted() -> None:
    heights = np.round(np.arange(20) * 0.625, 1)
    positions = np.stack([0 * heights, 0 * heights, heights], axis=1)
    stack = stack_slices(positions, np.tile(AXIAL, (20, 1)), np.ones((20, 2)))
    assert stack.notes
