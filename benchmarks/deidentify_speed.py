"""Files per second of `medseg deidentify` and of dicom-anonymizer on the same CT slices.

usage: python benchmarks/deidentify_speed.py [SLICES] [JOBS] [ROUNDS]

dicom-anonymizer's own loop (its `anonymize_dicom_file`), one process, as its command line works. Both take turns, the
median of the rounds counts; what was written is removed and the disk left to finish before each.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
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


def theirs(source: Path, out: Path, _jobs: int) -> None:
    """dicom-anonymizer, file by file."""
    out.mkdir()
    for path in sorted(source.iterdir()):
        anonymize_dicom_file(str(path), str(out / path.name))


def ours(source: Path, out: Path, jobs: int) -> None:
    """All that `medseg deidentify --profile basic` does with the files."""
    deidentify_tree(source, out, profile=load_profile("basic"), key=bytes(range(32)), jobs=jobs)


def timed(work: Callable[[Path, Path, int], None], source: Path, jobs: int) -> float:
    """Seconds of one go; what the disk still has to write of the one before is written first."""
    out = source.parent / "out"
    os.sync()
    began = time.perf_counter()
    work(source, out, jobs)
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    return seconds


def main() -> None:
    """Measure both in turns and print a line each."""
    count, jobs, rounds = (int(word) for word in (*sys.argv[1:], *("2000", "2", "5")[len(sys.argv) - 1 :]))
    found: dict[str, list[float]] = {"dicom-anonymizer": [], f"medseg --jobs {jobs}": []}
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "src"
        make_slices(source, count)
        for path in source.iterdir():
            pydicom.dcmread(path)
        for _ in range(rounds):
            for seconds, work in zip(found.values(), (theirs, ours), strict=True):
                seconds.append(timed(work, source, jobs))
    medians = [statistics.median(seconds) for seconds in found.values()]
    for label, median in zip(found, medians, strict=True):
        print(f"{label:18}{count / median:7.0f} files/s  {1000 * median / count:.2f} ms a file")
    print(f"ratio {medians[0] / medians[1]:.2f} (medians of {rounds} rounds)")


if __name__ == "__main__":
    main()
