"""Text in pixels, with the real detector on small frames."""

from __future__ import annotations

import copy
import io
import json
import random
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont

from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.dicom import clean_dicom
from medseg.privacy.guards import QuarantineError
from medseg.privacy.ledger import Ledger
from medseg.privacy.pixels import clean_text
from medseg.privacy.profile import load_profile
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.series_text import has_still_text
from medseg.privacy.text_boxes import find_text
from tests.privacy.corpus import SC, US, Who, image, save

pytest.importorskip("rapidocr_onnxruntime")
KEY = bytes(range(32))
SIZE = 160


def picture(text: str, *, place: tuple[int, int] = (8, 20), size: int = 18) -> np.ndarray:
    """A dim blob with a text on it, uint8."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    blob = 90 * np.exp(-((rows - 100) ** 2 + (columns - 80) ** 2) / 1800)
    made = Image.fromarray(blob.astype(np.uint8))
    ImageDraw.Draw(made).text(place, text, font=ImageFont.load_default(size), fill=210)
    return np.asarray(made)


def ultrasound(frames: list[np.ndarray], *, sop_class: str = US) -> bytes:
    ds = image(Who(random.Random(5)), sop_class, size=SIZE)
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    if len(frames) > 1:
        ds.NumberOfFrames = len(frames)
    ds.PixelData = np.stack(frames).tobytes()
    ds["PixelData"].VR = "OB"
    return save(ds)


def test_text_on_one_frame_is_painted_over_on_all_and_the_rest_stays():
    frames = [picture(""), picture("Novakova 1956")]
    made = clean_dicom(ultrasound(frames), load_profile("basic"), pseudonyms=Pseudonymiser(KEY), clean_text=clean_text)
    clean = pydicom.dcmread(io.BytesIO(made.data))
    assert clean.BurnedInAnnotation == "NO"
    assert [item.CodeValue for item in clean.DeidentificationMethodCodeSequence][1] == "113101"
    after = clean.pixel_array
    drawn = np.argwhere(frames[1] > 150)
    (top, left), (bottom, right) = drawn.min(axis=0), drawn.max(axis=0) + 1
    assert after[:, top:bottom, left:right].max() == 0
    np.testing.assert_array_equal(after[:, 80:], np.stack(frames)[:, 80:])


def test_frames_without_text_stay_bit_for_bit():
    frames = [picture("")]
    made = clean_dicom(ultrasound(frames), load_profile("basic"), pseudonyms=Pseudonymiser(KEY), clean_text=clean_text)
    np.testing.assert_array_equal(pydicom.dcmread(io.BytesIO(made.data)).pixel_array, frames[0])


@pytest.mark.parametrize("size", [10, 24, 38])
def test_small_and_large_letters_are_found(size):
    frame = picture("MRN 47", place=(6, 30), size=size)
    boxes = find_text([np.repeat(frame[..., None], 3, axis=2)])
    covered = np.zeros(frame.shape, bool)
    for box in boxes:
        covered[box.top : box.bottom, box.left : box.right] = True
    assert covered[frame > 150].mean() > 0.95


@pytest.mark.parametrize("sop_class", ["7", "77.1.4", "77.1.7"])
def test_a_face_in_a_dicom_photograph_waits_for_a_person(sop_class):
    skimage = pytest.importorskip("skimage")
    face = Image.open(Path(skimage.__file__).parent / "data" / "astronaut.png").crop((60, 0, 360, 300))
    ds = image(Who(random.Random(5)), f"1.2.840.10008.5.1.4.1.1.{sop_class}", size=300)
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 7, 3, 0, "RGB"
    ds.PixelData = np.asarray(face.convert("RGB")).tobytes()
    ds["PixelData"].VR = "OB"
    with pytest.raises(QuarantineError, match="face"):
        clean_dicom(save(ds), load_profile("basic"), pseudonyms=Pseudonymiser(KEY), clean_text=clean_text)


def test_text_written_into_an_ordinary_slice_is_painted_over_too():
    slices = []
    for text in ("", "NOVAKOVA 4711"):
        ds = image(Who(random.Random(5)), size=SIZE, stored=12)
        pixels = picture("").astype(np.uint16) * 8 + np.random.default_rng(0).integers(0, 200, (SIZE, SIZE))
        pixels[picture(text) > 150] = 4000
        ds.PixelData = pixels.astype(np.uint16).tobytes()
        made = clean_dicom(save(ds), load_profile("basic"), pseudonyms=Pseudonymiser(KEY), clean_text=clean_text)
        slices.append((pixels, pydicom.dcmread(io.BytesIO(made.data))))
    np.testing.assert_array_equal(slices[0][1].pixel_array, slices[0][0])
    assert "BurnedInAnnotation" not in slices[0][1]
    assert slices[1][1].BurnedInAnnotation == "NO"
    assert np.count_nonzero(slices[1][1].pixel_array == 4000) < 5


def test_faint_text_on_even_ground_is_found_beside_a_pixel_that_is_far_brighter():
    ds = image(Who(random.Random(5)), size=SIZE, stored=16)
    pixels = np.full((SIZE, SIZE), 1000, np.uint16)
    drawn = picture("NOVAKOVA 47", size=12) > 150
    assert drawn.mean() < 0.01
    pixels[drawn], pixels[-1, -1] = 1012, 60000
    assert has_still_text([pixels])
    ds.PixelData = pixels.tobytes()
    made = clean_dicom(save(ds), load_profile("basic"), pseudonyms=Pseudonymiser(KEY), clean_text=clean_text, look=True)
    assert np.count_nonzero(pydicom.dcmread(io.BytesIO(made.data)).pixel_array == 1012) < 5


def test_dark_text_on_every_slice_of_an_ordinary_series_is_found(tmp_path):
    rows, columns = np.mgrid[:SIZE, :SIZE]
    body = np.where((rows - 80) ** 2 + (columns - 80) ** 2 < 78**2, 900, 40)
    ink = picture("NOVAKOVA 4711", place=(14, 70)) > 150
    (tmp_path / "src").mkdir()
    first = image(Who(random.Random(6)), size=SIZE, stored=12)
    originals = []
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 120, (SIZE, SIZE))
        pixels = (body + noise + 150 * np.sin(columns / 9 + number)).clip(0, 4095).astype(np.uint16)
        pixels[ink] = 30
        pixels[100:104, 100:104] = 2900
        ds = copy.deepcopy(first)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{first.SOPInstanceUID}.{number}"
        ds.InstanceNumber, ds.BurnedInAnnotation, ds.PixelData = number + 1, "NO", pixels.tobytes()
        originals.append(pixels)
        (tmp_path / "src" / str(number)).write_bytes(save(ds))
    profile = load_profile("basic")
    report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=profile, key=KEY)
    for outcome, pixels in zip(report.written, originals, strict=True):
        clean = pydicom.dcmread(tmp_path / "out" / outcome.place)
        assert (clean.pixel_array[ink] == pixels[ink]).mean() < 0.05
        np.testing.assert_array_equal(clean.pixel_array[110:], pixels[110:])
    assert len((tmp_path / "out" / "looked.jsonl").read_text().splitlines()) == 1
    assert deidentify_tree(tmp_path / "src", tmp_path / "out", profile=profile, key=KEY) == report
    assert len((tmp_path / "out" / "looked.jsonl").read_text().splitlines()) == 1


def test_series_that_nothing_here_can_look_at_are_in_the_ledger_and_looked_at_by_a_later_call(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_bytes(save(image(Who(random.Random(7)))))
    profile, ledger = load_profile("basic"), Ledger(tmp_path / "ledger.jsonl")
    monkeypatch.setitem(sys.modules, "rapidocr_onnxruntime", None)
    first = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=profile, key=KEY, ledger=ledger)
    assert json.loads(ledger.path.read_text().splitlines()[0])["facts"]["series"] == 1
    assert not (tmp_path / "out" / "looked.jsonl").exists()
    monkeypatch.undo()
    told = []
    again = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=profile, key=KEY, ledger=ledger,
                            looking=lambda done, total: told.append((done, total)))  # fmt: skip
    assert (again, told) == (first, [(1, 1)])
    assert len((tmp_path / "out" / "looked.jsonl").read_text().splitlines()) == 1


def test_a_screen_shot_is_quarantined_where_pixels_are_not_cleaned(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a").write_bytes(ultrasound([picture("Novakova")], sop_class=SC))
    profile = load_profile("basic").model_copy(update={"clean_pixels": False})
    report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=profile, key=KEY)
    assert [o.status for o in report.outcomes] == ["quarantined"]


@pytest.mark.parametrize("dark", [False, True])
def test_text_on_a_single_noisy_frame_is_found_dark_or_bright(dark):
    noise = np.random.default_rng(4).normal(0, 6, (SIZE, SIZE))
    frame = np.clip(60 + picture("Kovakova Farep", size=16).astype(float) + noise, 0, 255).astype(np.uint8)
    assert has_still_text([255 - frame if dark else frame])


@pytest.mark.parametrize("place", [(0, -3), (0, SIZE - 19), (SIZE - 112, 80)])
def test_text_at_the_very_edge_of_a_frame_is_found(place):
    frame = picture("Kovakova", place=place)
    assert find_text([np.repeat(frame[..., None], 3, axis=2)])
