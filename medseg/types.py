"""Array aliases and closed vocabularies that every room shares."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Affine", "Array", "FloatArray", "LabelMap", "Modality", "Shape", "Spacing", "Tier"]

Array = npt.NDArray[Any]
FloatArray = npt.NDArray[np.floating[Any]]
LabelMap = npt.NDArray[np.integer[Any]]
"""Label map, integer, spatial axes only (x, y[, z])."""
Affine = npt.NDArray[np.float64]
"""4 x 4, voxel index (column vector, homogeneous) to world, RAS+, millimetres."""
Shape = tuple[int, ...]
"""Spatial shape in voxels, in the array's own axis order (x, y[, z])."""
Spacing = tuple[float, ...]
"""Voxel size in millimetres along each spatial axis."""
Modality = Literal["CT", "MR", "PT", "DERMOSCOPY", "OTHER"]
Tier = Literal["internal", "shareable"]
