from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medseg.config import dump_study, load_study, parse_study
from medseg.errors import ConfigError

_STUDY = "name: s\ndata: {manifest: m.csv}\nmodel: {name: unet}\ntrain: {optimizer: {name: adamw, lr: 3e-4}}\n"


def _file(folder: Path, text: str = _STUDY) -> Path:
    path = folder / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_number_in_the_file_is_the_number_used(tmp_path: Path) -> None:
    # PyYAML reads 3e-4 as text; the schema makes it the number that was meant.
    assert load_study(_file(tmp_path)).train.optimizer.lr == 0.0003


def test_an_override_changes_one_value_and_makes_missing_sections(tmp_path: Path) -> None:
    study = load_study(_file(tmp_path), overrides=["train.budget_minutes=6", "plan.patch_size=[32,32,16]", "seed=7"])
    assert (study.train.budget_minutes, study.plan.patch_size, study.seed) == (6.0, (32, 32, 16), 7)
    assert study.train.optimizer.lr == 0.0003


def test_the_resolved_study_loads_to_itself(tmp_path: Path) -> None:
    study = load_study(_file(tmp_path))
    assert parse_study(yaml.safe_load(dump_study(study))) == study


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.buget_minutes=6", r"train\.buget_minutes: unknown key; did you mean 'budget_minutes'\?"),
        ("train.optimizer.bettas=1", r"train\.optimizer\.bettas: unknown key; did you mean 'betas'\?"),
        ("model.levels=-1", r"model\.levels: .*greater than 0; found -1"),
        ("model.name=transformer", "expected tags: 'unet', 'efficient_unet'"),
        ("augment.flip=2", r"augment\.flip: .*less than or equal to 1"),
        ("name=../x", "name: string should match pattern"),
        ("train.budget_minutes", r"expected a\.b=value"),
        ("name.x=1", "'name' is a value, not a section"),
        ("seed=[1", "not valid YAML"),
        ("augment.zoom_range=[1.2,0.8]", "smallest before largest"),
    ],
)
def test_a_wrong_override_is_told_with_its_place_and_what_is_allowed(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study(_file(tmp_path), overrides=[override])


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load_study(_file(tmp_path), overrides=["model.levels=-1", "augment.flip=2"])
    assert str(raised.value).count("\n  - ") == 2


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "not valid YAML at line"), ("- 1\n", "mapping"), ("", "mapping")]
)
def test_a_file_that_is_no_study_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study(_file(tmp_path, text))


def test_a_folder_in_the_place_of_a_study_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found a folder"):
        load_study(tmp_path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"name: [", b"- name"])
def test_a_file_that_is_no_study_is_told_without_its_name(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "Novakova.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="the study file") as raised:
        load_study(path)
    assert "Novakova" not in str(raised.value)
    assert str(tmp_path) not in str(raised.value)


def test_a_yaml_tag_never_runs_code(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        load_study(_file(tmp_path, "name: !!python/object/apply:os.system ['touch /tmp/owned']\n"))
