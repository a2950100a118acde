from __future__ import annotations

import bz2
import gzip
import random
import tracemalloc
import zlib

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import ReadError
from medseg.privacy.nifti import clean_nifti
from medseg.privacy.unfold import gunzip
from medseg.privacy.volumes import clean_meta_image, clean_nrrd
from tests.privacy.corpus import Who
from tests.privacy.corpus.volumes import meta_image, nifti2, nrrd

NRRD = b"NRRD0004\ntype: uchar\ndimension: 1\nsizes: %s\nencoding: %s\n\n"
MHA = b"""ObjectType = Image
NDims = 3
BinaryData = True
CompressedData = True
DimSize = %s
ElementType = MET_UCHAR
ElementDataFile = LOCAL
"""


def who() -> Who:
    return Who(random.Random(4))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32, np.float64, np.uint16])
def test_a_nifti_of_each_type_keeps_voxels_affine_and_scale(kind):
    affine = np.array([[0, -2, 0.5, 3], [1.5, 0, 0, -7], [0, 0.1, 4, 11], [0, 0, 0, 1]])
    made = nib.Nifti1Image(np.arange(60).reshape(5, 4, 3).astype(kind), affine)
    made.header.set_slope_inter(2.5, -3)
    clean = nib.Nifti1Image.from_bytes(clean_nifti(made.to_bytes()))
    np.testing.assert_allclose(clean.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(clean.get_fdata(), nib.Nifti1Image.from_bytes(made.to_bytes()).get_fdata())
    assert clean.get_data_dtype() == made.get_data_dtype()


def test_a_big_endian_and_a_nifti_2_file_are_read_too():
    big = nib.Nifti1Image(np.arange(24, dtype=">i2").reshape(4, 3, 2), np.eye(4), nib.Nifti1Header(endianness=">"))
    np.testing.assert_array_equal(nib.Nifti1Image.from_bytes(clean_nifti(big.to_bytes())).get_fdata(), big.get_fdata())
    data = nifti2(who())
    before, after = nib.Nifti2Image.from_bytes(data), nib.Nifti2Image.from_bytes(clean_nifti(data))
    np.testing.assert_array_equal(after.get_fdata(), before.get_fdata())
    assert not after.header.extensions


def test_a_volume_of_a_heads_size_is_refused_unless_it_is_a_label_map():
    head = np.random.default_rng(0).integers(0, 2000, (180, 200, 180)).astype(np.int16)
    data = nib.Nifti1Image(head, np.eye(4)).to_bytes()
    with pytest.raises(ReadError, match="face"):
        clean_nifti(data)
    assert clean_nifti(data, acknowledge_faces=True)
    metres = nib.Nifti1Image(head, np.diag([0.001, 0.001, 0.001, 1]))
    metres.header.set_xyzt_units("meter")
    with pytest.raises(ReadError, match="face"):
        clean_nifti(metres.to_bytes())
    assert clean_nifti(nib.Nifti1Image((head > 1000).astype(np.uint8), np.eye(4)).to_bytes())


@pytest.mark.parametrize(
    ("clean", "field", "value"),
    [
        (clean_nrrd, "space units", '"um" "um" "um"'),
        (clean_meta_image, "DistanceUnits", "um"),
        (clean_meta_image, "HeaderSize", "10"),
        (clean_meta_image, "ElementToIntensityFunctionSlope", "2"),
    ],
)
def test_what_a_clean_copy_would_read_as_something_else_is_refused(clean, field, value):
    mark, colon, data = b"NRRD0005\n", ":", nrrd(who())
    if clean is clean_meta_image:
        mark, colon, data = b"ObjectType = Image\n", " =", meta_image(who())
    with pytest.raises(ReadError, match="in mm"):
        clean(data.replace(mark, mark + f"{field}{colon} {value}\n".encode()))
    usual = {"space units": '"mm" "mm" "mm"', "DistanceUnits": "mm", "HeaderSize": "0"}.get(field, "1.0")
    assert clean(data.replace(mark, mark + f"{field}{colon} {usual}\n".encode())) == clean(data)


@pytest.mark.parametrize("name", ["Orientation", "Rotation"])
def test_every_name_of_a_meta_images_directions_counts(name, tmp_path):
    head = f"ObjectType = Image\nNDims = 3\nBinaryData = True\n{name} = 0 1 0 -1 0 0 0 0 1\nElementSize = 2 3 4\n"
    head += "DimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(head.encode() + bytes(8))
    (tmp_path / "b.mha").write_bytes(clean_meta_image(head.encode() + bytes(8)))
    before, after = (sitk.ReadImage(str(tmp_path / f"{one}.mha")) for one in "ab")
    assert after.GetDirection() == before.GetDirection() == (0, -1, 0, 1, 0, 0, 0, 0, 1)
    assert after.GetSpacing() == before.GetSpacing() == (2, 3, 4)


@pytest.mark.parametrize("cut", [10, 100, 400])
def test_a_cut_off_nifti_is_refused(cut):
    data = nib.Nifti1Image(np.random.default_rng(0).random((9, 9, 9)), np.eye(4)).to_bytes()
    with pytest.raises(ReadError):
        clean_nifti(data[:cut])
    with pytest.raises(ReadError):
        clean_nifti(gzip.compress(data)[:cut])


@pytest.mark.parametrize(
    ("make", "clean", "suffix"), [(nrrd, clean_nrrd, ".nrrd"), (meta_image, clean_meta_image, ".mha")]
)
def test_another_programs_reader_finds_the_same_volume(make, clean, suffix, tmp_path):
    data = make(who())
    (tmp_path / f"before{suffix}").write_bytes(data)
    (tmp_path / f"after{suffix}").write_bytes(clean(data))
    before, after = (sitk.ReadImage(str(tmp_path / f"{name}{suffix}")) for name in ("before", "after"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(after), np.arange(24).reshape(2, 3, 4))
    assert after.GetSpacing() == before.GetSpacing()
    assert after.GetDirection() == before.GetDirection()


def test_a_header_that_points_to_another_file_is_refused():
    with pytest.raises(ReadError, match="elsewhere"):
        clean_meta_image(
            b"ObjectType = Image\nNDims = 2\nDimSize = 2 2\nElementType = MET_UCHAR\nElementDataFile = a.raw\n"
        )
    with pytest.raises(ReadError, match="elsewhere"):
        clean_nrrd(b"NRRD0004\ntype: uchar\ndimension: 1\nsizes: 3\nencoding: raw\ndata file: a.raw\n\n")


@pytest.mark.parametrize("order", ["little", "big"])
def test_hexadecimal_voxels_keep_their_byte_order(order, tmp_path):
    values = np.arange(-500, 500, dtype="<i2" if order == "little" else ">i2").reshape(10, 10, 10)
    head = f"NRRD0004\ntype: short\ndimension: 3\nsizes: 10 10 10\nencoding: hex\nendian: {order}\n\n"
    path = tmp_path / "a.nrrd"
    path.write_bytes(clean_nrrd(head.encode("ascii") + values.tobytes().hex().encode("ascii")))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(path)), values)


