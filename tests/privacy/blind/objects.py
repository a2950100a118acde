"""What departments make of images: outlines, plans, reports, states, registrations, curves and documents."""

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from tests.privacy.blind.classes import anatomy, code, derived, evidence, reference, uid
from tests.privacy.blind.people import Planter


def rtstruct(p: Planter, images: list[FileDataset]) -> FileDataset:
    """Outlines whose regions are called after the patient, the doctor, the plan's day."""
    ds = derived(p, images[0], "481.3", "RTSTRUCT")
    ds.StructureSetLabel, ds.StructureSetName = f"RS_{p.family(10)}", p.family()
    ds.StructureSetDescription = f"drawn by {p.family()}"
    ds.StructureSetDate, ds.StructureSetTime = images[0].StudyDate, "1200"
    ds.ApprovalStatus, ds.ReviewerName = "UNAPPROVED", p.family()
    frame, study, series = Dataset(), Dataset(), Dataset()
    frame.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", images[0].StudyInstanceUID
    series.SeriesInstanceUID, series.ContourImageSequence = images[0].SeriesInstanceUID, reference(*images)
    study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = Sequence([series]), Sequence([study])
    ds.ReferencedFrameOfReferenceSequence = Sequence([frame])
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = Sequence(), Sequence(), Sequence()
    for k, name in enumerate(("GTV", p.family(), f"Liver {p.family()}", f"PTV {p.date(p.day())}"), 1):
        roi, contour, curve, seen = Dataset(), Dataset(), Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ROIDescription = k, name, p.family()
        roi.ReferencedFrameOfReferenceUID, roi.ROIGenerationAlgorithm = images[0].FrameOfReferenceUID, "MANUAL"
        roi.ROIGenerationDescription = p.family()
        curve.ContourGeometricType, curve.NumberOfContourPoints = "CLOSED_PLANAR", 3
        curve.ContourData, curve.ContourImageSequence = [0, 0, 5, 4, 0, 5, 4, 4, 5], reference(images[0])
        contour.ContourSequence, contour.ReferencedROINumber = Sequence([curve]), k
        seen.ObservationNumber, seen.ReferencedROINumber, seen.RTROIInterpretedType = k, k, "GTV"
        seen.ROIInterpreter, seen.ROIObservationLabel = p.family(), p.family(16)
        ds.StructureSetROISequence.append(roi)
        ds.ROIContourSequence.append(contour)
        ds.RTROIObservationsSequence.append(seen)
    return ds


def rtplan(p: Planter, structures: FileDataset) -> FileDataset:
    """A plan with beams, tolerance tables and prescriptions named by people."""
    ds = derived(p, structures, "481.5", "RTPLAN")
    ds.RTPlanLabel, ds.RTPlanName, ds.RTPlanDescription = p.family(16), p.family(), p.family()
    ds.RTPlanDate, ds.RTPlanTime, ds.RTPlanGeometry = structures.StudyDate, "1300", "PATIENT"
    ds.PrescriptionDescription, ds.TreatmentProtocols = p.family(), p.family()
    ds.ReferencedStructureSetSequence = reference(structures)
    beam, group = Dataset(), Dataset()
    beam.BeamNumber, beam.BeamName, beam.BeamDescription = 1, p.family(), p.family()
    beam.TreatmentMachineName, beam.BeamType, beam.RadiationType = p.upper(), "STATIC", "PHOTON"
    beam.NumberOfControlPoints, beam.NumberOfWedges, beam.NumberOfCompensators = 0, 0, 0
    beam.NumberOfBoli, beam.NumberOfBlocks = 0, 0
    group.FractionGroupNumber, group.NumberOfBeams, group.NumberOfBrachyApplicationSetups = 1, 0, 0
    group.FractionGroupDescription = p.family()
    ds.BeamSequence, ds.FractionGroupSequence = Sequence([beam]), Sequence([group])
    return ds


