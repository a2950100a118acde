"""What a skin-lesion model tells about its patients, and what it costs to keep it from telling.

    MEDSEG_TEST_DATA=DATA python benchmarks/model_privacy.py OUT [--cases 150] [--steps 150] [--epsilon 8 --epsilon 3]

DATA holds isic2017/. The study is configs/skin_lesion_private_2d.yaml: the same photographs, folds, network and steps
without and with differential privacy for the patient (every photograph is a patient of its own); each run is
attacked by `medseg membership`. Three folds, since the likelihood ratio needs at least two models that saw a patient.
Without privacy a step takes as many photographs as the private one does on average. The same call goes on where it
stopped.

Nothing is tuned: a longer non-private run would overfit more and be attacked more easily; a private one with more
photographs would lose less. Read the rows against each other, not as the best that either can do.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path

from studies import medseg, read_rows, write_rows

_CONFIG = Path(__file__).resolve().parent.parent / "configs" / "skin_lesion_private_2d.yaml"


def _subset(manifest: Path, cases: int) -> None:
    """Keep some photographs, drawn with seed 0."""
    rows = read_rows(manifest)
    kept = {row["case"] for row in random.Random(0).sample(rows, min(cases, len(rows)))}
    write_rows(manifest, [row for row in rows if row["case"] in kept])


def _settings(manifest: Path, epsilon: float | None, options: argparse.Namespace) -> list[str]:
    changes = {
        "data.manifest": str(manifest),
        "plan.iterations": options.steps,
        "plan.patch_size": [options.edge, 3 * options.edge // 4],
        "track.enabled": "false",
    }
    if epsilon is None:
        changes |= {"train.privacy": "null", "plan.batch_size": options.patients}
    else:
        changes |= {"train.privacy.epsilon": epsilon, "train.privacy.patients": options.patients}
    return [part for name, value in changes.items() for part in ("--set", f"{name}={value}")]


def _name(epsilon: float | None) -> str:
    return "plain" if epsilon is None else f"epsilon_{epsilon:g}"


def _figures(run: Path, minutes: float) -> str:
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    attacks = json.loads((run / "membership.json").read_text(encoding="utf-8"))["attacks"]
    dice, private = summary["mean_over_labels"]["metrics"]["dice"], summary.get("privacy")
    cost = "none" if private is None else f"{private['epsilon']:.2f}, {private['delta']:.0e}"
    together = "none" if private is None else f"{private['epsilon_together']:.2f}"
    cells = [f"{dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})"]
    for name in ("loss", "likelihood_ratio"):
        cells += [_estimate(attacks[name]["auc"]), _estimate(attacks[name]["tpr"])]
    return f"| {run.name} | {cost} | {together} | {' | '.join(cells)} | {minutes:.1f} |"


def _estimate(facts: dict[str, float | None]) -> str:
    if facts["value"] is None:
        return "too few patients"
    return f"{facts['value']:.3f} ({facts['low']:.3f} to {facts['high']:.3f})"


def main() -> None:
    """Train each variant, attack it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=150)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--patients", type=int, default=32, help="patients in a step")
    parser.add_argument("--edge", type=int, default=128, help="pixels on the longer side; a multiple of 64")
    parser.add_argument("--epsilon", type=float, action="append")
    options = parser.parse_args()
    out = options.out.absolute()
    manifest = out / "data" / "manifest.csv"
    if not manifest.with_suffix(".folds.csv").exists():
        medseg("import", str(Path(os.environ["MEDSEG_TEST_DATA"]) / "isic2017"), str(manifest.parent))
        _subset(manifest, options.cases)
        medseg("manifest", "split", str(manifest), "--folds", "3")
    rows = []
    for epsilon in (None, *(options.epsilon or (8.0, 3.0))):
        run = out / _name(epsilon)
        started = time.monotonic()
        medseg("crossval", str(_CONFIG), *_settings(manifest, epsilon, options), "--out", str(run))
        minutes = (time.monotonic() - started) / 60
        medseg("membership", str(run))
        rows.append(_figures(run, minutes))
    print(
        "| run | epsilon, delta of one model | epsilon of all three | Dice (95 %) | loss attack: AUC | TPR at 1 % FPR ",
        end="",
    )
    print("| likelihood ratio: AUC | TPR at 1 % FPR | minutes |\n|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
