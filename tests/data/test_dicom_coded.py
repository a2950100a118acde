"""Pixels that pydicom doesn't decode: films, JPEG XL, frames deflated or plain one by one, single bits."""

from __future__ import annotations

import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import UID

from medseg.data.dicom_header import read_header
from medseg.data.dicom_pixels import value_dtype, value_frames
from medseg.data.dicom_sort import sort_series
from medseg.data.readers import read_label, read_volume
from medseg.errors import ReadError
from medseg.privacy.dicom import read_dicom, syntax_of
from medseg.privacy.film import Film
from medseg.privacy.frames import clean_pixel_data
from tests.data.dicom_factory import make_enhanced, make_item, make_series
from tests.data.film_factory import SYNTAXES, encode_film, make_pictures, write_film
from tests.data.seg_factory import import_structures, make_seg, segment_numbers, source_images, write_seg


def _frames(path: Path) -> list[np.ndarray]:
    header = read_header(path)
    return list(value_frames(header, value_dtype([header])))


def _assert_alike(found: list[np.ndarray], pictures: np.ndarray) -> None:
    assert len(found) == len(pictures)
    for one, picture in zip(found, pictures, strict=True):
        for column in (10, 85):  # Away from the edge between the halves, where lossy coding rings.
            assert np.abs(one[20:44, column].astype(int) - picture[20:44, column]).max() <= 8


@pytest.mark.parametrize(("codec", "container"), list(SYNTAXES))
def test_a_film_has_the_pictures_that_were_filmed(codec: str, container: str, tmp_path: Path) -> None:
    pictures = make_pictures()
    found = _frames(write_film(tmp_path / "film", pictures, codec=codec, container=container))
    assert found[0].shape == (64, 96, 3)
    _assert_alike(found, pictures)


def test_a_film_becomes_a_case_a_picture(tmp_path: Path) -> None:
    pictures = make_pictures(4)
    write_film(tmp_path / "in" / "film", pictures)
    report = import_structures(tmp_path / "in", tmp_path / "out")
    assert (report.cases, report.patients, len(report.refusals)) == (4, 1, 0)
    written = sorted((tmp_path / "out").rglob("*.png"))
    _assert_alike([np.swapaxes(np.moveaxis(read_volume(path).array, 0, -1), 0, 1) for path in written], pictures)


