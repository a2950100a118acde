"""Irregular stacks on a regular grid: a linear field of the world stays what it was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.dicom import find_series, read_series, series_geometry
from medseg.data.dicom_resample import regular_grid, resample_stack
from medseg.data.importer import ImportOptions, import_tree
from medseg.data.manifest import read_manifest
from medseg.data.reading import Reading
from medseg.data.recognise import Choice
from medseg.errors import GeometryError
from tests.data.dicom_factory import make_series
from tests.examples import examples

_RESAMPLE = Reading(resample_irregular=True)


@settings(max_examples=examples(20), deadline=None)
@given(
    angle=st.floats(-35, 35),
    gaps=st.lists(st.floats(2.0, 4.0), min_size=3, max_size=6),
    turn=st.floats(-1.0, 1.0),
)
def test_a_linear_field_stays_at_its_place_in_the_world(angle: float, gaps: list[float], turn: float) -> None:
    cos, sin = np.cos(turn), np.sin(turn)
    orientation = np.array([cos, sin, 0, -sin, cos, 0])
    spacing = (0.9, 0.7)
    heights = np.concatenate([[0.0], np.cumsum(gaps)])
    positions = np.array([5.0, -7, 11]) + np.outer(heights, [0, 0, 1])
    positions += np.outer(heights * np.tan(np.radians(angle)), orientation[3:])
    rows, columns = np.meshgrid(np.arange(12), np.arange(10), indexing="ij")
    field = np.array([0.3, -0.2, 0.5])
    world = (
        positions[:, None, None]
        + rows[None, ..., None] * spacing[0] * orientation[3:]
        + columns[None, ..., None] * spacing[1] * orientation[:3]
    )
    stored = (world @ field).astype(np.float32)[np.newaxis]
    grid = regular_grid(positions, orientation=orientation, spacing=spacing, size=(10, 12), reason="test")
    result = resample_stack(stored, grid)
    assert result.shape[1:] == grid.geometry.shape[::-1]
    # Inside, where every slice reaches, the field is the old one; the affine is RAS+, the field is in LPS+.
    extra = grid.geometry.shape[1] - 12
    middle = [(z, y, x) for z in range(result.shape[1]) for y in range(extra + 1, 11) for x in (3, 5)]
    index = np.array([(x, y, z, 1) for z, y, x in middle], dtype=float).reshape(-1, 4)
    lps = (np.diag([-1.0, -1, 1, 1]) @ grid.geometry.affine @ index.T)[:3].T
    np.testing.assert_allclose([result[0][place] for place in middle], lps @ field, atol=1e-3)


def _tilted(folder: Path) -> None:
    series = make_series((5, 12, 10))
    for number, data in enumerate(series.slices):
        data.ImagePositionPatient = [-10, -20 + number * 2.5 * np.tan(np.radians(15)), 30 + number * 2.5]
    series.write(folder)


def test_geometry_alone_equals_that_of_the_resampled_volume(tmp_path: Path) -> None:
    _tilted(tmp_path)
    (series,) = find_series(tmp_path)[0]
    with pytest.raises(GeometryError, match="--resample-irregular"):
        series_geometry(series)
    volume = read_series(series.files, reading=_RESAMPLE)
    assert series_geometry(replace(series, reading=_RESAMPLE)).corner_distance(volume.geometry) == 0.0
    assert any("gantry tilt" in note for note in volume.notes)
    np.testing.assert_allclose(np.abs(volume.affine[:3, 2]), [0, 0, 2.5])


def test_an_even_upright_series_is_not_touched(tmp_path: Path) -> None:
    paths = make_series().write(tmp_path)
    np.testing.assert_array_equal(read_series(paths, reading=_RESAMPLE).array, read_series(paths).array)


def test_a_gap_of_several_slices_is_still_refused(tmp_path: Path) -> None:
    series = make_series((8, 5, 6))
    del series.slices[2:5]
    with pytest.raises(GeometryError, match="missing slices: 3"):
        read_series(series.write(tmp_path), reading=_RESAMPLE)


def test_the_import_records_what_it_resampled(tmp_path: Path) -> None:
    _tilted(tmp_path / "in" / "a")
    make_series((5, 12, 10), seed=1, patient="B").write(tmp_path / "in" / "b")
    report = import_tree(tmp_path / "in", tmp_path / "out", options=ImportOptions(choice=Choice(reading=_RESAMPLE)))
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert sorted(case.covariates["resampled"] for case in manifest.cases) == ["", "gantry tilt"]
    assert "1 irregular stacks resampled" in manifest.card.provenance
    assert any("resampled onto a regular grid: gantry tilt" in note for note in report.notes)
    assert '"resampled":1' in (tmp_path / "out" / "ledger.jsonl").read_text().replace(" ", "")
