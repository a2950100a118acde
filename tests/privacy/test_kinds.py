"""Label maps that are several files, or outlines in space, are refused whole; pictures of the same names are not."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from medseg.privacy.kinds import kinds_of
from tests.privacy.corpus import Who
from tests.privacy.corpus.pictures import png_photo

CONVENTION = "world = affine @ [column, row, slice, 1], counted from 0; RAS+, millimetres"


def _kinds(source: Path) -> dict[str, str]:
    names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    return {name: kinds for name, (_, kinds) in zip(names, sorted(kinds_of(source, names).kinds.items()), strict=True)}


@pytest.mark.parametrize("whole", [True, False])
def test_every_part_of_a_label_stack_is_refused_with_what_to_do_and_no_name(tmp_path, whole):
    folder = tmp_path / "src" / "Novak_Jan.slices"
    folder.mkdir(parents=True)
    (folder / "geometry.json").write_text(json.dumps({"label_stack": 1, "convention": CONVENTION}))
    for number in (1, 2):
        (folder / f"slice_{number:04d}.png").write_bytes(png_photo(Who(random.Random(number))))
    found = _kinds(tmp_path / "src" if whole else folder)
    assert len(found) == 3
    assert all("a part of a label stack" in why and "as NIfTI" in why and "Novak" not in why for why in found.values())


def test_pictures_of_a_folder_that_is_no_stack_are_pictures(tmp_path):
    for folder in ("a.slices", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "slice_0001.png").write_bytes(png_photo(Who(random.Random(1))))
    assert set(_kinds(tmp_path).values()) == {"photograph"}


def test_coco_of_a_volume_is_refused_and_coco_of_pictures_is_a_table(tmp_path):
    content = {"images": [], "annotations": [], "categories": []}
    (tmp_path / "_annotations.coco.json").write_text(json.dumps(content))
    (tmp_path / "volume.coco.json").write_text(json.dumps({**content, "geometry": {"convention": CONVENTION}}))
    found = _kinds(tmp_path)
    assert found["_annotations.coco.json"] == "table"
    assert "COCO outlines of a volume" in found["volume.coco.json"]
