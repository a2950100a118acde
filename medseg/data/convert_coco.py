"""COCO data set: pictures and one ``annotations/instances.json``, each component of a label an annotation.

Masks are compressed run lengths, so that the way back is equal in every pixel; ``category_id`` is the label value. The
picture's entry has ``fold``, the fold that holds it out, which COCO's own tools pass over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from medseg.data.cases import read_case_image, read_case_label
from medseg.data.dicom_labels import name_key
from medseg.data.drawing import drawing_source
from medseg.data.drawing_coco import is_coco, parse_coco
from medseg.data.exchange import ForeignCase, copy_bare, file_inside, write_image, write_json
from medseg.data.manifest import Card, Case, LabelInfo, Manifest
from medseg.data.rle import compress_runs, runs_of_mask
from medseg.data.volume import Geometry
from medseg.errors import ManifestError
from medseg.types import FloatArray, LabelMap

__all__ = ["annotations_of", "coco_cases", "export_coco"]


def annotations_of(
    label: LabelMap, *, image_id: int, first_id: int, certainty: FloatArray | None = None
) -> list[dict[str, Any]]:
    """COCO annotations of a label map, one for each connected component (8 neighbours) of each label.

    Args:
        label: Axes (x, y).
        image_id: Of the picture.
        first_id: Of the first annotation.
        certainty: Of a prediction the probability of each pixel's label, axes (x, y).

    Returns:
        Annotations with ``segmentation`` in compressed run lengths, ``bbox`` (x, y, width, height) and ``area``; with
        ``score``, the mean certainty over the component, where that is known.
    """
    import cc3d

    components, count = cc3d.connected_components(label.astype(np.uint8), connectivity=8, return_N=True)
    found = []
    for number in range(1, count + 1):
        mask = components == number
        across, down = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (across[0], down[0], across[-1] - across[0] + 1, down[-1] - down[0] + 1)
        score = {} if certainty is None else {"score": round(float(certainty[mask].mean(dtype=np.float64)), 4)}
        found.append(
            {
                "id": first_id + number - 1,
                "image_id": image_id,
                "category_id": int(label[across[0], :][mask[across[0], :]][0]),
                "segmentation": {"size": [mask.shape[1], mask.shape[0]], "counts": compress_runs(runs_of_mask(mask))},
                "bbox": [int(value) for value in box],
                "area": int(mask.sum()),
                "iscrowd": 0,
                **score,
            }
        )
    return found


def export_coco(
    manifest: Manifest, folder: Path, *, fold_of: Mapping[str, int], progress: Callable[[], None] | None
) -> dict[str, str]:
    """Write pictures and annotations.

    Returns:
        Case id to the name there, the same.

    Raises:
        DataError: A case cannot be read.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, case in enumerate(manifest.cases, start=1):
        picture, size = _export_picture(case, manifest.card, folder)
        entry: dict[str, Any] = {"id": number, "file_name": picture, "width": size[0], "height": size[1]}
        images.append(entry | ({"fold": fold_of[case.case]} if case.case in fold_of else {}))
        if case.label is not None:
            card = manifest.card
            grid = Geometry(size, np.eye(4))
            label = read_case_label(case, card=card, geometry=grid, ignore_label=card.ignore)
            annotations += annotations_of(label, image_id=number, first_id=len(annotations) + 1)
        else:
            images[-1]["unlabelled"] = True
        if progress is not None:
            progress()
    ignored = [{"id": manifest.card.ignore, "name": "ignore"}] if manifest.card.ignore is not None else []
    categories = [{"id": value, "name": name} for value, name in manifest.card.label_names().items()]
    content = {
        "info": {"description": manifest.card.title},
        "licenses": [{"id": 1, "name": manifest.card.licence, "url": ""}],
        "images": images,
        "categories": [*categories, *ignored],
        "annotations": annotations,
    }
    write_json(folder / "annotations" / "instances.json", content)
    return {case.case: case.case for case in manifest.cases}


def coco_cases(root: Path, content: Mapping[str, Any]) -> tuple[list[ForeignCase], Card]:
    """The cases of a COCO data set and its card.

    Raises:
        ManifestError: The file is no COCO, a picture is missing or lies outside, or a category doesn't fit a byte.
        ReadError: The file is damaged.
    """
    if not is_coco(content):
        raise ManifestError("expected COCO's images, annotations and categories; found another JSON")
    drawings, ids = parse_coco(content)
    try:
        ignore = ids.pop("ignore", None)
        card = Card(
            title=str(content.get("info", {}).get("description", "") or "data set")[:200],
            channels=("red", "green", "blue"),
            labels={number: LabelInfo(name=name) for name, number in ids.items()},
            ignore=ignore,
        )
    except (ValidationError, AttributeError):
        raise ManifestError(
            "COCO: expected categories with ids from 1 to 255 and names of their own; `medseg import` numbers others"
        ) from None
    values = {name_key(name): number for name, number in ids.items()} | ({"ignore": ignore} if ignore else {})
    cases = []
    for number, (drawing, image) in enumerate(zip(drawings, content["images"], strict=True), start=1):
        if drawing.problem:
            raise ManifestError(f"picture {number} of {len(drawings)}: {drawing.problem}")
        name = drawing.file if (root / drawing.file).exists() else f"images/{drawing.file}"
        path = file_inside(root, name, place=f"picture {number} of {len(drawings)}")
        label = None if image.get("unlabelled") else drawing_source(drawing, values)
        fold = image.get("fold")
        cases.append(ForeignCase(path.stem, (path,), label, fold=fold if isinstance(fold, int) else None))
    return cases, card


def _export_picture(case: Case, card: Card, folder: Path) -> tuple[str, tuple[int, int]]:
    """Copy the picture's own pixels where one file holds it, else write PNG; its name, columns and rows."""
    volume = read_case_image(case, channels=card.channels)
    columns, rows = volume.shape
    path = next(iter(case.images.values()))
    if len(case.images) == 1:
        target = folder / "images" / f"{case.case}{path.suffix.lower()}"
        copy_bare(path, target)
    else:
        target = folder / "images" / f"{case.case}.png"
        write_image(np.moveaxis(volume.array, 0, -1), volume.affine, target)
    return f"images/{target.name}", (columns, rows)
