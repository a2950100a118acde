"""What `fuzz_readers.py` needs of files that are read together with others: a label file and its image, a medium.

A tree is a few files of which some are mutated; it is imported as a whole. Mutations that keep the form of a file reach
deeper than flipped bits do: elements of DICOM are emptied, removed, repeated, retyped and set to extremes at any depth,
and numbers, names and punctuation of text (JSON, XML, headers of NRRD and NIfTI's kin) are exchanged.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.fileset import FileSet

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medseg.data.importer import ImportOptions, import_tree
from medseg.data.readers import read_geometry, read_label, read_volume
from medseg.data.reading import Reading
from medseg.data.recognise import Choice
from tests.data.dicom_factory import make_enhanced, make_item, make_series
from tests.data.seg_factory import make_seg, segment_numbers, source_images
from tests.data.test_rtstruct import _square, _structure_set

_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")
_NUMBERS = (b"0", b"-1", b"1e308", b"-1e400", b"4294967296", b"99999999999999999999", b"NaN", b"null", b'""', b"[]",
            b"{}", b"0.5", b"1 2", b"true", b'"x"', b"65536", b"2147483647")  # fmt: skip
_EXTREMES = (0, 1, -1, 2, 255, 65535, 1e308, -1e308, 0.5, 32767)
_TEXTS = ("", "x", "0", "-1", "1e400", "nan", "999999999999", "1\\2\\3\\4\\5\\6\\7", "\\", "..\\..", "A" * 70, "1.2.3")


@dataclass(frozen=True, eq=False)
class Tree:
    """Files that are imported together.

    Attributes:
        files: Path in the tree to content.
        hostile: Those that are mutated, one at a time.
        source: What is imported, relative to the tree; empty for all of it.
        options: How.
        label: What is read as a volume and as a label map instead of an import, relative to the tree.
    """

    files: dict[str, bytes]
    hostile: tuple[str, ...]
    source: str = ""
    options: ImportOptions = field(default_factory=ImportOptions)
    label: str = ""

    def with_mutant(self, content: bytes, name: str) -> Tree:
        """The tree with one file replaced."""
        return replace(self, files={**self.files, name: content})


def read_tree(tree: Tree, folder: Path) -> None:
    """Write a tree and import it, or read its label map."""
    source = folder / "in"
    try:
        for name, content in tree.files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if tree.label:
            read_geometry(source / tree.label)
            read_volume(source / tree.label)
            read_label(source / tree.label)
        else:
            import_tree(source / tree.source, folder / "out", options=tree.options)
    finally:
        shutil.rmtree(source, ignore_errors=True)
        shutil.rmtree(folder / "out", ignore_errors=True)


def mutate_text(data: bytes, rng: np.random.Generator) -> bytes:
    """Exchange a number, a word or a sign, remove or repeat a part."""
    match int(rng.integers(0, 5)):
        case 0 | 1:
            found = list(_NUMBER.finditer(data))
            if not found:
                return data
            one = found[int(rng.integers(0, len(found)))]
            return data[: one.start()] + _NUMBERS[int(rng.integers(0, len(_NUMBERS)))] + data[one.end() :]
        case 2:
            place, length = int(rng.integers(0, len(data))), int(rng.integers(1, 30))
            return data[:place] + data[place + length :]
        case 3:
            words = list(re.finditer(rb"[A-Za-z_]{2,}", data))
            if len(words) < 2:
                return data
            first, second = (words[int(n)] for n in rng.integers(0, len(words), 2))
            return data[: first.start()] + second.group() + data[first.end() :]
        case _:
            place, length = int(rng.integers(0, len(data))), int(rng.integers(1, 200))
            return data[:place] + data[place : place + length] * int(rng.integers(2, 50)) + data[place:]


def mutate_dicom(data: bytes, rng: np.random.Generator) -> bytes:
    """Change one to three elements, at any depth; the bytes as they were where pydicom can't read or write them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            for _ in range(int(rng.integers(1, 4))):
                _change_element(dataset, rng)
            stream = io.BytesIO()
            pydicom.dcmwrite(stream, dataset)
        except Exception:
            # Whatever pydicom refuses to write is no mutant.
            return data
        return stream.getvalue()


def _change_element(dataset: Dataset, rng: np.random.Generator) -> None:
    parents: list[Dataset] = []
    waiting = [dataset]
    while waiting:
        one = waiting.pop()
        if len(one):
            parents.append(one)
        for element in one:
            if element.VR == "SQ":
                waiting += list(element.value)
    # Half of the time in the outermost data set, which has the fewest elements and the most weight.
    parent = dataset if rng.random() < 0.5 else parents[int(rng.integers(0, len(parents)))]
    element = list(parent)[int(rng.integers(0, len(parent)))]
    match int(rng.integers(0, 6)):
        case 0:
            del parent[element.tag]
        case 1:
            element.value = None if element.VR != "SQ" else []
        case 2 if element.VR == "SQ" and element.value:
            element.value = list(element.value) * 2
        case 3 if element.VR == "SQ" and element.value:
            element.value = list(element.value)[: int(rng.integers(0, len(element.value)))]
        case _:
            _change_value(element, rng)


