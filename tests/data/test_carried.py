"""Another tool's data set keeps its folds and patients through `import`, under names that identify nobody."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from medseg.data.convert import export_dataset
from medseg.data.foreign import import_dataset
from medseg.data.importer import ImportOptions, ImportReport, import_tree
from medseg.data.manifest import Manifest, read_manifest, write_manifest
from medseg.data.readers import read_label, read_volume
from medseg.data.recognise import Choice
from medseg.data.split import make_folds, read_folds, write_folds
from medseg.errors import ManifestError
from tests.data.cohort import picture_cohort, volume_cohort

FORMATS = ("nnunet", "msd", "monai", "bids")
TELLERS = {"nnunet": "splits_final.json", "msd": "dataset.json", "monai": "datalist.json", "bids": "participants.tsv",
           "coco": "instances.json"}  # fmt: skip


def _cohort(
    folder: Path, *, renamed: bool = True, pictures: bool = False, unlabelled: tuple[int, ...] = ()
) -> Manifest:
    """A manifest with three folds; of cases called after persons where `renamed`."""
    made = picture_cohort(folder) if pictures else volume_cohort(folder, cases=6, per_patient=2)
    cases = [
        replace(
            case,
            case=f"Mustermann_{number}" if renamed else f"C{number:04d}",
            patient=f"Mueller{case.patient}" if renamed else f"P{int(case.patient[1:]):04d}",
            site=case.site if renamed else "",
            label=None if number in unlabelled else case.label,
        )
        for number, case in enumerate(made.cases)
    ]
    manifest = replace(made, cases=tuple(cases))
    write_manifest(manifest, manifest.path)
    manifest = read_manifest(manifest.path)
    write_folds(make_folds(manifest, folds=3, seed=1), manifest.folds_path)
    return manifest


def _import(source: Path, out: Path, **choice: object) -> tuple[Manifest, ImportReport]:
    report = import_tree(source, out, options=ImportOptions(choice=Choice(**choice)))
    return read_manifest(out / "manifest.csv"), report


def _pairs(before: Manifest, after: Manifest) -> dict[str, str]:
    """Case there to case here, by the images' own values."""
    theirs = {read_volume(next(iter(case.images.values()))).array.tobytes(): case.case for case in before.cases}
    return {theirs[read_volume(next(iter(case.images.values()))).array.tobytes()]: case.case for case in after.cases}


def _first(path: Path) -> bytes:
    return read_volume(path).array[0].tobytes()


def _assert_same_folds(before: Manifest, after: Manifest) -> None:
    pairs = _pairs(before, after)
    patients = {case.case: case.patient for case in before.cases}
    assert len(set(patients.values())) == len({case.patient for case in after.cases})
    for first, second in zip(read_folds(before.folds_path, before).splits,
                             read_folds(after.folds_path, after).splits, strict=True):  # fmt: skip
        assert sorted(pairs[case] for case in first.test) == sorted(second.test)
        assert sorted(pairs[case] for case in first.training) == sorted(second.training)
    ours = {case.case: case.patient for case in after.cases}
    for first in patients:
        for second in patients:
            assert (patients[first] == patients[second]) == (ours[pairs[first]] == ours[pairs[second]])


def _assert_no_name(out: Path) -> None:
    for path in out.rglob("*"):
        assert b"Mustermann" not in str(path.relative_to(out)).encode()
        if path.is_file():
            assert b"Mustermann" not in path.read_bytes()
            assert b"Mueller" not in path.read_bytes()


@pytest.mark.parametrize("to", FORMATS)
def test_import_of_a_converted_data_set_has_the_same_folds_and_patients_under_new_names(to, tmp_path):
    manifest = _cohort(tmp_path / "a")
    export_dataset(manifest.path, tmp_path / to, to=to)
    imported, report = _import(tmp_path / to, tmp_path / "b")
    assert report.refusals == ()
    assert any(
        note == f"the 3 folds of {TELLERS[to]} taken over, each case under its new name" for note in report.notes
    )
    assert [case.case for case in imported.cases] == [f"C{number:04d}" for number in range(1, 7)]
    assert {case.site for case in imported.cases} == {"S1", "S2"}
    assert {case.covariates["sex"] for case in imported.cases} == {"F", "M"}
    assert imported.card.label_names() == manifest.card.label_names()
    _assert_same_folds(manifest, imported)
    _assert_no_name(tmp_path / "b")
    for case, theirs in zip(manifest.cases, sorted(_pairs(manifest, imported).items()), strict=True):
        (own,) = imported.select([theirs[1]])
        assert np.array_equal(read_label(case.label)[0], read_label(own.label)[0])


