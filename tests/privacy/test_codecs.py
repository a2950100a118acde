"""Films and other coded pixels in de-identification: what leaves is the pictures, plain, after a look at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, ImageFont
from pydicom.encaps import encapsulate, generate_frames

from medseg.data.dicom_header import read_header
from medseg.data.dicom_pixels import value_dtype, value_frames
from medseg.errors import ReadError
from medseg.privacy.frames import clean_pixel_data, decode_frames, each_frame
from medseg.privacy.pixels import clean_text
from tests.data.dicom_factory import make_series
from tests.data.film_factory import make_pictures, write_film

_PIXELS = 0x7FE00010


def _syntax(content: pydicom.Dataset) -> str:
    return str(content.file_meta.TransferSyntaxUID)


def _read_again(content: pydicom.Dataset, folder: Path) -> pydicom.Dataset:
    content.save_as(folder / "again.dcm")
    return pydicom.dcmread(folder / "again.dcm")


def test_a_film_leaves_as_plain_frames_that_hold_its_pictures_and_nothing_else(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film", make_pictures(4))
    header = read_header(path)
    expected = np.stack(list(value_frames(header, value_dtype([header]))))
    content = pydicom.dcmread(path)
    clean = clean_pixel_data(content, _PIXELS, _syntax(content))
    assert (clean.transfer_syntax, clean.photometric) == ("1.2.840.10008.1.2.1", "RGB")
    assert clean.data == expected.tobytes()
    (third,) = each_frame(content, _PIXELS, _syntax(content), places=[2])
    assert np.array_equal(third, expected[2])


def test_text_in_a_film_is_painted_over_in_every_frame(tmp_path: Path) -> None:
    pytest.importorskip("rapidocr_onnxruntime")
    pictures = make_pictures(3, size=(240, 320))
    for place, picture in enumerate(pictures):
        drawn = Image.fromarray(picture)
        ImageDraw.Draw(drawn).text((40, 30), "MUELLERMEIER 1961", fill="white", font=ImageFont.load_default(20))
        pictures[place] = np.asarray(drawn)
    content = pydicom.dcmread(write_film(tmp_path / "film", pictures))
    clean = clean_text(content, _PIXELS, _syntax(content))
    frames = np.frombuffer(clean.data, np.uint8).reshape(3, 240, 320, 3)
    assert frames[:, 35:50, 45:200].max() == 0
    assert frames[:, 100:].min() > 0


def test_a_film_that_is_too_long_to_leave_uncompressed_is_refused_with_its_size(tmp_path: Path) -> None:
    content = pydicom.dcmread(write_film(tmp_path / "film", make_pictures()))
    content.NumberOfFrames = 200_000
    content = _read_again(content, tmp_path)
    with pytest.raises(ReadError, match=r"the film or image has 3\.7 GB; expected at most 1\.1"):
        decode_frames(content, _PIXELS, _syntax(content))


def test_runs_on_which_a_decoder_panics_are_refused(tmp_path: Path) -> None:
    content = pydicom.dcmread(make_series((1, 40, 32)).write(tmp_path)[0])
    content.compress("1.2.840.10008.1.2.5")
    frame = bytearray(next(generate_frames(content.PixelData, number_of_frames=1)))
    frame[80:] = bytes([129]) * (len(frame) - 80)  # Each pair of bytes stands for 128 pixels.
    content.PixelData = encapsulate([bytes(frame)])
    content = _read_again(content, tmp_path)
    for read in (decode_frames, clean_pixel_data, lambda *arguments: list(each_frame(*arguments))):
        with pytest.raises(ReadError, match="found damaged or unknown ones"):
            read(content, _PIXELS, _syntax(content))