def _change_value(element: Any, rng: np.random.Generator) -> None:
    if element.VR in ("US", "SS", "UL", "SL", "FL", "FD", "US or SS"):
        element.value = _EXTREMES[int(rng.integers(0, len(_EXTREMES)))]
        if element.VR not in ("FL", "FD"):
            element.value = max(0, int(min(element.value, 65535)))
    elif element.VR in ("OB", "OW", "OF", "OD", "UN"):
        element.value = bytes(element.value or b"")[: int(rng.integers(0, 64)) * 2]
    elif element.VR != "SQ":
        element._value = _TEXTS[int(rng.integers(0, len(_TEXTS)))]


def trees(scratch: Path) -> dict[str, Tree]:
    """One small tree of each kind of label file, of an enhanced image, of a PET, of a medium and of an archive."""
    made: dict[str, Callable[[Path], Tree]] = {
        "SEG": _seg, "fractional SEG": lambda root: _seg(root, kind="FRACTIONAL"),
        "label map SEG": lambda root: _seg(root, kind="LABELMAP"), "RTSTRUCT": _rtstruct, "enhanced": _enhanced,
        "PET": _pet, "resampled": _irregular, "DICOMDIR": _medium, "zip": _archive, "COCO": _coco, "Labelme": _labelme,
        "CVAT": _cvat, "3D Slicer": _slicer, "Pascal VOC": _voc, "MSD": _decathlon,
    }  # fmt: skip
    return {name: make(scratch / name.replace(" ", "_")) for name, make in made.items()}


