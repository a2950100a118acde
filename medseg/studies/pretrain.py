"""Pretraining: an encoder that has filled in hidden parts of unlabelled images, ready for `train.init`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from medseg.config import AdamConfig, ScheduleConfig, StudyConfig, dump_study
from medseg.data.cache import CacheEntry
from medseg.data.files import atomic_write
from medseg.errors import RequestError
from medseg.planning import Plan
from medseg.privacy.identities import IdentityIndex
from medseg.runs.folder import RunFolder
from medseg.studies.reporting import SilentProgress, StudyProgress
from medseg.studies.study import case_entries, open_data, plan_study, relative_study, study_digest
from medseg.training.checkpoint import load_checkpoint, save_weights
from medseg.training.control import RunControl, RunLimits
from medseg.training.fit import finish_image, network_of, run_loop
from medseg.training.masked import MaskedModel, hidden_error, hide_blocks, mean_fill_error
from medseg.training.module import RunModule, masked_step
from medseg.training.optim import build_optimizer
from medseg.training.patches import read_patch

__all__ = ["PretrainOutcome", "pretrain"]

_PROBED = 16


@dataclass(frozen=True)
class PretrainOutcome:
    """What a pretraining left.

    Attributes:
        iterations: Optimiser steps.
        loss: Mean squared error on hidden voxels of fixed patches, after training.
        baseline: The same error when the mean of the seen voxels is filled in; a useful encoder is far below it.
    """

    iterations: int
    loss: float
    baseline: float


def pretrain(
    study: StudyConfig, *, out: Path, progress: StudyProgress | None = None, identities: IdentityIndex | None = None
) -> PretrainOutcome:
    """Pretrain the study's encoder on the images of its manifest; labels are not read.

    The same call in the same folder goes on where the last one stopped.

    Args:
        study: The study; its ``pretrain`` section says how.
        out: Gets weights.safetensors (names as in the network, ``encoder.*``), epochs.csv and pretrain.json.
        progress: Told how far it is.
        identities: The project's identities, which nothing that is written or kept may hold.

    Raises:
        RequestError: The study cannot be carried out as it stands.
    """
    if study.train.privacy is not None:
        raise RequestError(
            "train.privacy: pretraining adds no noise, so its weights would carry these patients past the guarantee; "
            "pretrain on public images with a study of its own, or leave train.privacy out"
        )
    progress = progress or SilentProgress()
    data = open_data(study.data)
    with RunFolder.open(out, study_yaml=dump_study(relative_study(study, out)), identities=identities) as run:
        plan, _ = plan_study(study, data, run=run, progress=progress)
        config = study.pretrain
        budget = config.budget_minutes
        plan = replace(plan, budget_minutes=budget, iterations=config.iterations)
        cases = tuple(replace(case, label=None) for case in data.manifest.cases)
        entries = case_entries(study, data, plan, cases=cases, progress=progress)
        model, iterations = _train(study, plan, entries, out, study_digest(study, plan, cases), progress)
        weights = {f"encoder.{name}": tensor.cpu() for name, tensor in model.encoder.state_dict().items()}
        save_weights(weights, out / "weights.safetensors")
        outcome = PretrainOutcome(iterations, *_probe(study, plan, model, entries))
        with atomic_write(out / "pretrain.json", mode="w") as stream:
            stream.write(json.dumps({"method": config.name, **asdict(outcome)}, indent=2) + "\n")
        return outcome


def _train(
    study: StudyConfig,
    plan: Plan,
    entries: Sequence[CacheEntry],
    folder: Path,
    digest: str,
    progress: StudyProgress,
) -> tuple[MaskedModel, int]:
    torch.manual_seed(study.seed)
    encoder = network_of(study, plan).get_submodule("encoder")
    model = MaskedModel(encoder, spatial_dims=plan.spatial_dims, in_channels=len(plan.channels))
    model = model.to(plan.device)
    optimizer = build_optimizer(AdamConfig(lr=study.pretrain.lr), model)
    last = folder / "last.ckpt"
    resumed = load_checkpoint(last, study_digest=digest) if last.exists() else None
    if resumed is not None:
        model.load_state_dict(resumed.model)
        optimizer.load_state_dict(resumed.optimizer)
    alone = {"select": "last", "early_stopping": None, "schedule": ScheduleConfig(), "accumulate": 1}
    study = study.model_copy(update={"train": study.train.model_copy(update=alone)})
    seconds = plan.budget_minutes * 60.0 if plan.budget_minutes is not None else None
    progress.begin("pretrain", 1.0)
    control = RunControl(
        study.train,
        limits=RunLimits(None if seconds else plan.iterations, seconds, None),
        average=None,
        monitor=None,
        guides=False,
        folder=folder,
        study_digest=digest,
        resumed=resumed,
        on_epoch=lambda _epoch: None,
        progress=progress.update,
    )
    if control.done < 1.0:
        step = masked_step(ratio=study.pretrain.mask_ratio, block=study.pretrain.block)
        module = RunModule(model, step=step, optimizer=optimizer, seed=study.seed, first=control.batches)
        run_loop(study, plan, entries=entries, module=module, control=control)
    progress.end()
    return model, control.batches


def _probe(study: StudyConfig, plan: Plan, model: MaskedModel, entries: Sequence[CacheEntry]) -> tuple[float, float]:
    """Error on hidden voxels of the central patch of some cases, by the model and by filling in the mean."""
    images = []
    for entry in entries[:_PROBED]:
        start = [(n - p) // 2 for n, p in zip(entry.shape, plan.patch_size, strict=True)]
        images.append(torch.from_numpy(finish_image(read_patch(entry.image, start, plan.patch_size), plan)))
    batch: Tensor = torch.stack(images).to(plan.device)
    generator = torch.Generator().manual_seed(study.seed)
    hidden = hide_blocks(
        plan.patch_size,
        block=study.pretrain.block,
        ratio=study.pretrain.mask_ratio,
        batch=len(batch),
        generator=generator,
    ).to(plan.device)
    model.eval()
    with torch.inference_mode():
        found = float(hidden_error(model(batch, hidden), batch, hidden))
    return found, float(mean_fill_error(batch, hidden))
