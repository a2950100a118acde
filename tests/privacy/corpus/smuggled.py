"""Names smuggled in: written backwards, in code, letter by letter, or where a standard expects something else."""

from __future__ import annotations

import base64
import codecs
import gzip
import zlib
from collections.abc import Callable

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from tests.privacy.corpus.slices import CT, MR, PT, Who, before_pixels, image, raw_element, save

TEXTS = (
    "StudyDescription", "SeriesDescription", "ProtocolName", "ImageComments", "SequenceName", "ContrastBolusAgent",
    "ReceiveCoilName", "TransmitCoilName", "ConvolutionKernel", "FilterType", "ManufacturerModelName", "Manufacturer",
    "SoftwareVersions", "ScanOptions", "DerivationDescription", "AcquisitionDeviceProcessingDescription",
    "RadiopharmaceuticalRoute", "PulseSequenceName", "TypeOfFilters", "ContrastBolusRoute", "AcquisitionComments",
    "DetectorDescription", "FrameComments", "AcquisitionProtocolName", "ClinicalTrialTimePointDescription",
    "GantryID", "DetectorID", "PatientOrientation", "ImageID", "LUTExplanation", "PositionReferenceIndicator",
)  # fmt: skip

CODES: dict[str, Callable[[str], str]] = {
    "backwards": lambda name: name[::-1],
    "base64": lambda name: base64.b64encode(f"Pat. {name}".encode()).decode(),
    "base32": lambda name: base64.b32encode(name.encode()).decode(),
    "hexadecimal": lambda name: name.encode().hex(),
    "rot13": lambda name: codecs.encode(name, "rot13"),
    "percent": lambda name: "".join(f"%{byte:02X}" for byte in name.encode()),
    "entities": lambda name: "".join(f"&#{ord(letter)};" for letter in name),
    "letters": " ".join,
    "dotted": ".".join,
    "among_known_words": lambda name: f"axial T2 brain {name.lower()} flair",
    "joined_to_known_words": lambda name: f"Brain{name}Axial",
    "underscored": lambda name: f"t2_{name.lower()}_tse",
    "accents": lambda name: name.replace("a", "á").replace("e", "ě").replace("o", "ö"),
    "full_width": lambda name: "".join(chr(ord(letter) + 0xFEE0) for letter in name),
    "hidden_letters": "\u200b".join,
    "compressed": lambda name: base64.b64encode(gzip.compress(name.encode(), mtime=0)).decode(),
    "markup": lambda name: f"<b>{name}</b><!-- {name} -->",
}


def coded(code: Callable[[str], str]) -> Callable[[Who], bytes]:
    """A slice with names written in this code in every text that a profile might keep."""

    def make(who: Who) -> bytes:
        ds = image(who, MR)
        ds.SpecificCharacterSet = "ISO_IR 192"
        for keyword in TEXTS:
            text = code(who.name())
            if text.isascii() or dictionary_VR(keyword) != "CS":
                setattr(ds, keyword, text)
        return save(ds)

    return make


def letters_as_values(who: Who) -> bytes:
    """A name of which each letter is one value of a multi-valued code string."""
    ds = image(who, MR)
    ds.ImageType = ["ORIGINAL", "PRIMARY", *who.name().upper()]
    ds.ScanOptions, ds.SequenceVariant = list(who.name().upper()), list(who.name().upper())
    ds.PatientOrientation, ds.ScanningSequence = list(who.name().upper()), list(who.name().upper())
    ds.SoftwareVersions = list(who.name())
    return save(ds)


def halves(who: Who) -> bytes:
    """A name cut in two, one half in each of two attributes or of two values."""
    ds = image(who, CT)
    for first, second in (("ProtocolName", "SeriesDescription"), ("ConvolutionKernel", "FilterType")):
        name = who.name()
        setattr(ds, first, name[:4])
        setattr(ds, second, name[4:])
        who.all += [name[:4] + name[4:]]
    ds.ImageType = ["ORIGINAL", "PRIMARY", who.name().upper()[:8]]
    return save(ds)


def bytes_in_texts(who: Who) -> bytes:
    """UTF-16 and compressed bytes under text and byte VRs."""
    data = save(image(who, CT))
    for tag, vr, value in (
        (0x00181030, "LO", who.name().encode("utf-16")), (0x00324000, "LT", who.name().encode("utf-16-be")),
        (0x00400280, "ST", zlib.compress(who.name().encode())), (0x00181400, "LO", who.name().encode("cp037")),
        (0x00104000, "UN", who.name().encode("utf-16-le")), (0x00204000, "OB", who.name().encode("utf-32-le")),
        (0x00189344, "CS", who.name().encode("utf-16-le")), (0x00180022, "CS", who.name().encode("utf-16-le")),
    ):  # fmt: skip
        data = before_pixels(data, raw_element(tag, vr, value))
    return data


