from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import sqlite3
import struct
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from fpdf import FPDF
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.errors import PrivacyError, RequestError
from medseg.privacy.audit import audit_bytes, audit_paths, gate
from medseg.privacy.containers import layers
from medseg.privacy.identities import IdentityIndex
from medseg.privacy.ledger import Ledger

_NAME = "Novakova Jana"
_TEXT = f"seen by {_NAME} today".encode()


@pytest.fixture(scope="module")
def identities() -> IdentityIndex:
    index = IdentityIndex()
    index.add(["Novakova^Jana", "Müller^Jürgen", "山田^太郎", "84213377", "19480217"])
    return index


def _zip(content: bytes, name: str = "a.txt") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def _tar(content: bytes, name: str = "a.txt", mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _sqlite(value: str | bytes, *, encoding: str = "UTF-8") -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE notes (id INTEGER, body)")
        connection.execute("INSERT INTO notes VALUES (1, ?)", (value,))
        connection.commit()
        return connection.serialize()


def _npz() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, note=np.array([_NAME]), more=np.array([{"who": _NAME}], dtype=object))
    return out.getvalue()


def _safetensors() -> bytes:
    from safetensors.numpy import save

    return bytes(save({"w": np.zeros(4, np.float32)}, metadata={"author": _NAME}))


def _png(*, compressed: bool) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", _NAME * 3, zip=compressed)
    info.add_itxt("Description", _NAME * 3, zip=compressed)
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def _jpeg(*, exif: bool) -> bytes:
    out = io.BytesIO()
    tags = Image.Exif()
    tags[0x9C9D if exif else 0x010E] = _NAME.encode("utf-16-le") if exif else _NAME
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=tags)
    return out.getvalue()


