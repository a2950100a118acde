"""The studies that ship, on the public data they were written for: import, folds, cross-validation, figures.

    MEDSEG_TEST_DATA=DATA python benchmarks/studies.py OUT [isic2017] [hippocampus] [sarcoma]

DATA holds isic2017/, msd_hippocampus/ and sts_sarcoma/. The same call goes on where it stopped. Each study takes folds
times budget of wall clock on a quiet machine: 30, 50 and 50 minutes.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class _Study:
    config: str
    source: str
    minutes: float
    import_options: tuple[str, ...] = ()
    patients_in_pairs: bool = False


_STUDIES = {
    "isic2017": _Study("skin_lesion_2d", "isic2017", 6),
    # MSD Task04 numbers its crops so that 2n - 1 and 2n are two sides of one head (data_manifests/README.md).
    "hippocampus": _Study("hippocampus_3d", "msd_hippocampus", 10, ("--keep-names",), patients_in_pairs=True),
    "sarcoma": _Study("sarcoma_pet_3d", "sts_sarcoma", 10, ("--modality", "PET")),
}


def medseg(*arguments: str) -> None:
    """Run a command; end where it fails. 3 says that some inputs were refused."""
    status = subprocess.run([str(Path(sys.executable).with_name("medseg")), *arguments], check=False).returncode
    if status not in (0, 3):
        sys.exit(status)


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    """Write rows as CSV."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def pair_patients(manifest: Path) -> None:
    """Give both sides of one head the same patient."""
    rows = read_rows(manifest)
    for row in rows:
        number = int(row["case"].rsplit("_", 1)[-1])
        row["patient"] = f"P{(number + 1) // 2:04d}"
    write_rows(manifest, rows)


def _run(name: str, study: _Study, data: Path, out: Path) -> str:
    manifest = out / name / "data" / "manifest.csv"
    run = out / name / "run"
    if not manifest.with_suffix(".folds.csv").exists():
        medseg("import", str(data / study.source), str(manifest.parent), *study.import_options)
        if study.patients_in_pairs:
            pair_patients(manifest)
        medseg("manifest", "split", str(manifest), "--folds", "5")
    settings = ("--set", f"data.manifest={manifest}", "--set", f"train.budget_minutes={study.minutes:g}")
    medseg("crossval", str(_ROOT / "configs" / f"{study.config}.yaml"), *settings, "--out", str(run))
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    entries = {info["name"]: info["metrics"] for info in summary["labels"].values()}
    entries["mean over labels"] = summary["mean_over_labels"]["metrics"]
    lines = [
        f"| {name} | {label} | {m['dice']['mean']:.3f} ({m['dice']['low']:.3f} to {m['dice']['high']:.3f}) "
        f"| {m['hd95_mm']['mean']:.2f} | {m['dice']['n']} |"
        for label, m in entries.items()
    ]
    return "\n".join(lines)


def _curve(name: str, run: Path) -> str:
    """Dice on the monitored held-out cases against minutes, mean of the folds, as it stood at whole minutes."""
    folds = []
    for path in sorted(run.glob("fold_*/epochs.csv")):
        rows = [(float(row["minutes"]), float(row["val_dice"])) for row in read_rows(path)]
        folds.append([(minute, dice) for minute, dice in rows if dice == dice])
    points = []
    for minute in (0.5, 1, 2, 3, 4, 5, 6, 8, 10):
        values = [max(((m, d) for m, d in fold if m <= minute * 1.01), default=None) for fold in folds]
        known = [value[1] for value in values if value is not None]
        if len(known) == len(folds) and minute <= 1.02 * max(m for m, _ in folds[0]):
            points.append(f"{minute:g} min {sum(known) / len(known):.3f}")
    return f"{name}: " + ", ".join(points)


def main() -> None:
    """Run the studies asked for and print their table and curves."""
    data, out = Path(os.environ["MEDSEG_TEST_DATA"]), Path(sys.argv[1]).absolute()
    wanted = sys.argv[2:] or list(_STUDIES)
    rows = [_run(name, _STUDIES[name], data, out) for name in wanted]
    print("| data | label | Dice (95 %) | HD95 mm | cases |\n|---|---|---|---|---|")
    print("\n".join(rows))
    for name in wanted:
        print(_curve(name, out / name / "run"))


if __name__ == "__main__":
    main()
