"""Fold: a part of the cases that is held out together; patients never straddle two folds.

Folds are stratified by lesion burden and by named covariates with scikit-learn's `StratifiedGroupKFold`. They are drawn
once, stored beside the manifest (``case,repeat,fold``) and never recomputed.
"""

from __future__ import annotations

import csv
import io
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medseg.data.files import atomic_write
from medseg.data.manifest import Case, Manifest
from medseg.errors import LeakageError, ManifestError

__all__ = ["Folds", "Split", "SplitKind", "lesion_burdens", "make_folds", "read_folds", "write_folds"]

SplitKind = Literal["kfold", "holdout", "site"]
_PARTS = ("training", "validation", "test")
_SHARES = {"training": 7, "validation": 2, "test": 1}
_BURDEN_BINS = 5
_NUMERIC_BINS = 4


@dataclass(frozen=True)
class Split:
    """One way to divide the cases.

    Attributes:
        repeat: 0, 1, ... of a repeated drawing.
        fold: 0, 1, ...; 0 for a hold-out.
        training: Case ids to train on.
        validation: Case ids to choose with; empty for k-fold and leave-one-site-out.
        test: Case ids held out.
    """

    repeat: int
    fold: int
    training: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Folds:
    """All splits of a study.

    Attributes:
        splits: In order of repeat and fold.
        kind: ``kfold``, ``holdout`` or ``site`` (leave one site out).
    """

    splits: tuple[Split, ...]
    kind: SplitKind


def lesion_burdens(
    manifest: Manifest, *, jobs: int = 1, progress: Callable[[], None] | None = None
) -> dict[str, float]:
    """Foreground of each labelled case: mm³ of a volume, fraction of the pixels of a 2D image; `nan` without a label.

    Args:
        manifest: The cases; only their labels are read.
        jobs: Threads that read.
        progress: Called after each case.

    Raises:
        ReadError: A label cannot be read.
    """
    from medseg.data.cases import each_case
    from medseg.data.readers import read_label

    def burden(case: Case) -> float:
        if case.label is None:
            return float("nan")
        label, geometry = read_label(case.label)
        foreground = int(np.count_nonzero((label != 0) & (label != (manifest.card.ignore or 0))))
        return foreground / int(label.size) if label.ndim == 2 else foreground * float(np.prod(geometry.spacing))

    values = each_case(burden, manifest.cases, jobs=jobs, progress=progress)
    return {case.case: value for case, value in zip(manifest.cases, values, strict=True)}


def make_folds(
    manifest: Manifest,
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    kind: SplitKind = "kfold",
    covariates: Sequence[str] = (),
    burdens: Mapping[str, float] | None = None,
    together: Iterable[tuple[str, str]] = (),
) -> Folds:
    """Draw folds: grouped by patient, stratified by lesion burden and covariates.

    The result depends on the cases and the seed, not on the order of the rows.

    Args:
        manifest: The cases.
        folds: Number of parts of a k-fold split.
        repeats: Number of independent drawings.
        seed: Of the drawing.
        kind: ``kfold``; ``holdout``: training, validation and test in 7:2:1; ``site``: each site is held out once.
        covariates: Columns of the manifest to stratify by, besides the lesion burden; ``site`` and ``modality`` too.
        burdens: What `lesion_burdens` found, when it is known already; without it the labels are read.
        together: Pairs of case ids that must not be separated, for example near-duplicates.

    Raises:
        ManifestError: Too few patients or sites, an unknown covariate, or a patient at two sites.
    """
    cases = sorted(manifest.cases, key=lambda case: case.case)
    if repeats < 1:
        raise ManifestError(f"expected at least one repeat, found {repeats}")
    groups = _groups(cases, together)
    if kind == "site":
        return _leave_one_site_out(cases, groups, repeats)
    parts = folds if kind == "kfold" else min(sum(_SHARES.values()), len(set(groups.values())))
    _require_patients(groups, parts, kind)
    values = lesion_burdens(manifest) if burdens is None else burdens
    strata = _strata(cases, values, covariates, parts)
    splits: list[Split] = []
    for repeat in range(repeats):
        fold_of = _assign(cases, groups, strata, parts, seed=seed, repeat=repeat)
        splits += _kfold(fold_of, repeat) if kind == "kfold" else [_holdout(fold_of, parts, repeat)]
    return Folds(splits=tuple(splits), kind=kind)


