"""Few labels on public data: from scratch, from masked image modelling, from ImageNet, and prototypes without training.

    MEDSEG_TEST_DATA=DATA python benchmarks/few_labels.py OUT [skin] [hippocampus] [--minutes 3]

DATA holds isic2017/ and msd_hippocampus/. Two fifths of the patients are held out and scored; k cases of the others
keep their labels; pretraining sees the images of the others only, never a held-out one. All arms have the same cases,
seed and minutes. The same call goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from studies import medseg, pair_patients, read_rows, write_rows

from medseg.studies import compare_runs, read_cases

_ROOT = Path(__file__).resolve().parent.parent
_FRESH = "model.pretrained=false"


@dataclass(frozen=True)
class _Task:
    config: str
    source: str
    labelled: int
    arms: dict[str, tuple[str, ...]]
    import_options: tuple[str, ...] = ()
    patients_in_pairs: bool = False
    prototypes: bool = False


_TASKS = {
    "skin": _Task(
        "skin_lesion_2d",
        "isic2017",
        10,
        {"from scratch": (_FRESH,), "masked": (_FRESH, "train.init={pretraining}"), "ImageNet": ()},
        prototypes=True,
    ),
    "hippocampus": _Task(
        "hippocampus_3d",
        "msd_hippocampus",
        8,
        {"from scratch": (), "masked": ("train.init={pretraining}",)},
        ("--keep-names", "--modality", "MR"),
        patients_in_pairs=True,
    ),
}


def main() -> None:
    """Run the tasks asked for and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("tasks", nargs="*", default=list(_TASKS))
    parser.add_argument("--minutes", type=float, default=3.0, help="of each arm; pretraining takes as long")
    arguments = parser.parse_args()
    data = Path(os.environ["MEDSEG_TEST_DATA"])
    lines = [_run(name, _TASKS[name], data, arguments.out.absolute(), arguments.minutes) for name in arguments.tasks]
    print("| data | labelled | start | Dice (95 %) | against from scratch | cases |\n|---|---|---|---|---|---|")
    print("\n".join(line for of_task in lines for line in of_task))


def _run(name: str, task: _Task, data: Path, out: Path, minutes: float) -> list[str]:
    manifest = _prepare(task, data, out / name)
    folder = out / name
    study = str(_ROOT / "configs" / f"{task.config}.yaml")
    time = f"train.budget_minutes={minutes:g}"
    pretraining = folder / "pretraining"
    if not (pretraining / "pretrain.json").exists():
        fresh = (_FRESH,) if task.prototypes else ()
        changes = (f"data.manifest={folder / 'unlabelled.csv'}", f"pretrain.budget_minutes={minutes:g}", *fresh)
        medseg("pretrain", study, *_settings(changes), "--out", str(pretraining))
    print(f"{name}: {(pretraining / 'pretrain.json').read_text(encoding='utf-8')}")
    rows = {}
    for arm, changes in task.arms.items():
        run = folder / arm.replace(" ", "_")
        chosen = tuple(change.format(pretraining=pretraining) for change in changes)
        few = f"train.few_shot={{cases: {task.labelled}}}"
        medseg("crossval", study, *_settings((f"data.manifest={manifest}", time, few, *chosen)), "--out", str(run))
        rows[arm] = run
    if task.prototypes:
        rows["prototypes"] = _prototypes(study, manifest, folder, rows["ImageNet"])
    return _table(name, task.labelled, rows)


def _prototypes(study: str, manifest: Path, folder: Path, drawn: Path) -> Path:
    """Predict the held-out cases from the ImageNet encoder and the same labelled cases, without any training."""
    package, out = folder / "imagenet.medseg", folder / "prototypes"
    if not package.exists():
        run = folder / "one_step"
        changes = (f"data.manifest={manifest}", "train.budget_minutes=null", "plan.iterations=1", "train.ema_decay=0")
        frozen = ("train.optimizer.lr=1e-12",)
        medseg("crossval", study, *_settings((*changes, *frozen)), "--out", str(run))
        medseg("package", str(run), str(package))
    support = folder / "support.csv"
    used = set(json.loads((drawn / "fold_0" / "few_shot.json").read_text(encoding="utf-8"))["cases"])
    _subset(manifest, support, lambda row: row["case"] in used)
    held_out = folder / "held_out.csv"
    tested = _held_out(manifest)
    _subset(manifest, held_out, lambda row: row["case"] in tested)
    options = ("--support", str(support), "--format", "png")
    medseg("predict", str(package), str(held_out), str(out / "predictions"), *options)
    medseg("evaluate", str(out / "predictions"), str(held_out), "--out", str(out))
    return out


def _table(name: str, labelled: int, rows: dict[str, Path]) -> list[str]:
    summaries = {arm: json.loads((run / "summary.json").read_text(encoding="utf-8")) for arm, run in rows.items()}
    control = next(iter(rows))
    lines = []
    for arm, summary in summaries.items():
        dice = summary["mean_over_labels"]["metrics"]["dice"]
        against = "control"
        if arm != control:
            pairs = compare_runs({control: read_cases(rows[control]), arm: read_cases(rows[arm])})["comparisons"]
            against = "; ".join(
                f"{p['label_name']} {p['difference']:+.3f} ({p['low']:+.3f} to {p['high']:+.3f})" for p in pairs
            )
        shown = f"{dice['mean']:.3f} ({dice['low']:.3f} to {dice['high']:.3f})"
        lines.append(f"| {name} | {labelled} | {arm} | {shown} | {against} | {dice['n']} |")
    return lines


def _prepare(task: _Task, data: Path, folder: Path) -> Path:
    """Import, hold two fifths of the patients out, and list the other images without labels."""
    manifest = folder / "data" / "manifest.csv"
    unlabelled = folder / "unlabelled.csv"
    if unlabelled.exists():
        return manifest
    medseg("import", str(data / task.source), str(manifest.parent), *task.import_options)
    if task.patients_in_pairs:
        pair_patients(manifest)
    medseg("manifest", "split", str(manifest), "--folds", "5")
    folds = manifest.with_suffix(".folds.csv")
    rows = read_rows(folds)
    for row in rows:
        row["fold"] = "test" if row["fold"] in ("0", "1") else "training"
    write_rows(folds, rows)
    tested = _held_out(manifest)
    _subset(manifest, unlabelled, lambda row: row["case"] not in tested, labels=False)
    return manifest


def _held_out(manifest: Path) -> set[str]:
    return {row["case"] for row in read_rows(manifest.with_suffix(".folds.csv")) if row["fold"] == "test"}


def _subset(manifest: Path, out: Path, wanted: Callable[[dict[str, str]], bool], *, labels: bool = True) -> None:
    rows = [row for row in read_rows(manifest) if wanted(row)]
    for row in rows:
        row["image"] = f"data/{row['image']}"
        row["label"] = f"data/{row['label']}" if labels else ""
    write_rows(out, rows)
    out.with_suffix(".yaml").write_bytes(manifest.with_suffix(".yaml").read_bytes())


def _settings(changes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part for change in changes for part in ("--set", change))


if __name__ == "__main__":
    main()
