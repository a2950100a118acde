"""Predicted labels: what anybody's model found in the cases of a manifest, in any format of label maps or outlines.

A folder holds a file for each case, named by it: a label map (NIfTI, NRRD, MetaImage, PNG, TIFF, BMP, or of a volume
its slices as PNG or COCO, `medseg.data.label_stack`, `medseg.data.coco_volume`), whose values are the manifest's; or a
SEG, an RTSTRUCT or a segmentation of 3D Slicer, whose structures bear the names of its labels. A COCO file holds all
pictures. Outlines are drawn onto the grid of the case's own label map by the readers and the rules of `medseg import`;
a label map has to lie on it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from medseg.data.cases import GEOMETRY_TOLERANCE_MM
from medseg.data.coco_volume import COCO_VOLUME_ENDING
from medseg.data.dicom_labels import Structure, Target, name_key, paint_labels, read_label_object
from medseg.data.dicom_seg import read_seg
from medseg.data.dicom_structures import StructureRule
from medseg.data.drawing import Drawing, paint_drawing
from medseg.data.drawing_coco import is_coco, parse_coco
from medseg.data.exchange import read_json
from medseg.data.label_stack import STACK_ENDING, is_stack
from medseg.data.manifest import Case
from medseg.data.readers import read_geometry, read_label
from medseg.data.slicer import SLICER_ENDING, read_segments, slicer_source
from medseg.data.volume import Geometry
from medseg.errors import DataError, GeometryError, LabelError, ManifestError, RequestError
from medseg.types import LabelMap

__all__ = ["PREDICTION_ENDINGS", "find_prediction", "read_drawings", "read_predicted"]

_DICOM: Final = (".dcm", ".labelmap.dcm", ".fractional.dcm", ".rtstruct.dcm")
_ENDINGS: Final = (".nii.gz", ".png", ".nii", SLICER_ENDING, ".nrrd", ".nhdr", ".mha", ".mhd", ".tif", ".tiff", ".bmp")
PREDICTION_ENDINGS: Final = (*_ENDINGS, *_DICOM, COCO_VOLUME_ENDING)
"""Endings of a prediction's file, in the order in which they are looked for; the stem is the case."""


def find_prediction(folder: Path, case: str) -> Path | None:
    """The file of a case in a folder (CASE.nii.gz, CASE.png, CASE.dcm, ...), the first that is there; else None.

    A label stack, CASE.slices, is a folder, and comes last.
    """
    stack = folder / f"{case}{STACK_ENDING}"
    found = (path for ending in PREDICTION_ENDINGS if (path := folder / f"{case}{ending}").is_file())
    return next(found, stack if is_stack(stack) else None)


def read_predicted(
    prediction: Path | Drawing, grid: Geometry, *, labels: Mapping[int, str], rules: Sequence[StructureRule] = ()
) -> LabelMap:
    """The label map of a prediction, on the grid of the label that it is scored against.

    Args:
        prediction: A file, or what a COCO file says of a picture.
        grid: Of the case's label map.
        labels: Label value to name; a structure of the same name (whatever its case and blanks) is that label. A single
            structure is a single label, whatever it is called.
        rules: Which structures are which labels where their names differ, the first in order of priority where they
            overlap; empty for their own names.

    Raises:
        ReadError: The file cannot be read.
        GeometryError: It lies on another grid, or outside.
        LabelError: No structure is a label, or structures overlap.
    """
    if isinstance(prediction, Drawing):
        used = [Structure(number, area.name) for number, area in enumerate(prediction.areas, start=1)]
        if prediction.problem:
            raise LabelError(prediction.problem)
        return paint_drawing(prediction, grid, _values(used, labels, rules), order=_order(labels, rules))[0]
    if prediction.name.lower().endswith(SLICER_ENDING):
        segments = read_segments(prediction)
        values = _values([segment.structure for segment in segments], labels, rules)
        placed = _placed(grid, read_geometry(prediction))
        return slicer_source(prediction, segments, values, _order(labels, rules)).read(placed)[0]
    if prediction.name.lower().endswith(_DICOM):
        entry = read_label_object(prediction)
        values = _values(entry.structures, labels, rules)
        if len(grid.shape) == 2 and entry.kind == "SEG" and (picture := _of_picture(prediction, grid)) is not None:
            table = np.zeros(256, dtype=np.uint8)
            for one in entry.structures:
                table[one.number] = values.get(one.key, 0)
            return table[picture]
        return paint_labels([entry], Target(grid), values, order=_order(labels, rules))[0]
    label, own = read_label(prediction)
    if len(grid.shape) == 2 and label.ndim == 3 and label.shape[2] == 1:  # As NIfTI holds the label map of a picture.
        label, own = label[..., 0], Geometry(own.shape[:2], own.affine)
    if _placed(grid, own).corner_distance(own) > GEOMETRY_TOLERANCE_MM:
        raise GeometryError(
            f"the prediction lies on another grid than the label; expected {grid.describe()}, found {own.describe()}. "
            "Predict on the image that the label was drawn on"
        )
    return label


