"""Structured content: the tree of a structured report or key object selection, without what somebody wrote into it.

Of each item stays what can be checked: codes of public schemes, measurements, coordinates, references and, where dates
move, dates (Clean Structured Content Option, DICOM PS3.15 E.3.4). Texts, names of persons, codes of a hospital's own,
and whatever hangs on them are gone. Sources: PS3.3 C.17.3 (content items), PS3.16 TID 1007 (the subject).
"""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from medseg.privacy.codes import names_of_code
from medseg.privacy.dicom_rules import Kind, Rule, Rules
from medseg.privacy.encode import put
from medseg.privacy.person import Person, raw_bytes
from medseg.privacy.profile import Profile
from medseg.privacy.pseudonym import Pseudonymiser
from medseg.privacy.rebuild import items_of, rebuild_dataset
from medseg.privacy.vocabulary import words_in

__all__ = ["clean_content", "has_content"]

_CONTENT, _TEMPLATE, _CONCEPT = 0x0040A730, 0x0040A504, 0x0040A043
_TYPE, _RELATION, _MEASURED, _UNITS, _NUMERIC = 0x0040A040, 0x0040A010, 0x0040A300, 0x004008EA, 0x0040A30A
_CODE, _UID, _REFERENCE, _GRAPHIC = 0x0040A168, 0x0040A124, 0x00081199, 0x00700022
_RELATIONS = frozenset((b"CONTAINS", b"HAS OBS CONTEXT", b"HAS ACQ CONTEXT", b"HAS CONCEPT MOD", b"HAS PROPERTIES",
                        b"INFERRED FROM", b"SELECTED FROM"))  # fmt: skip
_MORE_UNITS = words_in("""
ml mL l L g kg mg ug g/ml g/cm3 kg/m2 m m2 um cm/s m/s mm/s mm/min Gy mGy uGy cGy mGy.cm Gy.m2 dGy.m2 mGy.m2 uGy.m2 Gy/s
mGy/s mGy/min mA.s uA.s mAs keV MeV MBq kBq Bq/ml kBq/ml MBq/kg {SUVbw}g/ml {SUVlbm}g/ml {SUVbsa}cm2/ml {SUVibw}g/ml ms
us ns min h d wk mo deg rad mm2/s um2/s 10-6.mm2/s 10*-6.mm2/s 1/s 1/min {counts} {counts}/s {H.B.}/min mm[Hg] T mT mT/m
Hz kHz MHz W/kg dB V mV {pixels} {voxels} {0:1}
""")  # fmt: skip
"""Units that are no code of DICOM's dictionaries but are written in UCUM, which is a grammar."""
_DEEPEST = 40
_OLD_YEARS = 90.0


def _codes(keyword: str, required: int) -> Rule:
    parts = ((0x00080100, "SH"), (0x00080119, "UC"), (0x00080120, "UR"), (0x00080102, "SH"), (0x00080104, "LO"))
    return Rule(Kind.ITEMS, "SQ", required, keyword, Rules({tag: Rule(Kind.EMPTY, vr, 3, "") for tag, vr in parts}))


def _reference(depth: int) -> Rule:
    children = {
        0x00081150: Rule(Kind.UID, "UI", 1, "ReferencedSOPClassUID"),
        0x00081155: Rule(Kind.UID, "UI", 1, "ReferencedSOPInstanceUID"),
        0x00081160: Rule(Kind.NUMBER, "IS", 3, "ReferencedFrameNumber"),
        0x0062000B: Rule(Kind.NUMBER, "US", 3, "ReferencedSegmentNumber"),
        0x0040A0B0: Rule(Kind.NUMBER, "US", 3, "ReferencedWaveformChannels"),
    }
    if depth:
        children[_REFERENCE] = _reference(depth - 1)
    return Rule(Kind.ITEMS, "SQ", 3, "ReferencedSOPSequence", Rules(children))