def test_more_lines_to_skip_than_there_are_end_at_once():
    head = b"NRRD0004\ntype: short\ndimension: 1\nsizes: 4\nencoding: raw\nline skip: 999999999999\n\n"
    with pytest.raises(ReadError):
        clean_nrrd(head + b"x\n" * 20)


def test_gzip_of_many_members_is_read_member_by_member_and_ends_with_the_last():
    data = nib.Nifti1Image(np.random.default_rng(0).random((30, 30, 30)), np.eye(4)).to_bytes()
    members = [gzip.compress(data[start : start + 512], 1) for start in range(0, len(data), 512)]
    assert gunzip(b"".join(members) + b"NOVAKOVA", most=1 << 30) == data
    assert gunzip(gzip.compress(data), most=1 << 30) == data
    assert gunzip(gzip.compress(data), most=1000) == data[:1000]
    assert gunzip(b"".join(members)[:-9], most=1 << 30) == data[: (len(members) - 1) * 512]


def zeros(gigabytes: int, *, start: bytes, window: int) -> bytes:
    """A deflate stream of so many zeros behind a start; blocks that end in a full flush are alike, so one is enough."""
    machine = zlib.compressobj(9, wbits=window)
    first = machine.compress(start) + machine.flush(zlib.Z_FULL_FLUSH)
    block = machine.compress(bytes(1 << 26)) + machine.flush(zlib.Z_FULL_FLUSH)
    return first + block * (gigabytes * 16)


def grown_nifti(shape: list[int]) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"] = 352, b"n+1\0"
    return zeros(10, start=header.binaryblock + bytes(4), window=31)


@pytest.mark.parametrize(
    ("clean", "data"),
    [
        (clean_nifti, lambda: grown_nifti([1000, 1000, 10000])),
        (clean_nifti, lambda: grown_nifti([4, 4, 4])),
        (clean_nifti, lambda: b"\x1f\x8b" + gzip.compress(bytes(1 << 26))[2:] * 160),
        (clean_nrrd, lambda: NRRD % (b"10000000000", b"gzip") + zeros(10, start=b"", window=31)),
        (clean_nrrd, lambda: NRRD % (b"10000000000", b"bzip2") + bz2.compress(bytes(1 << 26)) * 160),
        (clean_nrrd, lambda: NRRD % (b"8\nbyte skip: -1", b"gzip") + zeros(5, start=b"", window=31)),
        (clean_meta_image, lambda: MHA % b"1000 1000 10000" + zeros(10, start=b"", window=15)),
    ],
)
def test_gigabytes_of_zeros_are_refused_in_little_memory(clean, data):
    bomb = data()
    tracemalloc.start()
    with pytest.raises(ReadError, match=r"bomb|damaged"):
        clean(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < (1 << 28 if b"skip: -1" not in bomb else 5 << 28)


@pytest.mark.parametrize(("encoding", "pack"), [(b"gzip", gzip.compress), (b"bzip2", bz2.compress), (b"raw", bytes)])
def test_packed_nrrd_voxels_may_lie_at_the_end_of_what_is_unpacked(encoding, pack):
    clean = clean_nrrd(NRRD % (b"8\nbyte skip: -1", encoding) + pack(b"NOVAKOVA" + bytes(range(8))))
    body = clean.partition(b"\n\n")[2]
    assert (body if encoding == b"raw" else gzip.decompress(body)) == bytes(range(8))
