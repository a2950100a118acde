"""Traps in character sets: names in the scripts of DICOM PS3.3 C.12.1.1.2, in wrong sets and in unknown ones."""

from __future__ import annotations

from collections.abc import Callable

from pydicom.dataset import FileDataset

from tests.privacy.corpus.slices import MR, Who, before_pixels, image, raw_element, save


def charset_latin2(ds: FileDataset, who: Who) -> bytes:
    ds.SpecificCharacterSet = "ISO_IR 101"
    ds.PatientName = f"Dvořák{who.name()}^Jiří"
    return save(ds)


def charset_japanese(ds: FileDataset, who: Who) -> bytes:
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    who.all.append("山田")
    ds.PatientName = f"{who.person()}=山田^太郎=やまだ^たろう"
    ds.InstitutionName = "山田病院"
    return save(ds)


def charset_chinese(ds: FileDataset, who: Who) -> bytes:
    ds.SpecificCharacterSet = "GB18030"
    who.all.append("王小东")
    ds.PatientName = f"{who.person()}=王^小东"
    ds.StudyDescription = "王小东 胸部"
    return save(ds)


def charset_wrong(ds: FileDataset, who: Who) -> bytes:
    who.all.append("Grünwaldner")
    data = save(ds)
    return before_pixels(data, raw_element(0x00324000, "LT", "Grünwaldner Björn".encode()))


def charset_unknown(ds: FileDataset, who: Who) -> bytes:
    ds.PatientAddress = who.name()
    data = save(ds)
    place = data.index(b"\x08\x00\x08\x00CS")
    return data[:place] + raw_element(0x00080005, "CS", b"KLINGON 7") + data[place:]


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
