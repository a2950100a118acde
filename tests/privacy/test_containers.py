from __future__ import annotations

import base64
import bz2
import gzip
import io
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin

from medseg.privacy.audit import audit_bytes
from medseg.privacy.containers import _OPENERS, layers
from medseg.privacy.identities import IdentityIndex
from tests.privacy.holders import HOLDERS, TEXT, dicom_with, known_identities, nested_dicom, sqlite_of, tar_of, zip_of


@pytest.fixture(scope="module")
def identities() -> IdentityIndex:
    return known_identities()


@pytest.mark.parametrize("holder", HOLDERS)
def test_an_identity_is_found_in(holder: str, identities: IdentityIndex) -> None:
    finds = audit_bytes(HOLDERS[holder](), "file.bin", identities=identities)
    assert any(find.kind == "identity" for find in finds)
    told = " ".join(f"{find.place} {find.rule}" for find in finds).lower()
    assert not identities.find(told)


@pytest.mark.parametrize(
    "clean",
    [
        lambda: zip_of(b"nothing"), lambda: tar_of(b"nothing"), lambda: sqlite_of("nothing"), dicom_with, lambda: b"",
        lambda: b"\0" * 9, lambda: dicom_with(deflated=True), lambda: os.urandom(200_000),
        lambda: gzip.compress(os.urandom(99_999)),
    ],
)  # fmt: skip
def test_a_clean_file_has_no_find(clean: Callable[[], bytes], identities: IdentityIndex) -> None:
    assert audit_bytes(clean(), "file.bin", identities=identities) == []


@pytest.mark.parametrize("holder", [name for name, make in HOLDERS.items() if any(m(make()) for m, _ in _OPENERS)])
def test_what_can_be_opened_can_be_opened_in_base64(holder: str, identities: IdentityIndex) -> None:
    finds = audit_bytes(b"data " + base64.b64encode(HOLDERS[holder]() + bytes(16)), "file.txt", identities=identities)
    assert any(find.kind == "identity" for find in finds)


def test_a_dicom_find_names_the_attribute_at_every_depth(identities: IdentityIndex) -> None:
    places = {find.place for find in audit_bytes(nested_dicom(), "a.dcm", identities=identities)}
    assert "a.dcm!attributes (0040,0275)(0040,A730)(0040,A123)" in places


def test_a_position_and_a_mail_address_in_a_photograph_are_found_without_a_list() -> None:
    tags = Image.Exif()
    tags[0x013B] = "house@stmarys.org"
    # Pillow writes the position into a JPEG from the one, into a TIFF from the other.
    tags.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    tags[0x8825] = {2: (52.0, 31.0, 12.0)}
    for suffix in ("JPEG", "TIFF", "PNG"):
        out = io.BytesIO()
        Image.new("RGB", (8, 8)).save(out, suffix, exif=tags)
        rules = {find.rule for find in audit_bytes(out.getvalue(), "a", identities=None)}
        assert rules == {"mail address", "a position in EXIF"}


def test_an_orientation_in_a_png_is_no_find() -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", exif=tags)
    assert audit_bytes(out.getvalue(), "a.png", identities=None) == []


def test_bits_beside_those_stored_are_found() -> None:
    for value, high, found in ((0x0FFF, 11, False), (0x1FFF, 11, True), (0xFFF0, 15, False), (0xFFF1, 15, True)):
        dataset = pydicom.dcmread(io.BytesIO(dicom_with()))
        dataset.BitsAllocated, dataset.BitsStored, dataset.PixelRepresentation = 16, 12, 0
        dataset.HighBit = high
        dataset.PixelData = struct.pack("<H", value)
        out = io.BytesIO()
        dataset.save_as(out)
        assert bool(audit_bytes(out.getvalue(), "a", identities=None)) is found


def test_a_smooth_picture_is_no_text(identities: IdentityIndex) -> None:
    x, y = np.meshgrid(np.arange(512), np.arange(512))
    picture = (80 + 30 * np.sin(x / 40) * np.cos(y / 30)).astype(np.uint8)
    out = io.BytesIO()
    np.save(out, picture)
    assert audit_bytes(out.getvalue(), "a.npy", identities=identities) == []


