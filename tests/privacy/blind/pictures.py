"""Photographs and volumes with somebody in every part of the file that isn't the image."""

import gzip
import io
import struct
import zlib
from collections.abc import Iterator

import nibabel as nib
import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin, TiffImagePlugin

from tests.privacy.blind.classes import anatomy
from tests.privacy.blind.people import Planter

Made = Iterator[tuple[str, bytes, bool | None]]


def photo(p: Planter, size: int = 48) -> Image.Image:
    """A spot on skin; no two alike."""
    return Image.fromarray(anatomy(p, (1, size, size, 3), 255)[0].astype(np.uint8))


def exif(p: Planter) -> Image.Exif:
    """Who, where, when and with what, in every directory of EXIF."""
    out, day = Image.Exif(), p.day()
    for tag in (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x013B, 0x013C, 0x8298, 0xC614, 0xC62F):
        out[tag] = p.family()
    for tag in (0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F):
        out[tag] = p.family().encode("utf-16-le")
    out[0x0132] = p.plant(f"{day:%Y:%m:%d}") + " 10:11:12"
    inner = out.get_ifd(0x8769)
    inner[0x9003], inner[0xA430], inner[0xA431], inner[0xA420] = (
        f"{day:%Y:%m:%d} 10:11:12",
        p.family(),
        p.code(),
        p.number(),
    )
    inner[0x9286], inner[0x927C] = b"ASCII\0\0\0" + p.family().encode(), p.family().encode() * 3
    place = out.get_ifd(0x8825)
    place[1], place[2], place[0x1D], place[0x1C] = (
        "N",
        (50.0, 4.0, 31.25),
        p.plant(f"{p.day():%Y:%m:%d}"),
        p.family().encode(),
    )
    return out


def xmp(p: Planter) -> bytes:
    """An XMP packet."""
    inside = f"<dc:creator>{p.family()}</dc:creator><p>{p.contact(0)}</p>"
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{inside}</x:xmpmeta>'.encode()


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload


def _scan(data: bytes) -> int:
    return data.index(b"\xff\xda")


