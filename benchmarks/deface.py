"""What `medseg.privacy.deface` takes off a head, how much of the brain, and the surface before and after.

usage: python benchmarks/deface.py VOLUME OUT.png [BRAIN_MASK]

BRAIN_MASK: a mask of the brain, or of lesions in it, from another program; the count of its voxels that are removed
should be 0.
"""

from __future__ import annotations

import sys

import nibabel as nib
import numpy as np
from PIL import Image

from medseg.privacy.deface import find_face


def surface(array: np.ndarray, affine: np.ndarray, level: float, turn: float) -> np.ndarray:
    """The surface seen from the front, turned by some degrees, as a shaded picture."""
    from scipy import ndimage

    turned = nib.as_closest_canonical(nib.Nifti1Image(array.astype(np.float32), affine))
    size = np.asarray(turned.header.get_zooms()[:3]) / 1.5
    volume = ndimage.zoom(np.asarray(turned.dataobj), size, order=1)
    volume = ndimage.rotate(volume, turn, axes=(0, 1), reshape=False, order=1, cval=float(volume.min()))
    solid = ndimage.binary_opening(volume > level, iterations=1)[:, ::-1]
    depth = np.where(solid.any(axis=1), solid.argmax(axis=1), np.nan).T[::-1]
    smooth = ndimage.gaussian_filter(np.nan_to_num(depth, nan=float(volume.shape[1])), 0.8)
    down, across = np.gradient(smooth)
    light = (1.0 + 0.6 * down + 0.5 * across) / np.sqrt(1.0 + down**2 + across**2)
    picture = np.clip(light, 0, 1.4) / 1.4 * 255
    return np.where(np.isnan(depth), 0, picture).astype(np.uint8)


def main() -> None:
    """Deface one volume, print the counts and draw the surface before and after."""
    image = nib.load(sys.argv[1])
    array = np.squeeze(np.asanyarray(image.dataobj))
    face = find_face(array, image.affine)
    gone = face.mask(array.shape, image.affine)
    print(f"removed: {gone.mean():.1%} of the voxels, {face.head_share:.1%} of the head")
    if len(sys.argv) > 3:
        brain = np.asanyarray(nib.load(sys.argv[3]).dataobj) > 0
        print(f"brain voxels removed: {np.count_nonzero(brain & gone)} of {np.count_nonzero(brain)}")
    after = np.where(gone, face.background, array)
    level = float(np.percentile(array, 99)) * 0.15
    rows = [np.hstack([surface(a, image.affine, level, turn) for turn in (0, 35, 90)]) for a in (array, after)]
    Image.fromarray(np.vstack(rows)).save(sys.argv[2])


if __name__ == "__main__":
    main()
