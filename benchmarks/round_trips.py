"""Every format of every kind of image, there and back by the commands: predict, import, evaluate.

usage: python benchmarks/round_trips.py VOLUME_MODEL SERIES NIFTI PHOTO_MODEL PHOTOGRAPH

VOLUME_MODEL labels SERIES (a folder with one de-identified DICOM series) and NIFTI (the same image, converted);
PHOTO_MODEL labels PHOTOGRAPH (a JPEG), the same as PNG, and the same as DICOM. Of each the prediction in NIfTI is the
reference. Every other format is imported beside its image, and scored against the reference; printed is whether both
say the very same of every voxel, or why there is nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from typer.testing import CliRunner

from medseg.cli.app import app
from medseg.data.manifest import read_manifest
from medseg.data.readers import read_label
from medseg.data.volume import Geometry
from medseg.types import LabelMap

FORMATS = ("nifti", "nrrd", "png", "coco", "overlay", "dicom-seg", "dicom-seg-labelmap", "dicom-seg-fractional",
           "rtstruct", "dicom-uncertainty", "dicom-overlay", "sr")  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """One image to predict.

    Attributes:
        name: For the table.
        image: A file, or the folder of a series.
        model: What labels it.
        source: The series that it was converted from, or None.
    """

    name: str
    image: Path
    model: str
    source: Path | None = None


def run(*arguments: object) -> tuple[int, str, str]:
    """A command's status, output and messages."""
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    return result.exit_code, result.stdout, result.stderr


def there_and_back(kind: Kind, output_format: str, folder: Path, reference: Path, manifest: Path) -> str:
    """What a format of an image gives."""
    out = folder / output_format
    arguments = ["predict", kind.model, kind.image, out, "--format", output_format, "--fast", "--keep-names"]
    is_dicom = output_format in FORMATS[5:]
    status, _, said = run(*arguments, *(["--dicom-source", kind.source] if is_dicom and kind.source else []))
    made = sorted(out.glob("[!.]*")) if out.is_dir() else []
    if not made:
        return f"refused ({status}): {said.strip().splitlines()[-1]}"
    (path,) = made
    return f"{path.name}: import {_imported(kind, path, folder, reference)}, evaluate {_scored(path, folder, manifest)}"


def _imported(kind: Kind, path: Path, folder: Path, reference: Path) -> str:
    """Import the image and its prediction lying side by side."""
    tree, out = folder / f"tree_{path.name}", folder / f"back_{path.name}"
    _lay(kind, tree, path)
    labels = read_manifest_labels(folder)
    named = [part for value, name in labels.items() for part in ("--label", f"{value}={name}")]
    status, _, said = run("import", tree, out, *named)
    if status:
        return f"no ({said.strip().splitlines()[-1][:90]})"
    cases = read_manifest(out / "manifest.csv").cases
    if len(cases) > 1 or cases[0].label is None:
        return "as an image" if path.suffix == ".dcm" else "no label"
    (case,) = cases
    return "equal" if same(*read_label(case.label), *read_label(reference)) else "DIFFERENT"


def read_manifest_labels(folder: Path) -> dict[int, str]:
    """The labels that the reference's manifest names."""
    return read_manifest(folder / "data" / "manifest.csv").card.label_names()


def _scored(path: Path, folder: Path, manifest: Path) -> str:
    """Dice against the reference."""
    (case,) = read_manifest(manifest).cases
    place = folder / f"scored_{path.name}"
    place.mkdir()
    _, dot, ending = path.name.partition(".")
    target = place / (path.name if path.name == "instances.json" else f"{case.case}{dot}{ending}")
    shutil.copytree(path, target) if path.is_dir() else shutil.copy(path, target)
    if path.name == "instances.json":
        target.write_text(target.read_text().replace('"photo.', f'"{case.case}.'))
    status, told, said = run("evaluate", place, manifest, "--json")
    if status:
        return f"no ({said.strip().splitlines()[-1][:90]})"
    return f"Dice {json.loads(told)['mean_over_labels']['metrics']['dice']['mean']:.4f}"


