from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.profile import load_profile
from medseg.privacy.pseudonym import Pseudonymiser, load_key
from tests.privacy.corpus import SC, Who, image, save


def run(*arguments: object):
    return CliRunner().invoke(app, ["deidentify", *map(str, arguments)])


def source(tmp_path):
    folder = tmp_path / "Novakova_Jana"
    folder.mkdir()
    (folder / "IM1").write_bytes(save(image(Who(random.Random(1)))))
    return folder


def test_a_folder_is_cleaned_with_a_new_key_and_again_with_the_same(tmp_path):
    src, key = source(tmp_path), tmp_path / "project.key"
    first = run(src, tmp_path / "one", "--profile", "basic", "--new-key", key, "--json")
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout.splitlines()[-1])["written"] == 1
    assert {path.name for path in tmp_path.iterdir()} >= {"project.key", "project.key.identities", "one"}
    assert run(src, tmp_path / "two", "--profile", "basic", "--key", key).exit_code == 0
    names = [
        sorted(p.relative_to(tmp_path / d).as_posix() for p in (tmp_path / d).rglob("*.dcm")) for d in ("one", "two")
    ]
    assert names[0] == names[1]
    assert "Novakova" not in "".join(names[0])


def test_refused_files_give_exit_3_and_a_reason_without_a_name(tmp_path):
    src = source(tmp_path)
    (src / "Novakova.txt").write_text("Novakova")
    result = run(src, tmp_path / "out", "--profile", "basic", "--new-key", tmp_path / "k")
    assert result.exit_code == 3
    assert "Novakova" not in result.output
    assert "Novakova" not in (tmp_path / "out" / "refused.csv").read_text()
    assert (tmp_path / "out" / "refused.csv").read_text().splitlines()[1].startswith("2,refused,")


def test_requests_that_cannot_be_carried_out_give_exit_2_and_write_nothing(tmp_path):
    src = source(tmp_path)
    assert run(src, tmp_path / "out", "--key", tmp_path / "k").exit_code == 2
    assert run(src, tmp_path / "out", "--profile", "basic").exit_code == 2
    assert run(src, tmp_path / "out", "--profile", "secret", "--new-key", tmp_path / "k").exit_code == 2
    assert run(src, tmp_path / "out", "--profile", "basic", "--key", tmp_path / "lost").exit_code == 2
    assert run(src, tmp_path / "out", "--profile", "basic", "--new-key", src / "k").exit_code == 2
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "k").exists()


def test_a_person_passes_or_refuses_what_waits_and_the_ledger_says_so(tmp_path):
    for number in (1, 2, 3):
        (tmp_path / "src").mkdir(exist_ok=True)
        ds = image(Who(random.Random(number)), SC, size=16)
        (tmp_path / "src" / f"{number}.dcm").write_bytes(save(ds))
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump({**load_profile("basic").model_dump(mode="json"), "clean_pixels": False}))
    key, out = tmp_path / "k.key", tmp_path / "out"
    command = [tmp_path / "src", out, "--profile", own]
    assert run(*command, "--new-key", key).exit_code == 3
    form = tmp_path / "k.key.quarantine" / "decisions.csv"
    lines = form.read_text().splitlines()
    assert lines[0] == "number,decision,choices,reason"
    assert [line.split('"')[1] for line in lines[1:]] == ["pass, refuse"] * 3
    words = ("pass", "refuse", "paint")
    decided = [line.replace(",,", f",{word},") for line, word in zip(lines[1:], words, strict=True)]
    form.write_text("\n".join((lines[0], *decided)))
    done = run(*command, "--key", key, "--decide", form)
    assert (done.exit_code, done.stdout.strip()) == (3, "1 written, 1 quarantined, 1 refused")
    assert "painted" not in (out / "ledger.jsonl").read_text()
    assert len(list(out.rglob("*.dcm"))) == 1
    noted = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert [line["action"] for line in noted] == ["deidentified", "exception", "exception", "deidentified"]
    form.write_text("number,decision\n1,perhaps\n")
    assert run(*command, "--key", key, "--decide", form).exit_code == 2


