"""A de-identified series on disk, of any orientation, and a label map with holes on it, for tests of DICOM output."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medseg.data.card import CodedConcept, LabelInfo
from medseg.export import Algorithm
from tests.data.dicom_factory import Series

ALGORITHM = Algorithm(name="lesions", version="0.1.0", model_id="ab" * 32)
LABELS = {
    2: LabelInfo(name="tumour", code=CodedConcept(value="108369006", scheme="SCT", meaning="Neoplasm")),
    5: LabelInfo(name="oedema", colour=(0, 200, 0)),
}


def random_rotation(seed: int) -> np.ndarray:
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return rotation * np.sign(np.linalg.det(rotation))


def clean_series(shape=(6, 20, 24), *, rotation=None, modality="CT", removed="YES", **extra) -> Series:
    """A series of `shape` (slices, rows, columns) that says it was de-identified."""
    axes = np.eye(3) if rotation is None else rotation
    voxels = np.random.default_rng(1).integers(0, 2000, size=shape).astype(np.uint16)
    said = {"PatientIdentityRemoved": removed, "DeidentificationMethod": "medseg", "StudyDate": "20010203",
            "StudyTime": "040506", "StudyID": "1", "ReferringPhysicianName": "", "AccessionNumber": "",
            "PatientSex": "", "PatientBirthDate": ""}  # fmt: skip
    orientation = tuple(np.concatenate([axes[:, 0], axes[:, 1]]))
    return Series(voxels=voxels, orientation=orientation, modality=modality, patient="PABC", extra={**said, **extra})


def blobs(shape, *, seed: int) -> np.ndarray:
    """A label map of values 0, 2 and 5 with smooth regions, holes and single voxels."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    smooth = gaussian_filter(rng.normal(size=shape), 1.2)
    label = np.where(smooth > 0.15, 2, 0) + np.where(smooth < -0.25, 5, 0)
    label[tuple(rng.integers(0, n) for n in shape)] = 5
    return label.astype(np.uint8)


def errors_of(path: Path) -> list[str]:
    """What Debian's dciodvfy calls an error in a file."""
    import subprocess

    run = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False)
    return [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")]