def _pdf(*, unicode_font: bool) -> bytes:
    document = FPDF()
    document.add_page()
    if unicode_font:
        import matplotlib

        document.add_font("dejavu", fname=str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"))
        document.set_font("dejavu")
    else:
        document.set_font("helvetica")
    document.cell(text=f"Patient: {_NAME}")
    return bytes(document.output())


def _kerned_pdf() -> bytes:
    page = b"BT /F1 12 Tf [(Nov) 20 (ako) -15 (va Ja) 3 (na)] TJ ET"
    return (
        b"%PDF-1.4\n1 0 obj\n<</Length 1/Filter/FlateDecode>>\nstream\n" + zlib.compress(page) + b"\nendstream\nendobj"
    )


def _dicom(*, deflated: bool = False, encoding: str = "", **values: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    meta.MediaStorageSOPInstanceUID = "2.25.1"
    meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian if deflated else ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    if encoding:
        dataset.SpecificCharacterSet = encoding
    dataset.PatientIdentityRemoved = "YES"
    for name, value in values.items():
        setattr(dataset, name, value)
    dataset.Rows, dataset.PixelData = 1, b"\0\0"
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _nested_dicom() -> bytes:
    item, inner = Dataset(), Dataset()
    inner.PersonName = "Novakova^Jana"
    item.ContentSequence = [inner]
    base = _dicom()
    dataset = FileDataset.__new__(FileDataset)
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(base))
    dataset.RequestAttributesSequence = [item]
    block = dataset.private_block(0x0099, "ACME", create=True)
    block.add_new(1, "UN", _TEXT)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def _nifti() -> bytes:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    image.header["descrip"] = _NAME.encode()
    return gzip.compress(bytes(image.to_bytes()))


_HOLDERS: dict[str, Callable[[], bytes]] = {
    "plain text": lambda: _TEXT,
    "utf-16 text": lambda: _NAME.encode("utf-16"),
    "latin-1 text": lambda: "für Jürgen Müller".encode("latin-1"),
    "trailing bytes": lambda: os.urandom(500) + _TEXT + os.urandom(500),
    "gzip": lambda: gzip.compress(_TEXT),
    "gzip of two members": lambda: gzip.compress(b"x") + gzip.compress(_TEXT),
    "torn gzip": lambda: gzip.compress(_TEXT + os.urandom(4000))[:-2000],
    "zlib": lambda: zlib.compress(_TEXT),
    "bz2": lambda: bz2.compress(_TEXT),
    "xz": lambda: lzma.compress(_TEXT),
    "zip member": lambda: _zip(_TEXT),
    "zip member's name": lambda: _zip(b"x", "Novakova_Jana.dcm"),
    "zip in gzip in tar": lambda: _tar(gzip.compress(_zip(_TEXT))),
    "tar member's name": lambda: _tar(b"x", "Novakova_Jana/IM1", "w:gz"),
    "sqlite": lambda: _sqlite(_NAME),
    "sqlite in utf-16": lambda: _sqlite("山田太郎", encoding="UTF-16le"),
    "sqlite across pages": lambda: _sqlite("x" * 4060 + _NAME + "y" * 9000),
    "sqlite blob": lambda: _sqlite(zlib.compress(_TEXT)),
    "npz": _npz,
    "safetensors header": _safetensors,
    "pickle": lambda: pickle.dumps({"who": _NAME}),
    "pickle of zipped bytes": lambda: pickle.dumps([gzip.compress(_TEXT)]),
    "png text": lambda: _png(compressed=False),
    "png compressed text": lambda: _png(compressed=True),
    "jpeg exif": lambda: _jpeg(exif=False),
    "jpeg exif in utf-16": lambda: _jpeg(exif=True),
    "pdf": lambda: _pdf(unicode_font=False),
    "pdf with an embedded font": lambda: _pdf(unicode_font=True),
    "pdf with kerning": _kerned_pdf,
    "html with markup in the name": lambda: b"<p><b>Nov</b>ako<i>va</i> J&#97;na</p>",
    "html data uri": lambda: b'<img src="data:image/png;base64,' + base64.b64encode(_png(compressed=True)) + b'">',
    "svg": lambda: b"<svg><text><tspan>Jana</tspan> <tspan>Novakova</tspan></text></svg>",
    "base64": lambda: b'{"a": "' + base64.b64encode(_TEXT) + b'"}',
    "base64 in lines": lambda: base64.encodebytes(os.urandom(64) + _TEXT + os.urandom(64)),
    "base64 for urls": lambda: base64.urlsafe_b64encode(b"\xff\xfe\xfb" * 8 + _TEXT),
    "hexadecimal": lambda: _TEXT.hex().encode(),
    "percent signs": lambda: urllib.parse.quote("Müller^Jürgen").encode(),
    "json escapes": lambda: json.dumps("Jürgen Müller").encode(),
    "json of kanji": lambda: json.dumps("山田 太郎").encode(),
    "dicom name": lambda: _dicom(PatientName="Novakova^Jana"),
    "dicom preamble": lambda: _TEXT.ljust(128, b"\0") + _dicom()[128:],
    "dicom after the data set": lambda: _dicom() + _TEXT,
    "dicom nested": _nested_dicom,
    "dicom deflated": lambda: _dicom(deflated=True, StudyDescription="JANA NOVAKOVA"),
    "dicom in japanese": lambda: _dicom(encoding="\\ISO 2022 IR 87", PatientName="Yamada^Tarou=山田^太郎"),
    "dicom in chinese": lambda: _dicom(encoding="GB18030", PatientName="山田^太郎"),
    "dicom date": lambda: _dicom(StudyDate="19480217"),
    "dicom number": lambda: _dicom(PatientID="84213377"),
    "nifti": _nifti,
}


@pytest.mark.parametrize("holder", _HOLDERS)
def test_an_identity_is_found_in(holder: str, identities: IdentityIndex) -> None:
    finds = audit_bytes(_HOLDERS[holder](), "file.bin", identities=identities)
    assert any(find.kind == "identity" for find in finds)
    told = " ".join(f"{find.place} {find.rule}" for find in finds).lower()
    assert not identities.find(told)


@pytest.mark.parametrize(
    "clean",
    [
        lambda: _zip(b"nothing"), lambda: _tar(b"nothing"), lambda: _sqlite("nothing"), _dicom, lambda: b"",
        lambda: b"\0" * 9, lambda: _dicom(deflated=True), lambda: os.urandom(200_000),
        lambda: gzip.compress(os.urandom(99_999)),
    ],
)  # fmt: skip
def test_a_clean_file_has_no_find(clean: Callable[[], bytes], identities: IdentityIndex) -> None:
    assert audit_bytes(clean(), "file.bin", identities=identities) == []


def test_names_of_files_folders_and_links_are_searched_and_hidden(tmp_path: Path, identities: IdentityIndex) -> None:
    root = tmp_path / "out"
    (root / "JANA_NOVAKOVA" / "x").mkdir(parents=True)
    (root / "JANA_NOVAKOVA" / "x" / "a.txt").write_text("clean")
    (root / "84213377.dcm").write_bytes(b"")
    (root / "link").symlink_to("/pacs/Novakova_Jana")
    report = audit_paths([root], identities=identities)
    places = {find.place for find in report.finds}
    assert places == {
        "out/[hidden] (name)",
        "out/[hidden]/x (name)",
        "out/[hidden]/x/a.txt (name)",
    } | {place for place in places if "link" in place}
    assert any("link" in place for place in places)
    assert report.files == 2
    assert report.summary().startswith("2 of 5 planted identities found in 2 files")


def test_a_dicom_find_names_the_attribute_at_every_depth(identities: IdentityIndex) -> None:
    places = {find.place for find in audit_bytes(_nested_dicom(), "a.dcm", identities=identities)}
    assert "a.dcm!attributes (0040,0275)(0040,A730)(0040,A123)" in places


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("saved to /home/drhouse/scans", "home folder"),
        ("C:\\Users\\drhouse\\x", "home folder"),
        ("read /mnt/pacs/export", "absolute path"),
        ("write to house@stmarys.org", "mail address"),
        ("see http://pacs01:8080/wado", "address of a host"),
        ("Tel. +49 30 1234567", "telephone number"),
        ("MRN: 0012345", "record number"),
        ("date of birth: 1948-02-17", "date beside a word like birth or study"),
        ("StudyDate 20110304", "date beside a word like birth or study"),
        ("proxy://10.0.3.7:3128", "address in a private network"),
    ],
)
def test_what_identifies_by_its_shape_is_found_without_a_list(text: str, rule: str) -> None:
    for data in (text.encode(), text.encode("utf-16"), gzip.compress(text.encode())):
        assert rule in {find.rule for find in audit_bytes(data, "a", identities=None)}


