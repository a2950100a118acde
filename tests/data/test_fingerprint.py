from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from medseg.data.fingerprint import Fingerprint, take_fingerprint
from medseg.data.manifest import Card, Case, Manifest
from medseg.errors import GeometryError, LabelError, ManifestError, ReadError
from tests.data.cohort import LESION_CARD, picture_cohort, save_nifti, volume_cohort


def manifest_of(folder: Path, images: list[np.ndarray], labels: list[np.ndarray | None]) -> Manifest:
    cases = tuple(
        Case(
            case=f"C{number}",
            patient=f"P{number}",
            images={"CT": save_nifti(image, folder / f"i{number}.nii.gz")},
            label=None if label is None else save_nifti(label, folder / f"l{number}.nii.gz"),
            modality="CT",
        )
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    )
    return Manifest(path=folder / "m.csv", cases=cases, card=LESION_CARD)


def test_facts_of_a_phantom_are_those_it_was_made_with(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    images, labels = [], []
    for _ in range(4):
        label = np.zeros((20, 20, 20), dtype=np.uint8)
        label[2:10, 2:10, 2:10] = 1
        label[14:16, 14:16, 14:16] = 1
        image = np.where(label, generator.normal(60, 5, label.shape), generator.normal(-100, 20, label.shape))
        images.append(image.astype(np.float32))
        labels.append(label)
    facts = take_fingerprint(manifest_of(tmp_path, images, labels))
    assert (facts.spatial_dims, facts.cases, facts.modality, facts.rgb) == (3, 4, "CT", False)
    assert facts.spacings == [(1.0, 1.0, 2.0)] * 4
    assert facts.shapes == [(20, 20, 20)] * 4
    assert facts.components == [2] * 4
    assert facts.class_voxels == {1: 4 * 520}
    assert facts.labels == {1: "lesion"}
    assert facts.foreground_fraction == pytest.approx([520 / 8000] * 4)
    lesion = facts.foreground["CT"]
    assert lesion["mean"] == pytest.approx(60, abs=0.5)
    assert lesion["std"] == pytest.approx(5, abs=0.3)
    assert lesion["p00_5"] == pytest.approx(60 - 2.576 * 5, abs=1)
    assert lesion["p99_5"] == pytest.approx(60 + 2.576 * 5, abs=1)
    everywhere = np.stack(images)
    assert facts.image["CT"]["p50"] == pytest.approx(np.median(everywhere), abs=1)
    assert facts.image["CT"]["min"] == pytest.approx(everywhere.min())
    assert facts.per_case_scale["CT"]["spread"] == pytest.approx(1, abs=0.1)


def test_one_case_a_million_times_brighter_changes_nothing(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    label = np.ones((8, 8, 8), dtype=np.uint8)
    images = [generator.normal(100, 10, label.shape).astype(np.float32) for _ in range(6)]
    usual = take_fingerprint(manifest_of(tmp_path / "a", images, [label] * 6))
    facts = take_fingerprint(manifest_of(tmp_path / "b", [*images, images[0] * 1e6], [label] * 7))
    assert facts.out_of_scale == 1
    for key in ("mean", "std", "p00_5", "p99_5", "min", "max"):
        assert facts.foreground["CT"][key] == pytest.approx(usual.foreground["CT"][key], rel=0.02)


def test_it_survives_json_and_does_not_depend_on_the_number_of_jobs(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path)
    facts = take_fingerprint(manifest)
    assert Fingerprint.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts
    assert take_fingerprint(manifest, jobs=3) == facts


def test_chosen_cases_only_and_progress_after_each(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path)
    ticks: list[int] = []
    facts = take_fingerprint(manifest, case_ids=["C0003", "C0001"], progress=lambda: ticks.append(1))
    assert facts.cases == 2
    assert len(ticks) == 2
    assert facts.foreground_fraction[0] > facts.foreground_fraction[1]


def test_photographs_are_recognised(tmp_path: Path) -> None:
    facts = take_fingerprint(picture_cohort(tmp_path))
    assert facts.rgb
    assert facts.spatial_dims == 2
    assert facts.shapes[0] == (96, 72)
    assert set(facts.foreground) == {"red", "green", "blue"}


def test_cases_without_label_have_an_image_but_no_foreground(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path)
    bare = replace(manifest, cases=tuple(replace(case, label=None) for case in manifest.cases))
    facts = take_fingerprint(bare)
    assert facts.labelled == 0
    assert facts.foreground == facts.image


def test_ignored_voxels_are_neither_foreground_nor_unknown(tmp_path: Path) -> None:
    label = np.zeros((6, 6, 6), dtype=np.uint8)
    label[:2], label[4:] = 1, 200
    manifest = manifest_of(tmp_path, [np.zeros((6, 6, 6), np.float32)], [label])
    assert take_fingerprint(manifest, ignore_label=200).class_voxels == {1: 72}
    with pytest.raises(LabelError, match=r"case C0: label map holds 200; the card names 0, 1"):
        take_fingerprint(manifest)


def test_bad_cases_are_named(tmp_path: Path) -> None:
    image = np.zeros((6, 6, 6), dtype=np.float32)
    label = np.zeros((6, 6, 6), dtype=np.uint8)
    with pytest.raises(ManifestError, match="every label map is empty"):
        take_fingerprint(manifest_of(tmp_path, [image], [label]))
    label[0, 0, 0] = 1
    holed = image.copy()
    holed[1, 2, 3] = np.nan
    with pytest.raises(ReadError, match=r"case C1: .*NaN"):
        take_fingerprint(manifest_of(tmp_path, [image, holed], [label, label]))
    manifest = manifest_of(tmp_path, [image], [label])
    nibabel.save(nibabel.Nifti1Image(label, np.diag([1, 1, 3, 1])), manifest.cases[0].label)
    with pytest.raises(GeometryError, match="case C0: image and label lie on different grids"):
        take_fingerprint(manifest)
    wrong = replace(manifest, card=Card(title="t", channels=("a", "b"), labels={1: "x"}))
    with pytest.raises(ReadError, match="case C0: expected the card's 2 channels, found 1"):
        take_fingerprint(wrong)


def test_real_hippocampi_with_wild_intensities_give_sane_facts(test_data: Path) -> None:
    folder = test_data / "msd_hippocampus"
    paths = sorted((folder / "images").glob("*.nii.gz"))
    cases = tuple(
        Case(case=p.name[:-7], patient=p.name[:-7], images={"T1": p}, label=folder / "labels" / p.name) for p in paths
    )
    card = Card(title="t", channels=("T1",), labels={1: "anterior", 2: "posterior"})
    facts = take_fingerprint(Manifest(path=folder / "m.csv", cases=cases, card=card), jobs=2)
    assert facts.out_of_scale > 0
    assert facts.foreground["T1"]["p99_5"] < 5000
    assert facts.class_voxels[1] > 100_000
