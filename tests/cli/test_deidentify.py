from __future__ import annotations

import json
import random

import yaml
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.privacy.profile import load_profile
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
    for number in (1, 2):
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
    assert lines[0] == "number,decision,reason"
    assert len(lines) == 3
    form.write_text("\n".join((lines[0], lines[1].replace(",,", ",pass,"), lines[2].replace(",,", ",refuse,"))))
    done = run(*command, "--key", key, "--decide", form)
    assert (done.exit_code, done.stdout.strip()) == (3, "1 written, 0 quarantined, 1 refused")
    assert len(list(out.rglob("*.dcm"))) == 1
    noted = [json.loads(line) for line in (out / "ledger.jsonl").read_text().splitlines()]
    assert [line["action"] for line in noted] == ["deidentified", "exception", "exception", "deidentified"]
    form.write_text("number,decision\n1,perhaps\n")
    assert run(*command, "--key", key, "--decide", form).exit_code == 2
