"""Outlines of COCO, Labelme and CVAT: what becomes a pixel, what is refused, and how."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medseg.data.dicom_structures import StructureRule
from medseg.data.drawing import Area, Drawing, Ellipse, Polygon, paint_drawing, rectangle
from medseg.data.drawing_coco import parse_coco
from medseg.data.drawn_layout import find_drawings
from medseg.data.importer import ImportReport
from medseg.data.manifest import Manifest
from medseg.data.readers import read_label
from medseg.data.recognise import Choice, list_files
from medseg.data.rle import compress_runs, runs_of_mask
from medseg.data.volume import Geometry
from medseg.errors import ReadError, RequestError
from tests.data.import_factory import import_beside

COLUMNS, ROWS = 30, 20
SQUARE = [5, 5, 10, 5, 10, 9, 5, 9]
"""Columns 5 to 9, rows 5 to 8."""


def _pictures(folder: Path, count: int = 2, *, size: tuple[int, int] = (COLUMNS, ROWS)) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    names = [f"Mustermann_{number}.png" for number in range(count)]
    for name in names:
        Image.fromarray(generator.integers(0, 255, (size[1], size[0], 3)).astype(np.uint8)).save(folder / name)
    return names


def _coco(names: list[str], segmentations: list[Any], **changes: Any) -> dict[str, Any]:
    content = {
        "images": [{"id": n, "file_name": name, "width": COLUMNS, "height": ROWS} for n, name in enumerate(names)],
        "categories": [{"id": 7, "name": "lesion"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 7, "segmentation": one} for n, one in enumerate(segmentations)
        ],
    }
    return content | changes


def _labels(manifest: Manifest) -> list[np.ndarray]:
    return [read_label(case.label)[0] for case in manifest.cases if case.label is not None]


def _square() -> np.ndarray:
    expected = np.zeros((COLUMNS, ROWS), np.uint8)
    expected[5:10, 5:9] = 1
    return expected


def _reasons(report: ImportReport) -> str:
    return "\n".join(refusal.reason for refusal in report.refusals)


def test_a_pixel_is_in_when_its_centre_is_by_an_independent_geometry_library() -> None:
    shapely = pytest.importorskip("shapely", reason="shapely isn't installed")
    generator = np.random.default_rng(0)
    angles = np.sort(generator.uniform(0, 2 * np.pi, 17))
    points = np.column_stack([15 + 12 * np.cos(angles) * generator.uniform(0.4, 1, 17), 10 + 9 * np.sin(angles)])
    label, _ = paint_drawing(
        Drawing("", None, (Area("a", (Polygon(points),)),)), Geometry((COLUMNS, ROWS), np.eye(4)), {"a": 1}
    )
    x, y = np.meshgrid(np.arange(COLUMNS) + 0.5, np.arange(ROWS) + 0.5, indexing="ij")
    np.testing.assert_array_equal(label, shapely.contains_xy(shapely.Polygon(points), x, y))


def test_circles_and_turned_boxes_have_the_area_of_the_closed_form() -> None:
    grid = Geometry((400, 400), np.eye(4))
    circle = Area("a", (Ellipse((200.2, 199.7), (90.0, 90.0)),))
    box = Area("a", (rectangle((100, 150), (300, 250), turned=30),))
    turned = Area("a", (Ellipse((200, 200), (120.0, 40.0), 45.0),))
    for area, expected in ((circle, np.pi * 90**2), (box, 200 * 100), (turned, np.pi * 120 * 40)):
        label, _ = paint_drawing(Drawing("", None, (area,)), grid, {"a": 1})
        assert label.sum() == pytest.approx(expected, rel=0.003)
    # Clockwise on the screen, where rows go down: the long axis at 45 degrees points down and right.
    assert label[270, 270] == 1
    assert label[270, 130] == 0


@pytest.mark.parametrize("form", ["polygon", "counts", "compressed"])
def test_coco_polygons_and_run_lengths_become_the_same_pixels(tmp_path: Path, form: str) -> None:
    names = _pictures(tmp_path / "in" / "images")
    runs = runs_of_mask(_square() == 1)
    one = {
        "polygon": [SQUARE],
        "counts": {"size": [ROWS, COLUMNS], "counts": runs},
        "compressed": {"size": [ROWS, COLUMNS], "counts": compress_runs(runs)},
    }[form]
    (tmp_path / "in" / "annotations").mkdir()
    (tmp_path / "in" / "annotations" / "instances.json").write_text(json.dumps(_coco(names, [one])))
    report, manifest = import_beside(tmp_path / "in")
    first, second = _labels(manifest)
    np.testing.assert_array_equal(first, _square())
    assert not second.any()
    assert report.layout == "pictures outlined in COCO"
    assert manifest.card.label_names() == {1: "lesion"}
    assert "Mustermann" not in repr(report)


def test_labels_that_overlap_are_refused_until_their_order_is_stated(tmp_path: Path) -> None:
    names = _pictures(tmp_path / "in", 1)
    content = _coco(names, [[SQUARE]])
    content["categories"].append({"id": 8, "name": "skin"})
    content["annotations"].append(
        {"id": 9, "image_id": 0, "category_id": 8, "segmentation": [[0, 0, 30, 0, 30, 20, 0, 20]]}
    )
    (tmp_path / "in" / "coco.json").write_text(json.dumps(content))
    with pytest.raises(RequestError, match=r"overlap.*--structure"):
        import_beside(tmp_path / "in")
    rules = tuple(StructureRule.of(text) for text in ("lesion", "skin"))
    _, manifest = import_beside(tmp_path / "in", choice=Choice(structures=rules))
    (label,) = _labels(manifest)
    values = {name: value for value, name in manifest.card.label_names().items()}
    np.testing.assert_array_equal(label == values["lesion"], _square() == 1)
    assert (label == values["skin"]).sum() == COLUMNS * ROWS - 20


def test_every_kind_of_labelme_shape_that_means_an_area_is_read(tmp_path: Path) -> None:
    (name,) = _pictures(tmp_path / "in", 1)
    packed = io.BytesIO()
    Image.fromarray(np.ones((3, 4), bool)).save(packed, format="PNG")
    shapes = [
        {"label": "a", "points": [[1, 1], [4, 1], [4, 3], [1, 3]], "shape_type": "polygon"},
        {"label": "a", "points": [[10, 1], [14, 6]], "shape_type": "rectangle"},
        {"label": "a", "points": [[20.5, 10.5], [22.5, 10.5]], "shape_type": "circle"},
        {"label": "a", "points": [[2, 15], [5, 17]], "shape_type": "mask",
         "mask": base64.b64encode(packed.getvalue()).decode()},
        {"label": "a", "points": [[2, 2]], "shape_type": "point"},
        {"label": "a", "points": [[2, 2], [9, 9]], "shape_type": "line"},
    ]  # fmt: skip
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": name, "imageWidth": COLUMNS, "imageHeight": ROWS}
    (tmp_path / "in" / "x.json").write_text(json.dumps(content))
    report, manifest = import_beside(tmp_path / "in")
    (label,) = _labels(manifest)
    expected = np.zeros((COLUMNS, ROWS), np.uint8)
    expected[1:4, 1:3] = expected[10:14, 1:6] = expected[2:6, 15:18] = 1
    x, y = np.mgrid[:COLUMNS, :ROWS]
    expected[(x - 20) ** 2 + (y - 10) ** 2 <= 4] = 1
    np.testing.assert_array_equal(label, expected)
    assert any("shapes of the kind line cover no area" in note for note in report.notes)
    assert any("shapes of the kind point cover no area" in note for note in report.notes)


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels><label><name>skin</name></label><label><name>lesion</name></label>
</labels></task></meta>
<image id="0" name="{name}" width="30" height="20">{shapes}</image></annotations>"""


