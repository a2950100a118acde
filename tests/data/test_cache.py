from __future__ import annotations

import multiprocessing
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.data.cache import Cache, CacheContent
from medseg.data.manifest import Case
from medseg.training.patches import read_patch


def _case(folder: Path, value: float = 1.0) -> Case:
    nib.save(nib.Nifti1Image(np.full((4, 5, 6), value, dtype=np.float32), np.eye(4)), folder / "a.nii.gz")
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), dtype=np.uint8), np.eye(4)), folder / "b.nii.gz")
    return Case(case="C1", patient="P1", images={"image": folder / "a.nii.gz"}, label=folder / "b.nii.gz")


def _content() -> CacheContent:
    label = np.zeros((40, 50, 60), dtype=np.uint8)
    label[3:9, 4:8, 5:9] = 2
    image = np.arange(40 * 50 * 60, dtype=np.float32).reshape(1, 40, 50, 60)
    return CacheContent(image, label, {"shape": [40, 50, 60]})


def _build(root: Path, case: Case) -> None:
    Cache(root).entry(case, digest="d", build=_content)


def test_a_case_is_built_once_and_read_back_as_it_was(tmp_path: Path) -> None:
    case, cache = _case(tmp_path), Cache(tmp_path / "cache")
    built = []

    def build() -> CacheContent:
        built.append(1)
        return _content()

    for _ in range(2):
        entry = cache.entry(case, digest="d", build=build)
    assert built == [1]
    np.testing.assert_array_equal(entry.image, _content().image)
    np.testing.assert_array_equal(entry.label, _content().label)
    assert isinstance(entry.image, np.memmap)
    places = entry.foreground()
    assert set(places) == {2}
    assert (_content().label[tuple(places[2].T)] == 2).all()


def test_a_changed_image_label_or_plan_never_meets_a_stale_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    built = []

    def build() -> CacheContent:
        built.append(1)
        return _content()

    case = _case(tmp_path)
    cache.entry(case, digest="d", build=build)
    cache.entry(case, digest="another plan", build=build)
    cache.entry(_case(tmp_path, value=2.0), digest="d", build=build)
    assert len(built) == 3


def test_two_processes_may_build_the_same_case(tmp_path: Path) -> None:
    case = _case(tmp_path)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_build, args=(tmp_path / "cache", case)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len([p for p in (tmp_path / "cache").iterdir() if not p.name.startswith(".")]) == 1


def test_a_build_that_fails_leaves_nothing_and_a_killed_one_is_swept_away(tmp_path: Path) -> None:
    case, cache = _case(tmp_path), Cache(tmp_path / "cache")

    def fail() -> CacheContent:
        raise MemoryError

    with pytest.raises(MemoryError):
        cache.entry(case, digest="d", build=fail)
    assert list((tmp_path / "cache").iterdir()) == []
    left = tmp_path / "cache" / ".building-99999999-abc"
    left.mkdir()
    Cache(tmp_path / "cache")
    assert not left.exists()


def test_a_patch_reaching_over_the_border_repeats_it() -> None:
    array = np.arange(24, dtype=np.float32).reshape(1, 4, 6)
    patch = read_patch(array, (-1, 3), (3, 5))
    assert patch.shape == (1, 3, 5)
    np.testing.assert_array_equal(patch[0, 0], patch[0, 1])
    np.testing.assert_array_equal(patch[0, 1], [3, 4, 5, 5, 5])
