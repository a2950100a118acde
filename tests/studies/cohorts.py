"""A small labelled cohort on disk with predictions of known quality."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from medseg.data.manifest import Card, Case, Manifest, read_manifest, write_manifest

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def save(array: np.ndarray, path: Path, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def ball(centre: tuple[float, ...], radius: float, shape: tuple[int, ...] = (24, 22, 12)) -> np.ndarray:
    grid = np.indices(shape)
    distance = sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True))
    return (distance <= radius**2).astype(np.uint8)


def write_cohort(folder: Path, *, patients: int = 6) -> tuple[Manifest, Path]:
    """Manifest of one case a patient, and a folder of predictions shifted by one voxel."""
    cases = []
    for i in range(patients):
        label = ball((10 + i % 3, 10, 6), 3 + i % 2)
        image = (100 * label + np.random.default_rng(i).normal(0, 10, label.shape)).astype(np.float32)
        cases.append(
            Case(
                case=f"C{i:03d}",
                patient=f"P{i:03d}",
                images={"image": save(image, folder / f"images/C{i:03d}.nii.gz")},
                label=save(label, folder / f"labels/C{i:03d}.nii.gz"),
                modality="CT",
            )
        )
        save(np.roll(label, 1, axis=0), folder / f"predictions/C{i:03d}.nii.gz")
    card = Card.model_validate({"title": "Balls", "labels": {1: {"name": "lesion"}}, "modality": "CT"})
    write_manifest(Manifest(path=folder / "manifest.csv", cases=tuple(cases), card=card), folder / "manifest.csv")
    return read_manifest(folder / "manifest.csv"), folder / "predictions"
