"""DICOM files of other classes than slices: with labels, with text in their pixels, and such as can't be cleaned."""

from __future__ import annotations

from pydicom.dataset import Dataset

from tests.privacy.corpus.slices import CT, IMAGES, RTSTRUCT, SC, SEG, US, Who, image, save


def document(who: Who) -> bytes:
    ds = image(who, "1.2.840.10008.5.1.4.1.1.104.1")
    ds.EncapsulatedDocument, ds.MIMETypeOfEncapsulatedDocument = b"%PDF-1.4 " + who.person().encode(), "application/pdf"
    del ds.PixelData
    return save(ds)


def report(who: Who) -> bytes:
    ds = image(who, "1.2.840.10008.5.1.4.1.1.88.11")
    item = Dataset()
    item.ValueType, item.TextValue = "TEXT", f"Finding of {who.name()}"
    ds.ContentSequence = [item]
    del ds.PixelData
    return save(ds)


def presentation(who: Who) -> bytes:
    ds = image(who, "1.2.840.10008.5.1.4.1.1.11.1")
    item, text = Dataset(), Dataset()
    text.UnformattedTextValue = who.name()
    item.TextObjectSequence = [text]
    ds.GraphicAnnotationSequence, ds.ContentDescription = [item], who.name()
    del ds.PixelData
    return save(ds)


def directory(who: Who) -> bytes:
    ds = image(who, "1.2.840.10008.1.3.10")
    item = Dataset()
    item.PatientName = who.person()
    ds.DirectoryRecordSequence = [item]
    del ds.PixelData
    return save(ds)


def truncated(who: Who) -> bytes:
    data = save(image(who))
    return data[:-100]


def garbage(who: Who) -> bytes:
    return b"\0" * 128 + b"DICM" + who.person().encode() * 20


def private_class(who: Who) -> bytes:
    return save(image(who, "1.3.12.2.1107.5.9.1"))


def thin_head(who: Who) -> bytes:
    ds = image(who)
    ds.BodyPartExamined, ds.SliceThickness = "HEAD", 1.0
    return save(ds)


def ultrasound(who: Who) -> bytes:
    return save(image(who, US))


def screenshot(who: Who) -> bytes:
    return save(image(who, SC))


def says_burned_in(who: Who) -> bytes:
    ds = image(who)
    ds.BurnedInAnnotation = "YES"
    return save(ds)


def segmentation(who: Who) -> bytes:
    """A binary SEG with names in its labels, descriptions and creator."""
    ds = image(who, SEG)
    ds.Modality, ds.SegmentationType = "SEG", "BINARY"
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = who.name().upper(), who.name(), who.person()
    category, kind, segment = Dataset(), Dataset(), Dataset()
    category.CodeValue, category.CodingSchemeDesignator, category.CodeMeaning = "49755003", "SCT", who.name()
    kind.CodeValue, kind.CodingSchemeDesignator, kind.CodeMeaning = "4147007", "SCT", who.name()
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentDescription = 1, f"Tumor of {who.name()}", who.name()
    segment.SegmentAlgorithmType, segment.SegmentAlgorithmName = "SEMIAUTOMATIC", who.name()
    segment.SegmentedPropertyCategoryCodeSequence, segment.SegmentedPropertyTypeCodeSequence = [category], [kind]
    segment.TrackingID, segment.TrackingUID = who.name(), who.uid()
    ds.SegmentSequence = [segment]
    derivation, source, frame = Dataset(), Dataset(), Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = CT, who.uid()
    derivation.SourceImageSequence, derivation.DerivationDescription = [source], who.name()
    frame.DerivationImageSequence = [derivation]
    ds.PerFrameFunctionalGroupsSequence = [frame]
    ds.NumberOfFrames, ds.BitsAllocated, ds.BitsStored, ds.HighBit = 1, 1, 1, 0
    ds.PixelData = b"\x0f" * 32
    ds["PixelData"].VR = "OB"
    return save(ds)


def structures(who: Who) -> bytes:
    """An RTSTRUCT with names in its labels."""
    ds = image(who, RTSTRUCT)
    del ds.PixelData
    ds.Modality, ds.StructureSetLabel, ds.StructureSetName = "RTSTRUCT", who.name(), who.name()
    ds.StructureSetDate, ds.StructureSetTime = who.date(), "101112"
    roi, contour, points, observation = Dataset(), Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ROIDescription, roi.ReferencedFrameOfReferenceUID = (
        1,
        who.name(),
        who.name(),
        who.uid(),
    )
    roi.ROIGenerationAlgorithm = "MANUAL"
    points.ContourGeometricType, points.NumberOfContourPoints = "CLOSED_PLANAR", 3
    points.ContourData = [0, 0, 30.25, 1, 0, 30.25, 1, 1, 30.25]
    contour.ReferencedROINumber, contour.ContourSequence = 1, [points]
    observation.ObservationNumber = observation.ReferencedROINumber = 1
    observation.ROIObservationLabel, observation.RTROIInterpretedType, observation.ROIInterpreter = (
        who.name(),
        "GTV",
        who.person(),
    )
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [roi], [contour], [observation]
    return save(ds)


