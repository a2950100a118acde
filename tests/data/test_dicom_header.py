"""Headers that are bare, that claim too much, or that are damaged."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medseg.data.dicom import read_series
from medseg.data.readers import read_volume
from medseg.data.reading import NO_SPACING
from medseg.data.volume import Volume
from medseg.errors import DataError, ReadError
from tests.data.dicom_factory import make_item, make_series
from tests.examples import examples


def test_a_file_without_preamble_or_meta_information_is_read(tmp_path: Path) -> None:
    series = make_series((3, 8, 8))
    paths = []
    for number, data in enumerate(series.slices):
        stream = io.BytesIO()
        bare = Dataset()
        bare.update({element.tag: element for element in data})
        pydicom.dcmwrite(stream, bare, implicit_vr=True, little_endian=True)
        path = tmp_path / f"{number}"
        path.write_bytes(stream.getvalue())
        assert stream.getvalue()[128:132] != b"DICM"
        paths.append(path)
    np.testing.assert_array_equal(read_series(paths).array[0], series.voxels.transpose(2, 1, 0))


def test_a_header_that_claims_too_much_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    series = make_series((2, 5, 6), extra={"Rows": 65535, "Columns": 65535})
    with pytest.raises(ReadError, match="claims more than"):
        read_series(series.write(tmp_path))


@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(st.tuples(st.integers(0, 1400), st.integers(0, 255)), min_size=1, max_size=4), cut=st.booleans()
)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path: Path, changes: list[tuple[int, int]], cut: bool
) -> None:
    path = tmp_path / "whole.dcm"
    if not path.exists():
        make_series((1, 8, 8)).write(tmp_path, names=["whole.dcm"])
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    damaged = tmp_path / "damaged.dcm"
    damaged.write_bytes(content[: changes[0][0]] if cut else content)
    with contextlib.suppress(DataError):
        read_series([damaged])


def _picture(path: Path, **facts: object) -> Volume:
    data = make_series((1, 5, 6)).slices[0]
    data.Modality = "US"
    for keyword in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(data, keyword)
    for keyword, value in facts.items():
        setattr(data, keyword, value)
    data.save_as(path, enforce_file_format=True)
    return read_volume(path)


def _region(**facts: object) -> Dataset:
    tissue = {"RegionSpatialFormat": 1, "PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3}
    return make_item(**{**tissue, "PhysicalDeltaX": 0.03, "PhysicalDeltaY": -0.05, **facts})


def test_ultrasound_has_the_spacing_of_its_regions_of_tissue(tmp_path: Path) -> None:
    trace = _region(RegionSpatialFormat=3, PhysicalUnitsXDirection=4, PhysicalDeltaX=0.1)
    found = _picture(tmp_path / "one", SequenceOfUltrasoundRegions=[_region(), trace])
    assert found.spacing == pytest.approx((0.3, 0.5))
    assert NO_SPACING not in found.notes
    for unclear in ({"PhysicalDeltaX": 0.04}, {"PhysicalUnitsXDirection": 0}, {"PhysicalDeltaX": 0.0}):
        several = _picture(tmp_path / "two", SequenceOfUltrasoundRegions=[_region(), _region(**unclear)])
        assert several.spacing == (1, 1)
        assert NO_SPACING in several.notes


def test_the_spacing_of_a_detector_is_told_from_that_in_the_patient(tmp_path: Path) -> None:
    detector = _picture(tmp_path / "detector", Modality="DX", ImagerPixelSpacing=[0.2, 0.1])
    assert detector.spacing == pytest.approx((0.1, 0.2))
    assert any("smaller by the magnification" in note for note in detector.notes)
    both = _picture(tmp_path / "both", Modality="DX", ImagerPixelSpacing=[0.2, 0.1], PixelSpacing=[0.15, 0.075])
    assert both.spacing == pytest.approx((0.075, 0.15))
    assert not both.notes
