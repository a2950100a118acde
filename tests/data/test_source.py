from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.data.source import find_inputs
from medseg.errors import ReadError
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


def _damage(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(128) + b"DICM" + bytes(range(60)))


def _reasons(source: Path) -> tuple[list[str], dict[str, str]]:
    inputs, refusals = find_inputs(source)
    return [entry.name for entry in inputs], {one.input: one.reason for one in refusals}


def test_damaged_dicom_between_volumes_is_refused_by_number(tmp_path: Path) -> None:
    _volume(tmp_path / "b.nii.gz")
    _damage(tmp_path / "a.dcm")
    _damage(tmp_path / "c")
    names, refused = _reasons(tmp_path)
    assert names == ["image_0001"]
    assert list(refused) == ["file 1 of 3", "file 3 of 3"]
    assert all("DICOM" in reason for reason in refused.values())


def test_volumes_between_dicom_series_are_refused_by_number(tmp_path: Path) -> None:
    make_series(patient="P", seed=1, modality="CT").write(tmp_path / "b")
    _volume(tmp_path / "a.nii.gz")
    _damage(tmp_path / "c.dcm")
    names, refused = _reasons(tmp_path)
    count = sum(1 for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["image_0001"]
    assert "lies between DICOM series" in refused.pop(f"file 1 of {count}")
    assert list(refused) == [f"file {count} of {count}"]


def test_dicom_files_without_preamble_beside_volumes_are_found(tmp_path: Path) -> None:
    for number, path in enumerate(make_series(patient="P", seed=1, modality="CT").write(tmp_path / "s")):
        (tmp_path / "s" / f"slice{number}").write_bytes(path.read_bytes()[132:])
        path.unlink()
    _volume(tmp_path / "mask.nii.gz")
    names, refused = _reasons(tmp_path)
    assert names == ["image_0001"]
    assert len(refused) == 1


def test_links_and_unknown_files_are_refused_and_documents_and_voxels_of_headers_are_not(tmp_path: Path) -> None:
    _volume(tmp_path / "real" / "a.nii.gz")
    (tmp_path / "linked.nii.gz").symlink_to(tmp_path / "real" / "a.nii.gz")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "cases.zip").write_bytes(b"PK")
    (tmp_path / "detached.mhd").write_text("NDims = 3\nElementDataFile = detached.raw\n")
    for name in ("detached.raw", "README", "notes.txt", ".hidden"):
        (tmp_path / name).write_bytes(b"")
    names, refused = _reasons(tmp_path)
    assert names == ["image_0001", "image_0002"]
    assert [reason.split(",")[0] for reason in refused.values()] == [
        "no image of a known format (NIfTI", "a link", "a link",
    ]  # fmt: skip


def test_a_folder_of_damaged_files_alone_says_so(tmp_path: Path) -> None:
    for name in ("a.dcm", "b.dcm"):
        _damage(tmp_path / name)
    with pytest.raises(ReadError, match="none of the 2 files can be predicted:\n  2 x "):
        find_inputs(tmp_path)


def test_an_image_that_is_called_like_a_document_is_predicted(tmp_path: Path) -> None:
    _volume(tmp_path / "Readme.nii.gz")
    _volume(tmp_path / "changes.2.nii.gz")
    inputs, refusals = find_inputs(tmp_path)
    assert (len(inputs), refusals) == (2, [])
