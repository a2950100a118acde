"""What sets a case apart from most: planted in cohorts, and counted on sets that are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.data.manifest import Manifest, write_manifest
from medseg.data.quality import check_manifest
from medseg.data.unusual import CaseLooks, unusual_looks
from tests.data.cohort import picture_cohort, volume_cohort

USUAL = CaseLooks(
    modality="CT", spacing=(1.0, 1.0, 2.0), orientation="RAS", intensities={"CT": (-1000.0, 800.0)}, labels=(1,)
)


def _said(odd: Sequence[CaseLooks], usual: int = 9) -> list[list[str]]:
    found = unusual_looks([*odd, *[USUAL] * usual], names={1: "lesion", 7: "stray"})
    assert not any(found[len(odd) :])
    return found[: len(odd)]


@pytest.mark.parametrize(
    ("odd", "sentence"),
    [
        (replace(USUAL, spacing=(1.0, 1.0, 6.0)), "spacing feet-head 6 mm, median of 10 cases 2 mm"),
        (replace(USUAL, spacing=(0.4, 1.0, 2.0)), "spacing right-left 0.4 mm, median of 10 cases 1 mm"),
        (replace(USUAL, orientation="LAS"), "axes LAS, in 9 of 10 cases RAS"),
        (replace(USUAL, intensities={"CT": (-0.5, 0.9)}), "intensities: range 1.4, median of 10 cases 1800"),
        (
            replace(USUAL, intensities={"CT": (-100.0, 700.0)}),
            "intensities: begin at -100 HU, median of 10 cases -1000 HU",
        ),
        (replace(USUAL, labels=(1, 7)), "label value 7 (stray) occurs in no other of 10 labelled cases"),
    ],
)
def test_one_case_that_differs_is_named_with_its_numbers(odd: CaseLooks, sentence: str) -> None:
    assert _said([odd]) == [[sentence]]


def test_stored_values_of_ct_are_known_without_any_other_case() -> None:
    stored = replace(USUAL, intensities={"CT": (0.0, 2100.0)})
    (alone,) = unusual_looks([stored], names={})
    assert alone == ["intensities: 0 to 2100, none below 0: perhaps not in Hounsfield units"]
    assert _said([stored]) == [alone]
    stripped = replace(USUAL, intensities={"CT": (0.0, 90.0)})
    assert unusual_looks([stripped], names={}) == [[]]
    assert unusual_looks([replace(stored, modality="MR", intensities={"MR": (0.0, 2100.0)})], names={}) == [[]]


def test_centres_that_differ_a_little_or_are_many_are_not_unusual() -> None:
    assert _said([replace(USUAL, spacing=(0.6, 1.7, 3.9))]) == [[]]
    third = replace(USUAL, spacing=(1.0, 1.0, 6.0), orientation="LPS", intensities={"CT": (-3000.0, 3e4)})
    assert _said([third] * 3, usual=6) == [[], [], []]
    assert unusual_looks([third, USUAL, USUAL, None], names={}) == [[], [], [], []]


def test_cases_are_compared_within_their_modality() -> None:
    pet = replace(USUAL, modality="PT", spacing=(4.0, 4.0, 4.0), intensities={"PT": (0.0, 6.0)})
    assert unusual_looks([*[USUAL] * 8, pet, pet], names={}) == [[]] * 10


def _changed(manifest: Manifest, *, case: int, spacing: float = 1, flip: bool = False, stray: int = 0) -> Manifest:
    """The same files but for one case, whose headers or label are other than the rest's."""
    row = manifest.cases[case]
    assert row.label is not None
    for path in (*row.images.values(), row.label):
        image = nibabel.load(path)
        array = np.asarray(image.dataobj)
        if stray and path == row.label:
            array[0, 0, 0] = stray
        affine = image.affine @ np.diag([-spacing if flip else spacing, 1, 1, 1])
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
    labels = {**manifest.card.labels, **({stray: manifest.card.labels[1]} if stray else {})}
    changed = replace(manifest, card=manifest.card.model_copy(update={"labels": labels}))
    write_manifest(changed, changed.path)
    return changed


def test_files_that_differ_are_found_and_stay_usable(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path)
    manifest = _changed(manifest, case=1, spacing=3)
    manifest = _changed(manifest, case=2, flip=True)
    manifest = _changed(manifest, case=3, stray=7)
    report = check_manifest(manifest)
    said = {c.case: [f.message for f in c.findings if f.severity == "unusual"] for c in report.cases}
    assert {case for case, found in said.items() if found} == {"C0001", "C0002", "C0003"}
    assert said["C0001"] == ["spacing right-left 3 mm, median of 8 cases 1 mm"]
    assert said["C0002"] == ["axes LAS, in 7 of 8 cases RAS"]
    assert said["C0003"] == ["label value 7 (lesion) occurs in no other of 7 labelled cases"]
    assert (report.unusual, report.errors) == (3, 0)


def test_nothing_is_unusual_about_pictures_of_one_kind(tmp_path: Path) -> None:
    assert check_manifest(picture_cohort(tmp_path)).unusual == 0
