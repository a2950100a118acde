from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.metrics import metric_columns, score_case
from tests.metrics.masks import blobs

LABELS = {1: "liver", 2: "lesion"}


def _two_labels(seed: int, shape: tuple[int, ...] = (20, 18, 10)) -> np.ndarray:
    label_map = blobs(seed, shape, 0.4).astype(np.uint8)
    label_map[blobs(seed + 70, shape, 0.1)] = 2
    return label_map


def test_each_label_is_scored_alone_and_cropping_changes_no_number() -> None:
    prediction, reference = _two_labels(1), _two_labels(2)
    small = score_case(prediction, reference, labels=LABELS, spacing=(1, 1, 2.5), nsd_tolerance_mm=(1, 2))
    large = score_case(
        np.pad(prediction, 12), np.pad(reference, 12), labels=LABELS, spacing=(1, 1, 2.5), nsd_tolerance_mm=(1, 2)
    )
    assert [s.name for s in small] == ["liver", "lesion"]
    for one, other in zip(small, large, strict=True):
        assert one.columns() == pytest.approx(other.columns(), nan_ok=True)


def test_columns_stand_in_the_order_of_the_table() -> None:
    (scores,) = score_case(
        np.ones((4, 4), np.uint8), np.ones((4, 4), np.uint8), labels={1: "x"}, spacing=(1, 1), nsd_tolerance_mm=(1, 2.5)
    )
    assert tuple(scores.columns()) == metric_columns((1, 2.5))
    assert scores.columns()["nsd_2.5mm"] == 1
    assert math.isnan(scores.volume_ml)


def test_volumes_are_millilitres_of_the_given_spacing() -> None:
    reference = np.zeros((10, 10, 10), np.uint8)
    reference[:5] = 1
    prediction = reference.copy()
    prediction[4] = 0
    (scores,) = score_case(prediction, reference, labels={1: "x"}, spacing=(2, 1, 3), nsd_tolerance_mm=(1,))
    assert scores.reference_volume_ml == pytest.approx(3.0)
    assert scores.volume_ml == pytest.approx(2.4)
    assert scores.volume_error == pytest.approx(-0.2)


def test_ignored_voxels_count_on_neither_side() -> None:
    reference = np.zeros((6, 6), np.int16)
    reference[:3] = 1
    reference[3:5] = 255
    prediction = np.zeros((6, 6), np.int16)
    prediction[:5] = 1
    (scores,) = score_case(
        prediction, reference, labels={1: "x"}, spacing=(1, 1), nsd_tolerance_mm=(1,), ignore_label=255
    )
    assert scores.dice == 1
    assert scores.hd95_mm == 0


def test_a_case_that_is_empty_on_both_sides_is_nan_throughout() -> None:
    empty = np.zeros((5, 5, 5), np.uint8)
    (scores,) = score_case(empty, empty, labels={1: "x"}, spacing=(1, 1, 1), nsd_tolerance_mm=(1,))
    for name in ("dice", "iou", "precision", "recall", "hd95_mm", "assd_mm", "nsd_1mm", "volume_error", "lesion_f1"):
        assert math.isnan(scores.columns()[name]), name
    assert scores.volume_ml == 0


def test_label_maps_of_different_shape_are_refused_with_both_shapes() -> None:
    with pytest.raises(GeometryError, match=r"4 x 4.*5 x 4"):
        score_case(np.zeros((4, 4), int), np.zeros((5, 4), int), labels={1: "x"}, spacing=(1, 1), nsd_tolerance_mm=(1,))


def test_metrics_import_without_scipy_torch_or_component_libraries() -> None:
    code = (
        "import sys, medseg.metrics; print([m for m in ('torch', 'monai', 'scipy', 'edt', 'cc3d') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
