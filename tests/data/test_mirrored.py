"""Cases that are more like the others when mirrored: planted in phantoms, in files, and in real crops."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.data.mirrored import CaseGrids, case_grids, mirrored_cases, side_agreement
from medseg.data.readers import read_label, read_volume
from medseg.data.volume import Volume

SHAPE = (40, 30, 20)


def _trunk(seed: int, *, mirror: str = "", stored: str = "RAS") -> CaseGrids:
    """A body with a liver on its right, the organs shifted a little from patient to patient."""
    generator = np.random.default_rng(seed)
    x, y, z = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    dx, dy, dz = generator.integers(-2, 3, 3)
    body = (x - 20) ** 2 / 17**2 + (y - 15) ** 2 / 12**2 <= 1
    liver = (x - 27 - dx) ** 2 / 7**2 + (y - 17 - dy) ** 2 / 6**2 + (z - 8 - dz) ** 2 / 5**2 <= 1
    image = np.where(body & (z >= 0), 100.0, 0.0) + 60 * liver + generator.normal(0, 5, SHAPE)
    label = liver.astype(np.uint8)
    if mirror in ("image", "both"):
        image = image[::-1]
    if mirror in ("label", "both"):
        label = label[::-1]
    affine = np.diag([2.0, 2, 3, 1])
    if stored == "PLS":  # The same patient, the array the other way round.
        image, label = (np.flip(array.swapaxes(0, 1), (0, 1)) for array in (image, label))
        affine = np.array([[0, -2.0, 0, 78], [-2.0, 0, 0, 58], [0, 0, 3, 0], [0, 0, 0, 1]])
    return case_grids(Volume(array=image[None].astype(np.float32), affine=affine, channels=("CT",)), label)


@pytest.mark.parametrize("what", ["image", "label", "both"])
def test_what_is_mirrored_is_named_and_nobody_else(what: str) -> None:
    found = mirrored_cases([_trunk(0, mirror=what), *(_trunk(seed) for seed in range(1, 12))])
    (sentence,) = found[0]
    things = "image and label" if what == "both" else what
    assert sentence.startswith(f"{things} {'look' if what == 'both' else 'looks'} mirrored left to right")
    assert sentence.count("median of 12 cases") == (2 if what == "both" else 1)
    assert not any(found[1:])


def test_the_way_an_array_is_stored_does_not_matter() -> None:
    cases = [_trunk(seed, stored="PLS" if seed % 2 else "RAS") for seed in range(12)]
    assert not any(mirrored_cases(cases))
    assert mirrored_cases([*cases, _trunk(12, mirror="label", stored="PLS")])[-1]


def test_nothing_is_said_of_few_cases_of_both_sides_and_of_lesions_anywhere() -> None:
    assert not any(mirrored_cases([_trunk(0, mirror="both"), *(_trunk(seed) for seed in range(1, 7)), None]))
    assert not any(mirrored_cases([_trunk(seed, mirror="both" if seed % 5 < 2 else "") for seed in range(20)]))
    generator = np.random.default_rng(0)
    cases = []
    for _ in range(20):
        label = np.zeros(SHAPE, np.uint8)
        start = generator.integers(0, 12, 3)
        label[tuple(slice(s, s + 6) for s in start)] = 1
        image = generator.normal(0, 1, (1, *SHAPE)).astype(np.float32) + 3 * label
        cases.append(case_grids(Volume(array=image, affine=np.eye(4), channels=("CT",)), label))
    assert not any(mirrored_cases(cases))


def test_an_empty_label_a_flat_image_and_a_missing_one_are_passed_over() -> None:
    flat = Volume(array=np.zeros((1, *SHAPE), np.float32), affine=np.eye(4), channels=("CT",))
    odd = [None, case_grids(flat, None), case_grids(flat, np.zeros(SHAPE, np.uint8))]
    assert mirrored_cases([*odd, *(_trunk(seed) for seed in range(9))]) == [[]] * 12


def test_agreement_is_the_correlation_of_the_asymmetries_and_turns_its_sign_with_a_flip() -> None:
    grids = np.random.default_rng(1).normal(size=(5, 4, 3))
    agreement = side_agreement(grids)
    for case in range(5):
        others = np.delete(grids, case, axis=0).sum(axis=0)
        asymmetries = [(grid - np.flip(grid, 0)).ravel() for grid in (grids[case], others)]
        assert agreement[case] == pytest.approx(np.corrcoef(*asymmetries)[0, 1])
        flipped = grids.copy()
        flipped[case] = np.flip(grids[case], 0)
        assert side_agreement(flipped)[case] == pytest.approx(-agreement[case])


def test_cases_are_compared_within_their_modality() -> None:
    cases = [_trunk(seed) for seed in range(8)]
    other = [replace(_trunk(seed, mirror="both"), modality="MR") for seed in range(8)]
    assert not any(mirrored_cases([*cases, *other]))


def test_mirrored_labels_of_real_hippocampi_are_found_and_right_ones_left_alone(test_data: Path) -> None:
    images = sorted((test_data / "msd_hippocampus" / "images").glob("*.nii.gz"))[:24]
    pairs = [(read_volume(p), read_label(test_data / "msd_hippocampus" / "labels" / p.name)[0]) for p in images]
    right = [case_grids(volume, label) for volume, label in pairs]
    assert not any(mirrored_cases(right))
    found = mirrored_cases([*(case_grids(v, np.flip(label, 0)) for v, label in pairs[:4]), *right[4:]])
    assert sum(bool(sentences) for sentences in found[:4]) >= 3
    assert not any(found[4:])
