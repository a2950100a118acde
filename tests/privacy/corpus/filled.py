"""Filled files: one of each class, with an identity in every attribute of its definition that can hold text.

Also in items of sequences, in UIDs, dates, codes and bytes. Which attributes there are comes from highdicom's copy of
DICOM PS3.3, read here by itself.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset

from medseg.privacy.vocabulary import words_in
from tests.privacy.corpus.senders import PIXEL_WORDS, item
from tests.privacy.corpus.slices import IMAGES, Who, image, save

CLASSES = (
    "1", "1.1", "1.2", "1.3", "2", "2.1", "2.2", "4", "4.1", "4.2", "4.4", "3.1", "6.1", "6.2", "7", "7.2", "7.3",
    "7.4", "11.1", "11.2", "11.4", "12.1", "12.1.1", "12.2", "13.1.1", "13.1.3", "14.1", "20", "30", "66.1", "66.2",
    "66.3", "66.5", "66.6", "67", "77.1.1", "77.1.2", "77.1.4", "77.1.5.1", "77.1.5.4", "77.1.6", "88.11", "88.22",
    "88.33", "88.34", "88.40", "88.50", "88.59", "88.67", "128", "128.1", "130", "481.1", "481.2",
    "481.3", "481.4", "481.5", "481.8",
)  # fmt: skip
"""Ends of the UIDs of what a hospital sends."""
_COLOUR = ("7.4", "77.1.1", "77.1.2", "77.1.4", "77.1.5.1", "77.1.6")
_SET_ALREADY = words_in(
    """
    PixelData FloatPixelData DoubleFloatPixelData PixelDataProviderURL SpecificCharacterSet EncapsulatedDocument
    ImageType PlanarConfiguration SegmentationType DimensionOrganizationType BurnedInAnnotation Modality
    RecognizableVisualFeatures PixelPresentation VolumetricProperties LossyImageCompression PatientPosition
    BodyPartExamined ContentSequence TransferSyntaxUID
    """
)
_DEEPEST = 3


def filled(tail: str) -> Callable[[Who], bytes]:
    """A file of the class with this end of its UID, filled with identities."""

    def make(who: Who) -> bytes:
        sop_class = IMAGES + tail
        attributes = _attributes(sop_class)
        ds = image(who, sop_class)
        ds.BodyPartExamined = "CHEST"
        has_pixels = ("PixelData",) in attributes
        for keyword in () if has_pixels else PIXEL_WORDS:
            delattr(ds, keyword)
        _fill(ds, who, attributes)
        if has_pixels:
            _set_pixels(ds, attributes, colour=tail in _COLOUR)
        return save(ds)

    return make


def _fill(ds: FileDataset, who: Who, attributes: tuple[tuple[str, ...], ...]) -> None:
    made: dict[tuple[str, ...], Dataset] = {(): ds}
    for path in attributes:
        parent, tag = made.get(path[:-1]), tag_for_keyword(path[-1])
        if parent is None or tag is None or len(path) > _DEEPEST or path[0] in _SET_ALREADY or path[-1] in parent:
            continue
        vr = dictionary_VR(tag).split(" or ")[0]
        if vr == "SQ":
            made[path] = Dataset()
            parent.add(DataElement(tag, "SQ", [made[path]]))
        elif vr in _VALUES:
            parent.add(DataElement(tag, vr, _VALUES[vr](who)))


_VALUES: dict[str, Callable[[Who], Any]] = {
    "PN": lambda who: who.person(),
    **dict.fromkeys(("LO", "SH", "ST", "LT", "UT", "UC"), lambda who: who.name()),
    **dict.fromkeys(("CS", "AE"), lambda who: who.name().upper()),
    **dict.fromkeys(("OB", "OW", "UN"), lambda who: who.name().encode("utf-16-le")),
    "UR": lambda who: f"https://{who.name().lower()}.example.org",
    "UI": lambda who: who.uid(),
    "AS": lambda _who: "093Y",
}


def _set_pixels(ds: FileDataset, attributes: tuple[tuple[str, ...], ...], *, colour: bool) -> None:
    frames = 1
    if ("SharedFunctionalGroupsSequence",) in attributes:
        ds.NumberOfFrames = frames = 2
        measures = item(PixelSpacing=[0.75, 0.75], SliceThickness=3.0, SpacingBetweenSlices=3.0)
        shared, each = ds.SharedFunctionalGroupsSequence[0], ds.PerFrameFunctionalGroupsSequence[0]
        shared.PixelMeasuresSequence = [measures]
        shared.PlaneOrientationSequence = [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
        both = []
        for number in range(frames):
            frame = Dataset.from_json(each.to_json())
            frame.PlanePositionSequence = [item(ImagePositionPatient=[0, 0, 3 * number])]
            frame.FrameContentSequence = [item(DimensionIndexValues=[1, number + 1])]
            both.append(frame)
        ds.PerFrameFunctionalGroupsSequence = both
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
            delattr(ds, keyword)
    if colour:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    shape = (frames, ds.Rows, ds.Columns, ds.SamplesPerPixel)
    ds.PixelData = np.random.default_rng(7).integers(0, 255, shape, np.uint8 if colour else np.uint16).tobytes()


@cache
def _attributes(sop_class: str) -> tuple[tuple[str, ...], ...]:
    """The attributes of a class as paths of keywords, the short ones first."""
    iod = _table("sop_class_iod_map")[sop_class]
    modules = _table("module_attribute_map")
    entries = (entry for module in _table("iod_module_map")[iod] for entry in modules.get(module["key"], ()))
    paths = dict.fromkeys((*entry["path"], entry["keyword"]) for entry in entries)
    return tuple(sorted(paths, key=len))


@cache
def _table(name: str) -> dict[str, Any]:
    found = importlib.util.find_spec("highdicom")
    assert found is not None
    assert found.origin is not None
    content: dict[str, Any] = json.loads((Path(found.origin).parent / "_standard" / f"{name}.json").read_text())
    return content
