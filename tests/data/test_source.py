from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.data.source import find_inputs
from medseg.export.nifti import write_nifti
from tests.data.dicom_factory import make_series


def _volume(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(np.zeros((4, 4, 4), dtype=np.uint8), np.eye(4), path)


def test_label_maps_and_other_modalities_of_a_folder_are_refused_by_number(tmp_path: Path) -> None:
    for name in ("P1/pet.nii.gz", "P1/pet_mask.nii.gz", "P1/t1.nii.gz", "P2/pet.nii.gz", "P2/scan.nii.gz"):
        _volume(tmp_path / name)
    inputs, refusals = find_inputs(tmp_path, modality="PT")
    assert [entry.name for entry in inputs] == ["image_0001", "image_0002", "image_0003"]
    assert [refusal.input for refusal in refusals] == ["file 2 of 5", "file 3 of 5"]


def test_a_folder_whose_names_say_nothing_is_predicted_whole(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        _volume(tmp_path / name)
    inputs, refusals = find_inputs(tmp_path, modality="CT")
    assert len(inputs) == 2
    assert refusals == []


def test_series_of_another_modality_are_refused_where_the_model_s_own_is_there(tmp_path: Path) -> None:
    for number, modality in enumerate(("CT", "PT", "CT")):
        make_series(patient="P", seed=number, modality=modality).write(tmp_path / str(number))
    inputs, refusals = find_inputs(tmp_path, modality="CT")
    assert [(entry.name, entry.modality) for entry in inputs] == [("image_0001", "CT"), ("image_0002", "CT")]
    assert len(refusals) == 1
    assert "of another modality (PT) than the model's" in refusals[0].reason
    inputs, refusals = find_inputs(tmp_path, modality="MR")
    assert (len(inputs), refusals) == (3, [])
