"""PrivacySpend: what a differentially private training costs, the unit being the patient.

The guarantee: whatever anyone concludes from the weights, they conclude it with nearly the same probability whether or
not one patient, with all of its cases, was in the training set; the probabilities differ by a factor of at most
e^epsilon, but for a chance of delta (Dwork et al. 2006; Abadi et al. 2016 for this way of training; McMahan et al. 2018
for a person as the unit). Two training sets are neighbours when one has one patient more; the number of patients is
taken as public.

Each step is a Gaussian mechanism on a Poisson sample of the patients. Opacus' accountant composes the steps numerically
(Gopi et al. 2021, arXiv 2106.02848) and gives an upper bound of epsilon.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from medseg.config import PrivacyConfig
from medseg.errors import MissingExtraError, RunError

__all__ = ["PrivacySpend", "PrivacyTerms", "compose", "privacy_terms", "spent"]

_DELTA_SHARE = 0.1
"""Without a delta of the study: this share of one over the number of patients."""


@dataclass(frozen=True)
class PrivacyTerms:
    """What a private training is held to, decided before its first step.

    Attributes:
        delta: Chance that the guarantee leaves out.
        clip_norm: Largest norm of one patient's gradient.
        noise_multiplier: Standard deviation of the noise on the sum of the gradients, as a multiple of `clip_norm`.
        sample_rate: Probability that a patient takes part in a step.
        patients: Training patients.
        patches: Patches of each patient that takes part.
    """

    delta: float
    clip_norm: float
    noise_multiplier: float
    sample_rate: float
    patients: int
    patches: int

    @property
    def expected(self) -> float:
        """Patients that take part in a step, on average."""
        return self.sample_rate * self.patients


@dataclass(frozen=True)
class PrivacySpend:
    """The guarantee that one model's weights carry; ``privacy.json`` in a fold's folder.

    Attributes:
        epsilon: Upper bound of epsilon.
        delta: Its delta.
        noise_multiplier: As in `PrivacyTerms`.
        sample_rate: As in `PrivacyTerms`.
        steps: Steps that were noised.
        clip_norm: As in `PrivacyTerms`.
        patients: Training patients.
    """

    epsilon: float
    delta: float
    noise_multiplier: float
    sample_rate: float
    steps: int
    clip_norm: float
    patients: int


def privacy_terms(
    config: PrivacyConfig, *, patients: int, steps: int, resumed: Mapping[str, float] | None = None
) -> PrivacyTerms:
    """Find the least noise that keeps a run of so many steps within its epsilon and delta.

    Args:
        config: The study's ``train.privacy``.
        patients: Training patients.
        steps: Steps of the whole run.
        resumed: Account of an interrupted run, whose noise is kept.

    Raises:
        RunError: Delta is no guarantee for so few or many patients, or no noise is enough.
        MissingExtraError: Opacus isn't installed.
    """
    delta = config.delta if config.delta is not None else _one_digit(_DELTA_SHARE / patients)
    if delta >= 1 / patients:
        raise RunError(
            f"train.privacy.delta: expected less than one over the number of training patients, {1 / patients:.2g}; "
            f"found {delta:g}, which allows to publish one of them outright. Leave it out for a tenth of that"
        )
    rate = min(1.0, config.patients / patients)
    multiplier = (resumed or {}).get("noise_multiplier") or _least_noise(config.epsilon, delta, rate, steps)
    return PrivacyTerms(delta, config.clip_norm, multiplier, rate, patients, config.patches)


def spent(terms: PrivacyTerms, *, steps: int) -> PrivacySpend:
    """What so many steps have cost.

    Args:
        terms: What the run was held to.
        steps: Steps that were noised.
    """
    epsilon = _epsilon([(terms.noise_multiplier, terms.sample_rate, steps)], terms.delta)
    return PrivacySpend(
        epsilon, terms.delta, terms.noise_multiplier, terms.sample_rate, steps, terms.clip_norm, terms.patients
    )


def compose(spends: Sequence[PrivacySpend]) -> tuple[float, float]:
    """Epsilon and delta of a patient who was trained on by all of these models, when all are given away together.

    Args:
        spends: One for each model.
    """
    delta = max(spend.delta for spend in spends)
    return _epsilon([(s.noise_multiplier, s.sample_rate, s.steps) for s in spends], delta), delta


def _epsilon(history: list[tuple[float, float, int]], delta: float) -> float:
    account = _opacus().PRVAccountant()
    account.history = [entry for entry in history if entry[2] > 0]
    if not account.history:
        return 0.0
    with _without_warnings():
        return float(account.get_epsilon(delta))


def _one_digit(value: float) -> float:
    """The largest number of one significant digit that isn't above `value`; all digits would tell how many patients."""
    power = math.floor(math.log10(value))
    return float(f"{math.floor(value / 10.0**power + 1e-9)}e{power}")


@functools.cache
def _least_noise(epsilon: float, delta: float, rate: float, steps: int) -> float:
    _opacus()
    from opacus.accountants.utils import get_noise_multiplier

    try:
        with _without_warnings():
            return float(
                get_noise_multiplier(
                    target_epsilon=epsilon, target_delta=delta, sample_rate=rate, steps=steps, accountant="prv"
                )
            )
    except (ValueError, RuntimeError, OverflowError):
        raise RunError(
            f"train.privacy: no noise keeps {steps} steps within epsilon {epsilon:g}; raise train.privacy.epsilon, or "
            "lower plan.iterations or train.privacy.patients"
        ) from None


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Opacus sizes its grid by a looser accountant, whose warnings of a loose bound don't touch the result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _opacus() -> Any:
    try:
        from opacus import accountants
    except ImportError:
        raise MissingExtraError("differentially private training", "dp") from None
    return accountants
