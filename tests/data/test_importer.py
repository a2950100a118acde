"""What an import writes, leaves out, resumes and refuses as a whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from medseg.data.manifest import read_manifest
from medseg.data.readers import read_volume
from medseg.errors import RequestError, RunError
from tests.data.import_factory import (
    NAME,
    all_bytes,
    run_import,
    write_label,
    write_pairs,
    write_patients,
    write_volume,
)


def test_nothing_of_the_source_s_names_and_headers_is_written(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in")
    write_volume(tmp_path / "in" / "images" / f"{NAME}_bad.nii.gz")
    write_label(tmp_path / "in" / "labels" / f"{NAME}_bad.nii.gz", shape=(4, 4, 4))
    report = run_import(tmp_path / "in", tmp_path / "out")
    assert len(report.refusals) == 1
    assert NAME.encode() not in all_bytes(tmp_path / "out")
    assert NAME not in repr(report)


def test_empty_label_maps_are_counted_and_only_empty_ones_are_an_error(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in")
    write_label(tmp_path / "in" / "labels" / f"{NAME}_0.nii.gz", values=())
    assert run_import(tmp_path / "in", tmp_path / "out").empty == 1
    for number in range(3):
        write_label(tmp_path / "in" / "labels" / f"{NAME}_{number}.nii.gz", values=())
    with pytest.raises(RequestError, match="every label map is empty"):
        run_import(tmp_path / "in", tmp_path / "out2")
    assert not (tmp_path / "out2" / "images").exists()


def test_a_second_run_copies_nothing_and_changes_nothing(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in")
    run_import(tmp_path / "in", tmp_path / "out")
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (tmp_path / "out").rglob("*.[ncpy]*")}
    report = run_import(tmp_path / "in", tmp_path / "out")
    assert report.reused == 3
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in (tmp_path / "out").rglob("*.[ncpy]*")}


def test_ids_stay_when_cases_come_and_go(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in")
    run_import(tmp_path / "in", tmp_path / "out")
    old = {case.sha256: case.case for case in read_manifest(tmp_path / "out" / "manifest.csv").cases}
    for folder in ("images", "labels"):
        (tmp_path / "in" / folder / f"{NAME}_0.nii.gz").unlink()
    write_volume(tmp_path / "in" / "images" / "AAA.nii.gz", seed=9)
    write_label(tmp_path / "in" / "labels" / "AAA.nii.gz")
    report = run_import(tmp_path / "in", tmp_path / "out")
    new = {case.sha256: case.case for case in read_manifest(tmp_path / "out" / "manifest.csv").cases}
    assert report.reused == 2
    assert all(old[digest] == new[digest] for digest in old.keys() & new.keys())
    assert sorted(new.values()) == ["C0002", "C0003", "C0004"]
    assert len(list((tmp_path / "out" / "images").iterdir())) == 3


def test_another_data_set_is_not_mixed_in(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in")
    run_import(tmp_path / "in", tmp_path / "out")
    write_volume(tmp_path / "other" / "images" / "x.nii.gz", seed=77)
    write_label(tmp_path / "other" / "labels" / "x.nii.gz", values=(1, 1))
    with pytest.raises(RequestError, match="other data"):
        run_import(tmp_path / "other", tmp_path / "out")


def test_a_folder_that_another_import_writes_into_is_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in")
    (tmp_path / "out").mkdir()
    with FileLock(tmp_path / "out" / ".medseg-import.lock"), pytest.raises(RunError, match="another import"):
        run_import(tmp_path / "in", tmp_path / "out")


def test_nothing_to_import_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "readme.txt").write_text("x")
    with pytest.raises(RequestError, match="found 1 other files"):
        run_import(tmp_path / "in", tmp_path / "out")
    with pytest.raises(RequestError, match="found none"):
        run_import(tmp_path / "nowhere", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(RequestError, match="inside the source"):
        run_import(tmp_path / "in", tmp_path / "in" / "out")


def test_names_are_kept_where_they_identify_nobody(tmp_path: Path) -> None:
    write_patients(tmp_path / "in")
    run_import(tmp_path / "in", tmp_path / "out", keep_names=True)
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert (manifest.cases[0].case, manifest.cases[0].patient) == (f"{NAME}_0_PET_image", f"{NAME}_0")


def test_a_killed_import_leaves_nothing_half_written_and_goes_on(tmp_path: Path) -> None:
    for number in range(40):
        write_volume(tmp_path / "in" / "images" / f"{number:02d}.nii.gz", seed=number, shape=(40, 40, 40))
        write_label(tmp_path / "in" / "labels" / f"{number:02d}.nii.gz", shape=(40, 40, 40))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "medseg", "import", str(tmp_path / "in"), str(out), "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while len(list((out / "images").glob("C*"))) < 5 if (out / "images").is_dir() else True:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.005)  # Nothing tells when a file is there; it is killed in the midst of the copies.
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.csv").exists()
    for path in (out / "images").glob("C*"):
        assert read_volume(path).shape == (40, 40, 40)
    report = run_import(tmp_path / "in", out)
    assert report.cases == 40
    assert report.reused >= 4
    assert not list(out.rglob("*.tmp"))
    assert [case.case for case in read_manifest(out / "manifest.csv").cases] == [f"C{n:04d}" for n in range(1, 41)]


def test_the_command_prints_counts_and_exits_3_when_something_was_refused(tmp_path: Path) -> None:
    write_pairs(tmp_path / "in")
    (tmp_path / "in" / "images" / f"{NAME}_1.nii.gz").write_bytes(b"junk")
    command = [sys.executable, "-m", "medseg", "import", str(tmp_path / "in"), str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["cases"] == 2
    assert NAME not in done.stdout + done.stderr
