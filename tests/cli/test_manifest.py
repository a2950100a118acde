from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from medseg.cli.app import app
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label
from medseg.data.split import read_folds
from tests.data.cohort import picture_cohort, volume_cohort


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["manifest", *(str(argument) for argument in arguments)])


def add_copy(folder: Path) -> None:
    """Case X0 of another patient: the picture of S000 once more."""
    shutil.copy(folder / "images" / "S000.jpg", folder / "images" / "X0.jpg")
    text = (folder / "manifest.csv").read_text()
    row = next(line for line in text.splitlines() if line.startswith("S000,"))
    copy = row.replace("S000,S000,images/S000", "X0,X0,images/X0")
    (folder / "manifest.csv").write_text(f"{text}{copy}\n")


def test_split_writes_folds_beside_the_manifest_and_only_once(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path, cases=12, per_patient=2)
    result = run("split", tmp_path / "manifest.csv", "--folds", 3)
    assert result.exit_code == 0
    assert f"wrote {tmp_path / 'manifest.folds.csv'}" in result.stdout
    assert len(read_folds(tmp_path / "manifest.folds.csv", manifest).splits) == 3
    assert run("split", tmp_path / "manifest.csv", "--folds", 3).exit_code == 0
    refused = run("split", tmp_path / "manifest.csv", "--folds", 2)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert run("split", tmp_path / "manifest.csv", "--folds", 2, "--force").exit_code == 0