def read_drawings(path: Path, cases: Sequence[Case]) -> dict[str, Drawing]:
    """What a COCO file says of the cases' pictures, by case.

    A picture belongs to the case that its file name names, or whose image bears that name.

    Raises:
        RequestError: The file is no COCO, or lists a case's picture twice.
    """
    try:
        content = read_json(path)
    except ManifestError:
        content = {}
    if not is_coco(content):
        raise RequestError("expected COCO's images, annotations and categories in the JSON; found something else")
    try:
        drawings, _ = parse_coco(content)
    except DataError as error:
        raise RequestError(str(error)) from None
    named: defaultdict[str, list[Drawing]] = defaultdict(list)
    for drawing in drawings:
        name = PurePosixPath(drawing.file.replace("\\", "/")).name
        for key in {name, name.rpartition(".")[0] or name}:
            named[key].append(drawing)
    found = {}
    for case in cases:
        fitting = named[case.case] or [one for image in case.images.values() for one in named[image.name]]
        if len(fitting) > 1:
            raise RequestError(f"the COCO file lists {len(fitting)} pictures named as case {case.case}; expected one")
        if fitting:
            found[case.case] = fitting[0]
    return found


def _placed(grid: Geometry, own: Geometry) -> Geometry:
    """A picture's label map has no place: the grid with that of a prediction of its size. Others stay."""
    if len(grid.shape) != 2 or not np.array_equal(grid.affine, np.eye(4)):
        return grid
    return Geometry(grid.shape, own.affine) if (*own.shape, 1)[:3] == (*grid.shape, 1) else grid


def _of_picture(path: Path, grid: Geometry) -> LabelMap | None:
    """Segment numbers of a SEG of a photograph, which has no place but the picture's own pixels; None for others.

    Raises:
        GeometryError: The picture has another size.
    """
    label, own = read_seg(path)
    if not np.array_equal(own.affine, np.diag([*own.spacing[:2], 1.0, 1.0])):
        return None
    if own.shape != grid.shape:
        raise GeometryError(f"expected a SEG of {grid.describe()}; found {own.describe()}. Predict on that picture")
    return label


def _values(
    structures: Iterable[Structure], labels: Mapping[int, str], rules: Sequence[StructureRule]
) -> dict[str, int]:
    """Structure key to label value; structures that are no label are left out.

    Raises:
        LabelError: There are structures, and none is a label.
    """
    values = {name_key(name): value for value, name in labels.items()}
    names = {one.key: next((rule.label or one.name for rule in rules if rule.fits(one)), "") if rules else one.name
             for one in structures}  # fmt: skip
    found = {key: values[name_key(name)] for key, name in names.items() if name_key(name) in values}
    if not found and len(names) == len(labels) == 1 and not rules:
        return dict.fromkeys(names, next(iter(labels)))
    if names and not found:
        raise LabelError(
            f"none of its {len(names)} structures is a label of the manifest ({', '.join(labels.values())}); expected "
            "structures of these names, or say which are meant with --structure 'PATTERN=LABEL'"
        )
    return found


def _order(labels: Mapping[int, str], rules: Sequence[StructureRule]) -> tuple[int, ...]:
    """Label values in order of the rules that name their labels."""
    values = {name_key(name): value for value, name in labels.items()}
    named = [
        values[name_key(rule.label or rule.pattern)] for rule in rules if name_key(rule.label or rule.pattern) in values
    ]
    return tuple(dict.fromkeys(named))
