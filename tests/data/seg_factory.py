"""Synthetic DICOM segmentations for tests, made by highdicom on a series of `dicom_factory`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from medseg.data.dicom_structures import StructureRule
from medseg.data.importer import ImportOptions, ImportReport, import_tree
from medseg.data.recognise import Choice
from tests.data.dicom_factory import Series

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
NAMES = ("lesion", "oedema")


def source_images(series: Series) -> list[Dataset]:
    """The slices, with the attributes that highdicom reads without asking."""
    for image in series.slices:
        for keyword in ("PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime"):
            if keyword not in image:
                setattr(image, keyword, None)
    return series.slices


def make_seg(
    images: Sequence[Dataset],
    voxels: np.ndarray,
    names: Sequence[str] = ("lesion",),
    *,
    kind: str = "BINARY",
    **facts: Any,
) -> Dataset:
    """A SEG of segment numbers (slice, row, column), or of one array a segment (slice, row, column, segment)."""
    segments = [
        hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=name,
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type="MANUAL",
        )
        for number, name in enumerate(names, start=1)
    ]
    return hd.seg.Segmentation(
        source_images=list(images),
        pixel_array=voxels,
        segmentation_type=kind,
        segment_descriptions=segments,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        **facts,
    )


def write_seg(content: Dataset, path: Path) -> Path:
    """Write it, also where a test made it invalid."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content.save_as(path)
    return path


def segment_numbers(shape: tuple[int, ...] = (5, 6, 7), *, seed: int = 0, values: int = 2) -> np.ndarray:
    """Segment numbers, axes (slice, row, column)."""
    return np.random.default_rng(seed).integers(0, values + 1, size=shape).astype(np.uint8)


def import_structures(source: Path, out: Path, *, structures: tuple[str, ...] = (), **options: object) -> ImportReport:
    """Import a tree with the structures that ``--structure`` names."""
    choice = Choice(structures=tuple(StructureRule.of(text) for text in structures))
    return import_tree(source, out, options=ImportOptions(choice=choice, **options))
