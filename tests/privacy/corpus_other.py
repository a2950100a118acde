"""A second hostile corpus, as a stranger would make one: other classes, character sets, nests and file formats."""

from __future__ import annotations

import gzip
import io
import json
import random
import sqlite3
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image, TiffImagePlugin
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from tests.privacy.corpus import CT, MR, PT, Planted, Who, before_pixels, image, raw_element, save

IMAGES = "1.2.840.10008.5.1.4.1.1."


def pixels(who: Who, *shape: int) -> np.ndarray:
    return np.random.default_rng(who.draw.randrange(2**32)).integers(0, 255, shape, dtype=np.uint8)


def segment(marker: bytes, body: bytes) -> bytes:
    return marker + (len(body) + 2).to_bytes(2, "big") + body


# --- DICOM: other classes -------------------------------------------------------------------------------------------


def enhanced_mr(who: Who) -> bytes:
    ds = image(who, IMAGES + "4.1")
    content, frame, stack, label = Dataset(), Dataset(), Dataset(), Dataset()
    content.FrameComments, content.FrameLabel, content.StackID = who.name(), who.name(), who.name()
    content.FrameAcquisitionDateTime, content.FrameReferenceDateTime = f"{who.date()}101112", f"{who.date()}101112"
    stack.add_new(0x00091010, "LO", who.name())
    stack.add_new(0x00090010, "LO", "SECRET")
    frame.FrameContentSequence = [content]
    frame.add_new(0x20051010, "SQ", [stack])
    frame.add_new(0x20050010, "LO", f"Philips {who.name()}")
    label.DimensionDescriptionLabel, label.DimensionOrganizationUID = who.name(), who.uid()
    ds.DimensionIndexSequence = [label]
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = [frame], 1
    return save(ds)


def nuclear(who: Who) -> bytes:
    ds = image(who, IMAGES + "20")
    ds.Modality, ds.NumberOfFrames = "NM", 1
    window, isotope = Dataset(), Dataset()
    window.EnergyWindowName = who.name()
    isotope.Radiopharmaceutical, isotope.RadiopharmaceuticalStartDateTime = who.name(), f"{who.date()}1011"
    ds.EnergyWindowInformationSequence, ds.RadiopharmaceuticalInformationSequence = [window], [isotope]
    return save(ds)


def mammography(who: Who) -> bytes:
    ds = image(who, IMAGES + "1.2")
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "399162004", "SCT", who.name()
    view.LongCodeValue, view.URNCodeValue = who.number() * 3, f"urn:x:{who.number()}"
    ds.ViewCodeSequence, ds.DetectorID, ds.AcquisitionDeviceProcessingDescription = [view], who.number(), who.name()
    ds.Modality, ds.ImageLaterality = "MG", "L"
    return save(ds)


def computed_radiography(who: Who) -> bytes:
    ds = image(who, IMAGES + "1")
    ds.Modality, ds.CassetteID, ds.PlateID, ds.PlateType = "CR", who.number(), who.number(), who.name()
    ds.AcquisitionDeviceProcessingCode, ds.RequestingService = who.name(), who.name()
    return save(ds)


def dose(who: Who) -> bytes:
    ds = image(who, IMAGES + "481.2")
    ds.Modality, ds.DoseComment, ds.DoseUnits, ds.DoseType, ds.DoseSummationType = (
        "RTDOSE",
        who.name(),
        "GY",
        "PHYSICAL",
        "PLAN",
    )
    ds.DoseGridScaling, ds.GridFrameOffsetVector, ds.FrameIncrementPointer = 0.001, [0], 0x3004000C
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = IMAGES + "481.5", who.uid()
    ds.ReferencedRTPlanSequence = [reference]
    return save(ds)


def parametric_map(who: Who) -> bytes:
    ds = image(who, IMAGES + "30")
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "MAP", who.name(), who.person()
    mapping, meaning = Dataset(), Dataset()
    meaning.CodeValue, meaning.CodingSchemeDesignator, meaning.CodeMeaning = "1", "99X", who.name()
    mapping.LUTExplanation, mapping.LUTLabel, mapping.MeasurementUnitsCodeSequence = who.name(), who.name(), [meaning]
    ds.RealWorldValueMappingSequence, ds.NumberOfFrames = [mapping], 1
    return save(ds)


def key_object(who: Who) -> bytes:
    return _without_pixels(who, "88.59")


