"""Senders: one patient's study as a hospital sends it, of many classes that refer to each other."""

from __future__ import annotations

import copy
import datetime
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset

from tests.privacy.corpus.crooked import add_segments
from tests.privacy.corpus.slices import CT, IMAGES, PT, RTSTRUCT, SEG, Who, image, save

PIXEL_WORDS = (
    "PixelData", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "RescaleIntercept", "RescaleSlope", "RescaleType", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "KVP", "ConvolutionKernel",
    "PositionReferenceIndicator",
)  # fmt: skip


def item(**facts: Any) -> Dataset:
    made = Dataset()
    for keyword, value in facts.items():
        setattr(made, keyword, value)
    return made


def code(value: str, scheme: str, meaning: str) -> list[Dataset]:
    return [item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def reference(ds: FileDataset, **more: Any) -> Dataset:
    return item(ReferencedSOPClassUID=ds.SOPClassUID, ReferencedSOPInstanceUID=ds.SOPInstanceUID, **more)


def of_study(who: Who, first: FileDataset, sop_class: str, modality: str, *, pixels: bool = False) -> FileDataset:
    """Another object of the same patient and study, in a series of its own."""
    ds = image(who, sop_class)
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "StudyInstanceUID",
        "StudyDate",
        "FrameOfReferenceUID",
    ):
        setattr(ds, keyword, first[keyword].value)
    ds.Modality = modality
    for keyword in () if pixels else PIXEL_WORDS:
        delattr(ds, keyword)
    return ds


def evidence(first: FileDataset, images: list[FileDataset]) -> list[Dataset]:
    series = item(SeriesInstanceUID=first.SeriesInstanceUID, ReferencedSOPSequence=[reference(ds) for ds in images])
    return [item(StudyInstanceUID=first.StudyInstanceUID, ReferencedSeriesSequence=[series])]


def measurement_report(who: Who, images: list[FileDataset]) -> FileDataset:
    """A report as TID 1500 has it, with observer, subject, texts, codes of the hospital's own and a deep tree."""
    ds = of_study(who, images[0], IMAGES + "88.34", "SR")
    content: list[Dataset] = []

    def add(kind: str, concept: list[Dataset] | None, relation: str = "CONTAINS", **facts: Any) -> Dataset:
        made = item(ValueType=kind, RelationshipType=relation, **facts)
        if concept:
            made.ConceptNameCodeSequence = concept
        content.append(made)
        return made

    number = who.number()
    add("TEXT", code("121106", "DCM", "Comment"), TextValue=f"Mrs {who.name()} born {who.date()}")
    add("PNAME", code("121008", "DCM", f"Observer {who.name()}"), "HAS OBS CONTEXT", PersonName=who.person())
    add("TEXT", code("121030", "DCM", "Subject ID"), "HAS OBS CONTEXT", TextValue=number)
    add("DATE", code("121031", "DCM", "Subject Birth Date"), "HAS OBS CONTEXT", Date=who.date())
    add("UIDREF", code("121012", "DCM", "Device Observer UID"), "HAS OBS CONTEXT", UID=who.uid())
    add(
        "CODE",
        code("121058", "DCM", "Procedure reported"),
        ConceptCodeSequence=code(who.number(), f"99{who.name()}", who.name()),
    )
    add(
        "CODE",
        code("121071", "DCM", f"Finding of {who.name()}"),
        ConceptCodeSequence=code("108369006", "SCT", who.name()),
    )
    add("DATETIME", code("111526", "DCM", "DateTime Started"), DateTime=images[0].StudyDate + "101112")
    age = item(NumericValue="94", MeasurementUnitsCodeSequence=code("a", "UCUM", "year"))
    add("NUM", code("121033", "DCM", "Subject Age"), "HAS OBS CONTEXT", MeasuredValueSequence=[age])
    value = item(NumericValue="12.5", MeasurementUnitsCodeSequence=code("mm3", "UCUM", f"mm of {who.name()}"))
    value.private_block(0x0011, who.name(), create=True).add_new(1, "LO", who.name())
    volume = add("NUM", code("118565006", "SCT", f"Volume {who.name()}"), MeasuredValueSequence=[value])
    volume.TextValue, volume.ObservationUID, volume.ObservationDateTime = who.name(), who.uid(), who.date()
    source = item(ValueType="IMAGE", RelationshipType="SELECTED FROM", ReferencedSOPSequence=[reference(images[1])])
    region = item(ValueType="SCOORD", RelationshipType="INFERRED FROM", GraphicType="POINT", GraphicData=[4.0, 5.0])
    region.ContentSequence, volume.ContentSequence = [source], [region]
    stolen = item(NumericValue=str(images[0].PatientID)[1:], MeasurementUnitsCodeSequence=code("mm", "UCUM", "mm"))
    add("NUM", code("121206", "DCM", "Distance"), MeasuredValueSequence=[stolen])
    inner = item(ValueType="TEXT", RelationshipType="CONTAINS", TextValue=who.name())
    for _ in range(14):
        inner = item(
            ValueType="CONTAINER", RelationshipType="CONTAINS", ContinuityOfContent="SEPARATE", ContentSequence=[inner]
        )
        inner.ConceptNameCodeSequence = code(who.number(), "L", who.name())
    content.append(inner)
    ds.PatientID = images[0].PatientID
    ds.ValueType, ds.ContinuityOfContent, ds.ContentSequence = "CONTAINER", "SEPARATE", content
    ds.ConceptNameCodeSequence = code("126000", "DCM", f"Report on {who.name()}")
    ds.ContentTemplateSequence = [item(MappingResource="DCMR", TemplateIdentifier="1500")]
    ds.CompletionFlag, ds.VerificationFlag, ds.CompletionFlagDescription = "COMPLETE", "VERIFIED", who.name()
    observer = item(
        VerifyingObserverName=who.person(), VerifyingOrganization=who.name(), VerificationDateTime=who.date()
    )
    ds.VerifyingObserverSequence, ds.AuthorObserverSequence = (
        [observer],
        [item(PersonName=who.person(), PersonIdentificationCodeSequence=code(who.number(), "L", who.name()))],
    )
    ds.CurrentRequestedProcedureEvidenceSequence = evidence(images[0], images)
    ds.ReferencedRequestSequence = [
        item(
            AccessionNumber=who.number(),
            RequestedProcedureDescription=who.name(),
            StudyInstanceUID=images[0].StudyInstanceUID,
        )
    ]
    ds.PredecessorDocumentsSequence = evidence(images[0], [ds])
    return ds