def jpegs(p: Planter) -> Made:
    """JPEG: every marker segment, between scans, behind the end, in a second image."""

    def save(**how: object) -> bytes:
        stream = io.BytesIO()
        mode = how.pop("mode", "RGB")
        photo(p).convert(str(mode)).save(stream, "JPEG", quality=92, **how)
        return stream.getvalue()

    yield "exif.jpg", save(exif=exif(p)), True
    yield "xmp.jpg", save(xmp=xmp(p)), True
    yield "comment.jpeg", save(comment=p.family()), True
    for marker in (*range(0xE1, 0xF0), 0xFE):
        if marker != 0xEE:
            data = save()
            if marker in {0xE1, 0xE2, 0xEB, 0xED, 0xFE}:
                heads = {
                    0xE1: b"http://ns.adobe.com/xmp/extension/\0",
                    0xE2: b"ICC_PROFILE\0\x01\x01",
                    0xED: b"Photoshop 3.0\x008BIM\x04\x04\0\0",
                }
                yield (
                    f"app{marker:x}.jpg",
                    data[:2] + _segment(marker, heads.get(marker, b"") + p.family().encode()) + data[2:],
                    True,
                )
    data = save()
    yield (
        "every app.jpg",
        data[:2] + b"".join(_segment(m, p.family().encode()) for m in range(0xE3, 0xEE)) + data[2:],
        True,
    )
    data = save(progressive=True)
    last = data.rindex(b"\xff\xda")
    yield "between scans.jpg", data[:last] + _segment(0xFE, p.family().encode()) + data[last:], True
    data = save()
    yield "before scan.JPG", data[: _scan(data)] + _segment(0xE5, p.family().encode()) + data[_scan(data) :], True
    yield "tail.jpg", save() + p.family().encode() + b"\xff\xd9", True
    second = io.BytesIO()
    burned = photo(p)
    ImageDraw.Draw(burned).text((2, 2), p.family())
    burned.save(second, "JPEG", comment=p.family())
    yield "second image.jpg", save() + second.getvalue(), True
    yield "thumb.jfif", (d := save())[:2] + _segment(0xE0, b"JFXX\0\x10" + second.getvalue()[:4000]) + d[2:], True
    data = save()
    yield "quant.jpg", data[:2] + _segment(0xDB, b"\x03" + p.family().encode().ljust(64, b"\x01")) + data[2:], True
    yield "fill.jpg", (d := save())[:2] + b"\xff" * 9 + _segment(0xFE, p.family().encode())[1:] + d[2:], True
    yield "grey.jpg", save(mode="L", comment=p.family()), True
    yield "cmyk.jpg", save(mode="CMYK", comment=p.family()), None
    yield "zip behind.jpg", save() + _zip({f"{p.family()}.txt": p.family().encode()}), True
    data = save()
    yield (
        "restart.jpg",
        data[: _scan(data)] + _segment(0xDD, b"\0\0") + _segment(0xFE, p.family().encode()) + data[_scan(data) :],
        True,
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pngs(p: Planter) -> Made:
    """PNG: text chunks, profiles, private chunks, hidden colours, unused palette, bytes behind the end."""

    def save(made: Image.Image | None = None, **how: object) -> bytes:
        stream = io.BytesIO()
        (made or photo(p)).save(stream, "PNG", **how)
        return stream.getvalue()

    info = PngImagePlugin.PngInfo()
    info.add_text("Author", p.family())
    info.add_text("Comment", p.family(), zip=True)
    info.add_itxt("Title", p.script("ko"), lang="ko", tkey=p.family())
    yield "text.png", save(pnginfo=info, exif=exif(p), icc_profile=b"\0" * 128 + p.family().encode()), True
    data = save()
    end = data.rindex(b"\0\0\0\0IEND")
    extra = {
        b"vpAg": p.family().encode(),
        b"tIME": b"\x07\xd0\x05\x06\x01\x02\x03",
        b"sPLT": p.family().encode() + b"\0\x08" + bytes(6),
        b"prVt": p.family().encode(),
        b"zTXt": b"Raw\0\0" + zlib.compress(p.family().encode()),
    }
    yield "chunks.png", data[:33] + b"".join(_chunk(k, v) for k, v in extra.items()) + data[33:], True
    yield "behind.png", save() + p.family().encode(), True
    yield "before end.png", data[:end] + _chunk(b"teXt", p.family().encode()) + data[end:], True
    at = data.index(b"IDAT") - 4
    length = struct.unpack(">I", data[at : at + 4])[0]
    body = data[at + 8 : at + 8 + length] + p.family().encode()
    yield "behind zlib.png", data[:at] + _chunk(b"IDAT", body) + data[at + 12 + length :], True
    hidden = np.dstack([np.asarray(photo(p)), np.full((48, 48), 255, np.uint8)])
    text = p.family().encode()
    hidden[0, : len(text), 0], hidden[0, : len(text), 3] = np.frombuffer(text, np.uint8), 0
    hidden[1:3, :, 3] = 0
    yield "alpha.png", save(Image.fromarray(hidden)), True
    palette = photo(p).quantize(16)
    colours = (palette.getpalette() or [])[:48] + list(p.family().encode().ljust(48, b" "))
    palette.putpalette(colours)
    yield "palette.png", save(palette), True
    yield "deep.png", save(Image.fromarray(anatomy(p, (1, 40, 40), 65535)[0].astype(np.uint16)), pnginfo=info), True
    moving = io.BytesIO()
    photo(p).save(moving, "PNG", save_all=True, append_images=[photo(p)], pnginfo=info)
    yield "moving.png", moving.getvalue(), None
    yield "zip behind.png", save() + _zip({f"{p.family()}.csv": p.family().encode()}), True
    yield "gamma.PNG", save(dpi=(300, 300), gamma=0.45, pnginfo=info), True


def others(p: Planter) -> Made:
    """TIFF, BMP, WebP, GIF and JPEG 2000."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag in (269, 270, 271, 272, 285, 305, 315, 316, 33432, 337, 65000):
        tags[tag] = p.family()
    tags[306], tags[700] = p.plant(f"{p.day():%Y:%m:%d}") + " 01:02:03", xmp(p)

    def save(kind: str, made: Image.Image | None = None, **how: object) -> bytes:
        stream = io.BytesIO()
        (made or photo(p)).save(stream, kind, **how)
        return stream.getvalue()

    yield "tags.tif", save("TIFF", tiffinfo=tags), True
    yield "lzw.tiff", save("TIFF", tiffinfo=tags, compression="tiff_lzw"), True
    label = photo(p)
    ImageDraw.Draw(label).text((1, 1), p.family())
    yield "pages.tif", save("TIFF", save_all=True, append_images=[label], tiffinfo=tags), None
    yield "behind.tif", save("TIFF") + p.family().encode(), True
    yield (
        "grey16.tif",
        save("TIFF", Image.fromarray(anatomy(p, (1, 40, 40), 60000)[0].astype(np.uint16)), tiffinfo=tags),
        True,
    )
    yield "jpeg.tif", save("TIFF", compression="jpeg", tiffinfo=tags), None
    data, gap = save("TIFF"), p.family().encode().ljust(32)
    directory = struct.unpack("<I", data[4:8])[0]
    yield "gap.tif", data[:4] + struct.pack("<I", len(data) + 32) + data[8:] + gap + data[directory:], True
    bmp = bytearray(save("BMP", photo(p, 47)))
    start, text = struct.unpack("<I", bmp[10:14])[0], p.family().encode()
    for k, letter in enumerate(text):
        bmp[start + k * 144 + 141] = letter
    bmp[6:10] = p.plant(p.upper(4)).encode().ljust(4)
    yield "padding.bmp", bytes(bmp) + p.family().encode(), True
    bmp = bytearray(save("BMP"))
    gap = p.family().encode().ljust(40)
    bmp[10:14] = struct.pack("<I", struct.unpack("<I", bmp[10:14])[0] + len(gap))
    yield "gap.bmp", bytes(bmp[:54]) + gap + bytes(bmp[54:]), True
    palette = bytearray(save("BMP", photo(p).convert("L")))
    for k, letter in enumerate(p.family().encode()):
        palette[54 + 4 * k + 3] = letter
    yield "reserved.bmp", bytes(palette), True
    yield (
        "lossless.webp",
        save("WEBP", lossless=True, exif=exif(p), xmp=xmp(p), icc_profile=b"\0" * 128 + p.family().encode()),
        True,
    )
    yield "lossy.webp", save("WEBP", exif=exif(p), xmp=xmp(p)), True
    web = save("WEBP", lossless=True)
    note = p.family().encode()
    note += b"\0" * (len(note) % 2)
    web += b"NOTE" + struct.pack("<I", len(note)) + note
    yield "chunk.webp", web[:4] + struct.pack("<I", len(web) - 8) + web[8:] + p.family().encode(), True
    yield "photo.gif", save("GIF", comment=p.family().encode()), None
    yield "photo.jp2", save("JPEG2000") + p.family().encode(), None
    named = photo(p, 256)
    font = ImageFont.truetype("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", 16)
    ImageDraw.Draw(named).text((4, 4), p.family(), fill=(255, 255, 255), font=font)
    yield "sticker.png", save("PNG", named), None
    yield "sticker.jpg", save("JPEG", named), None


def _zip(members: dict[str, bytes]) -> bytes:
    import zipfile

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def _nifti(p: Planter, kind: type = nib.Nifti1Image, *, note: bool = True) -> bytes:
    affine = np.diag([3.0, 3.0, 4.0, 1.0])
    made = kind(anatomy(p, (6, 20, 20), 3000).astype(np.int16), affine)
    header = made.header
    header["descrip"], header["aux_file"], header["intent_name"] = p.family()[:79], p.family()[:23], p.family()[:15]
    for text in (str(header[k].item().decode()) for k in ("descrip", "aux_file", "intent_name")):
        p.plant(text)
    header["intent_p1"], header["cal_max"], header["toffset"] = float(p.int32()), float(p.int32()), float(p.int32())
    header["pixdim"][5:8] = p.int32(), p.int32(), p.int32()
    if kind is nib.Nifti1Image:
        header["db_name"], header["data_type"], header["glmax"], header["extents"] = (
            p.upper(),
            p.upper(9),
            p.int32(),
            p.int32(),
        )
    for ecode in (2, 4, 6, 44) if note else ():
        header.extensions.append(nib.nifti1.Nifti1Extension("comment" if ecode == 6 else ecode, p.family().encode()))
    return made.to_bytes()


def volumes(p: Planter) -> Made:
    """NIfTI 1 and 2, NRRD, MetaImage, and containers that name their contents."""
    yield f"{p.family()}.nii", _nifti(p), True
    yield "two.nii", _nifti(p, nib.Nifti2Image), True
    stream = io.BytesIO()
    with gzip.GzipFile(f"{p.family()}.nii", "wb", fileobj=stream, mtime=int(p.random.randrange(10**9))) as packed:
        packed.write(_nifti(p))
    yield "named.nii.gz", stream.getvalue(), True
    yield (
        "comment.nii.gz",
        b"\x1f\x8b\x08\x10" + bytes(6) + p.family().encode() + b"\0" + gzip.compress(_nifti(p), mtime=0)[10:],
        True,
    )
    yield "two members.nii.gz", gzip.compress(_nifti(p)) + gzip.compress(p.family().encode()), None
    yield "behind.nii", _nifti(p) + p.family().encode(), True
    plain = bytearray(_nifti(p, note=False))
    gap = p.family().encode().ljust(32)
    plain[108:112] = struct.pack("<f", 352 + len(gap))
    yield "gap.nii", bytes(plain[:352]) + gap + bytes(plain[352:]), True
    values = anatomy(p, (6, 16, 16), 3000).astype("<i2").tobytes()
    nrrd = "\n".join(
        (
            "NRRD0005",
            f"# {p.family()} {p.iso()}",
            "type: short",
            "dimension: 3",
            "space: left-posterior-superior",
            "sizes: 16 16 6",
            "space directions: (3,0,0) (0,3,0) (0,0,4)",
            "space origin: (0,0,0)",
            "kinds: domain domain domain",
            "endian: little",
            "encoding: {}",
            f"content: {p.family()}",
            f"sample units: {p.family()}",
            f'labels: "{p.family()}" "{p.family()}" "z"',
            f"Segment0_Name:={p.family()}",
            f"patient {p.family()}:={p.number()}",
            f"DICOM.PatientName:={p.family()}",
        )
    )
    yield "image.nrrd", nrrd.format("raw").encode() + b"\n\n" + values, True
    yield "packed.nrrd", nrrd.format("gzip").encode() + b"\n\n" + gzip.compress(values), True
    yield "labels.seg.nrrd", nrrd.format("raw").encode() + b"\n\n" + values, True
    meta = "\n".join(
        (
            "ObjectType = Image",
            f"Comment = {p.family()}",
            "NDims = 3",
            "BinaryData = True",
            "BinaryDataByteOrderMSB = False",
            "CompressedData = False",
            "TransformMatrix = 1 0 0 0 1 0 0 0 1",
            "Offset = 0 0 0",
            "AnatomicalOrientation = RAI",
            "ElementSpacing = 3 3 4",
            f"Name = {p.family()}",
            f"PatientName = {p.family()}",
            f"0010|0010 = {p.family()}",
            "DimSize = 16 16 6",
            "ElementType = MET_SHORT",
            "ElementDataFile = {}\n",
        )
    )
    yield "image.mha", meta.format("LOCAL").encode() + values + p.family().encode(), None
    yield "clean end.mha", meta.format("LOCAL").encode() + values, True
    loose = p.family()
    yield "pair.mhd", meta.format(f"{loose}.raw").encode(), None
    yield f"{loose}.raw", values, None
    yield (
        "pair.nhdr",
        nrrd.format("raw").replace("content:", f"data file: {loose}.raw\ncontent:").encode() + b"\n\n",
        None,
    )
    pair = nib.Nifti1Pair(anatomy(p, (6, 20, 20), 3000).astype(np.int16), np.eye(4) * 3)
    pair.header["descrip"] = p.family()
    maps = nib.Nifti1Pair.make_file_map({"header": io.BytesIO(), "image": io.BytesIO()})
    pair.to_file_map(maps)
    yield "pair.hdr", maps["header"].fileobj.getvalue(), None
    yield "pair.img", maps["image"].fileobj.getvalue(), None
    yield (
        "scan.mgz",
        gzip.compress(nib.MGHImage(np.zeros((4, 4, 4), np.float32), np.eye(4)).to_bytes() + p.family().encode()),
        None,
    )
