"""Volumes with identities in their headers, in unused fields, between header and voxels and behind them."""

from __future__ import annotations

import gzip
import io
import struct
import zlib

import nibabel as nib
import numpy as np

from tests.privacy.corpus.slices import Who


def nifti(who: Who, *, packed: bool = True) -> bytes:
    made = nib.Nifti1Image(
        np.random.default_rng(3).integers(0, 999, (6, 5, 4)).astype(np.int16), np.diag([2.0, 2, 3, 1])
    )
    made.header["descrip"], made.header["db_name"] = who.name().encode(), who.name().encode()
    made.header["aux_file"], made.header["intent_name"] = who.name().encode(), who.name().encode()
    made.header.extensions.append(nib.nifti1.Nifti1Extension(6, f"scan of {who.person()}".encode()))
    data = made.to_bytes() + who.person().encode()
    if not packed:
        return data
    stream = io.BytesIO()
    with gzip.GzipFile(f"{who.name()}.nii", "wb", fileobj=stream, mtime=1) as file:
        file.write(data)
    return stream.getvalue()


def nifti_plain(who: Who) -> bytes:
    return nifti(who, packed=False)


def nifti2(who: Who) -> bytes:
    made = nib.Nifti2Image(np.arange(60, dtype=np.float32).reshape(5, 4, 3), np.diag([2.0, 2, 3, 1]))
    made.header["descrip"], made.header["intent_name"] = who.name().encode(), who.name().encode()
    made.header.extensions.append(nib.nifti1.Nifti1Extension(6, who.person().encode()))
    return made.to_bytes()


def nrrd(who: Who) -> bytes:
    head = (
        f"NRRD0005\n# made by {who.name()}\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 4 3 2\n"
        f"space directions: (1,0,0) (0,1,0) (0,0,2)\nkinds: domain domain domain\nendian: little\nencoding: gzip\n"
        f"space origin: (0,0,0)\ncontent: {who.name()}\nPatient:={who.person()}\n\n"
    )
    body = gzip.compress(np.arange(24, dtype=np.int16).tobytes() + who.name().encode())
    return head.encode() + body + who.name().encode()


def meta_image(who: Who) -> bytes:
    head = (
        f"ObjectType = Image\nNDims = 3\nComment = {who.name()}\nName = {who.name()}\nBinaryData = True\n"
        f"BinaryDataByteOrderMSB = False\nCompressedData = True\nTransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\n"
        f"ElementSpacing = 1 1 2\nDimSize = 4 3 2\nElementType = MET_SHORT\nPatientID = {who.number()}\n"
        f"ElementDataFile = LOCAL\n"
    )
    return head.encode() + zlib.compress(np.arange(24, dtype=np.int16).tobytes() + who.name().encode())


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
