"""TrainConfig and its parts: optimiser, schedule, pretraining, few-shot."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from medseg.config.base import Section

__all__ = [
    "AdamConfig",
    "FewShotConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "PrivacyConfig",
    "ScheduleConfig",
    "SgdConfig",
    "TrainConfig",
]


class SgdConfig(Section):
    """Stochastic gradient descent with Nesterov momentum."""

    name: Literal["sgd"] = "sgd"
    lr: PositiveFloat = 0.01
    """Learning rate at the start of the schedule."""
    momentum: float = Field(default=0.99, ge=0.0, lt=1.0)
    """Momentum."""
    weight_decay: float = Field(default=3e-5, ge=0.0)
    """L2 penalty."""


class AdamConfig(Section):
    """Adam, or AdamW with decoupled weight decay (Loshchilov & Hutter 2019)."""

    name: Literal["adam", "adamw"] = "adamw"
    lr: PositiveFloat = 1e-3
    """Learning rate at the start of the schedule, after warm-up."""
    weight_decay: float = Field(default=1e-2, ge=0.0)
    """Weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moment."""
    encoder_lr_factor: PositiveFloat = 1.0
    """The pretrained encoder's learning rate as a factor of `lr`."""


OptimizerConfig = Annotated[SgdConfig | AdamConfig, Field(discriminator="name")]


class ScheduleConfig(Section):
    """Learning rate over the run; the schedule ends where the iterations or the budget end."""

    name: Literal["poly", "cosine", "plateau", "constant"] = "cosine"
    power: PositiveFloat = 0.9
    """Exponent of `poly`."""
    warmup_fraction: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the run over which the learning rate rises linearly from 0."""
    final_fraction: float = Field(default=0.0, ge=0.0, le=1.0)
    """Learning rate at the end, as a share of `lr`; used by `cosine` and `poly`."""
    plateau_factor: float = Field(default=0.3, gt=0.0, lt=1.0)
    """Factor at each plateau; used by `plateau`."""
    plateau_epochs: PositiveInt = 5
    """Epochs without improvement before the factor is applied; used by `plateau`."""


class FewShotConfig(Section):
    """Train from k labelled cases only."""

    cases: PositiveInt
    """Labelled cases drawn, patient by patient, from the training part of each fold."""
    freeze_encoder: bool = False
    """Leave the encoder as `train.init` or the pretrained weights gave it."""


class PretrainConfig(Section):
    """Self-supervised pretraining without labels, by masked image modelling (He et al. 2022)."""

    name: Literal["masked"] = "masked"
    mask_ratio: float = Field(default=0.6, gt=0.0, lt=1.0)
    """Share of the blocks that are hidden."""
    block: PositiveInt = 8
    """Edge of a hidden block in voxels."""
    budget_minutes: PositiveFloat | None = None
    """Wall-clock minutes of pretraining; without it, `iterations`."""
    iterations: PositiveInt = 1000
    """Optimiser steps of pretraining."""
    lr: PositiveFloat = 1e-3
    """Learning rate (AdamW, cosine)."""


class PrivacyConfig(Section):
    """Differentially private training, the unit being the patient (Abadi et al. 2016); needs the extra `dp`.

    The guarantee is for the weights of one run: `plan.iterations` steps cost `epsilon` together. Whatever would reach
    the weights past the noise is refused.
    """

    epsilon: PositiveFloat = 8.0
    """Upper bound of epsilon of one run; the noise is chosen by it."""
    delta: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Chance that the guarantee leaves out; without it, a tenth of one over the number of training patients, rounded
    down to one digit."""
    clip_norm: PositiveFloat = 1.0
    """Largest norm of one patient's gradient."""
    patients: PositiveInt = 16
    """Patients that take part in a step, on average; each by lot. More need less noise and more time."""
    patches: PositiveInt = 2
    """Patches of each patient that takes part; they go through the network together."""
    public_init: bool = False
    """Your word that none of these patients had a part in the weights of `train.init`; the report repeats it."""


class TrainConfig(Section):
    """How one run is trained."""

    budget_minutes: PositiveFloat | None = None
    """Wall-clock minutes of one run, from the first batch to the last weights; the schedule ends there, or with
    `plan.iterations` where those are reached first."""
    epoch_iterations: PositiveInt | None = None
    """Optimiser steps between two validations; without it, a twentieth of the run."""
    optimizer: OptimizerConfig = Field(default_factory=AdamConfig)
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig)
    gradient_clip: float = Field(default=12.0, ge=0.0)
    """Largest norm of the gradient; 0 switches clipping off."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are summed before a step."""
    ema_decay: float = Field(default=0.99, ge=0.0, lt=1.0)
    """Decay of the moving average of the weights, which validates and predicts; 0 switches it off."""
    precision: Literal["auto", "32", "bf16", "16"] = "auto"
    """`auto`: bf16 where the device computes in it faster, else 32."""
    foreground_fraction: float = Field(default=0.5, ge=0.0, le=1.0)
    """Share of the patches that are centred on a foreground voxel."""
    select: Literal["last", "best"] = "last"
    """Weights that predict: of the end of the schedule, or of the best epoch on an inner validation part."""
    inner_validation: float = Field(default=0.15, gt=0.0, lt=1.0)
    """Share of the training patients held back for `select: best`, early stopping and `plateau`."""
    early_stopping: PositiveInt | None = None
    """Epochs without improvement on the inner validation part after which a run stops."""
    init: str | None = None
    """Model package, pretraining folder or safetensors file whose matching weights start the run."""
    few_shot: FewShotConfig | None = None
    privacy: PrivacyConfig | None = None
    """Differentially private training; without it, none."""
    deterministic: bool = True
    """Same seed, same weights. On a GPU this costs some speed."""
    checkpoint_minutes: PositiveFloat = 2.0
    """Wall-clock minutes between two writings of the last checkpoint."""

    @property
    def guided(self) -> bool:
        """Whether held-back training patients guide the run: the best epoch, early stopping, or `plateau`."""
        return self.select == "best" or self.early_stopping is not None or self.schedule.name == "plateau"
