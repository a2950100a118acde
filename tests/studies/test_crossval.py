from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from medseg.config import StudyConfig
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_volume
from medseg.errors import ManifestError, RunError
from medseg.export.from_run import package_run
from medseg.export.load import load_model
from medseg.inference.support import learn_from_support
from medseg.studies.crossval import cross_validate, train_all
from medseg.studies.curve import label_curve
from medseg.studies.pretrain import pretrain
from medseg.studies.study import relative_study
from tests.studies.tiny import make_pictures, make_volumes, tiny_study


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_volumes(tmp_path_factory.mktemp("volumes"))


@pytest.fixture(scope="module")
def finished(volumes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    cross_validate(tiny_study(volumes, dims=3, iterations=30), out=out)
    return out


def _changed(study: StudyConfig, section: str, **values: object) -> StudyConfig:
    return study.model_copy(update={section: getattr(study, section).model_copy(update=values)})


def test_every_labelled_case_is_predicted_once_by_a_model_that_has_not_seen_its_patient(
    finished: Path, volumes: Path
) -> None:
    with (finished / "cases.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["case"] for row in rows) == [f"C{n:03d}" for n in range(6)]
    with volumes.with_suffix(".folds.csv").open() as stream:
        folds = {row["case"]: row["fold"] for row in csv.DictReader(stream)}
    for row in rows:
        assert row["fold"] == folds[row["case"]]
        assert (finished / f"fold_{row['fold']}" / "predictions" / f"{row['case']}.nii.gz").exists()
    # The first patient has two cases; they must lie in one fold.
    assert folds["C000"] == folds["C001"]


def test_a_prediction_lies_on_its_images_own_grid(finished: Path, volumes: Path) -> None:
    for path in finished.glob("fold_*/predictions/*.nii.gz"):
        found, image = nib.load(path), nib.load(volumes.parent / path.name)
        assert found.shape == image.shape
        np.testing.assert_allclose(found.affine, image.affine, atol=1e-5)


def test_training_helps(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    dice = summary["mean_over_labels"]["metrics"]["dice"]
    assert dice["mean"] > 0.6
    assert dice["low"] <= dice["mean"] <= dice["high"]


def test_a_finished_study_given_again_changes_nothing(finished: Path, volumes: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.suffix in (".safetensors", ".gz")}
    outcome = cross_validate(tiny_study(volumes, dims=3, iterations=30), out=finished)
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert outcome.summary["cases"] == 6


def test_another_study_in_the_same_folder_is_refused(finished: Path, volumes: Path) -> None:
    with pytest.raises(RunError, match="train"):
        cross_validate(tiny_study(volumes, dims=3, iterations=30, gradient_clip=3.0), out=finished)


def test_a_truncated_prediction_cannot_happen_but_a_missing_one_is_made_again(finished: Path, volumes: Path) -> None:
    lost = next(finished.glob("fold_*/predictions/*.nii.gz"))
    content = lost.read_bytes()
    lost.unlink()
    cross_validate(tiny_study(volumes, dims=3, iterations=30), out=finished)
    assert lost.read_bytes() == content


def test_the_run_folder_holds_no_path_from_outside(finished: Path, volumes: Path) -> None:
    here = str(volumes.parent.parent).encode()
    for path in finished.rglob("*"):
        if path.is_file():
            assert here not in path.read_bytes(), path.name
    study = yaml.safe_load((finished / "study.yaml").read_text())
    assert not Path(study["data"]["manifest"]).is_absolute()


def test_a_path_far_away_is_cut_to_its_name(tmp_path: Path) -> None:
    study = tiny_study(Path("/a/b/c/d/e/manifest.csv"), dims=3)
    deep = tmp_path / "x" / "y" / "z" / "w"
    assert relative_study(study, deep).data.manifest == "manifest.csv"


def test_the_package_of_a_run_predicts_as_its_folds_do(finished: Path, volumes: Path, tmp_path: Path) -> None:
    package_run(finished, tmp_path / "model.medseg")
    loaded = load_model(tmp_path / "model.medseg")
    assert len(loaded.predictor.networks) == 2
    image = read_volume(volumes.parent / "C002.nii.gz")
    label = np.asarray(nib.load(volumes.parent / "C002_label.nii.gz").dataobj)
    found = loaded.predictor.predict(image).label_map
    assert 2 * ((found == 1) & (label == 1)).sum() / ((found == 1).sum() + (label == 1).sum()) > 0.6


def test_pictures_go_the_same_way(tmp_path: Path) -> None:
    manifest = make_pictures(tmp_path / "pictures")
    outcome = cross_validate(tiny_study(manifest, dims=2, iterations=6), out=tmp_path / "run")
    assert outcome.summary["cases"] == 6
    assert len(list((tmp_path / "run").glob("fold_*/predictions/*.png"))) == 6


def test_a_network_that_was_pretrained_without_labels_is_taken_up_and_told(volumes: Path, tmp_path: Path) -> None:
    study = _changed(tiny_study(volumes, dims=3, iterations=4), "pretrain", iterations=60, block=4)
    outcome = pretrain(study, out=tmp_path / "pretrained")
    assert outcome.iterations == 60
    assert np.isfinite(outcome.loss)
    started = tiny_study(volumes, dims=3, iterations=2, init=str(tmp_path / "pretrained"))
    train_all(started, out=tmp_path / "run")
    report = json.loads((tmp_path / "run" / "fold_all" / "init.json").read_text())
    assert report["matched"]
    assert all(name.startswith("encoder.") for name in report["matched"])
    assert not report["reshaped"]


def test_pretraining_never_reads_a_label(tmp_path: Path) -> None:
    manifest = make_volumes(tmp_path / "volumes", cases=4)
    study = _changed(tiny_study(manifest, dims=3), "pretrain", iterations=2, block=4)
    pretrain(study, out=tmp_path / "one")
    weights = (tmp_path / "one" / "weights.safetensors").read_bytes()
    for path in (tmp_path / "volumes").glob("*_label.nii.gz"):
        label = nib.load(path)
        nib.save(nib.Nifti1Image(1 - np.asarray(label.dataobj), label.affine), path)
    # The plan is taken from the first run: it is the one place where the labels' fingerprint counts.
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "plan.json").write_bytes((tmp_path / "one" / "plan.json").read_bytes())
    pretrain(study, out=tmp_path / "two")
    assert (tmp_path / "two" / "weights.safetensors").read_bytes() == weights


def test_few_shot_trains_from_so_many_cases_and_the_curve_has_a_point_for_each(volumes: Path, tmp_path: Path) -> None:
    points = label_curve(tiny_study(volumes, dims=3, iterations=2), cases=[1, 2], out=tmp_path)
    assert [point.cases for point in points] == [1, 2]
    ledger = (tmp_path / "cases_1" / "ledger.jsonl").read_text()
    assert '"training_cases": 1' in ledger or '"training_cases":1' in ledger
    assert len(json.loads((tmp_path / "cases_2" / "fold_0" / "few_shot.json").read_text())["cases"]) == 2
    with pytest.raises(ManifestError, match="few_shot"):
        label_curve(tiny_study(volumes, dims=3, iterations=2), cases=[100], out=tmp_path)


def test_the_inner_validation_part_takes_whole_patients_and_never_a_tested_case(volumes: Path, tmp_path: Path) -> None:
    study = tiny_study(volumes, dims=3, iterations=4, select="best", early_stopping=3)
    outcome = cross_validate(study, out=tmp_path / "run")
    assert outcome.summary["cases"] == 6


def test_ignored_voxels_count_neither_in_training_nor_in_the_scores(tmp_path: Path) -> None:
    manifest = make_volumes(tmp_path / "volumes")
    for path in (tmp_path / "volumes").glob("*_label.nii.gz"):
        label = nib.load(path)
        array = np.asarray(label.dataobj).copy()
        array[:3] = 9
        nib.save(nib.Nifti1Image(array, label.affine), path)
    text = manifest.read_text().splitlines()
    header = text[0].split(",")
    manifest.write_text("\n".join([text[0], *(_without(line, header, "label_sha256") for line in text[1:])]) + "\n")
    study = _changed(tiny_study(manifest, dims=3), "data", ignore_label=9)
    outcome = cross_validate(study, out=tmp_path / "run")
    assert outcome.summary["cases"] == 6


def _without(line: str, header: list[str], column: str) -> str:
    cells = line.split(",")
    if column in header:
        cells[header.index(column)] = ""
    return ",".join(cells)


def test_a_support_set_teaches_a_trained_encoder_a_new_label_without_training(
    finished: Path, volumes: Path, tmp_path: Path
) -> None:
    support = tmp_path / "support"
    manifest = make_volumes(support, cases=4)
    card = yaml.safe_load(manifest.with_suffix(".yaml").read_text())
    card["labels"] = {5: {"name": "nodule"}}
    manifest.with_suffix(".yaml").write_text(yaml.safe_dump(card))
    for path in support.glob("*_label.nii.gz"):
        label = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(label.dataobj) * 5, label.affine), path)
    text = manifest.read_text().splitlines()
    header = text[0].split(",")
    manifest.write_text("\n".join([text[0], *(_without(line, header, "label_sha256") for line in text[1:])]) + "\n")
    package_run(finished, tmp_path / "model.medseg")
    taught = learn_from_support(load_model(tmp_path / "model.medseg").predictor, read_manifest(manifest))
    found = taught.predict(read_volume(volumes.parent / "C004.nii.gz")).label_map
    truth = np.asarray(nib.load(volumes.parent / "C004_label.nii.gz").dataobj) > 0
    assert set(np.unique(found)) <= {0, 5}
    assert 2 * ((found == 5) & truth).sum() / ((found == 5).sum() + truth.sum()) > 0.4
