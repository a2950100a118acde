"""Tables and JSON with identities in headers, cells, keys, encodings and free text."""

from __future__ import annotations

import base64
import json

from tests.privacy.corpus.shades import han, shade
from tests.privacy.corpus.slices import Who


def csv_bom(who: Who) -> bytes:
    return f"image,patient_id,age,sex,label\n{who.name()}.png,{who.number()},93,F,1\n".encode("utf-8-sig")


def csv_wide_letters(who: Who) -> bytes:
    return f"image\tpatient_id\tage\tsex\n{who.name()}.png\t{who.number()}\t41\tM\n".encode("utf-16")


def csv_chinese(who: Who) -> bytes:
    return f"image,patient,age,sex,label\n{han(who)}.png,{han(who)},50,M,0\n".encode("gb18030")


def csv_names_in_header(who: Who) -> bytes:
    return f'image,age,{who.name()},"{who.person()}\n{who.name()}",{who.number()}\na.png,41,1,2,3\n'.encode()


def csv_quoted(who: Who) -> bytes:
    return f'image,age,label\r\n"{who.name()}\r\n{who.name()}.png",41,1\r\n"""{who.person()}""",40,0\r\n'.encode()


def csv_formulas(who: Who) -> bytes:
    return (
        f'image,age,volume_ml\n"=HYPERLINK(""http://{who.name()}.org"")",41,3.5\n@SUM({who.name()}),'
        f"+{who.name()},-{who.number()}\n"
    ).encode()


def csv_numbers(who: Who) -> bytes:
    """Ids and dates that look like numbers, in columns with harmless names."""
    ids = [who.number("")[:9] for _ in range(8)]
    epochs = [str(-who.draw.randrange(10**8, 9 * 10**8)) for _ in range(8)]
    excel = [f"{who.draw.randrange(11000, 20000)}" for _ in range(8)]
    who.all += epochs
    rows = "".join(f"{who.name()}.png,{a},{b},{c},{who.date()}\n" for a, b, c in zip(ids, epochs, excel, strict=True))
    return b"image,volume,value,score,size\n" + rows.encode()


def csv_free_text(who: Who) -> bytes:
    return (
        f"image,age,diagnosis,site\na.png,41,nevus,{who.name()} Klinik\nb.png,42,nevus of Dr "
        f"{who.name()},{who.name()}\nc.png,43,{who.name()},head\n"
    ).encode()


def csv_very_wide(who: Who) -> bytes:
    heads = ",".join(f"x{n}" if n % 100 else who.name() for n in range(1, 2000))
    return f"image,age,{heads}\na.png,41,{','.join('1' for _ in range(1, 2000))}\n".encode()


def tsv_participants(who: Who) -> bytes:
    return (
        f"participant_id\tage\tsex\thandedness\tgroup\nsub-{who.name()}\t95\tF\t{who.name()}\tcontro"
        f"l\nsub-{who.number()}\t41\tM\tright\t{who.name()}\n"
    ).encode()


def csv_semicolon_latin(who: Who) -> bytes:
    return f"image;age;sex\n{who.name()}ü.png;41;F\n".encode("latin-1")


def csv_ragged(who: Who) -> bytes:
    return f"image,age\na.png,41,{who.name()},{who.number()}\nb.png\n# {who.person()}\n\n{who.name()}\n".encode()


def csv_zero_bytes(who: Who) -> bytes:
    return b"image,age\na.png,41\n" + b"\0" * 20 + who.person().encode()


def json_deep(who: Who) -> bytes:
    inner: object = {who.name(): who.person(), "age": 95}
    for n in range(40):
        inner = {who.name(): [inner, n]} if n % 2 else {"items": inner}
    return json.dumps({"EchoTime": 0.03, "study": inner, "label": 1}).encode()


def json_lines(who: Who) -> bytes:
    return "".join(
        json.dumps({"image": f"{who.name()}.png", "label": 1, "note": who.person()}) + "\n" for _ in range(4)
    ).encode()


def json_twice(who: Who) -> bytes:
    return f'{{"label": "{who.name()}", "label": 1, "Modality": "MR", "Modality": "{who.name()}"}}'.encode()


def json_escapes(who: Who) -> bytes:
    hidden = "".join(f"\\u{ord(c):04x}" for c in who.name() + han(who))
    return f'{{"Modality": "{hidden}", "{hidden}": 1, "EchoTime": 0.03, "note": "{who.name()[::-1]}"}}'.encode()


