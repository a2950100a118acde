"""Labels that lie where they can't, on phantoms and on the cases that the false alarms are counted on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.data.plausible import MIRRORED_GAIN, mirror_gain, outside_body, swapped_sides
from medseg.data.readers import read_label, read_volume
from medseg.data.volume import Volume

SHAPE = (48, 40, 20)


def _body(*, modality: str = "CT") -> tuple[Volume, np.ndarray]:
    """A cylinder of water in air with a trachea that ends at the top, and a bright ball on its left side."""
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    image = np.full(SHAPE, -1000.0, np.float32)
    image[((x - 24) ** 2 / 18**2 + (y - 20) ** 2 / 15**2 <= 1) & (z >= 0)] = 40
    image[((x - 24) ** 2 + (y - 20) ** 2 <= 9) & (z >= 8)] = -990
    ball = (x - 14) ** 2 + (y - 18) ** 2 + (z - 9) ** 2 <= 16
    image[ball] = 150
    image += np.random.default_rng(0).normal(0, 5, SHAPE).astype(np.float32)
    return Volume(array=image[None], affine=np.diag([2.0, 2.0, 3.0, 1.0]), channels=("CT",), modality=modality), ball


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_a_label_in_the_air_is_found_and_one_in_the_trachea_is_not(modality: str) -> None:
    volume, ball = _body(modality=modality)
    assert outside_body(volume, ball.astype(np.uint8)) == 0
    beside = np.zeros(SHAPE, np.uint8)
    beside[1:4, 1:4, 5:8] = 1
    assert outside_body(volume, beside) == 1
    trachea = np.zeros(SHAPE, np.uint8)
    trachea[23:26, 19:22, 10:15] = 1
    assert outside_body(volume, trachea) == 0
    assert np.isnan(outside_body(volume, np.zeros(SHAPE, np.uint8)))


@pytest.mark.parametrize("flipped", [False, True])
def test_a_mirrored_label_gains_whichever_way_the_axis_runs(flipped: bool) -> None:
    volume, ball = _body()
    if flipped:
        affine = np.array([[0, -2.0, 0, 0], [2.0, 0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
        volume = replace(volume, array=volume.array.swapaxes(1, 2), affine=affine)
        ball = ball.swapaxes(0, 1)
    axis = 1 if flipped else 0
    assert mirror_gain(volume, ball.astype(np.uint8)) < 0
    assert mirror_gain(volume, np.flip(ball, axis).astype(np.uint8)) > MIRRORED_GAIN


def test_a_left_label_on_the_right_is_named() -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[30:34], label[10:14] = 1, 2
    names = {1: "Left kidney", 2: "kidney right", 3: "Right kidney"}
    label[10:14] = 3
    assert swapped_sides(label, np.diag([1.0, 1, 1, 1]), names) == ["Left kidney"]
    assert swapped_sides(label, np.diag([-1.0, 1, 1, 1]), names) == []
    label[label == 3] = 0
    assert swapped_sides(label, np.diag([1.0, 1, 1, 1]), names) == []


def test_real_labels_are_rarely_said_to_be_mirrored_and_mirrored_ones_often(test_data: Path) -> None:
    images = sorted((test_data / "msd_hippocampus" / "images").glob("*.nii.gz"))[:30]
    right = wrong = 0
    for path in images:
        volume = read_volume(path)
        label, _ = read_label(test_data / "msd_hippocampus" / "labels" / path.name)
        right += mirror_gain(volume, label) >= MIRRORED_GAIN
        wrong += mirror_gain(volume, np.flip(label, 0)) >= MIRRORED_GAIN
    assert right <= 1
    assert wrong >= 10
