"""The data steward's crosswalk: who is who, encrypted, outside the release."""

from __future__ import annotations

import csv
import io
import json
import random
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.errors import RequestError
from medseg.privacy.crosswalk import Crosswalk, Link, read_passphrase
from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.profile import load_profile
from medseg.privacy.pseudonym import Pseudonymiser
from tests.privacy.corpus import Who, image, save

KEY = bytes(range(32))
PHRASE = "correct horse battery"


def run(*arguments: object):
    return CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "src" / "Novakova_Jana"
    folder.mkdir(parents=True)
    for number in range(3):
        ds = image(Who(random.Random(number)))
        ds.PatientID, ds.PatientName, ds.PatientBirthDate = f"47{number}1", f"Novakova{number}^Jana", "19480217"
        (folder / f"IM{number}").write_bytes(save(ds))
    (tmp_path / "phrase").write_text(PHRASE + "\n")
    (tmp_path / "phrase").chmod(0o600)
    return folder.parent


def test_the_steward_finds_the_patient_of_a_pseudonym_and_nobody_else_reads_the_file(source, tmp_path):
    options = ("--crosswalk", tmp_path / "crosswalk", "--passphrase", tmp_path / "phrase")
    made = run("deidentify", source, tmp_path / "out", "--profile", "research", "--new-key", tmp_path / "k", *options)
    assert made.exit_code == 0, made.output
    sealed = (tmp_path / "crosswalk").read_bytes()
    assert stat.S_IMODE((tmp_path / "crosswalk").stat().st_mode) == 0o600
    assert b"ovakova" not in sealed
    assert b"4711" not in sealed
    place = next((tmp_path / "out").rglob("*.dcm")).relative_to(tmp_path / "out")
    shown = run("crosswalk", tmp_path / "crosswalk", "--passphrase", tmp_path / "phrase", "--find", place.parts[0])
    rows = [row for row in csv.reader(io.StringIO(shown.stdout)) if row[0] in ("patient", "name", "file", "shift")]
    found = {row[0]: row[2] for row in rows}
    number = found["patient"][2]
    assert found["name"] == f"Novakova{number}^Jana"
    assert found["file"] == f"Novakova_Jana/IM{number}"
    assert found["shift"].startswith("-")


def test_the_file_opens_with_aes_gcm_and_scrypt_of_another_program(tmp_path):
    import base64
    import hashlib

    Crosswalk(tmp_path / "c", PHRASE).extend([Link("patient", "P1", "4711")], project="x")
    sealed = json.loads((tmp_path / "c").read_text())
    head = {name: value for name, value in sealed.items() if name != "data"}
    key = hashlib.scrypt(
        PHRASE.encode(), salt=base64.b64decode(head["salt"]), n=head["n"], r=head["r"], p=head["p"], dklen=32,
        maxmem=1 << 27,
    )  # fmt: skip
    data = AESGCM(key).decrypt(
        base64.b64decode(head["nonce"]), base64.b64decode(sealed["data"]), json.dumps(head, sort_keys=True).encode()
    )
    assert json.loads(data)["links"] == [["patient", "P1", "4711"]]


def test_a_run_that_was_stopped_or_comes_again_extends_it_and_counts_each_link_once(source, tmp_path):
    crosswalk, profile = Crosswalk(tmp_path / "crosswalk", PHRASE), load_profile("basic")
    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deidentify_tree(source, tmp_path / "out", profile=profile, key=KEY, progress=stop, crosswalk=crosswalk)
    (tmp_path / "crosswalk").unlink()
    deidentify_tree(source, tmp_path / "out", profile=profile, key=KEY, crosswalk=crosswalk)
    links = crosswalk.read()
    patients = {link.original for link in links if link.kind == "patient"}
    assert patients == {"4701", "4711", "4721"}
    assert not [link for link in links if link.kind == "shift"]
    before = (tmp_path / "crosswalk").read_bytes()
    deidentify_tree(source, tmp_path / "out", profile=profile, key=KEY, crosswalk=crosswalk)
    assert (tmp_path / "crosswalk").read_bytes() == before
    assert Link("patient", Pseudonymiser(KEY).patient("4701"), "4701") in links


def test_another_passphrase_another_key_or_a_changed_file_open_nothing(source, tmp_path):
    crosswalk = Crosswalk(tmp_path / "crosswalk", PHRASE)
    profile = load_profile("basic")
    deidentify_tree(source, tmp_path / "out", profile=profile, key=KEY, crosswalk=crosswalk)
    with pytest.raises(RequestError, match="another one"):
        Crosswalk(tmp_path / "crosswalk", PHRASE + "!").read()
    with pytest.raises(RequestError, match="another key"):
        deidentify_tree(source, tmp_path / "two", profile=profile, key=KEY[::-1], crosswalk=crosswalk)
    assert not (tmp_path / "two").exists()
    sealed = json.loads((tmp_path / "crosswalk").read_text())
    for change in ({"r": 4}, {"n": 1 << 30}, {"data": "AAAA"}, {"medseg_crosswalk": 2}):
        (tmp_path / "crosswalk").write_text(json.dumps({**sealed, **change}))
        with pytest.raises(RequestError):
            crosswalk.read()


def test_a_crosswalk_inside_the_release_or_the_source_and_weak_passphrases_are_refused(source, tmp_path):
    profile = load_profile("basic")
    for place in (tmp_path / "out" / "c", source / "c"):
        with pytest.raises(RequestError, match="outside"):
            deidentify_tree(source, tmp_path / "out", profile=profile, key=KEY, crosswalk=Crosswalk(place, PHRASE))
    assert not (tmp_path / "out").exists()
    (tmp_path / "short").write_text("secret\n")
    (tmp_path / "short").chmod(0o600)
    with pytest.raises(RequestError, match="12"):
        read_passphrase(tmp_path / "short")
    (tmp_path / "phrase").chmod(0o644)
    with pytest.raises(RequestError, match="0600"):
        read_passphrase(tmp_path / "phrase")
    options = ("--profile", "basic", "--new-key", tmp_path / "k", "--crosswalk", tmp_path / "c")
    assert run("deidentify", source, tmp_path / "out", *options).exit_code == 2
    assert not (tmp_path / "k").exists()
