from __future__ import annotations

import json
import random

from typer.testing import CliRunner

from medseg.cli.app import app
from tests.privacy.corpus import Who, image, save


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
