"""Tracker: a study in MLflow, a parent run for the study and a child run for each fold.

The training never fails by the tracker: what a server doesn't take is kept and sent later, and what could not be sent
at all stands in `Tracker.problem`, which the command prints at its end. Everything goes through the privacy gate first.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config import StudyConfig
from medseg.errors import PrivacyError
from medseg.privacy.audit import gate
from medseg.privacy.identities import IdentityIndex
from medseg.runs.folder import portable_study
from medseg.runs.monitor import SystemMonitor
from medseg.runs.store import MlflowStore, now_ms
from medseg.types import Tier

__all__ = ["FoldTracker", "ModelSignature", "Tracker", "open_tracker"]

_log = logging.getLogger(__name__)
_NEUTRAL_NAME, _NEUTRAL_EXPERIMENT = "study", "medseg"
"""What stands for a study's or an experiment's name that the privacy gate refuses."""
_FIRST_PAUSE_S = 15.0
_LONGEST_PAUSE_S = 600.0
_HOPELESS = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "FEATURE_DISABLED"})
"""Answers of a store that stay the same when the question is asked again."""


@dataclass(frozen=True)
class ModelSignature:
    """What a model takes and gives, for the registry.

    Attributes:
        spatial_dims: 2 or 3.
        channels: Names of the image's channels, in order.
        labels: Name of each label value, without 0.
    """

    spatial_dims: int
    channels: tuple[str, ...]
    labels: Mapping[int, str]


def open_tracker(study: StudyConfig, run_dir: Path, *, identities: IdentityIndex | None = None) -> Tracker:
    """The tracker of a study; one that does nothing where ``track.enabled`` is false.

    Args:
        study: The resolved study.
        run_dir: The run folder; the embedded store lies in ``mlflow/`` there unless MLFLOW_TRACKING_URI names another
            (name and password by MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, as MLflow has it).
        identities: The project's identities, which nothing that is recorded may hold.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or None
    experiment = study.track.experiment if _may_go(study.track.experiment, identities) else _NEUTRAL_EXPERIMENT

    def make_store() -> MlflowStore:
        return MlflowStore(run_dir / "mlflow", uri=uri, experiment=experiment)

    return Tracker(study, make_store if study.track.enabled else None, identities=identities)


def _may_go(
    data: str | bytes, identities: IdentityIndex | None, *, name: str = "name", tier: Tier = "shareable"
) -> bool:
    try:
        gate(data.encode("utf-8") if isinstance(data, str) else data, name=name, tier=tier, identities=identities)
    except PrivacyError:
        return False
    return True


