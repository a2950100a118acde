"""Data sets to import for tests, in NIfTI, whose names and headers identify somebody."""

from __future__ import annotations

import csv
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from medseg.data.importer import ImportOptions, ImportReport, import_tree
from medseg.data.manifest import Manifest, read_manifest

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
NAME = "Mustermann"


def write_volume(
    path: Path, *, seed: int = 0, shape: tuple[int, ...] = (6, 5, 4), affine: np.ndarray = AFFINE
) -> np.ndarray:
    """A NIfTI of noise that bears a name in its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    image = nib.Nifti1Image(array, affine)
    image.header["descrip"] = NAME.encode()
    nib.save(image, path)
    return array


def write_label(
    path: Path, *, values: tuple[int, ...] = (1,), affine: np.ndarray = AFFINE, shape=(6, 5, 4)
) -> np.ndarray:
    """A label map with two voxels of each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros(shape, np.uint8)
    for place, value in enumerate(values):
        array[place + 1, 2, 1:3] = value
    nib.save(nib.Nifti1Image(array, affine), path)
    return array


def write_pairs(root: Path, count: int = 3, *, images: str = "images", labels: str = "labels") -> None:
    """Volumes and label maps in two folders."""
    for number in range(count):
        write_volume(root / images / f"{NAME}_{number}.nii.gz", seed=number)
        write_label(root / labels / f"{NAME}_{number}.nii.gz")


def run_import(source: Path, out: Path, **options: object) -> ImportReport:
    """Import with these options."""
    return import_tree(source, out, options=ImportOptions(**options))


def refused(out: Path) -> dict[str, str]:
    """Input to reason, as ``refused.csv`` has them."""
    with (out / "refused.csv").open() as stream:
        return {row["input"]: row["reason"] for row in csv.DictReader(stream)}


def all_bytes(out: Path) -> bytes:
    """Names and contents of everything that was written, unpacked."""
    import gzip

    parts = []
    for path in sorted(out.rglob("*")):
        parts.append(str(path.relative_to(out)).encode())
        if path.is_file():
            content = path.read_bytes()
            parts.append(gzip.decompress(content) if path.suffix == ".gz" else content)
    return b"\n".join(parts)


def write_patients(root: Path) -> None:
    """A folder for each of four patients with PET, two of them with CT as well."""
    for number in range(4):
        folder = root / f"{NAME}_{number}"
        for kind in ["PET", *(["CT"] if number < 2 else [])]:
            write_volume(folder / f"{kind}_image.nii.gz", seed=number)
            write_label(folder / f"{kind}_mask.nii.gz")


def write_picture(path: Path, seed: int = 0) -> None:
    """A colour picture of noise, 12 x 8 pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (8, 12, 3)).astype(np.uint8)).save(path)


def write_mask(path: Path, rows: np.ndarray, *, palette: list[int] | None = None) -> None:
    """Rows of a mask as a PNG, with a palette where one is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(rows.astype(np.uint8))
    if palette is not None:
        image.putpalette(palette)
    image.save(path)


def import_beside(root: Path, **options: object) -> tuple[ImportReport, Manifest]:
    """Import into a folder ``out`` beside the source, and read its manifest."""
    return run_import(root, root.parent / "out", **options), read_manifest(root.parent / "out" / "manifest.csv")
