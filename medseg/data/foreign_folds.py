"""Foreign folds: the cases that another tool's folds hold out, as the folds of a manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from medseg.data.json_files import read_json
from medseg.data.split import Folds, Split
from medseg.errors import ManifestError, ReadError

__all__ = ["NNUNET_SPLITS", "folds_of", "nnunet_splits"]

NNUNET_SPLITS = "splits_final.json"
"""Name of the file in which nnU-Net keeps its folds."""


class _Case(Protocol):
    @property
    def case(self) -> str: ...

    @property
    def patient(self) -> str: ...


def folds_of(held_out: Sequence[Sequence[str]], cases: Sequence[_Case], *, labelled: set[str]) -> Folds | None:
    """Folds of which each holds out the cases that another tool's does.

    Tools list no cases without a label: those follow their patient's fold, or else the fold that has the fewest cases.

    Args:
        held_out: Case ids by fold.
        cases: All of the manifest.
        labelled: Ids of those with a label.

    Returns:
        None unless there are two folds or more, and each labelled case is held out once.
    """
    parts = [list(part) for part in held_out]
    told = Counter(case for part in parts for case in part)
    ids = {case.case for case in cases}
    if len(parts) < 2 or any(count > 1 for count in told.values()) or not labelled <= set(told) <= ids:
        return None
    patient_of = {case.case: case.patient for case in cases}
    fold_of = {patient_of[case]: number for number, part in enumerate(parts) for case in part}
    for case in cases:
        if case.case not in told:
            fewest = min(range(len(parts)), key=lambda number: len(parts[number]))
            parts[fold_of.setdefault(case.patient, fewest)].append(case.case)
    splits = [
        Split(repeat=0, fold=number, training=tuple(sorted(ids - set(part))), validation=(), test=tuple(sorted(part)))
        for number, part in enumerate(parts)
    ]
    return Folds(splits=tuple(splits), kind="kfold")


def nnunet_splits(path: Path) -> list[list[str]]:
    """The cases that each fold of nnU-Net holds out.

    Raises:
        ManifestError: The file is damaged, or something else.
    """
    wrong = ManifestError(
        f"{path.name}: expected a list of splits with the cases of each one's val, as nnU-Net writes it"
    )
    try:
        held_out: list[list[str]] = [split["val"] for split in read_json(path)]
    except (ReadError, TypeError, KeyError):
        raise wrong from None
    if not all(isinstance(part, list) and all(isinstance(name, str) for name in part) for part in held_out):
        raise wrong
    return held_out
