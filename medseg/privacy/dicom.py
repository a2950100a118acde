"""DICOM files made clean: bytes in, bytes out, or a reason why not."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_partial
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from medseg.errors import MissingExtraError, ReadError
from medseg.privacy.conditions import add_conditional
from medseg.privacy.deflated import check_deflated
from medseg.privacy.device import DEVICE_TAGS
from medseg.privacy.dicom_rules import rules_for
from medseg.privacy.encode import encode_file, put
from medseg.privacy.frames import CleanPixels, clean_pixel_data, looks_drawn, pixel_facts
from medseg.privacy.guards import HeadError, QuarantineError, check_class, may_hold_text, shows_face
from medseg.privacy.heads import FaceCut, cut_face
from medseg.privacy.person import Person, person_of, raw_bytes
from medseg.privacy.pixel_letters import without_letters
from medseg.privacy.pixels import preview
from medseg.privacy.private import add_safe_private
from medseg.privacy.profile import Profile
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.rebuild import rebuild_dataset
from medseg.privacy.structured import clean_content, has_content

__all__ = ["LABEL_CLASSES", "CleanDicom", "clean_dicom", "is_dicom", "preview_dicom", "read_dicom", "syntax_of"]

IMPLEMENTATION_UID = "2.25.241790862094917043087204377361430293817"
"""Implementation Class UID of medseg's writer."""
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
LABEL_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""Segmentations: their pixels are labels."""
_PRESENTATIONS = "1.2.840.10008.5.1.4.1.1.11."
"""What the classes of presentation states begin with: how images are to be shown, here without graphics and text."""
_REQUIRED = ((0x0020000D, "study"), (0x0020000E, "series"), (0x00080018, "instance"))


@dataclass(frozen=True, slots=True)
class CleanDicom:
    """A clean DICOM file and the pseudonyms that name it.

    Attributes:
        data: The whole file.
        patient: The patient's pseudonym.
        study: Pseudonym of the study's UID.
        series: Pseudonym of the series' UID.
        instance: Pseudonym of the SOP instance's UID.
        identities: Texts that were dropped or replaced; identities.
        left_out: How many attributes of numbers the copy is without, as they may be the patient's or are none.
        blanked: Letters among its pixels that named the patient are 0 now.
    """

    data: bytes
    patient: str
    study: str
    series: str
    instance: str
    identities: frozenset[str]
    left_out: int
    blanked: bool


@dataclass(frozen=True, slots=True)
class _Added:
    """Pixel data of a copy: how they are stored, whether text was looked for, and whether letter codes are 0 now."""

    transfer_syntax: str
    cleaned: bool
    blanked: bool


def is_dicom(head: bytes) -> bool:
    """Whether a file that starts with these (at least 132) bytes is DICOM, with or without its preamble."""
    if head[128:132] == b"DICM":
        return True
    return head[:4] in (b"\x08\x00\x05\x00", b"\x08\x00\x08\x00", b"\x08\x00\x00\x00", b"\x08\x00\x16\x00",
                        b"\x02\x00\x00\x00", b"\x08\x00\x01\x00", b"\x08\x00\x12\x00")  # fmt: skip


def clean_dicom(
    data: bytes,
    profile: Profile,
    *,
    pseudonyms: Pseudonymiser,
    acknowledge_faces: bool = False,
    clean_text: Callable[[Dataset, int, str], CleanPixels] | None = None,
    looked_at: bool = False,
    face: FaceCut | None = None,
    look: bool = False,
) -> CleanDicom:
    """Make a clean copy of a DICOM file.

    Args:
        data: The file.
        profile: What may stay.
        pseudonyms: Gives the pseudonyms.
        acknowledge_faces: Let heads in thin slices pass; the caller records it in the ledger.
        clean_text: Paints over text in the pixels of classes that may hold some; takes the data set, the pixel data's
            tag and the transfer syntax. Without it they are quarantined.
        looked_at: A person has looked at the pixels and found no text; the caller records it in the ledger.
        face: What to remove of the pixels so that no face can be rendered from the series.
        look: Look for text whatever the class, as there is some on other files of the series.

    Raises:
        ReadError: The file is damaged or of a class that can't be cleaned.
        HeadError: It shows a head in thin slices, which the caller neither removed nor acknowledged.
        QuarantineError: A person has to look at its pixels first.
    """
    source = read_dicom(data)
    sop_class = raw_bytes(source, 0x00080016).strip(b" \0").decode("latin-1")
    transfer_syntax = syntax_of(source)
    check_class(sop_class, source)
    _check_options(sop_class, profile)
    rules = rules_for(sop_class, profile)
    if rules is None:
        raise ReadError("expected an image, a segmentation or a structure set of the standard, found another class")
    uids = {}
    for tag, word in _REQUIRED:
        uids[word] = raw_bytes(source, tag).strip(b" \0").decode("latin-1")
        if not uids[word]:
            raise ReadError(f"expected a UID of the {word}, found none; the file can't be told from others")
    head = shows_face(source)
    if face is not None:
        transfer_syntax = cut_face(source, face, transfer_syntax)
    elif head and not (acknowledge_faces and profile.faces == "refuse"):
        raise HeadError(pseudonyms.name("series", uids["series"], "S"))
    person = person_of(source, pseudonyms, kept=DEVICE_TAGS if profile.device_identity else ())
    clean = rebuild_dataset(source, rules, person=person, pseudonyms=pseudonyms)
    add_conditional(clean, source, sop_class=sop_class, rules=rules)
    structured = has_content(sop_class)
    if structured:
        clean_content(clean, source, profile, person=person, pseudonyms=pseudonyms)
    unsure = not looked_at and (look or _is_unsure(source, sop_class, transfer_syntax))
    added = _add_pixels(clean, source, transfer_syntax, clean_text, person=person, unsure=unsure)
    private = profile.safe_private and add_safe_private(clean, source, person=person)
    codes = profile.method_codes(
        pixels_cleaned=added.cleaned,
        private_kept=private,
        defaced=face is not None,
        graphics_cleaned=sop_class.startswith(_PRESENTATIONS),
        structured=structured,
    )
    _add_marks(clean, person, profile, cleaned=added.cleaned, codes=codes)
    if head or face is not None:
        _text(clean, 0x00280302, "CS", "YES" if face is None else "NO")
    return CleanDicom(
        data=_write(clean, sop_class, added.transfer_syntax, pseudonyms.uid(uids["instance"])),
        patient=person.pseudonym,
        study=pseudonyms.name("study", uids["study"], "T"),
        series=pseudonyms.name("series", uids["series"], "S"),
        instance=pseudonyms.name("instance", uids["instance"], "I"),
        identities=frozenset(person.identities),
        left_out=len(person.left_out),
        blanked=added.blanked,
    )


def preview_dicom(data: bytes) -> bytes:
    """A PNG of the frames of a DICOM file, for a person to look at.

    Raises:
        ReadError: It has no pixels, or they are damaged.
    """
    source = read_dicom(data)
    if 0x7FE00010 not in source:
        raise ReadError("expected pixel data, found none")
    return preview(source, 0x7FE00010, syntax_of(source))


def read_dicom(data: bytes) -> FileDataset:
    """Read a file up to its pixel data; what comes after them is not looked at.

    Raises:
        ReadError: It is damaged or has no SOP class.
    """

    def after_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        # A tag compares in Python, which takes as long as reading an element does; a number compares in C.
        return int(tag) > 0x7FE00010

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_deflated(io.BytesIO(data))
            source = read_partial(io.BytesIO(data), stop_when=after_pixels, force=True)
    except ReadError:
        raise
    except Exception:
        # pydicom raises whatever a damaged or hostile file makes it raise.
        raise ReadError("expected a DICOM file, found a damaged one") from None
    if 0x00080016 not in source:
        raise ReadError("expected a DICOM file with a SOP class, found none")
    return source


def syntax_of(source: FileDataset) -> str:
    """Transfer syntax UID of a file; guessed from how it reads where it doesn't say."""
    guess = ImplicitVRLittleEndian if source.original_encoding[0] else ExplicitVRLittleEndian
    return str(source.file_meta.get("TransferSyntaxUID", "") or guess)


