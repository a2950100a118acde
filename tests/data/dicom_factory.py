"""Synthetic DICOM series for tests: small, on disk, with every fact of the geometry chosen by the caller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

PET_STORAGE = UID("1.2.840.10008.5.1.4.1.1.128")
ENHANCED_CT_STORAGE = UID("1.2.840.10008.5.1.4.1.1.2.1")
CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PET_STORAGE}
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass
class Series:
    """A series to write; change `slices` before `write` to break it.

    Attributes:
        voxels: Stored values, axes (slice, row, column).
        spacing: Distance of rows, of columns and of slices, mm.
        origin: Centre of the first voxel, LPS+, mm.
        orientation: Row and column direction, LPS+.
        modality: CT, MR or PT.
        extra: Attributes of every slice.
    """

    voxels: np.ndarray
    spacing: tuple[float, float, float] = (0.8, 0.7, 2.5)
    origin: tuple[float, float, float] = (-10.0, -20.0, 30.0)
    orientation: Sequence[float] = AXIAL
    modality: str = "CT"
    patient: str = "DOE-4711"
    extra: dict[str, Any] = field(default_factory=dict)
    slices: list[FileDataset] = field(default_factory=list)

    def __post_init__(self) -> None:
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        normal = np.cross(row, column)
        self.uid, self.study, self.frame = generate_uid(), generate_uid(), generate_uid()
        for number, plane in enumerate(self.voxels):
            position = np.array(self.origin) + number * self.spacing[2] * normal
            self.slices.append(self._slice(plane, position, number))

    def _slice(self, plane: np.ndarray, position: np.ndarray, number: int) -> FileDataset:
        sop_class = CLASSES[self.modality]
        data = _file(sop_class)
        data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = self.uid, self.study, self.frame
        data.PatientID, data.PatientName, data.Modality = self.patient, "Doe^Jane", self.modality
        data.InstanceNumber = number + 1
        data.ImagePositionPatient = [f"{v:.10g}" for v in position]
        data.ImageOrientationPatient = [f"{v:.10g}" for v in self.orientation]
        data.PixelSpacing = [f"{v:.10g}" for v in self.spacing[:2]]
        data.SliceThickness = self.spacing[2]
        data.RescaleSlope, data.RescaleIntercept = 1, 0
        set_pixels(data, plane)
        for keyword, value in self.extra.items():
            setattr(data, keyword, value)
        return data

    @property
    def affine(self) -> np.ndarray:
        """Voxel index (column, row, slice) to world, RAS+, from the closed form."""
        row, column = np.array(self.orientation[:3]), np.array(self.orientation[3:])
        affine = np.eye(4)
        affine[:3, 0] = row * self.spacing[1]
        affine[:3, 1] = column * self.spacing[0]
        affine[:3, 2] = np.cross(row, column) * self.spacing[2]
        affine[:3, 3] = self.origin
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine

    def write(self, folder: Path, *, names: Sequence[str] | None = None) -> list[Path]:
        """Write the slices; the names need not follow the slices' order."""
        folder.mkdir(parents=True, exist_ok=True)
        names = names or [f"IM{number:04d}.dcm" for number in range(len(self.slices))]
        paths = [folder / name for name in names]
        for data, path in zip(self.slices, paths, strict=True):
            data.save_as(path, enforce_file_format=True)
        return paths


def make_series(shape: tuple[int, int, int] = (5, 6, 7), *, seed: int = 0, **facts: Any) -> Series:
    """A series of random 12-bit values; `shape` is (slices, rows, columns)."""
    voxels = np.random.default_rng(seed).integers(0, 4000, size=shape).astype(np.uint16)
    return Series(voxels=voxels, **facts)


def set_pixels(data: Dataset, plane: np.ndarray) -> None:
    """Put grey values (rows, columns) or colours (rows, columns, 3) of 8 or 16 bits into a data set."""
    colour = plane.ndim == 3 and plane.shape[-1] == 3
    data.Rows, data.Columns = plane.shape[:2] if colour else plane.shape[-2:]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    data.BitsAllocated = data.BitsStored = plane.dtype.itemsize * 8
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(plane.dtype.kind == "i")
    data.PixelData = np.ascontiguousarray(plane).tobytes() + b"\0" * (plane.nbytes % 2)
    data["PixelData"].VR = "OB" if plane.dtype.itemsize == 1 else "OW"


def make_enhanced(series: Series, *, order: Sequence[int] | None = None) -> FileDataset:
    """The series as one enhanced multi-frame CT image, its frames in any order."""
    order = list(range(len(series.slices))) if order is None else list(order)
    data = _file(ENHANCED_CT_STORAGE)
    data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = series.uid, series.study, series.frame
    data.PatientID, data.Modality, data.NumberOfFrames = series.patient, series.modality, len(order)
    set_pixels(data, series.voxels[order])
    shared = Dataset()
    shared.PlaneOrientationSequence = [make_item(ImageOrientationPatient=series.slices[0].ImageOrientationPatient)]
    shared.PixelMeasuresSequence = [
        make_item(PixelSpacing=series.slices[0].PixelSpacing, SliceThickness=series.spacing[2])
    ]
    data.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for number in order:
        frame = Dataset()
        frame.PlanePositionSequence = [make_item(ImagePositionPatient=series.slices[number].ImagePositionPatient)]
        frame.PixelValueTransformationSequence = [make_item(RescaleSlope=1, RescaleIntercept=-number, RescaleType="HU")]
        frames.append(frame)
    data.PerFrameFunctionalGroupsSequence = frames
    return data


def make_item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _file(sop_class: UID) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    return data
