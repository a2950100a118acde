"""What a user is told of pixels that nothing here decodes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.uid import UID

from medseg.data.dicom_syntax import undecodable
from medseg.data.readers import read_volume
from medseg.errors import ReadError

_WITHOUT = """
import sys
sys.modules["pylibjpeg"] = None
from pydicom.uid import UID
from medseg.data.dicom_syntax import undecodable
print(undecodable(UID(sys.argv[1])))
"""


@pytest.mark.parametrize(
    ("uid", "told"),
    [
        ("1.2.840.10008.1.2.4.53", r"no extra brings a decoder: convert the files with `dcmdjpeg IN OUT` of DCMTK"),
        ("1.2.840.10008.1.2.4.102", r"\(MPEG-4 .*it is a film, which no reader of images takes"),
        ("1.2.840.10008.1.2.8.1", r"no extra brings a decoder: export the series uncompressed"),
        ("1.2.840.10008.1.2.4.70", r"no extra brings a decoder: convert the files"),
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
    for uid, package in (("1.2.840.10008.1.2.4.70", "pylibjpeg-libjpeg"), ("1.2.840.10008.1.2.4.201", "openjpeg")):
        told = subprocess.run([sys.executable, "-c", _WITHOUT, uid], capture_output=True, text=True, check=True).stdout
        assert uid in told
        assert package in told
        assert told.rstrip().endswith("on which medseg depends. Give `pip install medseg` again")


def test_progressive_jpeg_is_refused_and_read_once_it_is_converted_as_advised(test_data: Path, tmp_path: Path):
    (path,) = (test_data / "dicom_transfer_syntaxes" / "cornerstone").glob("*Process6_8*")
    with pytest.raises(ReadError, match=r"1\.2\.840\.10008\.1\.2\.4\.53 \(JPEG Spectral.*dcmdjpeg"):
        read_volume(path)
    program = shutil.which("dcmdjpeg")
    if program is None:
        pytest.skip("no dcmdjpeg here; apt-get install dcmtk")
    subprocess.run([program, path, tmp_path / "plain.dcm"], check=True)
    assert read_volume(tmp_path / "plain.dcm").shape == (512, 512)