@pytest.mark.parametrize(("option", "splits"), [("--holdout", 1), ("--by-site", 2)])
def test_split_knows_other_kinds(tmp_path: Path, option: str, splits: int) -> None:
    manifest = volume_cohort(tmp_path)
    result = run("split", manifest.path, option, "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["kind"] == {"--holdout": "holdout", "--by-site": "site"}[option]
    assert len(read_folds(manifest.folds_path, manifest).splits) == splits
    assert run("split", manifest.path, option, "--folds", 3).exit_code == 2


def test_a_leak_is_refused_grouped_or_acknowledged(tmp_path: Path) -> None:
    manifest = picture_cohort(tmp_path)
    add_copy(tmp_path)
    leave_apart = next(
        seed
        for seed in range(20)
        if run("split", manifest.path, "--folds", 3, "--seed", seed, "--force").exit_code == 2
    )
    manifest.folds_path.unlink(missing_ok=True)
    refused = run("split", manifest.path, "--folds", 3, "--seed", leave_apart)
    assert refused.exit_code == 2
    assert "S000 and X0: same bytes" in refused.stderr
    assert not manifest.folds_path.exists()
    accepted = run("split", manifest.path, "--folds", 3, "--seed", leave_apart, "--acknowledge", "S000:X0")
    assert accepted.exit_code == 0
    assert (tmp_path / "manifest.folds.acknowledged.csv").read_text() == "first,second,reason\nS000,X0,same bytes\n"
    assert run("split", manifest.path, "--folds", 3, "--seed", leave_apart).exit_code == 0
    grouped = tmp_path / "grouped.csv"
    assert run("split", manifest.path, "--folds", 3, "--group-duplicates", "--out", grouped).exit_code == 0
    folds = read_folds(grouped, read_manifest(manifest.path))
    assert any({"S000", "X0"} <= set(split.test) for split in folds.splits)


def test_check_of_a_good_cohort_ends_with_zero(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path)
    result = run("check", manifest.path)
    assert result.exit_code == 0
    assert "8 of 8 cases can be used" in result.stdout
    assert "warning: label is empty" in result.stdout


def test_check_names_every_unusable_case_and_ends_with_three(tmp_path: Path) -> None:
    volume_cohort(tmp_path)
    (tmp_path / "images" / "C0001.nii.gz").unlink()
    (tmp_path / "labels" / "C0002.nii.gz").write_bytes(b"broken")
    holed = np.full((16, 16, 12), np.nan, dtype=np.float32)
    nibabel.save(nibabel.Nifti1Image(holed, np.diag([1, 1, 2, 1])), tmp_path / "images" / "C0003.nii.gz")
    unknown = np.full((16, 16, 12), 9, dtype=np.uint8)
    nibabel.save(nibabel.Nifti1Image(unknown, np.diag([1, 1, 2, 1])), tmp_path / "labels" / "C0004.nii.gz")
    moved = np.eye(4) * [1, 1, 2, 1]
    moved[0, 3] = 50
    nibabel.save(nibabel.Nifti1Image(np.ones((16, 16, 12), np.uint8), moved), tmp_path / "labels" / "C0005.nii.gz")
    text = (tmp_path / "manifest.csv").read_text().splitlines()
    text[7] = text[7].replace(",CT,A,,", f",CT,A,{'0' * 64},")
    (tmp_path / "manifest.csv").write_text("\n".join(text) + "\n")
    result = run("check", tmp_path / "manifest.csv", "--json")
    assert result.exit_code == 3
    cases = json.loads(result.stdout)["cases"]
    messages = {case["case"]: case["findings"][0]["message"] for case in cases if case["findings"]}
    assert "missing" in messages["C0001"]
    assert {case["case"] for case in cases if any(f["severity"] == "error" for f in case["findings"])} == {
        f"C000{number}" for number in (1, 2, 3, 4, 5, 6)
    }
    assert "NaN" in messages["C0003"]
    assert "label map holds 9" in messages["C0004"]
    assert "different grids" in messages["C0005"]
    assert "checksum" in messages["C0006"]


def test_check_shows_pictures_that_look_alike(tmp_path: Path) -> None:
    manifest = picture_cohort(tmp_path)
    add_copy(tmp_path)
    result = run("check", manifest.path)
    assert result.exit_code == 0
    assert "S000 and X0: same bytes" in result.stdout


def test_describe_counts_what_a_first_table_needs(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path, cases=8, per_patient=2)
    facts = json.loads(run("describe", manifest.path, "--json").stdout)
    assert facts["cases"] == "8"
    assert facts["patients"] == "4"
    assert facts["sites"] == "2"
    assert facts["labelled cases without lesion"] == "1 (12.5 %)"
    assert facts["sex: F"] == "4 (50.0 %)"
    assert facts["spacing z, mm, median (quartiles)"] == "2 (2 to 2)"


@pytest.mark.parametrize("to", ["nnunet", "msd", "monai", "bids"])
def test_converted_there_and_back_it_is_the_same_data_set(tmp_path: Path, to: str) -> None:
    manifest = volume_cohort(tmp_path / "a", cases=6, per_patient=2)
    assert run("split", manifest.path, "--folds", 3).exit_code == 0
    assert run("convert", manifest.path, tmp_path / "b", "--to", to).exit_code == 0
    assert run("convert", tmp_path / "b", tmp_path / "c", "--from", to).exit_code == 0
    back = read_manifest(tmp_path / "c" / "manifest.csv")
    assert back.card == manifest.card
    for ours, theirs in zip(manifest.cases, back.cases, strict=True):
        assert (ours.case, ours.patient, ours.site, ours.covariates) == (
            theirs.case,
            theirs.patient,
            theirs.site,
            theirs.covariates,
        )
        for before, after in ((ours.images["CT"], theirs.images["CT"]), (ours.label, theirs.label)):
            first, second = nibabel.load(before), nibabel.load(after)
            np.testing.assert_array_equal(np.asarray(first.dataobj), np.asarray(second.dataobj))
            np.testing.assert_allclose(first.affine, second.affine)
    assert read_folds(back.folds_path, back) == read_folds(manifest.folds_path, manifest)


def test_coco_there_and_back_holds_every_pixel_and_the_folds(tmp_path: Path) -> None:
    manifest = picture_cohort(tmp_path / "a")
    assert run("split", manifest.path, "--folds", 3).exit_code == 0
    assert run("convert", manifest.path, tmp_path / "b", "--to", "coco").exit_code == 0
    content = json.loads((tmp_path / "b" / "annotations" / "instances.json").read_text())
    assert [entry["bbox"] for entry in content["annotations"]] == [[30, 20, 20 + n, 20] for n in range(6)]
    assert [entry["area"] for entry in content["annotations"]] == [20 * (20 + n) for n in range(6)]
    assert run("convert", tmp_path / "b", tmp_path / "c", "--from", "coco").exit_code == 0
    back = read_manifest(tmp_path / "c" / "manifest.csv")
    assert back.card == manifest.card
    for ours, theirs in zip(manifest.cases, back.cases, strict=True):
        assert (ours.case, ours.patient) == (theirs.case, theirs.patient)
        np.testing.assert_array_equal(read_label(ours.label)[0], read_label(theirs.label)[0])
        mine, yours = (np.asarray(Image.open(next(iter(case.images.values())))) for case in (ours, theirs))
        np.testing.assert_array_equal(mine, yours)
    assert read_folds(back.folds_path, back) == read_folds(manifest.folds_path, manifest)
    imported = CliRunner().invoke(app, ["import", str(tmp_path / "b"), str(tmp_path / "d"), "--json"])
    assert imported.exit_code == 0, imported.output
    assert json.loads(imported.stdout)["layout"] == "pictures outlined in COCO"


def test_bids_names_sessions_and_refuses_a_contrast_that_it_cannot_tell(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path / "a", cases=4, per_patient=2)
    assert run("split", manifest.path, "--folds", 2).exit_code == 0
    assert run("convert", manifest.path, tmp_path / "b", "--to", "bids").exit_code == 0
    files = sorted(path.relative_to(tmp_path / "b").as_posix() for path in (tmp_path / "b").rglob("*.nii.gz"))
    assert "sub-P0000/ses-02/ct/sub-P0000_ses-02_ct.nii.gz" in files
    assert "derivatives/labels/sub-P0001/ses-01/ct/sub-P0001_ses-01_desc-reference_dseg.nii.gz" in files
    table = (tmp_path / "b" / "participants.tsv").read_text().splitlines()
    assert table[0] == "participant_id\tfold\tsite\tsex"
    (tmp_path / "b" / "medseg.json").unlink()
    plain = run("convert", tmp_path / "b", tmp_path / "c", "--from", "bids")
    assert plain.exit_code == 0, plain.output
    back = read_manifest(tmp_path / "c" / "manifest.csv")
    assert [case.patient for case in back.cases] == ["P0000", "P0000", "P0001", "P0001"]
    assert back.card.label_names() == {1: "lesion"}
    folds = read_folds(manifest.folds_path, manifest)
    theirs = read_folds(back.folds_path, back)
    order = {ours.case: other.case for ours, other in zip(manifest.cases, back.cases, strict=True)}
    assert [sorted(order[c] for c in s.test) for s in folds.splits] == [sorted(s.test) for s in theirs.splits]
    card = manifest.path.with_suffix(".yaml")
    text = card.read_text().replace("modality: CT", "modality: MR")
    card.write_text(text)
    rows = manifest.path.read_text().replace(",CT,", ",MR,")
    manifest.path.write_text(rows)
    refused = run("convert", manifest.path, tmp_path / "e", "--to", "bids")
    assert refused.exit_code == 2
    assert "name the channels so in the card" in refused.stderr


def test_nnunet_gets_labels_without_gaps_its_folds_and_pictures_as_png(tmp_path: Path) -> None:
    manifest = picture_cohort(tmp_path / "a")
    card = manifest.path.with_suffix(".yaml")
    card.write_text(card.read_text().replace("  1:\n    name: lesion\n", "  1: lesion\n  7: hair\n"))
    assert run("split", manifest.path, "--folds", 2).exit_code == 0
    assert run("convert", manifest.path, tmp_path / "b", "--to", "nnunet").exit_code == 0
    listing = json.loads((tmp_path / "b" / "dataset.json").read_text())
    assert listing["labels"] == {"background": 0, "lesion": 1, "hair": 2}
    assert listing["channel_names"] == {"0": "red", "1": "green", "2": "blue"}
    assert (tmp_path / "b" / "imagesTr" / "S000_0000.png").exists()
    splits = json.loads((tmp_path / "b" / "splits_final.json").read_text())
    assert sorted(splits[0]["val"] + splits[1]["val"]) == [case.case for case in manifest.cases]
    refused = run("convert", manifest.path, tmp_path / "b", "--to", "nnunet")
    assert refused.exit_code == 2
    assert "not empty" in refused.stderr
    assert run("convert", manifest.path, tmp_path / "m", "--to", "msd").exit_code == 2
    assert not (tmp_path / "m").exists()
    assert run("convert", manifest.path, tmp_path / "m", "--to", "bids").exit_code == 2
    assert run("convert", manifest.path, tmp_path / "m", "--to", "minc").exit_code == 2


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path / "a")
    (tmp_path / "a" / "labels" / "C0005.nii.gz").write_bytes(b"broken")
    assert run("convert", manifest.path, tmp_path / "b", "--to", "msd").exit_code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_split_of_a_case_that_cannot_be_read_is_a_wrong_request_and_writes_nothing(tmp_path: Path) -> None:
    manifest = volume_cohort(tmp_path)
    (tmp_path / "labels" / "C0005.nii.gz").write_bytes(b"broken")
    result = run("split", manifest.path)
    assert result.exit_code == 2
    assert "take the row out" in result.stderr
    assert not manifest.folds_path.exists()


@pytest.mark.parametrize("action", ["check", "split", "describe"])
def test_a_missing_manifest_is_a_wrong_request(tmp_path: Path, action: str) -> None:
    result = run(action, tmp_path / "none.csv")
    assert result.exit_code == 2
    assert "does not exist" in result.stderr


@pytest.mark.parametrize("to", ["nnunet", "bids"])
def test_import_of_a_converted_data_set_says_that_the_folds_came_along(tmp_path: Path, to: str) -> None:
    manifest = volume_cohort(tmp_path / "a", cases=6, per_patient=2)
    assert run("split", manifest.path, "--folds", 3).exit_code == 0
    assert run("convert", manifest.path, tmp_path / "b", "--to", to).exit_code == 0
    taken = CliRunner().invoke(app, ["import", str(tmp_path / "b"), str(tmp_path / "c")])
    assert taken.exit_code == 0, taken.output
    assert "patients and sites as medseg.json has them (6 cases)" in taken.stderr
    assert "taken over, each case under its new name" in taken.stderr
    back = read_manifest(tmp_path / "c" / "manifest.csv")
    assert len(read_folds(back.folds_path, back).splits) == 3
