"""Rules: for one SOP class and one profile, each attribute that may exist in the output and how its value is made.

An attribute without a rule does not exist in the output. The attributes come from the class's IOD (highdicom's copy of
DICOM PS3.3, with their types 1, 2 and 3), the actions from the Basic Application Level Confidentiality Profile (PS3.15
table E.1-1, edition 2026c, as dicom-anonymizer ships it). A combined action (Z/D, X/Z, X/Z/D) is decided by the
attribute's type in the IOD: 1 takes a dummy, 2 is emptied, 3 is removed. An attribute of type 2 that the source lacks
is added without a value where its module is mandatory.
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.tag import Tag

from medseg.privacy.device import DEVICE_KEYWORDS
from medseg.privacy.profile import Profile
from medseg.privacy.vocabulary import words_in

__all__ = ["Kind", "Rule", "Rules", "basic_profile_actions", "is_standard_class", "rules_for"]


class Kind(Enum):
    """How the value of an attribute is made."""

    NUMBER = auto()
    """The number itself."""
    TERM = auto()
    """The text itself if all its words are in the vocabulary."""
    UID = auto()
    """The UID's pseudonym; UIDs of the standard stay."""
    TIME = auto()
    """The date moved, or the time of day."""
    AGE = auto()
    """The age, over 89 as 90."""
    SEX = auto()
    """M, F or O."""
    DEVICE = auto()
    """One word that names a device, with nothing of the patient's in it."""
    PATIENT = auto()
    """The patient's pseudonym."""
    ACCESSION = auto()
    """The accession number's pseudonym."""
    STUDY_ID = auto()
    """The study ID's pseudonym."""
    ITEMS = auto()
    """A sequence, each item rebuilt by its own rules."""
    TABLE = auto()
    """A look-up table: binary numbers, as many as its descriptor says."""
    COLOURS = auto()
    """A standard sRGB profile in place of the file's own, which may hold text."""
    EMPTY = auto()
    """No value."""
    DUMMY = auto()
    """A value that says nothing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What becomes of one attribute.

    Attributes:
        kind: How its value is made.
        vr: Value representation; ``US|SS`` where the pixel representation decides.
        required: 1, 2 or 3, its type in the IOD (the strictest where several modules hold it; 1C counts as 1).
        keyword: Its keyword in the standard.
        children: Rules of a sequence's items, by tag.
        expected: Whether it is of type 2 in a mandatory module, and thus added without a value where it is missing.
    """

    kind: Kind
    vr: str
    required: int
    keyword: str
    children: Rules = field(default_factory=lambda: Rules({}))
    expected: bool = False


class Rules(dict[int, Rule]):
    """Rules by tag.

    Attributes:
        expected: Tag and VR of the attributes that are added without a value where they are missing.
    """

    def __init__(self, rules: Mapping[int, Rule]) -> None:
        super().__init__(rules)
        self.expected = tuple((tag, rule.vr) for tag, rule in rules.items() if rule.expected and rule.required == 2)


@dataclass(slots=True)
class _Attribute:
    keyword: str
    required: int
    expected: bool = False
    children: dict[str, _Attribute] = field(default_factory=dict)