def _check_options(sop_class: str, profile: Profile) -> None:
    """Refuse classes whose content the profile leaves uncleaned."""
    if has_content(sop_class) and not profile.structured_content:
        raise ReadError("a structured report or key object, which the profile does not clean")
    if sop_class.startswith(_PRESENTATIONS) and not profile.graphics:
        raise ReadError("a presentation state, which the profile does not clean")


def _is_unsure(source: Dataset, sop_class: str, transfer_syntax: str) -> bool:
    """Whether the pixels may hold text: by class and header, or because they look drawn upon."""
    if may_hold_text(sop_class, source):
        return True
    if sop_class in LABEL_CLASSES or 0x7FE00010 not in source:
        return False
    return looks_drawn(source, 0x7FE00010, transfer_syntax)


def _add_pixels(
    clean: Dataset,
    source: Dataset,
    transfer_syntax: str,
    clean_text: Callable[[Dataset, int, str], CleanPixels] | None,
    *,
    person: Person,
    unsure: bool,
) -> _Added:
    """Put the pixel data into the new data set."""
    tag = next((t for t in _PIXEL_TAGS if t in source), None)
    if tag is None:
        return _Added(str(ExplicitVRLittleEndian), cleaned=False, blanked=False)
    try:
        if not unsure:
            pixels = clean_pixel_data(source, tag, transfer_syntax)
        elif clean_text is not None:
            pixels = clean_text(source, tag, transfer_syntax)
        else:
            raise QuarantineError("a class of image that may hold text in its pixels; a person has to look at it first")
    except MissingExtraError:
        raise QuarantineError(
            "a class of image that may hold text in its pixels; a person has to look at it first "
            '(with pip install "medseg[ocr]" text is found and painted over)'
        ) from None
    encapsulated = pixels.transfer_syntax != ExplicitVRLittleEndian
    lettered = pixels.data
    if not encapsulated and tag == 0x7FE00010:
        pixels = _without_letters(pixels, source, person, everywhere=unsure)
    if pixels.photometric:
        _text(clean, 0x00280004, "CS", pixels.photometric)
        if 0x00280006 in clean:
            put(clean, 0x00280006, "US", b"\0\0")
    allocated = raw_bytes(source, 0x00280100)
    if tag == 0x7FE00010:
        vr = "OB" if encapsulated or allocated[:1] in (b"\x01", b"\x08") else "OW"
    else:
        vr = "OF" if tag == 0x7FE00008 else "OD"
    put(clean, tag, vr, pixels.data, encapsulated=encapsulated)
    return _Added(pixels.transfer_syntax, cleaned=unsure, blanked=pixels.data is not lettered)


