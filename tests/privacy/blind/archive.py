"""The DICOM half: patients over years and their references, alphabets, compressions, burned-in names."""

import datetime
import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests.privacy.blind import objects
from tests.privacy.blind.classes import KINDS, Visit, image, reference, uid, visit
from tests.privacy.blind.folder import Expected, Folder, to_bytes
from tests.privacy.blind.people import Planter
from tests.privacy.blind.smuggling import pixel_row
from tests.privacy.blind.strays import scatter
from tests.privacy.blind.traps import TRAPS

SCRIPTS = {  # name: (script, SpecificCharacterSet, Python's codec, escape before each name)
    "korean": ("ko", "\\ISO 2022 IR 149", "euc_kr", b"\x1b$)C"),
    "kanji": ("ja", "\\ISO 2022 IR 87", "iso2022_jp", b""),
    "chinese": ("zh", "GB18030", "gb18030", b""),
    "gbk": ("zh", "GBK", "gbk", b""),
    "utf8": ("zh", "ISO_IR 192", "utf-8", b""),
    "cyrillic": ("ru", "ISO_IR 144", "iso8859_5", b""),
    "arabic": ("ar", "ISO_IR 127", "iso8859_6", b""),
    "greek": ("el", "ISO_IR 126", "iso8859_7", b""),
    "hebrew": ("he", "ISO_IR 138", "iso8859_8", b""),
    "thai": ("th", "ISO_IR 166", "tis_620", b""),
    "undeclared": ("ko", "", "utf-8", b""),
    "shift": ("ja", "", "shift_jis", b""),
    "wrong": ("ru", "ISO_IR 100", "cp1251", b""),
    "broken": ("ko", "ISO_IR 192", "euc_kr", b""),
    "iso58": ("zh", "\\ISO 2022 IR 58", "gb2312", b"\x1b$)A"),
    "nonsense": ("ru", "KOI8", "koi8_r", b""),
}


_TRAPPED = {"spelled": ("ct", "mr", "dx", "pet"), "functional": ("ect", "emr", "legacy", "slide", "us")}
_BURNED = (
    ("us", 1.0, 0, (8, 4)), ("cine", 1.0, 0, (8, 200)), ("ct", 1.0, 0, (8, 4)), ("sc", 0.9, 0, (60, 100)),
    ("xa", 0.8, 0, (10, 225)), ("mg", 1.0, 0, (20, 20)), ("dx", 0.7, 90, (20, 20)), ("sct", 1.0, 0, (10, 10)),
    ("mr", 0.55, 0, (100, 230)), ("cr", 1.0, 0, (130, 8)),
)  # fmt: skip
"""Kind, part of the highest value, degrees, and place of a name in the pixels."""


def make(p: Planter, out: Path, *, burned: bool) -> list[Expected]:
    """Write the DICOM half of the corpus below a folder, with names burned into pixels or without."""
    folder = Folder(out, p)
    for _ in range(3):
        _years(folder)
    for kind in KINDS:
        p.place = f"class {kind}"
        folder.put(f"klinika {p.family()}/{kind}_{p.family()}.dcm", _alone(p, kind), kind=kind)
    for name, trap in TRAPS.items():
        for kind in _TRAPPED.get(name, ("ct", "mr", "us", "emr", "dx")):
            p.place = f"{name} in {kind}"
            ds = _alone(p, kind)
            trap(p, ds)
            folder.put(f"{p.code()}/{name}/{kind}.dcm", ds, kind=f"{name}/{kind}")
    _alphabets(folder)
    _encoded(folder)
    p.place = "around"
    scatter(folder)
    if burned:
        _burned(folder)
    for kind in ("sc", "ct"):
        p.place = "pixel row"
        ds = _alone(p, kind)
        pixel_row(ds)
        folder.put(f"burned/row {kind}.dcm", ds, kind="pixel_row")
    return folder.expected