_NEVER_MODULES = ("clinical-trial-subject", "clinical-trial-study", "clinical-trial-series", "specimen", "device")
_NEVER = words_in(
    """
    SpecificCharacterSet OriginalAttributesSequence ModifiedAttributesSequence
    NonconformingModifiedAttributesSequence EncryptedAttributesSequence DigitalSignaturesSequence
    MACParametersSequence IconImageSequence PrivateDataElementCharacteristicsSequence
    HL7StructuredDocumentReferenceSequence ContributingEquipmentSequence RequestAttributesSequence
    ReferencedPatientSequence ReferencedStudySequence ReferencedPerformedProcedureStepSequence RetrieveURL
    RetrieveURI TimezoneOffsetFromUTC LUTExplanation VOILUTSequence PixelData FloatPixelData
    DoubleFloatPixelData PixelDataProviderURL EncapsulatedDocument CurveData OverlayData ICCProfile ColorSpace
    ExtendedOffsetTable ExtendedOffsetTableLengths EncapsulatedPixelDataValueTotalLength DataSetTrailingPadding
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
    LongitudinalTemporalInformationModified BurnedInAnnotation RecognizableVisualFeatures InstanceOriginStatus
    ContainsDeviceIdentification IssuerOfPatientID IssuerOfPatientIDQualifiersSequence OtherPatientIDsSequence
    SpacingCalibrationDescription WindowCenterWidthExplanation GraphicAnnotationSequence
    TextObjectSequence PatientComments ImageComments FrameComments CodingSchemeIdentificationSequence
    ContextIdentifier ContextGroupVersion ContextGroupLocalVersion ContextGroupExtensionFlag
    ContextGroupExtensionCreatorUID MappingResource MappingResourceUID MappingResourceName ContextUID
    AcquisitionContextSequence ContentItemModifierSequence ObservationSequence UniversalEntityID
    NTPSourceAddress PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar
    PatientAlternativeCalendar StrainDescription StrainAdditionalInformation StrainNomenclature
    StrainStockSequence StrainCodeSequence GeneticModificationsSequence PatientSpeciesDescription
    PatientBreedDescription BreedRegistrationSequence ResponsiblePersonRole
    SourcePatientGroupIdentificationSequence GroupOfPatientsIdentificationSequence
    IssuerOfAccessionNumberSequence RequestingServiceCodeSequence ReasonForPerformedProcedureCodeSequence
    SoftwareVersions
    SOPAuthorizationComment AuthorizationEquipmentCertificationNumber ConversionSourceAttributesSequence
    ReferencedDefinedProtocolSequence ReferencedPerformedProtocolSequence ContextGroupIdentificationSequence
    MappingResourceIdentificationSequence QueryRetrieveView
    """
)
"""Attributes that never stay, whatever the table says: free text, containers of other people's records, and those that
medseg writes itself. A required one (type 2) is left empty."""
_REQUIRED_TEXTS = ("LUTExplanation", "SoftwareVersions", "BurnedInAnnotation", "RecognizableVisualFeatures")
"""Of those that never stay, what some classes demand (type 1): there texts take a dummy, and the file's own word on
what its pixels show stays unless medseg knows better."""
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_LATER_KIND = {
    "PatientName": Kind.PATIENT,
    "PatientID": Kind.PATIENT,
    "AccessionNumber": Kind.ACCESSION,
    "StudyID": Kind.STUDY_ID,
}
_CHARACTERISTICS = {
    "PatientSex": Kind.SEX,
    "PatientAge": Kind.AGE,
    "PatientSize": Kind.NUMBER,
    "PatientWeight": Kind.NUMBER,
    "SmokingStatus": Kind.TERM,
    "PregnancyStatus": Kind.NUMBER,
    "PatientSexNeutered": Kind.TERM,
}
_DESCRIPTORS = words_in(
    """
    StudyDescription SeriesDescription ProtocolName PerformedProcedureStepDescription
    RequestedProcedureDescription ScheduledProcedureStepDescription ContrastBolusAgent RequestedContrastAgent
    ROIName ROIDescription ROIObservationLabel StructureSetLabel StructureSetName SegmentDescription
    AcquisitionProtocolName AcquisitionProtocolDescription AcquisitionDeviceProcessingDescription
    DerivationDescription ContentLabel ContentDescription SegmentLabel UserContentLabel
    """
)
_GEOMETRY = words_in(
    """
    NumberOfFrames PlanarConfiguration PixelAspectRatio PixelPaddingValue PixelPaddingRangeLimit SmallestImagePixelValue
    LargestImagePixelValue PixelSpacing ImagerPixelSpacing SpacingBetweenSlices SliceThickness SliceLocation
    ImagePositionPatient ImageOrientationPatient FrameOfReferenceUID PatientPosition GantryDetectorTilt
    RescaleIntercept RescaleSlope RescaleType WindowCenter WindowWidth InstanceNumber AcquisitionNumber
    TemporalPositionIdentifier NumberOfTemporalPositions TriggerTime EchoTime EchoNumbers RepetitionTime InversionTime
    FlipAngle DiffusionBValue KVP BodyPartExamined
    """
)
"""Attributes without which pixels can't be read or placed; they stay in every image, also where the IOD lacks them."""
_BIRTH = words_in(
    """
    PatientBirthDate PatientBirthTime PatientBirthDateInAlternativeCalendar
    PatientDeathDateInAlternativeCalendar LastMenstrualDate
    """
)
_TABLES = words_in(
    """
    RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData LUTData
    SegmentedRedPaletteColorLookupTableData SegmentedGreenPaletteColorLookupTableData
    SegmentedBluePaletteColorLookupTableData
    """
)
_NUMBER_VRS = words_in("DS IS FD FL SL SS UL US SV UV AT")
_TIME_VRS = words_in("DA TM DT")
_TEXT_VRS = words_in("SH LO ST LT UT UC")


