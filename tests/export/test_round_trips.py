"""Every output format of every kind of input, there and back through import: the table of what a user may count on.

A volume's label map comes back voxel for voxel in every format that holds one, at its place in the patient within 0.001
mm; RTSTRUCT too, whose contours run half-way between voxels. What can't be written of an input is refused with the
reason. Labels have holes and single voxels (`blobs`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from medseg.data.dicom_structures import StructureRule
from medseg.data.importer import ImportOptions, import_tree
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label, read_volume
from medseg.data.recognise import Choice
from medseg.data.source import find_inputs
from medseg.data.volume import Geometry, Volume
from medseg.errors import GeometryError, ReadError
from medseg.export import write_nifti
from medseg.export.coco import COCO_FILE, CocoFile
from medseg.export.dicom_match import SeriesFinder, find_source_series, lay_on_series
from medseg.export.prediction import write_prediction
from medseg.inference.predict import Prediction
from medseg.inference.uncertainty import normalised_entropy
from medseg.studies.predicted import read_predicted
from tests.data.dicom_factory import make_enhanced, set_pixels
from tests.export.source_series import ALGORITHM, LABELS, blobs, clean_series, random_rotation
from tests.export.test_dicom_match import turned

DICOM = ("axial CT", "oblique CT", "enhanced CT")
CONVERTED = ("NIfTI", "NRRD", "MHA")
PICTURES = ("PNG", "JPEG")
SEGS = ("dicom-seg", "dicom-seg-labelmap", "dicom-seg-fractional")
LABEL_FORMATS = ("nifti", "nrrd", "png", "coco", *SEGS, "rtstruct")


def make_input(kind: str, folder: Path) -> None:
    """``folder/source`` to predict, and of converted kinds ``folder/dicom``, the series they were converted from."""
    if kind in PICTURES:
        pixels = np.random.default_rng(0).integers(0, 255, size=(20, 26, 3)).astype(np.uint8)
        (folder / "source").mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "source" / f"case.{'png' if kind == 'PNG' else 'jpg'}")
        return
    series = clean_series(rotation=None if kind == "axial CT" else random_rotation(11))
    place = folder / ("source" if kind in DICOM else "dicom")
    if kind == "enhanced CT":
        image = make_enhanced(series, order=[3, 1, 0, 2, 5, 4])
        for keyword, value in series.extra.items():
            setattr(image, keyword, value)
        place.mkdir(parents=True)
        image.save_as(place / "image.dcm", enforce_file_format=True)
        return
    series.write(place)
    if kind in CONVERTED:
        volume = turned(read_volume(place), axes=(1, 0, 2), flips=(False, True, True))
        path = folder / "source" / "case.nii.gz"
        write_nifti(volume.array[0].astype(np.uint16), volume.affine, path)
        if kind != "NIfTI":
            import SimpleITK as sitk

            sitk.WriteImage(sitk.ReadImage(path), path.with_name(f"case.{kind.lower()}"))
            path.unlink()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What `make_input` made of each kind, once."""
    root = tmp_path_factory.mktemp("inputs")
    for kind in (*DICOM, *CONVERTED, *PICTURES):
        make_input(kind, root / kind)
    return root


def predict(
    folder: Path, out: Path, output_format: str, *, label: np.ndarray | None = None
) -> tuple[Path, Prediction, Volume]:
    """Write a label map (without one, of blobs with holes) of the input in a folder; as the command does."""
    ((entry,), refusals) = find_inputs(folder / "source", keep_names=True)
    assert refusals == []
    volume = entry.read()
    label = blobs(volume.shape, seed=3) if label is None else label.reshape(volume.shape)
    share = np.random.default_rng(0).uniform(0.5, 0.9, size=volume.shape)
    classes = np.searchsorted([0, *LABELS], label)
    probabilities = np.stack([np.where(classes == n, share, (1 - share) / 2) for n in range(3)]).astype(np.float16)
    prediction = Prediction(label, volume.geometry, probabilities)
    if output_format == "coco" and entry.picture:
        coco = CocoFile(out / COCO_FILE, labels=LABELS, algorithm=ALGORITHM)
        coco.add(prediction, entry)
        coco.save()
        return out / COCO_FILE, prediction, volume
    written, seen, source = prediction, volume, entry
    if (folder / "dicom").is_dir() and output_format not in ("nifti", "nrrd", "png", "coco"):
        found = lay_on_series(prediction, entry, SeriesFinder(find_source_series(folder / "dicom")).find(volume))
        written, seen, source = found.prediction, found.volume, found.source
    path = write_prediction(written, seen, source, out, output_format=output_format, labels=LABELS, algorithm=ALGORITHM)
    return path, prediction, volume