def _alone(p: Planter, kind: str, *, size: int = 32) -> FileDataset:
    return image(p, visit(p, p.person(), p.day(2000, 2018)), kind, size=size)


def _years(folder: Folder) -> None:
    """A patient over years: references between files and studies, exact intervals."""
    p = folder.people
    p.place = "years"
    who = p.person()
    first = p.day(2001, 2016)
    fixed: FileDataset | None = None
    for number, after in enumerate((0, 7, 371, 1096)):
        v = visit(p, who, first + datetime.timedelta(days=after))
        place = f"{who.family.upper()}_{who.given}_{who.born:%d%m%Y}/{who.number}/{v.day:%Y-%m-%d}"
        slices = _series(folder, v, place)
        fixed = fixed or slices[0]
        for name, ds in _made_of(p, v, slices, fixed, number).items():
            folder.put(f"{place}/{name}_{who.family}", ds, kind="years")


def _series(folder: Folder, v: Visit, place: str) -> list[FileDataset]:
    series, slices = uid(folder.people), []
    for number in range(3):
        ds = image(folder.people, v, "ct")
        ds.SeriesInstanceUID, ds.InstanceNumber = series, number + 1
        ds.ImagePositionPatient = [-10, -10, 5 + 3 * number]
        folder.put(f"{place}/IM{number:06d}", ds, kind="years")
        slices.append(ds)
    return slices


def _made_of(
    p: Planter, v: Visit, slices: list[FileDataset], fixed: FileDataset, number: int
) -> dict[str, FileDataset]:
    if number == 0:
        structures = objects.rtstruct(p, slices)
        plan, dose = objects.rtplan(p, structures), image(p, v, "dose")
        dose.ReferencedRTPlanSequence = reference(plan)
        return {"RS": structures, "RP": plan, "RD": dose, "SEG~1.DCM": objects.segmentation(p, slices)}
    if number == 1:
        key = objects.key_object(p, slices[0], slices[2])
        return {"SR": objects.report(p, slices[1]), "KO": key, "REG": objects.registration(p, fixed, slices[0])}
    if number == 2:
        return {"PR": objects.presentation(p, slices[2]), "basic": objects.report(p, slices[0], "88.11")}
    tracer = image(p, v, "pet")
    return {"PET": tracer, "RWV": objects.real_world_map(p, tracer)}


def _alphabets(folder: Folder) -> None:
    p = folder.people
    p.place = "alphabets"
    for name, (script, charset, codec, escape) in SCRIPTS.items():
        ds = _alone(p, "ct")
        for text in [e for e in ds if e.VR in {"LO", "LT", "SH", "PN"} and e.tag != 0x00100020]:
            del ds[text.tag]
        ds.SpecificCharacterSet = charset.split("\\") if charset else ""
        spoken = [p.script(script) for _ in range(5)]
        folder.put(f"{spoken[4]}/{name}", _with_raw_texts(ds, [escape + s.encode(codec) for s in spoken]), kind=name)


