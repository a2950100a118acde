"""Synthetic DICOM: a CT phantom as a CT Image Storage series that names its patient wherever a scanner might.

Identities stand in standard attributes, in private ones, in sequences within sequences of either kind, in the file's
meta header and in its 128-byte preamble. Slices are numbered against their position and their files in random order.
"""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from medseg.data.synthetic_ct import CtPhantom
from medseg.data.synthetic_identity import Hospital, Person, Visit
from medseg.types import Affine

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.dataset import FileDataset

__all__ = ["ScanPlace", "write_label", "write_series"]

_INTERCEPT = -1024
_PRIVATE_GROUP = 0x0019
_PRIVATE_CREATOR = "ZX SCANNER HEADER"


@dataclass(frozen=True)
class ScanPlace:
    """Where the first voxel lies: DICOM patient coordinates (Left, Posterior, Superior), millimetres."""

    left: float
    back: float
    head: float

    def affine(self, spacing: tuple[float, float, float]) -> Affine:
        """4 x 4, index (column, row, z) to world RAS+ mm, for a spacing (z, row, column)."""
        z, row, column = spacing
        affine = np.diag([-column, -row, z, 1.0])
        affine[:3, 3] = (-self.left, -self.back, self.head)
        return affine


def write_series(
    phantom: CtPhantom,
    folder: Path,
    *,
    place: ScanPlace,
    person: Person,
    visit: Visit,
    hospital: Hospital,
    generator: np.random.Generator,
    missing: Collection[int] = (),
    truncated: int | None = None,
) -> int:
    """Write one file a slice, ``IM0001.dcm`` and so on, in random order of position.

    Args:
        phantom: The scan.
        folder: Made here.
        place: Of the first voxel.
        person: The patient.
        visit: The study.
        hospital: The scanner.
        generator: Source of the order of the files.
        missing: Slices that are left out (a broken series).
        truncated: Slice whose file ends too early (a broken series).

    Returns:
        Number of files.
    """
    folder.mkdir(parents=True)
    dataset = _header(phantom, person=person, visit=visit, hospital=hospital)
    count = len(phantom.hu)
    names = 1 + generator.permutation(count)
    stored = (phantom.hu.astype(np.int32) - _INTERCEPT).astype("<u2")
    written = 0
    for z in range(count):
        if z in missing:
            continue
        head = round(place.head + z * phantom.spacing[0], 3)
        dataset.SOPInstanceUID = f"{visit.series_uid}.{z + 1}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = count - z
        dataset.ImagePositionPatient = [place.left, place.back, head]
        dataset.SliceLocation = head
        dataset.PixelData = stored[z].tobytes()
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        data = buffer.getvalue()
        (folder / f"IM{names[z]:04d}.dcm").write_bytes(data[: len(data) * 2 // 3] if z == truncated else data)
        written += 1
    return written


def write_label(label: npt.NDArray[np.uint8], path: Path, *, affine: Affine, person: Person, visit: Visit) -> None:
    """Write a label map (z, row, column) as NIfTI in the series' own grid; its header names the patient."""
    import gzip

    import nibabel as nib

    image = nib.Nifti1Image(np.ascontiguousarray(label.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = f"{person.name} {visit.date} {visit.accession}".encode()[:79]
    image.header["db_name"] = person.number.encode()[:17]
    image.header["aux_file"] = person.surname.encode()[:23]
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=4, mtime=0))


def _header(phantom: CtPhantom, *, person: Person, visit: Visit, hospital: Hospital) -> FileDataset:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID("1.2.826.0.1.3680043.10.1.1")
    meta.SourceApplicationEntityTitle = hospital.ae_title
    preamble = f"scanned for {person.name} {person.number}".encode()[:128].ljust(128, b"\0")
    dataset = FileDataset("", {}, file_meta=meta, preamble=preamble)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage
    _add_patient(dataset, person)
    _add_study(dataset, person=person, visit=visit, hospital=hospital)
    _add_equipment(dataset, hospital)
    _add_private(dataset, person=person, visit=visit, hospital=hospital)
    _add_image(dataset, phantom)
    return dataset


def _add_patient(dataset: Dataset, person: Person) -> None:
    from pydicom import Dataset

    dataset.PatientName = person.name
    dataset.PatientID = person.number
    dataset.PatientBirthDate = person.birth
    dataset.PatientSex = person.sex
    dataset.PatientAddress = person.street
    dataset.PatientTelephoneNumbers = person.phone
    dataset.PatientComments = f"{person.surname} asked to be called at {person.phone}"
    other = Dataset()
    other.PatientID = person.other_number
    other.TypeOfPatientID = "TEXT"
    dataset.OtherPatientIDsSequence = [other]


def _add_study(dataset: Dataset, *, person: Person, visit: Visit, hospital: Hospital) -> None:
    from pydicom import Dataset

    dataset.StudyInstanceUID = visit.study_uid
    dataset.SeriesInstanceUID = visit.series_uid
    dataset.FrameOfReferenceUID = visit.frame_uid
    dataset.PositionReferenceIndicator = ""
    for name in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate"):
        setattr(dataset, name, visit.date)
    for name in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "InstanceCreationTime"):
        setattr(dataset, name, "101500")
    dataset.AcquisitionDateTime = f"{visit.date}101500"
    dataset.AccessionNumber = visit.accession
    dataset.StudyID = visit.accession[3:]
    dataset.ReferringPhysicianName = hospital.referrer
    dataset.PerformingPhysicianName = hospital.referrer
    dataset.OperatorsName = hospital.operator
    dataset.StudyDescription = f"CT abdomen {person.surname}"
    dataset.SeriesDescription = "abdomen venous"
    dataset.SeriesNumber = 2
    dataset.AcquisitionNumber = 1
    dataset.Modality = "CT"
    dataset.PatientPosition = "HFS"
    dataset.BodyPartExamined = "ABDOMEN"
    dataset.ImageComments = f"compare with {visit.date}, call {hospital.operator}"
    earlier = Dataset()
    earlier.ReferencedSOPClassUID = "1.2.840.10008.3.1.2.3.1"
    earlier.ReferencedSOPInstanceUID = f"{visit.study_uid}.9"
    request = Dataset()
    request.RequestedProcedureDescription = f"follow-up of {person.name}"
    request.RequestedProcedureID = visit.accession
    request.ScheduledProcedureStepID = visit.accession
    request.RequestingPhysician = hospital.referrer
    request.ReferencedStudySequence = [earlier]
    dataset.RequestAttributesSequence = [request]


def _add_equipment(dataset: Dataset, hospital: Hospital) -> None:
    from pydicom import Dataset

    dataset.Manufacturer = "Example Scanners"
    dataset.ManufacturerModelName = "Phantom One"
    dataset.SoftwareVersions = "1"
    dataset.InstitutionName = hospital.name
    dataset.InstitutionAddress = hospital.address
    dataset.InstitutionalDepartmentName = hospital.department
    dataset.StationName = hospital.station
    dataset.DeviceSerialNumber = hospital.serial
    equipment = Dataset()
    equipment.InstitutionName = hospital.name
    equipment.StationName = hospital.station
    equipment.Manufacturer = "Example Scanners"
    equipment.ContributionDescription = f"checked by {hospital.operator}"
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109102", "DCM", "Processing Equipment"
    equipment.PurposeOfReferenceCodeSequence = [purpose]
    dataset.ContributingEquipmentSequence = [equipment]


def _add_private(dataset: Dataset, *, person: Person, visit: Visit, hospital: Hospital) -> None:
    from pydicom import Dataset

    innermost = Dataset()
    innermost.PatientName = person.name
    innermost.PatientBirthDate = person.birth
    inner = Dataset()
    inner.ReferencedPatientSequence = [innermost]
    deep = inner.private_block(_PRIVATE_GROUP, _PRIVATE_CREATOR, create=True)
    deep.add_new(0x20, "LT", f"{hospital.name}, {person.street}, accession {visit.accession}")
    block = dataset.private_block(_PRIVATE_GROUP, _PRIVATE_CREATOR, create=True)
    block.add_new(0x10, "LO", f"{person.surname} {person.number}")
    block.add_new(0x11, "SQ", [inner])
    block.add_new(0x12, "UN", f"operator {hospital.operator}".encode())
    block.add_new(0x13, "DS", "1.25")


def _add_image(dataset: Dataset, phantom: CtPhantom) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.KVP = "120"
    dataset.XRayTubeCurrent = 180
    dataset.ConvolutionKernel = "B30f"
    dataset.SliceThickness = phantom.spacing[0]
    dataset.PixelSpacing = list(phantom.spacing[1:])
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = phantom.hu.shape[1:]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = _INTERCEPT, 1, "HU"
    dataset.WindowCenter, dataset.WindowWidth = 50, 400
