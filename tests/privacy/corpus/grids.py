"""NIfTI, NRRD and MetaImage volumes, alone and in pairs, with identities in every field that the voxels don't need."""

from __future__ import annotations

import bz2
import gzip
import struct
import zlib

import numpy as np

from tests.privacy.corpus.shades import shade, shades
from tests.privacy.corpus.slices import Who

_SHAPE = (6, 5, 4)


def voxels(who: Who, kind: str = "<i2") -> np.ndarray:
    return np.random.default_rng(who.draw.randrange(2**32)).integers(0, 999, _SHAPE).astype(kind)


def _field(data: bytearray, at: int, size: int, words: bytes) -> None:
    data[at : at + size] = words[:size].ljust(size, b"\0")


def nifti1(
    who: Who,
    *,
    code: int = 4,
    bits: int = 16,
    order: str = "<",
    magic: bytes = b"n+1\0",
    start: float = 352,
) -> bytearray:
    """A header of 348 bytes, words in all that nothing needs."""
    head = bytearray(348)
    struct.pack_into(order + "i", head, 0, 348)
    words = iter(shades(who) * 2)
    for at, size in ((4, 10), (14, 18), (32, 4), (36, 2), (56, 12), (140, 8), (148, 80), (228, 24), (328, 16)):
        _field(head, at, size, next(words) if size > 16 else who.name().encode())
    struct.pack_into(order + "8h", head, 40, 3, *_SHAPE, 1, *struct.unpack("<3h", who.name().encode()[:6]))
    struct.pack_into(order + "2h", head, 70, code, bits)
    struct.pack_into(order + "8f", head, 76, 1, 2, 2, 3, 0, 0, 0, 0)
    _field(head, 92, 16, who.person().encode())
    struct.pack_into(order + "3f", head, 108, start, 1, 0)
    _field(head, 120, 2, b"Xy")
    head[122], head[123] = 0, 2
    _field(head, 124, 16, who.person().encode())
    struct.pack_into(order + "2h", head, 252, 0, 1)
    _field(head, 256, 24, who.person().encode())
    struct.pack_into(order + "12f", head, 280, 2, 0, 0, -6, 0, 2, 0, -5, 0, 0, 3, 10)
    head[344:348] = magic
    return head


def nifti_all_fields(who: Who) -> bytes:
    return bytes(nifti1(who)) + b"\0\0\0\0" + voxels(who).tobytes("F") + shade(who)