def back(folder: Path, path: Path, out: Path) -> tuple[np.ndarray, Geometry, Volume, list[str]]:
    """Import an output beside its image: the label map, its grid, the image, and what was refused."""
    tree = out / "tree"
    series = folder / ("dicom" if (folder / "dicom").is_dir() and path.suffix == ".dcm" else "source")
    is_dicom = not any(series.glob("case.*"))
    shutil.copytree(series, tree / ("patient/series" if is_dicom else "images"))
    if is_dicom:
        place = tree / "patient"
    else:
        place = tree / ("labels" if path.name != COCO_FILE else ".")
        place.mkdir(exist_ok=True)
    shutil.copytree(path, place / path.name) if path.is_dir() else shutil.copy(path, place)
    rules = (StructureRule("tumour"), StructureRule("oedema"))
    names = {2: "tumour", 5: "oedema"}
    options = ImportOptions(choice=Choice(structures=rules, labels=names), labels=names)
    report = import_tree(tree, out / "imported", options=options)
    (case,) = read_manifest(out / "imported" / "manifest.csv").cases
    assert case.label is not None
    label, grid = read_label(case.label)
    return label, grid, read_volume(next(iter(case.images.values()))), [one.reason for one in report.refusals]


def assert_same_voxels(label: np.ndarray, grid: Geometry, expected: np.ndarray, place: Geometry) -> None:
    """Whether two label maps say the same of every point of the world, their axes in whatever order."""
    shape = (*label.shape, 1)[:3]
    assert sorted(shape) == sorted((*expected.shape, 1)[:3])
    own = np.indices(shape).reshape(3, -1)
    world = grid.affine @ np.vstack([own, np.ones((1, own.shape[1]))])
    index = np.linalg.inv(place.affine) @ world
    whole = np.rint(index[:3]).astype(int)
    apart = place.affine @ np.vstack([whole, np.ones((1, own.shape[1]))]) - world
    assert np.linalg.norm(apart[:3], axis=0).max() < 1e-3
    there = expected.reshape((*expected.shape, 1)[:3])[tuple(whole)]
    assert np.array_equal(label.reshape(-1), there)


@pytest.mark.parametrize("output_format", LABEL_FORMATS)
@pytest.mark.parametrize("kind", [*DICOM, *CONVERTED])
def test_a_volume_s_label_map_comes_back_voxel_equal(kind, output_format, made, tmp_path):
    path, prediction, volume = predict(made / kind, tmp_path, output_format)
    label, grid, image, refused = back(made / kind, path, tmp_path)
    assert refused == []
    assert_same_voxels(label, grid, prediction.label_map, prediction.geometry)
    assert_same_voxels(image.array[0], image.geometry, volume.array[0], volume.geometry)


@pytest.mark.parametrize("output_format", ["nifti", "nrrd", "png", "coco"])
@pytest.mark.parametrize("kind", PICTURES)
def test_a_picture_s_label_map_comes_back_pixel_equal(kind, output_format, made, tmp_path):
    path, prediction, volume = predict(made / kind, tmp_path, output_format)
    label, grid, image, refused = back(made / kind, path, tmp_path)
    assert refused == []
    assert label.shape == prediction.label_map.shape
    assert_same_voxels(label, grid, prediction.label_map, prediction.geometry)
    assert np.array_equal(image.array, volume.array)


@pytest.mark.parametrize("output_format", ["nifti", "nrrd", "png", "coco", *SEGS])
def test_a_label_map_of_a_dicom_photograph_comes_back_pixel_equal_and_scores(output_format, tmp_path):
    """A photograph has neither position nor frame of reference: segments lie on its pixels."""
    series = clean_series((1, 20, 26))
    (image,) = series.slices
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    image.Modality = "XC"
    set_pixels(image, np.random.default_rng(0).integers(0, 255, size=(20, 26, 3)).astype(np.uint8))
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"):
        delattr(image, keyword)
    series.write(tmp_path / "in" / "source")
    path, prediction, _ = predict(tmp_path / "in", tmp_path / "out", output_format)
    label, grid, _, refused = back(tmp_path / "in", path, tmp_path)
    assert refused == []
    assert np.array_equal(label, prediction.label_map)
    names = {value: info.name for value, info in LABELS.items()}
    assert np.array_equal(read_predicted(path, grid, labels=names), label)
    with pytest.raises(GeometryError, match=r"Predict on|not the image"):
        read_predicted(path, Geometry((21, 26), np.eye(4)), labels=names)


