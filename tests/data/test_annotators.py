"""Label maps of several annotators of the same images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.data.manifest import read_manifest, write_manifest
from tests.data.import_factory import import_beside, write_mask, write_picture


def test_masks_of_several_annotators_are_columns_of_the_manifest(tmp_path: Path) -> None:
    for name in "ab":
        write_picture(tmp_path / "in" / "images" / f"{name}.png")
        for number, annotator in enumerate(("Schmidt", "Meier")):
            rows = np.zeros((8, 12))
            rows[2:5, 3 : 6 + number] = 255
            if (name, annotator) != ("b", "Meier"):
                write_mask(tmp_path / "in" / f"masks_{annotator}" / f"{name}.png", rows)
    report, manifest = import_beside(tmp_path / "in")
    assert [sorted(case.readers) for case in manifest.cases] == [["R1", "R2"], ["R2"]]
    assert report.labelled == 2
    again = tmp_path / "out" / "copy.csv"
    write_manifest(manifest, again)
    assert read_manifest(again).cases[0].readers == manifest.cases[0].readers
    assert (
        (tmp_path / "out" / "manifest.csv").read_text().splitlines()[0].startswith("case,patient,image,label,label.R1")
    )


def test_one_folder_of_an_annotator_is_simply_the_labels(tmp_path: Path) -> None:
    write_picture(tmp_path / "in" / "images" / "a.png")
    write_mask(tmp_path / "in" / "masks_final" / "a.png", np.pad(np.full((3, 3), 255), ((2, 3), (4, 5))))
    _, manifest = import_beside(tmp_path / "in")
    assert manifest.cases[0].label is not None
    assert not manifest.cases[0].readers