def segmentation(p: Planter, images: list[FileDataset]) -> FileDataset:
    """A binary segmentation of each image whose segments carry people in all of their texts."""
    rows, frames = int(images[0].Rows), len(images)
    ds = derived(p, images[0], "66.4", "SEG")
    ds.ImageType, ds.ContentLabel, ds.ContentDescription = ["DERIVED", "PRIMARY"], p.upper(), p.family()
    ds.ContentCreatorName, ds.SegmentationType = p.family(), "BINARY"
    ds.Rows = ds.Columns = rows
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.NumberOfFrames = 1, "MONOCHROME2", frames
    ds.BitsAllocated = ds.BitsStored = 1
    ds.HighBit = ds.PixelRepresentation = 0
    ds.LossyImageCompression, ds.FrameOfReferenceUID = "00", images[0].FrameOfReferenceUID
    mask = anatomy(p, (frames, rows, rows), 100) > 40
    ds.PixelData = np.packbits(mask.ravel(), bitorder="little").tobytes()
    segment = Dataset()
    segment.SegmentNumber, segment.SegmentLabel = 1, f"Tumour {p.family()}"
    segment.SegmentDescription, segment.SegmentAlgorithmType = p.family(), "MANUAL"
    segment.TrackingID, segment.TrackingUID = p.family(), uid(p)
    segment.SegmentedPropertyCategoryCodeSequence = Sequence([code("M-01000", "SRT", f"Altered {p.family()}")])
    segment.SegmentedPropertyTypeCodeSequence = Sequence([code(p.code(), f"99{p.upper(10)}", p.family())])
    ds.SegmentSequence = Sequence([segment])
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = images[0].SeriesInstanceUID, reference(*images)
    ds.ReferencedSeriesSequence = Sequence([series])
    shared, plane, measures, which = Dataset(), Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing, measures.SliceThickness = [1, 0, 0, 0, 1, 0], [0.7, 0.7], "3"
    which.ReferencedSegmentNumber = 1
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([plane]), Sequence([measures])
    shared.SegmentIdentificationSequence = Sequence([which])
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence()
    organisation, index = Dataset(), Dataset()
    organisation.DimensionOrganizationUID = uid(p)
    index.DimensionOrganizationUID, index.DimensionIndexPointer = organisation.DimensionOrganizationUID, 0x00200032
    index.FunctionalGroupPointer = 0x00209113
    ds.DimensionOrganizationSequence, ds.DimensionIndexSequence = Sequence([organisation]), Sequence([index])
    for k, one in enumerate(images):
        item, place, content, how, source = Dataset(), Dataset(), Dataset(), Dataset(), reference(one)
        place.ImagePositionPatient, content.DimensionIndexValues = one.ImagePositionPatient, [k + 1]
        source[0].PurposeOfReferenceCodeSequence = Sequence([code("121322", "DCM", f"Source for {p.family()}")])
        how.SourceImageSequence = source
        how.DerivationCodeSequence = Sequence([code("113076", "DCM", p.family())])
        item.PlanePositionSequence, item.FrameContentSequence = Sequence([place]), Sequence([content])
        item.DerivationImageSequence = Sequence([how])
        ds.PerFrameFunctionalGroupsSequence.append(item)
    return ds