def files_of(root: Path) -> dict[str, bytes]:
    """The files below a folder, by their places in it."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def _seg(root: Path, *, kind: str = "BINARY") -> Tree:
    series = make_series((3, 6, 7))
    series.write(root / "ct")
    voxels = segment_numbers((3, 6, 7), values=1)
    made = make_seg(source_images(series), voxels.astype(float) if kind == "FRACTIONAL" else voxels, kind=kind)
    made.save_as(root / "seg.dcm")
    return Tree(files_of(root), ("seg.dcm", "ct/IM0001.dcm"))


def _rtstruct(root: Path) -> Tree:
    series = make_series((4, 12, 14))
    series.write(root / "ct")
    drawn = {
        "GTV": [("CLOSED_PLANAR", _square(2, 9, z)) for z in (1, 2)] + [("CLOSED_PLANAR", _square(4, 6, 1))],
        "point": [("POINT", [(12, 10, 1)])],
    }
    _structure_set(root / "rs.dcm", series, drawn)
    return Tree(files_of(root), ("rs.dcm", "rs.dcm", "ct/IM0001.dcm"))


def _enhanced(root: Path) -> Tree:
    root.mkdir(parents=True)
    data = make_enhanced(make_series((4, 6, 7)))
    for number, frame in enumerate(data.PerFrameFunctionalGroupsSequence):
        content = make_item(StackID=str(number // 2 + 1), InStackPositionNumber=number % 2 + 1)
        content.DimensionIndexValues = [number // 2 + 1, number % 2 + 1]
        frame.FrameContentSequence = [content]
    pointers = ((0x00209056, 0x00209111), (0x00209057, 0x00209111))
    data.DimensionIndexSequence = [make_item(DimensionIndexPointer=a, FunctionalGroupPointer=b) for a, b in pointers]
    data.save_as(root / "enhanced.dcm", enforce_file_format=True)
    return Tree(files_of(root), ("enhanced.dcm",))


def _pet(root: Path) -> Tree:
    dose = make_item(
        RadionuclideTotalDose=3.7e8, RadionuclideHalfLife=6586.2, RadiopharmaceuticalStartTime="110000",
        RadiopharmaceuticalStartDateTime="20200101110000",
    )  # fmt: skip
    extra = {
        "Units": "BQML", "DecayCorrection": "START", "CorrectedImage": ["ATTN", "DECY"], "PatientWeight": 70,
        "PatientSize": 1.7, "PatientSex": "F", "SeriesDate": "20200101", "SeriesTime": "120000",
        "AcquisitionDate": "20200101", "AcquisitionTime": "120000", "FrameReferenceTime": 0,
        "RadiopharmaceuticalInformationSequence": [dose],
    }  # fmt: skip
    make_series((3, 6, 7), modality="PT", extra=extra).write(root)
    options = ImportOptions(choice=Choice(reading=Reading(suv="lbm")))
    return Tree(files_of(root), ("IM0000.dcm", "IM0001.dcm"), options=options)


def _irregular(root: Path) -> Tree:
    series = make_series((6, 8, 9))
    del series.slices[2]
    series.write(root)
    options = ImportOptions(choice=Choice(reading=Reading(resample_irregular=True)))
    return Tree(files_of(root), ("IM0000.dcm", "IM0003.dcm"), options=options)


def _medium(root: Path) -> Tree:
    files = FileSet()
    for data in source_images(make_series((2, 6, 7))):
        data.StudyDate, data.StudyTime, data.StudyID, data.SeriesNumber = "20200101", "120000", "1", 1
        files.add(data)
    files.write(root)
    return Tree(files_of(root), ("DICOMDIR",), source="DICOMDIR")


def _archive(root: Path) -> Tree:
    make_series((2, 6, 7)).write(root)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files_of(root).items():
            archive.writestr(f"a/{name}", content)
    return Tree({"a.zip": stream.getvalue()}, ("a.zip",), source="a.zip")


def _picture(kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3)).astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


def _coco(_root: Path) -> Tree:
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 30, "height": 20}],
        "categories": [{"id": 7, "name": "lesion"}, {"id": 8, "name": "hair"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 7, "segmentation": [[5, 5, 10, 5, 10, 9, 5, 9]]},
            {"id": 2, "image_id": 1, "category_id": 8, "segmentation": {"size": [20, 30], "counts": [300, 7, 293]}},
        ],
    }
    return Tree({"a.png": _picture(), "a.json": json.dumps(content).encode()}, ("a.json",))


def _labelme(_root: Path) -> Tree:
    mask = io.BytesIO()
    Image.new("L", (4, 3), 255).save(mask, "PNG")
    shapes = [
        {"label": "lesion", "shape_type": "polygon", "points": [[5, 5], [10, 5], [10, 9]]},
        {"label": "lesion", "shape_type": "circle", "points": [[20, 10], [23, 10]]},
        {"label": "hair", "shape_type": "rectangle", "points": [[1, 1], [3, 4]]},
        {"label": "hair", "shape_type": "mask", "points": [[12, 14], [15, 16]],
         "mask": base64.b64encode(mask.getvalue()).decode()},
    ]  # fmt: skip
    content = {"imagePath": "a.png", "imageWidth": 30, "imageHeight": 20, "shapes": shapes}
    return Tree({"a.png": _picture(), "a.json": json.dumps(content).encode()}, ("a.json",))


def _cvat(_root: Path) -> Tree:
    text = (
        b'<?xml version="1.0"?><annotations>'
        b"<meta><task><labels><label><name>lesion</name></label></labels></task></meta>"
        b'<image id="0" name="a.png" width="30" height="20">'
        b'<polygon label="lesion" points="5,5;10,5;10,9" z_order="1"/>'
        b'<box label="lesion" xtl="1" ytl="1" xbr="4" ybr="5" rotation="10" z_order="0"/>'
        b'<ellipse label="lesion" cx="20" cy="10" rx="3" ry="2"/>'
        b'<mask label="lesion" rle="2, 5, 5" left="15" top="14" width="4" height="3"/></image></annotations>'
    )
    return Tree({"a.jpg": _picture("JPEG"), "a.png": _picture(), "a.xml": text}, ("a.xml",))


def _slicer(root: Path) -> Tree:
    root.mkdir(parents=True)
    affine = np.diag([1.5, 1.5, 3, 1])
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 7, 5), np.float32), affine), root / "scan.nii")
    layers = np.zeros((5, 7, 8, 2), np.uint8)
    layers[2, 2:4, 2:5, 0], layers[3, 2:4, 2:5, 1] = 1, 1
    image = sitk.GetImageFromArray(layers, isVector=True)
    image.SetSpacing((1.5, 1.5, 3.0))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    for number in (0, 1):
        for key, value in (("Name", f"part {number}"), ("LabelValue", "1"), ("Layer", str(number)), ("Color", "1 0 0")):
            image.SetMetaData(f"Segment{number}_{key}", value)
    sitk.WriteImage(image, str(root / "scan.seg.nrrd"))
    return Tree(files_of(root), ("scan.seg.nrrd",))


def _voc(_root: Path) -> Tree:
    mask = Image.fromarray(np.pad(np.ones((4, 5), np.uint8), ((2, 14), (3, 22))))
    mask.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
    stream = io.BytesIO()
    mask.save(stream, "PNG")
    colours = b"# label:color_rgb:parts:actions\nbackground:0,0,0::\nlesion:128,0,0::\n"
    pictures = {"JPEGImages/a.jpg": _picture("JPEG"), "SegmentationClass/a.png": stream.getvalue()}
    return Tree({**pictures, "labelmap.txt": colours}, ("labelmap.txt", "SegmentationClass/a.png", "JPEGImages/a.jpg"))


def _decathlon(root: Path) -> Tree:
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
        voxels = np.pad(np.ones((2, 2, 2), np.uint8), 1)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), root / folder / "a.nii.gz")
    content = {"name": "x", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "lesion"}, "licence": "none",
               "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}], "test": []}  # fmt: skip
    (root / "dataset.json").write_text(json.dumps(content))
    return Tree(files_of(root), ("dataset.json", "dataset.json", "labelsTr/a.nii.gz"))
