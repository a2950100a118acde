"""Fusion of annotators and their agreement, against scikit-learn, closed forms and the command line."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.manifest import Manifest, read_manifest, write_manifest
from medseg.data.readers import read_label
from medseg.errors import RequestError
from medseg.metrics.agreement import cohen_kappa
from medseg.metrics.fusion import fuse_labels
from medseg.studies.annotators import fuse_manifest
from tests.data.cohort import save_nifti, volume_cohort


def _read_by(folder: Path, readers: int = 3) -> Manifest:
    """A cohort whose reference each reader drew with voxels of their own added and lost."""
    manifest = volume_cohort(folder, cases=4)
    generator = np.random.default_rng(0)
    cases = []
    for case in manifest.cases:
        truth, _ = read_label(case.label)
        paths = {}
        for number in range(1, readers + 1):
            flipped = generator.random(truth.shape) < 0.02 * number
            drawn = np.where(flipped, 1 - truth, truth).astype(np.uint8)
            paths[f"R{number}"] = save_nifti(drawn, folder / "readers" / f"R{number}" / f"{case.case}.nii.gz")
        cases.append(replace(case, readers=paths))
    changed = replace(manifest, cases=tuple(cases))
    write_manifest(changed, changed.path)
    return changed


def test_kappa_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    for share in (0.02, 0.3, 0.9):
        first = generator.random((9, 8, 7)) < share
        second = first ^ (generator.random(first.shape) < 0.1)
        assert cohen_kappa(first, second) == pytest.approx(cohen_kappa_score(first.ravel(), second.ravel()))
    empty = np.zeros((3, 3), bool)
    assert np.isnan(cohen_kappa(empty, empty))


def test_majority_takes_what_more_than_half_drew_label_by_label() -> None:
    maps = [np.array(row) for row in ([1, 1, 2, 1, 0], [1, 2, 2, 0, 0], [1, 0, 1, 0, 2])]
    assert fuse_labels(maps, method="majority").tolist() == [1, 0, 2, 0, 0]
    assert fuse_labels(maps[:2], method="majority").tolist() == [1, 0, 2, 0, 0]


def test_staple_trusts_the_two_good_annotators_more_than_the_careless_one() -> None:
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 12:28] = 1
    good = [np.roll(truth, shift, axis=0) for shift in (0, 1)]
    careless = np.roll(truth, 9, axis=1)
    fused = fuse_labels([*good, careless], method="staple")
    dice = 2 * (fused & truth).sum() / (fused.sum() + truth.sum())
    assert dice > 0.95
    assert fuse_labels([truth * 3] * 3, method="staple").tolist() == (truth * 3).tolist()


def test_staple_is_that_of_simpleitk_in_the_box_around_all() -> None:
    import SimpleITK as sitk

    generator = np.random.default_rng(0)
    maps = [np.pad((generator.random((12, 12)) < 0.5).astype(np.uint8), 1) for _ in range(4)]
    theirs = sitk.GetArrayFromImage(sitk.STAPLE([sitk.GetImageFromArray(one) for one in maps], 1.0)) > 0.5
    np.testing.assert_array_equal(fuse_labels([np.pad(one, 7) for one in maps], method="staple")[7:-7, 7:-7], theirs)


def test_the_command_writes_a_manifest_that_can_be_learned_from_and_a_table(tmp_path: Path) -> None:
    manifest = _read_by(tmp_path)
    result = CliRunner().invoke(app, ["manifest", "fuse", str(manifest.path), "--method", "majority", "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    fused = read_manifest(tmp_path / "manifest.majority.csv")
    assert [case.case for case in fused.cases] == [case.case for case in manifest.cases]
    for case, before in zip(fused.cases, manifest.cases, strict=True):
        label, geometry = read_label(case.label)
        readers = [read_label(path)[0] for path in before.readers.values()]
        np.testing.assert_array_equal(label, np.sum(readers, axis=0) >= 2)
        assert geometry.corner_distance(read_label(before.label)[1]) == 0
    assert len(facts["pairs"]) == 3
    with (tmp_path / "manifest.majority.agreement.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4 * 3
    first, second = (read_label(manifest.cases[1].readers[name])[0] == 1 for name in ("R1", "R2"))
    dice = 2 * (first & second).sum() / (first.sum() + second.sum())
    row = next(r for r in rows if (r["case"], r["first"], r["second"]) == (manifest.cases[1].case, "R1", "R2"))
    assert float(row["dice"]) == pytest.approx(dice)
    assert CliRunner().invoke(app, ["manifest", "check", str(tmp_path / "manifest.majority.csv")]).exit_code == 0


def test_a_manifest_without_annotators_is_refused_and_none_is_overwritten(tmp_path: Path) -> None:
    plain = volume_cohort(tmp_path / "plain", cases=2)
    with pytest.raises(RequestError, match="columns label"):
        fuse_manifest(plain, tmp_path / "plain" / "fused.csv", method="majority")
    manifest = _read_by(tmp_path / "read", readers=2)
    with pytest.raises(RequestError, match="choose another name"):
        fuse_manifest(manifest, manifest.path, method="staple")
