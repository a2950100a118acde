import json
from pathlib import Path

from typer.testing import CliRunner

from medseg.cli.app import app

_CONFIGS = Path(__file__).parents[2] / "configs"


def _run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_init_copies_every_study_and_workflow_and_can_be_repeated(tmp_path):
    result = _run("init", tmp_path / "p", "--json")
    assert result.exit_code == 0, result.output
    files = json.loads(result.stdout)["files"]
    assert "configs/hippocampus_3d.yaml" in files
    assert (tmp_path / "p/configs/hippocampus_3d.yaml").read_text() == (_CONFIGS / "hippocampus_3d.yaml").read_text()
    assert _run("init", tmp_path / "p").exit_code == 0


def test_init_never_overwrites_an_edited_file(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/hippocampus_3d.yaml").write_text("mine")
    result = _run("init", tmp_path)
    assert result.exit_code == 2
    assert "nothing was written" in result.stderr
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["hippocampus_3d.yaml"]


def test_doctor_tells_what_the_machine_has_without_naming_it():
    import platform

    result = _run("doctor", "--json", "--quick")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["cores"] >= 1
    assert facts["memory_gib"] > 0
    assert set(facts["extras"]) == {"ocr", "dp", "pacs", "video", "codecs"}
    assert platform.node() not in result.stdout


def test_doctor_advises_what_follows_from_its_facts():
    from medseg.cli.doctor import advise

    facts = {"gpu": None, "memory_free_gib": 2, "disk_free_gib": 3, "extras": {"ocr": False, "dp": True}}
    text = " ".join(advise({**facts, "step_ms": {"float32": 10.0, "bfloat16": 20.0}}))
    for word in ("budget_minutes", "precision: 32", "memory", "disk", "medseg[ocr]"):
        assert word in text
    assert "medseg[dp]" not in text


def test_config_show_prints_the_resolved_study_with_overrides():
    result = _run("config", "show", _CONFIGS / "smoke_3d.yaml", "--set", "seed=7")
    assert result.exit_code == 0
    assert "seed: 7" in result.stdout
    assert "momentum" not in result.stdout
    assert "weight_decay" in result.stdout


def test_config_check_refuses_a_wrong_key_and_names_the_nearest():
    result = _run("config", "check", _CONFIGS / "smoke_3d.yaml", "--set", "train.budget_minute=3")
    assert result.exit_code == 2
    assert "budget_minutes" in result.stderr


def test_config_check_says_what_the_study_would_run_on(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    rows = "".join(f"C{i},P{i // 2},a.png,{'a.png' if i else ''}\n" for i in range(4))
    (tmp_path / "m.csv").write_text("case,patient,image,label\n" + rows)
    (tmp_path / "m.yaml").write_text("title: t\nlabels: {1: lesion}\n")
    result = _run(
        "config", "check", _CONFIGS / "smoke_2d.yaml", "--set", f"data.manifest={tmp_path / 'm.csv'}", "--json"
    )
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert (facts["cases"], facts["labelled"], facts["patients"], facts["splits"]) == (4, 3, 2, 0)


def test_a_study_that_is_not_there_is_a_wrong_request():
    assert _run("config", "show", "nowhere.yaml").exit_code == 2


def test_config_schema_is_the_shipped_one():
    assert _run("config", "schema").stdout == (_CONFIGS / "schema.json").read_text()
