from __future__ import annotations

import math
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch

from medseg.config import FewShotConfig, PrivacyConfig, StudyConfig
from medseg.data.cache import CacheEntry
from medseg.errors import RunError
from medseg.losses import DeepSupervisionLoss, build_loss
from medseg.planning import Plan
from medseg.studies.reporting import SilentProgress
from medseg.studies.study import case_entries, open_data, plan_study
from medseg.training.accounting import PrivacyTerms, compose, privacy_terms, spent
from medseg.training.fit import FitResult, Hooks, fit, network_of
from medseg.training.module import RunModule, supervised_step
from medseg.training.optim import build_optimizer
from medseg.training.patches import PatchDataset
from medseg.training.private import PatientBatches, PrivateGradient, forget_key, patient_number, private_key
from medseg.transforms import build_batch_transform, build_training_transform, oversized_patch
from tests.studies.tiny import make_volumes, tiny_study

_KEY = bytes(range(16))
_TERMS = PrivacyTerms(delta=1e-2, clip_norm=0.05, noise_multiplier=2.0, sample_rate=0.5, patients=5, patches=2)


class _Stop(Exception):
    pass


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_volumes(tmp_path_factory.mktemp("volumes"))


def private_study(manifest: Path, *, iterations: int = 4, **train: object) -> StudyConfig:
    study = tiny_study(manifest, dims=3, iterations=iterations)
    plan = {**study.plan.model_dump(mode="json"), "batch_size": None, "spacing": [1.5, 1.5, 2.0]}
    privacy = {"epsilon": 4.0, "delta": 0.05, "patients": 3, "patches": 2}
    content = study.model_dump(mode="json")
    content["plan"], content["train"] = plan, {**content["train"], "privacy": privacy, **train}
    return StudyConfig.model_validate(content)


def _prepared(study: StudyConfig) -> tuple[Plan, list[CacheEntry], list[str]]:
    data = open_data(study.data)
    plan, _ = plan_study(study, data, run=None, progress=SilentProgress())
    cases = data.manifest.cases
    entries = case_entries(study, data, plan, cases=cases, progress=SilentProgress())
    return plan, entries, [case.patient for case in cases]


def _fit(study: StudyConfig, folder: Path, *, key: bytes | None = _KEY, hooks: Hooks | None = None) -> FitResult:
    plan, entries, patients = _prepared(study)
    folder.mkdir(exist_ok=True)
    if key is not None and not (folder / "noise.key").exists():
        (folder / "noise.key").write_bytes(key)
    return fit(study, plan, entries=entries, patients=patients, folder=folder, seed=3, study_digest="d", hooks=hooks)


def _same(first: FitResult, second: FitResult) -> bool:
    return all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)


def _patches(study: StudyConfig, plan: Plan, entries: Sequence[CacheEntry]) -> PatchDataset:
    return PatchDataset(
        entries,
        draw_size=oversized_patch(study.augment, plan.patch_size),
        batch_size=plan.batch_size,
        foreground_fraction=0.5,
        transform=build_training_transform(
            study.augment, spatial_dims=3, patch_size=plan.patch_size, rgb=False, seed=0
        ),
        finish=lambda image: image,
        seed=0,
    )


def _module(study: StudyConfig, plan: Plan, *, terms: PrivacyTerms) -> RunModule:
    torch.manual_seed(0)
    network = network_of(study, plan)
    step = supervised_step(
        DeepSupervisionLoss(build_loss(study.loss, ignore_index=None)),
        batch_transform=build_batch_transform(study.augment, 0),
        classes=plan.classes,
    )
    private = PrivateGradient(network, terms=terms, key=_KEY, gradient_clip=0.0)
    optimizer = build_optimizer(study.train.optimizer, network)
    return RunModule(network, step=step, optimizer=optimizer, seed=0, first=0, private=private)


def _norm(gradients: Sequence[torch.Tensor]) -> float:
    return math.sqrt(sum(float(g.double().square().sum()) for g in gradients))


@pytest.mark.parametrize(("residual", "clip_norm"), [(True, 0.05), (False, 1e-4)])
def test_one_patient_more_changes_the_sum_by_no_more_than_the_clip_norm(
    volumes: Path, residual: bool, clip_norm: float
) -> None:
    study = private_study(volumes)
    model = study.model.model_copy(update={"residual": residual, "dropout": 0.3, "deep_supervision": True})
    study = study.model_copy(update={"model": model})
    plan, entries, patients = _prepared(study)
    terms = replace(_TERMS, clip_norm=clip_norm, sample_rate=1.0)
    module = _module(study, plan, terms=terms)
    module.train()
    batches = PatientBatches(_patches(study, plan, entries), patients=patients, terms=terms, key=_KEY, seed=0)
    images, targets, numbers = batches[0]
    assert module.private is not None

    def total(chosen: Sequence[int]) -> list[torch.Tensor]:
        def loss_of(place: int) -> torch.Tensor:
            torch.manual_seed(int(numbers[chosen[place]]))
            return module.step(module.model, images[chosen[place]], targets[chosen[place]], 0)

        return module.private.clipped_sum(loss_of, patients=len(chosen))[0]  # type: ignore[union-attr]

    everyone = list(range(len(numbers)))
    whole = total(everyone)
    for left_out in everyone:
        without = total([p for p in everyone if p != left_out])
        alone = total([left_out])
        difference = [a - b for a, b in zip(whole, without, strict=True)]
        assert _norm(difference) <= clip_norm * (1 + 1e-4)
        # The gradients are longer than the clip norm: the bound is reached.
        assert _norm(alone) == pytest.approx(clip_norm, rel=1e-4)


