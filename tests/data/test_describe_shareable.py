"""The shareable first table: small counts and single patients' values are withheld, and what was told is remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from typer.testing import CliRunner, Result

from medseg.cli.app import app
from medseg.data.manifest import Manifest, write_manifest
from tests.data.cohort import volume_cohort


def _cohort(folder: Path, cases: int) -> Manifest:
    """Two cases a patient; one sex is rare, age is known of all."""
    manifest = volume_cohort(folder, cases=cases, per_patient=2)
    rows = []
    for number, case in enumerate(manifest.cases):
        sex = "M" if number // 2 < 3 else "F"
        rows.append(replace(case, covariates={"sex": sex, "age": str(40 + number // 2), "note": f"text {number}"}))
    changed = replace(manifest, cases=tuple(rows))
    write_manifest(changed, changed.path)
    return changed


def _describe(manifest: Manifest) -> Result:
    return CliRunner().invoke(app, ["manifest", "describe", str(manifest.path), "--tier", "shareable", "--json"])


def test_patients_are_counted_small_groups_withheld_and_quartiles_told(tmp_path: Path) -> None:
    manifest = _cohort(tmp_path, 48)
    facts = json.loads(_describe(manifest).stdout)
    assert facts["patients"] == "25"  # 24, rounded to 5
    assert facts["sex: M, patients"] == "<10"
    assert facts["sex: F, patients"] == "withheld"
    assert facts["age, median (quartiles)"] == "51.5 (45.8 to 57.2)"
    assert facts["age, mean (SD)"] == f"51.5 ({np.repeat(np.arange(40, 64), 2).std(ddof=1):.3g})"
    assert facts["spacing z, mm, median (quartiles)"] == "2 (2 to 2)"
    assert not any("note" in name or "text" in value for name, value in facts.items())


def test_quartiles_of_few_patients_are_withheld(tmp_path: Path) -> None:
    facts = json.loads(_describe(_cohort(tmp_path, 24)).stdout)
    assert facts["age, median (quartiles)"] == "45.5 (withheld to withheld)"
    few = json.loads(_describe(_cohort(tmp_path / "few", 8)).stdout)
    assert few["patients"] == "<10"
    assert few["age, median (quartiles)"] == "<10"


def test_a_second_release_with_one_case_more_of_a_patient_tells_no_mean(tmp_path: Path) -> None:
    manifest = _cohort(tmp_path, 24)
    first = replace(manifest, cases=manifest.cases[:-1])
    write_manifest(first, first.path)
    assert "withheld" not in json.loads(_describe(first).stdout)["age, mean (SD)"]
    write_manifest(manifest, manifest.path)
    facts = json.loads(_describe(manifest).stdout)
    assert (facts["patients"], facts["age, mean (SD)"]) == ("10", "withheld")


def test_a_second_release_with_one_patient_more_tells_no_mean(tmp_path: Path) -> None:
    manifest = _cohort(tmp_path, 24)
    first = replace(manifest, cases=manifest.cases[:-2])
    write_manifest(first, first.path)
    assert "withheld" not in json.loads(_describe(first).stdout)["age, mean (SD)"]
    assert "withheld" not in json.loads(_describe(first).stdout)["age, mean (SD)"]
    write_manifest(manifest, manifest.path)
    assert json.loads(_describe(manifest).stdout)["age, mean (SD)"] == "withheld"
