r"""Does pretraining on unlabelled images help? Pretrain, fine-tune, and compare with a start from scratch, in pairs.

    python workflows/pretrain_then_finetune.py configs/hippocampus_3d.yaml unlabelled/manifest.csv \\
        my-data/data/manifest.csv runs/pretrained --cases 10

Both arms have the same folds, cases, seed and minutes; only the first weights differ. The answer is printed whatever it
is. Patients of the held-out folds must not be among the unlabelled ones where that would flatter the result.
"""

import argparse
import sys
from pathlib import Path

from medseg.cli.bars import StudyBars
from medseg.config import StudyConfig, load_study
from medseg.data.manifest import read_manifest
from medseg.errors import MedsegError
from medseg.studies import compare_runs, read_cases
from medseg.studies.crossval import cross_validate
from medseg.studies.pretrain import pretrain


def main() -> None:
    """Carry the steps out."""
    arguments = _arguments()
    run: Path = arguments.run

    # 1. Who is on both sides? A pretraining that has seen a held-out image has not seen its label, but say so.
    seen = {case.sha256 for case in read_manifest(arguments.unlabelled).cases if case.sha256}
    shared = sum(case.sha256 in seen for case in read_manifest(arguments.manifest).cases)
    print(f"1. {shared} of the labelled cases' images are among the unlabelled ones")

    # 2. Pretrain the encoder: hide blocks of each image, learn to fill them in.
    with StudyBars() as bars:
        start = pretrain(_study(arguments, arguments.unlabelled), out=run / "pretraining", progress=bars)
    print(f"2. error on hidden voxels {start.loss:.4f}; filling in the mean gives {start.baseline:.4f}")

    # 3. Fine-tune from it, and from scratch.
    changes = [] if arguments.cases is None else [f"train.few_shot={{cases: {arguments.cases}}}"]
    arms = {
        "from scratch": _study(arguments, arguments.manifest, *changes),
        "pretrained": _study(arguments, arguments.manifest, f"train.init={run / 'pretraining'}", *changes),
    }
    rows = {}
    for name, study in arms.items():
        folder = run / name.replace(" ", "_")
        with StudyBars() as bars:
            outcome = cross_validate(study, out=folder, progress=bars)
        dice = outcome.summary["mean_over_labels"]["metrics"]["dice"]
        print(f"3. {name}: Dice {dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})")
        rows[name] = read_cases(folder)

    # 4. The difference, case by case, with its interval over patients.
    for pair in compare_runs(rows)["comparisons"]:
        print(
            f"4. {pair['label_name']}: pretrained minus scratch {pair['difference']:+.3f} "
            f"({pair['low']:+.3f} to {pair['high']:+.3f}), p = {pair['p_holm']:.3g}"
        )


def _study(arguments: argparse.Namespace, manifest: Path, *changes: str) -> StudyConfig:
    return load_study(arguments.study, overrides=[f"data.manifest={manifest}", *changes, *arguments.set])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="study file; its pretrain section says how to pretrain")
    parser.add_argument("unlabelled", type=Path, help="manifest to pretrain on; its labels are not read")
    parser.add_argument("manifest", type=Path, help="labelled manifest with folds beside it")
    parser.add_argument("run", type=Path, help="folder of the runs")
    parser.add_argument("--cases", type=int, help="fine-tune on so few labelled cases; without it on all")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="change a value of the study")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except MedsegError as error:
        sys.exit(f"{error}")
