"""Model privacy: the section of a report on what the weights may tell about the patients, and what was tested."""

from __future__ import annotations

from collections.abc import Mapping

from medseg.export.model_privacy import (
    MEMBERSHIP_LIMITS,
    MEMBERSHIP_MEANING,
    NO_GUARANTEE,
    guarantee_words,
    read_membership,
    read_privacy,
    rounded_up,
)
from medseg.report.blocks import Block, Cell, Section, Table, Text
from medseg.report.facts import RunFacts
from medseg.report.screen import WITHHELD, Screen

__all__ = ["privacy_section"]

_ATTACKS = {
    "loss": ("Loss", "Yeom et al. 2018"),
    "likelihood_ratio": ("Likelihood ratio", "Carlini et al. 2022, the other folds as reference"),
}


def privacy_section(facts: RunFacts, screen: Screen) -> Section:
    """The guarantee of a differentially private training, or that there is none; the membership test, or that none.

    Args:
        facts: The run folder.
        screen: What may be seen.
    """
    return Section("privacy", "Model privacy", (*_guarantee(facts), *_membership(facts, screen)))


def _guarantee(facts: RunFacts) -> tuple[Block, ...]:
    found = read_privacy(facts.run)
    if found is None:
        return (Text((NO_GUARANTEE,)),)
    config = facts.study.train.privacy
    rows = [
        ("Unit", "the patient, with all of its cases"),
        ("One model", _epsilon(found["epsilon"], found["delta"])),
    ]
    if found["models"] > 1:
        models = f"{found['models']} models given away together, as in the model package"
        rows.append((models, _epsilon(found["epsilon_together"], found["delta_together"])))
        rows.append(("Models that a patient had a part in", str(found["models_of_a_patient"])))
    if config is not None:
        rows.append(("Clip norm of a patient's gradient", f"{config.clip_norm:g}"))
        rows.append(("Patients in a step, by lot", f"{config.patients} on average, {config.patches} patches each"))
    rows.append(("Noise (multiple of the clip norm)", _span([run["noise_multiplier"] for run in found["runs"]], ".3g")))
    rows.append(("Steps", _span([run["steps"] for run in found["runs"]], "d")))
    rows.append(("Accountant", found["accountant"]))
    table = Table(
        ("", ""),
        tuple((Cell(name), Cell(value)) for name, value in rows),
        caption="Differential privacy: what was guaranteed, and what it cost.",
        numeric=False,
    )
    return table, Text(guarantee_words(found), listed=True)


def _membership(facts: RunFacts, screen: Screen) -> tuple[Block, ...]:
    found = read_membership(facts.run)
    if found is None:
        words = (
            "Whether one can tell from the models who was trained on was not tested; `medseg membership RUN` does it."
        )
        return (Text((words,)),)
    rows = []
    for name, attack in found["attacks"].items():
        label, source = _ATTACKS[name]
        told = screen.rests_on(min(attack["members"], attack["others"]))
        by_chance = f"; guessing: {attack['tpr']['guessing']:.3f}"
        cells = (
            _estimate(attack[key], screen, remark=remark) if told else WITHHELD
            for key, remark in (("auc", ""), ("tpr", by_chance))
        )
        rows.append((Cell(label, source), *cells))
    percent = f"{found['confidence'] * 100:g} %"
    table = Table(
        ("Attack", "AUC (guessing: 0.5)", f"True positives at {found['false_positives']:.0%} false ones"),
        tuple(rows),
        caption=f"Membership inference, patient by patient, with the {percent} interval over patients.",
    )
    return table, Text((MEMBERSHIP_MEANING, *MEMBERSHIP_LIMITS), listed=True)


def _estimate(facts: Mapping[str, float | None], screen: Screen, *, remark: str) -> Cell:
    value, low, high = (facts[key] for key in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return Cell("–", "too few patients")
    places = screen.decimals(value, 3)
    return Cell(f"{value:.{places}f}", f"{low:.{places}f} to {high:.{places}f}{remark}")


def _epsilon(epsilon: float, delta: float) -> str:
    return f"epsilon {rounded_up(epsilon):g}, delta {delta:.2g}"


def _span(values: list[float], form: str) -> str:
    low, high = (format(edge, form) for edge in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