def printed_model(who: Who) -> bytes:
    ds = image(who, IMAGES + "104.3")
    ds.EncapsulatedDocument, ds.DocumentTitle = who.person().encode().ljust(60), who.name()
    del ds.PixelData
    return save(ds)


def heart_beat(who: Who) -> bytes:
    ds = image(who, IMAGES + "9.1.1")
    group = Dataset()
    group.WaveformBitsAllocated = 16
    group.MultiplexGroupLabel, group.WaveformData = who.name(), who.name().encode().ljust(20)
    ds.WaveformSequence = [group]
    del ds.PixelData
    return save(ds)


def spatial_registration(who: Who) -> bytes:
    return _without_pixels(who, "66.1")


def plan(who: Who) -> bytes:
    return _without_pixels(who, "481.5")


def _without_pixels(who: Who, tail: str) -> bytes:
    ds = image(who, IMAGES + tail)
    ds.ContentLabel, ds.ContentDescription = "LABEL", who.name()
    del ds.PixelData
    return save(ds)


# --- DICOM: character sets ------------------------------------------------------------------------------------------

CHARSETS = (
    ("\\ISO 2022 IR 149", "euc_kr", "김희중", b"\x1b$)C"),
    ("\\ISO 2022 IR 58", "gb2312", "张小冬", b"\x1b$)A"),
    ("ISO_IR 13", "shift_jis", "ﾔﾏﾀﾞ", b""),
    ("ISO_IR 144", "iso8859_5", "Люкceмбypг", b""),
    ("ISO_IR 127", "iso8859_6", "قباني", b""),
    ("ISO_IR 126", "iso8859_7", "Διονυσιος", b""),
    ("ISO_IR 192", "utf-8", "Božena Němcová", b""),
    ("GBK", "gbk", "李卫东", b""),
    ("ISO_IR 100", "utf-16-le", "Příbramská", b""),
)  # fmt: skip


def named_in(charset: str, encoding: str, name: str, escape: bytes) -> Callable[[Who], bytes]:
    def make(who: Who) -> bytes:
        ds = image(who, MR)
        ds.PatientAddress = who.name()
        data = save(ds)
        who.all.append(name)
        text = escape + name.encode(encoding)
        place = data.index(b"\x08\x00\x08\x00CS")
        data = data[:place] + raw_element(0x00080005, "CS", charset.encode()) + data[place:]
        for tag, vr in ((0x00324000, "LT"), (0x00400254, "LO"), (0x00401012, "PN"), (0x00204000, "LT")):
            data = before_pixels(data, raw_element(tag, vr, text)) if tag > 0x00281055 else data
        return data

    return make


# --- DICOM: nests, numbers, streams ---------------------------------------------------------------------------------


def deep_nest(who: Who) -> bytes:
    ds = image(who, CT)
    item = Dataset()
    item.PatientName = who.person()
    for _ in range(12):
        outer = Dataset()
        outer.ReferencedSOPClassUID, outer.ReferencedSOPInstanceUID = CT, who.uid()
        outer.SourceImageSequence = [item]
        item = outer
    ds.SourceImageSequence = [item]
    return save(ds)


def hidden_sequence(who: Who) -> bytes:
    """A sequence of undefined length under VR UN, and padding inside an item."""
    inner = raw_element(0x00100010, "PN", who.person().encode()) + raw_element(0xFFFCFFFC, "OB", who.name().encode())
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    head = struct.pack("<HH2sHI", 0x0040, 0x0275, b"UN", 0, 0xFFFFFFFF)
    private = struct.pack("<HH2sHI", 0x0041, 0x1001, b"UN", 0, 0xFFFFFFFF)
    return before_pixels(save(image(who, CT)), head + item + private + item)


def private_numbers(who: Who) -> bytes:
    ds = image(who, MR)
    data = save(ds)
    for creator, tag, vr in ((b"SIEMENS MR HEADER", 0x0019100C, "IS"), (b"GEMS_PARM_01", 0x00431039, "IS")):
        group = tag >> 16
        data = before_pixels(data, raw_element((group << 16) | 0x10, "LO", creator)) if group > 0x28 else data
        data = before_pixels(data, raw_element(tag, vr, who.name().encode())) if group > 0x28 else data
    return data


def path_as_id(who: Who) -> bytes:
    ds = image(who, CT)
    ds.PatientID, ds.StudyID = f"../../{who.name()}/", f"..\\{who.name()}"[:16]
    ds.add_new(0x00200052, "UI", f"1.2.{who.draw.randrange(10**9)}")
    return save(ds)


