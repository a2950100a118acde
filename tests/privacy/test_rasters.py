"""Text around voxels is found, and voxels are no text, however their grey levels read."""

from __future__ import annotations

import bz2
import gzip
import io
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from nibabel.nifti1 import Nifti1Extension
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless
from safetensors.numpy import save

from medseg.privacy.audit import audit_bytes
from medseg.privacy.rasters import voxel_spans
from tests.privacy.holders import dicom_with, sqlite_of, tar_of, zip_of

MAIL = "anna.novak@uni-klinik.de"
GREY = np.frombuffer((f"{MAIL} " * 99).encode(), np.uint8)[:2304].reshape(48, 48)
"""A picture whose rows read as text, as smooth ones do now and then."""
NOISE = b"\xff" + np.random.default_rng(0).bytes(5000) + b"\xff"
NRRD = b"NRRD0004\ntype: %s\ndimension: 2\nsizes: 48 48\nencoding: %s\n%s\n"
META = b"ObjectType = Image\nNDims = 2\n%sDimSize = 48 48\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"


def array_file(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def nifti(grey: np.ndarray, kind: type = nib.Nifti1Image, *, descrip: str = "", extension: str = "") -> bytes:
    image = kind(grey.T[..., np.newaxis], np.eye(4))  # NIfTI varies the first axis fastest
    image.header["descrip"] = descrip.encode()
    if extension:
        image.header.extensions.append(Nifti1Extension("comment", extension.encode()))
    return bytes(image.to_bytes())


def picture(grey: np.ndarray, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(grey).save(out, kind, **options)
    return out.getvalue()


def dicom(grey: np.ndarray, syntax: str = "", *, behind: bytes = b"", **values: str) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(dicom_with(**values)))
    dataset.Rows, dataset.Columns = grey.shape
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.SamplesPerPixel, dataset.PixelRepresentation = 7, 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = grey.tobytes() + behind
    dataset["PixelData"].VR = "OW"
    if syntax and syntax != RLELossless:
        dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    if syntax == JPEGBaseline8Bit:
        dataset.PixelData = encapsulate([picture(np.zeros((48, 48), np.uint8), "JPEG", comment=behind)])
    out = io.BytesIO()
    pydicom.dcmwrite(
        out, pydicom.FileDataset(None, dict(dataset.items()), preamble=b"\0" * 128, file_meta=dataset.file_meta)
    )
    return out.getvalue()


RASTERS: dict[str, Callable[[np.ndarray], bytes]] = {
    "nrrd": lambda grey: NRRD % (b"uchar", b"raw", b"") + grey.tobytes(),
    "nrrd, gzip": lambda grey: NRRD % (b"uchar", b"gzip", b"") + gzip.compress(grey.tobytes()),
    "nrrd, two gzips": lambda grey: NRRD % (b"uchar", b"gz", b"") + b"".join(map(gzip.compress, map(bytes, grey))),
    "nrrd, bzip2": lambda grey: NRRD % (b"uchar", b"bzip2", b"") + bz2.compress(grey.tobytes()),
    "meta image": lambda grey: META % b"" + grey.tobytes(),
    "meta image, zlib": lambda grey: META % b"CompressedData = True\n" + zlib.compress(grey.tobytes()),
    "nifti": nifti,
    "nifti 2": lambda grey: nifti(grey, nib.Nifti2Image),
    "nifti, gzip": lambda grey: gzip.compress(nifti(grey)),
    "array": array_file,
    "bitmap": lambda grey: picture(grey, "BMP"),
    "tiff": lambda grey: picture(grey, "TIFF"),
    "tiff of two pages": lambda grey: picture(grey, "TIFF", save_all=True, append_images=[Image.fromarray(grey)]),
    "dicom": dicom,
    "dicom, implicit": lambda grey: dicom(grey, ImplicitVRLittleEndian),
    "dicom, run lengths": lambda grey: dicom(grey, RLELossless),
    "dicom, big endian": lambda grey: dicom(grey, ExplicitVRBigEndian),
}


@pytest.mark.parametrize("kind", RASTERS)
def test_grey_levels_that_read_as_text_are_no_find(kind: str) -> None:
    assert audit_bytes(RASTERS[kind](GREY), "case", identities=None) == []


@pytest.mark.parametrize("kind", [kind for kind in RASTERS if "gzip" not in kind and "z" not in kind])
def test_what_follows_the_voxels_is_searched(kind: str) -> None:
    finds = audit_bytes(RASTERS[kind](np.zeros_like(GREY)) + MAIL.encode(), "case", identities=None)
    assert "mail address" in {find.rule for find in finds}


def test_the_spans_are_the_voxels() -> None:
    for kind in ("nrrd", "meta image", "nifti", "nifti 2", "array", "tiff", "dicom", "dicom, implicit"):
        data = RASTERS[kind](GREY)
        assert b"".join(data[span] for span in voxel_spans(data)) == GREY.tobytes(), kind


@pytest.mark.parametrize(
    "holder",
    [
        lambda: nifti(GREY, descrip=MAIL),
        lambda: gzip.compress(nifti(GREY, descrip=MAIL)),
        lambda: nifti(GREY, extension=MAIL),
        lambda: NRRD % (b"uchar", b"raw", b"patient:=" + MAIL.encode() + b"\n") + GREY.tobytes(),
        lambda: NRRD % (b"uchar", b"gzip", b"") + gzip.compress(GREY.tobytes() + MAIL.encode()),
        lambda: META % (b"Comment = " + MAIL.encode() + b"\n") + GREY.tobytes(),
        lambda: dicom(GREY, behind=MAIL.encode()),
        lambda: dicom(GREY, JPEGBaseline8Bit, behind=MAIL.encode()),
        lambda: dicom(GREY, ImplicitVRLittleEndian, PatientComments=MAIL),
        lambda: MAIL.encode().ljust(128, b"\0") + dicom(GREY)[128:],
        lambda: picture(GREY, "WEBP", exif=b"Exif\0\0" + MAIL.encode()),
        lambda: picture(GREY, "GIF", comment=MAIL.encode()),
        lambda: picture(GREY, "TIFF", tiffinfo={270: MAIL}),
        lambda: picture(np.zeros_like(GREY), "PNG") + MAIL.encode(),
        lambda: array_file(np.array([MAIL] * 3)),
        lambda: array_file(np.array([MAIL.encode()])),
        lambda: save({"w": np.zeros(999)}, metadata={"author": MAIL}),
        lambda: save({MAIL: np.zeros(999)}),
        lambda: pickle.dumps({"author": MAIL, "w": np.random.default_rng(0).random(999)}),
        lambda: sqlite_of(NOISE + MAIL.encode() + NOISE),
        lambda: NOISE + MAIL.encode() + NOISE,
        lambda: zip_of(pickle.dumps([MAIL, NOISE])),
        lambda: tar_of(picture(GREY, "JPEG", comment=MAIL.encode())),
    ],
)
def test_a_mail_address_in_a_file_that_is_no_text_is_found_without_a_list(holder: Callable[[], bytes]) -> None:
    assert "mail address" in {find.rule for find in audit_bytes(holder(), "case", identities=None)}


@pytest.mark.parametrize("start", [(2, 0, 0, 0), (8, 0, 0, 0), (2, 0, 5, 0), (8, 0, 5, 0, 0, 0, 0, 0, 8, 0, 5, 0)])
def test_a_label_map_that_begins_like_an_attribute_is_no_damaged_dicom_file(start: tuple[int, ...]) -> None:
    label = np.zeros(2304, np.uint8)
    label[: len(start)] = start
    label[99:200] = 5
    assert audit_bytes(RASTERS["nrrd, gzip"](label.reshape(48, 48)), "case.seg.nrrd", identities=None) == []
    assert audit_bytes(label.tobytes(), "case.raw", identities=None) == []


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ""])
def test_a_dicom_file_without_preamble_and_meta_elements_is_opened(syntax: str) -> None:
    dataset = pydicom.dcmread(io.BytesIO(dicom(GREY, syntax, PatientName="Novakova^Jana", SpecificCharacterSet="x")))
    dataset.PatientIdentityRemoved = "NO"
    out = io.BytesIO()
    pydicom.dcmwrite(out, pydicom.Dataset(dataset), implicit_vr=bool(syntax), little_endian=True)
    finds = audit_bytes(out.getvalue(), "IM1", identities=None)
    assert "patient's attributes without Patient Identity Removed" in {find.rule for find in finds}


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_pydicom_says_of_a_wrong_value_is_not_repeated(jobs: int, tmp_path: Path) -> None:
    for number in range(12):
        wrong = dicom(GREY).replace(b"1.2.840.10008.5.1.4.1.1.2", b"drhouse@stmarys.org.12345")
        (tmp_path / f"{number}.dcm").write_bytes(
            wrong.replace(b"1.2.840.10008.1.2.1\0", b"drhouse@stmarys.org\0", number % 2)
        )
    program = "from medseg.cli.app import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "audit", str(tmp_path), "--jobs", str(jobs)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "drhouse" in done.stdout + done.stderr) == (4, False)


@pytest.mark.parametrize("zeros", [b"\0", b"\0\0", b"\0\0\0\0\0\0"])
def test_numbers_that_are_mostly_zeros_are_no_text(zeros: bytes) -> None:
    """The floats of an outline at half millimetres have two bytes each that aren't zero."""
    letters = (MAIL + " ").encode() * 9
    width = 2 if len(zeros) > 1 else 3
    numbers = b"".join(zeros + letters[at : at + width] for at in range(0, len(letters), width))
    assert audit_bytes(b"\x93\xff\x01\x02" * 9 + numbers, "case.bin", identities=None) == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("at", range(2))
def test_text_of_any_width_is_found_at_any_place_of_a_file_that_is_none(encoding: str, at: int) -> None:
    noise = np.random.default_rng(at).bytes(4096 + at)
    data = noise + b"\xff" * 4 + "born on 1948-02-17".encode(encoding) + b"\xff" * 4 + noise
    rules = {find.rule for find in audit_bytes(data, "case.bin", identities=None)}
    assert rules == {"date beside a word like birth or study"}