def is_standard_class(uid: str) -> bool:
    """Whether a UID is a SOP class of the standard's images, segmentations, plans or documents."""
    return uid in _standard("sop_class_iod_map")


@lru_cache(maxsize=256)
def rules_for(sop_class: str, profile: Profile) -> Rules | None:
    """Rules of a SOP class, by tag; None when the class isn't one of the standard's image or segmentation classes."""
    attributes = _iod_attributes(sop_class)
    return None if attributes is None else _compile(attributes, profile)


def _compile(attributes: Mapping[str, _Attribute], profile: Profile) -> Rules:
    rules: dict[int, Rule] = {}
    for keyword, attribute in attributes.items():
        tag = tag_for_keyword(keyword)
        if tag is None:
            continue
        kind = _kind(tag, keyword, attribute, profile)
        if kind is None:
            continue
        vr = dictionary_VR(tag)
        children = _compile(attribute.children, profile) if kind is Kind.ITEMS else Rules({})
        if kind is Kind.ITEMS and not children:
            if attribute.required == 3:
                continue
            kind = Kind.EMPTY if attribute.required == 2 else kind
        vr = "US|SS" if vr.startswith("US or SS") else vr
        rules[int(tag)] = Rule(kind, vr, attribute.required, keyword, children, attribute.expected)
    return Rules(rules)


def _kind(tag: int, keyword: str, attribute: _Attribute, profile: Profile) -> Kind | None:
    """How the value of an attribute is made under a profile; None when the attribute goes."""
    vr = dictionary_VR(tag)
    if keyword in _NEVER:
        return _kind_never(keyword, vr, attribute.required)
    if keyword in _LATER_KIND:
        return _LATER_KIND[keyword]
    if profile.patient_characteristics and keyword in _CHARACTERISTICS:
        return _CHARACTERISTICS[keyword]
    if profile.device_identity and keyword in DEVICE_KEYWORDS:
        return Kind.UID if vr == "UI" else Kind.DEVICE
    if vr in _TIME_VRS:
        keep = profile.dates == "shift" and keyword not in _BIRTH
        return Kind.TIME if keep else _by_type(attribute.required, vr)
    if keyword in _DESCRIPTORS:
        return Kind.TERM if profile.descriptors else _by_type(attribute.required, vr)
    action = basic_profile_actions().get(tag)
    if action in ("U", "X/Z/U*") or (vr == "UI" and action is None):
        return Kind.ITEMS if vr == "SQ" else Kind.UID
    if action is not None:
        return _by_type(attribute.required, vr)
    return _kind_by_vr(keyword, vr, attribute, profile)


def _kind_never(keyword: str, vr: str, required: int) -> Kind | None:
    """What stands where an attribute that never stays must exist."""
    if required == 1 and keyword in _REQUIRED_TEXTS:
        return Kind.TERM if vr == "CS" else Kind.DUMMY
    if required == 1 and keyword == "ICCProfile":
        return Kind.COLOURS
    return Kind.EMPTY if required == 2 else None


def _kind_by_vr(keyword: str, vr: str, attribute: _Attribute, profile: Profile) -> Kind | None:
    """How an attribute that the Basic Profile doesn't mention stays: as numbers, known words or cleaned items."""
    if vr == "SQ":
        return Kind.ITEMS
    if keyword in _TABLES:
        return Kind.TABLE
    if vr == "CS" or keyword == "RescaleType" or (vr in _TEXT_VRS and profile.technical_text):
        return Kind.TERM
    if vr in _NUMBER_VRS or vr.startswith("US or SS"):
        return Kind.NUMBER
    return _by_type(attribute.required, vr)


