"""The command `membership`: can one tell from a run's models who was trained on?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.cli.common import command, emit
from medseg.cli.keys import KeyOption, identities_beside
from medseg.wording import counted

__all__ = ["register"]

_NAMES = {"loss": "loss", "likelihood_ratio": "likelihood ratio"}


def register(app: typer.Typer) -> None:
    """Add the command to the app."""
    app.command("membership")(_membership)


@command
def _membership(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of a finished cross-validation.")],
    manifest: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The manifest, where it is no longer where the study says.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the resampling; the study's without it.")] = None,
    key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> int:
    """Attack a run's models: can one tell who was trained on?

    Every fold's model is asked for every labelled case. The result is written to membership.json in the run folder;
    `medseg report` and `medseg package` tell it from then on. An AUC of 0.5 is guessing, 1 is certainty.

    Example: medseg membership runs/skin_lesion_2d
    """
    from medseg.cli.bars import StudyBars
    from medseg.studies.fold_losses import measure_membership

    identities_beside(key)
    with StudyBars() as bars:
        facts = measure_membership(run, manifest=manifest, seed=seed, progress=bars)
    emit(facts, as_json=as_json, text=_text(facts))
    return 0


def _text(facts: dict[str, Any]) -> str:
    percent = f"{facts['confidence']:.0%} interval over patients"
    lines = [f"{counted(facts['patients'], 'patient')}, {counted(facts['models'], 'model')}; {percent}"]
    for name, attack in facts["attacks"].items():
        lines.append(f"{_NAMES[name]}: AUC {_estimate(attack['auc'])}")
        rate = f"{_estimate(attack['tpr'])}, guessing gives {attack['tpr']['guessing']:.3f}"
        lines.append(f"{'':<{len(_NAMES[name])}}  true positives at {facts['false_positives']:.0%} false ones: {rate}")
    lines.append("0.5 is guessing. A value near it shows that these two attacks fail, not that every attack does.")
    return "\n".join(lines)


def _estimate(facts: dict[str, float]) -> str:
    if facts["value"] != facts["value"]:
        return "not defined, too few patients"
    return f"{facts['value']:.3f} ({facts['low']:.3f} to {facts['high']:.3f})"
