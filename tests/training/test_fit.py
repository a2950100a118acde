from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.config import StudyConfig
from medseg.config.train import ScheduleConfig
from medseg.errors import RunError
from medseg.planning import Plan
from medseg.studies.reporting import SilentProgress
from medseg.studies.study import case_entries, open_data, plan_study
from medseg.training.control import read_epochs
from medseg.training.fit import FitResult, Hooks, fit
from medseg.training.optim import Plateau, learning_rate_factor
from tests.studies.tiny import make_pictures, make_volumes, tiny_study


class _Stop(Exception):
    pass


def _prepared(study: StudyConfig) -> tuple[Plan, list]:
    data = open_data(study.data)
    plan, _ = plan_study(study, data, run=None, progress=SilentProgress())
    return plan, case_entries(study, data, plan, cases=data.manifest.cases, progress=SilentProgress())


def _fit(study: StudyConfig, folder: Path, hooks: Hooks | None = None, digest: str = "d") -> FitResult:
    plan, entries = _prepared(study)
    return fit(study, plan, entries=entries, folder=folder, seed=3, study_digest=digest, hooks=hooks)


def _same(first: FitResult, second: FitResult) -> bool:
    assert first.weights.keys() == second.weights.keys()
    return all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_volumes(tmp_path_factory.mktemp("volumes"))


def test_the_same_seed_gives_the_same_weights_for_any_number_of_loader_workers(volumes: Path, tmp_path: Path) -> None:
    study = tiny_study(volumes, dims=3)
    two_workers = study.model_copy(update={"data": study.data.model_copy(update={"loader_workers": 2})})
    first = _fit(study, tmp_path / "a")
    assert _same(first, _fit(study, tmp_path / "b"))
    assert _same(first, _fit(two_workers, tmp_path / "c"))


@pytest.mark.parametrize("mixing", [0.0, 1.0])
def test_a_run_stopped_in_the_middle_and_resumed_ends_with_the_same_bits(tmp_path: Path, mixing: float) -> None:
    manifest = make_pictures(tmp_path / "pictures")
    study = tiny_study(manifest, dims=2, iterations=6, checkpoint_minutes=1e-9)
    model = study.model.model_copy(update={"dropout": 0.2})
    augment = study.augment.model_copy(update={"mixup": mixing})
    study = study.model_copy(update={"model": model, "augment": augment})
    whole = _fit(study, tmp_path / "whole")

    seen = []

    def stop_after_four(_done: float, _word: str) -> None:
        seen.append(1)
        if len(seen) == 4:
            raise _Stop

    with pytest.raises(_Stop):
        _fit(study, tmp_path / "resumed", Hooks(progress=stop_after_four))
    resumed = _fit(study, tmp_path / "resumed")
    assert _same(whole, resumed)
    assert [e.train_loss for e in whole.epochs] == [e.train_loss for e in resumed.epochs]


def test_a_checkpoint_of_another_study_is_refused(volumes: Path, tmp_path: Path) -> None:
    study = tiny_study(volumes, dims=3)
    _fit(study, tmp_path)
    with pytest.raises(RunError, match="another study"):
        _fit(study, tmp_path, digest="other")


def test_a_truncated_checkpoint_is_told_and_not_trained_over(volumes: Path, tmp_path: Path) -> None:
    study = tiny_study(volumes, dims=3)
    _fit(study, tmp_path)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(RunError, match="cannot be read"):
        _fit(study, tmp_path)


def test_a_time_budget_is_kept_and_the_schedule_ends_with_it(volumes: Path, tmp_path: Path) -> None:
    study = tiny_study(volumes, dims=3, iterations=None, budget_minutes=0.05, epoch_iterations=None)
    result = _fit(study, tmp_path)
    # One step of this network takes some milliseconds: the budget can be met closely, whatever the machine.
    assert result.seconds >= 0.95 * 3.0
    assert result.epochs[-1].lr < 0.05 * study.train.optimizer.lr
    assert [e.iteration for e in read_epochs(tmp_path / "epochs.csv")] == [e.iteration for e in result.epochs]


