"""Privacy facts: the guarantees that the models of a run carry, one by one and given away together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medseg.config import StudyConfig
from medseg.data.split import Split
from medseg.errors import RunError
from medseg.studies.tables import write_summary
from medseg.training.accounting import PrivacySpend, compose

__all__ = ["privacy_facts", "write_privacy_facts", "write_spend"]


def write_spend(spend: PrivacySpend, folder: Path) -> None:
    """Write ``privacy.json`` into a fold's folder."""
    write_summary(asdict(spend), folder / "privacy.json")


def write_privacy_facts(study: StudyConfig, run: Path, *, splits: Mapping[str, Split]) -> dict[str, Any] | None:
    """Write ``privacy.json`` into the run folder; nothing where the study asks for no differential privacy.

    Args:
        study: The resolved study.
        run: The run folder, all of whose folds are trained.
        splits: The split of each fold's folder, by the folder's name.

    Raises:
        RunError: A fold has no account.
    """
    if study.train.privacy is None:
        return None
    spends = {name: _read_spend(run / name) for name in splits}
    facts = privacy_facts(study, [(splits[name], spend) for name, spend in spends.items()])
    write_summary(facts, run / "privacy.json")
    return facts


def privacy_facts(study: StudyConfig, spends: Sequence[tuple[Split, PrivacySpend]]) -> dict[str, Any]:
    """What each model's weights cost a patient, and what all of them together do.

    A patient who is held out once in each repeat has a part in all other models of it; given away together, as in a
    model package, these models cost more than one. The worst case is meant: the model that costs least is the one that
    holds the patient out.

    Args:
        study: The resolved study, with ``train.privacy``.
        spends: Split and account of each model.

    Returns:
        ``unit, epsilon, delta`` (of one model, the largest), ``models``, ``models_of_a_patient``, ``epsilon_together``,
        ``delta_together``, ``public_init``, and ``runs`` with each model's account.
    """
    assert study.train.privacy is not None
    taking_part: list[PrivacySpend] = []
    for repeat in sorted({split.repeat for split, _ in spends}):
        part = sorted((spend for split, spend in spends if split.repeat == repeat), key=lambda spend: spend.epsilon)
        held_out_once = len(part) > 1
        taking_part += part[1:] if held_out_once else part
    together, delta = compose(taking_part)
    return {
        "unit": "patient",
        "epsilon": max(spend.epsilon for _, spend in spends),
        "delta": max(spend.delta for _, spend in spends),
        "models": len(spends),
        "models_of_a_patient": len(taking_part),
        "epsilon_together": together,
        "delta_together": delta,
        "public_init": study.train.init is not None,
        "accountant": "Opacus, privacy random variables (Gopi et al. 2021)",
        "runs": [asdict(spend) for _, spend in spends],
    }


def _read_spend(folder: Path) -> PrivacySpend:
    try:
        return PrivacySpend(**json.loads((folder / "privacy.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise RunError(
            "privacy.json of a fold is missing or unreadable, so what its weights cost is unknown; train it again"
        ) from None
