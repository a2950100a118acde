"""Holders: one small file of each kind that can hold a name, with the same name in it."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import quopri
import sqlite3
import tarfile
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
import pydicom
from fpdf import FPDF
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from medseg.privacy.identities import IdentityIndex

NAME = "Novakova Jana"
TEXT = f"seen by {NAME} today".encode()


def known_identities() -> IdentityIndex:
    """The index in which the holders' names are."""
    index = IdentityIndex()
    index.add(["Novakova^Jana", "Müller^Jürgen", "山田^太郎", "84213377", "19480217"])
    return index


def zip_of(content: bytes, name: str = "a.txt") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return out.getvalue()


def tar_of(content: bytes, name: str = "a.txt", mode: Literal["w", "w:gz"] = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def sqlite_of(value: str | bytes, *, encoding: str = "UTF-8") -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"PRAGMA encoding = '{encoding}'")
        connection.execute("CREATE TABLE notes (id INTEGER, body)")
        connection.execute("INSERT INTO notes VALUES (1, ?)", (value,))
        connection.commit()
        return connection.serialize()


def _npz() -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, note=np.array([NAME]), more=np.array([{"who": NAME}], dtype=object))
    return out.getvalue()


def _safetensors() -> bytes:
    from safetensors.numpy import save

    return bytes(save({"w": np.zeros(4, np.float32)}, metadata={"author": NAME}))


def _png(*, compressed: bool) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", NAME * 3, zip=compressed)
    info.add_itxt("Description", NAME * 3, zip=compressed)
    out = io.BytesIO()
    Image.new("L", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def _jpeg(*, exif: bool) -> bytes:
    out = io.BytesIO()
    tags = Image.Exif()
    tags[0x9C9D if exif else 0x010E] = NAME.encode("utf-16-le") if exif else NAME
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
    document.cell(text=f"Patient: {NAME}")
    return bytes(document.output())


def _kerned_pdf() -> bytes:
    page = b"BT /F1 12 Tf [(Nov) 20 (ako) -15 (va Ja) 3 (na)] TJ ET"
    return (
        b"%PDF-1.4\n1 0 obj\n<</Length 1/Filter/FlateDecode>>\nstream\n" + zlib.compress(page) + b"\nendstream\nendobj"
    )


def dicom_with(*, deflated: bool = False, encoding: str = "", **values: str) -> bytes:
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


def nested_dicom() -> bytes:
    item, inner = Dataset(), Dataset()
    inner.PersonName = "Novakova^Jana"
    item.ContentSequence = [inner]
    dataset = pydicom.dcmread(io.BytesIO(dicom_with()))
    dataset.RequestAttributesSequence = [item]
    block = dataset.private_block(0x0099, "ACME", create=True)
    block.add_new(1, "UN", TEXT)
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def _nifti() -> bytes:
    image = nib.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.eye(4))
    image.header["descrip"] = NAME.encode()
    return gzip.compress(bytes(image.to_bytes()))


HOLDERS: dict[str, Callable[[], bytes]] = {
    "plain text": lambda: TEXT,
    "utf-16 text": lambda: NAME.encode("utf-16"),
    "latin-1 text": lambda: "für Jürgen Müller".encode("latin-1"),
    "trailing bytes": lambda: os.urandom(500) + TEXT + os.urandom(500),
    "gzip": lambda: gzip.compress(TEXT),
    "gzip of two members": lambda: gzip.compress(b"x") + gzip.compress(TEXT),
    "torn gzip": lambda: gzip.compress(TEXT + os.urandom(4000))[:-2000],
    "zlib": lambda: zlib.compress(TEXT),
    "bz2": lambda: bz2.compress(TEXT),
    "xz": lambda: lzma.compress(TEXT),
    "zip member": lambda: zip_of(TEXT),
    "zip member's name": lambda: zip_of(b"x", "Novakova_Jana.dcm"),
    "zip in gzip in tar": lambda: tar_of(gzip.compress(zip_of(TEXT))),
    "tar member's name": lambda: tar_of(b"x", "Novakova_Jana/IM1", "w:gz"),
    "sqlite": lambda: sqlite_of(NAME),
    "sqlite in utf-16": lambda: sqlite_of("山田太郎", encoding="UTF-16le"),
    "sqlite across pages": lambda: sqlite_of("x" * 4060 + NAME + "y" * 9000),
    "sqlite blob": lambda: sqlite_of(zlib.compress(TEXT)),
    "npz": _npz,
    "safetensors header": _safetensors,
    "pickle": lambda: pickle.dumps({"who": NAME}),
    "pickle of zipped bytes": lambda: pickle.dumps([gzip.compress(TEXT)]),
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
    "base64": lambda: b'{"a": "' + base64.b64encode(TEXT) + b'"}',
    "base64 in lines": lambda: base64.encodebytes(os.urandom(64) + TEXT + os.urandom(64)),
    "base64 for urls": lambda: base64.urlsafe_b64encode(b"\xff\xfe\xfb" * 8 + TEXT),
    "hexadecimal": lambda: TEXT.hex().encode(),
    "percent signs": lambda: urllib.parse.quote("Müller^Jürgen").encode(),
    "quoted-printable": lambda: quopri.encodestring("für Jürgen Müller".encode()),
    "quoted-printable in lines": lambda: quopri.encodestring(b"=" * 20 + b" " + TEXT + b" " + b"x" * 31 + TEXT),
    "json escapes": lambda: json.dumps("Jürgen Müller").encode(),
    "json of kanji": lambda: json.dumps("山田 太郎").encode(),
    "dicom name": lambda: dicom_with(PatientName="Novakova^Jana"),
    "dicom preamble": lambda: TEXT.ljust(128, b"\0") + dicom_with()[128:],
    "dicom after the data set": lambda: dicom_with() + TEXT,
    "dicom nested": nested_dicom,
    "dicom deflated": lambda: dicom_with(deflated=True, StudyDescription="JANA NOVAKOVA"),
    "dicom in japanese": lambda: dicom_with(encoding="\\ISO 2022 IR 87", PatientName="Yamada^Tarou=山田^太郎"),
    "dicom in chinese": lambda: dicom_with(encoding="GB18030", PatientName="山田^太郎"),
    "dicom date": lambda: dicom_with(StudyDate="19480217"),
    "dicom number": lambda: dicom_with(PatientID="84213377"),
    "nifti": _nifti,
}
