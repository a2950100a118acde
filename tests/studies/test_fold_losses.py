from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.config import StudyConfig
from medseg.data.manifest import read_manifest
from medseg.data.split import make_folds, write_folds
from medseg.errors import RunError
from medseg.studies import read_summary
from medseg.studies.crossval import cross_validate
from medseg.studies.fold_losses import balanced_cross_entropy, measure_membership
from medseg.training.checkpoint import load_weights, save_weights
from tests.studies.tiny import make_pictures, tiny_study


def _noise_study(manifest: Path, *, iterations: int) -> StudyConfig:
    """A study that can learn a picture by heart only: the outlines have nothing to do with the pictures."""
    study = tiny_study(manifest, dims=2, iterations=iterations, optimizer={"name": "adamw", "lr": 0.01}, ema_decay=0.0)
    augment = study.augment.model_copy(update={"flip": 0.0, "rotate": 0.0, "zoom": 0.0})
    plan = study.plan.model_copy(update={"patch_size": (32, 32), "batch_size": 4})
    model = study.model.model_copy(update={"base_features": 6, "deep_supervision": False})
    return study.model_copy(update={"augment": augment, "plan": plan, "model": model})


def _noise_pictures(folder: Path, *, cases: int, folds: int) -> Path:
    from PIL import Image

    manifest = make_pictures(folder, cases=cases, folds=folds)
    generator = np.random.default_rng(0)
    for case in read_manifest(manifest).cases:
        noise = generator.integers(0, 256, (12, 16, 3)).astype(np.uint8)
        Image.fromarray(noise).resize((64, 48), 0).save(case.images["image"])
    return manifest


@pytest.fixture(scope="module")
def learnt_by_heart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heart")
    manifest = _noise_pictures(folder / "data", cases=12, folds=3)
    cross_validate(_noise_study(manifest, iterations=60), out=folder / "run")
    return folder / "run"


def test_patients_learnt_by_heart_are_found_by_both_attacks(learnt_by_heart: Path) -> None:
    facts = measure_membership(learnt_by_heart)
    assert facts["attacks"]["loss"]["auc"]["value"] > 0.8
    assert facts["attacks"]["likelihood_ratio"]["auc"]["value"] > 0.8
    assert facts["mean_loss"]["members"] < facts["mean_loss"]["others"]
    assert math.isnan(facts["attacks"]["loss"]["tpr"]["value"])
    stored = read_summary(learnt_by_heart / "membership.json")
    assert stored["attacks"]["loss"]["auc"] == facts["attacks"]["loss"]["auc"]
    assert "C000" not in (learnt_by_heart / "membership.json").read_text()


def test_models_that_were_never_trained_give_an_interval_that_holds_one_half(tmp_path: Path) -> None:
    manifest = _noise_pictures(tmp_path / "data", cases=30, folds=3)
    run = tmp_path / "run"
    cross_validate(_noise_study(manifest, iterations=1), out=run)
    for fold in range(3):
        path = run / f"fold_{fold}" / "weights.safetensors"
        generator = torch.Generator().manual_seed(fold)
        save_weights({k: torch.randn(w.shape, generator=generator) * 0.2 for k, w in load_weights(path).items()}, path)
    for attack in measure_membership(run)["attacks"].values():
        assert attack["auc"]["low"] <= 0.5 <= attack["auc"]["high"]


def test_the_command_prints_both_attacks_and_goes_on_from_what_it_measured(learnt_by_heart: Path) -> None:
    first = CliRunner().invoke(app, ["membership", str(learnt_by_heart)])
    assert first.exit_code == 0, first.output
    assert "likelihood ratio: AUC" in first.stdout
    assert "not defined, too few patients" in first.stdout
    path = learnt_by_heart / "fold_0" / "losses.json"
    before = path.stat().st_mtime_ns
    content = json.loads(path.read_text())
    assert len(content["losses"]) == 12
    assert CliRunner().invoke(app, ["membership", str(learnt_by_heart), "--json"]).exit_code == 0
    assert path.stat().st_mtime_ns == before


def test_folds_drawn_anew_after_the_run_are_refused(learnt_by_heart: Path) -> None:
    manifest = read_manifest(learnt_by_heart.parent / "data" / "manifest.csv")
    kept = manifest.folds_path.read_bytes()
    try:
        write_folds(make_folds(manifest, folds=3, seed=99), manifest.folds_path, force=True)
        with pytest.raises(RunError, match="not those of the run"):
            measure_membership(learnt_by_heart)
    finally:
        manifest.folds_path.write_bytes(kept)


def test_the_balanced_cross_entropy_by_hand() -> None:
    label = np.array([[0, 0, 0, 1], [2, 0, 0, 0]], dtype=np.uint8)
    right = np.where(label == 1, 0.5, 0.9)
    probabilities = np.stack([np.where(label == 1, 1 - right, right), np.where(label == 1, right, 1 - right)])
    # 2 is to be ignored; the six background voxels and the one lesion voxel count the same.
    assert balanced_cross_entropy(probabilities, label) == pytest.approx(-(math.log(0.9) + math.log(0.5)) / 2)
    assert math.isnan(balanced_cross_entropy(probabilities, np.full_like(label, 2)))


def test_the_loss_is_the_same_slab_by_slab(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(3), (9, 8, 7)).transpose(3, 0, 1, 2)
    label = generator.integers(0, 4, (9, 8, 7)).astype(np.uint8)
    whole = balanced_cross_entropy(probabilities, label)
    monkeypatch.setattr("medseg.studies.fold_losses._SLAB", 60)
    assert balanced_cross_entropy(probabilities, label) == pytest.approx(whole, rel=1e-12)