def photographs(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        values = np.random.default_rng(number).integers(0, 255, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / name)
    return folder


def passing(folder: Path) -> Path:
    """A profile that lets photographs pass: `test_photographs` looks at them."""
    path = folder / "own.yaml"
    facts = {**load_profile("basic").model_dump(mode="json"), "photographs": "pass"}
    path.write_text(yaml.safe_dump(facts))
    return path


def people(out: Path) -> dict[str, int]:
    """Number of pictures by patient's pseudonym."""
    return dict(Counter(path.relative_to(out).parts[0] for path in out.rglob("*.png")))


def test_pictures_of_one_folder_are_one_patients_and_a_line_says_so_until_a_table_knows_better(tmp_path):
    src = photographs(
        tmp_path / "src", "clinic/a.png", "clinic/b.png", "clinic/b_mask.png", "roe/1.png", "roe/1_mask.png"
    )
    command = (src, tmp_path / "out", "--profile", passing(tmp_path))
    first = run(*command, "--new-key", tmp_path / "k")
    assert first.exit_code == 0, first.output
    assert "the 3 pictures and volumes of folder 1 of 2 (in the order of their names) were taken as one" in first.stderr
    assert "--patients FILE" in first.stderr
    assert "clinic" not in first.output
    assert sorted(people(tmp_path / "out").values()) == [2, 3]
    table = tmp_path / "who.csv"
    table.write_text("file,patient\nclinic/a.png,Novakova\nb.png,Roe\nclinic/b_mask.png,Roe\n")
    again = run(*command, "--key", tmp_path / "k", "--patients", table)
    assert again.exit_code == 0, again.output
    assert "one patient" not in again.stderr
    pseudonyms = Pseudonymiser(load_key(tmp_path / "k"))
    assert people(tmp_path / "out") == {
        pseudonyms.patient("Novakova"): 1, pseudonyms.patient("Roe"): 2, pseudonyms.patient("roe"): 2
    }  # fmt: skip
    assert IdentityIndex.load(tmp_path / "k.identities").find(b"of Novakova")


def test_pictures_in_no_folder_are_a_patient_each_and_a_line_says_so(tmp_path):
    src = photographs(tmp_path / "src", "x1.png", "x1_mask.png", "x2.png")
    result = run(src, tmp_path / "out", "--profile", passing(tmp_path), "--new-key", tmp_path / "k")
    assert "2 pictures or volumes in no folder were taken as one patient each" in result.stderr
    assert sorted(people(tmp_path / "out").values()) == [1, 2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,patient\na.png,1\n", "the columns file and patient"),
        ("file,patient\nz.png,1\n", "row 2 of the table of patients names no file of the source"),
        ("file,patient\nclinic/a.png,1\na.png,2\n", "row 3 of the table of patients: expected one patient"),
        ("file,patient\nclinic/a.png,\n", "row 2 of the table of patients: expected one patient"),
        ("file,patient\nIM1,1\n", "row 2 of the table of patients names a DICOM file"),
    ],
)
def test_a_table_of_patients_that_does_not_fit_is_refused_before_a_key_is_made(tmp_path, text, reason):
    src = source(tmp_path)
    photographs(src, "clinic/a.png")
    (tmp_path / "who.csv").write_text(text)
    command = (src, tmp_path / "out", "--profile", "basic", "--new-key", tmp_path / "k", "--patients")
    result = run(*command, tmp_path / "who.csv")
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not (tmp_path / "k").exists()
    assert not (tmp_path / "out").exists()


def test_a_new_key_is_gone_where_nothing_was_made_with_it(tmp_path):
    src, key = source(tmp_path), tmp_path / "k"
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("something else")
    for where, other in ((src, "full"), (tmp_path / "none", "out"), (src, "Novakova_Jana/in")):
        assert run(where, tmp_path / other, "--profile", "basic", "--new-key", key).exit_code == 2
        assert not key.exists()
    assert run(src, tmp_path / "out", "--profile", "basic", "--new-key", key).exit_code == 0
    before = key.read_bytes()
    assert run(src, tmp_path / "out", "--profile", "research", "--new-key", key).exit_code == 2
    assert run(src, tmp_path / "out", "--profile", "basic", "--new-key", tmp_path / "k2").exit_code == 2
    assert not (tmp_path / "k2").exists()
    assert key.read_bytes() == before


def test_files_beside_the_key_are_named_as_the_person_would_type_them(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "1.dcm").write_bytes(save(image(Who(random.Random(1)), SC, size=16)))
    (tmp_path / "steward").mkdir()
    monkeypatch.chdir(tmp_path)
    held = {**load_profile("basic").model_dump(mode="json"), "clean_pixels": False}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(held))
    arguments = (tmp_path / "src", tmp_path / "out", "--profile", "own.yaml", "--new-key")
    told = run(*arguments, tmp_path / "steward" / "project.key").stderr
    for words in (
        "steward/project.key.refused.csv says which files they are",
        "look at the pictures in steward/project.key.quarantine",
        "--decide steward/project.key.quarantine/decisions.csv",
    ):
        assert words in told
        assert next((tmp_path / word).exists() for word in words.split() if word.startswith("steward"))
    assert "KEY" not in told
    assert str(tmp_path) not in told


def test_numbers_that_are_left_out_are_counted_and_those_that_identify_nobody_stay(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    for number, rows in ((1, 16), (2, 16)):
        ds = image(Who(random.Random(number)), size=16)
        ds.PatientID, ds.PatientName = "54321", "Novakova^Jana"
        ds.Exposure, ds.LargestImagePixelValue = (54321, 54321) if number == 1 else (12, rows)
        (src / f"{number}.dcm").write_bytes(save(ds))
    result = run(src, tmp_path / "out", "--profile", "basic", "--new-key", tmp_path / "k")
    assert "numbers that may be the patient's or are none were left out of 1 file; the ledger says so" in result.stderr
    lines = [json.loads(line) for line in (tmp_path / "out" / "ledger.jsonl").read_text().splitlines()]
    assert [line["facts"]["files"] for line in lines if line["action"] == "left out"] == [1], lines
    copies = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert sorted(str(copy.get("Exposure")) for copy in copies) == ["12", "None"]
    assert {copy.Rows for copy in copies} == {16}


def test_letters_that_are_blanked_among_the_pixels_are_told(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    for number in (1, 2):
        ds = image(Who(random.Random(number)), size=32)
        ds.PatientName = "Vrzogalku^Jana"
        pixels = np.full((32, 32), 200, np.uint16)
        if number == 1:
            pixels[0, :9] = np.frombuffer(b"VRZOGALKU", np.uint8)
        ds.PixelData = pixels.tobytes()
        (src / f"{number}.dcm").write_bytes(save(ds))
    result = run(src, tmp_path / "out", "--profile", "basic", "--new-key", tmp_path / "k")
    assert "letters that name the patient were blanked among the pixels of 1 file" in result.stderr
    lines = [json.loads(line) for line in (tmp_path / "out" / "ledger.jsonl").read_text().splitlines()]
    assert [line["facts"]["files"] for line in lines if line["action"] == "painted"] == [1], lines
    copies = [pydicom.dcmread(path).pixel_array for path in (tmp_path / "out").rglob("*.dcm")]
    assert sorted(int((copy == 200).sum()) for copy in copies) == [32 * 32 - 9, 32 * 32]
