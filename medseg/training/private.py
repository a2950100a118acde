"""Private step: the gradient of a step, clipped patient by patient, summed, and drowned in noise (Abadi et al. 2016).

In step n each patient takes part with probability q, by lot (Poisson sampling). The gradient of a patient is that of
the mean loss of some patches of its own cases, computed apart from the others', so that this is exact for every network
whose output for one patient depends on no other; it is scaled down to norm C where it is longer. The sum over the
patients gets normal noise of standard deviation sigma x C and is divided by the expected number of patients. One
patient more or less changes the sum before the noise by at most C.

Who takes part, and the noise, are drawn from a secret key and not from the study's seed: a seed is published with the
study, and whoever knows the noise can subtract it. The key lies in the fold's folder while the fold is trained and is
deleted with its end. The generator is Philox with 128 bits, a good generator but no cryptographic one, and the noise is
rounded to float32: the guarantee is that of the mathematics, not hardened against an attack on the rounding (Mironov
2012).
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import Dataset

from medseg.errors import RunError
from medseg.training.accounting import PrivacyTerms
from medseg.training.patches import PatchDataset
from medseg.types import Array

__all__ = [
    "PatientBatches",
    "PrivateGradient",
    "check_network",
    "forget_key",
    "patient_number",
    "private_key",
]

_KEY_FILE = "noise.key"
_LOTS, _NOISE = 1, 2
PatientBatch = tuple[Tensor, Tensor, Tensor]
"""Images (patient, patch, channel, x, y[, z]), targets (patient, patch, x, y[, z]), the patients' numbers (patient)."""


class PatientBatches(Dataset[PatientBatch]):
    """Batch n: some patches of each patient whom the lot of step n takes, possibly none.

    Args:
        patches: Cuts patches out of the cases.
        patients: Pseudonym of the patient of each case, in the order of the cases.
        terms: Sampling rate and patches of each patient.
        key: Secret of 16 bytes.
        seed: Seed of the run; draws patches and random changes, which need not be secret.
    """

    def __init__(
        self, patches: PatchDataset, *, patients: Sequence[str], terms: PrivacyTerms, key: bytes, seed: int
    ) -> None:
        self._patches = patches
        self._cases: dict[str, list[int]] = {}
        for index, patient in enumerate(patients):
            self._cases.setdefault(patient, []).append(index)
        self._terms = terms
        self._key = key
        self._seed = seed

    def __getitem__(self, number: int) -> PatientBatch:
        """Batch `number`."""
        lots = _generator(self._key, _LOTS, number).random(len(self._cases))
        drawn = [name for name, lot in zip(self._cases, lots, strict=True) if lot < self._terms.sample_rate]
        if not drawn:
            return torch.empty(0), torch.empty(0), torch.empty(0, dtype=torch.int64)
        groups = [self._group(name, number) for name in drawn]
        images, targets = (torch.stack([group[part] for group in groups]) for part in (0, 1))
        return images, targets, torch.tensor([patient_number(name) for name in drawn])

    def _group(self, patient: str, number: int) -> tuple[Tensor, Tensor]:
        """A patient's patches: of the seed, the step and the patient, so that no other patient changes them."""
        cases = self._cases[patient]
        samples = []
        for place in range(self._terms.patches):
            generator = np.random.default_rng((self._seed, number, patient_number(patient), place))
            case = cases[int(generator.integers(len(cases)))]
            samples.append(self._patches.draw(case, generator=generator))
        return torch.stack([image for image, _ in samples]), torch.stack([target for _, target in samples])


