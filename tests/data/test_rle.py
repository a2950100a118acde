"""Run lengths and COCO's compressed text of them."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.data.rle import compress_runs, expand_runs, mask_of_runs, runs_of_mask
from medseg.errors import LabelError


def test_run_lengths_and_their_compressed_text_go_both_ways() -> None:
    generator = np.random.default_rng(0)
    for density in (0.0, 0.02, 0.5, 1.0):
        mask = generator.random((17, 23)) < density
        runs = runs_of_mask(mask)
        assert expand_runs(compress_runs(runs)) == runs
        np.testing.assert_array_equal(mask_of_runs(runs, (17, 23)), mask)


def test_compressed_text_is_that_of_pycocotools() -> None:
    # pycocotools 2.0.11: frPyObjects({"size": [10, 9], "counts": [6, 1, 40, 4, 5, 4, 5, 4, 21]}, 10, 9)
    assert compress_runs([6, 1, 40, 4, 5, 4, 5, 4, 21]) == "61X13mN000`0"
    tools = pytest.importorskip("pycocotools.mask", reason="pycocotools isn't installed")
    mask = np.random.default_rng(1).random((31, 40)) < 0.3
    assert (
        compress_runs(runs_of_mask(mask.T)) == tools.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    )


@pytest.mark.parametrize("text", ["61X1" + chr(33), "o" * 40, "X"])
def test_a_damaged_compressed_mask_is_refused(text: str) -> None:
    with pytest.raises(LabelError):
        expand_runs(text)
