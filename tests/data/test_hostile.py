"""Files made to do harm: they lead out of their folder, claim what they don't hold, or hide what they are."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from medseg.data.archive import is_dicomdir
from medseg.data.dicom import read_series
from medseg.data.importer import ImportOptions, import_tree
from medseg.data.itk import read_itk_fields
from medseg.data.readers import read_geometry, read_volume
from medseg.errors import DataError, GeometryError, ReadError, RequestError
from medseg.privacy.inputs import input_files
from tests.data.dicom_factory import make_series
from tests.data.import_factory import write_picture

_NRRD = (
    "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 4 4 4\nspace: left-posterior-superior\n"
    "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n{}\n\n"
)
_META = (
    "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_UCHAR\nElementSpacing = 1 1 1\n"
    "TransformMatrix = {}\nElementDataFile = {}\n"
)
_UPRIGHT = "1 0 0 0 1 0 0 0 1"
_OUTSIDE = ("../secret.raw", "sub/../../secret.raw", "{folder}/secret.raw", "link.raw", "..\\secret.raw")


@pytest.mark.parametrize("name", [*_OUTSIDE, "LIST\n../secret.raw", "../secret%d.raw 1 4 1"])
@pytest.mark.parametrize("ending", [".nhdr", ".nrrd", ".mhd", ".mha"])
def test_a_header_that_leads_to_another_folder_is_refused(tmp_path: Path, name: str, ending: str) -> None:
    (tmp_path / "secret.raw").write_bytes(bytes(range(64)))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link.raw").symlink_to(tmp_path / "secret.raw")
    named = name.format(folder=tmp_path)
    path = tmp_path / "in" / f"a{ending}"
    text = _NRRD.format(f"Data File: {named}") if ending in (".nhdr", ".nrrd") else _META.format(_UPRIGHT, named)
    path.write_text(text)
    for read in (read_volume, read_geometry):
        with pytest.raises(ReadError, match="outside of its own folder"):
            read(path)


@pytest.mark.parametrize(
    ("ending", "line"),
    [
        (".mhd", "ElementDataFile = LIST\t3\n{}\n{}\n{}\n{}"),
        (".mhd", "ElementDataFile = LIST3\n{}\n{}\n{}\n{}"),
        (".mhd", "Comment = x\rElementDataFile = {}"),
        (".mhd", "ElementDataFile\0 = {}"),
        (".mhd", "Comment \n= x\nElementDataFile \n= {}"),
        (".mhd", "junk\nElementDataFile = LOCAL\nElementDataFile = {}"),
        (".mhd", "elementdatafile = LOCAL\nElementDataFile = {}"),
        (".nhdr", "data file: LIST\t3\n{}\n{}\n{}\n{}"),
        (".nhdr", "data file: LIST3\n{}\n{}\n{}\n{}"),
        (".nhdr", "content: x\rdata file: {}"),
    ],
)
def test_a_header_that_itk_reads_otherwise_than_it_looks_is_refused(tmp_path: Path, ending: str, line: str) -> None:
    secret = tmp_path / "secret.raw"
    secret.write_bytes(bytes(range(64)))
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"a{ending}"
    head = _NRRD if ending == ".nhdr" else _META.replace("ElementDataFile = {}", "{}").replace("{}", _UPRIGHT, 1)
    path.write_text(head.format(line.replace("{}", str(secret))), newline="")
    with pytest.raises(ReadError, match=r"outside of its own folder|damaged"):
        read_volume(path)


@pytest.mark.parametrize("name", ["%n%d 0 1 1", "%9999999d 0 1 1", "%s%d 0 1 1"])
@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
def test_patterns_on_which_itk_crashes_are_refused(tmp_path: Path, name: str, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    path.write_text(_NRRD.format(f"data file: {name}") if ending == ".nhdr" else _META.format(_UPRIGHT, name))
    with pytest.raises(ReadError, match="expected one number"):
        read_volume(path)


def test_fields_that_itk_writes_are_read(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.zeros((2, 3, 4), np.uint8))
    for field, value in {"0010|4000": "", "(private)": "a\nb", "0008|103e": "\x1b$B"}.items():
        image.SetMetaData(field, value)
    for ending in (".mha", ".mhd", ".nrrd", ".nhdr"):
        sitk.WriteImage(image, str(tmp_path / f"a{ending}"))
        assert read_volume(tmp_path / f"a{ending}").shape == (4, 3, 2)


@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
def test_a_header_beside_its_voxels_is_read(tmp_path: Path, ending: str) -> None:
    voxels = np.arange(64, dtype=np.uint8).reshape(4, 4, 4)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / f"a{ending}"))
    np.testing.assert_array_equal(read_volume(tmp_path / f"a{ending}").array[0], voxels.T)


def test_axis_directions_on_which_itk_hangs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    path.write_bytes(_META.format("1 0 0 0 1 0 1e308 0 1", "LOCAL").encode() + bytes(64))
    with pytest.raises(GeometryError, match="directions of length 1"):
        read_volume(path)


@pytest.mark.parametrize("field", ["space directions:" + " (1,0,0)" * 40, f"space origin: ({'0,' * 40}0)"])
def test_nrrd_headers_on_which_itk_crashes_are_refused(tmp_path: Path, field: str) -> None:
    path = tmp_path / "a.nrrd"
    path.write_bytes(_NRRD.format(field).encode() + bytes(64))
    with pytest.raises(ReadError, match="more axes than there can be"):
        read_volume(path)


def test_fields_that_are_no_utf8_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    path.write_bytes(_NRRD.format("Segment0_X:=y").encode().replace(b"Segment0_X", b"Segment0_\xff") + bytes(64))
    with pytest.raises(ReadError, match="no UTF-8"):
        read_itk_fields(path)


def test_volumes_that_would_grow_as_no_image_does_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[40:56] = struct.pack("<8h", 3, 1000, 1000, 1000, 1, 1, 1, 1)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(bytes(content)) + bytes(2_000_000))
    with pytest.raises(ReadError, match="decompression bomb"):
        read_volume(tmp_path / "a.nii.gz")
    text = _NRRD.format("endian: little").replace("4 4 4", "1200 1000 1000").replace("raw", "gzip")
    (tmp_path / "a.nrrd").write_bytes(text.encode() + gzip.compress(bytes(1000)))
    with pytest.raises(ReadError, match="decompression bomb"):
        read_volume(tmp_path / "a.nrrd")


def test_a_dicom_file_of_few_bytes_that_claims_a_great_image_is_refused(tmp_path: Path) -> None:
    series = make_series((1, 6, 7))
    data = series.slices[0]
    data.file_meta.TransferSyntaxUID, data.Rows, data.Columns = RLELossless, 30000, 30000
    data.PixelData = encapsulate([struct.pack("<16I", 2, 64, 70, *[0] * 13) + b"\x81\0" * 10])
    data["PixelData"].is_undefined_length = True
    with pytest.raises(ReadError, match="decompression bomb"):
        read_series(series.write(tmp_path))


def test_an_import_of_nothing_but_refused_files_says_why(tmp_path: Path) -> None:
    series = make_series((1, 6, 7))
    series.slices[0].Rows = series.slices[0].Columns = 65535
    series.write(tmp_path / "in")
    with pytest.raises(RequestError, match="none that fits:\n  1 x the header claims more than"):
        import_tree(tmp_path / "in", tmp_path / "out", options=ImportOptions())


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
        '<annotations><image name="a.png" id="&x;"/></annotations>',
        "<!DOCTYPE a [<!ENTITY b0 'ab'>"
        + "".join(f"<!ENTITY b{n + 1} '{f'&b{n};' * 10}'>" for n in range(12))
        + ']><annotations><image id="&b12;" name="a.png"/></annotations>',
    ],
)
def test_xml_with_entities_is_told_not_passed_over(tmp_path: Path, text: str) -> None:
    write_picture(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "a.xml").write_text(text)
    with pytest.raises(RequestError, match=r"outline nothing.*Refused:\n  1 x CVAT: the XML declares"):
        import_tree(tmp_path / "in", tmp_path / "out", options=ImportOptions())


def test_a_zip_member_without_a_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"content")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    place = content.index(b"PK\x01\x02")
    content[place + 28 : place + 32] = struct.pack("<HH", 0, 1)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(ReadError, match="leads out"):
        import_tree(tmp_path / "a.zip", tmp_path / "out", options=ImportOptions())
    assert input_files(tmp_path) == ["a.zip\0/"]


def test_a_damaged_dicomdir_is_none(tmp_path: Path) -> None:
    (path,) = make_series((1, 6, 7)).write(tmp_path, names=["DICOMDIR"])
    content = path.read_bytes()
    place = content.index(b"\x02\x00\x02\x00UI")
    path.write_bytes(content[: place + 4] + b"\x55\xff" + content[place + 6 :])
    try:
        assert not is_dicomdir(path)
    except DataError as error:
        raise AssertionError("expected an answer, not a refusal") from error
