"""Text on volumes: a look at the slices of NIfTI, NRRD and MetaImage files, in which screens and films are stored, too.

Slices are looked at across each axis of space, and with their rows in either order, as converters turn both around.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from medseg.privacy.nifti import nifti_array
from medseg.privacy.pixels import grey_view
from medseg.privacy.series_frames import spread
from medseg.privacy.series_text import text_can_be_read
from medseg.privacy.sheet import contact_sheet
from medseg.privacy.volumes import meta_image_array, nrrd_array
from medseg.types import Array

__all__ = ["volume_has_text", "volume_sheet"]

_LEAST_SIDE = 16
"""Pixels; in less room no text can be read."""
_COLOURS = 4
"""A first axis so short is one of colours or other values of a voxel, not of space."""
_FRAMES = 8
_LEVELS, _GROUND = 4000, 500
"""Grey levels of values that aren't whole numbers of 16 bits, and how far they lie above what is no number."""


def volume_has_text(data: bytes, suffix: str) -> bool:
    """Whether text can be read on a slice of a volume.

    Args:
        data: A clean copy.
        suffix: What its name ends in: ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.

    Raises:
        MissingExtraError: The text detector isn't installed.
        ReadError: The file is damaged.
    """
    volume = _volume(data, suffix)
    return any(
        text_can_be_read([piece[::step] for piece in slices])
        for axis in range(3)
        if min(volume.shape[other] for other in range(3) if other != axis) >= _LEAST_SIDE
        for slices in [_even(list(_slices(volume, axis)))]
        for step in (1, -1)
    )


def volume_sheet(data: bytes, suffix: str) -> Array:
    """Slices of a volume side by side, uint8, (rows, columns, 3), for a person to look at.

    Raises:
        ReadError: The file is damaged.
    """
    slices = _even(list(_slices(_volume(data, suffix), 2)))
    return contact_sheet(len(slices), lambda number: grey_view(slices[number]))


def _volume(data: bytes, suffix: str) -> Array:
    """The stored values, (x, y, z ...), of three axes at least; several values of a voxel behind those of space."""
    read = {".nrrd": nrrd_array, ".mha": meta_image_array}.get(suffix, nifti_array)
    volume = read(data)
    if volume.ndim > 2 and volume.shape[0] <= _COLOURS:
        volume = np.moveaxis(volume, 0, -1)
    return volume.reshape(volume.shape + (1,) * (3 - volume.ndim))


def _slices(volume: Array, axis: int) -> Iterator[Array]:
    """Slices (rows, columns) across an axis of space, one time point behind the other."""
    moved = np.moveaxis(volume, axis, 2)
    for index in np.ndindex(*moved.shape[2:]):
        yield moved[(slice(None), slice(None), *index)].T


def _even(slices: Sequence[Array]) -> list[Array]:
    """Slices in whole numbers of at most 16 bits, in which strokes are counted; what is no number is lowest."""
    if slices[0].dtype.kind in "iu" and slices[0].dtype.itemsize <= 2:
        return [np.ascontiguousarray(piece) for piece in slices]
    seen = np.concatenate([slices[place].ravel() for place in spread(len(slices), most=_FRAMES)]).astype(np.float64)
    seen = seen[np.isfinite(seen)]
    low, high = (float(edge) for edge in np.percentile(seen, (0.05, 99.95))) if len(seen) else (0.0, 1.0)
    return [_levels(piece.astype(np.float64), low, high) for piece in slices]


def _levels(piece: Array, low: float, high: float) -> Array:
    """Values as int16 from `_GROUND` on; 0 where there is no finite number."""
    scaled = (np.clip(np.nan_to_num(piece), low, high) - low) * (_LEVELS / max(high - low, 1e-30))
    return np.where(np.isfinite(piece), _GROUND + scaled, 0).astype(np.int16)
