"""Archives with identities in every part, and the files of other programs that no copy can be made of."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sqlite3
import struct
import tarfile
import zipfile

import numpy as np

from tests.privacy.corpus.chunks import png_texts
from tests.privacy.corpus.grids import nifti_all_fields
from tests.privacy.corpus.markers import comments
from tests.privacy.corpus.shades import shade
from tests.privacy.corpus.slices import Who


def zipped(members: dict[str, bytes], who: Who | None = None) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, (1990, 2, 11, 10, 9, 8))
            if who is not None:
                info.comment, words = shade(who), shade(who)
                info.extra = struct.pack("<HH", 0x7075, len(words)) + words
            made.writestr(info, data)
        if who is not None:
            made.comment = shade(who)
    return stream.getvalue()


def zip_words(who: Who) -> bytes:
    data = zipped({f"{who.name()}/{who.name()}.png": png_texts(who), f"{who.name()}.jpg": comments(who)}, who)
    return shade(who) + data + shade(who)


def zip_in_zip(who: Who) -> bytes:
    inner = zipped({f"{who.name()}.nii": nifti_all_fields(who)}, who)
    return zipped(
        {f"{who.name()}.zip": zipped({f"{who.name()}.zip": inner}, who), f"{who.name()}.png": png_texts(who)}, who
    )


def zip_slip(who: Who) -> bytes:
    return zipped(
        {
            f"../../{who.name()}.png": png_texts(who),
            f"/tmp/{who.name()}.png": png_texts(who),
            f"C:\\{who.name()}.png": png_texts(who),
        },
        who,
    )


def zip_link(who: Who) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        link = zipfile.ZipInfo(f"{who.name()}.png")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        made.writestr(link, f"/home/{who.name()}/secret.png")
        made.writestr(f"{who.name()}/a.png", png_texts(who))
    return stream.getvalue()


def zip_locked(who: Who) -> bytes:
    data = bytearray(zipped({f"{who.name()}.png": png_texts(who)}, who))
    data[6] |= 1
    at = bytes(data).index(b"PK\1\2")
    data[at + 8] |= 1
    return bytes(data)


def zip_bomb(who: Who) -> bytes:
    return zipped({f"{who.name()}.nii": bytes(50_000_000)}, who)


def zip_twice(who: Who) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        for _ in range(2):
            made.writestr("same.png", png_texts(who))
        made.writestr(f"{who.name()}/", b"")
        made.writestr(f"{who.name()}.txt", shade(who))
    return stream.getvalue()


def zip_hidden_member(who: Who) -> bytes:
    """A member that the central directory doesn't list."""
    listed, hidden = zipped({"a.png": png_texts(who)}), zipped({f"{who.name()}.txt": shade(who)})
    return hidden[: hidden.index(b"PK\1\2")] + listed


def tar(who: Who, mode: str = "w") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode, format=tarfile.PAX_FORMAT) as made:
        info = tarfile.TarInfo(f"{who.name()}/{who.name()}.png")
        data = png_texts(who)
        info.size, info.uname, info.gname, info.pax_headers = (
            len(data),
            who.name(),
            who.name(),
            {"comment": who.person()},
        )
        made.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def tar_gz(who: Who) -> bytes:
    return tar(who, "w:gz")


def gzip_text(who: Who) -> bytes:
    return gzip.compress(shade(who))


def database(who: Who) -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (name TEXT, raw BLOB)")
        connection.execute("INSERT INTO t VALUES (?, ?)", (who.person(), shade(who)))
        connection.commit()
        return connection.serialize()


def arrays(who: Who) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(
        stream, **{who.name(): np.array([who.person(), who.name()]), "raw": np.frombuffer(shade(who), np.uint8)}
    )
    return stream.getvalue()


def array(who: Who) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([who.person()]))
    return stream.getvalue()


def pickled(who: Who) -> bytes:
    return pickle.dumps({who.name(): [who.person(), shade(who)], "n": 1}, protocol=4)