class Tracker:
    """Records a study; made by `open_tracker`.

    Args:
        study: The resolved study.
        make_store: Opens the store when there is something to send; None records nothing.
        identities: As `open_tracker`.
    """

    def __init__(
        self,
        study: StudyConfig,
        make_store: Callable[[], MlflowStore] | None,
        *,
        identities: IdentityIndex | None = None,
    ) -> None:
        self._study = study
        self._outbox = None if make_store is None else _Outbox(make_store)
        self._identities = identities
        self._runs: dict[str, str] = {}
        self._refused: list[str] = []
        self._status = "FINISHED"
        self._name = study.name if self._passes(study.name, "the study's name") else _NEUTRAL_NAME
        self._passes(study.track.experiment, "the experiment's name")

    @property
    def problem(self) -> str | None:
        """What the person has to know at the end of the command; None when all was recorded."""
        parts = []
        if self._refused:
            refused = ", ".join(dict.fromkeys(self._refused))
            parts.append(f"not recorded in MLflow, since the privacy gate refused it: {refused}")
        if self._outbox is not None and self._outbox.lost:
            parts.append(
                f"MLflow took {self._outbox.sent} records, not the other {self._outbox.lost} ({self._outbox.reason}); "
                "the run folder is complete; give the same command again when the store answers (where the run's own "
                "mlflow/ is damaged: when it is moved away)"
            )
        return "; ".join(parts) or None

    @contextmanager
    def study(self, plan: Mapping[str, Any], environment: Mapping[str, Any], dataset_digest: str) -> Iterator[Tracker]:
        """The parent run; it is closed as FINISHED, as FAILED after an exception or as KILLED after Ctrl-C.

        Args:
            plan: The plan, as ``plan.json`` holds it.
            environment: Facts of `medseg.runs.environment.describe_environment`.
            dataset_digest: `Manifest.digest()`.
        """
        config = portable_study(self._study).model_dump(mode="json")
        params = {key: value for key, value in _flat(config) if self._passes(f"{key}: {value}", f"parameter {key}")}
        tags = {"medseg.study": self._name, "medseg.seed": str(self._study.seed)}
        self._start("study", label=self._name, tags=tags)
        self._send(lambda store: store.log_params(self._runs["study"], params))
        self._send(lambda store: store.log_dataset(self._runs["study"], name="cases", digest=dataset_digest))
        for file, content in (("plan.json", plan), ("environment.json", environment), ("study.json", config)):
            text = json.dumps(content, indent=2, default=str)
            if self._passes(text, file):
                self._log_text(text, file)
        try:
            yield self
        except BaseException as error:
            self._status = "FAILED" if isinstance(error, Exception) else "KILLED"
            raise
        finally:
            self._send(lambda store: store.end_run(self._runs["study"], status=self._status))
            if self._outbox is not None:
                self._outbox.close()

    @contextmanager
    def fold(self, k: int | None) -> Iterator[FoldTracker]:
        """The child run of a fold, or with None that of a training on all cases; inside `study`."""
        name = "all cases" if k is None else f"fold {k}"
        self._start(name, label=f"{self._name} {name}", tags={"medseg.fold": "all" if k is None else str(k)})
        monitor = SystemMonitor() if self._outbox is not None and self._study.track.system_metrics else None
        tracker = FoldTracker(self, name, monitor)
        status = "FINISHED"
        try:
            if monitor is not None:
                monitor.start()
            yield tracker
        except BaseException as error:
            status = "FAILED" if isinstance(error, Exception) else "KILLED"
            raise
        finally:
            if monitor is not None:
                monitor.stop()
                tracker.log_epoch(0, {})
            self._send(lambda store: store.end_run(self._runs[name], status=status))

    def finish(self, summary: Mapping[str, float], artifacts: Sequence[Path]) -> None:
        """Record the study's scores and files; inside `study`.

        Args:
            summary: Score by name, for example ``{"dice": 0.87, "dice_low": 0.85}``; nan is left out.
            artifacts: Files such as reports. A file whose name begins with ``internal`` may hold pseudonymous cases;
                every other one must pass the gate as shareable.
        """
        stamp = now_ms()
        finite = {_metric_name(key): float(value) for key, value in summary.items() if math.isfinite(value)}
        rows = [(key, value, stamp, 0) for key, value in finite.items() if self._passes(key, "the name of a metric")]
        self._send(lambda store: store.log_metrics(self._runs["study"], rows))
        for path in artifacts:
            tier: Tier = "internal" if path.name.startswith("internal") else "shareable"
            if self._outbox is not None and self._passes(path.read_bytes(), path.name, tier=tier):
                self._log_file(path, "")

    def register_model(self, package: Path, signature: ModelSignature) -> None:
        """Put a model package into the registry under the study's name, with its signature; inside `study`."""
        if self._outbox is None or not self._passes(package.read_bytes(), "model package"):
            return
        name = self._name

        def register(store: MlflowStore) -> None:
            run = self._runs["study"]
            store.log_text(run, _mlmodel(signature, package.name, run), file="model/MLmodel")
            store.log_file(run, package, folder="model")
            store.register(run, name=name, folder="model")

        self._send(register)

    def _start(self, name: str, *, label: str, tags: Mapping[str, str]) -> None:
        def start(store: MlflowStore) -> None:
            parent = None if name == "study" else self._runs["study"]
            self._runs[name] = store.start_run(name, label=label, parent=parent, tags=tags)

        self._send(start)

    def _log_text(self, text: str, file: str) -> None:
        self._send(lambda store: store.log_text(self._runs["study"], text, file=file))

    def _log_file(self, path: Path, folder: str) -> None:
        self._send(lambda store: store.log_file(self._runs["study"], path, folder=folder))

    def _log_metrics(self, name: str, rows: list[tuple[str, float, int, int]]) -> None:
        if rows:
            self._send(lambda store: store.log_metrics(self._runs[name], rows))

    def _send(self, record: Callable[[MlflowStore], None]) -> None:
        if self._outbox is not None:
            self._outbox.send(record)

    def _passes(self, data: str | bytes, name: str, *, tier: Tier = "shareable") -> bool:
        if self._outbox is None:
            return False
        passes = _may_go(data, self._identities, name=name, tier=tier)
        if not passes:
            self._refused.append(name)
        return passes


