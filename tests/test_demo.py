import json

import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.demo import DemoSize, run_demo
from medseg.errors import RequestError


def test_the_whole_way_is_true_on_a_small_cohort_and_goes_on_where_it_stopped(tmp_path):
    out = tmp_path / "demo"
    size = DemoSize(patients=4, pictures=4, folds=2, iterations_3d=3, iterations_2d=3)
    result = run_demo(out, size=size)
    assert result.problems == ()
    assert [figure.patients for figure in result.figures] == [4, 4]
    assert any("missing slices" in reason for reason in result.refused)
    assert any("cut off" in reason for reason in result.refused)
    assert result.audit.identities_found == 0
    assert result.planted == len((out / "planted.txt").read_text().splitlines())
    assert result.report.read_text().startswith("<!")
    assert {path.suffix for path in (out / "export").iterdir()} == {".dcm", ".gz", ".png"}
    weights = (out / "runs/lesions_ct/fold_0/weights.safetensors").read_bytes()
    again = run_demo(out, size=size)
    assert again.figures == result.figures
    assert (out / "runs/lesions_ct/fold_0/weights.safetensors").read_bytes() == weights


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RequestError, match="empty folder"):
        run_demo(tmp_path)
    result = CliRunner().invoke(app, ["demo", str(tmp_path), "--json"])
    assert result.exit_code == 2
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_last_lines_say_what_is_true(tmp_path, monkeypatch):
    import medseg.demo as demo
    from medseg.demo import DemoResult, StudyFigure
    from medseg.privacy.audit import AuditReport, Find

    found = AuditReport(7, 3, (Find("a.json", "identity", "name", 2),))
    figure = StudyFigure("lesions_ct", 0.8, 0.7, 0.9, 0.95, 20, 18)
    report = tmp_path / "runs/lesions_ct/report/shareable.html"
    result = DemoResult((figure,), {"cut off": 2}, 3, found, report, "mlflow ui", 5.0, ("the audit found: name",))
    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: result)
    monkeypatch.chdir(tmp_path)
    outcome = CliRunner().invoke(app, ["demo", "out"])
    assert outcome.exit_code == 1
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("lesions_ct: Dice 0.800 (95% interval 0.700 to 0.900)")
    assert lines[1:] == [
        "refused: 2 x cut off",
        "1 of 3 planted identities found in 7 files",
        "report: runs/lesions_ct/report/shareable.html",
        "mlflow ui",
    ]
    assert json.loads(CliRunner().invoke(app, ["demo", "out", "--json"]).stdout)["found"] == 1