def key_objects(who: Who, images: list[FileDataset]) -> FileDataset:
    ds = of_study(who, images[0], IMAGES + "88.59", "KO")
    picked = [
        item(ValueType="IMAGE", RelationshipType="CONTAINS", ReferencedSOPSequence=[reference(each)])
        for each in images[:2]
    ]
    note = item(ValueType="TEXT", RelationshipType="CONTAINS", TextValue=f"For Dr {who.name()}")
    note.ConceptNameCodeSequence = code("113012", "DCM", "Key Object Description")
    observer = item(ValueType="PNAME", RelationshipType="HAS OBS CONTEXT", PersonName=who.person())
    observer.ConceptNameCodeSequence = code("121008", "DCM", "Person Observer Name")
    ds.ValueType, ds.ContinuityOfContent, ds.ContentSequence = "CONTAINER", "SEPARATE", [*picked, note, observer]
    ds.ConceptNameCodeSequence = code("113000", "DCM", "Of Interest")
    ds.ContentTemplateSequence = [item(MappingResource="DCMR", TemplateIdentifier="2010")]
    ds.CurrentRequestedProcedureEvidenceSequence = evidence(images[0], images[:2])
    return ds


def presentation_state(who: Who, images: list[FileDataset]) -> FileDataset:
    ds = of_study(who, images[0], IMAGES + "11.1", "PR")
    text = item(
        UnformattedTextValue=who.name(),
        AnchorPoint=[1, 1],
        AnchorPointAnnotationUnits="PIXEL",
        AnchorPointVisibility="N",
    )
    graphic = item(
        GraphicLayer=who.name().upper(), TextObjectSequence=[text], ReferencedImageSequence=[reference(images[0])]
    )
    area = item(DisplayedAreaTopLeftHandCorner=[1, 1], DisplayedAreaBottomRightHandCorner=[16, 16])
    area.PresentationSizeMode, area.PresentationPixelAspectRatio = "SCALE TO FIT", [1, 1]
    area.ReferencedImageSequence = [reference(images[0])]
    ds.GraphicAnnotationSequence, ds.DisplayedAreaSelectionSequence = [graphic], [area]
    ds.GraphicLayerSequence = [
        item(GraphicLayer=who.name().upper(), GraphicLayerOrder=1, GraphicLayerDescription=who.name())
    ]
    window = item(WindowCenter="40", WindowWidth="400", WindowCenterWidthExplanation=who.name())
    window.ReferencedImageSequence = [reference(images[1])]
    ds.SoftcopyVOILUTSequence = [window]
    ds.ReferencedSeriesSequence = [
        item(
            SeriesInstanceUID=images[0].SeriesInstanceUID, ReferencedImageSequence=[reference(each) for each in images]
        )
    ]
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = who.name().upper(), who.name(), who.person()
    ds.PresentationCreationDate, ds.PresentationCreationTime, ds.PresentationLUTShape = (
        images[0].StudyDate,
        "101010",
        "IDENTITY",
    )
    return ds


