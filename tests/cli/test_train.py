"""The training commands as a person meets them: messages, exit statuses, kills, full disks."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner, Result

from medseg.cli.app import app
from medseg.config import dump_study
from medseg.privacy.identities import IdentityIndex
from tests.studies.tiny import make_volumes, tiny_study


def _study(folder: Path, manifest: Path, **train: object) -> Path:
    path = folder / "study.yaml"
    iterations = int(str(train.pop("iterations", 3)))
    path.write_text(dump_study(tiny_study(manifest, dims=3, iterations=iterations, **train)))
    return path


def _medseg(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def _start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "medseg", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        # Tests that run in the background inherit an ignored Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _rewrite(manifest: Path, **values: str) -> None:
    """Set columns of every row of a manifest."""
    with manifest.open(newline="") as stream:
        rows = [{**row, **{k: v for k, v in values.items() if k in row}} for row in csv.DictReader(stream)]
    with manifest.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _spoil(folder: Path, case: str, values: np.ndarray | float, *, label: bool = False) -> None:
    path = folder / (f"{case}_label.nii.gz" if label else f"{case}.nii.gz")
    image = nib.load(path)
    array = np.asarray(image.dataobj).copy()
    array[:4] = values
    nib.save(nib.Nifti1Image(array, image.affine), path)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return make_volumes(tmp_path / "data")


def test_a_cross_validation_prints_its_table_and_where_everything_is(manifest: Path, tmp_path: Path) -> None:
    run = _medseg("crossval", _study(tmp_path, manifest), "--out", tmp_path / "run")
    assert run.exit_code == 0, run.output
    assert "Dice (95 %)" in run.stdout
    for name in ("report/internal.html", "report/shareable.html", "report/internal.pdf", "model.medseg", "cases.csv"):
        assert (tmp_path / "run" / name).exists(), name


def test_a_cross_validation_with_the_key_lets_no_identity_of_the_project_out(manifest: Path, tmp_path: Path) -> None:
    index = IdentityIndex()
    index.add(["Zdendova^Mira"])
    index.save(tmp_path / "project.key.identities")
    study = tiny_study(manifest, dims=3, iterations=3).model_copy(update={"name": "cohort_of_mira_zdendova"})
    (tmp_path / "study.yaml").write_text(dump_study(study))
    arguments = ("crossval", tmp_path / "study.yaml", "--out", tmp_path / "run", "--key")
    assert _medseg(*arguments, tmp_path / "other.key").exit_code == 2
    run = _medseg(*arguments, tmp_path / "project.key")
    assert run.exit_code == 4
    assert "dendova" not in run.stderr
    assert not (tmp_path / "run" / "study.yaml").exists()
    _rewrite(manifest, site="Zdendova-Mira")
    run = _medseg("train", _study(tmp_path, manifest), "--out", tmp_path / "run", "--key", tmp_path / "project.key")
    assert (run.exit_code, "manifest.csv" in run.stderr, "dendova" in run.stderr) == (4, True, False)
    assert not (tmp_path / "run" / "plan.json").exists()


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_a_checkpoint_that_the_gate_refuses_ends_the_training_at_once(
    command: str, manifest: Path, tmp_path: Path
) -> None:
    index = IdentityIndex()
    index.add(["exp_avg_sq"])  # What the optimiser's state calls a number: the only texts are names of that kind.
    index.save(tmp_path / "project.key.identities")
    arguments = (command, _study(tmp_path, manifest), "--out", tmp_path / "run", "--key", tmp_path / "project.key")
    overrides = ("train.optimizer.name=adam", "pretrain.iterations=2", "pretrain.budget_minutes=null")
    run = _medseg(*arguments, *(word for value in overrides for word in ("--set", value)))
    assert run.exit_code == 4, run.output
    assert "last.ckpt" in run.stderr
    assert not list((tmp_path / "run").rglob("*.ckpt"))
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_json_gives_one_object_on_stdout(manifest: Path, tmp_path: Path) -> None:
    run = _medseg("plan", _study(tmp_path, manifest), "--json")
    assert run.exit_code == 0
    assert json.loads(run.stdout)["patch_size"] == [16, 16, 16]


def test_a_model_trained_on_all_cases_predicts(manifest: Path, tmp_path: Path) -> None:
    assert _medseg("train", _study(tmp_path, manifest), "--out", tmp_path / "run").exit_code == 0
    assert _medseg("package", tmp_path / "run", tmp_path / "m.medseg").exit_code == 0
    run = _medseg("predict", tmp_path / "m.medseg", manifest, tmp_path / "out")
    assert run.exit_code == 0
    assert sorted(p.name for p in (tmp_path / "out").glob("*.nii.gz")) == [f"C{n:03d}.nii.gz" for n in range(6)]
    run = _medseg("predict", tmp_path / "m.medseg", tmp_path / "data" / "C003.nii.gz", tmp_path / "one")
    assert [p.name for p in (tmp_path / "one").glob("[!.]*")] == ["image_0001.nii.gz"]


def test_a_model_that_is_missing_or_cut_off_is_a_wrong_request(manifest: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.medseg"
    cut.write_bytes(b"PK\x03\x04")
    for model in (cut, tmp_path / "none.medseg"):
        result = _medseg("predict", model, manifest, tmp_path / "out")
        assert result.exit_code == 2
        assert "model package" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_broken_image_is_refused_and_the_others_are_predicted(manifest: Path, tmp_path: Path) -> None:
    assert _medseg("train", _study(tmp_path, manifest), "--out", tmp_path / "run").exit_code == 0
    assert _medseg("package", tmp_path / "run", tmp_path / "m.medseg").exit_code == 0
    broken = tmp_path / "data" / "C002.nii.gz"
    broken.write_bytes(broken.read_bytes()[:200])
    run = _medseg("predict", tmp_path / "m.medseg", manifest, tmp_path / "out")
    assert run.exit_code == 3
    assert "C002" in run.stderr
    assert len(list((tmp_path / "out").glob("*.nii.gz"))) == 5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: _spoil(folder, "C002", float("nan")), "C002.*NaN"),
        (lambda folder: _spoil(folder, "C001", 7, label=True), "C001.*7"),
        (lambda folder: (folder / "C003.nii.gz").unlink(), "C003"),
    ],
    ids=["NaN in an image", "a label of unknown value", "a missing image"],
)
def test_a_case_that_cannot_be_used_is_named_before_anything_is_trained(
    manifest: Path, tmp_path: Path, spoil, message: str
) -> None:
    spoil(manifest.parent)
    _rewrite(manifest, sha256="", label_sha256="")
    run = _medseg("crossval", _study(tmp_path, manifest), "--out", tmp_path / "run")
    assert run.exit_code == 2, run.output
    assert re.search(message, run.stderr)
    assert str(tmp_path) not in run.stderr
    assert not list(tmp_path.glob("run/fold_*"))


def test_labels_that_are_all_empty_are_refused(manifest: Path, tmp_path: Path) -> None:
    for path in manifest.parent.glob("*_label.nii.gz"):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.zeros(image.shape, dtype=np.uint8), image.affine), path)
    _rewrite(manifest, label_sha256="")
    run = _medseg("crossval", _study(tmp_path, manifest), "--out", tmp_path / "run")
    assert run.exit_code == 2
    assert "label" in run.stderr


def test_one_empty_case_among_others_is_an_ordinary_case(manifest: Path, tmp_path: Path) -> None:
    path = manifest.parent / "C002_label.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, dtype=np.uint8), image.affine), path)
    _rewrite(manifest, label_sha256="")
    assert _medseg("crossval", _study(tmp_path, manifest), "--out", tmp_path / "run").exit_code == 0


def test_a_volume_of_two_slices_goes_the_whole_way(tmp_path: Path) -> None:
    manifest = make_volumes(tmp_path / "data", shape=(24, 24, 2))
    run = _medseg("crossval", _study(tmp_path, manifest), "--out", tmp_path / "run")
    assert run.exit_code == 0, run.output
    assert nib.load(next((tmp_path / "run").glob("fold_*/predictions/*.nii.gz"))).shape == (24, 24, 2)


@pytest.mark.parametrize("folds", [9, 1])
def test_more_folds_than_patients_or_a_single_fold_is_refused(manifest: Path, folds: int) -> None:
    run = _medseg("manifest", "split", manifest, "--folds", folds, "--force")
    assert run.exit_code == 2
    assert "patient" in run.stderr or "folds" in run.stderr


def test_one_patient_only_cannot_be_cross_validated(manifest: Path) -> None:
    _rewrite(manifest, patient="P1")
    run = _medseg("manifest", "split", manifest, "--folds", 2, "--force")
    assert run.exit_code == 2
    assert "patient" in run.stderr


def test_without_folds_the_command_that_draws_them_is_told(manifest: Path, tmp_path: Path) -> None:
    manifest.with_suffix(".folds.csv").unlink()
    run = _medseg("crossval", _study(tmp_path, manifest), "--out", tmp_path / "run")
    assert run.exit_code == 2
    assert "medseg manifest split" in run.stderr


def test_a_wrong_key_is_told_before_anything_is_read(manifest: Path, tmp_path: Path) -> None:
    run = _medseg("crossval", _study(tmp_path, manifest), "--set", "train.lr=1", "--out", tmp_path / "run")
    assert run.exit_code == 2
    assert "train.lr: unknown key" in run.stderr
    assert not (tmp_path / "run").exists()


def test_a_killed_run_goes_on_where_it_stopped_and_ends_with_the_same_weights(manifest: Path, tmp_path: Path) -> None:
    study = _study(tmp_path, manifest, iterations=16, checkpoint_minutes=1e-6)
    # Bits are the same for the same number of threads, so the run to compare with is started in the same way.
    whole = _start("crossval", study, "--out", tmp_path / "whole")
    assert whole.wait(timeout=200) == 0
    process = _start("crossval", study, "--out", tmp_path / "killed")
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "fold_0" / "last.ckpt").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = _start("crossval", study, "--out", tmp_path / "killed", "--resume")
    _, errors = again.communicate(timeout=200)
    assert again.returncode == 0, errors
    for fold in (0, 1):
        name = f"fold_{fold}/weights.safetensors"
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not list((tmp_path / "killed").rglob("*.tmp"))


def test_resume_never_begins_a_run(manifest: Path, tmp_path: Path) -> None:
    for name in ("crossval", "train", "pretrain"):
        refused = _medseg(name, _study(tmp_path, manifest), "--out", tmp_path / "mistyped", "--resume")
        assert refused.exit_code == 2
        assert "--resume: expected a folder that a run was begun in" in refused.stderr
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_prediction_leaves_whole_files_and_goes_on(
    manifest: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    assert _medseg("train", _study(tmp_path, manifest), "--out", tmp_path / "run").exit_code == 0
    assert _medseg("package", tmp_path / "run", tmp_path / "m.medseg").exit_code == 0
    images = tmp_path / "images"
    images.mkdir()
    for number in range(60):
        os.link(tmp_path / "data" / "C003.nii.gz", images / f"{number:02d}.nii.gz")
    out = tmp_path / "out"
    process = _start("predict", tmp_path / "m.medseg", images, out)
    deadline = time.monotonic() + 120
    while len(list(out.glob("*.nii.gz"))) < 3 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if sent is signal.SIGKILL else 130), errors
    done = sorted(out.glob("*.nii.gz"))
    assert 3 <= len(done) < 60
    for path in done:
        np.asarray(nib.load(path).dataobj)
    again = _medseg("predict", tmp_path / "m.medseg", images, out)
    assert again.exit_code == 0, again.output
    assert len(list(out.glob("*.nii.gz"))) == 60
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_with_a_word_and_leaves_nothing_half_written(
    manifest: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    study = _study(tmp_path, manifest, iterations=100000)
    process = _start("crossval", study, "--out", tmp_path / "run")
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "fold_0" / "epochs.csv").exists() and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert not list((tmp_path / "run").rglob("*.tmp"))
    assert (tmp_path / "run" / "fold_0" / "last.ckpt").exists()


def test_the_same_command_twice_at_once_is_refused_the_second_time(manifest: Path, tmp_path: Path) -> None:
    study = _study(tmp_path, manifest, iterations=100000)
    first = _start("crossval", study, "--out", tmp_path / "run")
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "run" / "plan.json").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        second = _medseg("crossval", study, "--out", tmp_path / "run")
        assert second.exit_code == 2
        assert "another process" in second.stderr
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()


@contextlib.contextmanager
def _small_disk(folder: Path, *, options: str) -> Iterator[Path]:
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here; run the tests as root to try a full disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(manifest: Path, tmp_path: Path) -> None:
    study = _study(tmp_path, manifest)
    with _small_disk(tmp_path / "disk", options="size=96k") as disk:
        run = _medseg("crossval", study, "--out", disk / "run")
        assert run.exit_code == 2, run.output
        assert "full" in run.stderr
        assert not list(disk.rglob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        run = _medseg("crossval", study, "--out", disk / "run")
        assert run.exit_code == 0, run.output


def test_a_read_only_output_is_told(manifest: Path, tmp_path: Path) -> None:
    study = _study(tmp_path, manifest)
    with _small_disk(tmp_path / "disk", options="size=8m") as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        run = _medseg("crossval", study, "--out", disk / "run")
        assert run.exit_code == 2, run.output
        assert "cannot be" in run.stderr


def test_a_study_of_the_command_line_is_tracked_without_a_name(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "drhouse")
    monkeypatch.setenv("LOGNAME", "drhouse")
    study = _study(tmp_path, manifest)
    run = _medseg("crossval", study, "--set", "track.enabled=true", "--out", tmp_path / "run")
    assert run.exit_code == 0, run.output
    stored = b"".join(p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file())
    assert b"drhouse" not in stored
    assert str(tmp_path).encode() not in stored
    assert yaml.safe_load((tmp_path / "run" / "study.yaml").read_text())["track"]["enabled"]
