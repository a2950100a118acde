"""The modality of images that don't state one: asked for, named, or said to be unknown."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.data.importer import ImportOptions, ImportReport, import_tree
from medseg.data.manifest import read_manifest
from medseg.data.recognise import Choice


def _pairs(root: Path, stem: str = "case", *, images: str = "images", labels: str = "labels") -> None:
    for folder, kind in ((images, np.int16), (labels, np.uint8)):
        (root / folder).mkdir(parents=True)
        array = np.zeros((4, 5, 6), kind)
        array[1:3, 2, 2] = 1
        nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1.0, 2.0, 1.0])), root / folder / f"{stem}_1.nii.gz")


def _import(source: Path, out: Path, modality: str | None = None) -> tuple[str, ImportReport]:
    report = import_tree(source, out, options=ImportOptions(choice=Choice(modality=modality)))
    (case,) = read_manifest(out / "manifest.csv").cases
    return case.modality, report


def test_what_nobody_states_is_other_and_said_so(tmp_path: Path) -> None:
    _pairs(tmp_path / "in")
    modality, report = _import(tmp_path / "in", tmp_path / "out")
    assert modality == "OTHER"
    assert any("recorded as OTHER. --modality" in note for note in report.notes)


@pytest.mark.parametrize("asked", ["CT", "MR", "PT"])
def test_what_is_asked_for_is_recorded_and_said_so(tmp_path: Path, asked: str) -> None:
    _pairs(tmp_path / "in")
    modality, report = _import(tmp_path / "in", tmp_path / "out", asked)
    assert modality == asked
    assert any(f"taken for {asked}, as --modality says" in note for note in report.notes)


def test_words_of_the_names_count_and_are_said_to_be_a_guess(tmp_path: Path) -> None:
    _pairs(tmp_path / "in", "Doe_flair")
    modality, report = _import(tmp_path / "in", tmp_path / "out")
    assert modality == "MR"
    assert any("taken for MR by the words of their names" in note for note in report.notes)
    assert not any("Doe" in note for note in report.notes)


def test_a_described_data_set_states_it_itself(tmp_path: Path) -> None:
    _pairs(tmp_path / "in", images="imagesTr", labels="labelsTr")
    (tmp_path / "in" / "dataset.json").write_text(json.dumps({"modality": {"0": "CT"}, "labels": {"1": "tumour"}}))
    modality, report = _import(tmp_path / "in", tmp_path / "out")
    assert modality == "CT"
    assert any("modality CT, as dataset.json says" in note for note in report.notes)
