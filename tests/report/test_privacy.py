from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from medseg.data.files import sha256_of
from medseg.data.manifest import read_manifest
from medseg.data.split import Split
from medseg.export.from_run import describe_run
from medseg.report.blocks import Document, Numbers
from medseg.report.facts import read_run
from medseg.report.html import html_of
from medseg.report.privacy import privacy_section
from medseg.report.screen import Screen
from medseg.studies import write_summary
from medseg.studies.membership import Exposure, membership_facts
from medseg.studies.private import write_privacy_facts, write_spend
from medseg.training.accounting import PrivacyTerms, spent
from medseg.types import Tier
from tests.report.make_run import FOLDS
from tests.training.test_private import private_study


def _test_membership(run: Path, *, patients: int) -> dict:
    generator = np.random.default_rng(0)
    member = np.ones((patients, FOLDS), dtype=np.int8)
    member[np.arange(patients), np.arange(patients) % FOLDS] = 0
    losses = np.exp(generator.normal(0, 1, (patients, 1)) - member + generator.normal(0, 0.5, member.shape))
    exposure = Exposure(tuple(f"P{i:04d}" for i in range(patients)), losses, member)
    facts = membership_facts(exposure, bootstrap=100, confidence=0.95, seed=0)
    for fold in range(FOLDS):
        (run / f"fold_{fold}" / "weights.safetensors").write_bytes(bytes([fold]))
    facts["weights"] = [sha256_of(run / f"fold_{k}" / "weights.safetensors") for k in range(FOLDS)]
    write_summary(facts, run / "membership.json")
    return facts


def _train_privately(run: Path) -> dict:
    splits = {}
    for fold in range(FOLDS):
        terms = PrivacyTerms(5e-4, 1.0, 2.0 + fold / 10, 0.25, 187, 2)
        write_spend(spent(terms, steps=40), run / f"fold_{fold}")
        splits[f"fold_{fold}"] = Split(0, fold, (), (), ())
    study = private_study(read_manifest(run.parent / "data" / "manifest.csv").path)
    facts = write_privacy_facts(study, run, splits=splits)
    assert facts is not None
    return facts


def _words(run: Path, tier: Tier) -> str:
    """The section as a reader sees it."""
    section = privacy_section(read_run(run), Screen(tier))
    document = Document("t", "s", tier, "n", Numbers(()), (section,))
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html_of(document)))


def test_a_run_without_guarantee_and_without_test_says_so(own_run: Path) -> None:
    words = _words(own_run, "shareable")
    assert "Trained without differential privacy" in words
    assert "was not tested" in words
    card = describe_run(own_run)[0]["privacy"]
    assert card["differential_privacy"]["trained_with"] is False
    assert card["membership"]["tested"] is False


@pytest.mark.parametrize("tier", ["internal", "shareable"])
def test_the_report_states_the_membership_test_and_what_it_does_not_show(own_run: Path, tier: Tier) -> None:
    facts = _test_membership(own_run, patients=120)
    words = _words(own_run, tier)
    for attack in facts["attacks"].values():
        assert f"{attack['auc']['value']:.3f} {attack['auc']['low']:.3f} to {attack['auc']['high']:.3f}" in words
    assert "not that none works" in words
    card = describe_run(own_run)[0]["privacy"]["membership"]
    assert card["attacks"]["loss"]["auc"]["value"] == round(facts["attacks"]["loss"]["auc"]["value"], 3)


def test_a_test_on_few_patients_is_withheld_from_what_is_shared(own_run: Path) -> None:
    facts = _test_membership(own_run, patients=9)
    assert np.isnan(facts["attacks"]["loss"]["auc"]["value"])
    assert "withheld" in describe_run(own_run)[0]["privacy"]["membership"]["attacks"]["loss"]
    assert "withheld" in _words(own_run, "shareable")
    assert "too few patients" in _words(own_run, "internal")


def test_a_test_of_weights_that_were_trained_anew_is_not_told(own_run: Path) -> None:
    _test_membership(own_run, patients=120)
    (own_run / "fold_1" / "weights.safetensors").write_bytes(b"other")
    assert "was not tested" in _words(own_run, "internal")
    assert describe_run(own_run)[0]["privacy"]["membership"]["tested"] is False


@pytest.mark.parametrize("tier", ["internal", "shareable"])
def test_the_report_states_epsilon_and_delta_of_one_model_and_of_all_together(own_run: Path, tier: Tier) -> None:
    facts = _train_privately(own_run)
    words = _words(own_run, tier)
    card = describe_run(own_run)[0]["privacy"]["differential_privacy"]
    assert f"epsilon {card['epsilon_of_one_model']:g}, delta 0.0005" in words
    assert f"epsilon {card['epsilon']:g}, delta 0.0005" in words
    assert facts["epsilon"] <= card["epsilon_of_one_model"] < facts["epsilon"] + 0.011
    # Two of three models were trained on a patient: more than one model's cost, less than three times.
    assert facts["models_of_a_patient"] == 2
    assert facts["epsilon"] < facts["epsilon_together"] < 2 * facts["epsilon"]
    assert "Not covered" in words
    assert "187" not in json.dumps(card) + words


def test_a_model_card_does_not_tell_the_mean_over_labels_beside_labels_that_few_patients_lack(volume_run: Path) -> None:
    metrics = describe_run(volume_run)[0]["metrics"]
    withheld = "beside other means it would tell of fewer than 10 patients"
    assert metrics["mean_over_labels"]["dice"] == {"withheld": withheld}
    assert all("mean" in label["metrics"]["dice"] for label in metrics["labels"].values())