def names_as_uids(who: Who) -> bytes:
    data = save(image(who, CT))
    return before_pixels(data, raw_element(0x00400555, "UI", f"1.2.{who.name()}".encode()))


def malformed_times(who: Who) -> bytes:
    data = save(image(who, PT))
    for tag, vr in ((0x00400002, "DA"), (0x00400003, "TM"), (0x00540016, "AS"), (0x00404005, "DT"), (0x00400244, "DA")):
        data = before_pixels(data, raw_element(tag, vr, who.name().encode()))
    return data


def long_numbers(who: Who) -> bytes:
    """Numbers of patients where numbers of images stand."""
    ds = image(who, CT)
    for keyword in ("SeriesNumber", "AcquisitionNumber"):
        number = str(who.draw.randrange(10**8, 10**9))
        who.all.append(number)
        setattr(ds, keyword, number)
    return save(ds)


def late_texts(who: Who) -> bytes:
    data = save(image(who, CT))
    data = before_pixels(data, raw_element(0x00400310, "ST", who.name().encode()))
    data = before_pixels(data, raw_element(0x00420010, "ST", who.name().encode()))
    data = before_pixels(data, raw_element(0x00880140, "UI", who.uid().encode()))
    data = before_pixels(data, raw_element(0x00880200, "SQ", b""))
    data = before_pixels(data, raw_element(0x00880904, "LO", who.name().encode()))
    return before_pixels(data, raw_element(0x40000010, "LT", who.name().encode()))


def overlays_of_all_groups(who: Who) -> bytes:
    ds = image(who, CT)
    for group in (0x6002, 0x601E):
        ds.add_new((group << 16) | 0x0010, "US", 16)
        ds.add_new((group << 16) | 0x0022, "LO", who.name())
        ds.add_new((group << 16) | 0x3000, "OW", who.person().encode().ljust(32, b"\0"))
    return save(ds)


def offset_table(who: Who) -> bytes:
    """Text in the extended offset table and in a fragment behind the last frame."""
    stream = io.BytesIO()
    Image.fromarray(pixels(who, 16, 16)).save(stream, "JPEG", quality=90)
    ds = image(who, MR)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.ExtendedOffsetTable = who.name().encode()
    ds.ExtendedOffsetTableLengths = who.name().encode()
    body = encapsulate([stream.getvalue()])
    text = who.person().encode()
    end = body.rindex(b"\xfe\xff\xdd\xe0") if b"\xfe\xff\xdd\xe0" in body else len(body)
    body = (
        body[:end] + b"\xfe\xff\x00\xe0" + struct.pack("<I", len(text) + len(text) % 2) + text + b"\0" * (len(text) % 2)
    )
    ds.PixelData = body
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return save(ds, syntax="1.2.840.10008.1.2.4.50")


def tables_in_frame(who: Who) -> bytes:
    return _framed(who, spare_tables(who))


def _framed(who: Who, frame: bytes) -> bytes:
    ds = image(who, MR)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.Rows, ds.Columns = 8, 8, 7, 24, 32
    ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return save(ds, syntax="1.2.840.10008.1.2.4.50")


def spare_tables(who: Who) -> bytes:
    """A grey JPEG whose unused quantisation, Huffman and arithmetic tables hold text, and restart intervals as well."""
    stream = io.BytesIO()
    Image.fromarray(pixels(who, 24, 32)).save(stream, "JPEG", quality=90)
    data = stream.getvalue()
    spare = segment(b"\xff\xdb", b"\x03" + who.person().encode().ljust(64, b" "))
    text = who.person().encode()
    spare += segment(b"\xff\xc4", b"\x13" + bytes([0] * 7 + [len(text)] + [0] * 8) + text)
    spare += segment(b"\xff\xcc", who.name().encode()[:16].ljust(16, b" "))
    return data[:2] + spare + data[2:]


# --- photographs ----------------------------------------------------------------------------------------------------


def thumbnail_with_exif(who: Who) -> bytes:
    small, stream = io.BytesIO(), io.BytesIO()
    Image.fromarray(pixels(who, 8, 8, 3)).save(small, "JPEG", comment=who.name())
    picture = Image.fromarray(pixels(who, 24, 32, 3))
    exif = picture.getexif()
    exif[0x010F], exif[0x8769] = who.name(), {0x9286: b"ASCII\0\0\0" + who.person().encode(), 0xA420: who.number()}
    picture.save(stream, "JPEG", exif=exif.tobytes() + small.getvalue(), progressive=True)
    data = stream.getvalue()
    second = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    return data[:second] + segment(b"\xff\xfe", who.person().encode()) + data[second:]


