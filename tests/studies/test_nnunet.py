"""nnU-Net on the same folds, and its predictions back in `evaluate` and `compare`, by the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label
from medseg.data.split import read_folds
from medseg.studies import read_cases
from tests.data.cohort import save_nifti, volume_cohort


def _run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout, result.stderr


def _trained(tmp_path: Path) -> Path:
    """A cohort with label values 3 and 7, its nnU-Net folder, and what a trainer would have predicted."""
    manifest = volume_cohort(tmp_path / "a", cases=8, per_patient=2)
    for case in manifest.cases:
        label, geometry = read_label(case.label)
        values = np.where(label, 3, 0).astype(np.uint8)
        values[0, :4, :4] = 7
        save_nifti(values, case.label, spacing=geometry.spacing)
    card = manifest.path.with_suffix(".yaml")
    card.write_text(card.read_text().replace("  1:\n    name: lesion\n", "  3: lesion\n  7: organ\n"))
    assert _run("manifest", "split", manifest.path, "--folds", 2)[0] == 0
    assert _run("manifest", "convert", manifest.path, tmp_path / "Dataset001_X", "--to", "nnunet")[0] == 0
    for fold, split in enumerate(json.loads((tmp_path / "Dataset001_X" / "splits_final.json").read_text())):
        for case in split["val"]:
            label, geometry = read_label(tmp_path / "Dataset001_X" / "labelsTr" / f"{case}.nii.gz")
            predicted = np.roll(label, 1, axis=0)
            path = tmp_path / "results" / f"fold_{fold}" / "validation" / f"{case}.nii.gz"
            save_nifti(predicted, path, spacing=geometry.spacing)
    return manifest.path


def test_splits_final_holds_out_the_same_cases_and_trains_on_all_others(tmp_path: Path) -> None:
    manifest = read_manifest(_trained(tmp_path))
    ours = read_folds(manifest.folds_path, manifest).splits
    theirs = json.loads((tmp_path / "Dataset001_X" / "splits_final.json").read_text())
    assert [sorted(split.test) for split in ours] == [split["val"] for split in theirs]
    everything = {case.case for case in manifest.cases}
    assert all(set(split["train"]) == everything - set(split["val"]) for split in theirs)
    patient_of = {case.case: case.patient for case in manifest.cases}
    for split in theirs:
        assert not {patient_of[c] for c in split["train"]} & {patient_of[c] for c in split["val"]}


def test_its_predictions_are_scored_in_their_folds_and_compared(tmp_path: Path) -> None:
    manifest = _trained(tmp_path)
    dataset = tmp_path / "Dataset001_X"
    status, _, err = _run(
        "evaluate",
        tmp_path / "results",
        manifest,
        "--nnunet",
        dataset,
        "--out",
        tmp_path / "nnunet",
        "--bootstrap",
        100,
    )
    assert status == 0, err
    rows = read_cases(tmp_path / "nnunet")
    assert len(rows) == 8 * 2
    folds = {
        c: s.fold
        for s in read_folds(manifest.with_suffix(".folds.csv"), read_manifest(manifest)).splits
        for c in s.test
    }
    assert {row["case"]: row["fold"] for row in rows} == folds
    case = next(case for case in read_manifest(manifest).cases if case.case == "C0003")
    truth = read_label(case.label)[0] == 3
    rolled = np.roll(read_label(case.label)[0], 1, axis=0) == 3
    dice = 2 * (truth & rolled).sum() / (truth.sum() + rolled.sum())
    assert next(r["dice"] for r in rows if r["case"] == "C0003" and r["label_name"] == "lesion") == dice
    (tmp_path / "perfect").mkdir()
    for case in read_manifest(manifest).cases:
        shutil.copy(case.label, tmp_path / "perfect" / f"{case.case}.nii.gz")
    assert _run("evaluate", tmp_path / "perfect", manifest, "--out", tmp_path / "ours", "--bootstrap", 100)[0] == 0
    status, out, _ = _run("compare", tmp_path / "nnunet", tmp_path / "ours", "--bootstrap", 100)
    assert status == 0
    assert "nnunet -> ours" in out


def test_predictions_of_a_model_of_all_cases_are_no_result(tmp_path: Path) -> None:
    manifest = _trained(tmp_path)
    results = tmp_path / "results"
    (results / "fold_0").rename(results / "fold_all")
    shutil.rmtree(results / "fold_1")
    manifest.with_suffix(".folds.csv").unlink()
    status, _, err = _run("evaluate", results, manifest, "--nnunet", tmp_path / "Dataset001_X")
    assert status == 2
    assert "none of 8" in err


def test_predictions_of_other_folds_or_values_are_refused(tmp_path: Path) -> None:
    manifest = _trained(tmp_path)
    results = tmp_path / "results"
    status, _, err = _run("evaluate", results, manifest)
    assert status == 2
    assert "none of 8" in err
    (results / "fold_0").rename(results / "fold_9")
    (results / "fold_1").rename(results / "fold_0")
    (results / "fold_9").rename(results / "fold_1")
    status, _, err = _run("evaluate", results, manifest, "--nnunet", tmp_path / "Dataset001_X")
    assert status == 2
    assert "other folds were used" in err
