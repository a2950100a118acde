"""Transfer syntax: in which form a DICOM file holds its pixels, and what to do where nothing here decodes that."""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medseg.errors import MissingExtraError
from medseg.privacy.codecs import extra_of, has_extra, name_of

__all__ = ["transfer_syntax", "undecodable"]

_STANDARD: Final = "1.2.840.10008."
_JPEG: Final = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(5\d|6\d|70)")
_ELSEWHERE: Final = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(94|95|204|205)")
_STREAM: Final = re.compile(r"1\.2\.840\.10008\.1\.2\.7\.\d")
_NOT_ON_AN_INDEX: Final = "gdcm"
"""pydicom's plugin of GDCM's own Python module, which SimpleITK makes up for."""


def transfer_syntax(dataset: Dataset) -> UID:
    """What the file says, or how it was read where it says nothing."""
    meta = getattr(dataset, "file_meta", Dataset())
    stated = meta.get("TransferSyntaxUID")
    if stated:
        return UID(str(stated))
    implicit, little = dataset.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def undecodable(syntax: UID, damage: str = "") -> str:
    """Why nothing here decodes it, and what to do: which extra to install, or how to come by another form.

    A UID of the standard is no identity; a private one may be and isn't repeated.

    Args:
        syntax: The transfer syntax.
        damage: What else may be the reason; goes on "not decoded".
    """
    if not str(syntax).startswith(_STANDARD):
        return "a private transfer syntax is decoded by no library; export the series in one of the standard"
    name = name_of(str(syntax)) or (syntax.name if syntax.name != str(syntax) else "")
    told = f"the transfer syntax {syntax}{f' ({name})' if name else ''} is not decoded here{damage}"
    extra = extra_of(str(syntax))
    if extra and not has_extra(extra):
        return f"{told}: {MissingExtraError('it', extra)}"
    absent = _absent_packages(syntax)
    if absent:
        return f"{told}: the installation lacks {absent}, on which medseg depends. Give `pip install medseg` again"
    if _ELSEWHERE.fullmatch(str(syntax)):
        return (
            f"{told}: the file names a server that holds its pixels (JPIP). Let the archive send the images themselves"
        )
    if _STREAM.fullmatch(str(syntax)):
        return f"{told}: it is a live video signal, which no file holds. Record it, and export the recording as DICOM"
    remedy = "convert the files with `dcmdjpeg IN OUT` of DCMTK, or " if _JPEG.fullmatch(str(syntax)) else ""
    return f"{told}, and no extra brings a decoder: {remedy}export the series uncompressed (Explicit VR Little Endian)"


def _absent_packages(syntax: UID) -> str:
    """What pydicom's decoders of a syntax would need and don't find; empty where all that medseg brings are there."""
    try:
        missing = get_decoder(syntax).missing_dependencies
    except NotImplementedError:  # pydicom's word for a transfer syntax that none of its decoders is for.
        return ""
    needs = [text.partition("requires ")[2] or text for text in missing if not text.startswith(_NOT_ON_AN_INDEX)]
    return " or ".join(needs)