@pytest.mark.parametrize("to", FORMATS)
def test_running_numbers_and_pseudonyms_of_deidentified_data_stay(to, tmp_path):
    manifest = _cohort(tmp_path / "a", renamed=False)
    export_dataset(manifest.path, tmp_path / to, to=to)
    imported, report = _import(tmp_path / to, tmp_path / "b")
    assert f"the 3 folds of {TELLERS[to]} taken over, the cases kept their names" in report.notes
    assert [(c.case, c.patient) for c in imported.cases] == [(c.case, c.patient) for c in manifest.cases]
    assert imported.folds_path.read_bytes() == manifest.folds_path.read_bytes()
    again, _ = _import(tmp_path / to, tmp_path / "b")
    assert again.digest() == imported.digest()


def test_of_data_that_was_deidentified_the_pseudonyms_stay(tmp_path):
    manifest = _cohort(tmp_path / "a")
    card = tmp_path / "a" / "manifest.yaml"
    said = {"deidentification": {"profile": "research", "date": "2026-01-02"}}
    card.write_text(yaml.safe_dump(yaml.safe_load(card.read_text()) | said))
    export_dataset(manifest.path, tmp_path / "n", to="nnunet")
    imported, _ = _import(tmp_path / "n", tmp_path / "b")
    assert {case.case for case in imported.cases} == {case.case for case in manifest.cases}
    assert imported.card.deidentification.profile == "research"


def test_coco_keeps_folds_and_unlabelled_pictures_stay_unlabelled(tmp_path):
    manifest = _cohort(tmp_path / "a", pictures=True, unlabelled=(2,))
    export_dataset(manifest.path, tmp_path / "coco", to="coco")
    imported, report = _import(tmp_path / "coco", tmp_path / "b", with_unlabelled=True)
    assert "the 3 folds of instances.json taken over, each case under its new name" in report.notes
    assert sum(case.label is None for case in imported.cases) == 1
    _assert_same_folds(manifest, imported)
    _assert_no_name(tmp_path / "b")
    only, _ = _import(tmp_path / "coco", tmp_path / "c")
    assert len(only.cases) == 5


@pytest.mark.parametrize("to", ["nnunet", "msd", "monai"])
def test_cases_without_a_label_follow_their_patient(to, tmp_path):
    manifest = _cohort(tmp_path / "a", unlabelled=(3,))
    export_dataset(manifest.path, tmp_path / to, to=to)
    import_dataset(tmp_path / to, tmp_path / "b", origin=to)
    back = read_manifest(tmp_path / "b" / "manifest.csv")
    assert read_folds(back.folds_path, back) == read_folds(manifest.folds_path, manifest)


def test_folds_of_a_foreign_nnunet_folder_are_taken_over_and_its_names_are_not(tmp_path):
    manifest = _cohort(tmp_path / "a")
    export_dataset(manifest.path, tmp_path / "n", to="nnunet")
    (tmp_path / "n" / "medseg.json").unlink()
    imported, report = _import(tmp_path / "n", tmp_path / "b")
    assert "the 3 folds of splits_final.json taken over, each case under its new name" in report.notes
    _assert_no_name(tmp_path / "b")
    pairs = _pairs(manifest, imported)
    for first, second in zip(read_folds(manifest.folds_path, manifest).splits,
                             read_folds(imported.folds_path, imported).splits, strict=True):  # fmt: skip
        assert sorted(pairs[case] for case in first.test) == sorted(second.test)


def test_a_case_that_lacks_a_channel_of_nnunet_is_not_taken_for_others(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path / "before")
    folder = tmp_path / "Dataset001_X"
    export_dataset(cohort.path, folder, to="nnunet")
    first = sorted((folder / "imagesTr").glob("*_0000.nii.gz"))[0]
    first.rename(first.with_name(first.name.replace("_0000", "_0002")))
    with pytest.raises(ManifestError, match="a case lacks a channel"):
        import_dataset(folder, tmp_path / "adopted", origin="nnunet")


def test_numbers_above_those_of_32_bits_leave_as_they_are(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path / "before")
    for case in cohort.cases:
        for path in case.images.values():
            volume = read_volume(path)
            image = nibabel.Nifti1Image(np.full(volume.shape, 3_000_000_000, np.uint32), volume.affine)
            nibabel.save(image, path)
    export_dataset(cohort.path, tmp_path / "out", to="nnunet")
    for path in (tmp_path / "out" / "imagesTr").iterdir():
        assert read_volume(path).array.min() == 3_000_000_000


def test_a_label_to_ignore_is_no_class(tmp_path):
    made = volume_cohort(tmp_path / "a", cases=4)
    card = tmp_path / "a" / "manifest.yaml"
    card.write_text(yaml.safe_dump(yaml.safe_load(card.read_text()) | {"ignore": 9}))
    label, grid = read_label(made.cases[1].label)
    label[0, 0, 0] = 9
    from medseg.data.nifti import save_nifti

    save_nifti(label, grid.affine, made.cases[1].label)
    for to, value in (("nnunet", 2), ("msd", 9), ("monai", 9)):
        export_dataset(made.path, tmp_path / to, to=to)
        imported, report = _import(tmp_path / to, tmp_path / f"{to}_back")
        assert report.refusals == ()
        assert (imported.card.ignore, imported.card.label_names()) == (value, made.card.label_names())
        case = next(c for c in imported.cases if c.case == _pairs(made, imported)[made.cases[1].case])
        assert read_label(case.label)[0][0, 0, 0] == value