def same(label: LabelMap, grid: Geometry, expected: LabelMap, place: Geometry) -> bool:
    """Whether two label maps say the same of every voxel, to within 0.001 mm, their axes in whatever order."""
    first, second = (np.atleast_3d(one) for one in (label, expected))
    if sorted(first.shape) != sorted(second.shape):
        return False
    a, b = grid.affine, place.affine
    own = np.indices(first.shape).reshape(3, -1)
    index = np.linalg.inv(b) @ a @ np.vstack([own, np.ones((1, own.shape[1]))])
    whole = np.rint(index[:3]).astype(int)
    apart = b @ np.vstack([whole, np.ones((1, own.shape[1]))]) - a @ np.vstack([own, np.ones((1, own.shape[1]))])
    if np.abs(apart[:3]).max() > 1e-3:
        return False
    return bool(np.array_equal(first.reshape(-1), second[tuple(whole)]))


def _lay(kind: Kind, tree: Path, label: Path) -> None:
    """Image and label map as a person would put them beside each other."""
    if label.suffix == ".dcm" or kind.image.is_dir():
        series = kind.image if kind.image.is_dir() else kind.source
        if series is not None:
            shutil.copytree(series, tree / "patient" / "series")
        else:
            (tree / "patient" / "series").mkdir(parents=True)
            shutil.copy(kind.image, tree / "patient" / "series")
        place = tree / "patient"
    else:
        (tree / "images").mkdir(parents=True)
        shutil.copy(kind.image, tree / "images")
        place = tree / ("labels" if label.suffix != ".json" else ".")
        place.mkdir(exist_ok=True)
    shutil.copytree(label, place / label.name) if label.is_dir() else shutil.copy(label, place)


def photograph_as_dicom(picture: Path, folder: Path) -> Path:
    """A VL photographic image of a JPEG's pixels, de-identified."""
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.Modality, data.PatientID, data.PatientName = "XC", "P0001", "P0001"
    data.PatientIdentityRemoved, data.DeidentificationMethod = "YES", "none was needed"
    data.PatientBirthDate = data.PatientSex = data.StudyDate = data.StudyTime = data.StudyID = ""
    data.AccessionNumber = data.ReferringPhysicianName = data.Manufacturer = ""
    data.SeriesNumber, data.InstanceNumber, data.SamplesPerPixel = 1, 1, 3
    data.PhotometricInterpretation, data.PlanarConfiguration = "RGB", 0
    data.Rows, data.Columns = pixels.shape[:2]
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    folder.mkdir(parents=True)
    data.save_as(folder / "image.dcm", enforce_file_format=True)
    return folder


def main() -> None:
    """Walk the table and print it."""
    volume_model, series, nifti, photo_model, photograph = sys.argv[1:]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "png").mkdir()
        Image.open(photograph).convert("RGB").save(root / "png" / "photo.png")
        shutil.copy(photograph, root / "photo.jpg")
        shutil.copy(nifti, root / "volume.nii.gz")
        kinds = [
            Kind("DICOM series", Path(series), volume_model),
            Kind("NIfTI volume", root / "volume.nii.gz", volume_model, Path(series)),
            Kind("JPEG", root / "photo.jpg", photo_model),
            Kind("PNG", root / "png" / "photo.png", photo_model),
            Kind("DICOM photograph", photograph_as_dicom(Path(photograph), root / "photo_dicom"), photo_model),
        ]
        for kind in kinds:
            folder = root / f"out_{kind.name.replace(' ', '_')}"
            status, told, said = run("predict", kind.model, kind.image, folder / "reference", "--fast", "--keep-names")
            assert status == 0, told + said
            (reference,) = (folder / "reference").glob("[!.]*")
            _lay(kind, folder / "reference_tree", reference)
            status, told, said = run("import", folder / "reference_tree", folder / "data", "--label", "1=lesion")
            assert status == 0, told + said
            print(f"{kind.name}: {int((read_label(reference)[0] > 0).sum()):,} labelled voxels")
            for output_format in FORMATS:
                found = there_and_back(kind, output_format, folder, reference, folder / "data" / "manifest.csv")
                print(f"  {output_format:22} {found}")


if __name__ == "__main__":
    main()
