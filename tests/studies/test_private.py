from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.config import StudyConfig, dump_study
from medseg.errors import PlanError, RequestError, RunError
from medseg.export.from_run import describe_run
from medseg.studies import read_summary
from medseg.studies.crossval import cross_validate, train_all
from medseg.studies.fold_losses import measure_membership
from medseg.studies.pretrain import pretrain
from medseg.training.accounting import PrivacySpend, compose
from tests.studies.tiny import make_pictures, make_volumes
from tests.training.test_private import private_study


def _written(study: StudyConfig, folder: Path) -> str:
    (folder / "study.yaml").write_text(dump_study(study))
    return str(folder / "study.yaml")


def _pictures(folder: Path) -> StudyConfig:
    study = private_study(make_pictures(folder), iterations=3)
    plan = study.plan.model_copy(update={"patch_size": (32, 32), "spacing": None})
    return study.model_copy(update={"plan": plan})


def test_a_private_study_states_what_it_cost_everywhere_and_forgets_its_secret(tmp_path: Path) -> None:
    study = _pictures(tmp_path / "data")
    run = tmp_path / "run"
    cross_validate(study, out=run)
    told = read_summary(run)["privacy"]
    assert told == json.loads((run / "privacy.json").read_text())
    assert told["epsilon"] <= 4.0
    # Of two folds each patient is held out by one.
    assert (told["models"], told["models_of_a_patient"]) == (2, 1)
    spends = [PrivacySpend(**json.loads((run / f"fold_{k}" / "privacy.json").read_text())) for k in range(2)]
    assert told["epsilon_together"] == pytest.approx(compose(spends[1:])[0])
    assert [spend.steps for spend in spends] == [3, 3]
    assert "Differential privacy" in json.loads((run / "plan.json").read_text())["reasons"]["privacy"]
    card = describe_run(run)[0]["privacy"]["differential_privacy"]
    assert card["trained_with"] is True
    assert list(run.rglob("noise.key")) == []
    printed = CliRunner().invoke(app, ["crossval", _written(study, tmp_path), "--out", str(run)])
    assert card["epsilon_of_one_model"] >= told["epsilon"]
    assert f"epsilon {card['epsilon_of_one_model']:.2f}, delta 0.05 for one model" in printed.stdout
    before = (run / "fold_0" / "weights.safetensors").read_bytes()
    # As a process leaves it that is killed between its last two lines.
    (run / "fold_0" / "noise.key").write_bytes(bytes(16))
    cross_validate(study, out=run)
    assert (run / "fold_0" / "weights.safetensors").read_bytes() == before
    assert list(run.rglob("noise.key")) == []


def test_a_private_model_of_all_cases_states_its_cost_and_cannot_be_tested_for_membership(tmp_path: Path) -> None:
    study = _pictures(tmp_path / "data")
    run = tmp_path / "run"
    train_all(study, out=run)
    card = describe_run(run)[0]["privacy"]["differential_privacy"]
    assert card["models"] == card["models_of_a_patient"] == 1
    assert card["epsilon"] <= 4.0
    with pytest.raises(RunError):
        measure_membership(run)


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"patch_size": None}, "plan.patch_size"), ({"spacing": None}, "plan.spacing")],
)
def test_a_plan_that_would_be_measured_on_the_patients_is_refused(
    tmp_path: Path, changes: dict[str, None], told: str
) -> None:
    study = private_study(make_volumes(tmp_path / "data"))
    study = study.model_copy(update={"plan": study.plan.model_copy(update=changes)})
    with pytest.raises(PlanError, match=told):
        cross_validate(study, out=tmp_path / "run")


def test_pretraining_on_the_patients_of_a_private_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="adds no noise"):
        pretrain(_pictures(tmp_path / "data"), out=tmp_path / "run")
