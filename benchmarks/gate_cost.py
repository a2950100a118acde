r"""What the privacy gate costs: processor seconds of searching, as a share of the seconds of making each artefact.

    python benchmarks/gate_cost.py RUN [--identities LIST] [--images SRC] [--large]

RUN is the run folder of a finished cross-validation; LIST holds identities in clear, one a line (the demo's
planted.txt); SRC is what to predict from (a manifest, a folder, a DICOM tree). On the demo's output:

    python benchmarks/gate_cost.py demo-out/runs/lesions_ct --identities demo-out/planted.txt \
        --images demo-out/clean/lesions_ct --large

The goal is at most 10 %. "Making" is without the search, and both are processor time of one process, so that a busy
machine doesn't change the shares much. Each artefact is made three times and the middle share is shown. What the gate
has let out once it doesn't search again in the same process; here it forgets, so that every search counts. One row has
both: the record of a study as `crossval` makes it, whose reports and package passed when they were made. --large adds
how fast, and in how much memory, files of 200 MB to 1 GB are searched.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from medseg.config import load_study
from medseg.data.reading import reading_for
from medseg.data.source import find_inputs
from medseg.export import from_run, outgoing, prediction
from medseg.export.from_run import package_run
from medseg.export.load import load_model
from medseg.privacy import audit
from medseg.privacy.audit import audit_bytes, audit_paths, gate
from medseg.privacy.identities import IdentityIndex, read_clear_list
from medseg.report import render
from medseg.runs import tracking
from medseg.runs.tracking import ModelSignature, open_tracker
from medseg.studies import read_cases
from medseg.training.checkpoint import Checkpoint, save_checkpoint
from medseg.training.control import read_epochs
from medseg.types import Tier

_TIMES = 3
_PREDICTED = 3
_GATED = (render, from_run, tracking, outgoing)


@dataclass(frozen=True)
class Cost:
    """What an artefact cost.

    Attributes:
        what: Its name.
        size: Bytes that were searched, as they lie on disk.
        making: Seconds without the search.
        search: Seconds of the search.
    """

    what: str
    size: int
    making: float
    search: float

    @property
    def share(self) -> float:
        """Of the making, in per cent."""
        return 100 * self.search / self.making

    def row(self) -> str:
        """A row of the table."""
        return f"| {self.what} | {self.size / 1e6:.2f} | {self.making:.2f} | {self.search:.3f} | {self.share:.1f} % |"


class Clock:
    """Seconds and bytes of the gate."""

    def __init__(self) -> None:
        self.search = 0.0
        self.size = 0
        self.passed: set[bytes] = set()

    def gate(self, data: Any, **options: Any) -> Any:
        """`medseg.privacy.audit.gate`, timed."""
        audit._clean.clear()
        audit._clean.update(self.passed)
        began = time.process_time()
        try:
            return gate(data, **options)
        finally:
            self.search += time.process_time() - began
            self.size += len(data)

    def cost(self, what: str, make: Callable[[], object]) -> Cost:
        """Make something that passes the gate by itself."""
        found = []
        for _ in range(_TIMES):
            self.search, self.size = 0.0, 0
            began = time.process_time()
            make()
            found.append(Cost(what, self.size, time.process_time() - began - self.search, self.search))
        return sorted(found, key=lambda cost: cost.share)[_TIMES // 2]


@contextmanager
def timed_gate() -> Iterator[Clock]:
    """Every gate on the way is timed."""
    clock = Clock()
    with ExitStack() as stack:
        for module in _GATED:
            stack.enter_context(patch.object(module, "gate", clock.gate))
        yield clock


def reports(run: Path, identities: IdentityIndex) -> Iterator[Cost]:
    """Both reports of the run."""
    with timed_gate() as clock:
        render.write_report(run, tier="internal", identities=identities)  # What is imported first counts for nobody.
        tiers: tuple[Tier, ...] = ("internal", "shareable")
        for tier in tiers:
            yield clock.cost(f"report, {tier}", partial(render.write_report, run, tier=tier, identities=identities))


def packages(run: Path, scratch: Path, identities: IdentityIndex) -> Iterator[Cost]:
    """The model package, alone and with the training of its folds."""
    with timed_gate() as clock:
        alone = clock.cost("model package", lambda: package_run(run, scratch / "model.medseg", identities=identities))
    yield alone
    yield Cost("model package, with its training", alone.size, alone.making + training_seconds(run), alone.search)


def tracked(run: Path, scratch: Path, identities: IdentityIndex) -> Iterator[Cost]:
    """The study in an embedded MLflow store: parameters, texts, metrics of every epoch, reports, model."""
    study = load_study(run / "study.yaml")
    plan, environment = (json.loads((run / name).read_text()) for name in ("plan.json", "environment.json"))
    signature = ModelSignature(plan["spatial_dims"], tuple(plan["channels"]), {1: "lesion"})
    reports = [run / "report" / f"{tier}.html" for tier in ("internal", "shareable")]
    package = scratch / "model.medseg"
    count = 0

    def track() -> None:
        nonlocal count
        count += 1
        tracker = open_tracker(study, scratch / f"tracked_{count}", identities=identities)
        with tracker.study(plan, environment, "0" * 64):
            for fold, path in enumerate(sorted(run.glob("fold_*/epochs.csv"))):
                with tracker.fold(fold) as child:
                    for epoch in read_epochs(path):
                        child.log_epoch(epoch.iteration, {"loss": epoch.train_loss, "minutes": epoch.minutes})
            tracker.finish({"dice": 0.5}, reports)
            tracker.register_model(package, signature)
        if tracker.problem:
            raise RuntimeError(tracker.problem)

    with timed_gate() as clock:
        yield clock.cost("MLflow: the whole record of a study", track)
        audit._clean.clear()
        for path in (*reports, package):
            gate(path.read_bytes(), name=path.name, tier="internal", identities=identities)
        clock.passed = set(audit._clean)
        yield clock.cost("MLflow: the same, its reports and package let out before", track)


def checkpoints(run: Path, scratch: Path, identities: IdentityIndex) -> Iterator[Cost]:
    """A checkpoint: searched by `medseg audit` only, since tensors and numbers are all that its format can hold."""
    path = sorted(run.glob("fold_*/last.ckpt"))[0]
    content = torch.load(path, weights_only=True)
    found = []
    for _ in range(_TIMES):
        began = time.process_time()
        save_checkpoint(Checkpoint(**content | {"epochs": []}), scratch / "last.ckpt")
        made = time.process_time()
        data = path.read_bytes()
        audit_bytes(data, path.name, identities=identities)
        found.append((made - began, time.process_time() - made))
    making, search = sorted(found)[_TIMES // 2]
    yield Cost("checkpoint, writing it alone", path.stat().st_size, making, search)
    fold = training_seconds(run) / len(list(run.glob("fold_*")))
    fold = min(fold, 60 * load_study(run / "study.yaml").train.checkpoint_minutes)
    yield Cost("checkpoint, with the training since the one before", path.stat().st_size, making + fold, search)


def predictions(model: Path, images: Path, scratch: Path, identities: IdentityIndex) -> Iterator[Cost]:
    """A few predictions in every format that the images allow."""
    loaded = load_model(model)
    plan = loaded.predictor.plan
    inputs, _ = find_inputs(images, keep_names=False, reading=reading_for(plan.channels), modality=plan.modality)
    formats = ["nifti", "nrrd", "png", *(("dicom-seg", "rtstruct", "sr") if inputs[0].instances() else ())]

    def predict(output_format: Any) -> None:
        for entry in inputs[:_PREDICTED]:
            volume = entry.read()
            prediction.write_prediction(
                loaded.predictor.predict(volume),
                volume,
                entry,
                scratch / "predictions",
                output_format=output_format,
                labels=loaded.labels,
                algorithm=loaded.algorithm,
                identities=identities,
            )

    with timed_gate() as clock:
        for output_format in formats:
            yield clock.cost(f"{_PREDICTED} predictions as {output_format}", partial(predict, output_format))


def whole_run(run: Path, identities: IdentityIndex) -> Cost:
    """`medseg audit` of the run folder."""
    files = [path for path in run.rglob("*") if path.is_file()]
    began = time.process_time()
    audit_paths([run], identities=identities)
    search = time.process_time() - began
    size = sum(path.stat().st_size for path in files)
    return Cost(f"audit of the run folder, {len(files)} files", size, training_seconds(run), search)


def training_seconds(run: Path) -> float:
    """Wall-clock seconds of all folds."""
    epochs = [read_epochs(path) for path in run.glob("fold_*/epochs.csv")]
    return 60 * sum(found[-1].minutes for found in epochs if found)


def large_files(scratch: Path, identities: list[str]) -> Iterator[str]:
    """Rows of a second table: each file searched in a process of its own."""
    generator = np.random.default_rng(0)
    weights = {f"layer_{n}": torch.from_numpy(generator.normal(0, 0.05, 1 << 20).astype("f4")) for n in range(50)}
    torch.save(weights, scratch / "weights.ckpt")
    volume = np.zeros((512, 512, 1000), np.int16)
    volume[100:400, 100:400] = generator.integers(-1000, 1500, (300, 300, 1000), dtype=np.int16)
    head = bytearray(352)
    head[344:348] = b"n+1\0"
    (scratch / "volume.nii").write_bytes(bytes(head) + volume.tobytes() * 2)
    (scratch / "volume.nii.gz").write_bytes(gzip.compress(bytes(head) + volume.tobytes(), 1))
    (scratch / "list.txt").write_text("\n".join(identities), encoding="utf-8")
    for name, what in (
        ("weights.ckpt", "checkpoint"),
        ("volume.nii", "NIfTI"),
        ("volume.nii.gz", "NIfTI, 524 MB unfolded"),
    ):
        command = [sys.executable, __file__, "--search", str(scratch / name), "--identities", str(scratch / "list.txt")]
        seconds, memory = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        size = (scratch / name).stat().st_size / 1e6
        yield f"| {what} | {size:.0f} | {seconds:.1f} | {size / seconds:.0f} | {memory:.2f} |"
        (scratch / name).unlink()


def search_one(path: Path, identities: IdentityIndex) -> None:
    """Search one file, print seconds and the most memory in GB."""
    began = time.process_time()
    audit_paths([path], identities=identities)
    seconds = time.process_time() - began
    # The most memory that getrusage tells is that of the parent before it became this process.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    print(seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1e6)


def main() -> None:
    """Print one table, or two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--identities", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    clear = read_clear_list(options.identities) if options.identities else []
    identities = IdentityIndex()
    identities.add(clear)
    identities.find(b"")
    if options.search:
        search_one(options.search, identities)
        return
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        run = scratch / "run"
        shutil.copytree(options.run, run, ignore=shutil.ignore_patterns("mlflow"))
        print(f"{len(identities)} identities; {len(read_cases(run))} scored rows\n")
        print("| artefact | MB | seconds to make | seconds of search | share |\n|---|---|---|---|---|")
        for cost in _costs(run, options.images, scratch, identities):
            print(cost.row(), flush=True)
        if options.large:
            print("\n| file | MB | seconds | MB a second | most memory, GB |\n|---|---|---|---|---|")
            for row in large_files(scratch, clear):
                print(row, flush=True)


def _costs(run: Path, images: Path | None, scratch: Path, identities: IdentityIndex) -> Iterator[Cost]:
    yield from reports(run, identities)
    yield from packages(run, scratch, identities)
    yield from tracked(run, scratch, identities)
    yield from checkpoints(run, scratch, identities)
    if images is not None:
        yield from predictions(scratch / "model.medseg", images, scratch, identities)
    yield whole_run(run, identities)


if __name__ == "__main__":
    main()