class FoldTracker:
    """Records one fold; made by `Tracker.fold`."""

    def __init__(self, tracker: Tracker, name: str, monitor: SystemMonitor | None) -> None:
        self._tracker = tracker
        self._name = name
        self._monitor = monitor

    def log_epoch(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record the metrics of an epoch, with what the machine did since the last call.

        Args:
            step: Number of the epoch, from 0.
            metrics: Value by name; nan is left out.
        """
        stamp = now_ms()
        rows = [
            (_metric_name(key), float(value), stamp, step) for key, value in metrics.items() if math.isfinite(value)
        ]
        if self._monitor is not None:
            rows += self._monitor.take()
        self._tracker._log_metrics(self._name, rows)


class _Outbox:
    """Records on their way to the store, kept in order until it takes them."""

    def __init__(self, make_store: Callable[[], MlflowStore]) -> None:
        self._make_store = make_store
        self._store: MlflowStore | None = None
        self._waiting: deque[Callable[[MlflowStore], None]] = deque()
        self._pause_s = _FIRST_PAUSE_S
        self._next_try = 0.0
        self._dropped = 0
        self.sent = 0
        self.reason = ""

    @property
    def lost(self) -> int:
        """Records that the store hasn't taken."""
        return self._dropped + len(self._waiting)

    def send(self, record: Callable[[MlflowStore], None]) -> None:
        """Send a record, and before it those that wait; or let it wait while the store doesn't answer."""
        self._waiting.append(record)
        if time.monotonic() >= self._next_try:
            self._flush()

    def close(self) -> None:
        """Try once more to send everything."""
        self._flush()
        if self._store is not None and not self._waiting:
            try:
                self._store.close()
            except Exception as error:
                # The tracker reports, and never costs a training.
                self._note(error)

    def _flush(self) -> None:
        try:
            self._store = self._store or self._make_store()
            while self._waiting:
                self._send_first(self._store)
        except Exception as error:
            # Whatever goes wrong here, hours of training are worth more than their record.
            self._note(error)
            self._next_try = time.monotonic() + self._pause_s
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        else:
            self._pause_s = _FIRST_PAUSE_S

    def _send_first(self, store: MlflowStore) -> None:
        try:
            self._waiting[0](store)
        except Exception as error:
            # MLflow raises many kinds: what a later try can mend goes up, the rest is dropped and said.
            if getattr(error, "error_code", None) not in _HOPELESS and not isinstance(error, KeyError | OSError):
                raise
            if isinstance(error, OSError) and _is_network(error):
                raise
            self._dropped += 1
            self._note(error)
        else:
            self.sent += 1
        self._waiting.popleft()

    def _note(self, error: Exception) -> None:
        """Keep the reason; an exception's own text may hold an address or a password and is not repeated."""
        code = getattr(error, "error_code", None)
        first = not self.reason
        self.reason = f"{type(error).__name__}{f' {code}' if code else ''}"
        if first:
            _log.warning(
                "MLflow does not answer as it should (%s); the training goes on, records are kept", self.reason
            )


def _is_network(error: OSError) -> bool:
    return type(error).__module__.split(".")[0] in ("requests", "urllib3", "http") or isinstance(
        error, ConnectionError | TimeoutError
    )


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _flat(item, f"{place}.{key}".lstrip("."))
    else:
        yield place, value if isinstance(value, str) else json.dumps(value)


def _metric_name(name: str) -> str:
    """A name that MLflow accepts on every system."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-. /") else "_" for c in name)


def _mlmodel(signature: ModelSignature, package: str, run_id: str) -> str:
    """The MLmodel file that describes a model package, without a path, a user or code."""
    import numpy as np
    from mlflow.models import Model
    from mlflow.models.signature import ModelSignature as MlflowSignature
    from mlflow.types import Schema, TensorSpec

    space = (-1,) * signature.spatial_dims
    image = TensorSpec(np.dtype(np.float32), (-1, len(signature.channels), *space), "image")
    label_map = TensorSpec(np.dtype(np.uint8), (-1, *space), "label_map")
    model = Model(
        run_id=run_id,
        signature=MlflowSignature(inputs=Schema([image]), outputs=Schema([label_map])),
        flavors={
            "medseg": {
                "data": package,
                "channels": list(signature.channels),
                "labels": {int(value): name for value, name in signature.labels.items()},
            }
        },
        metadata={"command": "medseg predict PACKAGE SRC OUT"},
    )
    return str(model.to_yaml())
