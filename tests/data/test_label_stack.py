"""A label stack says where its slices lie, and one that is broken or lies about itself is refused with the reason."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medseg.data.card import LabelInfo
from medseg.data.case_names import digest_of
from medseg.data.importer import ImportOptions, import_tree
from medseg.data.label_stack import STACK_FILE, read_stack
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_geometry, read_label, read_volume
from medseg.data.recognise import Source
from medseg.errors import DataError, GeometryError, LabelError, ReadError, RequestError
from medseg.export import write_label_stack, write_nifti
from tests.examples import examples
from tests.export.source_series import random_rotation

LABELS = {1: LabelInfo(name="lesion"), 200: LabelInfo(name="oedema", colour=(0, 200, 0))}


def _affine(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = random_rotation(seed) @ np.diag(rng.uniform(0.2, 8, 3) * rng.choice([-1, 1], 3))
    affine[:3, 3] = rng.uniform(-500, 500, 3)
    return affine


@pytest.fixture
def stack(tmp_path):
    label = np.random.default_rng(0).choice([0, 1, 200], size=(5, 4, 3)).astype(np.uint8)
    write_label_stack(label, _affine(1), tmp_path / "case.slices", labels=LABELS)
    return tmp_path / "case.slices", label


@given(seed=st.integers(0, 10_000), shape=st.tuples(*[st.integers(1, 7)] * 3))
@settings(max_examples=examples(20), deadline=None)
def test_every_voxel_keeps_its_value_and_its_very_place(seed, shape, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack") / "case.slices"
    label = np.random.default_rng(seed).choice([0, 1, 200], size=shape).astype(np.uint8)
    write_label_stack(label, _affine(seed), folder, labels=LABELS)
    found, grid = read_label(folder)
    assert np.array_equal(found, label)
    assert np.array_equal(grid.affine, _affine(seed))
    assert np.array_equal(read_geometry(folder).affine, grid.affine)
    assert np.array_equal(read_volume(folder).array[0], label)


def test_other_programs_see_indices_and_the_eye_sees_colours(stack):
    folder, label = stack
    for number in range(3):
        with Image.open(folder / f"slice_{number + 1:04d}.png") as picture:
            assert (picture.mode, picture.size) == ("P", (5, 4))
            assert np.array_equal(np.asarray(picture), label[..., number].T)
            colours = np.asarray(picture.convert("RGB"))
            assert (colours[label[..., number].T == 200] == (0, 200, 0)).all()
            assert (colours[label[..., number].T == 0] == 0).all()
    said = json.loads((folder / STACK_FILE).read_text())
    assert said["labels"] == {"1": "lesion", "200": "oedema"}
    assert "RAS+" in said["convention"]


def test_the_same_label_map_gives_the_same_bytes_and_exchanged_slices_another_digest(stack, tmp_path):
    folder, label = stack
    write_label_stack(label, _affine(1), tmp_path / "again.slices", labels=LABELS)
    assert all(path.read_bytes() == (tmp_path / "again.slices" / path.name).read_bytes() for path in folder.iterdir())
    before = digest_of(Source(key="", patient="", label=folder))
    first, second = folder / "slice_0001.png", folder / "slice_0002.png"
    one, two = first.read_bytes(), second.read_bytes()
    first.write_bytes(two)
    second.write_bytes(one)
    assert digest_of(Source(key="", patient="", label=folder)) != before


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("label_stack", 2), ("shape", [5, 4]), ("shape", [5, 4, -3]), ("shape", [5, 4, True]), ("affine", [[1, 2]]),
        ("affine", "x"), ("affine", [[None] * 4] * 4), ("convention", "LPS"), ("labels", []), ("labels", {"x": "y"}),
    ],
)  # fmt: skip
def test_a_geometry_that_says_something_else_is_refused(stack, key, value):
    folder, _ = stack
    content = json.loads((folder / STACK_FILE).read_text())
    (folder / STACK_FILE).write_text(json.dumps({**content, key: value}))
    with pytest.raises(DataError, match="expected"):
        read_stack(folder)


@pytest.mark.parametrize("text", ["", "[", "[]", "{}", "[" * 100_000, '{"label_stack": ' + "9" * 5000 + "}"])
def test_a_damaged_geometry_is_refused(stack, text):
    (stack[0] / STACK_FILE).write_text(text)
    with pytest.raises(ReadError, match="expected the geometry and labels"):
        read_stack(stack[0])


def test_claims_that_no_folder_fulfils_are_refused_before_anything_is_read(stack):
    folder, _ = stack
    content = json.loads((folder / STACK_FILE).read_text())
    (folder / STACK_FILE).write_text(json.dumps({**content, "shape": [65_536, 65_536, 3]}))
    with pytest.raises(ReadError, match="claims more than"):
        read_stack(folder)


def test_missing_additional_linked_and_other_slices_are_refused(stack, tmp_path):
    folder, _ = stack
    slice_ = folder / "slice_0002.png"
    kept = slice_.read_bytes()
    slice_.unlink()
    with pytest.raises(ReadError, match="found 2, or others"):
        read_stack(folder)
    (tmp_path / "outside.png").write_bytes(kept)
    slice_.symlink_to(tmp_path / "outside.png")
    with pytest.raises(ReadError, match="found 2, or others"):
        read_stack(folder)
    slice_.unlink()
    slice_.write_bytes(kept)
    shutil.copy(slice_, folder / "slice_0004.png")
    with pytest.raises(ReadError, match="found 4"):
        read_stack(folder)
    (folder / "slice_0004.png").unlink()
    Image.new("L", (4, 5)).save(slice_)
    with pytest.raises(GeometryError, match="slice 2 of 3: expected 5 x 4 pixels"):
        read_stack(folder)
    Image.fromarray(np.full((4, 5), 300, np.uint16)).save(slice_)
    with pytest.raises(LabelError, match="slice 2 of 3"):
        read_stack(folder)


def test_what_no_stack_can_hold_is_refused_and_a_folder_with_files_is_left_alone(stack, tmp_path):
    folder, label = stack
    with pytest.raises(GeometryError, match="3 axes"):
        write_label_stack(label[..., 0], np.eye(4), tmp_path / "a.slices", labels=LABELS)
    with pytest.raises(LabelError, match="expected label values 0, 1, 200"):
        write_label_stack(label + 1, np.eye(4), tmp_path / "a.slices", labels=LABELS)
    with pytest.raises(RequestError, match="expected a new folder"):
        write_label_stack(label, np.eye(4), folder, labels=LABELS)
    assert not (tmp_path / "a.slices").exists()


def test_import_pairs_stacks_with_volumes_and_takes_their_labels_names(tmp_path):
    rng = np.random.default_rng(0)
    labels = {}
    for name in ("one", "two"):
        write_nifti(rng.integers(0, 99, (5, 4, 3)), _affine(1), tmp_path / "in" / "images" / f"{name}.nii.gz")
        labels[name] = rng.choice([0, 1, 200], size=(5, 4, 3)).astype(np.uint8)
        write_label_stack(labels[name], _affine(1), tmp_path / "in" / "labels" / f"{name}.slices", labels=LABELS)
    report = import_tree(tmp_path / "in", tmp_path / "out", options=ImportOptions(keep_names=True))
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert report.refusals == ()
    assert manifest.card.label_names() == {1: "lesion", 200: "oedema"}
    for case in manifest.cases:
        found, grid = read_label(case.label)
        assert np.array_equal(found, labels[case.case])
        assert np.abs(grid.affine - _affine(1)).max() < 1e-3
