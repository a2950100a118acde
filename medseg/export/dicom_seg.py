"""DICOM Segmentation: a prediction as a SEG object on the series that it was predicted from (PS3.3 A.51, A.101)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.data.card import LabelInfo
from medseg.errors import GeometryError
from medseg.export.dicom_frames import SourceFrames, placed_on, read_source_frames, require_world, save_dicom
from medseg.export.dicom_source import (
    ABNORMAL,
    ARTIFICIAL_INTELLIGENCE,
    LESION,
    Algorithm,
    check_values,
    code_item,
    equipment_of,
    make_timeless,
    needing,
    set_dimensions,
    uid_maker,
    without_warnings,
)
from medseg.types import Affine, Array, FloatArray, LabelMap

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Algorithm", "write_dicom_fractions", "write_dicom_seg"]

_Kind = Literal["BINARY", "LABELMAP", "FRACTIONAL"]
_MOST = 255
"""Maximum Fractional Value that is written: probability 1."""


@without_warnings()
def write_dicom_seg(
    label_map: LabelMap,
    affine: Affine,
    source_files: Sequence[Path],
    path: Path,
    *,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    kind: Literal["binary", "labelmap"] = "binary",
    identified_source: Literal["refuse", "keep"] = "refuse",
) -> str:
    """Write a label map as a SEG that refers to its source instances and shares their frame of reference.

    Segment numbers of a binary SEG count 1, 2, ... in ascending order of the label values, as PS3.3 C.8.20.4 demands;
    those of a label map SEG (a storage class of its own since 2024, which few viewers know yet) are the label values.
    A label map without any labelled voxel gives a SEG whose frames are all empty, so that "nothing found" is recorded.
    The instance's UIDs are derived from its content (source UIDs, voxels, labels, algorithm): the same prediction
    written twice is the same instance. No clock is read; content date and time are the source's study date and time.

    Args:
        label_map: Axes (x, y[, z]), on the grid that `medseg.data.dicom.read_series` gave for `source_files`.
        affine: 4 x 4, index of `label_map` to world, RAS+, millimetres.
        source_files: The single-frame instances of one series, in any order, or one multi-frame instance.
        path: Where to write.
        labels: Label value to name, code, category and colour, as in the card. Without a code: lesion (SCT 52988006).
        algorithm: What predicted.
        kind: ``binary``, one bit for every voxel and segment, or ``labelmap``, one number a voxel.
        identified_source: A SEG carries its source's patient and study attributes. ``refuse`` writes it only on a
            source that says it was de-identified (Patient Identity Removed is YES); ``keep`` writes it regardless.

    Returns:
        The SOP instance UID.

    Raises:
        GeometryError: The label map isn't on the grid of the source, or labelled voxels lie outside its frames.
        LabelError: The label map has a value that `labels` doesn't know.
        PrivacyError: The source isn't de-identified and `identified_source` is ``refuse``.
        ReadError: A source file cannot be read as DICOM, or the files are not of one series.
    """
    check_values(label_map, labels)
    source = read_source_frames(source_files, label_map.shape, affine, what="a SEG", identified=identified_source)
    frames = source.sample(label_map).astype(np.uint16)
    if kind == "labelmap":
        content = _encode(frames, source, kind="LABELMAP", labels=labels, algorithm=algorithm)
    else:
        numbered = np.zeros_like(frames)
        for number, value in enumerate(sorted(labels), start=1):
            numbered[frames == value] = number
        content = _encode(numbered, source, kind="BINARY", labels=labels, algorithm=algorithm)
    return save_dicom(content, path)


@without_warnings()
def write_dicom_fractions(
    fractions: Mapping[int, FloatArray],
    affine: Affine,
    source_files: Sequence[Path],
    path: Path,
    *,
    labels: Mapping[int, LabelInfo],
    algorithm: Algorithm,
    label_map: LabelMap | None = None,
    identified_source: Literal["refuse", "keep"] = "refuse",
) -> str:
    """Write the probabilities of labels as a fractional SEG, in steps of 1/255 (PS3.3 C.8.20.2.3, PROBABILITY).

    Otherwise as `write_dicom_seg`. Read back, a voxel has the label with the largest probability where that is at least
    the background's, which is 1 less all others. With a label map that gives the very label map: ties are rounded to
    its side, and what was cleaned away is lowered to just below the background's.

    Args:
        fractions: Label value to its probability, 0 to 1, axes (x, y[, z]).
        affine: 4 x 4, index to world, RAS+, millimetres.
        source_files: As for `write_dicom_seg`.
        path: Where to write.
        labels: Label value to name, code, category and colour; exactly those of `fractions`.
        algorithm: What predicted.
        label_map: What was decided from the probabilities, on the same grid; None to round each by itself.
        identified_source: As for `write_dicom_seg`.

    Returns:
        The SOP instance UID.

    Raises:
        GeometryError: As for `write_dicom_seg`; also when values are no probabilities.
        PrivacyError: As for `write_dicom_seg`.
        ReadError: As for `write_dicom_seg`.
    """
    if not labels or set(fractions) != set(labels):
        raise GeometryError(f"expected the probabilities of {len(labels)} labels; found those of {len(fractions)}")
    values = sorted(labels)
    if any(not np.isfinite(fractions[v]).all() or fractions[v].min() < 0 or fractions[v].max() > 1 for v in values):
        raise GeometryError("expected probabilities from 0 to 1; found others")
    shape = fractions[values[0]].shape
    source = read_source_frames(source_files, shape, affine, what="a SEG", identified=identified_source)
    steps = np.stack([np.rint(fractions[value].astype(np.float32) * _MOST).astype(np.uint8) for value in values])
    if label_map is not None:
        _agree(steps, np.searchsorted([0, *values], label_map))
    content = _encode(
        np.stack([source.sample(one) for one in steps], axis=-1),
        source,
        kind="FRACTIONAL",
        labels=labels,
        algorithm=algorithm,
    )
    return save_dicom(content, path)


def _agree(steps: Array, classes: Array) -> None:
    """Change fractions by as little as makes the label that is read back the one that was decided.

    Args:
        steps: uint8, fractions of `_MOST`, axes (label, x, y[, z]); changed in place.
        classes: 0 for background, else 1 + the label's index in `steps`; axes (x, y[, z]).
    """

    def read(found: Array) -> Array:
        rest = np.maximum(_MOST - found.sum(axis=0, dtype=np.int64), 1)
        return np.where(found.max(axis=0) >= rest, found.argmax(axis=0) + 1, 0)

    wrong = read(steps) != classes
    found, wanted = steps[:, wrong].astype(np.int64), classes[wrong]
    while (bad := np.flatnonzero((told := read(found)) != wanted)).size:
        lowered, raised = bad[told[bad] > 0], bad[told[bad] == 0]
        found[told[lowered] - 1, lowered] -= 1
        found[wanted[raised] - 1, raised] += 1
    steps[:, wrong] = found


def _encode(
    frames: Array, source: SourceFrames, *, kind: _Kind, labels: Mapping[int, LabelInfo], algorithm: Algorithm
) -> Dataset:
    """The SEG object, complete but unwritten.

    Args:
        frames: Segment numbers, axes (frame, row, column); of a fractional SEG fractions of `_MOST`, axes (frame, row,
            column, segment).
        source: What it refers to.
        kind: Segmentation Type.
        labels: Label value to what it stands for.
        algorithm: What predicted.
    """
    import highdicom as hd

    require_world(source, "a SEG")
    values = sorted(labels)
    uid = uid_maker(frames, source.datasets, labels=labels, algorithm=algorithm)
    role = "" if kind == "BINARY" else f"{kind} "
    numbers = values if kind == "LABELMAP" else range(1, len(values) + 1)
    described = [_describe(hd, n, labels[value], algorithm=algorithm) for n, value in zip(numbers, values, strict=True)]
    with needing("a SEG has to refer to (study, series or frame of reference); write NIfTI instead"):
        content: Dataset = hd.seg.Segmentation(
            source_images=list(source.datasets),
            pixel_array=frames.astype(np.float32) / _MOST if kind == "FRACTIONAL" else frames,
            segmentation_type=kind,
            segment_descriptions=described,
            series_instance_uid=uid(f"{role}series"),
            sop_instance_uid=uid(f"{role}instance"),
            **equipment_of(algorithm),
            max_fractional_value=_MOST,
            content_label="SEGMENTATION",
            content_description="Automatic segmentation",
            content_creator_name=None,
            series_description="medseg segmentation",
            omit_empty_frames=bool(frames.any()),
            **placed_on(hd, source),
        )
    make_timeless(content, source.datasets[0])
    set_dimensions(content, uid(f"{role}dimensions"))
    content.BurnedInAnnotation = "NO"
    if not source.is_placed:
        content.PatientOrientation = source.datasets[0].get("PatientOrientation") or None
    # highdicom 0.28 pads an odd number of bytes with the character "0"; PS3.5 8.1.1 wants a zero byte.
    bits = int(content.NumberOfFrames) * int(content.Rows) * int(content.Columns) * int(content.BitsAllocated)
    used = -(-bits // 8)
    content.PixelData = content.PixelData[:used] + b"\0" * (used % 2)
    return content


def _describe(hd: Any, number: int, info: LabelInfo, *, algorithm: Algorithm) -> Any:
    identification = hd.AlgorithmIdentificationSequence(
        name=algorithm.name[:64],
        family=code_item(ARTIFICIAL_INTELLIGENCE),
        version=algorithm.version,
        parameters={"model": algorithm.model_id},
    )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=info.name,
        segmented_property_category=code_item(info.category or ABNORMAL),
        segmented_property_type=code_item(info.code or LESION),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=identification,
        display_color=None if info.colour is None else hd.color.CIELabColor.from_rgb(*info.colour),
    )
