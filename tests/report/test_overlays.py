from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medseg.data.volume import Volume
from medseg.errors import GeometryError
from medseg.report.overlays import PREDICTION_COLOUR, REFERENCE_COLOUR, case_picture


def _decoded(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture))).astype(int)


def _near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return (abs(pixels - np.array(colour)).max(axis=-1) < 60).nonzero()


def _volume(array: np.ndarray, affine: np.ndarray) -> Volume:
    return Volume(array=array[np.newaxis], affine=affine, channels=("ct",), modality="CT")


def _lesion() -> tuple[np.ndarray, np.ndarray]:
    """A lesion in the patient's left front, in an array whose axes run right, anterior, superior (RAS+)."""
    image = np.zeros((40, 30, 10), np.float32)
    image[1:7, 23:29, 4:7] = 100
    return image, (image > 0).astype(np.uint8)


def test_the_patients_left_is_on_the_right_and_the_front_at_the_top() -> None:
    image, label = _lesion()
    rows, columns = _near(_decoded(case_picture(_volume(image, np.eye(4)), label * 0, label)), REFERENCE_COLOUR)
    assert len(rows) > 100
    # The picture is cut around the lesion as far as the rim allows; left and front push it to the right and the top.
    assert columns.mean() > 210
    assert rows.mean() < 210


@pytest.mark.parametrize("flips", [(0,), (1,), (0, 1), (0, 1, 2)])
def test_the_same_patient_stored_the_other_way_round_gives_the_same_picture(flips: tuple[int, ...]) -> None:
    image, label = _lesion()
    affine = np.eye(4)
    for axis in flips:
        affine[axis, 3] = image.shape[axis] - 1
        affine[axis, axis] = -1
    flipped = case_picture(_volume(np.flip(image, flips), affine), np.flip(label, flips), np.flip(label, flips))
    assert flipped == case_picture(_volume(image, np.eye(4)), label, label)


def test_both_outlines_are_seen_where_they_agree_and_where_they_differ() -> None:
    label = np.zeros((60, 60), np.uint8)
    label[10:30, 10:30] = 1
    volume = Volume(np.full((3, 60, 60), 128, np.uint8), np.eye(4), ("red", "green", "blue"), "DERMOSCOPY")
    for prediction in (label, np.roll(label, 15, axis=0)):
        pixels = _decoded(case_picture(volume, prediction, label))
        assert pixels.shape == (420, 420, 3)
        assert len(_near(pixels, REFERENCE_COLOUR)[0]) > 300
        assert len(_near(pixels, PREDICTION_COLOUR)[0]) > 300


def test_a_case_without_any_label_still_gives_a_picture() -> None:
    empty = np.zeros((20, 12, 6), np.uint8)
    assert _decoded(case_picture(_volume(empty.astype(np.float32), np.eye(4)), empty, empty)).shape == (420, 420, 3)


def test_label_maps_of_another_shape_are_refused() -> None:
    image, label = _lesion()
    with pytest.raises(GeometryError, match="one grid"):
        case_picture(_volume(image, np.eye(4)), label[:-1], label)


def test_the_picture_carries_no_metadata() -> None:
    image, label = _lesion()
    info = Image.open(io.BytesIO(case_picture(_volume(image, np.eye(4)), label, label))).info
    assert set(info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
