"""Ways in which people get into images where nobody looks: each hides somebody in an uncompressed image."""

import base64
import codecs
import gzip
import struct
import unicodedata
from collections.abc import Callable

from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from tests.privacy.blind.classes import code, raw, uid
from tests.privacy.blind.people import Planter
from tests.privacy.blind.smuggling import functional, overlays, pixel_tail, private

Trap = Callable[[Planter, FileDataset], None]


def code_strings(p: Planter, ds: FileDataset) -> None:
    """Names in capitals where only defined terms belong."""
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", p.upper()]
    for tag in (
        0x00180015,
        0x00180022,
        0x00185100,
        0x00185101,
        0x00200060,
        0x00280301,
        0x00080068,
        0x00280300,
        0x00181160,
        0x0040A491,
        0x00282114,
        0x00189004,
        0x00102203,
        0x00380500,
    ):
        raw(ds, tag, "CS", p.upper())
    raw(ds, 0x00180024, "SH", p.upper())
    raw(ds, 0x00181251, "SH", p.upper())
    raw(ds, 0x00181210, "SH", p.upper())
    raw(ds, 0x00081090, "LO", f"Aera {p.family()}")
    raw(ds, 0x00181020, "LO", [f"syngo {p.family()}", p.code()])
    raw(ds, 0x00180010, "LO", f"Ultravist {p.family()}")
    raw(ds, 0x00181030, "LO", f"{p.family()} CHEST")


def numbers(p: Planter, ds: FileDataset) -> None:
    """Patients' numbers and days in fields that hold numbers of other things."""
    for tag in (
        0x00200011,
        0x00200012,
        0x00200013,
        0x00201002,
        0x00200105,
        0x00181150,
        0x00181152,
        0x00280A02,
        0x00180091,
    ):
        raw(ds, tag, "IS", str(p.int32()))
    for tag in (
        0x00180083,
        0x00180087,
        0x00181060,
        0x00281050,
        0x00281051,
        0x00180085,
        0x00181110,
        0x00282112,
        0x00101020,
        0x00101030,
        0x00189810,
        0x00180060,
    ):
        if tag != 0x00180060 or ds.Modality != "CT":
            raw(ds, tag, "DS", p.number())
    raw(ds, 0x00180084, "DS", p.date(p.day()))
    for tag in (0x00189087, 0x00189073, 0x00189082, 0x00189182, 0x00409225):
        raw(ds, tag, "FD", float(int(p.number(9))))
    for tag in (0x00189219, 0x00240037, 0x00660002, 0x00720100, 0x00189035):
        raw(ds, tag, "UL", p.int32())
    raw(ds, 0x00280009, "AT", [Tag(struct.unpack("<I", p.upper(4).ljust(4, "Q").encode())[0])])
    raw(ds, 0x00281055, "LO", [p.family()])


