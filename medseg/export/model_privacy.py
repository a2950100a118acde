"""Model privacy: what a run's weights may tell about its patients, in plain words, for model card and report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.data.files import sha256_of
from medseg.data.json_files import read_object

__all__ = [
    "MEMBERSHIP_LIMITS",
    "MEMBERSHIP_MEANING",
    "NO_GUARANTEE",
    "describe_privacy",
    "guarantee_words",
    "read_membership",
    "read_privacy",
    "rounded_up",
]

NO_GUARANTEE = (
    "Trained without differential privacy: nothing limits by proof what the weights may tell about a patient."
)
_GUARANTEE_COVERS = (
    "Covered are the weights, and whatever is computed from them without the training images. Had any one patient been "
    "left out with all of its cases, every conclusion from them would have been about as likely: the two probabilities "
    "differ by a factor of e to the power of epsilon at most, but for a chance of delta. The smaller epsilon, the more "
    "that says; from about 10 on it says little.",
)
_GUARANTEE_LEAVES_OUT = (
    "Not covered: the scores, their intervals and the curves of loss and Dice, which are computed from the patients "
    "without noise and protected by the rules for small numbers only; the number of patients; choices that people made "
    "after looking at the images or at earlier runs (each earlier run on these patients cost an epsilon of its own).",
    "Nothing was decided from the images past the noise: spacing, patch and intensities were fixed by the study, no "
    "epoch was chosen, nothing was stopped early, no batch statistics are in the network. The moving average of the "
    "weights costs nothing. The noise is drawn from a secret that was deleted, by a generator for simulation, in "
    "float32: an attack on the rounding of numbers is not covered.",
)
_PUBLIC_INIT = (
    "The training began with weights from elsewhere. That none of these patients had a part in them is the word of the "
    "researcher; nothing here proves it."
)
MEMBERSHIP_MEANING = (
    "Somebody who holds a patient's image and outline tries to tell, from how well a fold's model fits them, whether "
    "that model was trained on the patient. Members and non-members are the same people, as the folds drew them. An "
    "AUC of 0.5 is guessing, 1 is certainty; the true-positive rate says how many members are found when one in a "
    "hundred others is wrongly taken for one."
)
MEMBERSHIP_LIMITS = (
    "A value well above guessing shows that the weights tell who was trained on. A value near it shows that these two "
    "attacks fail, not that none works: an attacker who trains hundreds of models of his own, or reads the weights, "
    "finds more. A mean over patients also hides that a single unusual one may be found with certainty.",
    "Each fold's model was tested alone. The folds together, or a model of all cases, were not, for lack of patients "
    "that they never saw.",
)
_NOT_TESTED = "Membership inference was not tested; `medseg membership RUN` does it for a cross-validation."


def read_privacy(run: Path) -> dict[str, Any] | None:
    """The guarantee of a run, as ``privacy.json`` holds it; None where it was trained without."""
    return read_object(run / "privacy.json")


def read_membership(run: Path) -> dict[str, Any] | None:
    """The membership test of a run; None where there is none, or where the weights have changed since."""
    facts = read_object(run / "membership.json")
    if facts is None:
        return None
    try:
        now = [sha256_of(run / f"fold_{k}" / "weights.safetensors") for k in range(len(facts["weights"]))]
        return facts if now == facts["weights"] else None
    except (OSError, KeyError, TypeError):
        return None


def guarantee_words(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What a guarantee covers and what it doesn't.

    Args:
        facts: From `read_privacy`.
    """
    return (*_GUARANTEE_COVERS, *_GUARANTEE_LEAVES_OUT, *((_PUBLIC_INIT,) if facts["public_init"] else ()))


def rounded_up(epsilon: float) -> float:
    """An epsilon with two decimals, never below: a guarantee may be told weaker than it is, not stronger.

    Example:
        >>> rounded_up(1.2301), rounded_up(1.23)
        (1.24, 1.23)
    """
    return math.ceil(epsilon * 100 - 1e-9) / 100


def describe_privacy(run: Path, *, threshold: int) -> dict[str, Any]:
    """What a model card says of a run's privacy; JSON values only.

    Args:
        run: The run folder.
        threshold: Figures that rest on fewer patients are withheld.
    """
    return {"differential_privacy": _guarantee(read_privacy(run)), "membership": _membership(run, threshold)}


def _guarantee(facts: Mapping[str, Any] | None) -> dict[str, Any]:
    if facts is None:
        return {"trained_with": False, "words": [NO_GUARANTEE]}
    return {
        "trained_with": True,
        "unit": facts["unit"],
        "epsilon_of_one_model": rounded_up(facts["epsilon"]),
        "delta_of_one_model": facts["delta"],
        "models": facts["models"],
        "models_of_a_patient": facts["models_of_a_patient"],
        "epsilon": rounded_up(facts["epsilon_together"]),
        "delta": facts["delta_together"],
        "accountant": facts["accountant"],
        "words": list(guarantee_words(facts)),
    }


def _membership(run: Path, threshold: int) -> dict[str, Any]:
    facts = read_membership(run)
    if facts is None:
        return {"tested": False, "words": [_NOT_TESTED]}
    attacks: dict[str, Any] = {}
    for name, attack in facts["attacks"].items():
        if min(attack["members"], attack["others"]) < threshold:
            attacks[name] = {"withheld": f"fewer than {threshold} patients"}
        else:
            attacks[name] = {key: {k: _rounded(v) for k, v in attack[key].items()} for key in ("auc", "tpr")}
    return {
        "tested": True,
        "unit": facts["unit"],
        "false_positives": facts["false_positives"],
        "interval": facts["interval"],
        "confidence": facts["confidence"],
        "attacks": attacks,
        "words": [MEMBERSHIP_MEANING, *MEMBERSHIP_LIMITS],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 3)
