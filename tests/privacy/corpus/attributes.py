"""Traps in the attributes of a DICOM file: nested, misused, malformed, and those that tools forget."""

from __future__ import annotations

import io
import struct

from pydicom.dataset import Dataset, FileDataset

from tests.privacy.corpus.slices import CT, PT, Who, before_pixels, image, raw_element, save


def nested_uids(ds: FileDataset, who: Who) -> bytes:
    deep, item, series = Dataset(), Dataset(), Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, who.uid()
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "121311", "DCM", who.name()
    item.PurposeOfReferenceCodeSequence = [purpose]
    deep.ReferencedSOPClassUID, deep.ReferencedSOPInstanceUID = CT, who.uid()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = who.uid(), [deep]
    ds.ReferencedImageSequence, ds.SourceImageSequence, ds.ReferencedSeriesSequence = [item], [item], [series]
    return save(ds)


def original_attributes(ds: FileDataset, who: Who) -> bytes:
    before, item = Dataset(), Dataset()
    before.PatientName, before.PatientID = who.person(), who.number()
    item.ModifiedAttributesSequence = [before]
    item.AttributeModificationDateTime, item.ModifyingSystem = "20200101", who.name()
    item.SourceOfPreviousValues, item.ReasonForTheAttributeModification = who.name(), "COERCE"
    ds.OriginalAttributesSequence = [item]
    return save(ds)


def digital_signature(ds: FileDataset, who: Who) -> bytes:
    item, mac = Dataset(), Dataset()
    item.DigitalSignatureUID, item.DigitalSignatureDateTime = who.uid(), "20200101000000"
    item.CertificateOfSigner = who.person().encode().ljust(64, b"\0")
    item.Signature = who.name().encode().ljust(64, b"\0")
    mac.MACIDNumber, mac.MACAlgorithm = 1, "SHA256"
    ds.MACParametersSequence = [mac]
    return save(ds) + _sequence_bytes(0xFFFAFFFA, item)


def _sequence_bytes(tag: int, item: Dataset) -> bytes:
    inner = io.BytesIO()
    item.save_as(inner, implicit_vr=False, little_endian=True)
    body = inner.getvalue()
    return raw_element(tag, "SQ", b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body)


def other_patient_ids(ds: FileDataset, who: Who) -> bytes:
    item = Dataset()
    item.PatientID, item.TypeOfPatientID, item.IssuerOfPatientID = who.number(), "TEXT", who.name()
    ds.OtherPatientIDsSequence, ds.OtherPatientIDs = [item], who.number()
    ds.OtherPatientNames, ds.PatientBirthName, ds.PatientMotherBirthName = who.person(), who.person(), who.person()
    ds.PatientAddress, ds.PatientTelephoneNumbers, ds.MilitaryRank = who.name(), who.number("+"), who.name()
    ds.MedicalRecordLocator, ds.CountryOfResidence, ds.RegionOfResidence = who.number(), who.name(), who.name()
    ds.EthnicGroup, ds.Occupation, ds.AdditionalPatientHistory = who.name(), who.name(), who.name()
    return save(ds)


def request(ds: FileDataset, who: Who) -> bytes:
    item = Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepID = who.number(), who.number()
    item.RequestedProcedureDescription = who.name()
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = who.number()[:16], "99LOCAL", who.name()
    ds.RequestAttributesSequence, ds.ProcedureCodeSequence = [item], [code]
    ds.PerformedProcedureStepID, ds.PerformedProcedureStepDescription = who.number()[:16], who.name()
    ds.RequestingPhysician, ds.AdmittingDiagnosesDescription = who.person(), who.name()
    return save(ds)


def several_names(ds: FileDataset, who: Who) -> bytes:
    ds.add_new(0x00081060, "PN", [who.person(), f"{who.name()}^{who.name()}^^Dr^MD"])
    ds.add_new(0x00081048, "PN", f"{who.person()}={who.person()}={who.person()}")
    return save(ds)


def dates_in_text(ds: FileDataset, who: Who) -> bytes:
    date = who.date()
    dotted = f"{date[6:]}.{date[4:6]}.{date[:4]}"
    who.all.append(dotted)
    ds.SeriesDescription, ds.StudyDescription = f"Chest {dotted}", f"Chest {date}"
    ds.ProtocolName = date
    return save(ds)


def dates_in_uids(ds: FileDataset, who: Who) -> bytes:
    date = who.date()
    ds.SOPInstanceUID = f"1.2.840.10008.{date}.{who.draw.randrange(10**6)}"
    ds.FrameOfReferenceUID = f"2.16.840.1.113669.{date}.1"
    return save(ds)


def malformed_dates(ds: FileDataset, who: Who) -> bytes:
    data = save(ds)
    old = who.date()
    dotted = f"{old[:4]}.{old[4:6]}.{old[6:]}"
    who.all.append(dotted)
    data = before_pixels(data, raw_element(0x00181012, "DA", dotted.encode()))
    return before_pixels(data, raw_element(0x0018A002, "DT", f"born {who.date()}".encode()))