class PrivateGradient:
    """Writes a step's private gradient into the parameters, and counts the steps.

    Args:
        model: The network.
        terms: Clip norm, noise and expected patients.
        key: Secret of 16 bytes.
        gradient_clip: Largest norm of the finished gradient; 0 for none. It acts on what is private already.
        steps: Steps that were noised before an interruption.
    """

    def __init__(
        self, model: nn.Module, *, terms: PrivacyTerms, key: bytes, gradient_clip: float, steps: int = 0
    ) -> None:
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.terms = terms
        self.steps = steps
        self.key = key
        self._gradient_clip = gradient_clip

    def state(self) -> dict[str, float]:
        """The account, for the checkpoint."""
        return {"noise_multiplier": self.terms.noise_multiplier, "private_steps": float(self.steps)}

    def write(self, loss_of: Callable[[int], Tensor], *, patients: int, number: int) -> Tensor | None:
        """Compute the gradient of step `number` and write it into ``.grad``.

        Args:
            loss_of: Mean loss of the n-th patient's patches.
            patients: Patients that take part in this step.
            number: Number of the step.

        Returns:
            Mean loss of the patients, not private; None where no patient takes part.

        Raises:
            FloatingPointError: A patient's gradient is not finite.
        """
        total, losses = self.clipped_sum(loss_of, patients=patients)
        generator = _generator(self.key, _NOISE, number)
        deviation = self.terms.noise_multiplier * self.terms.clip_norm
        for parameter, gradient in zip(self._parameters, total, strict=True):
            noise = torch.from_numpy(generator.standard_normal(tuple(gradient.shape), dtype=np.float32))
            parameter.grad = (gradient + deviation * noise.to(gradient.device)) / self.terms.expected
        if self._gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._gradient_clip)
        self.steps += 1
        return torch.stack(losses).mean() if losses else None

    def clipped_sum(self, loss_of: Callable[[int], Tensor], *, patients: int) -> tuple[list[Tensor], list[Tensor]]:
        """Sum over the patients of their gradients, each at most `clip_norm` long, and their losses."""
        total = [torch.zeros_like(parameter, dtype=torch.float32) for parameter in self._parameters]
        losses = []
        for patient in range(patients):
            loss = loss_of(patient)
            gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
            known = [gradient.detach() for gradient in gradients if gradient is not None]
            norm = torch.nn.utils.get_total_norm(known).float()
            if not torch.isfinite(norm):
                raise FloatingPointError("a patient's gradient is not finite")
            scale = torch.clamp(self.terms.clip_norm / (norm + 1e-12), max=1.0)
            for place, gradient in zip(total, gradients, strict=True):
                if gradient is not None:
                    place.add_(gradient.detach().float() * scale)
            losses.append(loss.detach())
        return total, losses


def check_network(model: nn.Module) -> None:
    """Refuse a network that keeps statistics of its images.

    Raises:
        RunError: It has batch normalisation, whose running mean and variance would leave without noise.
    """
    if any(isinstance(module, _BatchNorm) for module in model.modules()):
        raise RunError(
            "train.privacy: expected a network without batch normalisation, whose running mean and variance are taken "
            "from the images and get no noise; found one. Set model.name: unet, which normalises each image by itself"
        )


def private_key(folder: Path) -> bytes:
    """The secret of a fold's training: the one in its folder, or a new one that is written there, mode 0600."""
    path = folder / _KEY_FILE
    try:
        kept = path.read_bytes()
    except FileNotFoundError:
        kept = b""
    if len(kept) == 16:
        return kept
    key = secrets.token_bytes(16)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(key)
    return key


def forget_key(folder: Path) -> None:
    """Delete the secret; with it nobody can take the noise off the weights again."""
    (folder / _KEY_FILE).unlink(missing_ok=True)


def patient_number(patient: str) -> int:
    """A number of 63 bits for a pseudonym, the same whoever else is in the data."""
    return int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8], "big") >> 1


def _generator(key: bytes, purpose: int, number: int) -> np.random.Generator:
    """The stream of one purpose and step; streams don't overlap, their counters differ in the highest words."""
    words: Array = np.frombuffer(key, dtype="<u8").astype(np.uint64)
    counter = np.array([0, 0, purpose, number], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=words, counter=counter))
