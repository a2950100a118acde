"""Tables, sidecars, archives and the litter of file systems around images."""

import base64
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.privacy.blind.classes import image, visit
from tests.privacy.blind.folder import Expected, to_bytes
from tests.privacy.blind.people import Planter
from tests.privacy.blind.pictures import Made, jpegs, others, photo, pngs, volumes


def _png(p: Planter) -> bytes:
    stream = io.BytesIO()
    photo(p).save(stream, "PNG")
    return stream.getvalue()


def _rows(p: Planter, sep: str) -> str:
    head = sep.join(
        (
            "participant_id",
            "name",
            "sex",
            "age",
            "date_of_birth",
            "scan_date",
            "site",
            "diagnosis",
            "mrn",
            "score",
            "notes",
        )
    )
    lines = [
        sep.join(
            (
                f"sub-{p.family()}",
                p.family(),
                "F",
                "97" if k == 3 else str(50 + k),
                p.date(p.day()),
                f"{p.iso()}",
                p.family(),
                "benign",
                p.number(),
                f"{k}.5",
                f"Dr {p.family()}, {p.contact(1)}",
            )
        )
        for k in range(12)
    ]
    return "\n".join([head, *lines]) + "\n"


def tables(p: Planter) -> Made:
    """CSV and TSV of every habit, JSON of every tool."""
    yield "participants.tsv", _rows(p, "\t").encode(), None
    yield "export.csv", b"\xef\xbb\xbf" + _rows(p, ";").encode(), None
    yield "utf16.csv", _rows(p, ",").encode("utf-16"), None
    yield "mac.csv", _rows(p, ",").replace("\n", "\r").encode("mac_roman", "replace"), None
    yield "cp1250.csv", (_rows(p, ",") + f"{p.family()} ř\n").encode("cp1250", "replace"), None
    yield "numbers.csv", ("a,b\n" + "".join(f"{p.number()},{p.int32()}\n" for _ in range(12))).encode(), None
    yield "headless.csv", "".join(f"{p.family()},{p.number()},{p.date(p.day())}\n" for _ in range(12)).encode(), None
    yield (
        "comments.csv",
        f"# {p.family()}\n#{p.contact(0)}\ncase,dice\n".encode() + b"".join(b"%d,0.5\n" % k for k in range(12)),
        None,
    )
    yield "heads.csv", (f"case,{p.family()},{p.family()}\n" + "".join(f"{k},1,2\n" for k in range(12))).encode(), None
    yield (
        "formula.csv",
        ("id,v\n" + "".join(f'"=HYPERLINK(""http://{p.family()}"")",{k}\n' for k in range(12))).encode(),
        None,
    )
    sidecar = {
        "PatientName": p.family(),
        "InstitutionName": p.family(),
        "DeviceSerialNumber": p.code(),
        "AcquisitionTime": "10:11:12",
        "EchoTime": 0.03,
        "ProtocolName": p.family(),
        "ImageComments": p.contacts(),
        "StationName": p.upper(),
        "MagneticFieldStrength": 3,
        "AcquisitionDateTime": f"{p.iso()}T10:11:12",
        "dcmmeta": {"deep": [[{"x": p.family()}]]},
        p.family(): 1,
    }
    yield "sub-01_T1w.json", json.dumps(sidecar).encode(), None
    yield "escaped.json", json.dumps({"Comment": p.script("ko"), "v": p.script("ar")}, ensure_ascii=True).encode(), None
    yield (
        "numbers.json",
        json.dumps({"id": int(p.number()), "list": [p.int32(), float(p.int32())], "seconds": p.int32()}).encode(),
        None,
    )
    yield (
        "dataset_description.json",
        json.dumps({"Name": p.family(), "BIDSVersion": "1.8.0", "Authors": [p.family(), p.family()]}).encode(),
        None,
    )
    cases = [{"image": f"./imagesTr/{p.family()}.nii.gz", "label": f"./labelsTr/{p.family()}.nii.gz"} for _ in range(3)]
    yield (
        "dataset.json",
        json.dumps(
            {
                "name": p.family(),
                "channel_names": {"0": "CT"},
                "labels": {"background": 0, p.family(): 1},
                "numTraining": 3,
                "file_ending": ".nii.gz",
                "training": cases,
            }
        ).encode(),
        None,
    )
    shapes = [
        {"label": p.family(), "points": [[1, 2], [3, 4], [5, 6]], "shape_type": "polygon", "flags": {p.family(): True}}
    ]
    yield (
        "labelme.json",
        json.dumps(
            {
                "version": "5",
                "flags": {},
                "shapes": shapes,
                "imagePath": f"{p.family()}.jpg",
                "imageHeight": 48,
                "imageWidth": 48,
                "imageData": base64.b64encode(_png(p) + p.family().encode()).decode(),
            }
        ).encode(),
        None,
    )
    coco = {
        "info": {"contributor": p.family(), "date_created": f"{p.iso()}"},
        "images": [{"id": 1, "file_name": f"{p.family()}.jpg", "width": 4, "height": 4}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 1,
                "bbox": [0, 0, 2, 2],
                "segmentation": [],
                "area": 4,
                "iscrowd": 0,
            }
        ],
        "categories": [{"id": 1, "name": p.family(), "supercategory": p.family()}],
    }
    yield "coco.json", json.dumps(coco).encode(), None
    yield "lines.jsonl", b"".join(json.dumps({"who": p.family(), "n": k}).encode() + b"\n" for k in range(4)), None
    xml = f"<annotation><filename>{p.family()}.jpg</filename><owner>{p.family()}</owner></annotation>"
    yield "voc.xml", xml.encode(), None
    yield "points.fcsv", f"# Markups\n0,1,2,3,0,0,0,1,1,1,0,{p.family()},,\n".encode(), None
    yield "report.txt", f"{p.family()} {p.written(p.day(), 0)} {p.contacts()}".encode(), None
    yield "letter.html", f"<p title='{p.family()}'>{p.contact(0)}</p>".encode(), None
    yield "letter.rtf", (r"{\rtf1 " + p.family() + "}").encode(), None
    yield "letter.pdf", b"%PDF-1.4\n1 0 obj <</Author(" + p.family().encode() + b")>> endobj\n%%EOF", None
    yield "image.pdf.jpg", b"%PDF-1.4\n%" + p.family().encode(), False