def test_without_noise_and_clipping_the_gradient_is_the_mean_of_the_patients(volumes: Path) -> None:
    study = private_study(volumes)
    plan, entries, patients = _prepared(study)
    terms = replace(_TERMS, clip_norm=1e6, noise_multiplier=0.0, sample_rate=1.0)
    module = _module(study, plan, terms=terms)
    batch = PatientBatches(_patches(study, plan, entries), patients=patients, terms=terms, key=_KEY, seed=0)[0]
    assert module.private is not None
    loss = module.private.write(
        lambda p: module.step(module.model, batch[0][p], batch[1][p], 0), patients=len(batch[2]), number=0
    )
    found = [p.grad.clone() for p in module.model.parameters() if p.grad is not None]
    module.model.zero_grad()
    expected = torch.stack([module.step(module.model, x, y, 0) for x, y in zip(batch[0], batch[1], strict=True)]).mean()
    expected.backward()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    wanted = [p.grad for p in module.model.parameters() if p.grad is not None]
    assert all(torch.allclose(a, b, atol=1e-5, rtol=1e-3) for a, b in zip(found, wanted, strict=True))


def test_the_noise_has_the_deviation_that_the_account_is_told_and_differs_from_step_to_step() -> None:
    layer = torch.nn.Linear(400, 250)
    private = PrivateGradient(layer, terms=_TERMS, key=_KEY, gradient_clip=0.0)

    def noise(number: int) -> torch.Tensor:
        assert private.write(lambda _: torch.zeros(()), patients=0, number=number) is None
        return layer.weight.grad.clone() * _TERMS.expected

    first, second = noise(0), noise(1)
    assert float(first.std()) == pytest.approx(_TERMS.noise_multiplier * _TERMS.clip_norm, rel=0.02)
    assert abs(float(first.mean())) < 4 * float(first.std()) / math.sqrt(first.numel())
    assert abs(np.corrcoef(first.flatten(), second.flatten())[0, 1]) < 0.02
    assert torch.equal(first, noise(0))
    assert private.steps == 3


def test_each_patient_takes_part_by_a_lot_of_its_own_and_brings_the_same_patches_whoever_else_is_there(
    volumes: Path,
) -> None:
    study = private_study(volumes)
    plan, entries, patients = _prepared(study)
    batches = PatientBatches(_patches(study, plan, entries), patients=patients, terms=_TERMS, key=_KEY, seed=0)
    drawn = [set(batches[n][2].tolist()) for n in range(200)]
    for patient in set(patients):
        share = np.mean([patient_number(patient) in step for step in drawn])
        assert share == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(200))
    assert len({len(step) for step in drawn}) > 2
    everyone = replace(_TERMS, sample_rate=1.0)
    whole = PatientBatches(_patches(study, plan, entries), patients=patients, terms=everyone, key=_KEY, seed=0)[7]
    fewer = PatientBatches(_patches(study, plan, entries[3:]), patients=patients[3:], terms=everyone, key=_KEY, seed=0)[
        7
    ]
    place = whole[2].tolist().index(int(fewer[2][0]))
    assert torch.equal(whole[0][place], fewer[0][0])


def _gaussian_epsilon(mu: float, delta: float) -> float:
    """Epsilon of a Gaussian mechanism, in closed form (Balle & Wang 2018, theorem 8)."""
    phi, low, high = NormalDist().cdf, 0.0, 100.0
    for _ in range(100):
        middle = (low + high) / 2
        above = phi(mu / 2 - middle / mu) - math.exp(middle) * phi(-mu / 2 - middle / mu) > delta
        low, high = (middle, high) if above else (low, middle)
    return high


@pytest.mark.parametrize(("multiplier", "steps"), [(2.0, 4), (5.0, 100)])
def test_epsilon_is_that_of_the_closed_form_where_every_patient_takes_part(multiplier: float, steps: int) -> None:
    terms = replace(_TERMS, noise_multiplier=multiplier, sample_rate=1.0, delta=1e-3)
    found = spent(terms, steps=steps).epsilon
    exact = _gaussian_epsilon(math.sqrt(steps) / multiplier, 1e-3)
    assert exact <= found <= exact + 0.02