def test_cvat_polygons_boxes_ellipses_and_masks_are_read(tmp_path: Path) -> None:
    (name,) = _pictures(tmp_path / "in" / "images", 1)
    shapes = """
    <polygon label="lesion" points="5,5;10,5;10,9;5,9" z_order="1"/>
    <box label="lesion" xtl="12" ytl="2" xbr="15" ybr="4" rotation="0.0"/>
    <mask label="lesion" rle="1, 3, 2, 1, 1" left="20" top="10" width="4" height="2"/>
    <ellipse label="lesion" cx="20.5" cy="4.5" rx="2" ry="1"/>
    <polyline label="lesion" points="0,0;3,3"/><tag label="lesion"/>"""
    (tmp_path / "in" / "annotations.xml").write_text(CVAT.format(name=name, shapes=shapes))
    report, manifest = import_beside(tmp_path / "in")
    (label,) = _labels(manifest)
    expected = _square()
    expected[12:15, 2:4] = 1
    expected[21:24, 10] = expected[22, 11] = 1
    expected[18:23, 4] = expected[20, 3:6] = 1
    np.testing.assert_array_equal(label != 0, expected != 0)
    assert any("polyline cover no area" in note for note in report.notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotations>&x;</annotations>', "document type or entities"),
        ("<annotations><image", "cut off or damaged"),
        ("<annotations><track/></annotations>", "for images 1.1"),
    ],
)
def test_cvat_files_that_are_hostile_or_of_another_form_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    names = _pictures(tmp_path / "in")
    (tmp_path / "in" / "annotations.xml").write_text(text)
    (tmp_path / "in" / "coco.json").write_text(json.dumps(_coco(names, [[SQUARE]])))
    report, _ = import_beside(tmp_path / "in")
    assert reason in _reasons(report)


def test_a_coco_file_that_is_too_large_is_told_and_another_json_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = _pictures(tmp_path / "in")
    (tmp_path / "in" / "coco.json").write_text(json.dumps(_coco(names, [[SQUARE]])))
    (tmp_path / "in" / "other.json").write_text(json.dumps(list(range(500))))
    for limit, reason in (("_MOST_BYTES", "MiB; nothing that large is read"), ("_MOST_MEMORY", "GB of memory")):
        with monkeypatch.context() as patch:
            patch.setattr(f"medseg.data.json_files.{limit}", 100)
            (found,) = find_drawings(list_files(tmp_path / "in"))
        assert reason in found.problem
    (found,) = find_drawings(list_files(tmp_path / "in"))
    assert found.problem == ""