_NAME = _codes("ConceptNameCodeSequence", 3)
_MEASUREMENT = Rule(Kind.ITEMS, "SQ", 2, "MeasuredValueSequence", Rules({
    _NUMERIC: Rule(Kind.NUMBER, "DS", 3, "NumericValue"),
    0x0040A161: Rule(Kind.NUMBER, "FD", 3, "FloatingPointValue"),
}))  # fmt: skip
_POINTS = {
    _GRAPHIC: Rule(Kind.NUMBER, "FL", 3, "GraphicData"),
    0x00480301: Rule(Kind.TERM, "CS", 3, "PixelOriginInterpretation"),
    0x30060024: Rule(Kind.UID, "UI", 3, "ReferencedFrameOfReferenceUID"),
}
_OF_TYPE: dict[bytes, tuple[int, dict[int, Rule]]] = {
    b"CONTAINER": (_TYPE, {}),
    b"CODE": (_CODE, {_CODE: _codes("ConceptCodeSequence", 3)}),
    b"NUM": (_MEASURED, {_MEASURED: _MEASUREMENT, 0x0040A301: _codes("NumericValueQualifierCodeSequence", 3)}),
    b"UIDREF": (_UID, {_UID: Rule(Kind.UID, "UI", 3, "UID")}),
    b"IMAGE": (_REFERENCE, {_REFERENCE: _reference(1)}),
    b"COMPOSITE": (_REFERENCE, {_REFERENCE: _reference(0)}),
    b"WAVEFORM": (_REFERENCE, {_REFERENCE: _reference(0)}),
    b"SCOORD": (_GRAPHIC, _POINTS),
    b"SCOORD3D": (_GRAPHIC, _POINTS),
    b"DATE": (0x0040A121, {0x0040A121: Rule(Kind.TIME, "DA", 3, "Date")}),
    b"TIME": (0x0040A122, {0x0040A122: Rule(Kind.TIME, "TM", 3, "Time")}),
    b"DATETIME": (0x0040A120, {0x0040A120: Rule(Kind.TIME, "DT", 3, "DateTime")}),
}
"""Attributes that stay of an item of each value type, and the one without which it says nothing."""
_OF_ITEMS = (_MEASURED, _CODE, _UID, _REFERENCE, _GRAPHIC, 0x00700023, 0x0040A120, 0x0040A121, 0x0040A122, 0x0040A123,
             0x0040A160, 0x0040A301)  # fmt: skip
"""What the rules of an IOD let stay at the root, where only the facts of a container belong."""
_TIMES = frozenset((b"DATE", b"TIME", b"DATETIME"))
_UNNAMED = frozenset((b"IMAGE", b"COMPOSITE", b"WAVEFORM", b"SCOORD", b"SCOORD3D", b"CONTAINER"))
"""Value types that may do without a concept name."""
_SHAPES = frozenset((b"POINT", b"MULTIPOINT", b"POLYLINE", b"CIRCLE", b"ELLIPSE", b"POLYGON", b"ELLIPSOID"))
_SUBJECT = frozenset((b"121029", b"121030", b"121031", b"121032", b"121033", b"121034", b"121035", b"121036"))
"""Codes (DCM) of what TID 1007 tells of the subject: name, ID, birth date, sex, age, species and so on."""


@dataclass(frozen=True, slots=True)
class _Way:
    """How the items of one file are cleaned."""

    profile: Profile
    person: Person
    pseudonyms: Pseudonymiser


def has_content(sop_class: str) -> bool:
    """Whether files of a class hold a tree of content items: structured reports and key object selections."""
    return sop_class.startswith("1.2.840.10008.5.1.4.1.1.88.")


def clean_content(
    clean: Dataset, source: Dataset, profile: Profile, *, person: Person, pseudonyms: Pseudonymiser
) -> None:
    """Put the tree of content items into a new data set.

    Args:
        clean: Gets the tree; its other attributes are there already.
        source: Data set as read; not changed.
        profile: What may stay.
        person: Whose it is.
        pseudonyms: Gives the pseudonyms.
    """
    root = _clean_item(source, _Way(profile, person, pseudonyms), depth=0)
    for tag in _OF_ITEMS:
        clean._dict.pop(BaseTag(tag), None)
    if root is not None:
        clean._dict.update(root._dict)
    put(clean, _TYPE, "CS", b"CONTAINER")
    if _CONCEPT not in clean:
        title = Dataset()
        put(title, 0x00080100, "SH", b"261665006")
        put(title, 0x00080102, "SH", b"SCT")
        put(title, 0x00080104, "LO", b"Unknown")
        _put_items(clean, _CONCEPT, [title])
    if 0x0040A493 in clean:
        # What an observer has verified was more than what is left.
        put(clean, 0x0040A493, "CS", b"UNVERIFIED")
        clean._dict.pop(BaseTag(0x0040A073), None)
    if 0x0040A491 in clean:
        put(clean, 0x0040A491, "CS", b"PARTIAL")


