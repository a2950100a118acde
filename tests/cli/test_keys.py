from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from medseg.cli.app import app
from medseg.privacy.identities import IdentityIndex
from tests.studies.cohorts import write_cohort

_NEEDS_NO_KEY = {
    "demo": "makes its own",
    "init": "copies what ships",
    "doctor": "looks at the machine",
    "crosswalk": "shows the steward who is who",
    "config": "looks at a study",
    "datasets": "public data",
}
_NO_KEY_BELOW: set[tuple[str, ...]] = {("pacs", "pull"), ("dicomweb", "pull"), ("pacs", "find"), ("dicomweb", "find")}
"""They speak with the archive that knows the patients; what they bring is identified."""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    index = IdentityIndex()
    index.add(["Novakova^Jana"])
    index.save(tmp_path / "project.key.identities")
    return tmp_path / "project.key"


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_every_command_that_writes_or_tells_something_of_a_project_takes_its_key() -> None:
    top: Any = typer.main.get_command(app)
    commands: dict[tuple[str, ...], Any] = {(name,): found for name, found in top.commands.items()}
    for path, found in list(commands.items()):
        if hasattr(found, "commands"):
            del commands[path]
            commands |= {(*path, name): one for name, one in found.commands.items()}
    asked = {path for path in commands if path[0] not in _NEEDS_NO_KEY and path not in _NO_KEY_BELOW}
    without = {path for path in asked if not any("--key" in option.opts for option in commands[path].params)}
    assert not without


def test_an_import_that_would_keep_a_patients_name_copies_nothing(key: Path, tmp_path: Path) -> None:
    for folder, value in (("images", 90), ("masks", 255)):
        (tmp_path / "src" / folder).mkdir(parents=True)
        Image.fromarray(np.full((40, 40), value, np.uint8)).save(tmp_path / "src" / folder / "novakova_jana.png")
    asked = ("import", tmp_path / "src", tmp_path / "data", "--keep-names")
    refused = _run(*asked, "--key", key)
    assert refused.exit_code == 4
    assert "ovakova" not in refused.output
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert _run(*asked).exit_code == 0


def test_scores_that_would_tell_a_name_are_not_written(key: Path, tmp_path: Path) -> None:
    _, predictions = write_cohort(tmp_path)
    card = tmp_path / "manifest.yaml"
    card.write_text(card.read_text().replace("lesion", "lesion of Jana Novakova"))
    scored = _run("evaluate", predictions, tmp_path / "manifest.csv", "--out", tmp_path / "scores", "--key", key)
    assert scored.exit_code == 4
    assert "ovakova" not in scored.output
    assert not (tmp_path / "scores" / "summary.json").exists()