def _encoded(folder: Folder) -> None:
    p = folder.people
    p.place = "compressed"
    for name, ds in _compressed(p, visit(p, p.person(), p.day(2000, 2018))).items():
        folder.put(f"compressed/{p.family()}.{name}", ds, kind=name)
    syntaxes = (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
    for name, syntax in zip(("implicit", "big", "deflated"), syntaxes, strict=True):
        p.place = name
        ds = _alone(p, "mr")
        for trap in ("nested", "private", "dates"):
            TRAPS[trap](p, ds)
        if name == "big":
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
        folder.put(f"{p.family()}/{name}.dcm", ds, kind=name)


def _burned(folder: Folder) -> None:
    p = folder.people
    p.place = "burned in"
    for number, (kind, level, turn, place) in enumerate(_BURNED):
        ds = _alone(p, kind, size=256)
        text = f"{p.family().upper()} {p.number(6)}"
        draw(ds, text, place=place, level=level, turn=turn, frame=KINDS[kind][2] // 2)
        folder.put(f"burned/{number}.dcm", ds, keep=None, kind=f"burned/{kind}")


def draw(
    ds: FileDataset,
    text: str,
    *,
    place: tuple[int, int],
    pixels: int = 16,
    frame: int = 0,
    level: float = 1.0,
    turn: int = 0,
) -> None:
    """Burn a text into one frame of an uncompressed image."""
    dtype = np.uint8 if ds.BitsAllocated == 8 else np.uint16
    frames = int(getattr(ds, "NumberOfFrames", 1))
    values = np.frombuffer(ds.PixelData, dtype).reshape(frames, ds.Rows, ds.Columns, ds.SamplesPerPixel).copy()
    canvas = Image.new("L", (int(ds.Columns), int(ds.Rows)))
    font = ImageFont.truetype("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", pixels)
    ImageDraw.Draw(canvas).text(place, text, fill=255, font=font)
    mask = np.asarray(canvas.rotate(turn)) > 127
    values[frame][mask] = int((2**ds.BitsStored - 1) * level)
    ds.PixelData = values.tobytes()


def _compressed(p: Planter, v: Visit) -> dict[str, FileDataset]:
    """Frames with comments, application segments and leftovers inside and behind the compressed streams."""
    made: dict[str, FileDataset] = {}
    one = image(p, v, "photo", size=64)
    values = one.pixel_array
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG", quality=90, comment=p.family().encode(), exif=_exif(p))
    note = p.family().encode()
    jpeg = stream.getvalue()
    jpeg = jpeg[:2] + b"\xff\xe9" + struct.pack(">H", len(note) + 2) + note + jpeg[2:] + p.family().encode()
    one.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    one.PhotometricInterpretation, one.LossyImageCompression = "YBR_FULL_422", "01"
    one.LossyImageCompressionMethod, one.LossyImageCompressionRatio = ["ISO_10918_1", p.upper()], [str(p.int32())]
    one.PixelData = encapsulate([jpeg + b"\0" * (len(jpeg) % 2)])
    made["jpeg"] = one
    for name, syntax in (("j2k", JPEG2000Lossless), ("jls", JPEGLSLossless), ("rle", RLELossless)):
        ds = image(p, v, "ct", size=64)
        ds.compress(syntax, generate_instance_uid=False)
        frame = next(generate_frames(ds.PixelData, number_of_frames=1))
        if name == "j2k":
            note = b"\0\x01" + p.family().encode()
            cut = frame.index(b"\xff\x90")
            frame = (
                frame[:cut] + b"\xff\x64" + struct.pack(">H", len(note) + 2) + note + frame[cut:] + p.family().encode()
            )
        elif name == "jls":
            note = p.family().encode()
            frame = frame[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + frame[2:] + p.family().encode()
        else:
            frame += p.family().encode()
        ds.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2)])
        made[name] = ds
    return made


def _exif(p: Planter) -> Image.Exif:
    exif = Image.Exif()
    exif[0x013B], exif[0x8298], exif[0x010E], exif[0x9C9D] = (
        p.family(),
        p.family(),
        p.family(),
        p.family().encode("utf-16-le"),
    )
    return exif


def _with_raw_texts(ds: FileDataset, texts: list[bytes]) -> bytes:
    """The file with names written byte by byte, as a machine with its own idea of the alphabet does."""
    places = [(0x00100010, "PN"), (0x0008103E, "LO"), (0x00104000, "LT"), (0x00081030, "LO"), (0x00080080, "LO")]
    marks = [f"PLACE{k}XXXX" for k in range(5)]
    for (tag, vr), mark in zip(places, marks, strict=True):
        ds.add_new(tag, vr, mark)
    data = to_bytes(ds)
    for mark, text, (_, vr) in zip(marks, texts, places, strict=True):
        text += b" " * (len(text) % 2)
        at = data.index(mark.encode())
        data = data[: at - 2] + struct.pack("<H", len(text)) + text + data[at + len(mark) :]
        assert vr in {"PN", "LO", "LT"}
    return data
