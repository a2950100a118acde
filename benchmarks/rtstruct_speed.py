"""Seconds from an RTSTRUCT to one mask a structure: medseg, rt-utils and dcmrtstruct2nii on the same files.

usage: python benchmarks/rtstruct_speed.py [SLICES]     (needs benchmarks/requirements.txt)

A synthetic CT series of 512 x 512 pixels and a structure set of five structures: a body of 400 points a slice, two
lungs, a tumour with a hole, a cord. "Masks" is the step from contours to arrays, the image known. "Whole" begins at the
files and ends with one compressed NIfTI mask a structure; rt-utils' arrays are written by medseg's writer. Dice
compares the masks: rt-utils also counts pixels that an edge touches. The best of three runs counts, or the first where
it takes more than 10 seconds.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RTStructureSetStorage,
    generate_uid,
)

from medseg.data.dicom import series_geometry
from medseg.data.dicom_labels import LabelObject, Target, read_label_object
from medseg.data.dicom_sort import find_series
from medseg.data.nifti import save_nifti
from medseg.data.rtstruct import structure_masks

_SPACING, _STEP, _ORIGIN = 0.8, 2.5, -200.0
_LONG = 10.0
_STRUCTURES = {  # Name to ellipses (centre and half axes in pixels, points), and the share of the slices it is on.
    "body": ([((256, 256), (210, 150), 400)], 1.0),
    "lung_l": ([((160, 250), (60, 90), 200)], 0.6),
    "lung_r": ([((350, 250), (60, 90), 200)], 0.6),
    "tumour": ([((170, 230), (25, 20), 80), ((172, 232), (8, 6), 30)], 0.2),
    "cord": ([((256, 350), (8, 8), 40)], 1.0),
}


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _file(sop_class: str, syntax: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = syntax
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.PatientID = data.PatientName = "BENCH"
    return data


def make_series(folder: Path, slices: int) -> list[FileDataset]:
    """Write the CT slices."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 4000, (512, 512), dtype=np.uint16).tobytes()
    study, series, frame = (generate_uid() for _ in range(3))
    written = []
    for number in range(slices):
        data = _file(CTImageStorage, ExplicitVRLittleEndian)
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, series, frame
        data.Modality, data.InstanceNumber = "CT", number + 1
        data.ImagePositionPatient, data.ImageOrientationPatient = (
            [_ORIGIN, _ORIGIN, number * _STEP],
            [1, 0, 0, 0, 1, 0],
        )
        data.PixelSpacing, data.SliceThickness = [_SPACING, _SPACING], _STEP
        data.SamplesPerPixel, data.PhotometricInterpretation, data.Rows, data.Columns = 1, "MONOCHROME2", 512, 512
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
        data.RescaleIntercept, data.RescaleSlope = -1024, 1
        data.PixelData = pixels
        data["PixelData"].VR = "OW"
        data.save_as(folder / f"{number:04d}.dcm")
        written.append(data)
    return written


def make_structure_set(path: Path, images: list[FileDataset]) -> None:
    """Write the structure set of the series."""
    data = _file(RTStructureSetStorage, ImplicitVRLittleEndian)
    first = images[0]
    data.Modality, data.StudyInstanceUID, data.SeriesInstanceUID = "RTSTRUCT", first.StudyInstanceUID, generate_uid()
    references = [_item(ReferencedSOPClassUID=i.SOPClassUID, ReferencedSOPInstanceUID=i.SOPInstanceUID) for i in images]
    series = _item(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=references)
    study = _item(ReferencedSOPInstanceUID=first.StudyInstanceUID, RTReferencedSeriesSequence=[series])
    frame = _item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    data.ReferencedFrameOfReferenceSequence = [frame]
    data.StructureSetROISequence = [
        _item(
            ROINumber=n,
            ROIName=name,
            ROIGenerationAlgorithm="MANUAL",
            ReferencedFrameOfReferenceUID=first.FrameOfReferenceUID,
        )
        for n, name in enumerate(_STRUCTURES, start=1)
    ]
    data.RTROIObservationsSequence = [
        _item(ObservationNumber=n, ReferencedROINumber=n) for n in range(1, len(_STRUCTURES) + 1)
    ]
    data.ROIContourSequence = []
    for number, (ellipses, share) in enumerate(_STRUCTURES.values(), start=1):
        used = range(int(len(images) * (0.5 - share / 2)), max(1, int(len(images) * (0.5 + share / 2))))
        contours = [_contour(z, ellipse, references[z]) for z in used for ellipse in ellipses]
        data.ROIContourSequence.append(
            _item(ReferencedROINumber=number, ROIDisplayColor=[255, 0, 0], ContourSequence=contours)
        )
    data.save_as(path)


