"""What knows a part of a volume again."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.data.sketch import shared_parts, sketch_of


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 100, size=(60, 56, 50)).round().astype(np.float32)


@pytest.mark.parametrize("slab", [1, 7, 1 << 22])
def test_the_sketch_of_a_part_holds_what_the_whole_remembers_of_it(slab: int, monkeypatch) -> None:
    monkeypatch.setattr("medseg.data.sketch._SLAB_VOXELS", slab * 60 * 56)
    whole = _noise(0)
    part = whole[5:53, 9:, :41]
    ((first, second, share),) = shared_parts([sketch_of(_noise(1)), sketch_of(whole), sketch_of(part)])
    assert (first, second) == (1, 2)
    assert share == pytest.approx(46 * 45 * 39 / (58 * 54 * 48), abs=0.05)
    turned = np.ascontiguousarray(part.transpose(2, 0, 1)[:, ::-1] * 0.25 + 1000)
    assert np.mean(np.isin(sketch_of(turned), sketch_of(part))) > 0.95


@pytest.mark.parametrize("mean", [0.3, 1, 3, 10, 100])
def test_counts_of_few_values_are_not_taken_for_one_another(mean: float) -> None:
    rng = np.random.default_rng(1)
    sketches = [sketch_of(rng.poisson(mean, (48, 48, 40))) for _ in range(6)]
    assert list(shared_parts(sketches)) == []


def test_what_has_no_inside_has_no_sketch() -> None:
    for shape in ((2, 30, 30), (30, 1, 30), (30, 30, 0)):
        assert sketch_of(np.zeros(shape)).size == 0