def test_a_film_that_is_not_what_its_header_states_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = write_film(tmp_path / "film", make_pictures())
    film = encode_film(make_pictures())
    for change, reason in (
        ({"NumberOfFrames": 9}, "expected 9 frames; found 6"),
        ({"NumberOfFrames": 3}, "expected 3 frames, as the header states; the film has more"),
        ({"Rows": 32}, "expected pictures of 96 x 32 pixels; the film's have 96 x 64"),
        ({"PixelData": encapsulate([film[:200]])}, "the film is damaged, or none"),
        ({"PixelData": encapsulate([film.replace(b"avc1", b"xvc1")])}, "the film is of a codec that isn't read"),
        ({"PixelData": encapsulate([film])[:6]}, "the film's fragments are damaged"),
        ({"PixelData": encapsulate([film])[:8]}, "the film"),
        ({"PixelData": encapsulate([b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n"])}, "the film is damaged, or none"),
    ):
        content = pydicom.dcmread(path)
        for keyword, value in change.items():
            setattr(content, keyword, value)
        content.save_as(tmp_path / "other")
        with pytest.raises(ReadError, match=reason):
            _frames(tmp_path / "other")


def test_a_film_is_read_forwards_and_begins_anew_to_go_back() -> None:
    film = Film(encapsulate([encode_film(make_pictures())]), rows=64, columns=96, frames=6)
    reds = [int(next(film.read([place]))[30, 10, 0]) for place in (0, 3, 4, 1, 5)]
    assert np.abs(np.array(reds) - [40, 130, 160, 70, 190]).max() <= 8


def _coded(path: Path, frames: list[bytes], syntax: str) -> Path:
    content = pydicom.dcmread(path)
    content.PixelData = encapsulate(frames)
    content["PixelData"].VR = "OB"
    content["PixelData"].is_undefined_length = True
    # pydicom doesn't write a transfer syntax that it doesn't know: one as long is written in its place.
    known = "1.2.840.10008.1.2.4.91" if len(syntax) <= 22 else "1.2.840.10008.1.2.4.201"
    content.file_meta.TransferSyntaxUID = UID(known)
    content.save_as(path)
    padded = (known.ljust(24, "\0") if len(known) > 22 else known).encode()
    path.write_bytes(path.read_bytes().replace(padded, syntax.ljust(len(padded), "\0").encode(), 1))
    return path


def _deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("name", ["JPEG XL", "deflated", "plain"])
def test_a_slice_has_its_values_however_its_frame_is_coded(name: str, tmp_path: Path) -> None:
    path = make_series((1, 40, 32)).write(tmp_path)[0]
    before = read_volume(path).array
    stored = pydicom.dcmread(path).pixel_array
    unsigned = stored.view(f"u{stored.dtype.itemsize}")
    coded, syntax = {
        "JPEG XL": (imagecodecs.jpegxl_encode(unsigned, lossless=True), "1.2.840.10008.1.2.4.110"),
        "deflated": (_deflated(stored.tobytes()), "1.2.840.10008.1.2.8.1"),
        "plain": (stored.tobytes(), "1.2.840.10008.1.2.1.98"),
    }[name]
    _coded(path, [coded], syntax)
    assert np.array_equal(read_volume(path).array, before)
    _coded(path, [coded[: len(coded) // 2]], syntax)
    with pytest.raises(ReadError, match=r"a (deflated )?frame (holds fewer pixels|is damaged)"):
        read_volume(path)


def test_frames_of_two_volumes_in_one_file_keep_their_places_when_they_are_coded(tmp_path: Path) -> None:
    """Kernels take turns along the slices, and the file has these from the last to the first."""
    series = make_series((8, 9, 7))
    content = make_enhanced(series, order=range(7, -1, -1))
    for number, frame in enumerate(content.PerFrameFunctionalGroupsSequence):
        frame.CTReconstructionSequence = [make_item(ConvolutionKernel=f"KERNEL{number % 2}")]
    path = tmp_path / "two.dcm"
    content.save_as(path)

    def values() -> list[list[np.ndarray]]:
        (found, _) = sort_series([path])
        headers = [header for one in found for header in one.headers]
        assert len(headers) == 2
        by_height = [np.argsort([frame.position[2] for frame in header.frames]) for header in headers]
        read = [list(value_frames(header, value_dtype([header]))) for header in headers]
        return [[frames[place] for place in order] for frames, order in zip(read, by_height, strict=True)]

    plain = values()
    _coded(path, [_deflated(plane.tobytes()) for plane in series.voxels[::-1]], "1.2.840.10008.1.2.8.1")
    assert np.array_equal(values(), plain)


def test_a_jpeg_xl_of_another_size_than_the_header_s_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    path = make_series((1, 40, 32)).write(tmp_path)[0]
    large = imagecodecs.jpegxl_encode(np.zeros((512, 512), np.uint16), lossless=True, effort=1)
    _coded(path, [large], "1.2.840.10008.1.2.4.112")
    with pytest.raises(ReadError, match=r"has not the 32 x 40 pixels|has not the 40 x 32 pixels"):
        read_volume(path)


def _runs(plane: bytes, rows: int, columns: int) -> bytes:
    return RLELosslessEncoder.encode(
        plane, rows=rows, columns=columns, samples_per_pixel=1, number_of_frames=1, bits_allocated=8, bits_stored=8,
        pixel_representation=0, photometric_interpretation="MONOCHROME2",
    )  # fmt: skip


@pytest.mark.parametrize("form", ["deflated", "runs of bytes", "runs of bits"])
def test_a_seg_of_single_bits_and_its_clean_copy_have_its_voxels_however_its_frames_are_packed(
    form: str, tmp_path: Path
) -> None:
    """Frames of 9 x 7 pixels end within a byte; run-length encoded ones hold a byte a pixel, or a bit."""
    series = make_series((5, 9, 7))
    series.write(tmp_path / "ct")
    path = write_seg(make_seg(source_images(series), segment_numbers((5, 9, 7), values=1)), tmp_path / "seg.dcm")
    expected, _ = read_label(path, image=tmp_path / "ct")
    content = pydicom.dcmread(path)
    rows, columns = int(content.Rows), int(content.Columns)
    masks = [np.ascontiguousarray(mask, np.uint8) for mask in np.atleast_3d(content.pixel_array)]
    packed = [np.packbits(mask, bitorder="little").tobytes() for mask in masks]
    frames, syntax = {
        "deflated": ([_deflated(one) for one in packed], "1.2.840.10008.1.2.8.1"),
        "runs of bytes": ([_runs(mask.tobytes(), rows, columns) for mask in masks], "1.2.840.10008.1.2.5"),
        "runs of bits": ([_runs(one, 1, len(one)) for one in packed], "1.2.840.10008.1.2.5"),
    }[form]
    assert expected.any()
    _coded(path, frames, syntax)
    assert np.array_equal(read_label(path, image=tmp_path / "ct")[0], expected)
    coded = read_dicom(path.read_bytes())
    copy = clean_pixel_data(coded, 0x7FE00010, syntax_of(coded))
    assert copy.data == np.packbits(np.concatenate([mask.ravel() for mask in masks]), bitorder="little").tobytes()
    assert copy.transfer_syntax == "1.2.840.10008.1.2.1"
    _coded(path, [frames[0][:3], *frames[1:]], syntax)
    with pytest.raises(ReadError, match=r"damaged|truncated|fewer pixels"):
        read_label(path, image=tmp_path / "ct")
    _coded(path, frames[:-1], syntax)
    with pytest.raises(ReadError, match=f"expected {len(frames)} frames; found {len(frames) - 1}|damaged"):
        read_label(path, image=tmp_path / "ct")
