"""Small cohorts on disk for the tests of manifest, split, leakage and fingerprint."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from medseg.data.manifest import Card, Case, Manifest, write_manifest

LESION_CARD = Card(title="volumes", modality="CT", channels=("CT",), labels={1: "lesion"})
SKIN_CARD = Card(title="pictures", modality="DERMOSCOPY", channels=("red", "green", "blue"), labels={1: "lesion"})


def save_nifti(array: np.ndarray, path: Path, *, spacing: tuple[float, ...] = (1.0, 1.0, 2.0)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing, 1.0])), path)
    return path


def volume_cohort(folder: Path, *, cases: int = 8, per_patient: int = 1, seed: int = 0) -> Manifest:
    """Volumes of smooth noise with a block as lesion; case 0 has an empty label."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(cases):
        coarse = generator.normal(size=(4, 4, 3))
        image = np.kron(coarse, np.ones((4, 4, 4))) * 100 + generator.normal(size=(16, 16, 12))
        label = np.zeros((16, 16, 12), dtype=np.uint8)
        if number:
            label[3 : 4 + number % 5 + 1, 3:9, 2:8] = 1
        name = f"C{number:04d}"
        rows.append(
            Case(
                case=name,
                patient=f"P{number // per_patient:04d}",
                images={"CT": save_nifti(image.astype(np.float32), folder / "images" / f"{name}.nii.gz")},
                label=save_nifti(label, folder / "labels" / f"{name}.nii.gz"),
                modality="CT",
                site="AB"[number % 2],
                covariates={"sex": "FM"[number // 2 % 2]},
            )
        )
    manifest = Manifest(path=folder / "manifest.csv", cases=tuple(rows), card=LESION_CARD)
    write_manifest(manifest, manifest.path)
    return manifest


def picture_cohort(folder: Path, *, cases: int = 6, seed: int = 0) -> Manifest:
    """RGB JPEGs of smooth colour noise with a PNG mask of 0 and 255."""
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(cases):
        name = f"S{number:03d}"
        coarse = generator.integers(0, 256, size=(6, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((96, 72), Image.Resampling.BICUBIC)
        mask = np.zeros((72, 96), dtype=np.uint8)
        mask[20:40, 30 : 50 + number] = 255
        paths = {"image": folder / "images" / f"{name}.jpg"}
        label = folder / "masks" / f"{name}.png"
        for path in (paths["image"], label):
            path.parent.mkdir(parents=True, exist_ok=True)
        image.save(paths["image"], quality=95)
        Image.fromarray(mask).save(label)
        rows.append(Case(case=name, patient=name, images=paths, label=label, modality="DERMOSCOPY"))
    manifest = Manifest(path=folder / "manifest.csv", cases=tuple(rows), card=SKIN_CARD)
    write_manifest(manifest, manifest.path)
    return manifest
