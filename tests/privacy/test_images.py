from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageOps
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGBaseline8Bit

from medseg.errors import ReadError
from medseg.privacy.dicom import read_dicom
from medseg.privacy.frames import clean_pixel_data
from medseg.privacy.images import clean_image, clean_jpeg
from medseg.privacy.jpeg import strip_jpeg, strip_jpeg2000
from tests.privacy.corpus import SC, Who, image, save
from tests.privacy.corpus.pictures import jpeg_photo, png_photo, tiff_photo


def who() -> Who:
    return Who(random.Random(3))


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}, {"subsampling": 0}])
@pytest.mark.parametrize("shape", [(33, 47, 3), (17, 9)])
def test_every_kind_of_jpeg_keeps_its_entropy_coded_data(shape, options):
    data = encoded(Image.fromarray(noise(*shape)), "JPEG", **options)
    clean = clean_jpeg(data + b"Novakova")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(clean))), np.asarray(Image.open(io.BytesIO(data))))
    assert b"Novakova" not in clean


def test_a_turned_jpeg_keeps_its_orientation_and_nothing_else_of_exif():
    picture = Image.fromarray(noise(8, 12, 3))
    exif = picture.getexif()
    exif[0x0112], exif[0x010F] = 6, "Novakova"
    clean = Image.open(io.BytesIO(clean_jpeg(encoded(picture, "JPEG", exif=exif))))
    assert dict(clean.getexif()) == {0x0112: 6}


@pytest.mark.parametrize(("kind", "suffix"), [("WEBP", ".webp"), ("TIFF", ".tif")])
def test_a_turned_picture_is_seen_as_before_and_keeps_nothing_else_of_exif(kind, suffix):
    picture = Image.fromarray(noise(8, 12, 3))
    exif = picture.getexif()
    exif[0x0112], exif[0x010E] = 6, "Novakova"
    data = encoded(picture, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    clean = clean_image(data, suffix)
    seen, meant = (np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file)))) for file in (clean, data))
    np.testing.assert_array_equal(seen, meant)
    assert seen.shape == (12, 8, 3)
    assert b"Novakova" not in clean
    if kind != "TIFF":
        assert dict(Image.open(io.BytesIO(clean)).getexif()) == {0x0112: 6}


@pytest.mark.parametrize("cut", [3, 30, 300, -2])
def test_a_cut_off_jpeg_is_refused(cut):
    with pytest.raises(ReadError):
        clean_jpeg(encoded(Image.fromarray(noise(32, 32, 3)), "JPEG")[:cut])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_png_of_each_mode_keeps_its_visible_pixels(mode):
    if mode == "I;16":
        picture = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)
    else:
        picture = Image.fromarray(noise(20, 30, 3)).convert(mode)
    clean = Image.open(io.BytesIO(clean_image(encoded(picture, "PNG"), ".png")))
    assert clean.mode == picture.mode
    np.testing.assert_array_equal(np.asarray(clean.convert("RGBA") if mode == "P" else clean),
                                  np.asarray(picture.convert("RGBA") if mode == "P" else picture))  # fmt: skip


def test_colour_under_a_zero_alpha_is_gone_and_the_rest_stays():
    data = png_photo(who())
    before, after = (np.asarray(Image.open(io.BytesIO(d))) for d in (data, clean_image(data, ".png")))
    assert not after[before[..., 3] == 0].any()
    np.testing.assert_array_equal(after[before[..., 3] > 0], before[before[..., 3] > 0])


def test_a_label_page_is_left_out_and_a_stack_of_pages_is_refused():
    clean = Image.open(io.BytesIO(clean_image(tiff_photo(who()), ".tif")))
    assert getattr(clean, "n_frames", 1) == 1
    page = Image.fromarray(noise(8, 8))
    with pytest.raises(ReadError, match="pages"):
        clean_image(encoded(page, "TIFF", save_all=True, append_images=[page]), ".tif")


def test_a_file_that_is_not_what_its_name_says_is_refused():
    with pytest.raises(ReadError):
        clean_image(jpeg_photo(who()), ".png")
    with pytest.raises(ReadError):
        clean_image(encoded(Image.fromarray(noise(9, 9)), "PNG")[:60], ".png")


def test_comments_leave_a_jpeg_2000_stream_and_the_decoder_reads_the_same():
    data = encoded(Image.fromarray(noise(40, 24)), "JPEG2000", irreversible=False, no_jp2=True)
    place = data.index(b"\xff\x52")
    marked = data[:place] + b"\xff\x64\x00\x0d\x00\x01Novakova!" + data[place:] + b"Novakova"
    clean = strip_jpeg2000(marked)
    assert b"Novakova" not in clean.data
    assert (clean.precision, clean.components, clean.rows, clean.columns) == (8, 1, 40, 24)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(clean.data))), noise(40, 24))


def test_facts_of_a_jpeg_come_from_its_frame_header():
    found = strip_jpeg(encoded(Image.fromarray(noise(21, 13, 3)), "JPEG"))
    assert (found.precision, found.components, found.rows, found.columns) == (8, 3, 21, 13)


@pytest.mark.parametrize("colours", [1, 3])
def test_bytes_that_no_block_of_a_dicom_jpeg_needs_go_and_its_pixels_stay(colours):
    shape = (32, 48) if colours == 1 else (32, 48, 3)
    frame = encoded(Image.fromarray(noise(*shape)), "JPEG", quality=90)
    ds = image(who(), SC, size=32)
    ds.Columns, ds.SamplesPerPixel = 48, colours
    ds.PhotometricInterpretation = "MONOCHROME2" if colours == 1 else "YBR_FULL_422"
    if colours == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    ds.PixelData = encapsulate([frame])
    plain = clean_pixel_data(read_dicom(save(ds)), 0x7FE00010, JPEGBaseline8Bit)
    ds.PixelData = encapsulate([frame[:-2] + b"Novakova, Jana" + frame[-2:]])
    clean = clean_pixel_data(read_dicom(save(ds)), 0x7FE00010, JPEGBaseline8Bit)
    assert clean.transfer_syntax == plain.transfer_syntax == JPEGBaseline8Bit
    assert next(generate_frames(plain.data, number_of_frames=1)).rstrip(b"\0") == strip_jpeg(frame).data
    assert b"Novakova" not in clean.data
    after = next(generate_frames(clean.data, number_of_frames=1))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(after))), np.asarray(Image.open(io.BytesIO(frame))))
