"""Layers of a DICOM file: the text of every attribute at every depth, decoded by its declared character set."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32

from medseg.privacy.deflated import check_deflated

__all__ = ["DicomLayer", "dicom_layers", "looks_like_dicom"]

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
_BULK = ("OB", "OW", "UN", "OF", "OD", "OL", "OV")
_TEXTS = (
    "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT",
)  # fmt: skip
_ONE_TEXT = ("LT", "ST", "UR", "UT")
"""Representations of which no attribute has several values: a backslash is a letter there."""
_DIRECT = (
    "PatientName", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames", "PatientAddress",
    "PatientTelephoneNumbers", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "InstitutionName",
    "InstitutionAddress",
)  # fmt: skip
"""Attributes with content that only a file whose patient's identity was not removed has."""


_LEAST = 16
"""Bytes of the shortest value that may be a file by itself."""
_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)


@dataclass(frozen=True)
class DicomLayer:
    """A part of a DICOM file.

    Attributes:
        name: What it is.
        data: Bytes to look into further; empty where `parts` hold the content.
        parts: Places (tags, outermost first) and texts in UTF-8.
        flags: Facts about the file that are finds by themselves.
    """

    name: str
    data: bytes = b""
    parts: tuple[tuple[str, bytes], ...] = ()
    flags: tuple[str, ...] = ()


def looks_like_dicom(data: bytes) -> bool:
    """Whether bytes begin like a DICOM file: with the prefix, or without a preamble with two known attributes.

    Voxels of a label map may begin like one: background behind a voxel of label 2 or 8.
    """
    if data[128:132] == b"DICM":
        return True
    if data[:2] not in (b"\x08\x00", b"\x02\x00"):
        return False
    first, at = _element(data, 0)
    second, _ = _element(data, at)
    return 0 < first < second


def _element(data: bytes, at: int) -> tuple[int, int]:
    """The tag of the little-endian attribute that begins here, and where it ends; 0 where none does that is known."""
    head = data[at : at + 12]
    tag = int.from_bytes(head[:2], "little") << 16 | int.from_bytes(head[2:4], "little")
    vr = head[4:6].decode("latin-1")
    if vr in EXPLICIT_VR_LENGTH_32:
        size, length = 12, int.from_bytes(head[8:12], "little")
    elif vr in EXPLICIT_VR_LENGTH_16:
        size, length = 8, int.from_bytes(head[6:8], "little")
    else:
        size, length = 8, int.from_bytes(head[4:8], "little")
    known = len(head) >= 8 and (dictionary_has_tag(tag) or (tag & 0xFFFF == 0 and length == 4))
    return tag if known else 0, at + size + length


def dicom_layers(data: bytes) -> Iterator[DicomLayer]:
    """Attributes as text, documents that are attributes' values, and a deflated data set inflated.

    Raises:
        ReadError: The data set is deflated, and a bomb.
        Exception: Whatever pydicom raises on a damaged file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_deflated(io.BytesIO(data))
        dataset = pydicom.dcmread(io.BytesIO(data), force=True)
        meta = getattr(dataset, "file_meta", None) or Dataset()
        parts: list[tuple[str, bytes]] = []
        blobs: list[bytes] = []
        for part in (meta, dataset):
            _collect(part, "", parts, blobs)
        yield DicomLayer("attributes", parts=tuple(parts), flags=(*_flags(dataset), *_pixel_flags(dataset, meta)))
        for blob in blobs:
            yield DicomLayer("document", data=blob)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian and data[128:132] == b"DICM":
            start = 144 + int.from_bytes(data[140:144], "little")
            yield DicomLayer("deflated", data=zlib.decompressobj(-15).decompress(data[start:]))


def _collect(dataset: Dataset, place: str, parts: list[tuple[str, bytes]], blobs: list[bytes]) -> None:
    for tag in sorted(set(dataset.keys()) - set(_PIXELS)):
        here = f"{place}({tag >> 16:04X},{tag & 0xFFFF:04X})"
        try:
            text = _plain_text(dataset.get_item(tag))
            element = dataset[tag] if text is None else None
            value = element.value if element is not None else None
        except Exception:
            # A value that its VR doesn't allow: its bytes are searched with the file's.
            continue
        if element is not None:
            if element.VR == "SQ":
                for item in value or ():
                    _collect(item, here, parts, blobs)
            elif isinstance(value, bytes):
                if len(value) > _LEAST and element.VR in _BULK:
                    blobs.append(value)
            else:
                text = _text_of(value)
        if text:
            parts.append((here, text))


def _text_of(value: object) -> bytes:
    if value is None:
        return b""
    values = value if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value]
    return "\n".join(str(item) for item in values).encode("utf-8", "surrogatepass")


def _plain_text(element: object) -> bytes | None:
    """The text of an attribute that pydicom needn't convert, which takes it long; None where character sets matter."""
    if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
        return None
    vr = element.VR or (dictionary_VR(element.tag) if dictionary_has_tag(element.tag) else "")
    if vr not in _TEXTS:
        return None
    if not element.value.isascii() or b"\x1b" in element.value:
        return None
    text = element.value.rstrip(b"\0 ")
    return text if vr in _ONE_TEXT else text.replace(b"\\", b"\n")


def _pixel_flags(dataset: Dataset, meta: Dataset) -> tuple[str, ...]:
    """Say so when the bits beside those stored, where overlays once lay, hold more than a sign."""
    element = dataset.get_item(0x7FE00010) if 0x7FE00010 in dataset else None
    try:
        stored, allocated = int(dataset.get("BitsStored", 16)), int(dataset.get("BitsAllocated", 8))
        below = int(dataset.get("HighBit", stored - 1)) + 1 - stored
        signed = bool(int(dataset.get("PixelRepresentation", 0)))
        native = meta.get("TransferSyntaxUID") in _NATIVE
    except (ValueError, TypeError):
        return ()
    if element is None or not native or allocated != 16 or not 1 <= stored < 16 or not isinstance(element.value, bytes):
        return ()
    words = np.frombuffer(element.value[: len(element.value) // 2 * 2], dtype="<u2")
    if not 0 <= below <= 16 - stored:
        below = 0
    above = words >> np.uint16(stored + below) if stored + below < 16 else np.zeros_like(words)
    clean = above == 0
    if signed:
        clean |= above == (0xFFFF >> (stored + below))
    clean &= (words & np.uint16((1 << below) - 1)) == 0
    return () if clean.all() else ("bits above Bits Stored are set",)


def _flags(dataset: Dataset) -> tuple[str, ...]:
    """Say so when a file carries a patient's attributes and nothing states that the identity was removed."""
    if str(dataset.get("PatientIdentityRemoved", "")).upper() == "YES":
        return ()
    if any(str(dataset.get(name, "") or "").strip("^ ") for name in _DIRECT):
        return ("patient's attributes without Patient Identity Removed",)
    return ()
