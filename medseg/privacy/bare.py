"""Bare files: pictures and volumes that aren't DICOM, of the same pixels, the same geometry and nothing else."""

from __future__ import annotations

from medseg.errors import ReadError
from medseg.privacy.images import clean_image, clean_jpeg
from medseg.privacy.nifti import clean_nifti
from medseg.privacy.volumes import clean_meta_image, clean_nrrd

__all__ = ["bare_file"]


def bare_file(data: bytes, suffix: str, *, acknowledge_faces: bool) -> bytes:
    """The file in the same format, without anything that isn't pixels or geometry.

    Args:
        data: The whole file.
        suffix: What kind it is, in lower case: ``.jpg``, ``.png``, ``.nii.gz``, ``.nrrd``, ``.mha`` ...
        acknowledge_faces: Let heads in thin slices pass.

    Raises:
        ReadError: It is damaged, or of a kind that can't be cleaned.
    """
    if suffix in (".jpg", ".jpeg"):
        return clean_jpeg(data)
    if suffix in (".nii", ".nii.gz"):
        return clean_nifti(data, acknowledge_faces=acknowledge_faces)
    if suffix == ".nrrd":
        return clean_nrrd(data, acknowledge_faces=acknowledge_faces)
    if suffix == ".mha":
        return clean_meta_image(data, acknowledge_faces=acknowledge_faces)
    if suffix in (".nhdr", ".mhd"):
        raise ReadError(
            "expected header and voxels in one file, found a header (.nhdr, .mhd) whose voxels lie in another one; "
            "save the volume as .nrrd, .mha or .nii.gz"
        )
    return clean_image(data, suffix)