def two_pictures(who: Who) -> bytes:
    stream = io.BytesIO()
    pages = [Image.fromarray(pixels(who, 24, 32, 3)) for _ in range(2)]
    pages[1].info["comment"] = who.name().encode()
    pages[0].save(stream, "MPO", save_all=True, append_images=pages[1:])
    return stream.getvalue() + who.person().encode()


def application_segments(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(who, 24, 32, 4), "CMYK").save(stream, "JPEG")
    data = stream.getvalue()
    extra = b"".join(segment(bytes((0xFF, 0xE0 + n)), b"X" * n + who.person().encode()) for n in (0, 2, 3, 12, 13, 15))
    return data[:2] + extra + data[2:]


def _png(who: Who, mode: str, *chunks: tuple[bytes, bytes]) -> bytes:
    stream = io.BytesIO()
    array = pixels(who, 16, 24) if mode == "L" else pixels(who, 16, 24, 3)
    Image.fromarray(array).save(stream, "PNG")
    data = stream.getvalue()
    made = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return data[:33] + made + data[33:]


def png_chunks(who: Who) -> bytes:
    profile = who.name().encode() + b"\0\0" + zlib.compress(who.person().encode() * 9)
    chunks = ((b"tIME", b"\x07\x9c\x02\x11\x0a\x0b\x0c"), (b"eXIf", b"MM\0*" + who.person().encode()),
              (b"sPLT", who.name().encode() + b"\0\x08"), (b"prVt", who.person().encode()), (b"iCCP", profile),
              (b"caBX", who.person().encode()))  # fmt: skip
    return _png(who, "RGB", *chunks)


def png_deep(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(who, 16, 24).astype(np.uint16) * 257).save(stream, "PNG")
    return stream.getvalue() + who.person().encode()


def tiff_tags(who: Who) -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[700], info[33723], info[50839], info[65000] = (who.person().encode() for _ in range(4))
    info[269], info[285], info[316], info[33432], info[42112] = (who.name() for _ in range(5))
    info[34665] = {0x9286: who.name()}
    stream = io.BytesIO()
    Image.fromarray(pixels(who, 16, 24)).save(stream, "TIFF", tiffinfo=info, icc_profile=who.name().encode() * 20)
    return stream.getvalue()


def tiff_big(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(who, 16, 24, 3)).save(stream, "TIFF", big_tiff=True, description=who.name())
    return stream.getvalue() + who.person().encode()


def bmp_palette(who: Who) -> bytes:
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 2, (8, 8), dtype=np.uint8)).convert("P")
    picture.putpalette(b"\0\0\0\xff\xff\xff" + who.person().encode().ljust(90, b" "))
    stream = io.BytesIO()
    picture.save(stream, "BMP")
    return stream.getvalue()


def webp_chunks(who: Who) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels(who, 16, 16, 3)).save(stream, "WEBP", lossless=True, icc_profile=who.name().encode() * 20)
    text = who.person().encode()
    data = stream.getvalue() + b"PRVT" + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    return data[:4] + struct.pack("<I", len(data) - 8) + data[8:]


# --- volumes --------------------------------------------------------------------------------------------------------


def _volume(who: Who) -> bytearray:
    voxels = np.random.default_rng(who.draw.randrange(2**32)).integers(0, 999, (6, 5, 4)).astype(np.int16)
    return bytearray(nib.Nifti1Image(voxels, np.diag([2.0, 2, 3, 1])).to_bytes())


def nifti_unused_geometry(who: Who) -> bytes:
    """Text in the transform that the header says is not used, in unused sizes and in intent parameters."""
    data = _volume(who)
    struct.pack_into("<2h", data, 252, 1, 0)
    data[280:328] = who.person().encode().ljust(48, b" ")
    data[56:68] = who.name().encode().ljust(12, b" ")
    data[96:108] = who.name().encode().ljust(12, b" ")
    data[328:344] = who.name().encode().ljust(16, b" ")
    return bytes(data)


