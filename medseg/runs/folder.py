"""RunFolder: the folder of one study's runs; one process at a time, one study for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock, Timeout

from medseg.config import StudyConfig
from medseg.data.files import atomic_write
from medseg.errors import RunError, StorageError
from medseg.privacy.known import knowing
from medseg.privacy.ledger import Ledger

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = ["RunFolder", "portable_study"]


@dataclass(frozen=True)
class RunFolder:
    """Where everything of a study lies (``study.yaml``, ``plan.json``, ``fold_k/``, ``report/``, ``ledger.jsonl`` ...).

    Attributes:
        root: The folder, for example ``runs/skin``.
    """

    root: Path

    @classmethod
    @contextmanager
    def open(cls, root: Path, *, study_yaml: str, identities: IdentityIndex | None = None) -> Iterator[RunFolder]:
        """Take the folder for this process and make sure that it is of this study.

        The lock goes with the process: after Ctrl-C or SIGKILL the same command goes on in the same folder.

        Args:
            root: The folder; made where it is missing.
            study_yaml: The resolved study; written to ``study.yaml`` the first time, compared with it afterwards.
            identities: The project's identities, which no text that is written meanwhile may hold.

        Raises:
            RunError: Another process works in the folder, or it is of another study.
            StorageError: The folder cannot be made or written.
            PrivacyError: The study holds one of the identities.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise StorageError("--out: expected a folder, found a file; choose another --out") from None
        except OSError:
            raise StorageError("the run folder cannot be made; choose another --out, or its permissions") from None
        lock = FileLock(root / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                "another process works in this run folder; wait until it ends, or choose another --out"
            ) from None
        except OSError:
            raise StorageError("the run folder cannot be written; choose another --out, or its permissions") from None
        try:
            folder = cls(root)
            with knowing(identities):
                folder._claim(study_yaml)
                yield folder
        finally:
            lock.release()

    @property
    def ledger(self) -> Ledger:
        """The ledger of this run folder."""
        return Ledger(self.root / "ledger.jsonl")

    @property
    def study_yaml(self) -> Path:
        """The resolved study."""
        return self.root / "study.yaml"

    @property
    def plan_json(self) -> Path:
        """The plan."""
        return self.root / "plan.json"

    @property
    def environment_json(self) -> Path:
        """The facts of the environment."""
        return self.root / "environment.json"

    @property
    def cases_csv(self) -> Path:
        """The out-of-fold scores, one row a case and label."""
        return self.root / "cases.csv"

    @property
    def summary_json(self) -> Path:
        """The scores of the study with their intervals."""
        return self.root / "summary.json"

    def fold(self, k: int) -> Path:
        """Folder of fold `k`; made where it is missing."""
        return _made(self.root / f"fold_{k}")

    def predictions(self, k: int) -> Path:
        """Folder of the out-of-fold predictions of fold `k`; made where it is missing."""
        return _made(self.root / f"fold_{k}" / "predictions")

    def _claim(self, study_yaml: str) -> None:
        """Write the study the first time; refuse another one afterwards."""
        if not self.study_yaml.exists():
            with atomic_write(self.study_yaml, mode="w") as file:
                file.write(study_yaml)
            return
        found = self.study_yaml.read_text(encoding="utf-8")
        if found != study_yaml:
            places = ", ".join(_differences(_parsed(found), _parsed(study_yaml))) or "its layout only"
            raise RunError(
                f"this run folder is of another study (different: {places}); choose another --out, "
                "or give the study that it was made with"
            )


def portable_study(study: StudyConfig) -> StudyConfig:
    """The study with its paths cut to their last part, so that it says nothing about the machine.

    What leaves the run folder (MLflow, the model package, a report) takes this one.
    """
    data = {name: _last_part(getattr(study.data, name)) for name in ("manifest", "folds", "cache")}
    return study.model_copy(
        update={
            "data": study.data.model_copy(update=data),
            "train": study.train.model_copy(update={"init": _last_part(study.train.init)}),
        }
    )


def _last_part(path: str | None) -> str | None:
    return None if path is None else PurePosixPath(PureWindowsPath(path).as_posix()).name


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _parsed(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _differences(first: object, second: object, place: str = "") -> list[str]:
    """Dotted places at which two studies differ; places only, since values may name files."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        keys: list[Any] = sorted({*first, *second}, key=str)
        return [d for key in keys for d in _differences(first.get(key), second.get(key), f"{place}.{key}".lstrip("."))]
    return [] if first == second else [place or "everything"]
