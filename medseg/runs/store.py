"""MlflowStore: one MLflow store, embedded in the run folder or on a server, spoken to without MLflow's own context.

MLflow's fluent calls record the user, the script's path, the git remote and the working directory. Here every run is
made through `MlflowClient`, which records only what it is given. In the embedded store every artefact address is
``mlflow-artifacts:/...``, relative to ``mlflow/artifacts`` beside the database, so that no path stands in the database
and the folder can be moved. To look at it: ``cd RUN/mlflow``, then
``mlflow ui --backend-store-uri sqlite:///mlflow.db --artifacts-destination artifacts``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medseg.data.files import atomic_write

__all__ = ["MlflowStore", "now_ms", "quiet_mlflow"]

_USER = "researcher"
_BATCH = 100
_LONGEST_VALUE = 6000
_DATABASE = "mlflow.db"
_ARTIFACTS = "artifacts"


def quiet_mlflow() -> None:
    """Switch telemetry and printing off, notice a dead server within seconds; the researcher's own settings win."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    }.items():
        os.environ.setdefault(name, value)
    # MONAI may have imported MLflow before, which then set its loggers to INFO.
    logging.getLogger("mlflow").setLevel(logging.WARNING)


class MlflowStore:
    """An MLflow store that is given facts and adds none.

    Args:
        folder: ``mlflow/`` in the run folder; the embedded store lies there, and the ids of the runs, to go on later.
        uri: Address of a server or of another store; None for the embedded one.
        experiment: Name of the MLflow experiment.
    """

    def __init__(self, folder: Path, *, uri: str | None, experiment: str) -> None:
        quiet_mlflow()
        from mlflow import MlflowClient

        self._folder = folder
        self._embedded = uri is None
        folder.mkdir(parents=True, exist_ok=True)
        address = _embedded_uri(folder) if uri is None else uri
        if self._embedded:
            _make_embedded(folder, address)
        self._client = MlflowClient(tracking_uri=address, registry_uri=address)
        self._memory = folder / "runs.json"
        self._store_id = "embedded" if uri is None else hashlib.sha256(_without_login(uri).encode()).hexdigest()[:16]
        self._experiment_name = experiment
        self._experiment = self._find_or_make_experiment()

    def start_run(self, name: str, *, label: str, parent: str | None, tags: Mapping[str, str]) -> str:
        """Start a run, or go on with the one that this run folder started before; returns its id.

        Args:
            name: What the run is within the folder: ``study``, ``fold 0`` ...
            label: Name that MLflow shows.
            parent: Id of the parent run.
            tags: Tags of the run.
        """
        from mlflow.exceptions import MlflowException

        known = self._known_runs()
        if name in known:
            try:
                self._client.update_run(known[name], status="RUNNING")
                return known[name]
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        own = {"mlflow.user": _USER, "mlflow.source.name": "medseg", "mlflow.source.type": "LOCAL", **tags}
        if parent is not None:
            own["mlflow.parentRunId"] = parent
        run = self._client.create_run(self._experiment, tags=own, run_name=label)
        with atomic_write(self._memory, mode="w") as file:
            json.dump({"store": self._store_id, "runs": {**known, name: run.info.run_id}}, file)
        return str(run.info.run_id)

    def end_run(self, run_id: str, *, status: str) -> None:
        """Close a run as ``FINISHED``, ``FAILED`` or ``KILLED``."""
        self._client.set_terminated(run_id, status=status)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Record parameters; a value is cut after 6,000 letters, MLflow's limit."""
        from mlflow.entities import Param

        items = [Param(key, value[:_LONGEST_VALUE]) for key, value in params.items()]
        for start in range(0, len(items), _BATCH):
            self._client.log_batch(run_id, params=items[start : start + _BATCH])

    def log_metrics(self, run_id: str, rows: Sequence[tuple[str, float, int, int]]) -> None:
        """Record metrics.

        Args:
            run_id: Id of the run.
            rows: Name, value, time in milliseconds since 1970, step.
        """
        from mlflow.entities import Metric

        items = [Metric(key, value, timestamp, step) for key, value, timestamp, step in rows]
        for start in range(0, len(items), 10 * _BATCH):
            self._client.log_batch(run_id, metrics=items[start : start + 10 * _BATCH])

    def log_dataset(self, run_id: str, *, name: str, digest: str) -> None:
        """Record which data a run used, by digest only."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name=name, digest=digest[:36], source_type="medseg", source=json.dumps({"digest": digest}))
        self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])

    def log_text(self, run_id: str, text: str, *, file: str) -> None:
        """Store a text as an artefact."""
        if self._embedded:
            with atomic_write(self._artifact_folder(run_id) / file, mode="w") as stream:
                stream.write(text)
        else:
            self._client.log_text(run_id, text, file)

    def log_file(self, run_id: str, path: Path, *, folder: str) -> None:
        """Store a file as an artefact under its own name."""
        if self._embedded:
            with atomic_write(self._artifact_folder(run_id) / folder / path.name) as target, open(path, "rb") as source:
                shutil.copyfileobj(source, target)
        else:
            self._client.log_artifact(run_id, str(path), folder or None)

    def register(self, run_id: str, *, name: str, folder: str) -> str:
        """Make a registry entry of the artefacts in a folder of a run; returns the version."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        source = f"{self._client.get_run(run_id).info.artifact_uri}/{folder}"
        for version in self._client.search_model_versions(f"name = '{name}'"):
            if version.run_id == run_id and version.source == source:
                return str(version.version)
        return str(self._client.create_model_version(name, source, run_id, await_creation_for=0).version)

    def close(self) -> None:
        """Compact the embedded database, so that no overwritten row lives on in it."""
        if not self._embedded:
            return
        with closing(sqlite3.connect(self._folder / _DATABASE, timeout=30)) as connection:
            connection.execute("VACUUM")

    def _artifact_folder(self, run_id: str) -> Path:
        return self._folder / _ARTIFACTS / self._experiment_name / run_id / "artifacts"

    def _known_runs(self) -> dict[str, str]:
        try:
            memory: dict[str, Any] = json.loads(self._memory.read_text(encoding="utf-8"))
            return dict(memory["runs"]) if memory["store"] == self._store_id else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def _find_or_make_experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = self._experiment_name
        location = f"mlflow-artifacts:/{name}" if self._embedded else None
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name, artifact_location=location))
        except MlflowException:
            # Another process may have made it in between.
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


def _embedded_uri(folder: Path) -> str:
    return f"sqlite:///{(folder / _DATABASE).resolve().as_posix()}"


def _make_embedded(folder: Path, uri: str) -> None:
    """Make the database with a Default experiment that doesn't name the working directory."""
    if (folder / _DATABASE).exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(uri, "mlflow-artifacts:/").engine.dispose()
    (folder / _ARTIFACTS).mkdir(exist_ok=True)


def _without_login(uri: str) -> str:
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.hostname}:{parts.port}{parts.path}"
