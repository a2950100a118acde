"""Masks in colours, and Pascal VOC's masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.data.colours import IGNORED, read_colour_map
from medseg.data.pictures import read_colours
from medseg.data.readers import read_label
from medseg.data.recognise import Choice
from medseg.errors import ReadError, RequestError
from tests.data.import_factory import import_beside, write_mask, write_picture

COLOURS = (
    "labels:\n  1: {name: lesion, colour: [255, 0, 0]}\n  2: {name: hair, colour: [0, 0, 255]}\nignore: [9, 9, 9]\n"
)


def _coloured() -> np.ndarray:
    rows = np.zeros((8, 12, 3))
    rows[2:5, 3:7] = (255, 0, 0)
    rows[6, :] = (0, 0, 255)
    rows[0, 0] = (9, 9, 9)
    return rows


def test_colours_become_the_values_of_the_colour_map(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(COLOURS)
    write_picture(tmp_path / "in" / "images" / "a.png")
    write_mask(tmp_path / "in" / "masks" / "a.png", _coloured())
    _, manifest = import_beside(tmp_path / "in", choice=Choice(colours=tmp_path / "map.yaml"))
    label, _ = read_label(manifest.cases[0].label)
    expected = np.zeros((12, 8), np.uint8)
    expected[3:7, 2:5], expected[:, 6], expected[0, 0] = 1, 2, IGNORED
    np.testing.assert_array_equal(label, expected)
    assert manifest.card.label_names() == {1: "lesion", 2: "hair"}
    assert manifest.card.labels[1].colour == (255, 0, 0)
    assert manifest.card.ignore == IGNORED
    assert read_colour_map(tmp_path / "out" / "manifest.yaml").values[(255, 0, 0)] == 1


def test_a_colour_that_the_map_does_not_name_refuses_the_case(tmp_path: Path) -> None:
    (tmp_path / "map.yaml").write_text(COLOURS)
    for name in "ab":
        write_picture(tmp_path / "in" / "images" / f"{name}.png")
    write_mask(tmp_path / "in" / "masks" / "a.png", _coloured())
    smeared = _coloured()
    smeared[3, 3] = (200, 10, 0)
    write_mask(tmp_path / "in" / "masks" / "b.png", smeared)
    report, _ = import_beside(tmp_path / "in", choice=Choice(colours=tmp_path / "map.yaml"))
    assert (
        "1 pixels have a colour that the colour map doesn't name, the first is [200, 10, 0]"
        in report.refusals[0].reason
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels: {1: lesion}", "each with a colour"),
        ("labels: {1: {name: a, colour: [1, 2, 3]}, 2: {name: b, colour: [1, 2, 3]}}", "two labels have one colour"),
        ("labels: {1: {name: a, colour: [1, 2, 300]}}", "not valid"),
        ("- 1", "names no labels"),
        ("{", "no YAML"),
    ],
)
def test_a_wrong_colour_map_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(RequestError, match=message):
        read_colour_map(tmp_path / "map.yaml")


def test_the_rim_of_pascal_voc_is_to_ignore_and_no_lesion(tmp_path: Path) -> None:
    palette = [0, 0, 0, 128, 0, 0] + [0] * (254 * 3 - 3) + [224, 224, 192]
    for number, name in enumerate("ab"):
        write_picture(tmp_path / "in" / "JPEGImages" / f"{name}.jpg", number)
        rows = np.zeros((8, 12))
        rows[1:6, 1:8] = 255
        if name == "a":
            rows[2:5, 2:7] = 1
        write_mask(tmp_path / "in" / "SegmentationClass" / f"{name}.png", rows, palette=palette[: 256 * 3])
    _, manifest = import_beside(tmp_path / "in")
    first, second = (read_label(case.label)[0] for case in manifest.cases)
    assert sorted(np.unique(first).tolist()) == [0, 1, IGNORED]
    assert sorted(np.unique(second).tolist()) == [0, IGNORED]
    assert manifest.card.ignore == IGNORED
    assert list(manifest.card.labels) == [1]


def test_the_colours_of_a_voc_export_of_cvat_come_from_its_labelmap(tmp_path: Path) -> None:
    write_picture(tmp_path / "in" / "JPEGImages" / "a.png")
    write_mask(tmp_path / "in" / "SegmentationClass" / "a.png", _coloured())
    (tmp_path / "in" / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nhair:0,0,255::\nlesion:255,0,0::\nignored:9,9,9::\n"
    )
    _, manifest = import_beside(tmp_path / "in")
    assert manifest.card.label_names() == {1: "hair", 2: "lesion"}
    label, _ = read_label(manifest.cases[0].label)
    assert (label == 2).sum() == 12
    assert (label == IGNORED).sum() == 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_mask_that_is_drawn_as_transparency_is_refused(tmp_path: Path, mode: str) -> None:
    mask = np.zeros((8, 9), np.uint8)
    mask[2:5, 3:7] = 255
    for name, shown in (("white", np.full_like(mask, 255)), ("black", mask)):
        bands = [Image.fromarray(shown)] * (len(mode) - 1)
        Image.merge(mode, [*bands, Image.fromarray(mask)]).save(tmp_path / f"{name}.png")
    for read in (read_label, read_colours):
        with pytest.raises(ReadError, match="transparent where it isn't black"):
            read(tmp_path / "white.png")
    assert np.array_equal(read_label(tmp_path / "black.png")[0], mask.T > 0)


def test_a_mask_with_a_seam_of_values_between_is_refused_and_labels_beside_255_are_not(tmp_path: Path) -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[20:40, 30:60] = 255
    Image.fromarray(mask).resize((41, 31), Image.Resampling.BICUBIC).resize((80, 60)).save(tmp_path / "smeared.png")
    with pytest.raises(ReadError, match="values between them along its edges: it was resized"):
        read_label(tmp_path / "smeared.png")
    for value in (1, 2, 7):  # As Pascal VOC has it: classes, and 255 to ignore.
        mask[22 + value : 26 + value, 31 + 4 * value : 35 + 4 * value] = value
    Image.fromarray(mask).save(tmp_path / "several.png")
    assert np.array_equal(read_label(tmp_path / "several.png")[0], mask.T)
