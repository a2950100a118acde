"""A drawn head: ellipsoids of scalp, skull and brain, with eyes, nose and chin; millimetres, RAS+."""

from __future__ import annotations

import copy

import numpy as np
from pydicom.dataset import FileDataset

from tests.privacy.corpus import MR, Who, image

SIZE = (96, 112, 112)
STEP = 2.2


def head(*, ct: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Volume (x, y, z), affine (RAS+, mm), and its brain."""
    affine = np.diag([STEP, STEP, STEP, 1.0])
    affine[:3, 3] = [-STEP * (SIZE[0] - 1) / 2, -STEP * (SIZE[1] - 1) / 2, -150.0]
    x, y, z = np.meshgrid(*(affine[n, 3] + STEP * np.arange(SIZE[n]) for n in range(3)), indexing="ij")

    def ball(centre: tuple[float, float, float], half: tuple[float, float, float]) -> np.ndarray:
        return sum(((a - c) / h) ** 2 for a, c, h in zip((x, y, z), centre, half, strict=True)) < 1

    brain = ball((0, -5, 10), (66, 82, 62)) | ball((0, -45, -35), (45, 35, 28))
    skull = ball((0, -5, 10), (71, 88, 68)) | ball((0, -45, -35), (50, 40, 32))
    scalp = ball((0, -5, 10), (77, 95, 75)) | (ball((0, 10, -75), (62, 78, 80)) & (z > -150))
    nose = ball((0, 95, -45), (14, 22, 20))
    eyes = ball((-30, 74, -30), (13, 13, 13)) | ball((30, 74, -30), (13, 13, 13))
    values = (-1000, 60, 700, 35, 15) if ct else (0, 260, 40, 170, 20)
    made = np.full(SIZE, values[0], np.int16)
    for part, value in zip((scalp | nose, skull, brain, eyes), values[1:], strict=True):
        made[part] = value
    noise = np.random.default_rng(0).integers(0, 25, SIZE)
    return (made + noise).astype(np.int16), affine, brain


def mr_series(volume: np.ndarray, affine: np.ndarray, who: Who) -> list[FileDataset]:
    """Axial MR slices of a volume."""
    first = image(who, MR)
    made = []
    for k in range(volume.shape[2]):
        ds = copy.deepcopy(first)
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{first.SOPInstanceUID}.{k + 1}"
        ds.BodyPartExamined, ds.SliceThickness, ds.SpacingBetweenSlices = "HEAD", STEP, STEP
        ds.InstanceNumber, ds.PixelSpacing = k + 1, [STEP, STEP]
        ds.ImageOrientationPatient = [-1, 0, 0, 0, -1, 0]
        corner = affine @ [0, 0, k, 1]
        ds.ImagePositionPatient = [-float(corner[0]), -float(corner[1]), float(corner[2])]
        ds.Rows, ds.Columns = volume.shape[1], volume.shape[0]
        ds.PixelRepresentation, ds.RescaleIntercept, ds.RescaleSlope = 1, 0, 1
        ds.PixelData = np.ascontiguousarray(volume[:, :, k].T).astype("<i2").tobytes()
        made.append(ds)
    return made
