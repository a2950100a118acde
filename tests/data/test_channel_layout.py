"""Several images of a patient: one of them, all as channels, or a refusal that says what to do; never a mixture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.channel_layout import ChannelRule
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label, read_volume
from medseg.data.recognise import Choice
from medseg.errors import RequestError
from tests.data.import_factory import AFFINE, NAME, refused, run_import, write_label, write_volume


def _visits(root: Path, *, patients: int = 3, names=("t1", "t1ce", "flair")) -> None:
    """Folders of a patient as BraTS has them: several images named by sequence, one label map."""
    for number in range(patients):
        folder = root / f"{NAME}{number}"
        for place, name in enumerate(names):
            write_volume(folder / f"{NAME}{number}_{name}.nii.gz", seed=10 * number + place)
        write_label(folder / f"{NAME}{number}_seg.nii.gz")


def _channels(*rules: str) -> Choice:
    return Choice(channels=rules)


def test_several_images_and_one_label_map_are_refused_with_what_is_there_and_what_to_do(tmp_path):
    _visits(tmp_path / "in")
    told = r"3 patients' folders have several images \(by their names flair \(3\), t1 \(3\), t1ce \(3\)\).*--channel"
    with pytest.raises(RequestError, match=told) as found:
        run_import(tmp_path / "in", tmp_path / "out")
    assert NAME not in str(found.value)
    report = run_import(tmp_path / "in", tmp_path / "out", choice=Choice(image_pattern="*flair*"))
    assert (report.cases, report.labelled) == (3, 3)


def test_the_images_of_a_patient_become_the_channels_of_one_case(tmp_path):
    _visits(tmp_path / "in")
    report = run_import(tmp_path / "in", tmp_path / "out", choice=_channels("t1", "t1ce", "flair"))
    assert (report.cases, report.labelled, report.refusals) == (3, 3, ())
    manifest = read_manifest(tmp_path / "out" / "manifest.csv")
    assert manifest.card.channels == ("t1", "t1ce", "flair")
    for number, case in enumerate(manifest.cases):
        assert case.modality == "MR"
        for place, name in enumerate(manifest.card.channels):
            expected = np.random.default_rng(10 * number + place).normal(size=(6, 5, 4)).astype(np.float32)
            assert np.array_equal(read_volume(case.images[name]).array[0], expected)
        assert read_label(case.label)[0].sum() == 2


def test_other_channels_of_the_same_files_are_another_data_set(tmp_path):
    _visits(tmp_path / "in", names=("t1", "flair"))
    run_import(tmp_path / "in", tmp_path / "out", choice=_channels("t1", "flair"))
    again = run_import(tmp_path / "in", tmp_path / "out", choice=_channels("t1", "flair"))
    assert again.reused == 3
    with pytest.raises(RequestError, match="holds an import of other data"):
        run_import(tmp_path / "in", tmp_path / "out", choice=_channels("pre=*_t1.*", "flair"))


def test_patients_without_every_channel_or_on_another_grid_are_refused_one_by_one(tmp_path):
    _visits(tmp_path / "in", names=("t1", "flair"), patients=4)
    (tmp_path / "in" / f"{NAME}0" / f"{NAME}0_flair.nii.gz").unlink()
    write_volume(tmp_path / "in" / f"{NAME}1" / f"{NAME}1_old_t1.nii.gz")
    moved = AFFINE.copy()
    moved[0, 3] = 5
    write_volume(tmp_path / "in" / f"{NAME}2" / f"{NAME}2_flair.nii.gz", affine=moved)
    report = run_import(tmp_path / "in", tmp_path / "out", choice=_channels("t1", "flair"))
    assert report.cases == 1
    reasons = refused(tmp_path / "out")
    assert reasons["C0001"] == "channel flair: expected one image in this patient's folder; found 0"
    assert reasons["C0002"] == "channel t1: expected one image in this patient's folder; found 2"
    assert "grid" in reasons["C0003"]


def test_a_patient_whose_one_label_map_fits_several_images_is_told_so_beside_others(tmp_path):
    _visits(tmp_path / "in", patients=1)
    for number in (5, 6):
        write_volume(tmp_path / "in" / f"p{number}" / "t1.nii.gz")
        write_label(tmp_path / "in" / f"p{number}" / "mask.nii.gz")
    report = run_import(tmp_path / "in", tmp_path / "out")
    assert report.cases == 2
    (reason,) = refused(tmp_path / "out").values()
    assert "has 3 images and one label map, and no name says which" in reason


def test_single_images_of_several_sequences_are_told(tmp_path):
    for number, name in enumerate(("t1", "flair", "scan")):
        write_volume(tmp_path / "in" / f"p{number}" / f"{name}.nii.gz")
        write_label(tmp_path / "in" / f"p{number}" / "mask.nii.gz")
    report = run_import(tmp_path / "in", tmp_path / "out", choice=Choice(modality="MR"))
    assert report.cases == 2
    told = "by their names the images are of several sequences: flair (1), t1 (1); --image-pattern takes one"
    assert told in report.notes


@pytest.mark.parametrize(
    ("channels", "message"),
    [
        (("t1",), "expected two channels or more"),
        (("t1", "t1"), "each name once"),
        (("t1", "adc"), "no patient's folder has every channel; 3 x channel adc"),
        (("t1", "t 1=*_t1.*"), "no patient's folder has every channel; 3 x one image fits several channels"),
        (("t1", "1=x"), "--channel: expected NAME or NAME=PATTERN"),
    ],
)
def test_channels_that_cannot_be_are_refused_before_anything_is_written(channels, message, tmp_path):
    _visits(tmp_path / "in")
    with pytest.raises(RequestError, match=message):
        run_import(tmp_path / "in", tmp_path / "out", choice=_channels(*channels))
    assert not (tmp_path / "out").exists()


def test_channels_of_flat_folders_are_refused(tmp_path):
    write_volume(tmp_path / "in" / "a_t1.nii.gz")
    with pytest.raises(RequestError, match="goes with a folder per patient"):
        run_import(tmp_path / "in", tmp_path / "out", choice=_channels("t1", "t2"))


def test_the_command_takes_channels_and_refuses_a_second_choice_of_images(tmp_path):
    _visits(tmp_path / "in")
    arguments = ["import", str(tmp_path / "in"), str(tmp_path / "out"), "--channel", "t1", "--channel", "f=*flair*"]
    result = CliRunner().invoke(app, [*arguments, "--modality", "MR"])
    assert result.exit_code == 2
    assert "--channel says which images are taken" in result.stderr
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "a folder per patient with the channels t1, f" in result.stderr


def test_a_rule_is_a_word_of_the_name_or_a_pattern():
    assert ChannelRule.of("t1").fits(Path("A_T1.nii.gz"))
    assert not ChannelRule.of("t1").fits(Path("A_t1ce.nii.gz"))
    assert ChannelRule.of("pre = *_T1.nii*").fits(Path("a_t1.nii.gz"))