def test_with_steps_and_a_budget_the_run_ends_with_whichever_comes_first(volumes: Path, tmp_path: Path) -> None:
    few_steps = tiny_study(volumes, dims=3, iterations=3, budget_minutes=60.0)
    assert _fit(few_steps, tmp_path / "steps").iterations == 3
    little_time = tiny_study(volumes, dims=3, iterations=10**6, budget_minutes=0.05, epoch_iterations=None)
    result = _fit(little_time, tmp_path / "time")
    assert 0 < result.iterations < 10**6
    assert result.epochs[-1].lr < 0.05 * little_time.train.optimizer.lr


def test_a_loss_that_is_not_finite_ends_the_run_with_a_reason(volumes: Path, tmp_path: Path) -> None:
    study = tiny_study(volumes, dims=3)
    optimizer = study.train.optimizer.model_copy(update={"lr": 1e30})
    study = study.model_copy(update={"train": study.train.model_copy(update={"optimizer": optimizer})})
    with pytest.raises(RunError, match="not finite"):
        _fit(study.model_copy(update={"plan": study.plan.model_copy(update={"iterations": 40})}), tmp_path)


def test_early_stopping_and_the_best_weights_follow_the_guiding_monitor(volumes: Path, tmp_path: Path) -> None:
    study = tiny_study(volumes, dims=3, iterations=40, early_stopping=2, select="best", ema_decay=0.0)
    values = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.1])
    kept = []

    def monitor(network: torch.nn.Module) -> float:
        kept.append({name: t.clone() for name, t in network.state_dict().items()})
        return next(values)

    result = _fit(study, tmp_path, Hooks(monitor=monitor, guides=True))
    assert len(result.epochs) == 4
    assert all(torch.equal(result.weights[name], kept[1][name]) for name in kept[1])


def test_held_out_cases_never_guide_a_run(volumes: Path, tmp_path: Path) -> None:
    study = tiny_study(volumes, dims=3, iterations=8)
    plain = _fit(study, tmp_path / "a")
    watched = _fit(study, tmp_path / "b", Hooks(monitor=lambda _network: float(np.random.default_rng().random())))
    assert _same(plain, watched)


@pytest.mark.parametrize("optimizer", [{"name": "sgd"}, {"name": "adam"}, {"name": "adamw", "encoder_lr_factor": 0.1}])
@pytest.mark.parametrize("schedule", ["poly", "constant"])
def test_every_optimiser_and_schedule_moves_the_weights(
    volumes: Path, tmp_path: Path, optimizer: dict[str, object], schedule: str
) -> None:
    study = tiny_study(
        volumes, dims=3, iterations=2, optimizer=optimizer, schedule={"name": schedule}, accumulate=2, ema_decay=0.0
    )
    untouched = tiny_study(volumes, dims=3, iterations=2, optimizer={**optimizer, "lr": 1e-12}, ema_decay=0.0)
    moved = _fit(study, tmp_path / "a")
    assert moved.iterations == 2
    assert not _same(moved, _fit(untouched, tmp_path / "b"))


def test_the_learning_rate_rises_then_falls_to_its_end() -> None:
    schedule = ScheduleConfig(name="cosine", warmup_fraction=0.1, final_fraction=0.01)
    factors = [learning_rate_factor(schedule, p) for p in np.linspace(0, 1, 101)]
    assert factors[10] == pytest.approx(1.0)
    assert factors[-1] == pytest.approx(0.01)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    poly = ScheduleConfig(name="poly", power=0.9, warmup_fraction=0.0)
    assert learning_rate_factor(poly, 0.5) == pytest.approx(0.5**0.9)


def test_a_plateau_lowers_the_learning_rate_after_its_patience() -> None:
    plateau = Plateau(ScheduleConfig(name="plateau", plateau_epochs=2, plateau_factor=0.5))
    for dice in (0.5, 0.4, 0.4):
        plateau.update(dice)
    assert plateau.factor == 0.5
    restored = Plateau(ScheduleConfig(name="plateau", plateau_epochs=2, plateau_factor=0.5))
    restored.restore(plateau.state())
    assert restored.factor == 0.5
