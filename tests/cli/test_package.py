import csv
import json
import math

import pytest
import torch
import yaml
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.config import dump_study, parse_study
from medseg.export import read_package
from medseg.planning import ChannelNormalisation, Plan
from medseg.training.checkpoint import save_weights

_FACTS = {
    "mean": 0.87654321,
    "median": 0.9,
    "sd": 0.1,
    "low": 0.8,
    "high": 0.9,
    "n": 12,
    "undefined": 3,
    "patients": 12,
}
_FEW = {
    "mean": math.nan,
    "median": math.nan,
    "sd": math.nan,
    "low": 0.1,
    "high": 0.9,
    "n": 4,
    "undefined": 8,
    "patients": 4,
}


def _run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def _plan():
    return Plan(
        spatial_dims=2, channels=("image",), modality="CT", labels={1: "lesion"}, fit="spacing", spacing=(1.0, 1.0),
        crop_nonzero=False, normalisation=(ChannelNormalisation("zscore"),), patch_size=(8, 8), batch_size=1,
        iterations=1, budget_minutes=None, features=(4, 8), strides=((1, 1), (2, 2)), kernels=((3, 3), (3, 3)),
        precision="32", device="cpu", deep_supervision=False, reasons={},
    )  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A run folder of two folds on 12 patients, two of whom are unlabelled."""
    data = tmp_path / "data"
    data.mkdir()
    with (data / "m.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "patient", "image", "label"])
        writer.writerows([f"C{i:02}", f"P{i:02}", f"{i}.png", f"{i}.png" if i < 12 else ""] for i in range(14))
    code = {"value": "108369006", "scheme": "SCT", "meaning": "Neoplasm"}
    card = {"title": "Cohort", "licence": "CC0-1.0", "labels": {1: {"name": "lesion", "code": code}}}
    (data / "m.yaml").write_text(yaml.safe_dump(card))
    folder = tmp_path / "run"
    folder.mkdir()
    study = parse_study({"name": "tiny", "data": {"manifest": "../data/m.csv", "cache": "../cache"}})
    (folder / "study.yaml").write_text(dump_study(study))
    (folder / "plan.json").write_text(json.dumps(_plan().to_dict()))
    summary = {
        "interval": "BCa", "confidence": 0.95, "empty_reference": "skip",
        "labels": {"1": {"name": "lesion", "metrics": {"dice": _FACTS, "hd95_mm": _FEW}}},
        "mean_over_labels": {"metrics": {"dice": _FACTS}},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    with (folder / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "patient", "fold", "repeat", "label", "label_name", "dice", "hd95_mm"])
        writer.writerows(
            [f"C{i:02}", f"P{i:02}", i % 2, 0, 1, "lesion", 0.8 + i / 100, i if i < 4 else ""] for i in range(12)
        )
    for fold in range(2):
        save_weights({"w": torch.full((2,), float(fold))}, folder / f"fold_{fold}" / "weights.safetensors")
    return folder


def test_package_gathers_weights_codes_and_figures_of_a_run(run, tmp_path):
    result = _run("package", run, tmp_path / "m.medseg", "--json")
    assert result.exit_code == 0, result.output
    package = read_package(tmp_path / "m.medseg")
    assert json.loads(result.stdout)["digest"] == package.digest
    assert [float(state["w"][0]) for state in package.states] == [0.0, 1.0]
    model = package.model
    assert model["labels"]["1"]["code"]["value"] == "108369006"
    assert model["metrics"]["labels"]["1"]["metrics"]["dice"]["mean"] == 0.877
    assert model["training_data"]["patients"] == 10
    assert model["licences"]["training data"] == "CC0-1.0"
    assert "Research use only" in model["intended_use"]
    assert Plan.from_dict(model["plan"]) == _plan()
    assert parse_study(dict(model["study"])).name == "tiny"


def test_small_counts_and_what_rests_on_few_patients_are_withheld_and_marked(run, tmp_path):
    _run("package", run, tmp_path / "m.medseg")
    metrics = read_package(tmp_path / "m.medseg").model["metrics"]["labels"]["1"]["metrics"]
    assert metrics["dice"]["n"] == 10
    assert metrics["hd95_mm"] == {"withheld": "fewer than 10 patients"}
    assert not {"median", "undefined"} & set(metrics["dice"])


def test_a_mean_that_tells_the_score_of_the_only_patient_with_a_lesion_is_withheld(run, tmp_path):
    with (run / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "patient", "fold", "repeat", "label", "label_name", "dice", "hd95_mm"])
        writer.writerows(
            [f"C{i:02}", f"P{i:02}", i % 2, 0, 1, "lesion", "" if i else 0.6, "" if i else 4] for i in range(12)
        )
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "empty_reference": "score"}))
    _run("package", run, tmp_path / "m.medseg")
    metrics = read_package(tmp_path / "m.medseg").model["metrics"]
    assert "alone differ" in metrics["labels"]["1"]["metrics"]["dice"]["withheld"]
    assert "alone differ" in metrics["mean_over_labels"]["dice"]["withheld"]


def test_one_patient_fewer_than_in_an_earlier_package_is_withheld_and_marked(run, tmp_path):
    _run("package", run, tmp_path / "one.medseg")
    summary = json.loads((run / "summary.json").read_text())
    summary["labels"]["1"]["metrics"]["dice"]["patients"] = 11
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "cases.csv").write_text("".join((run / "cases.csv").read_text().splitlines(keepends=True)[:-1]))
    _run("package", run, tmp_path / "two.medseg")
    one, two = (read_package(tmp_path / f"{name}.medseg").model["metrics"] for name in ("one", "two"))
    assert one["labels"]["1"]["metrics"]["dice"]["mean"] == 0.877
    assert "difference to an earlier release" in two["labels"]["1"]["metrics"]["dice"]["withheld"]
    assert one["mean_over_labels"]["dice"]["mean"] == 0.877
    assert "fewer than 10 patients" in two["mean_over_labels"]["dice"]["withheld"]


def test_one_patient_in_the_place_of_another_is_withheld_too_and_two_tables_of_different_studies_are_refused(
    run, tmp_path
):
    _run("package", run, tmp_path / "one.medseg")
    (run / "cases.csv").write_text((run / "cases.csv").read_text().replace("C11,P11", "C12,P12"))
    _run("package", run, tmp_path / "two.medseg")
    two = read_package(tmp_path / "two.medseg").model["metrics"]
    assert "difference to an earlier release" in two["labels"]["1"]["metrics"]["dice"]["withheld"]
    (run / "cases.csv").write_text((run / "cases.csv").read_text().replace("hd95_mm", "assd_mm"))
    result = _run("package", run, tmp_path / "three.medseg")
    assert (result.exit_code, "of one study" in result.output + result.stderr) == (2, True)


def test_a_package_names_no_folder_of_the_machine_it_was_made_on(run, tmp_path):
    _run("package", run, tmp_path / "m.medseg")
    package = read_package(tmp_path / "m.medseg")
    assert str(tmp_path) not in json.dumps(package.model)
    assert package.model["study"]["data"]["manifest"] == "removed"


def test_the_identities_beside_the_key_are_searched_for(run, tmp_path):
    from medseg.privacy.identities import IdentityIndex

    index = IdentityIndex()
    index.add(["Zdendova^Mira"])
    index.save(tmp_path / "project.key.identities")
    arguments = ("package", run, tmp_path / "m.medseg", "--key", tmp_path / "project.key", "--intended-use")
    assert _run(*arguments, "For the cohort of Mira Zdendova.").exit_code == 4
    assert not (tmp_path / "m.medseg").exists()
    assert _run(*arguments, "For the cohort of 2026.").exit_code == 0


def test_the_gate_keeps_a_package_with_an_identity_in_it(run, tmp_path):
    result = _run("package", run, tmp_path / "m.medseg", "--intended-use", "Ask jane.roe@example.org, born 1948-02-17")
    assert result.exit_code == 4, result.output
    assert "jane" not in result.output
    assert not (tmp_path / "m.medseg").exists()


def test_a_run_that_is_not_finished_is_refused(run, tmp_path):
    (run / "fold_1/weights.safetensors").unlink()
    result = _run("package", run, tmp_path / "m.medseg")
    assert result.exit_code == 2
    assert "1 of 2 folds" in result.stderr
    assert _run("package", tmp_path / "data", tmp_path / "m.medseg").exit_code == 2
    assert not (tmp_path / "m.medseg").exists()


def test_a_training_on_all_cases_says_that_it_was_not_evaluated_and_outlives_its_images(run, tmp_path):
    (run / "summary.json").unlink()
    (run / "fold_1/weights.safetensors").unlink()
    (run / "fold_1").rmdir()
    (run / "fold_0").rename(run / "fold_all")
    (tmp_path / "data/m.csv").unlink()
    result = _run("package", run, tmp_path / "m")
    assert result.exit_code == 0, result.output
    model = read_package(tmp_path / "m.medseg").model
    assert model["metrics"]["evaluated"] is False
    assert model["training_data"]["known"] is False