def _contour(z: int, ellipse: tuple[tuple[int, int], tuple[int, int], int], reference: Dataset) -> Dataset:
    centre, axes, count = ellipse
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + 0.1 + z
    points = np.column_stack([centre[0] + axes[0] * np.cos(angle), centre[1] + axes[1] * np.sin(angle)])
    world = np.column_stack([points * _SPACING + _ORIGIN, np.full(count, z * _STEP)])
    return _item(
        ContourImageSequence=[reference],
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=count,
        ContourData=[f"{value:.3f}" for value in world.ravel()],
    )


def ours(root: Path) -> tuple[Callable[[], dict[str, np.ndarray]], Callable[[], object]]:
    """Masks, and the whole way, by medseg."""

    def known() -> tuple[Target, LabelObject]:
        series = find_series(root / "ct")[0][0]
        return Target(series_geometry(series), series.headers), read_label_object(root / "rs.dcm")

    target, entry = known()

    def masks(target: Target = target, entry: LabelObject = entry) -> dict[str, np.ndarray]:
        names = {structure.number: structure.name for structure in entry.structures}
        drawn = structure_masks(entry, target, numbers=frozenset(names))
        return {names[number]: mask.on_grid(target.geometry.shape) for number, mask in drawn}

    def whole() -> None:
        target, entry = known()
        for name, mask in masks(target, entry).items():
            save_nifti(mask.astype(np.uint8), target.geometry.affine, root / "ours" / f"{name}.nii.gz")

    return masks, whole


def by_rt_utils(root: Path) -> tuple[Callable[[], dict[str, np.ndarray]], Callable[[], object]]:
    """Masks, and the whole way, by rt-utils."""
    from rt_utils import RTStructBuilder

    def build() -> object:
        return RTStructBuilder.create_from(dicom_series_path=str(root / "ct"), rt_struct_path=str(root / "rs.dcm"))

    built = build()

    def masks(built: object = built) -> dict[str, np.ndarray]:
        return {name: built.get_roi_mask_by_name(name).transpose(1, 0, 2) for name in built.get_roi_names()}

    def whole() -> None:
        for name, mask in masks(build()).items():
            save_nifti(mask.astype(np.uint8), np.eye(4), root / "rt-utils" / f"{name}.nii.gz")

    return masks, whole


def by_dcmrtstruct2nii(root: Path) -> tuple[Callable[[], dict[str, np.ndarray]], Callable[[], object]]:
    """Masks, and the whole way, by dcmrtstruct2nii."""
    import pydicom
    import SimpleITK

    pydicom.read_file = pydicom.dcmread  # Version 5 calls it by a name that pydicom 3 gave up.
    from dcmrtstruct2nii import dcmrtstruct2nii
    from dcmrtstruct2nii.adapters.convert.rtstructcontour2mask import DcmPatientCoords2Mask
    from dcmrtstruct2nii.adapters.input.contours.rtstructinputadapter import RtStructInputAdapter
    from dcmrtstruct2nii.adapters.input.image.dcminputadapter import DcmInputAdapter

    structures = RtStructInputAdapter().ingest(str(root / "rs.dcm"))
    image = DcmInputAdapter().ingest(str(root / "ct"))

    def masks() -> dict[str, np.ndarray]:
        found = {}
        for one in structures:
            mask = DcmPatientCoords2Mask().convert(one["sequence"], image, 0, 255)
            found[one["name"]] = SimpleITK.GetArrayFromImage(mask).transpose(2, 1, 0)
        return found

    def whole() -> None:
        dcmrtstruct2nii(str(root / "rs.dcm"), str(root / "ct"), str(root / "theirs"), convert_original_dicom=False)

    return masks, whole


def _seconds(work: Callable[[], object], times: int = 3) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            work()
        best = min(best, time.perf_counter() - began)
        if best > _LONG:
            break
    return best


def _dice(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first > 0, second > 0
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


def main() -> None:
    """Measure the three and print a line each."""
    slices = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make_structure_set(root / "rs.dcm", make_series(root / "ct", slices))
        reference: dict[str, np.ndarray] = {}
        base = (0.0, 0.0)
        for tool, prepare in {"medseg": ours, "rt-utils": by_rt_utils, "dcmrtstruct2nii": by_dcmrtstruct2nii}.items():
            with contextlib.redirect_stdout(io.StringIO()):
                masks, whole = prepare(root)
                found = masks()
            step, way = _seconds(masks), _seconds(whole)
            reference, base = reference or found, base if base[0] else (step, way)
            lowest = min(_dice(reference[structure], found[structure]) for structure in reference)
            print(
                f"{tool:16} masks {step:7.3f} s ({step / base[0]:5.1f} x)   whole {way:7.3f} s ({way / base[1]:5.1f} x)"
                f"   lowest Dice with medseg's {lowest:.4f}"
            )
        assert all(np.asarray(nib.load(path).dataobj).any() for path in (root / "ours").iterdir())


if __name__ == "__main__":
    main()