def long_text(who: Who) -> bytes:
    """A text of one megabyte with a name in its middle."""
    ds = image(who, CT)
    ds.add_new(0x0040A160, "UT", "brain " * 90_000 + who.name() + " axial" * 90_000)
    ds.ImageComments = "axial " * 90_000 + who.name()
    return save(ds)


def wrong_representation(who: Who) -> bytes:
    """Names under the VR of numbers, ages, UIDs, URLs, tags and dates."""
    data = save(image(who, CT))
    for tag, vr, value in (
        (0x00180060, "DS", f"120 {who.name()}"), (0x00200012, "IS", f"1\\{who.name()}"),
        (0x00080014, "UI", who.name()), (0x00081190, "UR", f"https://{who.name()}.org/{who.name()}"),
        (0x00080120, "UR", f"urn:{who.name()}"), (0x00120021, "LO", who.name()), (0x00180015, "CS", who.name().upper()),
        (0x00080201, "SH", who.name()), (0x0018A001, "SQ", b""), (0x00080031, "TM", f"1012{who.date()}"),
        (0x00189073, "FD", who.name().encode()), (0x00189302, "CS", who.name().upper()), (0x00280009, "AT", who.name()),
        (0x00186011, "AT", who.name()), (0x00181063, "DS", who.name()), (0x00189087, "FD", who.name()),
    ):  # fmt: skip
        data = before_pixels(data, raw_element(tag, vr, value if isinstance(value, bytes) else value.encode()))
    return data


def numbers_that_identify(who: Who) -> bytes:
    """The patient's number and birthday as numbers: series, acquisition, instance, and time since 1970."""
    ds = image(who, CT)
    number, birthday = who.number("")[:8], who.date()
    who.all.append(number)
    ds.PatientID, ds.PatientBirthDate = number, birthday
    ds.SeriesNumber, ds.AcquisitionNumber, ds.InstanceNumber = number, birthday, number
    ds.StudyID, ds.AccessionNumber, ds.ImageID = number, number, number
    ds.TriggerTime, ds.Exposure, ds.XRayTubeCurrent = birthday, number, number
    ds.SeriesDescription, ds.StudyDescription, ds.ProtocolName = f"CT {number}", f"CT {birthday}", f"T1 {number}"
    ds.ConvolutionKernel, ds.ContrastBolusAgent = number, birthday
    ds.NumberOfTemporalPositions, ds.TemporalPositionIdentifier = number, birthday
    return save(ds)


def look_alike_uids(who: Who) -> bytes:
    """UIDs below the standard's root, and of every origin, that hold numbers and birthdays."""
    ds = image(who, CT)
    standard, step, device = Dataset(), Dataset(), Dataset()
    number, birthday = who.number("")[:9], who.date()
    who.all.append(number)
    ds.PatientID, ds.PatientBirthDate = number, birthday
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.840.10008.5.1.4.1.1.2.{number}"
    ds.SeriesInstanceUID, ds.StudyInstanceUID = f"1.2.840.10008.{birthday}.2", f"2.25.{birthday}{number}"
    ds.FrameOfReferenceUID, ds.InstanceCreatorUID = f"1.2.840.10008.1.4.1.{birthday}", f"1.2.840.10008.1.{number}"
    ds.IrradiationEventUID, ds.ConcatenationUID = f"1.2.840.10008.1.2.4.{number}", f"1.2.840.10008.{number}"
    ds.DeviceUID, ds.StorageMediaFileSetUID = f"1.2.840.10008.7.{birthday}", f"1.2.840.10008.9.{number}"
    ds.SynchronizationFrameOfReferenceUID, ds.TransactionUID = f"1.2.840.10008.15.1.1.{number}", f"1.2.{number}"
    ds.DimensionOrganizationSequence = [standard]
    standard.DimensionOrganizationUID = f"1.2.840.10008.{birthday}.5"
    step.ReferencedSOPClassUID, step.ReferencedSOPInstanceUID = f"1.2.840.10008.3.1.2.3.{number}", f"1.2.{birthday}"
    ds.ReferencedPerformedProcedureStepSequence, ds.ReferencedImageSequence = [step], [step]
    device.CodeValue, device.CodingSchemeDesignator, device.CodeMeaning = "T-D1100", "SRT", "Head"
    device.ContextUID, device.MappingResourceUID = f"1.2.840.10008.6.1.{number}", f"1.2.840.10008.8.1.{birthday}"
    device.ContextGroupExtensionCreatorUID, device.CodingSchemeVersion = f"1.2.840.10008.{birthday}", number
    ds.AnatomicRegionSequence = [device]
    return save(ds)


