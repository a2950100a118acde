from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.report.make_run import make_run


@pytest.fixture(scope="session")
def volume_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation on 30 patients in 3D with two labels; read it, don't write it."""
    return make_run(tmp_path_factory.mktemp("volume"), dims=3, patients=30, epochs=6)


@pytest.fixture(scope="session")
def picture_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-validation on 30 patients with photographs and one label; read it, don't write it."""
    return make_run(tmp_path_factory.mktemp("picture"), dims=2, patients=30, epochs=6)


@pytest.fixture
def own_run(picture_run: Path, tmp_path: Path) -> Path:
    """A copy of `picture_run` to write to; its data lie beside it."""
    shutil.copytree(picture_run.parent, tmp_path / "study")
    return tmp_path / "study" / "run"
