"""Tables, JSON, archives, and files of kinds that medseg doesn't know."""

from __future__ import annotations

import io
import json
import sqlite3
import struct
import zipfile

from tests.privacy.corpus.pictures import png_with
from tests.privacy.corpus.slices import Who


def table(who: Who) -> bytes:
    rows = [
        f"image;patient_id;{who.name()};diagnosis;age;sex;notes;label;operator",
        f"C:\\{who.name()}\\{who.name()}.png;{who.number()};x;nevus;95;F;{who.name()};1;{who.name()}",
        f'=cmd|{who.name()};{who.number()};x;{who.name()};{who.date()};{who.name()};"a;\nb";{who.date()};y',
    ]
    return "\r\n".join(rows).encode("utf-8-sig")


def sidecar(who: Who) -> bytes:
    content = {
        "PatientName": who.person(), "Manufacturer": "SIEMENS", "EchoTime": 0.03, "AcquisitionDateTime": who.date(),
        "patients": {who.name(): {"age": 95, "patient_id": who.number(), who.name(): [who.person()]}},
        "annotations": [{"id": who.number(), "category_id": 1, "bbox": [1, 2, 3, 4], "text": who.name()}],
        "labels": {"background": 0, who.name(): 1}, "modality": {"0": who.name()},
    }  # fmt: skip
    return json.dumps(content).encode()


def archive(who: Who) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.comment = who.person().encode()
        info = zipfile.ZipInfo(f"{who.name()}/{who.name()}.png", (1990, 1, 1, 0, 0, 0))
        info.comment = who.person().encode()
        info.extra = struct.pack("<HH", 0x7075, 20) + who.person().encode()[:20].ljust(20)
        made.writestr(info, png_with(who, "L", (b"tEXt", b"a\0" + who.name().encode())))
    return b"junk before " + who.person().encode() + stream.getvalue() + who.person().encode()


def database_in_archive(who: Who) -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (name TEXT)")
        connection.execute("INSERT INTO t VALUES (?)", (who.person(),))
        connection.commit()
        data = connection.serialize()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr(f"{who.name()}.db", data)
    return stream.getvalue()


def pdf(who: Who) -> bytes:
    return b"%PDF-1.4\n1 0 obj << /Author (" + who.person().encode() + b") >> endobj"


def vector_drawing(who: Who) -> bytes:
    return f'<svg xmlns="http://www.w3.org/2000/svg"><metadata>{who.person()}</metadata></svg>'.encode()


def picture_by_name_only(who: Who) -> bytes:
    return f"GIF89a {who.person()}".encode()


def table_of_texts(who: Who) -> bytes:
    return f"doctor,comment\n{who.person()},{who.name()}\n".encode()


def table_in_latin(who: Who) -> bytes:
    return f"image,diagnosis\nMüller {who.name()},nevus\n".encode("latin-1")


def unknown_files(who: Who) -> list[tuple[str, bytes]]:
    return [
        (f"{who.name()}.pdf", b"%PDF-1.7 " + who.person().encode()),
        (f"{who.name()}.txt", who.person().encode()),
        (f"{who.name()}.zip", b"PK\x03\x04" + who.person().encode()),
        (f"{who.name()}.stl", b"solid " + who.person().encode()),
        (f"{who.name()}.jpg", b"\xff\xd8" + who.person().encode()),
        (f"{who.name()}.png", b"\x89PNG\r\n\x1a\n" + who.person().encode()),
        (f"{who.name()}.nii.gz", b"\x1f\x8b" + who.person().encode()),
        (f"{who.name()}.mhd", b"ObjectType = Image\nElementDataFile = other.raw\n"),
        (f"{who.name()}.docx", b""),
        ("DICOMDIR", b""),
    ]