def enhanced_mr(who: Who) -> bytes:
    ds = image(who, IMAGES + "4.1")
    content, frame, stack, label = Dataset(), Dataset(), Dataset(), Dataset()
    content.FrameComments, content.FrameLabel, content.StackID = who.name(), who.name(), who.name()
    content.FrameAcquisitionDateTime, content.FrameReferenceDateTime = f"{who.date()}101112", f"{who.date()}101112"
    stack.add_new(0x00091010, "LO", who.name())
    stack.add_new(0x00090010, "LO", "SECRET")
    frame.FrameContentSequence = [content]
    frame.add_new(0x20051010, "SQ", [stack])
    frame.add_new(0x20050010, "LO", f"Philips {who.name()}")
    label.DimensionDescriptionLabel, label.DimensionOrganizationUID = who.name(), who.uid()
    ds.DimensionIndexSequence = [label]
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = [frame], 1
    return save(ds)


def nuclear(who: Who) -> bytes:
    ds = image(who, IMAGES + "20")
    ds.Modality, ds.NumberOfFrames = "NM", 1
    window, isotope = Dataset(), Dataset()
    window.EnergyWindowName = who.name()
    isotope.Radiopharmaceutical, isotope.RadiopharmaceuticalStartDateTime = who.name(), f"{who.date()}1011"
    ds.EnergyWindowInformationSequence, ds.RadiopharmaceuticalInformationSequence = [window], [isotope]
    return save(ds)


def mammography(who: Who) -> bytes:
    ds = image(who, IMAGES + "1.2")
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = "399162004", "SCT", who.name()
    view.LongCodeValue, view.URNCodeValue = who.number() * 3, f"urn:x:{who.number()}"
    ds.ViewCodeSequence, ds.DetectorID, ds.AcquisitionDeviceProcessingDescription = [view], who.number(), who.name()
    ds.Modality, ds.ImageLaterality = "MG", "L"
    return save(ds)


def computed_radiography(who: Who) -> bytes:
    ds = image(who, IMAGES + "1")
    ds.Modality, ds.CassetteID, ds.PlateID, ds.PlateType = "CR", who.number(), who.number(), who.name()
    ds.AcquisitionDeviceProcessingCode, ds.RequestingService = who.name(), who.name()
    return save(ds)


def dose(who: Who) -> bytes:
    ds = image(who, IMAGES + "481.2")
    ds.Modality, ds.DoseComment, ds.DoseUnits, ds.DoseType, ds.DoseSummationType = (
        "RTDOSE",
        who.name(),
        "GY",
        "PHYSICAL",
        "PLAN",
    )
    ds.DoseGridScaling, ds.GridFrameOffsetVector, ds.FrameIncrementPointer = 0.001, [0], 0x3004000C
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = IMAGES + "481.5", who.uid()
    ds.ReferencedRTPlanSequence = [reference]
    return save(ds)


def parametric_map(who: Who) -> bytes:
    ds = image(who, IMAGES + "30")
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = "MAP", who.name(), who.person()
    mapping, meaning = Dataset(), Dataset()
    meaning.CodeValue, meaning.CodingSchemeDesignator, meaning.CodeMeaning = "1", "99X", who.name()
    mapping.LUTExplanation, mapping.LUTLabel, mapping.MeasurementUnitsCodeSequence = who.name(), who.name(), [meaning]
    ds.RealWorldValueMappingSequence, ds.NumberOfFrames = [mapping], 1
    return save(ds)


def key_object(who: Who) -> bytes:
    return _without_pixels(who, "88.59")


def printed_model(who: Who) -> bytes:
    ds = image(who, IMAGES + "104.3")
    ds.EncapsulatedDocument, ds.DocumentTitle = who.person().encode().ljust(60), who.name()
    del ds.PixelData
    return save(ds)


def heart_beat(who: Who) -> bytes:
    ds = image(who, IMAGES + "9.1.1")
    group = Dataset()
    group.WaveformBitsAllocated = 16
    group.MultiplexGroupLabel, group.WaveformData = who.name(), who.name().encode().ljust(20)
    ds.WaveformSequence = [group]
    del ds.PixelData
    return save(ds)


def spatial_registration(who: Who) -> bytes:
    return _without_pixels(who, "66.1")


def plan(who: Who) -> bytes:
    return _without_pixels(who, "481.5")


def _without_pixels(who: Who, tail: str) -> bytes:
    ds = image(who, IMAGES + tail)
    ds.ContentLabel, ds.ContentDescription = "LABEL", who.name()
    del ds.PixelData
    return save(ds)
