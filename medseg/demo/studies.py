"""The two studies of the demo: folds, configuration, cross-validation, report and model package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.config import StudyConfig, parse_study
from medseg.data.manifest import Manifest
from medseg.studies.reporting import StudyProgress

if TYPE_CHECKING:
    from medseg.privacy.identities import IdentityIndex
    from medseg.studies.crossval import StudyOutcome

__all__ = ["CT", "JOBS", "SKIN", "counted", "draw_folds", "run_study"]

CT, SKIN = "lesions_ct", "lesions_skin"
JOBS = 2
_AT_MOST_MINUTES = 1.5
"""Training of one fold on a busy machine."""


@contextmanager
def counted(progress: StudyProgress, name: str, total: int) -> Iterator[Callable[[], None]]:
    """A stage whose steps are counted one by one."""
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress.update(done)

    progress.begin(name, total)
    yield advance
    progress.end()


def draw_folds(manifest: Manifest, folds: int, progress: StudyProgress) -> None:
    """Patient-grouped folds, stratified by lesion burden, none with the same picture on both sides."""
    from medseg.data.leakage import find_duplicates, find_leaks, refuse_leaks
    from medseg.data.split import lesion_burdens, make_folds, write_folds

    with counted(progress, "draw folds", 2 * len(manifest.cases)) as advance:
        burdens = lesion_burdens(manifest, jobs=JOBS, progress=advance)
        duplicates = find_duplicates(manifest, jobs=JOBS, progress=advance)
        drawn = make_folds(manifest, folds=folds, burdens=burdens)
        refuse_leaks(find_leaks(drawn, manifest, duplicates))
        write_folds(drawn, manifest.folds_path)


def run_study(
    out: Path, name: str, manifest: Manifest, iterations: int, index: IdentityIndex, progress: StudyProgress
) -> StudyOutcome:
    """Cross-validate; then both reports and, of the CT study, the model package, which the tracker takes up."""
    from medseg.export.from_run import package_run
    from medseg.report import write_report
    from medseg.studies.crossval import Deliverables, cross_validate

    def deliver(run: Path) -> Deliverables:
        package = out / f"{name}.medseg" if name == CT else None
        with counted(progress, f"report and package {name}", 3) as advance:
            internal = write_report(run, tier="internal", identities=index)
            advance()
            shareable = write_report(run, tier="shareable", identities=index)
            advance()
            if package is not None:
                package_run(run, package, identities=index)
            advance()
        return Deliverables((internal, shareable), package)

    config = _config(name, manifest, iterations)
    return cross_validate(config, out=out / "runs" / name, progress=progress, deliver=deliver, identities=index)


def _config(name: str, manifest: Manifest, iterations: int) -> StudyConfig:
    """A small network and small patches, so that half a minute is enough on two idle cores.

    The steps decide, so that a busy machine takes longer rather than learns less; the budget bounds how much longer.
    """
    of_this_study: dict[str, Any] = {
        CT: {
            "plan": {"patch_size": [48, 48, 16], "batch_size": 2, "iterations": iterations},
            "model": {"name": "unet", "base_features": 8, "levels": 4},
            "augment": {"rotate": 0.0, "zoom": 0.0, "blur": 0.0, "low_resolution": 0.0},
        },
        SKIN: {
            "plan": {"patch_size": [160, 128], "batch_size": 8, "iterations": iterations},
            "model": {"name": "efficient_unet"},
            "augment": {"zoom": 0.0, "blur": 0.0, "low_resolution": 0.0, "hue": 0.2, "saturation": 0.2},
            "metrics": {"nsd_tolerance_mm": [2.0, 5.0]},
        },
    }[name]
    optimizer = {"name": "adamw", "lr": 0.003}
    content: dict[str, Any] = {
        "name": name,
        "data": {"manifest": str(manifest.path), "loader_workers": 0},
        "train": {"budget_minutes": _AT_MOST_MINUTES, "optimizer": optimizer},
        "inference": {"mirror": False},
        **of_this_study,
    }
    return parse_study(content)