def _without_letters(pixels: CleanPixels, source: Dataset, person: Person, *, everywhere: bool) -> CleanPixels:
    """Uncompressed pixels in which no letter codes name the patient; of tomographs only the edges are searched."""
    facts = pixel_facts(source)
    identities = person.identities | person.words | {str(number) for number in person.numbers}
    data, width = pixels.data, facts.columns * facts.samples
    readings = [(facts.allocated, width)]
    if facts.allocated == 16 and facts.stored > 14:
        readings.append((8, 2 * width))
    for bits, values in readings:
        shape = (facts.frames, facts.rows, values)
        data = without_letters(data, shape, bits=bits, identities=identities, everywhere=everywhere) or data
    return replace(pixels, data=data)


def _add_marks(
    clean: Dataset, person: Person, profile: Profile, *, cleaned: bool, codes: Iterable[tuple[str, str]]
) -> None:
    """Write who the patient is now and what was done (PS3.15 E.1.1, CID 7050)."""
    _text(clean, 0x00100010, "PN", person.pseudonym)
    _text(clean, 0x00100020, "LO", person.pseudonym)
    _text(clean, 0x00120062, "CS", "YES")
    _text(clean, 0x00120063, "LO", f"medseg, DICOM PS3.15 2026c, profile {profile.name}"[:64])
    _text(clean, 0x00280303, "CS", "MODIFIED" if profile.dates == "shift" else "REMOVED")
    if cleaned:
        _text(clean, 0x00280301, "CS", "NO")
    items = []
    for code, meaning in codes:
        item = Dataset()
        _text(item, 0x00080100, "SH", code)
        _text(item, 0x00080102, "SH", "DCM")
        _text(item, 0x00080104, "LO", meaning[:64])
        items.append(item)
    clean._dict[BaseTag(0x00120064)] = DataElement(0x00120064, "SQ", Sequence(items))


def _text(dataset: Dataset, tag: int, vr: str, text: str) -> None:
    put(dataset, tag, vr, text.encode("ascii", "replace"))


def _write(clean: Dataset, sop_class: str, transfer_syntax: str, instance_uid: str) -> bytes:
    meta = {
        0x00020002: ("UI", sop_class.encode("ascii")),
        0x00020003: ("UI", instance_uid.encode("ascii")),
        0x00020010: ("UI", transfer_syntax.encode("ascii")),
        0x00020012: ("UI", IMPLEMENTATION_UID.encode("ascii")),
        0x00020013: ("SH", b"MEDSEG"),
    }
    return encode_file(clean, meta)
