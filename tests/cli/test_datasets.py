from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from medseg.cli.app import app


def test_the_synthetic_cohort_is_made_and_another_one_refused(tmp_path: Path) -> None:
    arguments = ["datasets", "make", str(tmp_path / "cohort"), "--patients", "1", "--json", "--pictures"]
    done = CliRunner().invoke(app, [*arguments, "1"])
    assert done.exit_code == 0
    facts = json.loads(done.stdout)
    assert facts["series"] == 2
    assert Path(facts["planted"]).is_file()
    again = CliRunner().invoke(app, [*arguments, "2"])
    assert again.exit_code == 2
    assert "something else" in again.stderr


def test_every_public_data_set_is_listed_with_its_licence_and_source() -> None:
    listed = CliRunner().invoke(app, ["datasets", "list", "--json"])
    assert listed.exit_code == 0
    cards = json.loads(listed.stdout)
    assert {"isic2017", "msd_hippocampus", "sts_sarcoma"} <= set(cards)
    assert all(card["licence"] and card["source"] and card["labels"] for card in cards.values())
    text = CliRunner().invoke(app, ["datasets", "list"]).stdout
    assert all(name in text for name in cards)