def _clean_item(source: Dataset, way: _Way, *, depth: int) -> Dataset | None:
    """One content item with its children; None when it can't stay."""
    kind = _word(source, _TYPE) or (b"CONTAINER" if depth == 0 else b"")
    relation = _word(source, _RELATION)
    if kind not in _OF_TYPE or depth > _DEEPEST or (depth and relation not in _RELATIONS):
        return None
    if kind in _TIMES and way.profile.dates != "shift":
        return None
    needed, own = _OF_TYPE[kind]
    rules = Rules({_CONCEPT: _NAME, 0x0040A171: Rule(Kind.UID, "UI", 3, "ObservationUID"), **own})
    item = rebuild_dataset(source, rules, person=way.person, pseudonyms=way.pseudonyms)
    put(item, _TYPE, "CS", kind)
    if needed not in item or not _may_stay(item, source, kind, way):
        return None
    if depth:
        put(item, _RELATION, "CS", relation)
    if kind == b"CONTAINER":
        together = _word(source, 0x0040A050)
        put(item, 0x0040A050, "CS", together if together == b"CONTINUOUS" else b"SEPARATE")
        _keep_template(item, source)
    if kind in (b"SCOORD", b"SCOORD3D"):
        put(item, 0x00700023, "CS", _word(source, 0x00700023))
    children = [_clean_item(child, way, depth=depth + 1) for child in items_of(source, _CONTENT)]
    kept = [child for child in children if child is not None]
    if kept:
        _put_items(item, _CONTENT, kept)
    # A heading that said nothing known, with nothing left below it, is no heading.
    return item if kept or not depth or _CONCEPT in item or kind != b"CONTAINER" else None


def _may_stay(item: Dataset, source: Dataset, kind: bytes, way: _Way) -> bool:
    """Whether a rebuilt item is whole, and says nothing of the person that the profile doesn't let stay."""
    concepts = list(item[_CONCEPT].value) if _CONCEPT in item else []
    if not concepts and (kind not in _UNNAMED or items_of(source, _CONCEPT)):
        return kind == b"CONTAINER" and bool(items_of(source, _CONTENT))
    names = b" ".join(raw_bytes(concept, 0x00080104) for concept in concepts).lower()
    told = any(_word(concept, 0x00080100) in _SUBJECT for concept in concepts)
    if told or b"birth" in names or b"death" in names:
        return False
    if kind in (b"SCOORD", b"SCOORD3D"):
        return _word(source, 0x00700023) in _SHAPES
    return kind != b"NUM" or _measure(item, source, way)


def _measure(item: Dataset, source: Dataset, way: _Way) -> bool:
    """Give a measurement its unit; False when it can't be had, or when it is an age that can't stay."""
    values, sources = item[_MEASURED].value, items_of(source, _MEASURED)
    if len(values) != 1 or len(sources) != 1 or _NUMERIC not in values[0]:
        return False
    units = items_of(sources[0], _UNITS)
    code = _word(units[0], 0x00080100).decode("latin-1") if len(units) == 1 else ""
    names = (code,) if code in _MORE_UNITS else names_of_code(code, "UCUM")
    if not names or _word(units[0], 0x00080102) != b"UCUM":
        return False
    if code in ("a", "mo", "wk", "d"):
        years = float(_word(values[0], _NUMERIC)) / {"a": 1.0, "mo": 12.0, "wk": 52.1775, "d": 365.25}[code]
        if not way.profile.patient_characteristics or years >= _OLD_YEARS:
            return False
    unit = Dataset()
    for tag, vr, text in ((0x00080100, "SH", code), (0x00080102, "SH", "UCUM"), (0x00080104, "LO", names[-1])):
        put(unit, tag, vr, text.encode("ascii", "ignore"))
    _put_items(values[0], _UNITS, [unit])
    return True


def _keep_template(item: Dataset, source: Dataset) -> None:
    """Keep which of DICOM's own templates a container follows."""
    for template in items_of(source, _TEMPLATE)[:1]:
        number = _word(template, 0x0040DB00)
        if _word(template, 0x00080105) == b"DCMR" and number.isdigit() and len(number) <= 5:
            kept = Dataset()
            put(kept, 0x00080105, "CS", b"DCMR")
            put(kept, 0x0040DB00, "CS", number)
            _put_items(item, _TEMPLATE, [kept])


def _word(dataset: Dataset, tag: int) -> bytes:
    return raw_bytes(dataset, tag).strip(b" \0")


def _put_items(dataset: Dataset, tag: int, items: list[Dataset]) -> None:
    dataset._dict[BaseTag(tag)] = DataElement(tag, "SQ", Sequence(items))