def test_text_that_medseg_writes_is_no_find() -> None:
    texts = [
        "<svg xmlns='http://www.w3.org/2000/svg'><path d='M 10.5 20.25 L +30 40 -5 12.75 h 1234567 20110304'/></svg>",
        "@media print { a { color: white } } /* 2.25.123456789012345678901234567890 */ </data><br/>/a/b",
        json.dumps(
            {"dice": 0.8712345678901, "created": "2026-11-22T17:41:04+00:00", "size": 20240101, "sha": "ab" * 32}
        ),
        "mean 0.87 (0.85 to 0.89), n = 213; fold 0/5; kg/m2; https://doi.org/10.1000/182; 1.2.840.10008.5.1.4.1.1.2",
        "case,patient,fold,label\nCABCDEFGHJK,PQRSTVWXYZ2,0,1\n",
    ]
    for text in texts:
        assert audit_bytes(text.encode(), "report.html", identities=None) == []


def test_user_and_host_of_this_process_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from medseg.privacy import patterns

    monkeypatch.setenv("USER", "drhouse")
    monkeypatch.setenv("HOSTNAME", "stmarys-ct3")
    patterns._own_rules.cache_clear()
    try:
        rules = {find.rule for find in audit_bytes(b"\x00\xffrun by DRHOUSE on stmarys-ct3\x00", "a", identities=None)}
    finally:
        monkeypatch.undo()
        patterns._own_rules.cache_clear()
    assert rules == {"user name", "host name"}


def test_a_patient_in_a_dicom_file_is_found_without_a_list() -> None:
    finds = audit_bytes(_dicom(PatientName="Somebody^Else", PatientIdentityRemoved="NO"), "a.dcm", identities=None)
    assert [find.kind for find in finds] == ["metadata"]


def test_a_position_and_a_mail_address_in_a_photograph_are_found_without_a_list() -> None:
    tags = Image.Exif()
    tags[0x013B] = "house@stmarys.org"
    # Pillow writes the position into a JPEG from the one, into a TIFF from the other.
    tags.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    tags[0x8825] = {2: (52.0, 31.0, 12.0)}
    for suffix in ("JPEG", "TIFF"):
        out = io.BytesIO()
        Image.new("RGB", (8, 8)).save(out, suffix, exif=tags)
        rules = {find.rule for find in audit_bytes(out.getvalue(), "a", identities=None)}
        assert rules == {"mail address", "a position in EXIF"}