def weights(who: Who) -> bytes:
    head = json.dumps(
        {
            "__metadata__": {"author": who.person(), "raw": shade(who).decode("latin-1")},
            who.name(): {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        }
    ).encode()
    return struct.pack("<Q", len(head)) + head + bytes(8)


def drawing(who: Who) -> bytes:
    return (
        f'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><!-- {who.person()} --><text>'
        f'{who.name()}</text><image href="data:image/png;base64,AAAA{who.name()}"/></svg>'
    ).encode()


def page(who: Who) -> bytes:
    return f"<html><title>{who.person()}</title><img src='data:text/plain;base64,{shade(who).hex()}'></html>".encode()


def document(who: Who) -> bytes:
    from fpdf import FPDF

    made = FPDF()
    made.set_author(who.person())
    made.set_title(who.name())
    made.add_page()
    made.set_font("helvetica")
    made.cell(text=f"{who.name()} {who.number()}")
    made.embed_file(bytes=shade(who), basename=f"{who.name()}.txt", desc=who.name())
    return bytes(made.output())


def workbook(who: Who) -> bytes:
    core = (
        f"<cp:coreProperties><dc:creator>{who.person()}</dc:creator><cp:lastModifiedBy>{who.name()}<"
        f"/cp:lastModifiedBy></cp:coreProperties>"
    )
    return zipped(
        {
            "[Content_Types].xml": b"<Types/>",
            "docProps/core.xml": core.encode(),
            "xl/sharedStrings.xml": f"<sst><si><t>{who.name()}</t></si></sst>".encode(),
        }
    )


def letter(who: Who) -> bytes:
    return zipped(
        {
            "[Content_Types].xml": b"<Types/>",
            "word/document.xml": f"<w:t>{who.person()}</w:t>".encode(),
            "word/media/image1.png": png_texts(who),
        },
        who,
    )


def message(who: Who) -> bytes:
    return (
        f"MSH|^~\\&|PACS|{who.name()}|||{who.date()}||ORU^R01|1|P|2.3\rPID|1||{who.number()}||"
        f"{who.person()}||{who.date()}|F\r"
    ).encode()


def mail(who: Who) -> bytes:
    return (
        f"From: {who.name()}@{who.name()}.org\r\nSubject: =?utf-8?B?{shade(who).hex()}?=\r\n\r\n{who.person()}\r\n"
    ).encode()


def jpeg2000(who: Who) -> bytes:
    return (
        b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
        + struct.pack(">I", 8 + len(words := shade(who)))
        + b"xml "
        + words
    )


def heic(who: Who) -> bytes:
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + shade(who)


def store(who: Who) -> bytes:
    return b"artifact_uri: /home/" + who.name().encode() + b"/mlruns\nuser_id: " + who.name().encode() + b"\n"


ARCHIVES = (
    (zip_words, ".zip"),
    (zip_in_zip, ".zip"),
    (zip_slip, ".zip"),
    (zip_link, ".zip"),
    (zip_locked, ".zip"),
    (zip_bomb, ".zip"),
    (zip_twice, ".zip"),
    (zip_hidden_member, ".zip"),
    (letter, ".zip"),
)
FOREIGN = (
    (tar, ".tar"),
    (tar_gz, ".tar.gz"),
    (gzip_text, ".gz"),
    (gzip_text, ".nii.gz"),
    (database, ".db"),
    (arrays, ".npz"),
    (array, ".npy"),
    (pickled, ".pkl"),
    (weights, ".safetensors"),
    (drawing, ".svg"),
    (page, ".html"),
    (document, ".pdf"),
    (workbook, ".xlsx"),
    (letter, ".docx"),
    (message, ".hl7"),
    (mail, ".eml"),
    (jpeg2000, ".jp2"),
    (heic, ".jpg"),
    (store, ".yaml"),
    (pickled, ".nii"),
    (document, ".dcm"),
    (database, ".csv"),
    (arrays, ".zip"),
)