def nifti_gap(who: Who) -> bytes:
    """Text between header and voxels, several extensions, and gzip fields of every kind."""
    data = _volume(who)
    text = who.person().encode().ljust(80, b"\0")
    struct.pack_into("<f", data, 108, 352.0 + 80)
    raw = bytes(data[:348]) + b"\x01\0\0\0" + struct.pack("<2i", 80, 4) + text[:72] + bytes(data[352:])
    body = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = body.compress(raw) + body.flush()
    extra = who.name().encode()
    head = b"\x1f\x8b\x08\x1c\0\0\0\0\0\x03" + struct.pack("<H", len(extra)) + extra
    head += who.name().encode() + b".nii\0" + who.person().encode() + b"\0"
    tail = struct.pack("<2I", zlib.crc32(raw), len(raw))
    return head + packed + tail + gzip.compress(who.person().encode())


def nrrd_fields(who: Who) -> bytes:
    name = "nanina"
    who.all.append(name)
    head = (
        f"NRRD0005\n# {who.name()}\ntype: short\ndimension: 3\nsizes: 4 3 2\nspacings: 1 1 2\nendian: little\n"
        f'encoding: raw\nunits: "{who.name()}" "mm" "mm"\nsample units: {who.name()}\nlabels: "{who.name()}" "y" "z"\n'
        f"axis mins: 0 0 0\nkinds: domain domain domain\nspace origin: ({name},0,0)\nnote:={who.person()}\n\n"
    )
    return head.encode() + np.arange(24, dtype=np.int16).tobytes()


def mha_fields(who: Who) -> bytes:
    name = "annina"
    who.all.append(name)
    head = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = False\n"
        f"CenterOfRotation = {name}\nOffset = 0 0 0\nElementSpacing = 1 1 2\nDimSize = 4 3 2\n"
        f"Modality = {who.name()}\nDICOM_0010_0010 = {who.person()}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    return head.encode() + np.arange(24, dtype=np.int16).tobytes() + who.person().encode()


# --- tables, JSON, archives, what must be refused -------------------------------------------------------------------


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
        made.writestr(info, _png(who, "L", (b"tEXt", b"a\0" + who.name().encode())))
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


WRITTEN: tuple[tuple[Callable[[Who], bytes], str], ...] = (
    (enhanced_mr, ".dcm"), (nuclear, ""), (mammography, ".ima"), (computed_radiography, ".dcm"), (dose, ".dcm"),
    (parametric_map, ".dcm"), *((named_in(*facts), ".dcm") for facts in CHARSETS), (deep_nest, ".dcm"),
    (hidden_sequence, ".dcm"), (private_numbers, ".dcm"), (path_as_id, ".dcm"), (names_as_uids, ".dcm"),
    (malformed_times, ".dcm"), (long_numbers, ".dcm"), (late_texts, ".dcm"), (overlays_of_all_groups, ".dcm"),
    (offset_table, ".dcm"), (tables_in_frame, ".dcm"), (spare_tables, ".jpg"), (thumbnail_with_exif, ".jpeg"),
    (two_pictures, ".jpg"), (application_segments, ".JPG"), (png_chunks, ".png"), (png_deep, ".png"),
    (tiff_tags, ".tif"), (tiff_big, ".tiff"), (bmp_palette, ".bmp"), (webp_chunks, ".webp"),
    (nifti_unused_geometry, ".nii"), (nifti_gap, ".nii.gz"), (mha_fields, ".mha"),
    (table, ".csv"), (sidecar, ".json"), (archive, ".zip"), (spatial_registration, ".dcm"),
)  # fmt: skip
REFUSED: tuple[tuple[Callable[[Who], bytes], str], ...] = (
    (key_object, ".dcm"), (printed_model, ".dcm"), (heart_beat, ".dcm"),
    (plan, ".dcm"), (database_in_archive, ".zip"), (pdf, ".pdf"), (vector_drawing, ".svg"),
    (picture_by_name_only, ".png"), (table_of_texts, ".csv"), (table_in_latin, ".csv"), (nrrd_fields, ".nrrd"),
)  # fmt: skip


def make_other_corpus(folder: Path, *, seed: int = 23) -> list[Planted]:
    """Write the corpus below `folder`, a folder a patient, named after the patient."""
    draw = random.Random(seed)
    planted: list[Planted] = []
    for group, expect in ((WRITTEN, "written"), (REFUSED, "refused")):
        for make, suffix in group:
            who = Who(draw)
            path = folder / f"{who.name()}_{who.name()}" / f"{who.name()}{suffix}"
            data = make(who)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            planted.append(Planted(path.relative_to(folder).as_posix(), who.all, expect))
    return planted
