"""Files per second of `medseg deidentify` and of dicom-anonymizer on the same CT slices.

usage: python benchmarks/deidentify_speed.py [SLICES] [JOBS]

dicom-anonymizer's own loop (its `anonymize_dicom_file` with the 2026c table), one process, as its command line works.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from dicomanonymizer import anonymize_dicom_file
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.profile import load_profile


def make_slices(folder: Path, count: int) -> None:
    """CT slices of 512 x 512 with about 60 attributes."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 4000, (512, 512), dtype=np.uint16)
    study, series, frame = (generate_uid() for _ in range(3))
    for number in range(count):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", generate_uid()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Bench^Mark", "B-1", "19500101", "O"
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20200102"
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101112"
        ds.AccessionNumber, ds.StudyID, ds.InstitutionName, ds.StationName = "A1", "1", "Clinic", "CT1"
        ds.ReferringPhysicianName, ds.OperatorsName, ds.Manufacturer = "Doc^Tor", "Op^Erator", "SIEMENS"
        ds.Modality, ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "CT", "Chest", "Lung", "Thorax"
        ds.ImageType, ds.BodyPartExamined, ds.PatientPosition = ["ORIGINAL", "PRIMARY", "AXIAL"], "CHEST", "HFS"
        ds.SeriesNumber, ds.InstanceNumber, ds.KVP, ds.SliceThickness = 1, number, 120, 3
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 3 * number], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.ConvolutionKernel, ds.ExposureTime, ds.XRayTubeCurrent = [0.7, 0.7], "B31f", 500, 200
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Rows, ds.Columns = 1, "MONOCHROME2", 512, 512
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
        ds.RescaleIntercept, ds.RescaleSlope = -1024, 1
        ds.PixelData = pixels.tobytes()
        ds["PixelData"].VR = "OW"
        ds.save_as(folder / f"{number}.dcm")


def main() -> None:
    """Measure both and print a line each."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    jobs = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_slices(root / "src", count)
        for path in (root / "src").iterdir():
            pydicom.dcmread(path)
        (root / "theirs").mkdir()
        began = time.perf_counter()
        for path in sorted((root / "src").iterdir()):
            anonymize_dicom_file(str(path), str(root / "theirs" / path.name))
        theirs = time.perf_counter() - began
        began = time.perf_counter()
        deidentify_tree(root / "src", root / "ours", profile=load_profile("basic"), key=bytes(range(32)), jobs=jobs)
        ours = time.perf_counter() - began
    print(f"dicom-anonymizer {count / theirs:7.0f} files/s  {1000 * theirs / count:.2f} ms a file")
    print(f"medseg --jobs {jobs}  {count / ours:7.0f} files/s  {1000 * ours / count:.2f} ms a file")
    print(f"ratio {theirs / ours:.1f}")


if __name__ == "__main__":
    main()
