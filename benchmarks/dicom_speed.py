"""Reading DICOM against SimpleITK, MONAI, dicom2nifti and pydicom, as ratios of times in one run.

    python benchmarks/dicom_speed.py --rounds 5

1. Load: a synthetic CT series of 300 slices of 512 x 512 (HU, 12 bits in 16), written in random order, read into one
   array with its affine: by medseg, by SimpleITK's ImageSeriesReader (with its search for the series' files), by
   MONAI's PydicomReader, and by dicom2nifti (without writing).
2. Sort: the headers of 20,000 files (slices of 128 x 128, so that they fit on a small disk) of 40 series, by medseg's
   `find_series`, and read one by one with pydicom's `dcmread` as it is when nothing is set, grouped by
   SeriesInstanceUID.

Every reader gets each round its turn, in changed order; the median of the rounds counts. Files lie in the page cache.
Needs dicom2nifti (`pip install dicom2nifti`) for its own row, which is left out with a word otherwise.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import statistics
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid


def write_series(folder: Path, *, slices: int, size: int, seed: int, modality: str = "CT") -> None:
    """One CT series; file names say nothing of the order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    order = rng.permutation(slices)
    for name, number in enumerate(order):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.PatientID, data.PatientName, data.Modality = f"P{seed}", "Test^Test", modality
        data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.StudyDate = data.SeriesDate = data.AcquisitionDate = "20200101"
        data.StudyTime = data.SeriesTime = data.AcquisitionTime = "120000"
        data.Manufacturer, data.ManufacturerModelName, data.StudyDescription = "Maker", "Model", "Thorax"
        data.SeriesNumber, data.InstanceNumber, data.KVP, data.BodyPartExamined = 1, int(number) + 1, 120, "CHEST"
        data.ImagePositionPatient = [-180.0, -180.0, float(number) * 1.25 - 200.0]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.703125, 0.703125], 1.25
        data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
        data.WindowCenter, data.WindowWidth = 40, 400
        data.Rows = data.Columns = size
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.PixelData = rng.integers(0, 4096, size * size, dtype=np.uint16).tobytes()
        data["PixelData"].VR = "OW"
        data.save_as(folder / f"{name:05d}.dcm", enforce_file_format=True)


def load_medseg(folder: Path) -> np.ndarray:
    """By medseg."""
    from medseg import read_volume

    return read_volume(folder).array[0]


def load_itk(folder: Path) -> object:
    """By SimpleITK's ImageSeriesReader; the image stays ITK's, without a copy to numpy."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def load_monai(folder: Path) -> np.ndarray:
    """By MONAI's PydicomReader."""
    from monai.data import PydicomReader

    reader = PydicomReader()
    return reader.get_data(reader.read(str(folder)))[0]


def load_dicom2nifti(folder: Path) -> np.ndarray:
    """By dicom2nifti, without writing."""
    import dicom2nifti.common
    import dicom2nifti.convert_dicom

    slices = dicom2nifti.common.read_dicom_directory(str(folder))
    return np.asarray(dicom2nifti.convert_dicom.dicom_array_to_nifti(slices, None, False)["NII"].dataobj)


def checksum(image: object) -> float:
    """Sum of all voxels: every reader has to have read the same."""
    import SimpleITK as sitk

    array = sitk.GetArrayViewFromImage(image) if isinstance(image, sitk.Image) else np.asarray(image)
    return float(array.sum(dtype=np.float64))


def sort_medseg(folder: Path) -> int:
    """Series, by medseg."""
    from medseg.data.dicom import find_series

    return len(find_series(folder)[0])


def sort_pydicom(folder: Path) -> int:
    """Series, by pydicom as it is when nothing is set."""
    groups = defaultdict(list)
    for path in sorted(folder.rglob("*.dcm")):
        groups[pydicom.dcmread(path).SeriesInstanceUID].append(path)
    return len(groups)


def compare(readers: dict[str, Callable[[Path], object]], folder: Path, rounds: int) -> dict[str, float]:
    """Median seconds of each reader; the order changes from round to round."""
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    names = list(readers)
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            begun = time.perf_counter()
            readers[name](folder)
            seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in seconds.items()}


def show(title: str, medians: dict[str, float]) -> None:
    """The markdown table; the ratio is how many times as long as medseg."""
    print(f"\n{title}\n\n| reader | seconds | times medseg's |\n|---|---|---|")
    for name, seconds in medians.items():
        print(f"| {name} | {seconds:.2f} | {seconds / medians['medseg']:.2f} |")


def main() -> None:
    """Write the files, time the readers, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--headers", type=int, default=20_000)
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    loaders: dict[str, Callable[[Path], object]] = {
        "medseg": load_medseg,
        "SimpleITK ImageSeriesReader": load_itk,
        "MONAI PydicomReader": load_monai,
    }
    if importlib.util.find_spec("dicom2nifti"):
        loaders["dicom2nifti"] = load_dicom2nifti
    else:
        print("dicom2nifti is not installed; its row is left out")
    with tempfile.TemporaryDirectory() as scratch:
        ct = Path(scratch) / "ct"
        write_series(ct, slices=arguments.slices, size=512, seed=0)
        for name, load in loaders.items():  # Warms the imports and the page cache, too.
            print(f"{name}: sum {checksum(load(ct)):.0f}")
        show(f"Load {arguments.slices} slices of 512 x 512", compare(loaders, ct, arguments.rounds))
        many = Path(scratch) / "many"
        for number in range(40):
            write_series(many / f"{number:02d}", slices=arguments.headers // 40, size=128, seed=number)
        sorters = {"medseg": sort_medseg, "pydicom dcmread": sort_pydicom}
        counts = {name: sort(many) for name, sort in sorters.items()}
        print(f"\nseries found: {counts}")
        show(f"Sort {arguments.headers:,} headers", compare(sorters, many, arguments.rounds))


if __name__ == "__main__":
    main()
