"""Every workflow is run as a researcher runs it, on data that take seconds."""

import ast
import importlib
import runpy
import sys
from pathlib import Path

import pytest

from tests.studies.tiny import make_pictures, make_volumes

_ROOT = Path(__file__).parents[2]
_WORKFLOWS = sorted((_ROOT / "workflows").glob("*.py"))


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a workflow with arguments; returns what it printed."""

    def run_it(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(_ROOT / "workflows" / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run_it


def _config(name):
    return _ROOT / "configs" / f"{name}.yaml"


def test_prepare_dataset_goes_from_a_hospitals_files_to_folds(run, tmp_path):
    from medseg.data.synthetic import make_cohort

    cohort = make_cohort(tmp_path / "cohort", patients=3, pictures=0)
    arguments = ("--profile", "research", "--key", tmp_path / "project.key", "--label", "1=lesion", "--folds", 2)
    printed = run("prepare_dataset", cohort.ct, tmp_path / "set", *arguments)
    assert "missing slices" in printed
    assert (tmp_path / "set/data/manifest.folds.csv").exists()
    for identity in cohort.planted.read_text().splitlines():
        assert identity not in printed
    assert run("prepare_dataset", cohort.ct, tmp_path / "set", *arguments) == printed


def test_cross_validate_3d_and_release_model_end_in_a_package_that_passed_the_audit(run, tmp_path):
    manifest = make_volumes(tmp_path / "data")
    printed = run("cross_validate_3d", _config("smoke_3d"), manifest, tmp_path / "run")
    assert "2. spacing" in printed
    assert "4. lesion, dice" in printed
    assert (tmp_path / "run/report/internal.html").exists()
    printed = run("release_model", tmp_path / "run", tmp_path / "release", "--intended-use", "Outlines blobs.")
    assert "nothing found" in printed
    assert "Outlines blobs." in printed
    assert {p.name for p in (tmp_path / "release").iterdir()} == {"run.medseg", "shareable.html", "shareable.pdf"}


def test_segment_skin_2d_outlines_photographs_that_have_no_label(run, tmp_path):
    manifest = make_pictures(tmp_path / "data")
    new = tmp_path / "new"
    new.mkdir()
    (new / "Jane_Roe.png").write_bytes((tmp_path / "data/C000.png").read_bytes())
    printed = run("segment_skin_2d", _config("smoke_2d"), manifest, new, tmp_path / "out")
    assert "4. 1 photographs" in printed
    written = {p.name for p in (tmp_path / "out").rglob("*.png")}
    assert "image_0001.png" in written
    assert not any("Jane" in name for name in written)


def test_few_shot_draws_the_curve_and_compares_its_ends(run, tmp_path):
    manifest = make_volumes(tmp_path / "data")
    printed = run("few_shot", _config("smoke_3d"), manifest, tmp_path / "run", "--cases", 1, "--cases", 2)
    assert "2. 1 cases: Dice" in printed
    assert "1 cases to 2 cases" in printed
    assert len((tmp_path / "run/curve.csv").read_text().splitlines()) == 3


def test_pretrain_then_finetune_compares_both_arms_on_the_same_cases(run, tmp_path):
    manifest = make_volumes(tmp_path / "data")
    arguments = (manifest, manifest, tmp_path / "run", "--cases", 2, "--set", "pretrain.iterations=2")
    printed = run("pretrain_then_finetune", _config("smoke_3d"), *arguments)
    assert "2. error on hidden voxels" in printed
    assert "3. from scratch: Dice" in printed
    assert "pretrained minus scratch" in printed


@pytest.mark.parametrize("path", _WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_is_short_says_how_it_is_run_and_calls_public_names_only(path):
    text = path.read_text()
    assert 60 <= len(text.splitlines()) <= 150
    tree = ast.parse(text)
    assert f"python workflows/{path.name} " in ast.get_docstring(tree)
    assert "# 1. " in text
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("medseg"):
            public = importlib.import_module(node.module).__all__
            assert {alias.name for alias in node.names} <= set(public), node.module