def several_dates(ds: FileDataset, who: Who) -> bytes:
    ds.add_new(0x00181200, "DA", [who.date(), who.date()])
    ds.add_new(0x00181201, "TM", ["010203", "040506"])
    ds.add_new(0x0008002A, "DT", f"{who.date()}101112.5+0130")
    ds.TimezoneOffsetFromUTC = "+0130"
    return save(ds)


def retrieve_url(ds: FileDataset, who: Who) -> bytes:
    ds.add_new(0x00081190, "UR", f"https://pacs.{who.name()}.org/{who.number()}")
    ds.add_new(0x00080054, "AE", who.name())
    ds.StorageMediaFileSetUID = who.uid()
    return save(ds)


def text_in_codes(ds: FileDataset, who: Who) -> bytes:
    region = Dataset()
    region.CodeValue, region.CodingSchemeDesignator, region.CodeMeaning = "51185008", "SCT", f"Chest of {who.name()}"
    region.CodingSchemeVersion, region.MappingResource = who.name(), "DCMR"
    ds.AnatomicRegionSequence = [region]
    ds.add_new(0x00180015, "CS", who.name().upper())
    ds.add_new(0x00185100, "CS", who.name().upper())
    ds.add_new(0x00080008, "CS", ["ORIGINAL", "PRIMARY", who.name().upper()])
    return save(ds)


def text_in_technical(ds: FileDataset, who: Who) -> bytes:
    ds.ConvolutionKernel, ds.FilterType, ds.SoftwareVersions = who.name(), who.name(), who.name()
    ds.Manufacturer, ds.ManufacturerModelName = who.name(), f"SOMATOM of {who.name()}"
    ds.RescaleType, ds.PositionReferenceIndicator = who.name(), who.name()
    ds.ScanOptions = who.name().upper()
    return save(ds)


def text_in_numbers(ds: FileDataset, who: Who) -> bytes:
    data = save(ds)
    data = before_pixels(data, raw_element(0x00180060, "DS", who.name().encode()))
    data = before_pixels(data, raw_element(0x00200012, "IS", who.name().encode()))
    data = before_pixels(data, raw_element(0x00189345, "FD", who.person().encode()[:16].ljust(16)))
    return before_pixels(data, raw_element(0x00281050, "DS", b"40\\" + who.name().encode()))


def trial(ds: FileDataset, who: Who) -> bytes:
    ds.ClinicalTrialSponsorName, ds.ClinicalTrialProtocolID = who.name(), who.number()
    ds.ClinicalTrialSubjectID, ds.ClinicalTrialSiteName = who.number(), who.name()
    ds.ClinicalTrialTimePointDescription = who.name()
    return save(ds)


def equipment(ds: FileDataset, who: Who) -> bytes:
    item = Dataset()
    item.Manufacturer, item.InstitutionName, item.StationName = "X", who.name(), who.name()
    item.OperatorsName, item.ContributionDescription = who.person(), who.name()
    ds.ContributingEquipmentSequence = [item]
    ds.GantryID, ds.DetectorID, ds.DeviceUID, ds.PlateID = who.number(), who.number(), who.uid(), who.number()
    return save(ds)


def deep_nest(who: Who) -> bytes:
    ds = image(who, CT)
    item = Dataset()
    item.PatientName = who.person()
    for _ in range(12):
        outer = Dataset()
        outer.ReferencedSOPClassUID, outer.ReferencedSOPInstanceUID = CT, who.uid()
        outer.SourceImageSequence = [item]
        item = outer
    ds.SourceImageSequence = [item]
    return save(ds)


def path_as_id(who: Who) -> bytes:
    ds = image(who, CT)
    ds.PatientID, ds.StudyID = f"../../{who.name()}/", f"..\\{who.name()}"[:16]
    ds.add_new(0x00200052, "UI", f"1.2.{who.draw.randrange(10**9)}")
    return save(ds)


def names_as_uids(who: Who) -> bytes:
    data = save(image(who, CT))
    return before_pixels(data, raw_element(0x00400555, "UI", f"1.2.{who.name()}".encode()))


def malformed_times(who: Who) -> bytes:
    data = save(image(who, PT))
    for tag, vr in ((0x00400002, "DA"), (0x00400003, "TM"), (0x00540016, "AS"), (0x00404005, "DT"), (0x00400244, "DA")):
        data = before_pixels(data, raw_element(tag, vr, who.name().encode()))
    return data


def long_numbers(who: Who) -> bytes:
    """Numbers of patients where numbers of images stand."""
    ds = image(who, CT)
    for keyword in ("SeriesNumber", "AcquisitionNumber"):
        number = str(who.draw.randrange(10**8, 10**9))
        who.all.append(number)
        setattr(ds, keyword, number)
    return save(ds)


def late_texts(who: Who) -> bytes:
    data = save(image(who, CT))
    data = before_pixels(data, raw_element(0x00400310, "ST", who.name().encode()))
    data = before_pixels(data, raw_element(0x00420010, "ST", who.name().encode()))
    data = before_pixels(data, raw_element(0x00880140, "UI", who.uid().encode()))
    data = before_pixels(data, raw_element(0x00880200, "SQ", b""))
    data = before_pixels(data, raw_element(0x00880904, "LO", who.name().encode()))
    return before_pixels(data, raw_element(0x40000010, "LT", who.name().encode()))
