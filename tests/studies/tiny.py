"""A data set of small volumes or pictures with a bright blob each, for studies that train in seconds."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from medseg.config import StudyConfig, parse_study
from medseg.data.manifest import Card, Case, LabelInfo, Manifest, write_manifest
from medseg.data.split import make_folds, write_folds


def blob(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """A ball of random place and size, as a boolean array."""
    centre = [generator.uniform(0.35, 0.65) * n for n in shape]
    radius = generator.uniform(0.18, 0.26) * min(shape)
    grids = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    return sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True)) < radius**2


def make_volumes(folder: Path, *, cases: int = 6, folds: int = 2, shape: tuple[int, ...] = (20, 22, 18)) -> Path:
    """Volumes with one label, a manifest and its folds; two cases a patient for the first patient."""
    generator = np.random.default_rng(5)
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(cases):
        name = f"C{number:03d}"
        mask = blob(shape, generator)
        image = generator.normal(0, 1, shape) + 4 * mask
        affine = np.diag([-1.5, 1.5, 2.0, 1.0]) if number % 2 else np.diag([1.5, 1.5, 2.0, 1.0])
        nib.save(nib.Nifti1Image(image.astype(np.float32), affine), folder / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), folder / f"{name}_label.nii.gz")
        rows.append(
            Case(
                case=name,
                patient=f"P{max(number - 1, 0):03d}",
                images={"image": folder / f"{name}.nii.gz"},
                label=folder / f"{name}_label.nii.gz",
                modality="MR",
            )
        )
    return _finish(folder, rows, ("image",), "MR", folds)


def make_pictures(folder: Path, *, cases: int = 6, folds: int = 2) -> Path:
    """RGB pictures of 64 x 48 pixels with one label, a manifest and its folds."""
    generator = np.random.default_rng(6)
    rows = []
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(cases):
        name = f"C{number:03d}"
        mask = blob((64, 48), generator)
        picture = generator.integers(150, 220, (64, 48, 3))
        picture[mask] -= 110
        Image.fromarray(picture.transpose(1, 0, 2).astype(np.uint8)).save(folder / f"{name}.png")
        Image.fromarray((mask.T * 255).astype(np.uint8)).save(folder / f"{name}_label.png")
        rows.append(
            Case(
                case=name,
                patient=f"P{number:03d}",
                images={"image": folder / f"{name}.png"},
                label=folder / f"{name}_label.png",
                modality="DERMOSCOPY",
            )
        )
    return _finish(folder, rows, ("red", "green", "blue"), "DERMOSCOPY", folds)


def tiny_study(manifest: Path, *, dims: int, iterations: int = 4, **train: object) -> StudyConfig:
    """A study whose training takes seconds."""
    patch = [16, 16, 16] if dims == 3 else [32, 32]
    return parse_study(
        {
            "name": "tiny",
            "device": "cpu",
            "data": {"manifest": str(manifest), "loader_workers": 0},
            "plan": {"patch_size": patch, "batch_size": 2, "iterations": iterations},
            "augment": {"flip": 0.5, "rotate": 0.5},
            "model": {"name": "unet", "base_features": 4, "levels": 2},
            "train": {"epoch_iterations": 2, **train},
            "inference": {"mirror": False},
            "metrics": {"bootstrap": 100},
            "track": {"enabled": False},
        }
    )


def _finish(folder: Path, rows: list[Case], channels: tuple[str, ...], modality: str, folds: int) -> Path:
    card = Card(title="tiny", channels=channels, labels={1: LabelInfo(name="lesion")}, modality=modality)
    path = folder / "manifest.csv"
    manifest = Manifest(path=path, cases=tuple(rows), card=card)
    write_manifest(manifest, path)
    write_folds(make_folds(manifest, folds=folds), manifest.folds_path)
    return path