def test_an_xml_of_more_parts_than_fit_into_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pictures(tmp_path / "in")
    (tmp_path / "in" / "annotations.xml").write_text(CVAT.format(name="a.png", shapes="<tag/>" * 50))
    monkeypatch.setattr("medseg.data.drawing_cvat._MOST_PARTS", 40)
    (found,) = find_drawings(list_files(tmp_path / "in"))
    assert "more than 40 parts; nothing that large is read" in found.problem


def test_a_cvat_file_that_is_too_large_is_told_not_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pictures(tmp_path / "in")
    (tmp_path / "in" / "annotations.xml").write_text(CVAT.format(name="a.png", shapes=""))
    monkeypatch.setattr("medseg.data.drawn_layout._LARGEST_BYTES", 100)
    (found,) = find_drawings(list_files(tmp_path / "in"))
    assert "nothing that large is read" in found.problem


@pytest.mark.parametrize(
    ("file_name", "reason"),
    [
        ("../../etc/passwd.png", "leads out of the folder"),
        ("/etc/secret.png", "absolute path"),
        ("C:\\pictures\\a.png", "absolute path"),
        ("gone.png", "the picture is missing"),
    ],
)
def test_a_picture_that_is_missing_or_outside_is_refused_without_its_name(
    tmp_path: Path, file_name: str, reason: str
) -> None:
    names = _pictures(tmp_path / "in")
    content = _coco(names, [[SQUARE]])
    content["images"].append({"id": 99, "file_name": file_name, "width": COLUMNS, "height": ROWS})
    (tmp_path / "in" / "coco.json").write_text(json.dumps(content))
    report, _ = import_beside(tmp_path / "in")
    assert [refusal.input for refusal in report.refusals] == ["picture 3 of 3 of the annotation file"]
    assert reason in _reasons(report)
    assert "secret" not in _reasons(report)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"category_id": 99}, "its category isn't listed"),
        ({"segmentation": []}, "no segmentation"),
        ({"segmentation": [[5, 5, 90, 5, 90, 9]]}, "60 pixels out of the picture"),
        ({"segmentation": [[5, 5, 6, 6]]}, "at least 3 points"),
        ({"segmentation": [[5, 5, float("nan"), 5, 10, 9]]}, "finite"),
        ({"segmentation": {"size": [20, 30], "counts": [25, 10]}}, "don't fill"),
        ({"segmentation": {"size": [10**6, 10**6], "counts": [10**12]}}, "out of the picture"),
        ({"segmentation": {"size": "x", "counts": None}}, "damaged"),
        ({"segmentation": [[5.1, 5.1, 5.2, 5.1, 5.2, 5.2]]}, "no pixel's centre"),
    ],
)
def test_a_broken_outline_refuses_its_picture_with_the_true_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    names = _pictures(tmp_path / "in")
    content = _coco(names, [[SQUARE], [SQUARE]])
    content["annotations"][1] |= change
    (tmp_path / "in" / "coco.json").write_text(json.dumps(content))
    report, manifest = import_beside(tmp_path / "in")
    assert len(manifest.cases) == 1
    assert reason in _reasons(report)


def test_a_picture_of_another_size_than_the_outlines_is_refused(tmp_path: Path) -> None:
    names = _pictures(tmp_path / "in")
    Image.new("RGB", (COLUMNS * 2, ROWS * 2)).save(tmp_path / "in" / names[1])
    (tmp_path / "in" / "coco.json").write_text(json.dumps(_coco(names, [[SQUARE], [SQUARE]])))
    report, _ = import_beside(tmp_path / "in")
    assert "drawn on a picture of 30 x 20 pixels; this one has 60 x 40" in _reasons(report)


def test_outlines_of_several_annotators_are_kept_apart_under_pseudonyms(tmp_path: Path) -> None:
    names = _pictures(tmp_path / "in" / "images")
    for annotator, segmentation in (("DrSchmidt", [SQUARE]), ("DrMeier", [[5, 5, 9, 5, 9, 9, 5, 9]])):
        folder = tmp_path / "in" / f"annotations_{annotator}"
        folder.mkdir()
        (folder / "coco.json").write_text(json.dumps(_coco(names, [segmentation])))
    report, manifest = import_beside(tmp_path / "in")
    assert all(set(case.readers) == {"R1", "R2"} and case.label is None for case in manifest.cases)
    assert read_label(manifest.cases[0].readers["R2"])[0].sum() == 20
    assert read_label(manifest.cases[0].readers["R1"])[0].sum() == 16
    everything = b"".join(p.read_bytes() + str(p).encode() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert b"schmidt" not in everything.lower()
    assert any("2 annotators: R1, R2" in note for note in report.notes)


def test_categories_that_share_an_id_are_refused() -> None:
    categories = [{"id": 1, "name": "lesion"}, {"id": 1, "name": "hair"}]
    with pytest.raises(ReadError, match="two categories have the id 1"):
        parse_coco({"images": [], "annotations": [], "categories": categories})
