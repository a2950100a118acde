"""COCO of a volume that is broken or lies about itself is refused with the reason, and asks for no memory."""

from __future__ import annotations

import json

import numpy as np
import pytest

from medseg.data.label_stack import STACK_CONVENTION
from medseg.data.readers import read_label
from medseg.errors import MedsegError

HUGE = 2**31
CONTENT = {
    "images": [{"id": n, "file_name": f"slice_{n:04d}.png", "width": 6, "height": 5} for n in (1, 2)],
    "categories": [{"id": 7, "name": "lesion"}],
    "annotations": [{"id": 1, "image_id": 2, "category_id": 7, "segmentation": {"size": [5, 6], "counts": [6, 3, 21]}}],
    "geometry": {"shape": [6, 5, 2], "affine": np.eye(4).tolist(), "convention": STACK_CONVENTION},
}


def _read(folder, content):
    path = folder / "a.coco.json"
    path.write_text(json.dumps(content))
    return read_label(path)


def test_a_whole_file_is_read_at_its_place(tmp_path):
    label, grid = _read(tmp_path, CONTENT)
    assert (label.shape, grid.shape, np.unique(label).tolist()) == ((6, 5, 2), (6, 5, 2), [0, 7])
    assert np.argwhere(label).tolist() == [[1, 1, 1], [1, 2, 1], [1, 3, 1]]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (("geometry", "shape"), [HUGE, HUGE, 2]), (("geometry", "shape"), [6, -5, 2]), (("geometry", "shape"), [6, 5]),
        (("geometry", "shape"), [6, 5, True]), (("geometry", "shape"), [6, 5, HUGE]),
        (("geometry", "affine"), [[float("nan")] * 4] * 4), (("geometry", "affine"), [[0] * 4] * 4),
        (("geometry", "affine"), [[10**400] * 4] * 4), (("geometry", "affine"), [[1, 2], [3]]), (("geometry",), []),
        (("images", 0, "width"), HUGE), (("images", 0, "id"), 2), (("images", 0, "file_name"), None), (("images",), []),
        (("categories", 0, "id"), 256), (("categories", 0, "id"), 0), (("categories",), {}),
        (("annotations", 0, "image_id"), 9), (("annotations", 0, "category_id"), 9),
        (("annotations", 0, "segmentation", "counts"), [6, 3, 2**40]),
        (("annotations", 0, "segmentation", "counts"), [6, -3, 27]),
        (("annotations", 0, "segmentation", "counts"), "o" * 1000),
        (("annotations", 0, "segmentation", "size"), [HUGE, HUGE]),
        (("annotations", 0, "segmentation", "size"), [-5, -6]),
        (("annotations", 0, "segmentation"), [[1, 1, 1e300, 1, 4, 4]]),
        (("annotations", 0, "segmentation"), [[1, 1, float("nan"), 1, 4, 4]]),
        (("annotations", 0, "segmentation"), [[1]]),
    ],
)  # fmt: skip
def test_a_lie_is_refused_and_quotes_nothing(tmp_path, part, value):
    content = json.loads(json.dumps(CONTENT))
    holder = content
    for key in part[:-1]:
        holder = holder[key]
    holder[part[-1]] = value
    with pytest.raises(MedsegError) as told:
        _read(tmp_path, content)
    assert str(tmp_path) not in str(told.value)