def write_folds(folds: Folds, path: Path, *, force: bool = False) -> None:
    """Write folds as ``case,repeat,fold``, atomically and once.

    Args:
        folds: The folds.
        path: The CSV, usually ``NAME.folds.csv`` beside the manifest.
        force: Whether other folds there may be replaced.

    Raises:
        ManifestError: The file holds other folds already.
    """
    path = Path(path)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["case", "repeat", "fold"])
    writer.writerows(sorted(_rows(folds)))
    text = stream.getvalue()
    if path.exists() and not force:
        if path.read_text(encoding="utf-8") == text:
            return
        raise ManifestError(
            f"{path.name} holds other folds, and results may rest on them; --force replaces them, --out FILE keeps them"
        )
    with atomic_write(path, mode="w") as target:
        target.write(text)


def read_folds(path: str | Path, manifest: Manifest) -> Folds:
    """Read folds and check them against the manifest.

    Raises:
        ManifestError: A row is wrong, a case is missing, unknown or there twice, or a fold is empty.
        LeakageError: A patient's cases stand in several folds of one repeat.
    """
    table = _read_table(Path(path), {case.case for case in manifest.cases})
    patient_of = {case.case: case.patient for case in manifest.cases}
    held_out = any(fold in _PARTS for assigned in table.values() for fold in assigned.values())
    splits: list[Split] = []
    for repeat, assigned in sorted(table.items()):
        missing = sorted(set(patient_of) - set(assigned))
        if missing:
            raise ManifestError(
                f"folds: {len(missing)} case(s) of the manifest have no fold in repeat {repeat}, the first is "
                f"{missing[0]}; split again"
            )
        _require_whole_patients(assigned, patient_of)
        splits += _splits_of_parts(assigned, repeat) if held_out else _splits_of_numbers(assigned, repeat)
    kind: SplitKind = "holdout" if held_out else "site" if _are_sites(splits, manifest) else "kfold"
    return Folds(splits=tuple(splits), kind=kind)


