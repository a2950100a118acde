"""StudyConfig: one study, one YAML file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveFloat, model_validator

from medseg.config.base import Section
from medseg.config.data import AugmentConfig, DataConfig, PlanConfig
from medseg.config.model import DiceLossConfig, LossConfig, ModelConfig, UNetConfig
from medseg.config.train import PretrainConfig, TrainConfig

__all__ = ["InferenceConfig", "MetricsConfig", "StudyConfig", "TrackConfig", "privacy_problems"]


class InferenceConfig(Section):
    """How a trained model predicts a whole image."""

    overlap: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Overlap of neighbouring windows, as a share of the patch."""
    mirror: bool = True
    """Average over mirrored copies of the image (only the axes that `augment.flip` trained)."""
    batch_size: int | None = Field(default=None, ge=1)
    """Windows in one forward pass; without it, chosen from the patch."""
    largest_component: bool = False
    """Keep the largest connected component of each label only."""
    smallest_mm3: float = Field(default=0.0, ge=0.0)
    """Components below this volume are removed (mm2 in 2D)."""


class MetricsConfig(Section):
    """How predictions are scored against the reference."""

    nsd_tolerance_mm: tuple[PositiveFloat, ...] = (1.0, 2.0)
    """Tolerances of the normalised surface distance in mm (pixels for photographs, which have no spacing)."""
    empty_reference: Literal["skip", "score"] = "skip"
    """A case whose reference and prediction are both empty: left out of the mean Dice, or scored 1."""
    bootstrap: int = Field(default=2000, ge=100)
    """Resamples of the patients for each interval."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Coverage of the intervals."""


class TrackConfig(Section):
    """MLflow."""

    enabled: bool = True
    """Record the study in MLflow: MLFLOW_TRACKING_URI, or an sqlite store in the run folder."""
    experiment: str = Field(default="medseg", pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Name of the MLflow experiment."""
    system_metrics: bool = True
    """Record processor and memory use."""


class StudyConfig(Section):
    """A segmentation study: one YAML file, complete, no inheritance."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Name of the study; it becomes part of file names."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of everything random."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to train and predict on; `auto` takes the GPU where there is one."""
    data: DataConfig
    plan: PlanConfig = Field(default_factory=PlanConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)
    model: ModelConfig = Field(default_factory=UNetConfig)
    loss: LossConfig = Field(default_factory=DiceLossConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    pretrain: PretrainConfig = Field(default_factory=PretrainConfig)
    inference: InferenceConfig = Field(default_factory=InferenceConfig)
    metrics: MetricsConfig = Field(default_factory=MetricsConfig)
    track: TrackConfig = Field(default_factory=TrackConfig)

    @model_validator(mode="after")
    def _check_across(self) -> StudyConfig:
        dims = self.plan.spatial_dims
        if dims == 3 and self.model.name == "efficient_unet":
            raise ValueError("model.name: efficient_unet is a 2D network, plan.spatial_dims is 3; use model.name: unet")
        for field in ("spacing", "patch_size"):
            value = getattr(self.plan, field)
            if value is not None and dims is not None and len(value) != dims:
                raise ValueError(f"plan.{field}: expected {dims} numbers, found {len(value)}")
        low, high = self.augment.zoom_range
        if low > high:
            raise ValueError(f"augment.zoom_range: expected smallest before largest, found [{low}, {high}]")
        if self.train.init is not None and self.model.name == "efficient_unet" and self.model.pretrained:
            # Both would start the encoder; the researcher has to say which.
            raise ValueError("train.init and model.pretrained both start the encoder; set model.pretrained: false")
        problems = privacy_problems(self)
        if problems:
            raise ValueError("train.privacy: the guarantee would not hold: " + "; ".join(problems))
        return self


def privacy_problems(study: StudyConfig) -> list[str]:
    """What in a study would let images reach the weights past the noise of ``train.privacy``, and what to do instead.

    Args:
        study: The study; without ``train.privacy`` there is no problem.
    """
    train, private = study.train, study.train.privacy
    if private is None:
        return []
    found = {
        "select: best, early_stopping and plateau choose by patients' images without noise; set train.select: last, "
        "leave train.early_stopping out and take another train.schedule": train.guided,
        "train.few_shot draws its cases by their labels without noise; leave it out": train.few_shot is not None,
        "train.init may hold what these patients taught it; set train.privacy.public_init: true where none of them had "
        "a part in it": train.init is not None and not private.public_init,
        "model.name: efficient_unet keeps means and variances of the images (batch normalisation) without noise; set "
        "model.name: unet": study.model.name == "efficient_unet",
        "the noise is chosen for a number of steps; set plan.iterations (train.budget_minutes may end a run earlier)": (
            study.plan.iterations is None
        ),
        "plan.batch_size has no meaning; set train.privacy.patients and train.privacy.patches": (
            study.plan.batch_size is not None
        ),
        "train.accumulate has no meaning; set it to 1 and raise train.privacy.patients": train.accumulate != 1,
        "train.precision: 16 scales gradients, which the clipping must see as they are; set 32 or bf16": (
            train.precision == "16"
        ),
    }
    return [words for words, there in found.items() if there]
