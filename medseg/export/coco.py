"""COCO: the outlines of a model on pictures, in one JSON as annotation tools read it, or on a volume's slices.

Format: https://cocodataset.org/#format-data (object detection), as `medseg.data.convert_coco` writes a data set: each
connected component of a label is an annotation whose mask is in compressed run lengths, equal in every pixel. ``score``
is the mean probability over the component, as `pycocotools` wants it of results. A picture on which nothing was found
is listed and has no annotation. What is found waits in a hidden file, a line a picture, until the JSON is written, so
that a kill loses nothing. A volume gets a file of its own, whose images are its slices (`write_coco_volume`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from medseg.data.card import LabelInfo
from medseg.data.convert_coco import annotations_of
from medseg.data.drawing_coco import is_coco
from medseg.data.exchange import read_json
from medseg.data.files import append_line, atomic_write
from medseg.data.label_stack import geometry_json, slice_name
from medseg.data.source import Input
from medseg.errors import DataError, ManifestError, RequestError
from medseg.export.dicom_source import Algorithm
from medseg.export.label_values import require_described
from medseg.inference.predict import Prediction
from medseg.privacy.audit import gate

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex

__all__ = ["COCO_FILE", "CocoFile", "write_coco_volume"]

COCO_FILE: Final = "instances.json"
"""Name of the file in the folder of the predictions."""


class CocoFile:
    """The COCO file of a folder of predictions; pictures that it lists already stay as they are.

    What a command that was killed had found by then is taken over; a line torn by the kill is passed over.

    Args:
        path: The file, which may be there already from a run that was stopped.
        labels: Label value to name; the values are the ids of the categories.
        algorithm: What predicts.

    Raises:
        RequestError: The file is there, and is damaged or of other labels or another model.
    """

    def __init__(self, path: Path, *, labels: Mapping[int, LabelInfo], algorithm: Algorithm) -> None:
        self._path = path
        self._content = _empty(labels, algorithm)
        if path.exists():
            self._content = self._stated()
        self._pictures = {entry.get("file_name") for entry in self._content["images"]}
        self._lines = path.with_name(f".{path.stem}.jsonl")
        self._take_over_lines()

    def holds(self, source: Input) -> bool:
        """Whether the picture of an input is listed."""
        return bool(source.picture) and source.picture in self._pictures

    def add(self, prediction: Prediction, source: Input, *, identities: IdentityIndex | None = None) -> None:
        """List a picture and what was found on it, and note it on the disk.

        Args:
            prediction: Axes (x, y), with probabilities.
            source: The input; names the picture.
            identities: Identities of this project that the gate looks for, beside its patterns.

        Raises:
            DataError: The image is no picture in a file.
            PrivacyError: The gate found something that identifies, such as the name of the picture.
        """
        if not source.picture:
            raise DataError(
                "the one file of COCO lists pictures (JPEG, PNG, TIFF, BMP); others get a file of their own"
            )
        columns, rows = prediction.label_map.shape
        certainty = None if prediction.probabilities is None else prediction.probabilities.max(axis=0)
        image = {"file_name": source.picture, "width": columns, "height": rows}
        found = annotations_of(prediction.label_map, image_id=1, first_id=1, certainty=certainty)
        line = json.dumps({"image": image, "annotations": found})
        append_line(self._lines, gate(line, name=COCO_FILE, tier="shareable", identities=identities))
        self._list(image, found)

    def _list(self, image: Mapping[str, Any], found: Sequence[Mapping[str, Any]]) -> None:
        """Take a picture and its annotations, numbered behind the others."""
        number, known = len(self._content["images"]) + 1, self._content["annotations"]
        self._content["images"].append({"id": number, **image})
        known += [{**one, "id": place, "image_id": number} for place, one in enumerate(found, start=len(known) + 1)]
        self._pictures.add(image["file_name"])

    def _take_over_lines(self) -> None:
        for line in self._lines.read_text(encoding="utf-8").splitlines() if self._lines.is_file() else ():
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if told["image"]["file_name"] not in self._pictures:
                self._list(told["image"], told["annotations"])

    def save(self, *, identities: IdentityIndex | None = None) -> None:
        """Write the file, once it has passed the privacy gate; none where nothing is listed.

        Args:
            identities: Identities of this project that the gate looks for, beside its patterns.

        Raises:
            PrivacyError: The gate found something that identifies, such as the name of a picture.
        """
        if not self._pictures:
            return
        text = gate(json.dumps(self._content) + "\n", name=COCO_FILE, tier="shareable", identities=identities)
        with atomic_write(self._path, mode="w") as stream:
            stream.write(text)
        self._lines.unlink(missing_ok=True)

    def _stated(self) -> dict[str, Any]:
        other = RequestError(
            f"the output folder holds {COCO_FILE} of another model or other labels, or a damaged one; choose another "
            "folder"
        )
        try:
            found = read_json(self._path)
        except ManifestError:
            raise other from None
        same = all(found.get(key) == self._content[key] for key in ("info", "categories"))
        if not same or not is_coco(found) or not all(_names_a_file(entry) for entry in found["images"]):
            raise other
        return found


def write_coco_volume(
    prediction: Prediction, path: Path, *, labels: Mapping[int, LabelInfo], algorithm: Algorithm
) -> None:
    """Write the outlines on each slice of a volume, and where the slices lie, as one COCO file.

    `medseg.data.coco_volume.read_coco_volume` reads the very label map back, at its place.

    Args:
        prediction: Axes (x, y[, z]); a slice is what has one z. A 2D image is one slice, and gets no place.
        path: Ends in ``.coco.json``.
        labels: Label value to name; the values are the ids of the categories.
        algorithm: What predicted.

    Raises:
        LabelError: A value isn't described, or is above 255.
    """
    require_described(prediction.label_map, labels, highest=255)
    content = _empty(labels, algorithm)
    label = np.atleast_3d(prediction.label_map)
    certainty = None if prediction.probabilities is None else prediction.probabilities.max(axis=0).reshape(label.shape)
    for number in range(label.shape[2]):
        image = {
            "id": number + 1,
            "file_name": slice_name(number + 1),
            "width": label.shape[0],
            "height": label.shape[1],
        }
        content["images"].append(image)
        content["annotations"] += annotations_of(
            label[..., number],
            image_id=number + 1,
            first_id=len(content["annotations"]) + 1,
            certainty=None if certainty is None else certainty[..., number],
        )
    if prediction.label_map.ndim == 3:
        content["geometry"] = geometry_json(prediction.geometry)
    with atomic_write(path, mode="w") as stream:
        stream.write(json.dumps(content) + "\n")


def _empty(labels: Mapping[int, LabelInfo], algorithm: Algorithm) -> dict[str, Any]:
    return {
        "info": {
            "description": f"Predicted by {algorithm.name}",
            "version": algorithm.version,
            "model": algorithm.model_id,
        },
        "licenses": [],
        "images": [],
        "categories": [{"id": value, "name": info.name} for value, info in sorted(labels.items())],
        "annotations": [],
    }


def _names_a_file(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("file_name"), str)
