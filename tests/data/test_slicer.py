"""Segmentations of 3D Slicer: names, layers, grids; written here by ITK with Slicer's header fields."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from medseg.data.dicom_structures import StructureRule
from medseg.data.readers import read_label
from medseg.data.recognise import Choice
from medseg.errors import RequestError
from tests.data.import_factory import import_beside

AFFINE = np.array([[-1.5, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3, 5], [0, 0, 0, 1]], dtype=float)
SHAPE = (12, 10, 6)
TISSUE = (
    "TerminologyEntry:list~SCT^49755003^Morphologically Altered Structure~SCT^4147007^Mass~^^~Anatomic codes~^^~^^|"
)


def _image(folder: Path, name: str = "Mustermann") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), folder / f"{name}.nii.gz")


def _segmentation(
    path: Path, layers: list[np.ndarray], fields: dict[str, str], *, start: tuple[int, int, int] = (0, 0, 0)
) -> None:
    """Layers with axes (x, y, z) of the image's grid from `start` on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stack = np.stack(layers, axis=-1).transpose(2, 1, 0, 3)
    image = sitk.GetImageFromArray(stack if len(layers) > 1 else stack[..., 0], isVector=len(layers) > 1)
    to_lps = np.diag([-1, -1, 1])
    spacing = np.sqrt((AFFINE[:3, :3] ** 2).sum(axis=0))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((to_lps @ AFFINE[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((to_lps @ (AFFINE[:3, :3] @ np.array(start) + AFFINE[:3, 3])).tolist())
    for key, value in fields.items():
        image.SetMetaData(key, value)
    sitk.WriteImage(image, str(path), useCompression=True)


def _fields(*segments: tuple[str, int, int], **more: str) -> dict[str, str]:
    found = {}
    for number, (name, value, layer) in enumerate(segments):
        found |= {
            f"Segment{number}_Name": name,
            f"Segment{number}_LabelValue": str(value),
            f"Segment{number}_Layer": str(layer),
            f"Segment{number}_Color": "1 0.5 0",
            f"Segment{number}_Tags": TISSUE,
        }
    return found | more


def _box(low: tuple[int, int, int], high: tuple[int, int, int], shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    array = np.zeros(shape, np.uint8)
    array[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = 1
    return array


def test_one_name_is_one_label_whatever_value_each_file_gave_it(tmp_path: Path) -> None:
    for name, swapped in (("a", False), ("b", True)):
        _image(tmp_path / "in" / "images", name)
        lesion, liver = _box((1, 1, 1), (4, 4, 3)), _box((6, 6, 2), (9, 9, 5))
        numbers = (2, 1) if swapped else (1, 2)
        fields = _fields(("Lesion", numbers[0], 0), ("Liver", numbers[1], 0))
        _segmentation(
            tmp_path / "in" / "labels" / f"{name}.seg.nrrd", [lesion * numbers[0] + liver * numbers[1]], fields
        )
    report, manifest = import_beside(tmp_path / "in")
    assert report.refusals == ()
    names = {name.lower(): value for value, name in manifest.card.label_names().items()}
    for case in manifest.cases:
        label, _ = read_label(case.label)
        np.testing.assert_array_equal(label == names["lesion"], _box((1, 1, 1), (4, 4, 3)) == 1)
        np.testing.assert_array_equal(label == names["liver"], _box((6, 6, 2), (9, 9, 5)) == 1)
    info = manifest.card.labels[names["lesion"]]
    assert info.colour == (255, 128, 0)
    assert info.code is not None
    assert (info.code.value, info.code.scheme) == ("4147007", "SCT")


def test_a_segmentation_cropped_to_its_segments_lands_on_its_voxels(tmp_path: Path) -> None:
    _image(tmp_path / "in" / "images")
    small = _box((0, 0, 0), (2, 3, 1), (4, 5, 2))
    _segmentation(
        tmp_path / "in" / "labels" / "Mustermann.seg.nrrd", [small], _fields(("lesion", 1, 0)), start=(5, 2, 3)
    )
    _, manifest = import_beside(tmp_path / "in")
    label, _ = read_label(manifest.cases[0].label)
    np.testing.assert_array_equal(label, _box((5, 2, 3), (7, 5, 4)))


def test_segments_that_overlap_in_layers_need_an_order(tmp_path: Path) -> None:
    _image(tmp_path / "in" / "images")
    layers = [_box((1, 1, 1), (8, 8, 4)), _box((2, 2, 2), (4, 4, 3))]
    fields = _fields(("liver", 1, 0), ("lesion", 1, 1))
    _segmentation(tmp_path / "in" / "labels" / "Mustermann.seg.nrrd", layers, fields)
    with pytest.raises(RequestError, match=r"overlap.*--structure"):
        import_beside(tmp_path / "in")
    rules = (StructureRule.of("lesion"), StructureRule.of("liver"))
    _, manifest = import_beside(tmp_path / "in", choice=Choice(structures=rules))
    label, _ = read_label(manifest.cases[0].label)
    np.testing.assert_array_equal(label == 1, layers[1] == 1)
    assert (label == 2).sum() == layers[0].sum() - layers[1].sum()


def test_a_grid_that_is_not_the_images_is_refused(tmp_path: Path) -> None:
    _image(tmp_path / "in" / "images")
    path = tmp_path / "in" / "labels" / "Mustermann.seg.nrrd"
    _segmentation(path, [_box((1, 1, 1), (4, 4, 3))], _fields(("lesion", 1, 0)))
    image = sitk.ReadImage(str(path))
    image.SetOrigin([value + 0.6 for value in image.GetOrigin()])
    sitk.WriteImage(image, str(path))
    with pytest.raises(RequestError, match="voxels are not the image's"):
        import_beside(tmp_path / "in")


def test_a_value_without_segment_and_a_file_without_segments_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        _image(tmp_path / "in" / "images", name)
    lesion = _box((1, 1, 1), (4, 4, 3))
    _segmentation(tmp_path / "in" / "labels" / "a.seg.nrrd", [lesion], _fields(("lesion", 1, 0)))
    _segmentation(tmp_path / "in" / "labels" / "b.seg.nrrd", [lesion * 3], _fields(("lesion", 1, 0)))
    _segmentation(tmp_path / "in" / "labels" / "c.seg.nrrd", [lesion], {})
    report, _ = import_beside(tmp_path / "in")
    reasons = "\n".join(refusal.reason for refusal in report.refusals)
    assert report.cases == 1
    assert "the value 3, which no segment has" in reasons
    assert "no segment in its header" in reasons


def test_a_segment_without_a_name_gets_one(tmp_path: Path) -> None:
    _image(tmp_path / "in" / "images", "a")
    fields = _fields(("", 1, 0), Segment0_Tags="")
    _segmentation(tmp_path / "in" / "labels" / "a.seg.nrrd", [_box((1, 1, 1), (4, 4, 3))], fields)
    _, manifest = import_beside(tmp_path / "in")
    assert manifest.card.label_names() == {1: "structure 1"}


def test_a_code_s_meaning_is_the_scheme_s_own_words_not_the_file_s(tmp_path: Path) -> None:
    _image(tmp_path / "in" / "images")
    tags = TISSUE.replace("4147007^Mass", "4147007^Mass of Dr Muellermeier").replace("SCT^49755003", "99MEIER^1")
    fields = _fields(("Muellermeiers lesion", 1, 0)) | {"Segment0_Tags": tags}
    _segmentation(tmp_path / "in" / "labels" / "Mustermann.seg.nrrd", [_box((1, 1, 1), (4, 4, 3))], fields)
    _, manifest = import_beside(tmp_path / "in")
    info = manifest.card.labels[1]
    assert info.code is not None
    assert (info.name, info.code.meaning, info.category) == ("Mass 1", "Mass", None)
    written = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert b"eier" not in written.lower()
