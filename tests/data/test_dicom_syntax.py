"""What a user is told of pixels that nothing here decodes."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID

from medseg.data.dicom_syntax import undecodable
from medseg.data.readers import read_volume
from medseg.errors import ReadError
from tests.data.dicom_factory import make_series, set_pixels

_WITHOUT = """
import sys
for name in ("pylibjpeg", "av", "imagecodecs"):
    sys.modules[name] = None
from pydicom.uid import UID
from medseg.data.dicom_syntax import undecodable
for uid in sys.argv[1:]:
    print(undecodable(UID(uid)))
"""


@pytest.mark.parametrize(
    ("uid", "told"),
    [
        ("1.2.840.10008.1.2.4.59", r"no extra brings a decoder: convert the files with `dcmdjpeg IN OUT` of DCMTK"),
        ("1.2.840.10008.1.2.4.92", r"no extra brings a decoder: export the series uncompressed"),
        ("1.2.840.10008.1.2.4.70", r"no extra brings a decoder: convert the files"),
        ("1.2.840.10008.1.2.4.94", r"\(JPIP Referenced\).*names a server that holds its pixels"),
        ("1.2.840.10008.1.2.7.1", r"\(SMPTE.*a live video signal"),
    ],
)
def test_a_standard_syntax_is_named_with_what_to_do(uid, told):
    message = undecodable(UID(uid))
    assert message.startswith(f"the transfer syntax {uid}")
    with pytest.raises(ReadError, match=told):
        raise ReadError(message)


def test_a_private_syntax_is_not_repeated():
    assert "1.2.826.0.1.99" not in undecodable(UID("1.2.826.0.1.99"))


def test_an_installation_that_lost_a_decoder_is_told_which_package():
    packages = {"1.2.840.10008.1.2.4.70": "pylibjpeg-libjpeg", "1.2.840.10008.1.2.4.201": "openjpeg"}
    command = [sys.executable, "-c", _WITHOUT, *packages]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for line, (uid, package) in zip(told, packages.items(), strict=True):
        assert uid in line
        assert package in line
        assert line.endswith("on which medseg depends. Give `pip install medseg` again")


_OF_EXTRAS = {
    "1.2.840.10008.1.2.4.100": ("MPEG2 Main Profile / Main Level", "video"),
    "1.2.840.10008.1.2.4.102": ("MPEG-4 AVC/H.264 High Profile / Level 4.1", "video"),
    "1.2.840.10008.1.2.4.107": ("HEVC/H.265 Main Profile / Level 5.1", "video"),
    "1.2.840.10008.1.2.4.112": ("JPEG XL", "codecs"),
    "1.2.840.10008.1.2.4.55": ("JPEG Full Progression, Non-Hierarchical (Process 10 and 12)", "codecs"),
}


def test_a_syntax_that_an_extra_decodes_names_the_extra_and_the_command_that_installs_it():
    command = [sys.executable, "-c", _WITHOUT, *_OF_EXTRAS]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [
        f"the transfer syntax {uid} ({name}) is not decoded here: it needs an optional package; install it with: "
        f'pip install "medseg[{extra}]"'
        for uid, (name, extra) in _OF_EXTRAS.items()
    ]


def test_progressive_jpeg_is_read_as_dcmtk_reads_it(test_data: Path, tmp_path: Path):
    (path,) = (test_data / "dicom_transfer_syntaxes" / "cornerstone").glob("*Process6_8*")
    program = shutil.which("dcmdjpeg")
    if program is None:
        pytest.skip("no dcmdjpeg here; apt-get install dcmtk")
    subprocess.run([program, path, tmp_path / "plain.dcm"], check=True)
    ours, theirs = read_volume(path).array, read_volume(tmp_path / "plain.dcm").array
    assert ours.shape == theirs.shape == (1, 512, 512)
    assert np.abs(ours - theirs).max() <= 1  # Two inverse transforms of the same coefficients.


@pytest.mark.parametrize("header", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize(("keep_rgb", "marked"), [(True, True), (True, False), (False, True), (False, False)])
def test_colours_of_progressive_jpeg_are_those_of_baseline(tmp_path: Path, header: str, keep_rgb: bool, marked: bool):
    """Also where nothing in the stream says whether red is red, and the header has to."""
    colours = np.zeros((32, 32, 3), np.uint8)
    colours[:16, :, 0], colours[16:, :, 2], colours[:, 16:, 1] = 200, 180, 90
    found = []
    for syntax in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.55"):
        stream = io.BytesIO()
        progressive = syntax.endswith("55")
        Image.fromarray(colours).save(
            stream, "JPEG", quality=95, subsampling=0, keep_rgb=keep_rgb, progressive=progressive
        )
        data = make_series((1, 4, 4)).slices[0]
        data.Modality = "XC"
        del data.RescaleSlope, data.RescaleIntercept, data.ImagePositionPatient
        set_pixels(data, colours)
        data.PhotometricInterpretation, data.file_meta.TransferSyntaxUID = header, UID(syntax)
        data.PixelData = encapsulate([stream.getvalue() if marked else _unmarked(stream.getvalue())])
        data["PixelData"].VR = "OB"
        data.save_as(tmp_path / syntax, enforce_file_format=True)
        found.append(read_volume(tmp_path / syntax).array.astype(int))
    assert np.abs(found[0] - found[1]).max() <= 1
    if header == "RGB" and keep_rgb:
        assert np.abs(found[0].transpose(2, 1, 0) - colours).max() <= 4


def _unmarked(stream: bytes) -> bytes:
    """Without JFIF and Adobe segments, its components numbered from 1."""
    head, mark, rest = stream.partition(b"\xff\xdb")
    stream = head[:2] + mark + rest
    for start, places in ((rb"\xff[\xc0\xc2]", (10, 13, 16)), (rb"\xff\xda", None)):
        for match in re.finditer(start, stream):
            own = places or tuple(5 + 2 * n for n in range(stream[match.start() + 4]))
            for place in (match.start() + offset for offset in own):
                number = {82: 1, 71: 2, 66: 3}.get(stream[place], stream[place])
                stream = stream[:place] + bytes([number]) + stream[place + 1 :]
    return stream


def test_noise_of_decoders_does_not_reach_the_terminal(test_data: Path, tmp_path: Path):
    """GDCM's libjpeg tries three depths of bits and complains of the first; pylibjpeg's Rust code panics."""
    (twelve,) = (test_data / "dicom_transfer_syntaxes").rglob("RG2_JPLY.dcm")
    runs = dcmread(next((test_data / "dicom_transfer_syntaxes").rglob("MR_small_RLE.dcm")))
    frame = bytearray(next(generate_frames(runs.PixelData, number_of_frames=1)))
    frame[80:] = bytes([127]) * (len(frame) - 80)  # Runs that lead out of the picture.
    runs.PixelData = encapsulate([bytes(frame)])
    runs.save_as(tmp_path / "runs.dcm")
    code = (
        "import sys; from medseg.data.readers import read_volume; from medseg.errors import ReadError\n"
        "print(read_volume(sys.argv[1]).shape)\n"
        "try: read_volume(sys.argv[2])\n"
        "except ReadError as error: print(error, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, twelve, tmp_path / "runs.dcm"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "(1760, 2140)\n"
    assert done.stderr.startswith("the transfer syntax 1.2.840.10008.1.2.5 (RLE Lossless) is not decoded here, or its")
    assert len(done.stderr.splitlines()) == 1


def test_python_s_own_words_reach_the_terminal_while_a_decoder_is_silent():
    code = (
        "import os, sys; from medseg.privacy.decoders import in_silence\n"
        "with in_silence(): os.write(2, b'noise'); print('word', file=sys.stderr)\n"
        "print('after', file=sys.stderr); os.write(2, b'end')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "word\nafter\nend"
