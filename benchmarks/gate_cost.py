"""What the privacy gate costs: seconds of searching, as a share of the seconds that each artefact cost to make.

usage: python benchmarks/gate_cost.py RUN [IDENTITIES]

RUN is the run folder of a finished cross-validation; IDENTITIES a list in clear, one a line (the demo's planted.txt).
The goal is at most 10 %. Processor time of one process, so that a busy machine doesn't change the shares much.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from medseg.export.from_run import package_run
from medseg.privacy.audit import audit_bytes, audit_paths
from medseg.privacy.identities import IdentityIndex, read_clear_list
from medseg.report import write_report
from medseg.studies.tables import read_cases
from medseg.training.control import read_epochs


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def searched(paths: list[Path], identities: IdentityIndex) -> float:
    """Processor seconds of searching files, once each."""
    return sum(seconds(lambda p=path: audit_bytes(p.read_bytes(), p.name, identities=identities)) for path in paths)


def main() -> None:
    """Print one table."""
    run = Path(sys.argv[1])
    identities = IdentityIndex()
    if len(sys.argv) > 2:
        identities.add(read_clear_list(Path(sys.argv[2])))
    rows: list[tuple[str, float, float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / "run"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("mlflow", "*.ckpt"))
        for tier in ("internal", "shareable"):
            made = seconds(lambda t=tier: write_report(copy, tier=t, identities=identities))
            files = [copy / "report" / f"{tier}.{end}" for end in ("html", "pdf")]
            rows.append((f"report, {tier}", _size(files), made, searched(files, identities)))
    epochs = [read_epochs(path) for path in run.glob("fold_*/epochs.csv")]
    training = 60 * sum(found[-1].minutes for found in epochs if found)
    with tempfile.TemporaryDirectory() as name:
        package = Path(name) / "model.medseg"
        made = seconds(lambda: package_run(run, package, identities=identities))
        rows.append(
            ("model package, with its training", _size([package]), made + training, searched([package], identities))
        )
    files = [path for path in run.rglob("*") if path.is_file()]
    audit = seconds(lambda: audit_paths([run], identities=identities))
    rows.append((f"whole run folder, {len(files)} files, with its training", _size(files), training + audit, audit))
    print(f"{len(identities)} identities; {len(read_cases(run))} scored rows")
    print("| artefact | MB | seconds to make | seconds of search | share |")
    print("|---|---|---|---|---|")
    for what, size, made, search in rows:
        print(f"| {what} | {size:.1f} | {made:.2f} | {search:.2f} | {100 * search / made:.1f} % |")


def _size(files: list[Path]) -> float:
    return sum(path.stat().st_size for path in files) / 1e6


if __name__ == "__main__":
    main()