def test_epsilon_is_that_of_the_accountant_and_below_the_one_of_another() -> None:
    from opacus.accountants import PRVAccountant, RDPAccountant

    terms = replace(_TERMS, noise_multiplier=1.2, sample_rate=0.2, delta=1e-3)
    tight, loose = PRVAccountant(), RDPAccountant()
    for _ in range(50):
        tight.step(noise_multiplier=1.2, sample_rate=0.2)
        loose.step(noise_multiplier=1.2, sample_rate=0.2)
    assert spent(terms, steps=50).epsilon == pytest.approx(tight.get_epsilon(1e-3))
    assert 0.8 * loose.get_epsilon(1e-3) < spent(terms, steps=50).epsilon < loose.get_epsilon(1e-3)
    assert spent(terms, steps=0).epsilon == 0.0


def test_two_models_cost_as_much_as_one_of_both_their_steps() -> None:
    terms = replace(_TERMS, noise_multiplier=2.0, sample_rate=0.3, delta=1e-3)
    one = spent(terms, steps=30)
    together, delta = compose([one, one])
    assert together == pytest.approx(spent(terms, steps=60).epsilon, abs=0.02)
    assert delta == 1e-3


def test_the_noise_is_the_least_that_keeps_the_run_within_its_epsilon() -> None:
    config = PrivacyConfig(epsilon=3.0, patients=10)
    terms = privacy_terms(config, patients=50, steps=100)
    assert terms.sample_rate == pytest.approx(0.2)
    assert terms.delta == pytest.approx(0.1 / 50)
    # All digits of a tenth of one over 187 would tell that there are 187.
    assert privacy_terms(config, patients=187, steps=10).delta == 5e-4
    assert 2.9 < spent(terms, steps=100).epsilon <= 3.0
    with pytest.raises(RunError, match="one over the number"):
        privacy_terms(PrivacyConfig(delta=0.02), patients=50, steps=10)


def test_the_same_key_gives_the_same_weights_and_another_key_others(volumes: Path, tmp_path: Path) -> None:
    study = private_study(volumes)
    first = _fit(study, tmp_path / "a")
    workers = study.model_copy(update={"data": study.data.model_copy(update={"loader_workers": 2})})
    assert _same(first, _fit(workers, tmp_path / "b"))
    assert not _same(first, _fit(study, tmp_path / "c", key=None))
    assert first.privacy is not None
    assert first.privacy.steps == 4
    assert 3.9 < first.privacy.epsilon <= 4.0


def test_a_run_stopped_in_the_middle_keeps_its_account_and_ends_with_the_same_bits(
    volumes: Path, tmp_path: Path
) -> None:
    study = private_study(volumes, iterations=6, checkpoint_minutes=1e-9)
    whole = _fit(study, tmp_path / "whole")
    seen = []

    def stop_after_four(_done: float, _word: str) -> None:
        seen.append(1)
        if len(seen) == 4:
            raise _Stop

    with pytest.raises(_Stop):
        _fit(study, tmp_path / "resumed", hooks=Hooks(progress=stop_after_four))
    resumed = _fit(study, tmp_path / "resumed")
    assert _same(whole, resumed)
    assert resumed.privacy == whole.privacy
    assert whole.privacy is not None
    assert whole.privacy.steps == 6


def test_a_budget_that_ends_a_run_early_costs_less(volumes: Path, tmp_path: Path) -> None:
    result = _fit(private_study(volumes, iterations=3000, budget_minutes=0.01), tmp_path)
    assert result.privacy is not None
    assert result.privacy.steps == result.iterations < 3000
    assert result.privacy.epsilon < 4.0


def test_the_key_is_secret_to_the_user_and_is_forgotten(tmp_path: Path) -> None:
    key = private_key(tmp_path)
    assert stat.S_IMODE((tmp_path / "noise.key").stat().st_mode) == 0o600
    assert private_key(tmp_path) == key
    forget_key(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert private_key(tmp_path) != key


def test_a_network_with_batch_normalisation_and_cases_without_patients_are_refused(
    volumes: Path, tmp_path: Path
) -> None:
    study = private_study(volumes)
    plan, entries, patients = _prepared(study)
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 1), torch.nn.BatchNorm3d(2))
    with pytest.raises(RunError, match="batch normalisation"):
        fit(study, plan, entries=entries, patients=patients, folder=tmp_path, seed=0, study_digest="d", model=network)
    few = study.train.model_copy(update={"few_shot": FewShotConfig(cases=2)})
    with pytest.raises(RunError, match="few_shot"):
        _fit(study.model_copy(update={"train": few}), tmp_path)
    with pytest.raises(RunError, match="the patient of each case"):
        fit(study, plan, entries=entries, folder=tmp_path, seed=0, study_digest="d")