def _groups(cases: Sequence[Case], together: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Case id to the group that stays whole: the patient, or several patients joined by `together`."""
    parent = {case.patient: case.patient for case in cases}
    patient_of = {case.case: case.patient for case in cases}

    def root(patient: str) -> str:
        while parent[patient] != patient:
            patient = parent[patient]
        return patient

    for first, second in together:
        low, high = sorted((root(patient_of[first]), root(patient_of[second])))
        parent[high] = low
    return {case.case: root(case.patient) for case in cases}


def _require_patients(groups: Mapping[str, str], parts: int, kind: SplitKind) -> None:
    patients = len(set(groups.values()))
    if patients == 1:
        raise ManifestError("all cases are of one patient; a split needs patients on both sides")
    if kind == "holdout" and patients < len(_PARTS):
        raise ManifestError(f"a hold-out needs at least 3 patients, found {patients}; use --folds 2")
    if parts < 2:
        raise ManifestError(f"expected at least 2 folds, found {parts}")
    if parts > patients:
        raise ManifestError(
            f"{parts} folds need at least {parts} patients (near-duplicates kept together count as one), "
            f"found {patients}; ask for --folds {patients} or fewer"
        )


def _leave_one_site_out(cases: Sequence[Case], groups: Mapping[str, str], repeats: int) -> Folds:
    if repeats != 1:
        raise ManifestError("leave-one-site-out has one drawing only; leave out --repeats")
    without = sum(not case.site for case in cases)
    if without:
        raise ManifestError(f"{without} case(s) have no site; leave-one-site-out needs the column 'site' filled")
    sites = sorted({case.site for case in cases})
    if len(sites) < 2:
        raise ManifestError("all cases are of one site; leave-one-site-out needs two or more, use --folds instead")
    site_of: dict[str, str] = {}
    for case in cases:
        if site_of.setdefault(groups[case.case], case.site) != case.site:
            raise ManifestError(
                f"patient {case.patient} (or a near-duplicate kept together) has cases at two sites, so one would "
                "stand on both sides; give the patient one site"
            )
    return Folds(splits=tuple(_kfold({case.case: sites.index(case.site) for case in cases}, 0)), kind="site")


def _strata(
    cases: Sequence[Case], burdens: Mapping[str, float], covariates: Sequence[str], parts: int
) -> list[tuple[str, ...]]:
    """Stratum of each case; one rarer than the parts gives up its burden, then all but being empty."""
    columns = [_covariate(cases, name) for name in covariates]
    burden = _burden_bins(np.array([burdens[case.case] for case in cases], dtype=np.float64), parts)
    strata = [tuple(values) for values in zip(burden, *columns, strict=True)]
    counts = Counter(strata)
    strata = [key if counts[key] >= parts or key[0] == "empty" else ("any", *key[1:]) for key in strata]
    counts = Counter(strata)
    return [key if counts[key] >= parts else ("empty" if key[0] == "empty" else "rare",) for key in strata]


def _burden_bins(burdens: np.ndarray[tuple[int, ...], np.dtype[np.float64]], parts: int) -> list[str]:
    lesion = burdens > 0
    bins = max(1, min(_BURDEN_BINS, int(lesion.sum()) // (2 * parts)))
    edges = np.quantile(burdens[lesion], np.linspace(0, 1, bins + 1)[1:-1]) if lesion.any() else np.empty(0)
    numbers = np.searchsorted(edges, burdens, side="right")
    names = np.where(lesion, np.char.add("q", numbers.astype(str)), "empty")
    return [str(name) for name in np.where(np.isnan(burdens), "unlabelled", names)]


def _covariate(cases: Sequence[Case], name: str) -> list[str]:
    """Text of a column for each case; a number of many values becomes its quartile."""
    known = ["modality", "site", *dict.fromkeys(column for case in cases for column in case.covariates)]
    if name not in known:
        raise ManifestError(f"covariate {name!r} is not a column of the manifest; there are: {', '.join(known)}")
    fixed = {"modality": [c.modality for c in cases], "site": [c.site for c in cases]}
    texts = fixed.get(name) or [case.covariates.get(name, "") for case in cases]
    if len(set(texts)) <= 2 * _NUMERIC_BINS:
        return texts
    try:
        numbers = np.array([float(text) if text else np.nan for text in texts])
    except ValueError:
        return texts
    known_numbers = numbers[np.isfinite(numbers)]
    edges = np.quantile(known_numbers, np.linspace(0, 1, _NUMERIC_BINS + 1)[1:-1])
    return ["unknown" if np.isnan(v) else f"q{np.searchsorted(edges, v, side='right')}" for v in numbers]


def _assign(
    cases: Sequence[Case],
    groups: Mapping[str, str],
    strata: Sequence[tuple[str, ...]],
    parts: int,
    *,
    seed: int,
    repeat: int,
) -> dict[str, int]:
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    codes = {key: number for number, key in enumerate(sorted(set(strata)))}
    labels = np.array([codes[key] for key in strata])
    if np.bincount(labels).max() < parts:
        labels[:] = 0
    group = np.array([groups[case.case] for case in cases])
    state = int(np.random.SeedSequence([seed, repeat]).generate_state(1)[0])
    drawers = (
        StratifiedGroupKFold(parts, shuffle=True, random_state=state),
        GroupKFold(parts, shuffle=True, random_state=state),
    )
    fold_of: dict[str, int] = {}
    for drawer in drawers:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            drawn = list(drawer.split(np.zeros(len(cases)), labels, group))
        fold_of = {cases[index].case: fold for fold, (_, test) in enumerate(drawn) for index in test}
        if len(set(fold_of.values())) == parts:
            break
    return dict(sorted(fold_of.items()))


def _kfold(fold_of: Mapping[str, int], repeat: int) -> list[Split]:
    return [
        Split(
            repeat=repeat,
            fold=fold,
            training=tuple(case for case, other in fold_of.items() if other != fold),
            validation=(),
            test=tuple(case for case, other in fold_of.items() if other == fold),
        )
        for fold in range(max(fold_of.values()) + 1)
    ]


def _holdout(fold_of: Mapping[str, int], parts: int, repeat: int) -> Split:
    """Of `parts` equal parts the first is the test, about a fifth of them the validation, the rest the training."""
    total = sum(_SHARES.values())
    validation = max(1, round(parts * _SHARES["validation"] / total))
    part_of = {0: "test"} | dict.fromkeys(range(1, 1 + validation), "validation")
    members: dict[str, list[str]] = {part: [] for part in _PARTS}
    for case, number in fold_of.items():
        members[part_of.get(number, "training")].append(case)
    return Split(repeat=repeat, fold=0, **{part: tuple(members[part]) for part in _PARTS})


def _rows(folds: Folds) -> list[tuple[str, int, str]]:
    if folds.kind == "holdout":
        return [(case, s.repeat, part) for s in folds.splits for part in _PARTS for case in getattr(s, part)]
    return [(case, s.repeat, str(s.fold)) for s in folds.splits for case in s.test]


def _read_table(path: Path, known: set[str]) -> dict[int, dict[str, str]]:
    """Repeat to case to fold."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            if next(reader, []) != ["case", "repeat", "fold"]:
                raise ManifestError("folds, row 1: expected the columns case,repeat,fold")
            table: dict[int, dict[str, str]] = defaultdict(dict)
            for number, row in enumerate(reader, start=2):
                if len(row) != 3 or not row[1].isdecimal() or not (row[2].isdecimal() or row[2] in _PARTS):
                    raise ManifestError(f"folds, row {number}: expected case,repeat,fold as in C0001,0,3")
                if row[0] not in known:
                    raise ManifestError(f"folds, row {number}, column 'case': not a case of the manifest; split again")
                if row[0] in table[int(row[1])]:
                    raise ManifestError(f"folds, row {number}: case {row[0]} has a fold in repeat {row[1]} already")
                table[int(row[1])][row[0]] = row[2]
    except FileNotFoundError:
        raise ManifestError("there are no folds; `medseg manifest split MANIFEST --folds 5` writes them") from None
    except (UnicodeDecodeError, csv.Error):
        raise ManifestError("the folds file is not a comma-separated UTF-8 text") from None
    if not table:
        raise ManifestError("the folds file has a header but no row; split again")
    return table


def _require_whole_patients(assigned: Mapping[str, str], patient_of: Mapping[str, str]) -> None:
    fold_of: dict[str, str] = {}
    for case, fold in assigned.items():
        patient = patient_of[case]
        if fold_of.setdefault(patient, fold) != fold:
            raise LeakageError(f"patient {patient} stands in folds {fold_of[patient]} and {fold}; split again")


def _splits_of_parts(assigned: Mapping[str, str], repeat: int) -> list[Split]:
    members = {part: tuple(sorted(case for case, fold in assigned.items() if fold == part)) for part in _PARTS}
    if sum(len(m) for m in members.values()) != len(assigned):
        raise ManifestError("folds: found numbers and training|validation|test in one file; use one of the two forms")
    empty = [part for part in ("training", "test") if not members[part]]
    if empty:
        raise ManifestError(f"folds: no case is in {' and '.join(empty)}")
    return [Split(repeat=repeat, fold=0, **members)]


def _splits_of_numbers(assigned: Mapping[str, str], repeat: int) -> list[Split]:
    fold_of = {case: int(fold) for case, fold in sorted(assigned.items())}
    numbers = set(fold_of.values())
    if len(numbers) < 2 or numbers != set(range(len(numbers))):
        raise ManifestError(f"folds, repeat {repeat}: expected two or more folds, numbered 0, 1, ... without a gap")
    return _kfold(fold_of, repeat)


def _are_sites(splits: Sequence[Split], manifest: Manifest) -> bool:
    site_of = {case.case: case.site for case in manifest.cases}
    sites = [{site_of[case] for case in split.test} for split in splits]
    return all(len(found) == 1 and "" not in found for found in sites) and len(set.union(*sites)) == len(splits)