def nifti_extensions(who: Who) -> bytes:
    made = b""
    for code in (2, 4, 6, 18, 40, 999):
        words = shade(who)
        size = -(-(len(words) + 8) // 16) * 16
        made += struct.pack("<2i", size, code) + words.ljust(size - 8, b"\0")
    gap = shade(who).ljust(304)[:304]
    head = nifti1(who, start=352 + len(made) + len(gap))
    return bytes(head) + b"\1ab\0" + made + gap + voxels(who).tobytes("F")


def nifti_big_endian(who: Who) -> bytes:
    return bytes(nifti1(who, order=">")) + b"\0\0\0\0" + voxels(who, ">i2").tobytes("F")


def nifti2(who: Who) -> bytes:
    head = bytearray(540)
    struct.pack_into(
        "<i8s2h8q", head, 0, 540, b"n+2\0\r\n\x1a\n", 4, 16, 3, *_SHAPE, 1, *struct.unpack("<3q", shade(who)[:24])
    )
    _field(head, 80, 24, who.person().encode())
    struct.pack_into("<8d", head, 104, 1, 2, 2, 3, *struct.unpack("<4d", shade(who)[:32]))
    struct.pack_into("<q2d", head, 168, 544, 1, 0)
    _field(head, 192, 32, who.person().encode())
    struct.pack_into("<2q", head, 224, *struct.unpack("<2q", shade(who)[:16]))
    _field(head, 240, 80, shade(who))
    _field(head, 320, 24, shade(who))
    struct.pack_into("<2i", head, 344, 0, 1)
    _field(head, 352, 48, shade(who))
    struct.pack_into("<12d", head, 400, 2, 0, 0, -6, 0, 2, 0, -5, 0, 0, 3, 10)
    struct.pack_into("<2i", head, 496, 0, 2)
    _field(head, 508, 16, who.name().encode())
    _field(head, 525, 15, who.person().encode())
    return bytes(head) + b"\0\0\0\0" + voxels(who).tobytes("F") + shade(who)


def nifti_not_a_number(who: Who) -> bytes:
    """Voxels that are no numbers, whose spare bits hold words."""
    made = voxels(who, "<f4")
    letters = np.frombuffer(who.person().encode().ljust(20)[:20], np.uint8).astype(np.uint32)
    made.reshape(-1, order="F").view(np.uint32)[: len(letters)] = 0x7FC00000 | letters
    flat = made.ravel(order="F").copy()
    flat.view(np.uint32)[:20] = 0x7FC00000 | (letters << 8) | letters
    return bytes(nifti1(who, code=16, bits=32)) + b"\0\0\0\0" + flat.tobytes()


def nifti_members(who: Who) -> bytes:
    """Gzip of several members with names, comments and extra fields, and words behind."""
    raw = nifti_all_fields(who)
    made = b""
    for part in (raw[:100], raw[100:400], raw[400:]):
        words = shade(who)
        body = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = body.compress(part) + body.flush()
        extra = struct.pack("<2sH", b"AP", len(words)) + words
        head = b"\x1f\x8b\x08\x1d" + struct.pack("<I", 1 << 20) + b"\0\3" + struct.pack("<H", len(extra)) + extra
        made += (
            head
            + shade(who).replace(b"\0", b"0")
            + b".nii\0"
            + who.person().encode()
            + b"\0"
            + packed
            + struct.pack("<2I", zlib.crc32(part), len(part))
        )
    return made + shade(who)


def nifti_pair(who: Who) -> dict[str, bytes]:
    name = f"{who.name()}_{who.number()}"
    return {
        f"{name}.hdr": bytes(nifti1(who, magic=b"ni1\0", start=0)) + b"\0\0\0\0",
        f"{name}.img": voxels(who).tobytes("F") + shade(who),
    }


def analyze_pair(who: Who) -> dict[str, bytes]:
    """The format before NIfTI: its header has no magic word."""
    name = f"{who.name()}_{who.number()}"
    head = nifti1(who, magic=b"\0\0\0\0", start=0)
    return {f"{name}.hdr": bytes(head), f"{name}.img": voxels(who).tobytes("F") + shade(who)}


_NRRD = (
    "NRRD0005\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 6 5 4\nspace d"
    "irections: (2,0,0) (0,2,0) (0,0,3)\nendian: little\nspace origin: (1,2,3)\n"
)


def nrrd_words(who: Who) -> bytes:
    words = shade(who).replace(b"\n", b" ").replace(b"\r", b" ").decode("latin-1")
    lines = f"# {who.name()}\ncontent: {who.name()}\n" + "".join(
        f"DWMRI_{who.name()}:={who.number()}\n{who.name()}:={words}\n" for _ in range(3)
    )
    return (_NRRD + lines).encode("latin-1") + b"encoding: raw\n\n" + voxels(who).tobytes("F") + shade(who)


def nrrd_gzip(who: Who) -> bytes:
    return (
        _NRRD.encode()
        + b"sample units: "
        + who.name().encode()
        + b"\nencoding: gzip\n\n"
        + gzip.compress(voxels(who).tobytes("F"))
        + shade(who)
    )


def nrrd_bzip2(who: Who) -> bytes:
    return _NRRD.encode() + b"old min: 0\nencoding: bzip2\n\n" + bz2.compress(voxels(who).tobytes("F")) + shade(who)


def nrrd_ascii(who: Who) -> bytes:
    return (
        _NRRD.encode()
        + f"author:={who.person()}\nencoding: ascii\n\n".encode()
        + " ".join(map(str, voxels(who).ravel("F"))).encode()
        + b"\n"
    )


def nrrd_hex(who: Who) -> bytes:
    return _NRRD.encode() + b"encoding: hex\n\n" + voxels(who).tobytes("F").hex().encode() + b"\n"


def nrrd_skipped(who: Who) -> bytes:
    words = shade(who)
    return _NRRD.encode() + f"byte skip: {len(words)}\nencoding: raw\n\n".encode() + words + voxels(who).tobytes("F")


def nrrd_detached(who: Who) -> dict[str, bytes]:
    name = f"{who.name()}_{who.number()}"
    return {
        f"{name}.nhdr": _NRRD.encode() + f"encoding: raw\ndata file: {name}.raw\n".encode(),
        f"{name}.raw": voxels(who).tobytes("F") + shade(who),
    }


_META = (
    "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nDimSize "
    "= 6 5 4\nElementType = MET_SHORT\nOffset = 1 2 3\nElementSpacing = 2 2 3\n"
)


def meta_words(who: Who) -> bytes:
    fields = (
        "Comment",
        "Name",
        "ObjectSubType",
        "ID",
        "ParentID",
        "AcquisitionDate",
        "Modality",
        "PatientName",
        who.name(),
        "TransformType",
        "SeriesDescription",
    )
    lines = "".join(f"{field} = {who.name()}\n" for field in fields)
    return (
        (_META + lines + "CompressedData = False\nElementDataFile = LOCAL\n").encode()
        + voxels(who).tobytes("F")
        + shade(who)
    )


def meta_packed(who: Who) -> bytes:
    body = zlib.compress(voxels(who).tobytes("F")) + shade(who)
    return (
        _META
        + (
            f"AnatomicalOrientation = RAI\nComment = {who.person()}\nCompressedData = True\nCompressedDa"
            f"taSize = {len(body)}\nElementDataFile = LOCAL\n"
        )
    ).encode() + body


def meta_pair(who: Who) -> dict[str, bytes]:
    name = f"{who.name()}_{who.number()}"
    return {
        f"{name}.mhd": (_META + f"Comment = {who.name()}\nElementDataFile = {name}.raw\n").encode(),
        f"{name}.raw": voxels(who).tobytes("F") + shade(who),
    }


def meta_packed_pair(who: Who) -> dict[str, bytes]:
    name = f"{who.name()}_{who.number()}"
    return {
        f"{name}.mhd": (_META + f"CompressedData = True\nElementDataFile = {name}.zraw\n").encode(),
        f"{name}.zraw": zlib.compress(voxels(who).tobytes("F")) + shade(who),
    }


def meta_list(who: Who) -> dict[str, bytes]:
    name, made = f"{who.name()}_{who.number()}", voxels(who)
    files = {f"{name}_{n}.raw": made[..., n].tobytes("F") for n in range(4)}
    return {
        f"{name}.mhd": (_META + "ElementDataFile = LIST\n" + "".join(f"{file}\n" for file in files)).encode(),
        **files,
    }


VOLUMES = (
    (nifti_all_fields, ".nii"),
    (nifti_extensions, ".nii"),
    (nifti_big_endian, ".nii"),
    (nifti2, ".nii"),
    (nifti_not_a_number, ".nii"),
    (nifti_members, ".nii.gz"),
    (nifti_all_fields, ".dcm"),
    (nrrd_words, ".nrrd"),
    (nrrd_gzip, ".nrrd"),
    (nrrd_bzip2, ".nrrd"),
    (nrrd_ascii, ".nrrd"),
    (nrrd_hex, ".nrrd"),
    (nrrd_skipped, ".seg.nrrd"),
    (meta_words, ".mha"),
    (meta_packed, ".mha"),
)
PAIRS = (nifti_pair, analyze_pair, nrrd_detached, meta_pair, meta_packed_pair, meta_list)
