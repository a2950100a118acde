"""One file of each DICOM class, as valid as a scanner's, with people in the modules that every class has."""

import datetime
from dataclasses import dataclass

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from tests.privacy.blind.people import Person, Planter

ROOT = "1.2.840.10008.5.1.4.1.1."
KINDS = {  # name: (class below ROOT, modality, frames; 0: one image without NumberOfFrames, -1: no pixels)
    "ct": ("2", "CT", 0),
    "mr": ("4", "MR", 0),
    "pet": ("128", "PT", 0),
    "nm": ("20", "NM", 3),
    "cr": ("1", "CR", 0),
    "dx": ("1.1", "DX", 0),
    "mg": ("1.2", "MG", 0),
    "xa": ("12.1", "XA", 6),
    "rf": ("12.2", "RF", 4),
    "us": ("6.1", "US", 0),
    "cine": ("3.1", "US", 5),
    "sc": ("7", "OT", 0),
    "scb": ("7.2", "OT", 2),
    "scw": ("7.3", "OT", 2),
    "sct": ("7.4", "OT", 2),
    "photo": ("77.1.4", "XC", 0),
    "endo": ("77.1.1", "ES", 0),
    "micro": ("77.1.2", "GM", 0),
    "slide": ("77.1.6", "SM", 4),
    "op": ("77.1.5.1", "OP", 1),
    "opt": ("77.1.5.4", "OPT", 3),
    "ect": ("2.1", "CT", 3),
    "emr": ("4.1", "MR", 3),
    "epet": ("130", "PT", 3),
    "bto": ("13.1.3", "MG", 3),
    "rtimage": ("481.1", "RTIMAGE", 0),
    "dose": ("481.2", "RTDOSE", 3),
    "ivoct": ("14.1", "IVOCT", 2),
    "legacy": ("2.2", "CT", 2),
    "dermo": ("77.1.7", "XC", 0),
}
FUNCTIONAL = {"slide", "opt", "ect", "emr", "epet", "bto", "ivoct", "legacy"}
COLOUR = {"us", "cine", "sct", "photo", "endo", "micro", "slide", "op", "dermo"}


@dataclass(frozen=True)
class Visit:
    """A patient's day in a department: the study that everything made on it belongs to."""

    person: Person
    day: datetime.date
    study: str
    frame: str


def uid(p: Planter, stem: str = "1.3.12.2.1107.5.2.43") -> str:
    """A UID as a scanner makes it; planted, so that the original can't leave."""
    return p.plant(f"{stem}.{p.random.randrange(10**4, 10**5)}.{p.random.randrange(10**16, 10**17)}")


def visit(p: Planter, person: Person, day: datetime.date) -> Visit:
    """A study of the person, whose UID holds the hospital's number and the day."""
    p.date(day)
    return Visit(person, day, p.plant(f"1.2.276.0.{person.number}.{day:%Y%m%d}.{p.random.randrange(10**6)}"), uid(p))