def code_items(who: Who) -> bytes:
    """Codes with names as value, scheme, version, meaning, resource, equivalent, and the scheme's own description."""
    ds = image(who, CT)
    region, other, scheme = Dataset(), Dataset(), Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "39607008", "SCT", f"Lung of {who.name()}"
    region.CodingSchemeVersion, region.MappingResource = who.name(), who.name().upper()
    region.add_new(0x00080122, "LO", who.name())
    other.CodeValue, other.CodingSchemeDesignator, other.CodeMeaning = who.number(), f"99{who.name()}", who.name()
    other.LongCodeValue, other.URNCodeValue = who.name(), f"urn:oid:{who.uid()}"
    region.EquivalentCodeSequence, region.AnatomicRegionModifierSequence = [other], [other]
    scheme.CodingSchemeDesignator, scheme.CodingSchemeRegistry = f"99{who.name()}", who.name()
    scheme.CodingSchemeUID, scheme.CodingSchemeName = who.uid(), who.name()
    scheme.CodingSchemeResponsibleOrganization, scheme.CodingSchemeExternalID = who.name(), who.name()
    ds.AnatomicRegionSequence, ds.ProcedureCodeSequence = [region], [other]
    ds.CodingSchemeIdentificationSequence = [scheme]
    ds.RadiopharmaceuticalInformationSequence = [Dataset()]
    ds.RadiopharmaceuticalInformationSequence[0].RadionuclideCodeSequence = [other]
    ds.ContrastBolusAgentSequence, ds.PatientOrientationCodeSequence, ds.ViewCodeSequence = [other], [region], [other]
    return save(ds)


def kept_private_numbers(who: Who) -> bytes:
    """Private attributes that are known to be safe, with something else in them, also nested and under other blocks."""
    ds = image(who, PT)
    number = who.number("")[:9]
    ds.PatientID = number
    for block in (0x10, 0x11):
        ds.add_new(0x70530000 | block, "LO", "Philips PET Private Group")
        ds.add_new(0x70530000 | block << 8, "DS", f"0.5\\{number}")
        ds.add_new(0x70530000 | block << 8 | 0x09, "DS", number)
    inner = Dataset()
    inner.add_new(0x70530010, "LO", f"PHILIPS {who.name()}")
    inner.add_new(0x70531000, "LT", who.name())
    ds.add_new(0x70530012, "LO", who.name())
    ds.add_new(0x70531200, "SQ", [inner])
    ds.add_new(0x00290010, "LO", "SIEMENS CSA HEADER")
    ds.add_new(0x00291010, "OB", b"SV10\4\3\2\1" + b"PatientName\0" + who.name().encode().ljust(64, b"\0"))
    ds.add_new(0x00291020, "OB", f'### ASCCONV BEGIN ###\ntPatientName = "{who.name()}"'.encode())
    return save(ds)


def charset_itself(who: Who) -> bytes:
    ds = image(who, CT)
    data = before_pixels(save(ds, syntax=ExplicitVRLittleEndian), b"")
    element = raw_element(0x00080005, "CS", f"ISO_IR 100\\{who.name().upper()}".encode())
    place = data.index(b"\x08\x00\x08\x00")
    return data[:place] + element + data[place:]


def names_in_scripts(who: Who) -> bytes:
    """Names in several alphabets, changed by escape sequences in the middle of a word, in texts that may be kept."""
    data = save(image(who, CT))
    latin, korean, japanese, chinese = who.name(), "김희중", "山田太郎", "王小东"
    who.all += [korean, japanese, chinese]
    for tag, value in (
        (0x00181030, japanese.encode("iso2022_jp")), (0x0008103E, b"axial \x1b$)C" + korean.encode("euc_kr")),
        (0x00081030, latin[:4].encode() + b"\x1b(B" + latin[4:].encode()), (0x00180010, chinese.encode("gb18030")),
        (0x00181210, chinese.encode("gbk")), (0x00081090, japanese.encode("shift_jis")),
        (0x00180024, latin[:2].encode() + b"\x1b$B" + b"\x1b(B" + latin[2:].encode()),
    ):  # fmt: skip
        data = before_pixels(data, raw_element(tag, "LO", value))
    return data


SMUGGLED = (
    *(coded(code) for code in CODES.values()), letters_as_values, halves, bytes_in_texts, long_text,
    wrong_representation, numbers_that_identify, look_alike_uids, code_items, kept_private_numbers, charset_itself,
    names_in_scripts,
)  # fmt: skip
