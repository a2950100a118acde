"""A cross-validation study in 3D: plan, train every fold, score what it held out, report, package.

    python workflows/cross_validate_3d.py configs/hippocampus_3d.yaml my-data/data/manifest.csv runs/first --minutes 10

Needs folds beside the manifest (medseg manifest split). The same command again goes on where it stopped.
"""

import argparse
import sys
from pathlib import Path

from medseg.cli.bars import StudyBars
from medseg.config import load_study
from medseg.errors import MedsegError
from medseg.export.from_run import package_run
from medseg.report import write_report
from medseg.studies.crossval import Deliverables, cross_validate
from medseg.studies.reporting import SilentProgress
from medseg.studies.study import open_data, plan_study


def main() -> None:
    """Carry the steps out."""
    arguments = _arguments()

    # 1. The study: one YAML file, and what differs this time.
    changes = [f"data.manifest={arguments.manifest}", "plan.spatial_dims=3", *arguments.set]
    if arguments.minutes is not None:
        changes.append(f"train.budget_minutes={arguments.minutes}")
    study = load_study(arguments.study, overrides=changes)

    # 2. What the data, the machine and the time make of it. Nothing is trained yet: look at the reasons first.
    plan, _ = plan_study(study, open_data(study.data), run=None, progress=SilentProgress())
    for choice, reason in plan.reasons.items():
        print(f"2. {choice}: {reason}")
    if arguments.plan_only:
        return

    # 3. Train every fold and predict the cases it held out; then reports for inside and outside, and the model.
    def deliver(run: Path) -> Deliverables:
        reports = tuple(write_report(run, tier=tier) for tier in ("internal", "shareable"))
        package_run(run, run / "model.medseg")
        return Deliverables(reports, run / "model.medseg")

    with StudyBars() as bars:
        outcome = cross_validate(study, out=arguments.run, progress=bars, deliver=deliver)

    # 4. The figures of a paper's table: mean over patients held out, with their intervals.
    for label in outcome.summary["labels"].values():
        for metric in ("dice", "hd95_mm", "volume_error"):
            facts = label["metrics"].get(metric)
            if facts is not None:
                print(f"4. {label['name']}, {metric}: {facts['mean']:.3f} ({facts['low']:.3f} to {facts['high']:.3f})")
    for refusal in outcome.refusals:
        print(f"   refused: {refusal.input}: {refusal.reason}")
    print(f"5. report: {arguments.run / 'report' / 'internal.html'}; model: {arguments.run / 'model.medseg'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="study file")
    parser.add_argument("manifest", type=Path, help="manifest with folds beside it")
    parser.add_argument("run", type=Path, help="run folder")
    parser.add_argument("--minutes", type=float, help="training of one fold; without it what the study says")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="change a value of the study")
    parser.add_argument("--plan-only", action="store_true", help="stop after the plan")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except MedsegError as error:
        sys.exit(f"{error}")