@pytest.mark.parametrize("kind", [*DICOM, *CONVERTED])
def test_the_uncertainty_comes_back_value_for_value(kind, made, tmp_path):
    path, prediction, volume = predict(made / kind, tmp_path / "map", "dicom-uncertainty")
    import_tree(path.parent, tmp_path / "imported", options=ImportOptions())
    (case,) = read_manifest(tmp_path / "imported" / "manifest.csv").cases
    found = read_volume(next(iter(case.images.values())))
    expected = normalised_entropy(prediction.probabilities)
    assert_same_voxels(found.array[0], found.geometry, expected, volume.geometry)


@pytest.mark.parametrize("kind", [*DICOM, *CONVERTED])
def test_the_overlay_shows_every_slice_with_the_labels_in_colour(kind, made, tmp_path):
    path, prediction, _ = predict(made / kind, tmp_path / "map", "dicom-overlay")
    frames = pydicom.dcmread(path).pixel_array
    assert len(frames) == 6
    coloured = (frames[..., 0] != frames[..., 1]) | (frames[..., 1] != frames[..., 2])
    assert coloured.sum() == (prediction.label_map > 0).sum()


@pytest.mark.parametrize("kind", [*DICOM, *CONVERTED])
def test_the_report_measures_the_labels_and_the_series_values(kind, made, tmp_path):
    label = np.zeros(6 * 20 * 24, np.uint8)
    label[100:140], label[1500:1503] = 2, 5
    path, prediction, volume = predict(made / kind, tmp_path, "sr", label=label)
    told: dict[str, list[float]] = {"Volume": [], "Maximum": []}
    for group in _lesion_groups(pydicom.dcmread(path)):
        for item in group.ContentSequence:
            named = [item, *item.get("ContentSequence", [])] if item.ValueType == "NUM" else []
            codes = [getattr(one, "ConceptCodeSequence", one.ConceptNameCodeSequence)[0] for one in named]
            for meaning in {code.CodeMeaning for code in codes} & set(told):
                told[meaning].append(float(item.MeasuredValueSequence[0].NumericValue))
    voxel = abs(np.linalg.det(volume.affine[:3, :3]))
    assert sum(told["Volume"]) == pytest.approx((prediction.label_map > 0).sum() * voxel, rel=1e-4)
    assert max(told["Maximum"]) == pytest.approx(volume.array[0][prediction.label_map > 0].max(), rel=1e-4)


def _lesion_groups(report: pydicom.Dataset) -> list[pydicom.Dataset]:
    """Of the groups of measurements those that outline a lesion; the others are a label's."""
    (measurements,) = [
        item for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]  # fmt: skip
    return [
        group for group in measurements.ContentSequence
        if any(item.ValueType == "SCOORD" for item in group.ContentSequence)
    ]  # fmt: skip


@pytest.mark.parametrize("output_format", LABEL_FORMATS)
@pytest.mark.parametrize("kind", ["oblique CT", "NIfTI"])
def test_nothing_found_is_a_file_that_reads_as_an_empty_label_map(kind, output_format, made, tmp_path):
    path, _, _ = predict(made / kind, tmp_path / "none", output_format, label=np.zeros(6 * 20 * 24, np.uint8))
    if output_format in ("nifti", "nrrd", "png", "coco"):
        label = read_label(path)[0]
    else:
        label = read_label(path, image=made / kind / ("dicom" if kind == "NIfTI" else "source"))[0]
    assert label.size == 6 * 20 * 24
    assert not label.any()


@pytest.mark.parametrize("output_format", [*SEGS, "rtstruct", "dicom-uncertainty", "dicom-overlay", "sr"])
@pytest.mark.parametrize("kind", PICTURES)
def test_dicom_objects_of_a_picture_are_refused(kind, output_format, made, tmp_path):
    with pytest.raises(ReadError, match="this image is none"):
        predict(made / kind, tmp_path, output_format)
