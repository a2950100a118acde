from __future__ import annotations

import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.config import AugmentConfig
from medseg.transforms import TrainingTransform, build_training_transform, oversized_patch
from tests.examples import examples

_PROBABILITIES = tuple(n for n in AugmentConfig.model_fields if n not in ("flip_axes", "rotate_degrees", "zoom_range"))
_SPATIAL = ("flip", "rotate", "zoom", "shear", "elastic")


def _only(*names: str, rotate_degrees: float = 30.0) -> AugmentConfig:
    chances = {name: float(name in names) for name in _PROBABILITIES}
    return AugmentConfig.model_validate({**chances, "rotate_degrees": rotate_degrees})


def _patch(shape: tuple[int, ...], channels: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose first channel shows the label map, so that both must move alike."""
    generator = np.random.default_rng(5)
    label = np.zeros(shape, dtype=np.uint8)
    label[tuple(slice(n // 4, n // 2) for n in shape)] = 1
    image = 0.02 * generator.random((channels, *shape), dtype=np.float32)
    image += np.where(label == 1, np.float32(0.9), np.float32(0.1))
    return image, label


def _build(augment: AugmentConfig, size: tuple[int, ...], *, rgb: bool, seed: int = 0) -> TrainingTransform:
    return build_training_transform(augment, spatial_dims=len(size), patch_size=size, rgb=rgb, seed=seed)


@pytest.mark.parametrize("name", [n for n in _PROBABILITIES if n not in ("mixup", "cutmix")])
@pytest.mark.parametrize(("size", "rgb"), [((48, 40), True), ((20, 28, 24), False), ((40, 48, 8), False)])
def test_each_switch_changes_the_patch_and_nothing_else(name: str, size: tuple[int, ...], rgb: bool) -> None:
    augment = _only(name)
    image, label = _patch(oversized_patch(augment, size), 3 if rgb else 1)
    before = image.copy()
    changed, moved = _build(augment, size, rgb=rgb)(image, label, np.random.default_rng(3))
    plain, still = _build(_only(), size, rgb=rgb)(image, label, np.random.default_rng(3))
    assert changed.shape == (image.shape[0], *size)
    assert changed.dtype == np.float32
    assert changed.flags.c_contiguous
    assert moved.dtype == np.uint8
    assert np.isfinite(changed).all()
    np.testing.assert_array_equal(image, before)
    works_here = {"hue": rgb, "saturation": rgb, "hair": rgb, "ruler": rgb, "clahe": len(size) == 2}
    works_here["motion_blur"] = len(size) == 2
    assert (not np.array_equal(changed, plain)) == works_here.get(name, True)
    if name not in _SPATIAL:
        np.testing.assert_array_equal(moved, still)
    if rgb:
        assert changed.min() >= 0
        assert changed.max() <= 1


@settings(max_examples=examples(25), deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([(48, 40), (20, 28, 24), (40, 48, 8)]))
def test_image_and_label_move_together(seed: int, size: tuple[int, ...]) -> None:
    augment = _only(*_SPATIAL)
    image, label = _patch(oversized_patch(augment, size), 1)
    changed, moved = _build(augment, size, rgb=False)(image, label, np.random.default_rng(seed))
    assert np.mean((changed[0] > 0.5) != (moved == 1)) < 0.01


def test_only_the_flip_axes_are_mirrored() -> None:
    augment = _only("flip").model_copy(update={"flip_axes": (0,)})
    image, label = _patch((20, 28, 24), 1)
    changed, moved = _build(augment, (20, 28, 24), rgb=False)(image, label, np.random.default_rng(3))
    np.testing.assert_array_equal(moved, label[::-1])
    np.testing.assert_array_equal(changed, image[:, ::-1])


def test_a_half_turn_is_a_half_turn() -> None:
    from medseg.transforms.spatial import SpatialDraw, resample_patch

    image, label = _patch((24, 30), 1)
    turn = SpatialDraw(matrix=-np.eye(2), bend=None, flips=())
    turned, moved = resample_patch(image, label, draw=turn, patch_size=(24, 30))
    np.testing.assert_allclose(turned, image[:, ::-1, ::-1], atol=1e-5)
    np.testing.assert_array_equal(moved, label[::-1, ::-1])


def test_a_zoom_of_two_shows_the_middle_half() -> None:
    from medseg.transforms.spatial import SpatialDraw, resample_patch

    label = np.zeros((32, 32, 16), dtype=np.uint8)
    label[8:24, 8:24, 4:12] = 1
    zoom = SpatialDraw(matrix=0.5 * np.eye(3), bend=None, flips=())
    _, moved = resample_patch(label[None].astype(np.float32), label, draw=zoom, patch_size=(32, 32, 16))
    assert moved.all()


def test_thick_slices_are_never_mixed() -> None:
    augment = _only("rotate", "zoom", "shear", "elastic", rotate_degrees=180)
    size = (40, 48, 8)
    oversize = oversized_patch(augment, size)
    assert oversize[2] == 8
    image = np.broadcast_to(np.arange(8, dtype=np.float32), (1, *oversize)).copy()
    label = np.broadcast_to(np.arange(8, dtype=np.uint8), oversize).copy()
    changed, moved = _build(augment, size, rgb=False)(image, label, np.random.default_rng(0))
    np.testing.assert_allclose(changed[0], np.broadcast_to(np.arange(8), size), atol=1e-4)
    np.testing.assert_array_equal(moved, np.broadcast_to(np.arange(8), size))


def test_the_same_seed_gives_the_same_patch_in_any_order() -> None:
    augment = AugmentConfig(**dict.fromkeys(_PROBABILITIES, 0.5))
    size = (40, 44)
    image, label = _patch(oversized_patch(augment, size), 3)
    transform = _build(augment, size, rgb=True)
    first = {i: transform(image, label, np.random.default_rng([7, i])) for i in range(12)}
    copy = pickle.loads(pickle.dumps(transform))
    for i in reversed(range(12)):
        again = copy(image, label, np.random.default_rng([7, i]))
        np.testing.assert_array_equal(again[0], first[i][0])
        np.testing.assert_array_equal(again[1], first[i][1])
    other = _build(augment, size, rgb=True, seed=1)(image, label, np.random.default_rng([7, 0]))
    assert not np.array_equal(other[0], first[0][0])
    assert len({p[0].tobytes() for p in first.values()}) == 12


def test_with_everything_off_the_middle_is_cut_out() -> None:
    image, label = _patch((30, 31), 3)
    changed, moved = _build(_only(), (20, 20), rgb=True)(image, label, np.random.default_rng(0))
    np.testing.assert_array_equal(changed, image[:, 5:25, 5:25])
    np.testing.assert_array_equal(moved, label[5:25, 5:25])
    assert oversized_patch(_only(), (20, 20)) == (20, 20)


def test_the_oversized_patch_covers_a_usual_rotation_and_zoom() -> None:
    augment = _only("rotate", "zoom", rotate_degrees=180)
    assert oversized_patch(_only("rotate", rotate_degrees=180), (100, 100)) == (142, 142)
    assert all(o > 1.5 * n for o, n in zip(oversized_patch(augment, (64, 64)), (64, 64), strict=True))


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="2 axes"):
        build_training_transform(_only(), spatial_dims=2, patch_size=(8, 8, 8), rgb=False, seed=0)
    with pytest.raises(ValueError, match="photograph"):
        build_training_transform(_only(), spatial_dims=3, patch_size=(8, 8, 8), rgb=True, seed=0)
    with pytest.raises(ValueError, match="at least"):
        _build(_only(), (20, 20), rgb=False)(*_patch((19, 30), 1), np.random.default_rng(0))


def test_a_patch_takes_milliseconds() -> None:
    """A coarse guard (the machine of the tests may be busy); the measured means are about 2 ms."""
    size = (40, 56, 40)
    augment = AugmentConfig()
    transform, (image, label) = _build(augment, size, rgb=False), _patch(oversized_patch(augment, size), 1)
    transform(image, label, np.random.default_rng(0))
    started = time.process_time()
    for i in range(40):
        transform(image, label, np.random.default_rng(i))
    assert (time.process_time() - started) / 40 < 0.05
