"""DICOM Parametric Map: a value a voxel, such as an uncertainty, on the series that it belongs to (PS3.3 A.75)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.data.card import CodedConcept, LabelInfo
from medseg.errors import DataError, GeometryError
from medseg.export.dicom_frames import placed_on, read_source_frames, require_world, save_dicom
from medseg.export.dicom_source import (
    Algorithm,
    code_item,
    equipment_of,
    make_timeless,
    needing,
    set_dimensions,
    uid_maker,
    without_warnings,
)
from medseg.types import Affine, FloatArray

__all__ = ["write_uncertainty_map"]

_ENTROPY = CodedConcept(value="entropy", scheme="99MEDSEG", meaning="Normalised predictive entropy")
_NO_UNITS = CodedConcept(value="1", scheme="UCUM", meaning="no units")


@without_warnings()
def write_uncertainty_map(
    values: FloatArray,
    affine: Affine,
    source_files: Sequence[Path],
    path: Path,
    *,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    identified_source: Literal["refuse", "keep"] = "refuse",
) -> str:
    """Write a map of uncertainty from 0 (sure) to 1 as 32-bit floating point pixels, one frame a source frame.

    UIDs and times as for `medseg.export.write_dicom_seg`.

    Args:
        values: Axes (x, y[, z]), on the grid that `medseg.data.dicom.read_series` gave for `source_files`.
        affine: 4 x 4, index of `values` to world, RAS+, millimetres.
        source_files: The single-frame instances of one series, in any order, or one multi-frame instance.
        path: Where to write.
        labels: What was predicted; part of the instance's identity.
        algorithm: What predicted.
        identified_source: As for `medseg.export.write_dicom_seg`.

    Returns:
        The SOP instance UID.

    Raises:
        DataError: The source has no position in the patient, which a parametric map needs, or no frame of reference.
        GeometryError: The map isn't on the grid of the source, or holds other values than 0 to 1.
        PrivacyError: The source isn't de-identified and `identified_source` is ``refuse``.
        ReadError: A source file cannot be read as DICOM, or the files are not of one series.
    """
    import highdicom as hd

    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise GeometryError("expected values from 0 to 1; found others, or values that are no numbers")
    source = read_source_frames(source_files, values.shape, affine, what="a map", identified=identified_source)
    require_world(source, "a map")
    if not source.is_placed:
        raise DataError("the source image has no position in the patient, which a map needs; choose --format nifti")
    frames = source.sample(values.astype(np.float32))
    uid = uid_maker(frames, source.datasets, labels=labels, algorithm=algorithm)
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="ENTROPY",
        lut_explanation="Normalised predictive entropy",
        unit=code_item(_NO_UNITS),
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
        quantity_definition=code_item(_ENTROPY),
    )
    with needing("a map has to refer to (study, series or frame of reference); write NIfTI instead"):
        content = hd.pm.ParametricMap(
            source_images=list(source.datasets),
            pixel_array=frames,
            series_instance_uid=uid("map series"),
            sop_instance_uid=uid("map instance"),
            **equipment_of(algorithm),
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
            content_label="UNCERTAINTY",
            content_description="Uncertainty of a segmentation",
            series_description="medseg uncertainty",
            **placed_on(hd, source),
        )
    make_timeless(content, source.datasets[0])
    set_dimensions(content, uid("map dimensions"))
    content.BurnedInAnnotation = "NO"
    content.Laterality = None
    return save_dicom(content, path)
