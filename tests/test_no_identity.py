"""The whole way as a stranger with a telling name would go it: nothing of user, host, home or source stays anywhere."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.config import dump_study
from tests.studies.tiny import blob, tiny_study

pytestmark = pytest.mark.timeout(900)
USER, HOST, SOURCE = "drhouse", "stmarys-ct3", "Wachtmeister_Gisela_19480217"
PATIENTS = ("Zdendova_Mira", "Okonkwo_Chidi", "Lindqvist_Astrid", "Papadakis_Nikos")
WANTED = (USER, HOST, "wachtmeister", "gisela", "19480217", *(w.lower() for p in PATIENTS for w in p.split("_")))

_WAY = """
import json, os, socket, sys
from typer.testing import CliRunner
from medseg.cli.app import app
assert os.environ["USER"] == "drhouse"
for arguments in json.load(open(sys.argv[1])):
    result = CliRunner().invoke(app, arguments)
    sys.stdout.write(result.output)
    if result.exit_code not in (0, 3):
        sys.exit(f"{arguments[0]} ended with {result.exit_code}")
sys.stdout.write("host: " + socket.gethostname())
"""


def make_source(folder: Path) -> None:
    """A folder a patient, each with a volume and its mask."""
    generator = np.random.default_rng(3)
    for name in PATIENTS:
        (folder / name).mkdir(parents=True)
        mask = blob((20, 22, 18), generator)
        image = nib.Nifti1Image((generator.normal(0, 1, mask.shape) + 4 * mask).astype(np.float32), np.diag([2.0] * 4))
        image.header["descrip"] = name.encode()
        nib.save(image, folder / name / "image.nii.gz")
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), np.diag([2.0] * 4)), folder / name / "mask.nii.gz")


def child(folder: Path, commands: list[list[str]]) -> subprocess.CompletedProcess[str]:
    """Run commands as drhouse on stmarys-ct3: in a host name space of its own, else with the name put in by Python."""
    home = folder / "home" / USER
    site = folder / "site"
    home.mkdir(parents=True)
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        f"import socket, platform\nsocket.gethostname = lambda: {HOST!r}\nplatform.node = lambda: {HOST!r}\n"
    )
    (folder / "commands.json").write_text(json.dumps(commands))
    (folder / "way.py").write_text(_WAY)
    environment = {
        **os.environ, "USER": USER, "LOGNAME": USER, "USERNAME": USER, "HOME": str(home), "HOSTNAME": HOST,
        "PYTHONPATH": os.pathsep.join((str(site), str(Path(__file__).resolve().parents[1]))), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, str(folder / "way.py"), str(folder / "commands.json")]
    own = f'hostname {HOST} && exec "$@"'
    if (
        shutil.which("unshare")
        and subprocess.run(["unshare", "-u", "hostname", HOST], capture_output=True).returncode == 0
    ):
        command = ["unshare", "-u", "sh", "-c", own, "sh", *command]
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, timeout=800)


def opened(path: Path) -> bytes:
    """A file's bytes and what gzip and zip in it hold, and the rows of a database; shares no code with medseg."""
    data = path.read_bytes()
    parts = [data]
    if data[:2] == b"\x1f\x8b":
        parts.append(gzip.decompress(data))
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts += [archive.read(name) for name in archive.namelist()]
    if data[:15] == b"SQLite format 3":
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
            parts.append("\n".join(connection.iterdump()).encode("utf-8", "replace"))
    return b"\n".join(parts)


def found_in(folder: Path, words: tuple[str, ...]) -> list[tuple[str, str]]:
    """File and word of each find, in names and in content, in UTF-8 and UTF-16."""
    finds = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        text = name.lower().encode() + b"\n" + (opened(path).lower() if path.is_file() else b"")
        finds += [(name, w) for w in words if w.encode() in text or w.encode("utf-16-le") in text]
    return finds


@pytest.fixture(scope="module")
def way(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The output folder of the whole way, and what the commands printed."""
    folder = tmp_path_factory.mktemp("ward")
    source, out, steward = folder / SOURCE, folder / "out", folder / "steward"
    make_source(source)
    out.mkdir()
    steward.mkdir()
    study = tiny_study(out / "data" / "manifest.csv", dims=3, iterations=3)
    study = study.model_copy(update={"track": study.track.model_copy(update={"enabled": True})})
    (folder / "study.yaml").write_text(dump_study(study))
    (steward / "phrase").write_text("a long enough phrase")
    (steward / "phrase").chmod(0o600)
    key, run = str(steward / "key"), str(out / "run")
    commands = [
        ["deidentify", str(source), str(out / "clean"), "--profile", "research", "--new-key", key, "--crosswalk",
         str(steward / "crosswalk"), "--passphrase", str(steward / "phrase")],
        ["import", str(out / "clean"), str(out / "data"), "--label", "1=lesion"],
        ["manifest", "split", str(out / "data" / "manifest.csv"), "--folds", "2"],
        ["crossval", str(folder / "study.yaml"), "--out", run, "--key", key],
        ["papers", run, "--clean", str(out / "clean"), "--key", key],
        ["audit", str(out), "--key", key],
    ]  # fmt: skip
    done = child(folder, commands)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"host: {HOST}")
    return out, done.stdout + done.stderr


def test_nothing_of_user_host_home_or_source_is_in_the_output_tree(way):
    out, _ = way
    assert (out / "run" / "mlflow" / "mlflow.db").is_file()
    assert found_in(out, (*WANTED, str(out.parent).lower())) == []


def test_the_commands_print_no_patient(way):
    _, text = way
    assert [w for w in WANTED[2:] if w in text.lower().replace(SOURCE.lower(), "")] == []


def test_the_tree_is_still_of_use_after_it_was_moved(way, tmp_path):
    out, _ = way
    moved = tmp_path / "elsewhere"
    shutil.copytree(out, moved)
    hidden = out.with_name("gone")
    out.rename(hidden)
    try:
        for arguments in (
            ["report", moved / "run"],
            ["predict", moved / "run" / "model.medseg", moved / "data" / "manifest.csv", tmp_path / "predicted"],
            ["package", moved / "run", tmp_path / "again.medseg"],
            ["audit", moved, "--ledger", moved / "run" / "ledger.jsonl"],
        ):
            result = CliRunner().invoke(app, [str(a) for a in arguments])
            assert result.exit_code == 0, (arguments[0], result.output)
    finally:
        hidden.rename(out)
    assert len(list((tmp_path / "predicted").glob("*.nii.gz"))) == len(PATIENTS)
    assert found_in(moved, WANTED) == []
