"""Text on volumes: found on any slice, in every format, and left to a person."""

from __future__ import annotations

import io
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image, ImageDraw, ImageFont

from medseg.privacy.bare import bare_file
from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.ledger import Ledger
from medseg.privacy.profile import load_profile
from medseg.privacy.volume_text import volume_has_text

pytest.importorskip("rapidocr_onnxruntime", reason="needs the extra ocr, which Python 3.13 has not (decision 0012)")
KEY = bytes(range(32))


def volume(*, text: str = "Novakova 4711", at: int = 1, slices: int = 4) -> np.ndarray:
    """A bright disc in noise with a text above it on one slice, int16, (slices, rows, columns)."""
    rows, columns = np.mgrid[:160, :160]
    disc = 900 * (np.hypot(rows - 90, columns - 80) < 50)
    made = (disc + np.random.default_rng(1).integers(0, 200, (slices, 160, 160))).astype(np.int16)
    drawn = Image.new("L", (160, 160))
    ImageDraw.Draw(drawn).text((8, 6), text, font=ImageFont.load_default(16), fill=255)
    made[at][np.asarray(drawn) > 120] = 2500
    return made


def nifti(array: np.ndarray) -> bytes:
    """A file of an array (x, y, z ...), voxels of 3 mm."""
    return bytes(nib.Nifti1Image(array, np.diag([3.0, 3.0, 3.0, 1.0])).to_bytes())


def has_text(data: bytes, suffix: str = ".nii") -> bool:
    return volume_has_text(bare_file(data, suffix, acknowledge_faces=True), suffix)


@pytest.mark.parametrize(
    "turn",
    [
        lambda a: a.transpose(2, 1, 0),
        lambda a: a.transpose(2, 1, 0)[:, ::-1],
        lambda a: a.transpose(0, 2, 1)[..., ::-1],
        lambda a: (a.transpose(2, 1, 0) / 5000).astype(np.float32),
        lambda a: np.where(a == 2500, np.float32(2500), np.float32("nan")).transpose(2, 1, 0),
        lambda a: np.stack([0 * a, a, a], axis=-1).transpose(2, 1, 0, 3),
        lambda a: a[1:2].transpose(2, 1, 0),
        lambda a: a[1].T,
    ],
)
def test_text_on_one_slice_is_found_however_the_axes_lie(turn):
    assert has_text(nifti(turn(volume())))


def test_colours_are_looked_at_too():
    grey = (volume()[1].T // 10).astype(np.uint8)[..., None]
    colours = np.empty(grey.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    for name in "RGB":
        colours[name] = grey
    assert has_text(nifti(colours))


@pytest.mark.parametrize(("suffix", "compressed"), [(".nrrd", True), (".mha", False), (".mha", True)])
def test_text_in_nrrd_and_meta_image_is_found(suffix, compressed, tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(volume()), str(tmp_path / f"a{suffix}"), useCompression=compressed)
    assert has_text((tmp_path / f"a{suffix}").read_bytes(), suffix)


def test_volumes_and_label_maps_without_text_pass():
    plain = volume(text="", slices=6).transpose(2, 1, 0)
    assert not has_text(nifti(plain))
    assert not has_text(nifti((plain > 500).astype(np.uint8)))
    assert not has_text(nifti(np.zeros((30, 30, 30), np.float32)))


def test_a_volume_with_text_waits_for_a_person_who_is_shown_its_slices(tmp_path):
    source, out, shown = tmp_path / "src", tmp_path / "out", tmp_path / "waiting"
    source.mkdir()
    (source / "a.nii").write_bytes(nifti(volume().transpose(2, 1, 0)))
    (source / "b.nii").write_bytes(nifti(volume(text="").transpose(2, 1, 0)))
    profile = load_profile("basic")
    report = deidentify_tree(source, out, profile=profile, key=KEY, quarantine=shown)
    assert [outcome.number for outcome in report.quarantined] == [1]
    assert Image.open(io.BytesIO((shown / "000001.png").read_bytes())).width > 300
    assert len(list(out.rglob("*.nii"))) == 1
    again = deidentify_tree(source, out, profile=profile, key=KEY, accepted=frozenset({1}), quarantine=shown)
    assert len(again.written) == 2


def test_a_volume_that_nothing_here_could_look_at_is_looked_at_by_a_later_call(tmp_path, monkeypatch):
    source, out = tmp_path / "src", tmp_path / "out"
    source.mkdir()
    (source / "a.nii").write_bytes(nifti(volume().transpose(2, 1, 0)))
    profile = load_profile("basic")
    with monkeypatch.context() as without:
        without.setattr("medseg.privacy.worker.ocr_is_here", lambda: False)
        report = deidentify_tree(source, out, profile=profile, key=KEY, ledger=Ledger(out / "ledger.jsonl"))
    assert len(report.written) == 1
    assert "not looked at for text" in _events(out)
    report = deidentify_tree(source, out, profile=profile, key=KEY)
    assert len(report.quarantined) == 1
    assert not list(out.rglob("*.nii"))


def _events(out: Path) -> str:
    return "".join(
        json.loads(line)["facts"].get("what", "") for line in (out / "ledger.jsonl").read_text().splitlines()
    )