def test_what_cannot_be_opened_is_a_find_of_its_own() -> None:
    damaged = bytearray(zip_of(b"x" * 500))
    damaged[60:70] = b"\xff" * 10
    encrypted = bytearray(zip_of(TEXT))
    encrypted[6] |= 1
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    for data in (bytes(damaged), bytes(encrypted)):
        assert "unsearched" in {find.kind for find in audit_bytes(data, "a.zip", identities=None)}


def test_a_bomb_is_refused_and_not_unfolded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.privacy.containers._LARGEST", 1 << 22)
    bomb = zlib.compress(bytes(1 << 23))
    found = [layer for layer in layers(bomb, "a") if layer.unreadable]
    assert [layer.unreadable for layer in found] == ["unfolds to more than 1 GiB"]


def test_nested_archives_end() -> None:
    data = TEXT
    for _ in range(40):
        data = gzip.compress(data)
    found = list(layers(data, "a"))
    assert len(found) < 60
    assert [layer.unreadable for layer in found if layer.unreadable] == ["nested too deep"]


@pytest.mark.parametrize("compress", [bz2.compress, lzma.compress, gzip.compress])
def test_the_second_of_two_streams_that_follow_each_other_is_searched_too(compress, identities: IdentityIndex) -> None:
    both = compress(b"nothing") + compress(TEXT)
    assert any(find.kind == "identity" for find in audit_bytes(both, "a", identities=identities))
    assert "damaged or encrypted" in {find.rule for find in audit_bytes(both[:-9], "a", identities=identities)}


def test_archives_that_cannot_be_opened_here_count_as_not_searched() -> None:
    for magic in (b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x01\0", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"):
        finds = audit_bytes(magic + os.urandom(90), "a.bin", identities=None)
        assert [(find.kind, find.rule) for find in finds] == [("unsearched", "of a kind that cannot be opened here")]


def test_small_archives_in_chunks_of_a_png_and_in_private_attributes_are_opened(identities: IdentityIndex) -> None:
    stream, chunk = io.BytesIO(), PngImagePlugin.PngInfo()
    chunk.add(b"zzZz", zlib.compress(TEXT))
    Image.new("L", (8, 8)).save(stream, "PNG", pnginfo=chunk)
    assert any(find.kind == "identity" for find in audit_bytes(stream.getvalue(), "a.png", identities=identities))
    small = gzip.compress(b"of Jana Novakova")
    assert len(small) < 64
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.PatientIdentityRemoved = "1.2.840.10008.5.1.4.1.1.2", "YES"
    dataset.add_new(0x00291001, "OB", small)
    stream = io.BytesIO()
    dataset.save_as(stream, implicit_vr=False, little_endian=True)
    index = IdentityIndex()
    index.add(["Novakova^Jana"])
    assert any(find.kind == "identity" for find in audit_bytes(stream.getvalue(), "a.dcm", identities=index))


def test_a_stored_member_is_searched_once_and_also_behind_a_damaged_one():
    index = IdentityIndex()
    index.add(["Novakova^Jana", "4711081523"])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.comment = b"4711081523"
        archive.writestr("first.bin", bytes(1000))
        archive.writestr("second.txt", "of Jana Novakova")
    data = stream.getvalue()
    finds = {(find.place, find.rule) for find in audit_bytes(data, "a.zip", identities=index)}
    assert ("a.zip!second.txt", "name") in finds
    assert ("a.zip", "id") in finds
    assert not any(place == "a.zip" and rule == "name" for place, rule in finds)
    torn = data.replace(bytes(1000), bytes(999) + b"\1")
    finds = {(find.place, find.rule) for find in audit_bytes(torn, "a.zip", identities=index)}
    assert {("a.zip!second.txt", "name"), ("a.zip!first.bin", "damaged or encrypted")} <= finds


def test_a_run_id_that_happens_to_begin_like_an_archive_is_no_damaged_archive():
    for magic in (b"\x1f\x8b\x3a", b"\x1f\x8b\x08\xe4", b"\xff\xd8\xff\x11", b"BZhx"):
        coded = base64.b64encode(magic + bytes(range(100, 124 - len(magic))))
        assert audit_bytes(b"run " + coded + b" ended", "mlflow.db", identities=IdentityIndex()) == []
    torn = base64.b64encode(gzip.compress(os.urandom(400))[:-200])
    assert [find.rule for find in audit_bytes(b"run " + torn, "mlflow.db", identities=IdentityIndex())] == [
        "damaged or encrypted"
    ]
