"""Build: the random change of a training patch, from the study's probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medseg.config import AugmentConfig
from medseg.transforms.intensity import change_intensity
from medseg.transforms.optics import change_optics
from medseg.transforms.spatial import draw_spatial, resample_patch
from medseg.types import FloatArray, LabelMap, Shape

__all__ = ["TrainingTransform", "build_training_transform"]


@dataclass(frozen=True)
class TrainingTransform:
    """Change one patch at random.

    The result depends on the patch, on the seed and on the state of the generator that is passed, and on nothing else:
    give each sample its own generator, made from its index, and the patches are the same for every number of workers.

    Attributes:
        augment: Probabilities and ranges.
        patch_size: Voxels of the result along each spatial axis.
        rgb: Whether the channels are the colours of a photograph, in 0..1 before and after.
        seed: Seed of the run.
    """

    augment: AugmentConfig
    patch_size: Shape
    rgb: bool
    seed: int

    def __call__(
        self, image: FloatArray, label: LabelMap, generator: np.random.Generator
    ) -> tuple[npt.NDArray[np.float32], LabelMap]:
        """Change one patch.

        Args:
            image: (channel, *oversize) float32; normalised, or 0..1 when `rgb`.
            label: (*oversize).
            generator: Source of every draw.

        Returns:
            Image (channel, *patch_size) float32 and label (*patch_size), contiguous copies.

        Raises:
            ValueError: The patch that was passed is smaller than `patch_size`, or image and label differ in shape.
        """
        if image.shape[1:] != label.shape or any(n < m for n, m in zip(label.shape, self.patch_size, strict=True)):
            raise ValueError(
                f"expected image and label of one shape, at least {self.patch_size}; "
                f"found {image.shape[1:]} and {label.shape}"
            )
        generator = np.random.default_rng([self.seed, *generator.integers(2**32, size=4).tolist()])
        draw = draw_spatial(self.augment, self.patch_size, generator)
        changed, label_out = resample_patch(image, label, draw=draw, patch_size=self.patch_size)
        if label.ndim == 2:
            changed = change_optics(changed, self.augment, rgb=self.rgb, generator=generator)
        changed = change_intensity(changed, self.augment, rgb=self.rgb, generator=generator)
        if self.rgb:
            changed = np.clip(changed, 0.0, 1.0)
        if np.shares_memory(changed, image) or np.shares_memory(label_out, label):
            changed, label_out = changed.copy(), label_out.copy()
        return np.ascontiguousarray(changed, dtype=np.float32), label_out


def build_training_transform(
    augment: AugmentConfig, *, spatial_dims: int, patch_size: tuple[int, ...], rgb: bool, seed: int
) -> TrainingTransform:
    """Build the random change of a training patch.

    Args:
        augment: Probabilities and ranges.
        spatial_dims: 2 or 3.
        patch_size: Voxels of the result along each spatial axis; read `oversized_patch(augment, patch_size)` of them.
        rgb: Whether the channels are the colours of a photograph.
        seed: Seed of the run.

    Raises:
        ValueError: `patch_size` has not `spatial_dims` axes, or `rgb` in 3D.
    """
    if len(patch_size) != spatial_dims:
        raise ValueError(f"expected a patch of {spatial_dims} axes; found {patch_size}")
    if rgb and spatial_dims != 2:
        raise ValueError("expected a photograph to have 2 spatial axes; found 3")
    return TrainingTransform(augment=augment, patch_size=tuple(patch_size), rgb=rgb, seed=seed)
