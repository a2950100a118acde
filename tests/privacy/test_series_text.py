"""Text on a series: what stands still, what is on one slice only, and what the detector isn't asked about."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from medseg.privacy import series_text
from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.profile import load_profile
from medseg.privacy.series_text import GreyScale, has_still_text, odd_slices, slices_with_text
from tests.privacy.corpus import Who, image, save

pytest.importorskip("rapidocr_onnxruntime")
SIZE = 192


def ink(size: int = 16) -> np.ndarray:
    picture = Image.new("L", (SIZE, SIZE))
    ImageDraw.Draw(picture).text((30, 120), "NOVAKOVA 4711", font=ImageFont.load_default(size), fill=255)
    return np.asarray(picture) > 127


def anatomy(number: int) -> np.ndarray:
    """A body with a bone that moves from slice to slice, and noise; 12 bits."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    body = np.where(np.hypot(rows - 96, columns - 96) < 88, 1000, 30)
    bone = np.abs(np.hypot(rows - 70, columns - 50 - 6 * number) - 18) < 4
    noise = np.random.default_rng(number).normal(0, 25, (SIZE, SIZE))
    return (body + 1200 * bone + noise).clip(0, 4095).astype(np.uint16)


def series(*written: int, count: int = 12, value: int = 1700) -> list[np.ndarray]:
    frames = [anatomy(number) for number in range(count)]
    for number in written:
        frames[number][ink()] = value
    return frames


def odd(frames: list[np.ndarray]) -> list[int]:
    scale = GreyScale.of(frames[::3])
    strokes = [scale.strokes(frame) for frame in frames]
    return odd_slices(strokes, lambda place: frames[place], scale=scale, shape=(SIZE, SIZE))


@pytest.mark.parametrize("value", [1700, 300])
def test_text_on_all_slices_stands_still(value):
    assert has_still_text(series(*range(12), value=value))


@pytest.mark.parametrize("written", [(0,), (5,), (11,), (4, 5, 6, 7), (0, 1, 2, 3, 4, 5, 6, 7), (7, 8, 9, 10, 11)])
def test_slices_with_text_that_others_lack_are_found_with_two_beside_on_either_side(written):
    frames = series(*written)
    assert odd(frames) == [place for place in range(12) if written[0] - 2 <= place <= written[-1] + 2]


def test_text_on_one_of_two_frames_is_found():
    assert has_still_text(series(1, count=2))


def test_an_ordinary_series_does_not_start_the_detector(monkeypatch):
    for name in ("find_text", "shows_text"):
        monkeypatch.setattr(series_text, name, lambda *_a, **_b: pytest.fail("the detector was asked"))
    assert not has_still_text(series())
    assert not odd(series())
    same = np.random.default_rng(0).integers(0, 4000, (SIZE, SIZE), dtype=np.uint16)
    assert not has_still_text([same] * 8)
    assert not odd([same] * 8)


def copies(folder, frames, *, positions=None, syntax=ExplicitVRLittleEndian) -> list[Path]:
    """Files of a series, in the order of the frames; 12 slices from below upwards unless positions are given."""
    first, paths = image(Who(random.Random(3)), size=SIZE, stored=12), []
    folder.mkdir()
    for number, frame in enumerate(frames):
        ds = copy.deepcopy(first)
        ds.ImagePositionPatient = [0, 0, 5 * (number if positions is None else positions[number])]
        ds.PixelData = frame.tobytes()
        if syntax != ExplicitVRLittleEndian:
            ds.compress(syntax)
        paths.append(folder / f"{number:02d}.dcm")
        paths[-1].write_bytes(save(ds, syntax=syntax))
    return paths


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless])
def test_slices_of_a_series_are_read_from_their_files_also_compressed_ones(tmp_path, syntax):
    assert slices_with_text(copies(tmp_path / "a", series(), syntax=syntax)) == []
    assert slices_with_text(copies(tmp_path / "b", series(6), syntax=syntax)) == [4, 5, 6, 7, 8]


def test_slices_lie_beside_each_other_by_position_not_by_name(tmp_path):
    positions = [3, 9, 0, 11, 6, 1, 8, 4, 10, 2, 7, 5]
    frames = [series(6)[position] for position in positions]
    found = slices_with_text(copies(tmp_path / "a", frames, positions=positions))
    assert sorted(positions[place] for place in found) == [4, 5, 6, 7, 8]


def test_all_frames_of_a_multi_frame_file_are_looked_at(tmp_path):
    paths = []
    for written in ((), (5,)):
        ds = image(Who(random.Random(3)), "1.2.840.10008.5.1.4.1.1.4.1", size=SIZE, stored=12)
        ds.PixelData, ds.NumberOfFrames = b"".join(frame.tobytes() for frame in series(*written)), 12
        paths.append(tmp_path / f"{len(written)}.dcm")
        paths[-1].write_bytes(save(ds))
    assert [slices_with_text([path]) for path in paths] == [[], [0]]


def test_only_slices_with_text_and_those_beside_are_cleaned_again(tmp_path):
    first = image(Who(random.Random(3)), size=SIZE, stored=12)
    (tmp_path / "src").mkdir()
    frames = series(6)
    for number, frame in enumerate(frames):
        ds = copy.deepcopy(first)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{first.SOPInstanceUID}.{number}"
        ds.ImagePositionPatient, ds.PixelData = [0, 0, 5 * number], frame.tobytes()
        (tmp_path / "src" / f"{number:02d}").write_bytes(save(ds))
    report = deidentify_tree(tmp_path / "src", tmp_path / "out", profile=load_profile("basic"), key=bytes(range(32)))
    clean = [pydicom.dcmread(tmp_path / "out" / outcome.place) for outcome in report.written]
    assert [number for number, one in enumerate(clean) if "BurnedInAnnotation" in one] == [4, 5, 6, 7, 8]
    assert (clean[6].pixel_array[ink()] == 1700).mean() < 0.05
    for number in (0, 1, 2, 3, 9, 10, 11):
        np.testing.assert_array_equal(clean[number].pixel_array, frames[number])


def test_a_label_map_among_the_slices_is_no_slice(tmp_path):
    paths = copies(tmp_path / "a", series(5, 6))
    labels = pydicom.dcmread(paths[5])
    labels.SOPClassUID = labels.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.7"
    labels.save_as(paths[5])
    assert slices_with_text(paths) == [3, 4, 6, 7, 8]


def test_frames_too_small_for_letters_are_left_out(tmp_path):
    path = tmp_path / "small.dcm"
    path.write_bytes(save(image(Who(random.Random(4)), size=12)))
    assert not slices_with_text([path] * 5)