def _concept(kind: str, relation: str, value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = relation, kind
    item.ConceptNameCodeSequence = Sequence([code(value, "DCM", meaning)])
    return item


def report(p: Planter, image: FileDataset, tail: str = "88.33") -> FileDataset:
    """A structured report with every value type, and somebody in each."""
    ds = derived(p, image, tail, "SR")
    ds.ValueType, ds.ContinuityOfContent, ds.CompletionFlag, ds.VerificationFlag = (
        "CONTAINER",
        "SEPARATE",
        "COMPLETE",
        "VERIFIED",
    )
    ds.ConceptNameCodeSequence = Sequence([code("126000", "DCM", f"Report on {p.family()}")])
    ds.CurrentRequestedProcedureEvidenceSequence = evidence(image)
    ds.PerformedProcedureCodeSequence = Sequence()
    seen = Dataset()
    seen.VerifyingObserverName, seen.VerifyingOrganization = p.family(), p.family()
    seen.VerificationDateTime = f"{image.StudyDate}140000"
    seen.VerifyingObserverIdentificationCodeSequence = Sequence()
    ds.VerifyingObserverSequence = Sequence([seen])
    text = _concept("TEXT", "CONTAINS", "121071", "Finding")
    text.TextValue = f"Pan {p.family()}, nar. {p.written(p.day(), 0)}, tel. {p.contact(1)}: bez nálezu."
    name = _concept("PNAME", "HAS OBS CONTEXT", "121008", "Person Observer Name")
    name.PersonName = f"{p.family()}^{p.family()}"
    day = _concept("DATE", "CONTAINS", "121132", f"Day of {p.family()}")
    day.Date = image.StudyDate
    when = _concept("DATETIME", "CONTAINS", "121131", "Taken")
    when.DateTime = f"{image.StudyDate}101112+0200"
    uidref = _concept("UIDREF", "CONTAINS", "112040", "Tracking Unique Identifier")
    uidref.UID = image.SOPInstanceUID
    number, measured = _concept("NUM", "CONTAINS", "121206", "Distance"), Dataset()
    measured.NumericValue = "12.5"
    measured.MeasurementUnitsCodeSequence = Sequence([code("mm", "UCUM", f"millimetre {p.family()}")])
    number.MeasuredValueSequence = Sequence([measured])
    picture = _concept("IMAGE", "CONTAINS", "121080", "Best illustration")
    picture.ReferencedSOPSequence = reference(image)
    box = _concept("CONTAINER", "CONTAINS", "121070", p.family())
    box.ContinuityOfContent = "SEPARATE"
    inner = _concept("CODE", "CONTAINS", "121071", "Finding")
    inner.ConceptCodeSequence = Sequence([code("55342001", "SCT", f"Nádor {p.family()}")])
    box.ContentSequence = Sequence([inner, picture, number])
    ds.ContentSequence = Sequence([name, text, day, when, uidref, box])
    return ds


def key_object(p: Planter, *images: FileDataset) -> FileDataset:
    """A selection of images with a note."""
    ds = derived(p, images[0], "88.59", "KO")
    ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = Sequence([code("113000", "DCM", f"Of Interest to {p.family()}")])
    ds.CurrentRequestedProcedureEvidenceSequence = evidence(*images)
    ds.ContentSequence = Sequence()
    note = _concept("TEXT", "CONTAINS", "113012", "Key Object Description")
    note.TextValue = f"{p.family()} prosím ukázat, {p.contact(0)}"
    ds.ContentSequence.append(note)
    for one in images:
        item = Dataset()
        item.RelationshipType, item.ValueType, item.ReferencedSOPSequence = "CONTAINS", "IMAGE", reference(one)
        ds.ContentSequence.append(item)
    return ds


def presentation(p: Planter, image: FileDataset, tail: str = "11.1") -> FileDataset:
    """A presentation state: layers, texts and graphics with names."""
    ds = derived(p, image, tail, "PR")
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = p.upper(), p.family(), p.family()
    ds.PresentationCreationDate, ds.PresentationCreationTime = image.StudyDate, "1500"
    series = Dataset()
    series.SeriesInstanceUID, series.ReferencedImageSequence = image.SeriesInstanceUID, reference(image)
    ds.ReferencedSeriesSequence = Sequence([series])
    layer, note, text, area = Dataset(), Dataset(), Dataset(), Dataset()
    layer.GraphicLayer, layer.GraphicLayerOrder, layer.GraphicLayerDescription = p.upper(), 1, p.family()
    note.GraphicLayer = layer.GraphicLayer
    text.UnformattedTextValue = f"{p.family()} *{p.written(p.day(), 9)}"
    text.BoundingBoxAnnotationUnits = "PIXEL"
    text.BoundingBoxTopLeftHandCorner, text.BoundingBoxBottomRightHandCorner = [1, 1], [20, 8]
    text.BoundingBoxTextHorizontalJustification = "LEFT"
    note.TextObjectSequence = Sequence([text])
    ds.GraphicLayerSequence, ds.GraphicAnnotationSequence = Sequence([layer]), Sequence([note])
    area.DisplayedAreaTopLeftHandCorner, area.DisplayedAreaBottomRightHandCorner = (
        [1, 1],
        [int(image.Columns), int(image.Rows)],
    )
    area.PresentationSizeMode, area.PresentationPixelAspectRatio = "SCALE TO FIT", [1, 1]
    ds.DisplayedAreaSelectionSequence, ds.PresentationLUTShape = Sequence([area]), "IDENTITY"
    return ds


def registration(p: Planter, fixed: FileDataset, moving: FileDataset) -> FileDataset:
    """A rigid registration of two studies of one patient."""
    ds = derived(p, fixed, "66.1", "REG")
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = p.upper(), p.family(), p.family()
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = fixed.FrameOfReferenceUID, ""
    ds.RegistrationSequence = Sequence()
    for one in (fixed, moving):
        item, matrix, step = Dataset(), Dataset(), Dataset()
        item.FrameOfReferenceUID, item.ReferencedImageSequence = one.FrameOfReferenceUID, reference(one)
        step.FrameOfReferenceTransformationMatrixType = "RIGID"
        step.FrameOfReferenceTransformationMatrix = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
        matrix.MatrixSequence, matrix.FrameOfReferenceTransformationComment = Sequence([step]), p.family()
        item.MatrixRegistrationSequence = Sequence([matrix])
        ds.RegistrationSequence.append(item)
    here, there = evidence(fixed)[0], evidence(moving)[0]
    ds.ReferencedSeriesSequence = here.ReferencedSeriesSequence
    ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence = reference(fixed)
    ds.StudiesContainingOtherReferencedInstancesSequence = Sequence([there])
    return ds


def real_world_map(p: Planter, image: FileDataset) -> FileDataset:
    """What stored values mean, with an explanation in somebody's words."""
    ds = derived(p, image, "67", "RWV")
    ds.ContentLabel, ds.ContentDescription, ds.ContentCreatorName = p.upper(), p.family(), p.family()
    item, meaning = Dataset(), Dataset()
    meaning.LUTLabel, meaning.LUTExplanation = p.upper(), p.family()
    meaning.RealWorldValueFirstValueMapped, meaning.RealWorldValueLastValueMapped = 0, 4095
    meaning.RealWorldValueIntercept, meaning.RealWorldValueSlope = 0.0, 1.5
    meaning.MeasurementUnitsCodeSequence = Sequence([code("1", "UCUM", p.family())])
    item.ReferencedImageSequence, item.RealWorldValueMappingSequence = reference(image), Sequence([meaning])
    ds.ReferencedImageRealWorldValueMappingSequence = Sequence([item])
    ds.ReferencedSeriesSequence = evidence(image)[0].ReferencedSeriesSequence
    return ds


def waveform(p: Planter, image: FileDataset, tail: str = "9.1.1", modality: str = "ECG") -> FileDataset:
    """Curves with channel labels, annotations and a name among the samples' padding."""
    ds = derived(p, image, tail, modality)
    ds.AcquisitionDateTime = f"{image.StudyDate}080000"
    group, channel, note = Dataset(), Dataset(), Dataset()
    channel.ChannelLabel, channel.WaveformBitsStored = p.family(16), 16
    channel.ChannelSourceSequence = Sequence([code("2:1", "MDC", f"Lead I of {p.family()}")])
    group.WaveformOriginality, group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = "ORIGINAL", 1, 40
    group.SamplingFrequency, group.MultiplexGroupLabel = "500", p.family(16)
    group.WaveformBitsAllocated, group.WaveformSampleInterpretation = 16, "SS"
    group.ChannelDefinitionSequence = Sequence([channel])
    group.WaveformData = p.random.randbytes(80) + p.family().encode().ljust(20)
    note.UnformattedTextValue, note.ReferencedWaveformChannels = f"Sinus rhythm, {p.family()}", [1, 1]
    ds.WaveformSequence, ds.WaveformAnnotationSequence, ds.AcquisitionContextSequence = (
        Sequence([group]),
        Sequence([note]),
        Sequence(),
    )
    return ds


def document(p: Planter, image: FileDataset, tail: str, content: bytes, mime: str) -> FileDataset:
    """An encapsulated letter."""
    ds = derived(p, image, tail, "DOC")
    ds.DocumentTitle, ds.MIMETypeOfEncapsulatedDocument = f"Zpráva {p.family()}", mime
    ds.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    ds.BurnedInAnnotation, ds.ConceptNameCodeSequence = "YES", Sequence()
    return ds
