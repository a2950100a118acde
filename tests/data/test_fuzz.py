"""A short, always equal slice of `benchmarks/fuzz_readers.py`: damaged files of every format are read or refused."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from types import ModuleType

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import MedsegError
from tests.data.dicom_factory import make_series

_MUTANTS = 25


def _fuzzer() -> ModuleType:
    place = Path(__file__).parents[2] / "benchmarks" / "fuzz_readers.py"
    spec = importlib.util.spec_from_file_location("fuzz_readers", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """One small valid file of each format."""
    folder = tmp_path_factory.mktemp("whole")
    files = {kind: contents[0] for kind, contents in _fuzzer().written(folder).items()}
    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4)), folder / "a.nii")
    (path,) = make_series((1, 8, 8)).write(folder)
    for name in ("a.png", "a.jpg", "a.nii"):
        files[Path(name).suffix] = (folder / name).read_bytes()
    return {**files, ".dcm": path.read_bytes()}


@pytest.mark.parametrize("kind", [".dcm", ".nii", ".mha", ".png", ".jpg", ".tif", ".bmp", ".csv", ".yaml", ".zip"])
def test_damaged_files_are_read_or_refused_and_nothing_else(tmp_path: Path, whole: dict[str, bytes], kind: str) -> None:
    fuzzer = _fuzzer()
    rng = np.random.default_rng(2026)
    for number in range(_MUTANTS):
        path = tmp_path / f"{number}{kind}"
        path.write_bytes(fuzzer.mutate(whole[kind], rng))
        with contextlib.suppress(MedsegError):
            fuzzer.read(path)
        path.unlink()
