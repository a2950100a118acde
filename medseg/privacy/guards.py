"""Guards: files that may show a person in their pixels, told by their class and header.

BurnedInAnnotation is never believed when it says NO: many devices write it without looking.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from medseg.errors import DataError, ReadError
from medseg.privacy.person import raw_bytes

__all__ = ["HeadError", "QuarantineError", "check_class", "may_hold_text", "shows_face"]

_IMAGES = "1.2.840.10008.5.1.4.1.1."
_REFUSED = {
    "104.": "an encapsulated document; it can't be cleaned",
    "9.": "a waveform; it isn't an image",
    "91.": "annotations of a slide; their points are not kept",
    "66": "raw data; what is in it can't be known",
}
_FACES = """
HEAD BRAIN SKULL FACE NECK ORBIT SINUS JAW MANDIBLE NASO IAC TEMPORAL PITUITARY SELLA CEREB WHOLEBODY KOPF SCHAEDEL TETE
CRANI NEURO HIPPOCAMP
"""
_FACE_PARTS = tuple(_FACES.split())
_FACE_MODALITIES = (b"CT", b"MR", b"PT")
_FACE_MM = 2.5
_HEAD_EXTENT_MM = 300.0


class QuarantineError(DataError):
    """A file that a person has to look at before it may go out."""


class HeadError(ReadError):
    """A head in thin slices, from which a face can be rendered.

    Args:
        series: The series' pseudonym.
    """

    def __init__(self, series: str) -> None:
        super().__init__(
            "a head in voxels below 2.5 mm: a face can be rendered from it. Take it off with --deface, deface "
            "the series by a tool of your own, or say --acknowledge-faces if the study (and the profile) allows it"
        )
        self.series = series


def check_class(sop_class: str, source: Dataset) -> None:
    """Refuse classes that can't be cleaned.

    Raises:
        ReadError: The class is a document, a waveform or not in the standard.
    """
    if sop_class == "1.2.840.10008.1.3.10":
        raise ReadError("a DICOMDIR; it lists names and paths, and nothing needs it")
    if not sop_class.startswith(_IMAGES):
        raise ReadError("not an image, a segmentation or a structure set of the DICOM standard")
    tail = sop_class[len(_IMAGES) :]
    for start, reason in _REFUSED.items():
        if tail == start or (start.endswith(".") and tail.startswith(start)):
            raise ReadError(reason)
    if 0x00420011 in source:
        raise ReadError(_REFUSED["104."])


def may_hold_text(sop_class: str, source: Dataset) -> bool:
    """Whether text in the pixels is likely: by class, by colour, by image type or because the file says so."""
    tail = sop_class[len(_IMAGES) :]
    if tail.split(".")[0] in ("3", "6", "7") or tail.startswith("77.1.") or tail == "77.1":
        return True
    if raw_bytes(source, 0x00280301).strip(b" \0").upper() == b"YES":
        return True
    image_type = raw_bytes(source, 0x00080008).upper()
    if b"SCREEN" in image_type or b"SECONDARY CAPTURE" in image_type or b"DOSE" in image_type:
        return True
    if raw_bytes(source, 0x00080064).strip(b" \0") in (b"WSD", b"SD", b"SI", b"DF", b"DV", b"DRW"):
        return True
    photometric = raw_bytes(source, 0x00280004)
    return photometric.startswith((b"RGB", b"YBR", b"PALETTE", b"ARGB", b"HSV", b"CMYK"))


def shows_face(source: Dataset) -> bool:
    """Whether a CT, MR or PET image has voxels below 2.5 mm and a head in its field of view, or may have one.

    The body part decides; without one, the descriptions; without those, whether the field of view is of a head's size.
    """
    if raw_bytes(source, 0x00080060).strip(b" \0") not in _FACE_MODALITIES:
        return False
    spacing, thickness = _spacing(source)
    if max(spacing, thickness) >= _FACE_MM:
        return False
    part = raw_bytes(source, 0x00180015).strip(b" \0").decode("latin-1").upper().replace(" ", "")
    if part:
        return any(word in part for word in _FACE_PARTS)
    words = b" ".join(raw_bytes(source, tag) for tag in (0x00081030, 0x0008103E, 0x00181030, 0x00400254, 0x00321060))
    described = words.decode("latin-1").upper()
    if any(word in described for word in _FACE_PARTS):
        return True
    rows, columns = (int.from_bytes(raw_bytes(source, tag)[:2], "little") for tag in (0x00280010, 0x00280011))
    extent = max(rows, columns) * spacing
    return not described.strip() and 100.0 < extent <= _HEAD_EXTENT_MM


def _spacing(source: Dataset) -> tuple[float, float]:
    """Pixel spacing and slice thickness in mm; 0 where the header doesn't say, as such files may be fine."""
    in_plane = _numbers(raw_bytes(source, 0x00280030))
    between = _numbers(raw_bytes(source, 0x00180088)) or _numbers(raw_bytes(source, 0x00180050))
    return (max(in_plane) if in_plane else 0.0), (abs(between[0]) if between else 0.0)


def _numbers(raw: bytes) -> list[float]:
    try:
        return [float(part) for part in raw.strip(b" \0").split(b"\\") if part.strip(b" \0")]
    except ValueError:
        return []