def test_images_of_one_name_in_several_folders_stay_apart_and_keep_their_folds(tmp_path: Path) -> None:
    cohort = _cohort(tmp_path / "before")
    export_dataset(cohort.path, tmp_path / "listed", to="monai")
    listed = json.loads((tmp_path / "listed/datalist.json").read_text())
    for number, entry in enumerate(listed["training"]):
        folder = tmp_path / f"folders/visit{number}"
        folder.mkdir(parents=True)
        for part in ("image", "label"):
            (tmp_path / "listed" / entry[part]).rename(folder / f"{part}.nii.gz")
            entry[part] = f"visit{number}/{part}.nii.gz"
    (tmp_path / "folders/datalist.json").write_text(json.dumps(listed))
    import_dataset(tmp_path / "folders/datalist.json", tmp_path / "adopted", origin="monai")
    adopted = read_manifest(tmp_path / "adopted/manifest.csv")
    assert {case.case for case in adopted.cases} == {f"visit{number}_image" for number in range(len(cohort.cases))}
    imported, _ = _import(tmp_path / "folders", tmp_path / "imported")
    for after in (adopted, imported):
        pairs = {entry["image"]: entry["fold"] for entry in listed["training"]}
        values = {_first(tmp_path / "folders" / path): fold for path, fold in pairs.items()}
        told = {case.case: values[_first(next(iter(case.images.values())))] for case in after.cases}
        assert len(told) == len(listed["training"])
        for number, split in enumerate(read_folds(after.folds_path, after).splits):
            assert set(split.test) == {case for case, fold in told.items() if fold == number}
    listed["validation"] = listed["training"][:1]
    (tmp_path / "folders/datalist.json").write_text(json.dumps(listed))
    with pytest.raises(ManifestError, match="a name of its own for each case"):
        import_dataset(tmp_path / "folders/datalist.json", tmp_path / "again", origin="monai")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    "text", ["", "{}", '[{"val": 3}]', '[{"train": [], "val": ["x"]}, {"train": [], "val": ["y"]}]', "[" * 9999]
)
def test_damaged_folds_are_left_out_and_the_import_goes_on(text, tmp_path):
    manifest = _cohort(tmp_path / "a")
    export_dataset(manifest.path, tmp_path / "n", to="nnunet")
    (tmp_path / "n" / "splits_final.json").write_text(text)
    imported, report = _import(tmp_path / "n", tmp_path / "b")
    assert len(imported.cases) == 6
    assert not imported.folds_path.exists()
    assert not any("taken over, " in note for note in report.notes)
    assert any("none taken over" in note or "no folds taken over" in note for note in report.notes)


def test_folds_that_part_a_patient_are_not_taken_over_and_own_folds_stay(tmp_path):
    manifest = _cohort(tmp_path / "a", renamed=False)
    export_dataset(manifest.path, tmp_path / "n", to="nnunet")
    path = tmp_path / "n" / "splits_final.json"
    kept = path.read_text()
    names = [case.case for case in manifest.cases]
    path.write_text(json.dumps([{"train": names[1::2], "val": names[::2]}, {"train": names[::2], "val": names[1::2]}]))
    imported, report = _import(tmp_path / "n", tmp_path / "b")
    assert any("were not taken over: patient P0000 stands in folds" in note for note in report.notes)
    assert not imported.folds_path.exists()
    write_folds(make_folds(imported, folds=2, seed=3), imported.folds_path)
    own = imported.folds_path.read_bytes()
    path.write_text(kept)
    _, report = _import(tmp_path / "n", tmp_path / "b")
    assert any("holds other folds than splits_final.json; it stays" in note for note in report.notes)
    assert imported.folds_path.read_bytes() == own


@pytest.mark.parametrize("text", ["", '[{"val": 3}]', "[{}]", "[[]]", '[{"val": [3]}]', "[" * 9999])
def test_a_conversion_names_damaged_folds_and_writes_nothing(text, tmp_path):
    export_dataset(_cohort(tmp_path / "a").path, tmp_path / "n", to="nnunet")
    (tmp_path / "n" / "splits_final.json").write_text(text)
    with pytest.raises(ManifestError, match=r"splits_final\.json: expected a list of splits"):
        import_dataset(tmp_path / "n", tmp_path / "b", origin="nnunet")
    assert not (tmp_path / "b").exists()
