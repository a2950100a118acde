"""Study: a configuration together with its cases, folds, plan and preprocessing cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.config import DataConfig, StudyConfig
from medseg.data.cache import Cache, CacheContent, CacheEntry
from medseg.data.cases import read_case_image, read_case_label
from medseg.data.files import atomic_write
from medseg.data.fingerprint import Fingerprint, take_fingerprint
from medseg.data.manifest import Case, Manifest, read_manifest
from medseg.data.split import Folds, Split, read_folds
from medseg.errors import DataError, ManifestError
from medseg.planning import Plan, inspect_device, make_plan
from medseg.runs.folder import RunFolder
from medseg.studies.reporting import StudyProgress
from medseg.transforms.preprocess import prepare_label, preprocess
from medseg.types import LabelMap

__all__ = [
    "StudyData",
    "case_entries",
    "class_indices",
    "inner_part",
    "open_data",
    "plan_study",
    "relative_study",
    "study_digest",
]

_UPWARDS = 3


@dataclass(frozen=True)
class StudyData:
    """The cases of a study.

    Attributes:
        manifest: All cases.
        cache: Where preprocessed cases lie.
    """

    manifest: Manifest
    cache: Cache

    def folds(self, config: DataConfig) -> Folds:
        """The stored folds.

        Raises:
            ManifestError: There are none; the message says how to draw them.
        """
        path = Path(config.folds) if config.folds is not None else self.manifest.folds_path
        if not path.exists():
            raise ManifestError(
                "no folds are stored beside the manifest; draw them once with: medseg manifest split MANIFEST --folds 5"
            )
        return read_folds(path, self.manifest)


def open_data(config: DataConfig) -> StudyData:
    """Read the manifest and open the cache.

    Raises:
        ManifestError: The manifest is missing or wrong.
    """
    manifest = read_manifest(config.manifest)
    cache = Path(config.cache) if config.cache is not None else manifest.path.parent / ".medseg-cache"
    return StudyData(manifest, Cache(cache))


def relative_study(study: StudyConfig, run: Path) -> StudyConfig:
    """The study with its paths as seen from the run folder, so that the folder names no user and can be moved.

    A path far away from the run folder is cut to its last part.
    """

    def relative(path: str | None) -> str | None:
        if path is None:
            return None
        seen = os.path.relpath(Path(path).absolute(), run.absolute())
        return Path(path).name if seen.split(os.sep).count("..") > _UPWARDS else Path(seen).as_posix()

    data = {name: relative(getattr(study.data, name)) for name in ("manifest", "folds", "cache")}
    return study.model_copy(
        update={
            "data": study.data.model_copy(update=data),
            "train": study.train.model_copy(update={"init": relative(study.train.init)}),
        }
    )


def plan_study(
    study: StudyConfig, data: StudyData, *, run: RunFolder | None, progress: StudyProgress
) -> tuple[Plan, Fingerprint | None]:
    """The plan of a study: the one in the run folder, or a new one that is written there.

    Args:
        study: The resolved study.
        data: Its cases.
        run: The run folder; without it nothing is written.
        progress: Told how far it is.

    Returns:
        The plan, and the fingerprint when it had to be taken.

    Raises:
        ManifestError: A case cannot be used; the message names it.
    """
    if run is not None and run.plan_json.exists():
        return Plan.read(run.plan_json), None
    cases = data.manifest.cases
    progress.begin("fingerprint", len(cases))
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        progress.update(done)

    try:
        fingerprint = take_fingerprint(
            data.manifest, jobs=_threads(), progress=advance, ignore_label=study.data.ignore_label
        )
    except DataError as error:
        raise ManifestError(
            f"{error}; correct that or take the row out of the manifest (`medseg manifest check` lists all such cases)"
        ) from None
    finally:
        progress.end()
    device = inspect_device(study.device, memory_gb=study.plan.memory_gb)
    plan = make_plan(study, fingerprint, device)
    if run is not None:
        with atomic_write(run.plan_json, mode="w") as stream:
            stream.write(json.dumps(plan.to_dict(), indent=2) + "\n")
        with atomic_write(run.root / "fingerprint.json", mode="w") as stream:
            stream.write(json.dumps(fingerprint.to_dict(), indent=2) + "\n")
    return plan, fingerprint


def case_entries(
    study: StudyConfig, data: StudyData, plan: Plan, *, cases: Sequence[Case], progress: StudyProgress
) -> list[CacheEntry]:
    """The preprocessed cases, in the order asked for; those that are not in the cache are prepared now."""
    progress.begin("preprocess", len(cases))
    entries = []
    for number, case in enumerate(cases):
        entries.append(
            data.cache.entry(case, digest=_digest(study, plan), build=_builder(study, data.manifest, plan, case))
        )
        progress.update(number + 1)
    progress.end()
    return entries


def class_indices(label_map: LabelMap, plan: Plan, *, ignore_label: int | None) -> LabelMap:
    """Class indices from label values: 0 background, k the k-th label, `plan.classes` for voxels to ignore.

    Args:
        label_map: (x, y[, z]) values as in the files.
        plan: Knows the values.
        ignore_label: Value of the voxels to ignore.
    """
    table = np.zeros(256, dtype=np.uint8)
    for index, value in enumerate(plan.label_values):
        table[value] = index + 1
    if ignore_label is not None:
        table[ignore_label] = plan.classes
    indices: LabelMap = table[label_map]
    return indices


def inner_part(split: Split, manifest: Manifest, *, share: float, seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training cases, and those held back to guide the run: the split's own validation part, or some patients.

    Args:
        split: The split.
        manifest: Knows the patients.
        share: Share of the training patients that is held back.
        seed: Seed of the draw.

    Raises:
        ManifestError: There are too few patients to hold any back.
    """
    if split.validation:
        return split.training, split.validation
    cases = manifest.select(split.training)
    patients = sorted({case.patient for case in cases})
    if len(patients) < 2:
        raise ManifestError("one training patient is too few to hold some back; set train.select: last")
    chosen = np.random.default_rng((seed, 17)).permutation(patients)[: max(1, round(share * len(patients)))]
    held = set(chosen.tolist())
    return (
        tuple(case.case for case in cases if case.patient not in held),
        tuple(case.case for case in cases if case.patient in held),
    )


def study_digest(study: StudyConfig, plan: Plan, cases: Sequence[Case]) -> str:
    """SHA-256 over what the weights of a run depend on; a checkpoint with another one is not gone on from."""
    content = {
        "study": study.model_dump(mode="json", include={"seed", "augment", "model", "loss", "train"}),
        "plan": {name: value for name, value in plan.to_dict().items() if name != "reasons"},
        "cases": [case.case for case in cases],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest(study: StudyConfig, plan: Plan) -> str:
    return f"{plan.preprocessing_digest()}-{study.data.ignore_label}"


def _builder(study: StudyConfig, manifest: Manifest, plan: Plan, case: Case) -> Callable[[], CacheContent]:
    def build() -> CacheContent:
        volume = read_case_image(case, channels=manifest.card.channels)
        prepared = preprocess(volume, plan.preprocessing)
        label = None
        if case.label is not None:
            found = read_case_label(
                case, card=manifest.card, geometry=volume.geometry, ignore_label=study.data.ignore_label
            )
            indices = class_indices(found, plan, ignore_label=study.data.ignore_label)
            label = prepare_label(indices, prepared.placement)
        return CacheContent(prepared.image, label, prepared.placement.to_dict())

    return build


def _threads() -> int:
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1))
