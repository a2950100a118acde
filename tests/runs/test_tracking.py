from __future__ import annotations

import importlib
import json
import math
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from medseg.config import DataConfig, StudyConfig, TrackConfig
from medseg.privacy.audit import audit_paths
from medseg.privacy.identities import IdentityIndex
from medseg.runs.monitor import SystemMonitor
from medseg.runs.tracking import ModelSignature, Tracker, open_tracker

_SIGNATURE = ModelSignature(spatial_dims=2, channels=("red", "green", "blue"), labels={1: "lesion"})

_STUDY = """
import sys
from pathlib import Path
from tests.runs.test_tracking import record_a_study
record_a_study(Path(sys.argv[1]))
"""


def _study(manifest: str = "data/manifest.csv", *, experiment: str = "medseg", enabled: bool = True) -> StudyConfig:
    return StudyConfig(
        name="skin",
        data=DataConfig(manifest=manifest),
        track=TrackConfig(experiment=experiment, enabled=enabled),
    )


def record_a_study(run_dir: Path, *, experiment: str = "medseg", epochs: int = 3) -> Tracker:
    """What a cross-validation of two folds records."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "shareable.html").write_text("<p>Dice 0.87</p>")
    (run_dir / "skin.medseg").write_bytes(b"PK\x05\x06" + bytes(18))
    tracker = open_tracker(_study(str(run_dir.parent / "data" / "manifest.csv"), experiment=experiment), run_dir)
    with tracker.study({"patch_size": [64, 64]}, {"cores": 2}, "ab" * 32):
        for k in range(2):
            with tracker.fold(k) as fold:
                for epoch in range(epochs):
                    fold.log_epoch(epoch, {"train_loss": 1.0 / (epoch + 1), "val_dice": math.nan})
        tracker.finish({"dice": 0.87, "undefined": math.nan}, [run_dir / "shareable.html"])
        tracker.register_model(run_dir / "skin.medseg", _SIGNATURE)
    return tracker


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder under a patient's name, recorded as `drhouse` on `stmarys-ct3`, then moved elsewhere."""
    root = tmp_path_factory.mktemp("tracking")
    run_dir = root / "Novakova_Jana" / "run"
    environment = {**os.environ, "USER": "drhouse", "LOGNAME": "drhouse", "HOSTNAME": "stmarys-ct3"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", _STUDY, str(run_dir)], check=True, env=environment, cwd=root)
    moved = root / "elsewhere"
    shutil.move(run_dir, moved)
    return moved


def test_the_store_holds_no_user_host_folder_or_patient(recorded: Path) -> None:
    identities = IdentityIndex()
    folders = [part for part in recorded.parent.parts if len(part) > 5]
    identities.add(["drhouse", "stmarys-ct3", "Novakova^Jana", os.getcwd(), str(recorded.parent), *folders])
    assert audit_paths([recorded / "mlflow"], identities=identities).finds == ()
    content = b"".join(path.read_bytes() for path in (recorded / "mlflow").rglob("*") if path.is_file()).lower()
    for text in ("drhouse", "stmarys", "novakova", str(recorded.parent), os.getcwd()):
        assert text.lower().encode() not in content, text


def test_the_moved_store_still_gives_runs_metrics_inputs_and_the_model(recorded: Path) -> None:
    from mlflow import MlflowClient
    from mlflow.models import Model

    client = MlflowClient(tracking_uri=f"sqlite:///{recorded}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("medseg")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {"skin", "skin fold 0", "skin fold 1"}
    study, fold = runs["skin"], runs["skin fold 1"]
    assert fold.data.tags["mlflow.parentRunId"] == study.info.run_id
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert study.data.params["data.manifest"] == "manifest.csv"
    assert study.data.params["model.name"] == "unet"
    assert study.data.metrics == {"dice": 0.87}
    assert study.inputs.dataset_inputs[0].dataset.digest == ("ab" * 32)[:36]
    history = client.get_metric_history(fold.info.run_id, "train_loss")
    assert [round(point.value, 3) for point in history] == [1.0, 0.5, 0.333]
    assert any(name.startswith("system/cpu") for name in fold.data.metrics)
    version = client.search_model_versions("name = 'skin'")[0]
    folder = recorded / "mlflow" / "artifacts" / version.source.removeprefix("mlflow-artifacts:/")
    model = Model.load(folder / "MLmodel")
    assert model.signature.inputs.inputs[0].shape == (-1, 3, -1, -1)
    assert (folder / model.flavors["medseg"]["data"]).is_file()
    files = {path.name for path in folder.parent.iterdir()}
    assert files == {"plan.json", "environment.json", "study.json", "shareable.html", "model"}


def test_the_same_folder_again_goes_on_in_the_same_runs(recorded: Path) -> None:
    def count() -> int:
        with closing(sqlite3.connect(recorded / "mlflow" / "mlflow.db")) as connection:
            return int(connection.execute("SELECT count(*) FROM runs").fetchone()[0])

    before = count()
    assert record_a_study(recorded).problem is None
    assert count() == before


def test_a_run_that_fails_is_recorded_as_failed_and_the_exception_goes_on(recorded: Path) -> None:
    tracker = open_tracker(_study(experiment="broken"), recorded)
    with pytest.raises(ValueError, match="torn"), tracker.study({}, {}, "0" * 64), tracker.fold(7):
        raise ValueError("torn")
    with closing(sqlite3.connect(recorded / "mlflow" / "mlflow.db")) as connection:
        rows = connection.execute("SELECT status FROM runs WHERE name = 'skin fold 7'").fetchall()
    assert rows == [("FAILED",)]


def test_what_the_gate_refuses_is_not_recorded_and_the_person_is_told(recorded: Path, tmp_path: Path) -> None:
    identities = IdentityIndex()
    identities.add(["Novakova^Jana"])
    shutil.copytree(recorded / "mlflow", tmp_path / "mlflow")
    (tmp_path / "shareable.html").write_text("<b>Jana</b> Novakova")
    tracker = open_tracker(_study(experiment="gated"), tmp_path, identities=identities)
    with tracker.study({"note": "NOVAKOVA JANA"}, {"cores": 2}, "0" * 64):
        tracker.finish({"Novakova dice": 0.8, "Jana hd95": 2.0, "dice": 0.9}, [tmp_path / "shareable.html"])
    assert tracker.problem is not None
    assert "plan.json, the name of a metric, shareable.html" in tracker.problem
    assert audit_paths([tmp_path / "mlflow"], identities=identities).finds == ()


def test_a_study_and_an_experiment_named_after_a_patient_are_recorded_under_neutral_names(tmp_path: Path) -> None:
    identities = IdentityIndex()
    identities.add(["Szymborska", "Hradecky"])
    named = _study(experiment="for_hradecky").model_copy(update={"name": "szymborska_lesions"})
    tracker = open_tracker(named, tmp_path, identities=identities)
    package = tmp_path / "model.medseg"
    package.write_bytes(b"PK\x05\x06" + bytes(18))
    with tracker.study({}, {}, "0" * 64):
        with tracker.fold(1):
            pass
        tracker.register_model(package, _SIGNATURE)
    assert tracker.problem is not None
    assert "the study's name, the experiment's name" in tracker.problem
    assert audit_paths([tmp_path / "mlflow"], identities=identities).finds == ()
    with closing(sqlite3.connect(tmp_path / "mlflow" / "mlflow.db")) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM runs")}
    assert names == {"study", "study fold 1"}


def test_a_dead_server_costs_seconds_and_a_message_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:secret@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # The time of loading MLflow itself doesn't count.
    importlib.import_module("mlflow.models")
    start = time.monotonic()
    tracker = record_a_study(tmp_path / "run")
    assert time.monotonic() - start < 45
    assert tracker.problem is not None
    assert "run folder is complete" in tracker.problem
    assert "secret" not in tracker.problem + caplog.text
    assert caplog.text.count("MLflow does not answer") == 1


def test_tracking_that_is_switched_off_writes_nothing(tmp_path: Path) -> None:
    tracker = open_tracker(_study(enabled=False), tmp_path)
    with tracker.study({}, {}, ""), tracker.fold(0) as fold:
        fold.log_epoch(0, {"loss": 1.0})
    tracker.register_model(tmp_path / "missing.medseg", _SIGNATURE)
    assert tracker.problem is None
    assert list(tmp_path.iterdir()) == []


def test_the_monitor_samples_the_machine() -> None:
    with SystemMonitor(interval_s=0.02) as monitor:
        time.sleep(0.1)
    rows = monitor.take()
    assert {"system/cpu_utilization_percentage", "system/process_memory_megabytes"} <= {row[0] for row in rows}
    assert monitor.take() == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real `mlflow server` with basic authentication on loopback."""
    pytest.importorskip("flask_wtf", reason="the server's basic authentication needs: pip install 'mlflow[auth]'")
    root = tmp_path_factory.mktemp("server")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (root / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{root}/auth.db\n"
        "admin_username = admin\nadmin_password = correct-horse-battery\nauth_cache_ttl_seconds = 60\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = {
        **os.environ,
        "MLFLOW_AUTH_CONFIG_PATH": str(root / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "loopback",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--workers", "1", "--backend-store-uri", f"sqlite:///{root}/mlflow.db"]
    command += ["--artifacts-destination", str(root / "artifacts")]
    with open(root / "log", "wb") as log:
        process = subprocess.Popen(command, env=environment, cwd=root, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(port, process, root / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            pytest.fail(log.read_text()[-2000:])
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    pytest.fail("the server did not start")


def test_a_real_server_takes_the_study_behind_a_password(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct-horse-battery")
    tracker = record_a_study(tmp_path / "run", experiment="on_a_server", epochs=1)
    assert tracker.problem is None
    assert sorted(path.name for path in (tmp_path / "run" / "mlflow").iterdir()) == ["runs.json"]

    def ask(call: str, body: dict[str, object]) -> dict[str, object]:
        login = b64encode(b"admin:correct-horse-battery").decode()
        request = urllib.request.Request(
            f"{server}/api/2.0/mlflow/{call}",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.loads(answer.read()))

    found = json.dumps(ask("runs/search", {"experiment_ids": ["1"]}))
    assert "skin fold 1" in found
    assert "researcher" in found
    assert str(tmp_path) not in found

    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    refused = record_a_study(tmp_path / "again", experiment="on_a_server", epochs=1)
    assert refused.problem is not None
    assert "wrong" not in refused.problem


def test_a_training_on_all_cases_is_called_so(tmp_path: Path) -> None:
    tracker = open_tracker(_study(), tmp_path)
    with tracker.study({}, {}, "ab" * 32), tracker.fold(None) as fold:
        fold.log_epoch(0, {"train_loss": 1.0})
    with closing(sqlite3.connect(tmp_path / "mlflow" / "mlflow.db")) as store:
        assert store.execute("SELECT count(*) FROM runs WHERE name = 'skin all cases'").fetchone() == (1,)