def json_packed(who: Who) -> bytes:
    return json.dumps(
        {
            "imageData": base64.b64encode(shade(who)).decode(),
            "imagePath": f"../{who.name()}/{who.name()}.png",
            "shapes": [],
            "imageHeight": 4,
            "imageWidth": 4,
        }
    ).encode()


def json_wide_letters(who: Who) -> bytes:
    return json.dumps({"EchoTime": 0.03, "PatientName": han(who)}, ensure_ascii=False).encode("utf-16")


def json_numbers(who: Who) -> bytes:
    ids = [int(who.number("")[:9]) for _ in range(4)]
    return json.dumps(
        {
            "id": ids[0],
            "label": ids[1],
            "values": ids[2:],
            "EchoTime": float(f"0.{who.number('')}"),
            "date": int(who.date()),
        }
    ).encode()


def json_coco(who: Who) -> bytes:
    return json.dumps(
        {
            "info": {"contributor": who.person(), "description": who.name(), "date_created": who.date()},
            "licenses": [{"id": 1, "name": who.name(), "url": f"http://{who.name()}.org"}],
            "images": [
                {
                    "id": 1,
                    "file_name": f"{who.name()}/{who.name()}.jpg",
                    "height": 4,
                    "width": 4,
                    "date_captured": who.date(),
                    "coco_url": who.name(),
                }
            ],
            "annotations": [
                {
                    "id": 1,
                    "image_id": 1,
                    "category_id": 1,
                    "bbox": [0, 0, 2, 2],
                    "area": 4,
                    "iscrowd": 0,
                    "segmentation": [[0, 0, 2, 0, 2, 2]],
                    "annotator": who.name(),
                }
            ],
            "categories": [{"id": 1, "name": "lesion", "supercategory": who.name()}],
        }
    ).encode()


def json_bids(who: Who) -> bytes:
    return json.dumps(
        {
            "Manufacturer": "Siemens",
            "InstitutionName": who.name(),
            "InstitutionAddress": who.name(),
            "DeviceSerialNumber": who.number(),
            "StationName": who.name(),
            "SeriesDescription": f"t1 {who.name()}",
            "ProtocolName": who.name(),
            "PatientName": who.person(),
            "AcquisitionTime": "10:11:12.5",
            "AcquisitionDateTime": who.date(),
            "EchoTime": 0.003,
            "RepetitionTime": 2.3,
            "SeriesInstanceUID": who.uid(),
            "ImageComments": shade(who).decode("latin-1"),
            "ProcedureStepDescription": who.name(),
            "ConversionSoftware": who.name(),
            "Modality": "MR",
        }
    ).encode()


def json_fhir(who: Who) -> bytes:
    return json.dumps(
        {
            "resourceType": "Patient",
            "id": who.number(),
            "name": [{"family": who.name(), "given": [who.name()]}],
            "birthDate": who.date(),
            "text": {"div": f"<div>{who.name()}</div>"},
        }
    ).encode()


def json_dicom(who: Who) -> bytes:
    return json.dumps(
        {
            "00100010": {"vr": "PN", "Value": [{"Alphabetic": who.person()}]},
            "00100020": {"vr": "LO", "Value": [who.number()]},
            "7FE00010": {"vr": "OW", "InlineBinary": base64.b64encode(shade(who)).decode()},
        }
    ).encode()


def json_list_of_names(who: Who) -> bytes:
    return json.dumps([who.name(), [who.person()], {"a": who.name()}]).encode()


SHEETS = (
    (csv_bom, ".csv"),
    (csv_wide_letters, ".tsv"),
    (csv_chinese, ".csv"),
    (csv_names_in_header, ".csv"),
    (csv_quoted, ".csv"),
    (csv_formulas, ".csv"),
    (csv_numbers, ".csv"),
    (csv_free_text, ".csv"),
    (csv_very_wide, ".csv"),
    (tsv_participants, ".tsv"),
    (csv_semicolon_latin, ".csv"),
    (csv_ragged, ".csv"),
    (csv_zero_bytes, ".csv"),
    (json_deep, ".json"),
    (json_lines, ".ndjson"),
    (json_lines, ".json"),
    (json_twice, ".json"),
    (json_escapes, ".json"),
    (json_packed, ".json"),
    (json_wide_letters, ".json"),
    (json_numbers, ".json"),
    (json_coco, ".json"),
    (json_bids, ".json"),
    (json_fhir, ".json"),
    (json_dicom, ".json"),
    (json_list_of_names, ".json"),
)
