"""Films in DICOM files for tests, encoded by PyAV."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import av
import numpy as np
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from tests.data.dicom_factory import make_series

SYNTAXES = {
    ("mpeg2video", "mpegts"): "1.2.840.10008.1.2.4.100",
    ("mpeg2video", "mpeg2video"): "1.2.840.10008.1.2.4.101",
    ("libx264", "mp4"): "1.2.840.10008.1.2.4.102",
    ("libx264", "h264"): "1.2.840.10008.1.2.4.104",
    ("libx265", "hevc"): "1.2.840.10008.1.2.4.107",
}
"""Codec and container to a transfer syntax that allows them."""


def make_pictures(count: int = 6, *, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    """Pictures (frame, row, column, colour), uint8: two halves of plain colour, of which the left one gets brighter."""
    pictures = np.zeros((count, *size, 3), np.uint8)
    for number, picture in enumerate(pictures):
        picture[:, : size[1] // 2] = (40 + 30 * number, 60, 60)
        picture[:, size[1] // 2 :] = (60, 60, 200)
    return pictures


def encode_film(pictures: np.ndarray, *, codec: str = "libx264", container: str = "mp4") -> bytes:
    """The film of pictures (frame, row, column, colour)."""
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as film:
        track = film.add_stream(codec, rate=25, options={"x265-params": "log-level=none"} if codec == "libx265" else {})
        track.height, track.width = pictures.shape[1:3]
        track.pix_fmt = "yuv420p"
        for picture in pictures:
            film.mux(track.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        film.mux(track.encode())
    return stream.getvalue()


def write_film(path: Path, pictures: np.ndarray, *, codec: str = "libx264", container: str = "mp4") -> Path:
    """A DICOM file with the film, of an endoscope."""
    image = make_series().slices[0]
    for keyword in ("PixelData", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"):
        if keyword in image:
            del image[keyword]
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.1.1"
    image.Modality, image.PhotometricInterpretation, image.SamplesPerPixel = "ES", "YBR_PARTIAL_420", 3
    image.PlanarConfiguration, image.PixelRepresentation = 0, 0
    image.BitsAllocated, image.BitsStored, image.HighBit = 8, 8, 7
    image.NumberOfFrames, image.Rows, image.Columns = pictures.shape[:3]
    image.PixelData = encapsulate([encode_film(pictures, codec=codec, container=container)])
    image["PixelData"].VR = "OB"
    image["PixelData"].is_undefined_length = True
    image.file_meta.TransferSyntaxUID = UID(SYNTAXES[codec, container])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path