def structures(who: Who, images: list[FileDataset]) -> FileDataset:
    ds = of_study(who, images[0], RTSTRUCT, "RTSTRUCT")
    ds.StructureSetLabel, ds.StructureSetName, ds.StructureSetDescription = who.name(), who.name(), who.name()
    ds.StructureSetDate, ds.StructureSetTime = images[0].StudyDate, "101010"
    contour = item(
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=3,
        ContourData=[0, 0, 30.25, 1, 0, 30.25, 1, 1, 30.25],
    )
    contour.ContourImageSequence = [reference(images[0])]
    series = item(
        SeriesInstanceUID=images[0].SeriesInstanceUID, ContourImageSequence=[reference(each) for each in images]
    )
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=images[0].StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    ds.ReferencedFrameOfReferenceSequence = [
        item(FrameOfReferenceUID=images[0].FrameOfReferenceUID, RTReferencedStudySequence=[study])
    ]
    ds.StructureSetROISequence = [
        item(
            ROINumber=1,
            ROIName=f"GTV {who.name()}",
            ROIDescription=who.name(),
            ROIGenerationAlgorithm="MANUAL",
            ReferencedFrameOfReferenceUID=images[0].FrameOfReferenceUID,
            ROIGenerationDescription=who.name(),
        )
    ]
    ds.ROIContourSequence = [item(ReferencedROINumber=1, ROIDisplayColor=[255, 0, 0], ContourSequence=[contour])]
    ds.RTROIObservationsSequence = [
        item(
            ObservationNumber=1,
            ReferencedROINumber=1,
            RTROIInterpretedType="GTV",
            ROIInterpreter=who.person(),
            ROIObservationLabel=who.name(),
            ROIObservationDescription=who.name(),
        )
    ]
    ds.ApprovalStatus, ds.ReviewDate, ds.ReviewTime, ds.ReviewerName = "APPROVED", who.date(), "101010", who.person()
    return ds


def plan(who: Who, structure_set: FileDataset) -> FileDataset:
    ds = of_study(who, structure_set, IMAGES + "481.5", "RTPLAN")
    ds.RTPlanLabel, ds.RTPlanName, ds.RTPlanDescription = who.name(), who.name(), who.name()
    ds.RTPlanDate, ds.RTPlanTime, ds.RTPlanGeometry = structure_set.StudyDate, "101010", "PATIENT"
    ds.ReferencedStructureSetSequence = [reference(structure_set)]
    beam = item(
        BeamNumber=1,
        BeamName=who.name(),
        BeamDescription=who.name(),
        BeamType="STATIC",
        TreatmentMachineName=who.name()[:8],
    )
    beam.InstitutionName, beam.DeviceSerialNumber, beam.RadiationType = who.name(), who.number(), "PHOTON"
    ds.BeamSequence, ds.PatientSetupSequence = (
        [beam],
        [item(PatientSetupNumber=1, SetupTechniqueDescription=who.name(), PatientPosition="HFS")],
    )
    ds.FractionGroupSequence = [
        item(
            FractionGroupNumber=1,
            NumberOfFractionsPlanned=30,
            NumberOfBeams=1,
            NumberOfBrachyApplicationSetups=0,
            FractionGroupDescription=who.name(),
        )
    ]
    ds.PrescriptionDescription, ds.TreatmentSites, ds.ApprovalStatus = who.name(), who.name(), "UNAPPROVED"
    return ds


def dose(who: Who, first: FileDataset, treatment: FileDataset) -> FileDataset:
    ds = of_study(who, first, IMAGES + "481.2", "RTDOSE", pixels=True)
    ds.DoseUnits, ds.DoseType, ds.DoseSummationType, ds.DoseGridScaling = "GY", "PHYSICAL", "PLAN", "0.001"
    ds.ReferencedRTPlanSequence, ds.DoseComment = [reference(treatment)], who.name()
    return ds