def anatomy(p: Planter, shape: tuple[int, ...], top: int) -> np.ndarray:
    """Smooth blobs with grain, (frames, rows, columns[, 3]); no two alike."""
    rng = np.random.default_rng(p.random.randrange(2**32))
    frames, rows, columns = shape[:3]
    y, x = np.mgrid[:rows, :columns]
    blob = np.exp(-((y - rows * 0.5) ** 2 + (x - columns * 0.45) ** 2) / (rows * columns / 12))
    out = blob[None] * top * 0.6 + rng.integers(0, max(2, top // 40), (frames, rows, columns)) + top * 0.1
    if len(shape) == 4:
        out = out[..., None] * np.array([1.0, 0.7, 0.6])
    return np.clip(out, 0, top)


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """An item of a code sequence."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def raw(ds: Dataset, tag: int, vr: str, value: object) -> None:
    """Put an attribute in without a check of its value."""
    ds[Tag(tag)] = DataElement(Tag(tag), vr, value, validation_mode=0)


def blank(p: Planter, v: Visit, sop_class: str, modality: str) -> FileDataset:
    """Patient, study, series, equipment and SOP common modules: everything but what is imaged."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uid(p)
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    meta.SourceApplicationEntityTitle = p.upper()
    meta.SendingApplicationEntityTitle = p.upper()
    ds.PatientName, ds.PatientID = v.person.dicom, v.person.number
    ds.PatientBirthDate, ds.PatientSex = f"{v.person.born:%Y%m%d}", "F"
    ds.PatientAge, ds.PatientWeight, ds.PatientSize = "061Y", "71.5", "1.68"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.StudyID = v.study, uid(p), p.code()
    ds.StudyDate = ds.SeriesDate = ds.ContentDate = f"{v.day:%Y%m%d}"
    ds.StudyTime = ds.SeriesTime = ds.ContentTime = "101530.25"
    ds.AccessionNumber, ds.Modality = p.code(), modality
    ds.SeriesNumber, ds.InstanceNumber = 1, 1
    ds.ReferringPhysicianName = f"{p.family()}^{p.family()}^^Dr."
    ds.PerformingPhysicianName = [f"{p.family()}^{p.family()}", p.family()]
    ds.OperatorsName, ds.InstitutionName = p.family(), f"Nemocnice {p.family()}"
    ds.InstitutionAddress, ds.InstitutionalDepartmentName = f"{p.family()} 14, 11000", f"Ward of Dr. {p.family()}"
    ds.StationName, ds.DeviceSerialNumber = p.upper(), p.code()
    ds.Manufacturer, ds.ManufacturerModelName, ds.SoftwareVersions = "ACME", "Model 7", "1.0"
    ds.StudyDescription = f"CT Thorax {p.family()} {p.written(p.day(2000, 2018), p.random.randrange(12))}"
    ds.SeriesDescription = f"axial 5mm {p.family(9)} pro {p.family()}"
    ds.ProtocolName, ds.PatientComments = f"Thorax^{p.family()}", p.contacts(4)
    ds.StudyComments = f"viz {p.family()}"
    ds.ImageComments, ds.InstanceCreatorUID = p.family(), uid(p)
    return ds


def _groups(p: Planter, v: Visit, ds: Dataset, kind: str, frames: int) -> None:
    """Functional groups of a multi-frame image, with days and people inside."""
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.7, 0.7], "3"
    shared.PixelMeasuresSequence = Sequence([measures])
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PlaneOrientationSequence = Sequence([plane])
    per = []
    for k in range(frames):
        item, content, place, anatomic = Dataset(), Dataset(), Dataset(), Dataset()
        content.FrameAcquisitionDateTime = content.FrameReferenceDateTime = f"{v.day:%Y%m%d}1016{k:02d}.5+0100"
        content.FrameAcquisitionDuration, content.DimensionIndexValues = 100.0, [k + 1]
        content.FrameComments, content.FrameLabel = p.family(), p.family()
        place.ImagePositionPatient = [0.0, 0.0, 3.0 * k]
        anatomic.FrameLaterality = "U"
        anatomic.AnatomicRegionSequence = Sequence([code("T-D3000", "SRT", f"Chest of {p.family()}")])
        item.FrameContentSequence, item.PlanePositionSequence = Sequence([content]), Sequence([place])
        item.FrameAnatomySequence = Sequence([anatomic])
        if kind == "slide":
            del item.PlanePositionSequence
            spot = Dataset()
            spot.XOffsetInSlideCoordinateSystem, spot.YOffsetInSlideCoordinateSystem = "1.5", "2.5"
            spot.ZOffsetInSlideCoordinateSystem = "0"
            spot.ColumnPositionInTotalImagePixelMatrix = 1 + 32 * (k % 2)
            spot.RowPositionInTotalImagePixelMatrix = 1 + 32 * (k // 2)
            item.PlanePositionSlideSequence = Sequence([spot])
        per.append(item)
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(per)
    organisation, index = Dataset(), Dataset()
    organisation.DimensionOrganizationUID = uid(p)
    index.DimensionIndexPointer, index.FunctionalGroupPointer = 0x00209057, 0x00209111
    index.DimensionOrganizationUID, index.DimensionDescriptionLabel = organisation.DimensionOrganizationUID, p.family()
    ds.DimensionOrganizationSequence, ds.DimensionIndexSequence = Sequence([organisation]), Sequence([index])
    ds.AcquisitionDateTime = f"{v.day:%Y%m%d}101559+0100"


def image(p: Planter, v: Visit, kind: str, *, size: int = 32) -> FileDataset:
    """An image of a kind of `KINDS`, uncompressed, on the visit's day."""
    tail, modality, frames = KINDS[kind]
    ds = blank(p, v, ROOT + tail, modality)
    colour = kind in COLOUR
    bits = 8 if colour or kind in {"sc", "scb", "opt"} else 16
    stored = {8: 8, 16: 12}[bits] if kind != "dose" else 16
    values = anatomy(p, (max(frames, 1), size, size, 3) if colour else (max(frames, 1), size, size), 2**stored - 1)
    ds.Rows = ds.Columns = size
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, stored, stored - 1, 0
    ds.PixelData = values.astype(np.uint8 if bits == 8 else np.uint16).tobytes()
    if frames:
        ds.NumberOfFrames = frames
    if kind in FUNCTIONAL:
        _groups(p, v, ds, kind, frames)
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"] if kind in {"ct", "mr"} else ["ORIGINAL", "PRIMARY"]
    ds.AcquisitionDate, ds.AcquisitionTime = f"{v.day:%Y%m%d}", "101531"
    ds.BurnedInAnnotation = "NO"
    _place(p, v, ds, kind)
    _modality(v, ds, kind)
    _particulars(p, v, ds, kind)
    return ds


def _place(p: Planter, v: Visit, ds: FileDataset, kind: str) -> None:
    if kind in {"ct", "mr", "pet", "dose", "legacy", "ect", "emr", "epet"}:
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = v.frame, p.family()
    if kind in {"ct", "mr", "pet", "dose"}:
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [-10, -10, 5], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.BodyPartExamined = [0.7, 0.7], "3", "CHEST"


def _modality(v: Visit, ds: FileDataset, kind: str) -> None:
    if kind in {"ct", "pet", "ect"}:
        ds.RescaleIntercept, ds.RescaleSlope, ds.KVP = "-1024", "1", "120"
    if kind == "mr":
        ds.ScanningSequence, ds.SequenceVariant, ds.ScanOptions, ds.MRAcquisitionType = "SE", "NONE", "", "2D"
        ds.RepetitionTime, ds.EchoTime, ds.EchoTrainLength = "500", "12", "1"
    if kind == "pet":
        drug = Dataset()
        drug.Radiopharmaceutical, drug.RadionuclideTotalDose, drug.RadionuclideHalfLife = "FDG", "3.1e8", "6586.2"
        drug.RadiopharmaceuticalStartDateTime = f"{v.day:%Y%m%d}091500"
        drug.RadiopharmaceuticalStartTime = "091500"
        ds.RadiopharmaceuticalInformationSequence = Sequence([drug])
        ds.Units, ds.DecayCorrection, ds.CorrectedImage = "BQML", "START", ["DECY", "ATTN"]
        ds.SeriesType, ds.CountsSource = ["STATIC", "IMAGE"], "EMISSION"
        ds.FrameReferenceTime, ds.ActualFrameDuration = "0", 1000


def _particulars(p: Planter, v: Visit, ds: FileDataset, kind: str) -> None:
    if kind in {"xa", "cine", "rf"}:
        ds.FrameTime, ds.FrameIncrementPointer = "40", 0x00181063
    if kind == "slide":
        ds.TotalPixelMatrixColumns = ds.TotalPixelMatrixRows = 2 * int(ds.Rows)
        ds.ContainerIdentifier, ds.BarcodeValue, ds.LabelText = p.code(), p.code(), p.family()
        ds.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    if kind in {"scb", "scw", "sct", "sc"}:
        ds.ConversionType = "WSD"
        ds.DateOfSecondaryCapture, ds.SecondaryCaptureDeviceID = f"{v.day:%Y%m%d}", p.family()
    if kind == "dose":
        ds.DoseUnits, ds.DoseType, ds.DoseSummationType, ds.DoseGridScaling = "GY", "PHYSICAL", "PLAN", "0.001"
        ds.GridFrameOffsetVector = [0, 3, 6]


def derived(p: Planter, source: Dataset, tail: str, modality: str) -> FileDataset:
    """An object without pixels of its own, in the study of its source."""
    person = Person("", "", "", datetime.date(2000, 1, 1))
    ds = blank(
        p,
        Visit(person, datetime.datetime.strptime(source.StudyDate, "%Y%m%d").date(), source.StudyInstanceUID, ""),
        ROOT + tail,
        modality,
    )
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyID", "AccessionNumber"):
        ds[name] = source[name]
    del ds.ImageComments
    return ds


def reference(*sources: Dataset) -> Sequence:
    """Items that refer to other objects."""
    items = []
    for source in sources:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
        items.append(item)
    return Sequence(items)


def evidence(*sources: Dataset) -> Sequence:
    """A hierarchy of study, series and object, as key objects and reports hold it."""
    studies = []
    for source in sources:
        study, series = Dataset(), Dataset()
        series.SeriesInstanceUID, series.ReferencedSOPSequence = source.SeriesInstanceUID, reference(source)
        study.StudyInstanceUID, study.ReferencedSeriesSequence = source.StudyInstanceUID, Sequence([series])
        studies.append(study)
    return Sequence(studies)