def _by_type(required: int, vr: str) -> Kind | None:
    if required == 3 or (required == 1 and (vr == "SQ" or vr.startswith("O") or vr == "UN")):
        return None
    return Kind.EMPTY if required == 2 else Kind.DUMMY


@lru_cache(maxsize=1)
def basic_profile_actions() -> Mapping[int, str]:
    """The Basic Profile's action (D, Z, X, U, Z/D, X/Z, X/D, X/Z/D, X/Z/U*) of each attribute with a tag of its own.

    The table's four ranges (curves, overlay data and comments, odd groups) are no tags: those have no rule at all.
    """
    from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table

    groups = {
        "D": table.D_TAGS, "Z": table.Z_TAGS, "X": table.X_TAGS, "U": table.U_TAGS, "Z/D": table.Z_D_TAGS,
        "X/Z": table.X_Z_TAGS, "X/D": table.X_D_TAGS, "X/Z/D": table.X_Z_D_TAGS, "X/Z/U*": table.X_Z_U_STAR_TAGS,
    }  # fmt: skip
    return {int(Tag(row)): action for action, rows in groups.items() for row in rows if len(row) == 2}


@lru_cache(maxsize=64)
def _iod_attributes(sop_class: str) -> Mapping[str, _Attribute] | None:
    iod = _standard("sop_class_iod_map").get(sop_class)
    if iod is None:
        return None
    root = _Attribute("", 3)
    for module in _standard("iod_module_map")[iod]:
        if module["key"] in _NEVER_MODULES and module["usage"] != "M":
            continue
        for entry in _module_attributes(module["key"]):
            _add(root, entry, module["usage"])
    if "PixelData" in root.children:
        for keyword in _GEOMETRY:
            root.children.setdefault(keyword, _Attribute(keyword, 3))
    return root.children


def _add(root: _Attribute, entry: Mapping[str, Any], usage: str) -> None:
    """Take up one attribute of a module; `usage` is M, C or U."""
    place, keyword, required = root, entry["keyword"], int(entry["type"][0])
    for step in entry["path"]:
        if step in _NEVER:
            return
        place = place.children.setdefault(step, _Attribute(step, 3))
    known = place.children.get(keyword)
    if known is None:
        known = place.children[keyword] = _Attribute(keyword, required)
    elif usage != "U" or known.required == 3:
        known.required = min(known.required, required)
    nested = bool(entry["path"]) and (entry["path"][-1] in _FUNCTIONAL_GROUPS or keyword in _NEVER)
    known.expected |= usage == "M" and entry["type"] == "2" and not nested


def _module_attributes(module: str) -> list[dict[str, Any]]:
    """The attributes of one module.

    The table of all modules has 22 MB, of which an IOD needs a small part; so each process parses only that.
    """
    text, places = _modules()
    if module not in places:
        raise KeyError(module)
    found: list[dict[str, Any]] = json.loads(text[places[module] : text.find(b"\n  ]", places[module]) + 4])
    return found


@lru_cache(maxsize=1)
def _modules() -> tuple[mmap.mmap, dict[str, int]]:
    """The text of highdicom's table of modules, and where each module's list begins."""
    with _table_file("module_attribute_map").open("rb") as file:
        text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return text, {match[1].decode("ascii"): match.end() - 1 for match in re.finditer(rb'\n  "([^"]+)": \[', text)}


@lru_cache(maxsize=3)
def _standard(name: str) -> dict[str, Any]:
    """One of highdicom's tables of the standard."""
    content: dict[str, Any] = json.loads(_table_file(name).read_text(encoding="utf-8"))
    return content


def _table_file(name: str) -> Path:
    """The file of one of highdicom's tables, found without importing highdicom."""
    found = importlib.util.find_spec("highdicom")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("highdicom")
    return Path(found.origin).parent / "_standard" / f"{name}.json"