def bytes_fields(p: Planter, ds: FileDataset) -> None:
    """Names as bytes: lookup tables, profiles, padding, unknown value representations of known attributes."""
    name = p.family()
    icc = b"\0" * 100 + p.family().encode() + b"\0" * 28
    raw(ds, 0x00282000, "OB", icc + b"\0" * (len(icc) % 2))
    raw(ds, 0xFFFCFFFC, "OB", p.family().encode().ljust(24))
    lut = Dataset()
    data = p.family().encode().ljust(24)
    lut.LUTDescriptor, lut.LUTExplanation, lut.ModalityLUTType = [len(data) // 2, 0, 16], name, p.family()
    raw(lut, 0x00283006, "OW", data)
    ds.VOILUTSequence = Sequence([lut])
    for tag, kind in ((0x00100010, "UN"), (0x00181000, "UN"), (0x00321060, "UN"), (0x00081040, "UN")):
        text = p.family().encode()
        ds.pop(Tag(tag), None)
        raw(ds, tag, kind, text + b" " * (len(text) % 2))
    for tag, kind in (
        (0x00189809, "OW"),
        (0x00660129, "OL"),
        (0x00660040, "OL"),
        (0x00701A01, "OD"),
        (0x7FE00001, "OV"),
    ):
        raw(ds, tag, kind, p.family().encode().ljust(32))


def uids(p: Planter, ds: FileDataset) -> None:
    """Numbers, days and even letters inside UIDs, and UIDs that are none."""
    for tag in (
        0x00200052,
        0x00081195,
        0x00181002,
        0x00200200,
        0x0020000E,
        0x00400554,
        0x00080014,
        0x00189737,
        0x300A0013,
    ):
        raw(ds, tag, "UI", p.plant(f"1.2.3.{p.number()}.{p.date(p.day())}.{p.random.randrange(999)}"))
    raw(ds, 0x00081150, "UI", f"1.2.840.10008.5.1.4.1.1.{p.number()}")
    raw(ds, 0x00080019, "UI", p.family())
    raw(ds, 0x0008010C, "UI", f"{p.family()}.1.2")
    raw(ds, 0x00080110, "SQ", Sequence([code(p.code(), "DCM", p.family())]))
    ds.DeviceUID = f"1.2.{'0' * 3}{p.number()}.{'9' * 60}"
    ds.file_meta.ImplementationClassUID = f"1.2.276.{p.number()}"
    ds.file_meta.ImplementationVersionName = p.upper()
    ds.file_meta.PrivateInformationCreatorUID, ds.file_meta.PrivateInformation = uid(p), p.family().encode().ljust(20)


def spelled(p: Planter, ds: FileDataset) -> None:
    """The patient's own name in ways that a search for it passes over, in the texts of a description."""
    name, number = p.family(), p.number()
    ds.PatientName, ds.PatientID = name, number
    hidden = [
        " ".join(name),
        name[::-1],
        name.upper(),
        "\u00ad".join(name),
        "\u200d".join(name),
        codecs.encode(name, "rot13"),
        base64.b64encode(name.encode()).decode(),
        name.encode().hex(),
        name.replace("a", "\u0430").replace("o", "\u043e"),
        name.replace("e", "3").replace("o", "0").replace("a", "4"),
        base64.b64encode(gzip.compress(name.encode(), mtime=0)).decode(),
        "-".join(number[k : k + 2] for k in range(0, len(number), 2)),
        number[::-1],
        unicodedata.normalize("NFD", name + "ová"),
        name[: len(name) // 2],
        name[len(name) // 2 :],
    ]
    tags = (
        0x0008103E,
        0x00181030,
        0x00181400,
        0x00082111,
        0x00204000,
        0x00081090,
        0x00180010,
        0x00181004,
        0x00181250,
        0x00184000,
        0x00321064,
        0x00400254,
        0x00402400,
        0x00081080,
        0x00180015,
        0x00181160,
    )
    for tag, text in zip(tags, hidden, strict=True):
        if tag in {0x00321064, 0x00081080}:
            tag = 0x00102180 if tag == 0x00321064 else 0x001021B0
        vr = {0x00180015: "CS", 0x00181160: "CS", 0x00181250: "SH", 0x00102180: "SH"}.get(tag, "LT")
        raw(ds, tag, vr, text)
    for one in hidden:
        if len(one) >= 6:
            p.plant(one)


def dates(p: Planter, ds: FileDataset) -> None:
    """Days in twelve written forms and in every field for them, ill formed ones too."""
    day = p.day()
    tags = (
        0x00081030,
        0x0008103E,
        0x00181030,
        0x00204000,
        0x00104000,
        0x00321060,
        0x00400254,
        0x00402400,
        0x00181400,
        0x00081080,
        0x00082111,
        0x001021B0,
    )
    for form, tag in enumerate(tags):
        raw(ds, tag, "LO", f"Chest {p.written(day, form)}")
    other = [p.day() for _ in range(8)]
    ds.PatientBirthDate = p.plant(f"{other[0]:%Y.%m.%d}")
    raw(ds, 0x00181012, "DA", p.plant(f"{other[1]:%d%m%Y}"))
    raw(ds, 0x00181201, "DA", [p.date(other[2]), p.date(other[3])])
    raw(ds, 0x00380020, "DA", p.plant(f"{other[4]:%Y%m%d}-{other[5]:%Y%m%d}"))
    raw(ds, 0x00080106, "DT", p.plant(f"{other[6]:%Y-%m-%dT}10:11:12Z"))
    raw(ds, 0x0018A002, "DT", f"{p.date(other[7])}101112.123456-0500")
    raw(ds, 0x00080013, "TM", p.date(p.day()))
    raw(ds, 0x00101010, "AS", f"{p.day():%Y}")
    raw(ds, 0x0018115E, "DS", p.date(p.day()))
    raw(ds, 0x00080201, "SH", p.code())
    ds.PatientBirthTime = "0712"


def nested(p: Planter, ds: FileDataset) -> None:
    """Five sequences deep, in standard, private and unknown sequences."""
    for outer in (0x00400275, 0x00081140, 0x00189346, 0x00082112, 0x04000561, 0x00400555, 0x00189506):
        item = Dataset()
        for level in range(5):
            around = Dataset()
            item.PatientName, item.StudyDescription = p.family(), p.family()
            item.ReferencedSOPInstanceUID, item.ScheduledProcedureStepStartDate = uid(p), p.date(p.day())
            item.PatientID, item.TextValue = p.number(), p.family()
            item.ConceptNameCodeSequence = Sequence([code("121071", "DCM", p.family())])
            raw(around, 0x00400275 + 0x100 * (level % 2 == 0) * 0, "SQ", Sequence([item]))
            item = around
        raw(ds, outer, "SQ", Sequence([item]))


def long_texts(p: Planter, ds: FileDataset) -> None:
    """UC, UR, UT and codes of every length, with well-known codes whose meaning is somebody."""
    item = Dataset()
    raw(item, 0x00080119, "UC", f"{p.family()}-{p.code()}")
    raw(item, 0x00080102, "SH", p.upper(15))
    raw(item, 0x00080104, "LO", p.family())
    other = code("T-D3000", "SRT", f"Chest {p.family()}")
    raw(other, 0x00080103, "SH", p.upper(15))
    raw(other, 0x0008010F, "CS", p.upper())
    raw(other, 0x00080105, "CS", p.upper())
    raw(other, 0x0008010B, "CS", "Y")
    raw(other, 0x00080106, "DT", p.date(p.day()))
    web = Dataset()
    raw(web, 0x00080120, "UR", p.contact(4))
    raw(web, 0x00080104, "LO", p.family())
    ds.AnatomicRegionSequence = Sequence([other])
    ds.ProcedureCodeSequence, ds.RequestedProcedureCodeSequence = Sequence([item, web]), Sequence([other, item])
    ds.ViewCodeSequence = Sequence([code("R-10206", "SRT", f"antero {p.family()}")])
    ds.ContrastBolusAgentSequence = Sequence([code(p.code(), p.upper(), p.family())])
    raw(ds, 0x00081190, "UR", p.contact(4))
    raw(ds, 0x0040E010, "UR", p.contact(4))
    raw(ds, 0x0040A160, "UT", p.contacts())
    raw(ds, 0x00189938, "UC", p.family())
    raw(ds, 0x00080055, "AE", p.upper())
    raw(ds, 0x00100212, "UC", p.family())
    raw(ds, 0x00100042, "CS", p.upper())


TRAPS: dict[str, Trap] = {
    trap.__name__: trap
    for trap in (
        code_strings,
        numbers,
        bytes_fields,
        uids,
        spelled,
        dates,
        nested,
        private,
        overlays,
        pixel_tail,
        long_texts,
        functional,
    )
}
