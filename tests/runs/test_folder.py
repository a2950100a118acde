from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.config import DataConfig, StudyConfig, TrainConfig, dump_study
from medseg.errors import RunError, StorageError
from medseg.privacy.ledger import verify
from medseg.runs.folder import RunFolder, portable_study

_HOLD = """
import sys, time
from pathlib import Path
from medseg.runs.folder import RunFolder
with RunFolder.open(Path(sys.argv[1]), study_yaml="name: a\\n"):
    print("open", flush=True)
    time.sleep(60)
"""


def test_the_same_study_opens_its_folder_again(tmp_path: Path) -> None:
    for _ in range(2):
        with RunFolder.open(tmp_path / "runs" / "a", study_yaml="name: a\n") as folder:
            assert folder.study_yaml.read_text() == "name: a\n"
            assert folder.predictions(2) == folder.root / "fold_2" / "predictions"
            assert folder.fold(2).is_dir()
            folder.ledger.append("read", {"cases": 3})
    assert verify(folder.ledger.path) == []


def test_another_study_is_refused_by_place_and_the_folder_stays(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path, study_yaml="name: a\ndata: {manifest: Novakova.csv, folds: x}\n"):
        pass
    with (
        pytest.raises(RunError, match=r"data\.manifest, seed") as caught,
        RunFolder.open(tmp_path, study_yaml="name: a\nseed: 1\ndata: {manifest: other.csv, folds: x}\n"),
    ):
        pass
    assert "Novakova" not in str(caught.value)
    assert "Novakova" in (tmp_path / "study.yaml").read_text()


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        with pytest.raises(RunError, match="another process"), RunFolder.open(tmp_path, study_yaml="name: a\n"):
            pass
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with RunFolder.open(tmp_path, study_yaml="name: a\n") as folder:
        assert folder.root == tmp_path


def test_a_file_in_place_of_the_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(StorageError), RunFolder.open(tmp_path / "a", study_yaml=""):
        pass


def test_a_portable_study_holds_no_folder() -> None:
    study = StudyConfig(
        name="a",
        data=DataConfig(manifest="/home/drhouse/Novakova/manifest.csv", folds="C:\\drhouse\\folds.csv"),
        train=TrainConfig(init="../drhouse/start.medseg"),
    )
    text = dump_study(portable_study(study))
    assert "drhouse" not in text
    assert portable_study(study).data.manifest == "manifest.csv"
    assert portable_study(study).data.folds == "folds.csv"
    assert portable_study(study).data.cache is None
    assert portable_study(study).train.init == "start.medseg"