def registration(who: Who, images: list[FileDataset]) -> FileDataset:
    ds = of_study(who, images[0], IMAGES + "66.1", "REG")
    matrix = item(
        FrameOfReferenceTransformationMatrix=[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
        FrameOfReferenceTransformationMatrixType="RIGID",
        FrameOfReferenceTransformationComment=who.name(),
    )
    step = item(MatrixSequence=[matrix], RegistrationTypeCodeSequence=code("125024", "DCM", who.name()))
    ds.RegistrationSequence = [
        item(
            FrameOfReferenceUID=images[0].FrameOfReferenceUID,
            ReferencedImageSequence=[reference(images[0])],
            MatrixRegistrationSequence=[step],
        )
    ]
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = who.name().upper(), who.name(), who.person()
    ds.ReferencedSeriesSequence = [
        item(
            SeriesInstanceUID=images[0].SeriesInstanceUID,
            ReferencedInstanceSequence=[reference(each) for each in images],
        )
    ]
    return ds


def tracer(who: Who, first: FileDataset) -> FileDataset:
    """A PET slice whose tracer was given in another time zone's hours, a day before midnight."""
    ds = of_study(who, first, PT, "PT", pixels=True)
    day = datetime.datetime.strptime(first.StudyDate, "%Y%m%d") + datetime.timedelta(days=1)
    ds.AcquisitionDateTime = day.strftime("%Y%m%d") + "003000.000000+0100"
    ds.RadiopharmaceuticalInformationSequence = [
        item(
            RadiopharmaceuticalStartDateTime=first.StudyDate + "223000.000000+0000",
            RadionuclideTotalDose="3.5e8",
            RadionuclideHalfLife="6586.2",
            Radiopharmaceutical=who.name(),
            RadiopharmaceuticalRoute=who.name(),
        )
    ]
    ds.DecayCorrection, ds.Units, ds.CorrectedImage, ds.SeriesType = (
        "ADMIN",
        "BQML",
        ["DECY", "ATTN"],
        ["STATIC", "IMAGE"],
    )
    return ds


def outline(who: Who, images: list[FileDataset]) -> FileDataset:
    """A segmentation of one frame that refers to the slices it was drawn on."""
    ds = add_segments(image(who, SEG, size=17), who)
    for keyword in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate"):
        setattr(ds, keyword, images[0][keyword].value)
    series = item(SeriesInstanceUID=images[0].SeriesInstanceUID)
    series.ReferencedInstanceSequence = [reference(each) for each in images]
    source = reference(images[0], PurposeOfReferenceCodeSequence=code("121322", "DCM", who.name()))
    derived = item(DerivationDescription=who.name(), SourceImageSequence=[source])
    ds.ReferencedSeriesSequence = [series]
    ds.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence = [derived]
    return ds


def a_year_later(who: Who, first: FileDataset) -> FileDataset:
    """A slice of the same patient, 365 days later."""
    ds = of_study(who, first, CT, "CT", pixels=True)
    day = datetime.datetime.strptime(first.StudyDate, "%Y%m%d") + datetime.timedelta(days=365)
    ds.StudyInstanceUID, ds.StudyDate = who.uid(), day.strftime("%Y%m%d")
    return ds


def study(who: Who) -> dict[str, bytes]:
    """The files of one patient's study by their names."""
    images = []
    first = image(who, CT)
    for number in range(3):
        ds = copy.deepcopy(first)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = who.uid()
        ds.InstanceNumber, ds.ImagePositionPatient = number + 1, [-7.5, -7.5, 30.25 + 3 * number]
        ds.PixelData = np.random.default_rng(number).integers(0, 4096, (16, 16), dtype=np.uint16).tobytes()
        images.append(ds)
    structure_set = structures(who, images)
    treatment = plan(who, structure_set)
    others = {
        "structures": structure_set, "plan": treatment, "dose": dose(who, first, treatment),
        "report": measurement_report(who, images), "key": key_objects(who, images),
        "state": presentation_state(who, images), "registration": registration(who, images),
        "tracer": tracer(who, first), "segments": outline(who, images), "later": a_year_later(who, first),
    }  # fmt: skip
    return {**{f"slice{n}": save(ds) for n, ds in enumerate(images)}, **{name: save(ds) for name, ds in others.items()}}