def test_bits_above_bits_stored_are_found() -> None:
    import pydicom

    for value, found in ((0x0FFF, False), (0x1FFF, True)):
        dataset = pydicom.dcmread(io.BytesIO(_dicom()))
        dataset.BitsAllocated, dataset.BitsStored, dataset.PixelRepresentation = 16, 12, 0
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


@pytest.mark.parametrize("tier", ["internal", "shareable"])
def test_the_gate_lets_clean_data_through_unchanged(tier: str, identities: IdentityIndex) -> None:
    assert gate("Dice 0.87", name="report.html", tier=tier, identities=identities) == "Dice 0.87"  # type: ignore[arg-type]
    assert gate(b"\x00\x01", name="a", tier=tier, identities=identities) == b"\x00\x01"  # type: ignore[arg-type]


def test_the_gate_refuses_by_place_and_rule_and_never_says_what(identities: IdentityIndex) -> None:
    with pytest.raises(PrivacyError) as caught:
        gate(_zip(_TEXT), name="model.medseg", tier="internal", identities=identities)
    assert "part of a name in model.medseg!a.txt" in str(caught.value)
    assert "ovakov" not in str(caught.value)
    assert caught.value.exit_status == 4
    gate("see /home/drhouse/x", name="log", tier="internal", identities=identities)
    with pytest.raises(PrivacyError, match="home folder"):
        gate("see /home/drhouse/x", name="log", tier="shareable", identities=identities)


def test_what_cannot_be_opened_is_a_find_of_its_own() -> None:
    damaged = bytearray(_zip(b"x" * 500))
    damaged[60:70] = b"\xff" * 10
    encrypted = bytearray(_zip(_TEXT))
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
    data = _TEXT
    for _ in range(40):
        data = gzip.compress(data)
    assert len(list(layers(data, "a"))) < 60


def test_two_processes_find_the_same_as_one(tmp_path: Path, identities: IdentityIndex) -> None:
    for number in range(80):
        (tmp_path / f"{number}.txt").write_bytes(_TEXT if number % 10 == 0 else struct.pack("<I", number))
    one, two = (audit_paths([tmp_path], identities=identities, jobs=jobs) for jobs in (1, 2))
    assert one == two
    assert len({find.place for find in one.finds if find.kind == "identity"}) == 8


def test_a_missing_path_is_a_request_error(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="path 1 of 1"):
        audit_paths([tmp_path / "missing"], identities=None)


def test_the_command_counts_and_exits_4_on_a_find_and_0_otherwise(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("clean")
    (tmp_path / "planted.txt").write_text("Novakova^Jana\n84213377\n\nCT\n")
    command = ["audit", str(tmp_path / "out"), "--identities", str(tmp_path / "planted.txt")]
    clean = CliRunner().invoke(app, command)
    assert clean.exit_code == 0
    assert clean.stdout.splitlines()[-1] == "0 of 2 planted identities found in 1 files"
    (tmp_path / "out" / "b.txt").write_bytes(_TEXT)
    found = CliRunner().invoke(app, [*command, "--json"])
    assert found.exit_code == 4
    facts = json.loads(found.stdout)
    assert facts["identities_found"] == 1
    assert {find["place"] for find in facts["finds"]} == {"out/b.txt"}
    assert "ovakov" not in found.output


def test_the_command_takes_the_index_beside_the_key_and_verifies_a_ledger(tmp_path: Path) -> None:
    index = IdentityIndex()
    index.add(["Novakova^Jana"])
    index.save(tmp_path / "project.key.identities")
    (tmp_path / "a.txt").write_text("clean")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("written", {"files": 1})
    command = ["audit", str(tmp_path / "a.txt"), "--key", str(tmp_path / "project.key"), "--ledger", str(ledger.path)]
    assert CliRunner().invoke(app, command).exit_code == 0
    ledger.path.write_text(ledger.path.read_text().replace("written", "refused") * 2)
    broken = CliRunner().invoke(app, command)
    assert broken.exit_code == 4
    assert "ledger: line 2" in broken.stdout
    missing = CliRunner().invoke(app, ["audit", str(tmp_path / "a.txt"), "--key", str(tmp_path / "other.key")])
    assert missing.exit_code == 2


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
