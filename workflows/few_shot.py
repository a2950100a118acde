"""How many outlined cases are enough? Cross-validate with more and more of them, and compare the ends in pairs.

    python workflows/few_shot.py configs/hippocampus_3d.yaml my-data/data/manifest.csv runs/few --cases 5 --cases 20

Every number is scored on the same held-out cases, so that only the number of cases to learn from differs.
"""

import argparse
import sys
from pathlib import Path

from medseg.cli.bars import StudyBars
from medseg.config import load_study
from medseg.errors import MedsegError
from medseg.studies import compare_runs, read_cases
from medseg.studies.curve import label_curve


def main() -> None:
    """Carry the steps out."""
    arguments = _arguments()
    counts = sorted(set(arguments.cases or [5, 20]))

    # 1. The study. A pretrained start (train.init) helps most where outlined cases are few.
    changes = [f"data.manifest={arguments.manifest}", *arguments.set]
    if arguments.init is not None:
        changes.append(f"train.init={arguments.init}")
    study = load_study(arguments.study, overrides=changes)

    # 2. One cross-validation for each number of cases; drawn patient by patient, the same seed for all.
    with StudyBars() as bars:
        points = label_curve(study, cases=counts, out=arguments.run, progress=bars)
    for point in points:
        print(f"2. {point.cases} cases: Dice {point.dice:.3f} ({point.low:.3f} to {point.high:.3f})")

    # 3. Is the step from the fewest to the most more than chance? Paired case by case, interval over patients.
    if len(counts) > 1:
        ends = {f"{count} cases": read_cases(arguments.run / f"cases_{count}") for count in (counts[0], counts[-1])}
        for pair in compare_runs(ends)["comparisons"]:
            print(
                f"3. {pair['label_name']}: {pair['first']} to {pair['second']}: {pair['difference']:+.3f} "
                f"({pair['low']:+.3f} to {pair['high']:+.3f}), p = {pair['p_holm']:.3g}"
            )
    print(f"4. the curve: {arguments.run / 'curve.csv'}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="study file")
    parser.add_argument("manifest", type=Path, help="manifest with folds beside it")
    parser.add_argument("run", type=Path, help="folder of the runs")
    parser.add_argument("--cases", type=int, action="append", help="a number of outlined cases; repeatable")
    parser.add_argument("--init", type=Path, help="pretraining folder or model package to start from")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="change a value of the study")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except MedsegError as error:
        sys.exit(f"{error}")
