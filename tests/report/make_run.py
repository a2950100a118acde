"""Fabricates a plausible run folder from synthetic arrays: real manifest, plan, scores and summary, no training."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter, shift

from medseg.config import dump_study, parse_study
from medseg.data.fingerprint import take_fingerprint
from medseg.data.manifest import Card, Case, Manifest, read_manifest, write_manifest
from medseg.data.refusal import Refusal, write_refusals
from medseg.metrics import score_case
from medseg.planning import DeviceFacts, make_plan
from medseg.privacy.ledger import Ledger
from medseg.studies import case_rows, summarise, write_cases, write_summary

FOLDS = 3


def make_run(folder: Path, *, dims: int = 3, patients: int = 24, seed: int = 0, epochs: int = 20) -> Path:
    """A finished cross-validation under `folder`/run, its data under `folder`/data; returns the run folder."""
    generator = np.random.default_rng(seed)
    manifest = _cohort(folder / "data", dims, patients, generator)
    run = folder / "run"
    run.mkdir(parents=True)
    study = parse_study(
        {
            "name": "skin_lesion_2d" if dims == 2 else "liver_lesion_3d",
            "data": {"manifest": "../data/manifest.csv"},
            "train": {"budget_minutes": 6},
            "metrics": {"bootstrap": 500},
        }
    )
    (run / "study.yaml").write_text(dump_study(study))
    fingerprint = take_fingerprint(manifest)
    plan = make_plan(study, fingerprint, DeviceFacts(kind="cpu", memory_gb=16.0, cores=2, fast_bf16=True, tflops=1.0))
    (run / "plan.json").write_text(json.dumps(plan.to_dict()))
    (run / "fingerprint.json").write_text(json.dumps(fingerprint.to_dict()))
    (run / "environment.json").write_text(json.dumps(ENVIRONMENT))
    rows = []
    labels = manifest.card.label_names()
    for number, case in enumerate(manifest.cases):
        fold = int(case.patient[1:]) % FOLDS
        reference = _read_label(case.label, dims)
        prediction = _distort(reference, generator, bad=number % 11 == 7)
        _write_prediction(prediction, run / f"fold_{fold}/predictions", case.case, dims, len(labels))
        scores = score_case(
            prediction,
            reference,
            labels=labels,
            spacing=(1.0, 1.0) if dims == 2 else (1.5, 1.5, 3.0),
            nsd_tolerance_mm=study.metrics.nsd_tolerance_mm,
        )
        rows += case_rows(scores, case=case.case, patient=case.patient, fold=fold)
    write_cases(rows, run / "cases.csv")
    summary = summarise(rows, bootstrap=500, confidence=0.95, seed=0, empty_reference="skip")
    write_summary(summary, run / "summary.json")
    _write_epochs(run, generator, epochs)
    write_refusals(REFUSALS, run / "refused.csv")
    Ledger(run / "ledger.jsonl").append("written", {"cases": len(manifest.cases)})
    return run


ENVIRONMENT = {
    "python": "3.11.9",
    "os": "Linux x86_64",
    "packages": {"medseg": "0.1.0", "torch": "2.13.0", "monai": "1.6.1", "numpy": "2.4.6"},
    "processor": "Intel(R) Xeon(R) Processor",
    "cores": 2,
    "memory_gb": 16.8,
    "device": "cpu",
}
REFUSALS = [
    Refusal("series 3 of 27", "slices are missing: expected a gap of 3.00 mm, found 6.00 mm; export the series again"),
    Refusal("series 9 of 27", "the image and its label lie on different grids; resample one onto the other"),
    Refusal("series 21 of 27", "slices are missing: expected a gap of 3.00 mm, found 6.00 mm; export the series again"),
]


def _cohort(folder: Path, dims: int, patients: int, generator: np.random.Generator) -> Manifest:
    cases = []
    for i in range(patients):
        for study in range(2 if i % 8 == 3 else 1):
            name = f"C{i:04d}{'ab'[study]}"
            image, label = _picture(generator) if dims == 2 else _volume(generator, lesions=0 if i % 9 == 4 else 2)
            ending = "png" if dims == 2 else "nii.gz"
            paths = [folder / part / f"{name}.{ending}" for part in ("images", "labels")]
            for path, array in zip(paths, (image, label), strict=True):
                path.parent.mkdir(parents=True, exist_ok=True)
                if dims == 2:
                    pixels = array if array.ndim == 3 else array * 255
                    Image.fromarray(np.ascontiguousarray(np.swapaxes(pixels, 0, 1))).save(path)
                else:
                    nib.save(nib.Nifti1Image(array, np.diag([-1.5, -1.5, 3.0, 1.0])), path)
            cases.append(
                Case(
                    case=name,
                    patient=f"P{i:04d}",
                    images={"image": paths[0]},
                    label=paths[1],
                    modality="DERMOSCOPY" if dims == 2 else "CT",
                    site=f"S{i % 2 + 1}",
                )
            )
    labels = {1: {"name": "lesion", "colour": [220, 60, 60]}} if dims == 2 else {1: "liver", 2: "lesion"}
    card = Card.model_validate(
        {
            "title": "Synthetic skin lesions" if dims == 2 else "Synthetic liver lesions",
            "channels": ["red", "green", "blue"] if dims == 2 else ["ct"],
            "labels": {k: v if isinstance(v, dict) else {"name": v} for k, v in labels.items()},
            "modality": "DERMOSCOPY" if dims == 2 else "CT",
            "licence": "Apache-2.0",
        }
    )
    write_manifest(Manifest(folder / "manifest.csv", tuple(cases), card), folder / "manifest.csv")
    return read_manifest(folder / "manifest.csv")


def _picture(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.indices((160, 120))
    wobble = 6 * gaussian_filter(generator.normal(size=x.shape), 8) / 0.04
    centre = generator.uniform((60, 45), (100, 75))
    radius = generator.uniform(14, 40)
    inside = np.hypot(x - centre[0], 1.2 * (y - centre[1])) + wobble < radius
    soft = gaussian_filter(inside.astype(float), 2)[..., None]
    skin = np.array([224, 178, 152]) + 6 * gaussian_filter(generator.normal(size=(*x.shape, 3)), (2, 2, 0))
    mole = np.array([112, 66, 48]) + 120 * gaussian_filter(generator.normal(size=(*x.shape, 3)), (3, 3, 0))
    return np.clip(skin * (1 - soft) + mole * soft, 0, 255).astype(np.uint8), inside.astype(np.uint8)


def _volume(generator: np.random.Generator, *, lesions: int) -> tuple[np.ndarray, np.ndarray]:
    x, y, z = np.indices((64, 56, 24))
    body = ((x - 32) / 29) ** 2 + ((y - 28) / 24) ** 2 < 1
    liver = ((x - 24) / 14) ** 2 + ((y - 26) / 13) ** 2 + ((z - 12) / 9) ** 2 < 1
    label = liver.astype(np.uint8)
    for _ in range(lesions):
        cx, cy, cz = generator.uniform((18, 20, 9), (30, 32, 15))
        label[liver & (np.hypot(np.hypot(x - cx, y - cy), 2 * (z - cz)) < generator.uniform(2, 6))] = 2
    spine = (x - 32) ** 2 + (y - 42) ** 2 < 20
    density = np.where(body, 20.0, -1000.0) + 60 * (label == 1) - 10 * (label == 2) + 400 * spine
    return (gaussian_filter(density, 0.7) + generator.normal(0, 12, x.shape)).astype(np.int16), label


def _read_label(path: Path, dims: int) -> np.ndarray:
    if dims == 2:
        return (np.asarray(Image.open(path)).T > 0).astype(np.uint8)
    return np.asarray(nib.load(path).dataobj).astype(np.uint8)


def _distort(reference: np.ndarray, generator: np.random.Generator, *, bad: bool) -> np.ndarray:
    """A prediction: each label's outline wanders; a bad one is also shifted or misses the last label."""
    prediction = np.zeros_like(reference)
    for value in range(1, int(reference.max(initial=0)) + 1):
        region = reference >= value
        soft = gaussian_filter(region.astype(float), 1.5)
        noise = gaussian_filter(generator.normal(size=region.shape), 3)
        noise *= generator.uniform(0.05, 0.2) / max(float(noise.std()), 1e-9)
        grown = soft + noise > 0.5
        if bad:
            grown = shift(grown.astype(float), [6] * region.ndim if value == 1 else [3] * region.ndim, order=0) > 0.5
        prediction[grown] = value
    if bad and reference.max(initial=0) > 1:
        prediction[prediction == 2] = 1
    return prediction


def _write_prediction(prediction: np.ndarray, folder: Path, case: str, dims: int, labels: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if dims == 2:
        Image.fromarray(np.ascontiguousarray(prediction.T) * (255 if labels == 1 else 1)).save(folder / f"{case}.png")
    else:
        nib.save(nib.Nifti1Image(prediction, np.diag([-1.5, -1.5, 3.0, 1.0])), folder / f"{case}.nii.gz")


def _write_epochs(run: Path, generator: np.random.Generator, epochs: int) -> None:
    for fold in range(FOLDS):
        (run / f"fold_{fold}").mkdir(exist_ok=True)
        with (run / f"fold_{fold}" / "epochs.csv").open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("epoch", "iteration", "minutes", "lr", "train_loss", "val_dice"))
            for epoch in range(1, epochs + 1):
                share = epoch / epochs
                loss = 0.25 + 1.2 * math.exp(-5 * share) + generator.normal(0, 0.02)
                dice = (0.86 + 0.01 * fold) * (1 - math.exp(-6 * share)) + generator.normal(0, 0.008)
                writer.writerow((epoch, 40 * epoch, round(6 * share, 3), 0.001 * (1 - share), loss, dice))