def _zip(members: dict[str, bytes], comment: bytes = b"", front: bytes = b"") -> bytes:
    stream = io.BytesIO(front)
    stream.seek(0, 2)
    with zipfile.ZipFile(stream, "a" if front else "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            entry = zipfile.ZipInfo(name, (1999, 8, 7, 6, 5, 4))
            entry.comment, entry.extra = comment, b"\x75\x70" + len(comment).to_bytes(2, "little") + comment
            archive.writestr(entry, data)
        archive.comment = comment
    return stream.getvalue()


def archives(p: Planter) -> Made:
    """Archives in archives, with names on every layer."""

    def scan() -> bytes:
        return to_bytes(image(p, visit(p, p.person(), p.day(2000, 2018)), "ct"))

    deep = scan()
    for _ in range(3):
        deep = _zip(
            {f"{p.family()}/{p.family()}.zip": deep, f"{p.family()}/{p.family()}.csv": _rows(p, ",").encode()},
            p.family().encode(),
        )
    yield f"{p.family()}.zip", deep, None
    yield (
        "images.zip",
        _zip(
            {
                f"{p.family()}.dcm": scan(),
                f"{p.family()}.png": _png(p),
                f"__MACOSX/._{p.family()}": p.family().encode(),
            },
            p.family().encode(),
        ),
        None,
    )
    yield "front.zip", _zip({f"{p.family()}.dcm": scan()}, front=b"GIF89a" + p.family().encode()), None
    yield "up.zip", _zip({f"../../{p.family()}.dcm": scan()}), None
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        data, entry = scan(), tarfile.TarInfo(f"{p.family()}.dcm")
        entry.size, entry.uname, entry.gname = len(data), p.family(), p.family()
        tar.addfile(entry, io.BytesIO(data))
    yield "backup.tar.gz", stream.getvalue(), None
    import gzip

    yield f"{p.family()}.dcm.gz", gzip.compress(scan()), None


def litter(p: Planter) -> Made:
    """What file systems and viewers leave beside images."""
    yield ".DS_Store", b"\0\0\0\x01Bud1" + p.family().encode("utf-16-be") * 3, False
    yield "Thumbs.db", bytes.fromhex("d0cf11e0a1b11ae1") + p.family().encode("utf-16-le") * 3, False
    yield "desktop.ini", f"[.ShellClassInfo]\nInfoTip={p.family()}".encode(), False
    yield f"._{p.family()}.dcm", b"\0\x05\x16\x07" + p.family().encode(), False
    yield "scan.dcm:Zone.Identifier", f"[ZoneTransfer]\nReferrerUrl=https://{p.family()}.example".encode(), False
    yield "autorun.inf", f"[autorun]\nlabel={p.family()}".encode(), False
    yield "empty.dcm", b"", False
    yield f"~${p.family()}.docx", p.family().encode("utf-16-le"), False


def make(p: Planter, out: Path) -> list[Expected]:
    """Write everything that is no DICOM below a folder; what should become of each file."""
    expected = []
    parts: dict[str, Iterator[tuple[str, bytes, bool | None]]] = {
        "jpeg": jpegs(p),
        "png": pngs(p),
        "pictures": others(p),
        "volumes": volumes(p),
        "tables": tables(p),
        "archives": archives(p),
        "litter": litter(p),
    }
    for part, made in parts.items():
        p.place = part
        folder = f"{part}_{p.family()}"
        for name, data, keep in made:
            (out / folder).mkdir(parents=True, exist_ok=True)
            (out / folder / name).write_bytes(data)
            expected.append(Expected(f"{folder}/{name}", keep, f"{part}/{name.rsplit('.', 1)[-1]}"))
    links = out / f"links_{p.family()}"
    links.mkdir()
    outside = out.parent / f"outside_{p.family()}"
    outside.write_bytes(_png(p) + p.family().encode())
    for name, target in ((f"{p.family()}.png", outside), ("loop", links), ("dangling", out / p.family())):
        os.symlink(target, links / name)
        expected.append(Expected(f"{links.name}/{name}", False, "link"))
    os.mkfifo(links / f"{p.family()}.pipe")
    expected.append(Expected(f"{links.name}/pipe", False, "pipe"))
    return expected
